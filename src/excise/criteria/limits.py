"""How much a pattern limits: the literal characters that every match of it must hold (S01).

Wildcards and RE2 patterns are judged on their structure. A construct that this module cannot judge raises
``NotJudgedError``, and a pattern that is not judged does not limit: what is unknown is refused.
"""

from __future__ import annotations

import re

from excise.core.text import is_blank, normalise

#: A pattern limits only with this many literal characters.
LITERALS_NEEDED = 3
_MAX_NESTING = 100
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(?:,\d*)?\}")
_GROUP = re.compile(r"\?(?:P?<\w+>|[imsU]*(?:-[imsU]+)?:)")
_FLAGS = re.compile(r"\?[imsU]*(?:-[imsU]+)?\)")
_HEX = re.compile(r"x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))")
_PROPERTY = re.compile(r"[pP](?:\{\^?\w+\}|\w)")
_CLASS_ITEM = re.compile(r"\[:\^?\w+:\]|\\[pP]\{\^?\w+\}|\\x\{[0-9A-Fa-f]+\}|\\.|.", re.DOTALL)
_EMPTY_ESCAPES = frozenset("dDsSwWbBAzCaftnrv")


class NotJudgedError(ValueError):
    """The pattern holds a construct whose literal characters cannot be counted."""


def has_wildcards(pattern: str) -> bool:
    """True where ``pattern`` holds ``*`` or ``?`` once it is normalised."""
    return any(char in "*?" for char in normalise(pattern))


def wildcard_literals(pattern: str) -> int:
    """The literal characters of a name with ``*`` and ``?``."""
    return sum(char not in "*?" and not char.isspace() for char in normalise(pattern))


def regex_literals(pattern: str) -> int:
    """The least number of literal characters in a match of an RE2 ``pattern``, which RE2 has accepted.

    Of alternatives the poorest counts; what may be absent counts nothing; white space, marks without width and
    classes of characters count nothing. Raises ``NotJudgedError``.
    """
    judge = _Judge(pattern)
    count = judge.alternatives(0)
    if judge.position < len(pattern):
        raise NotJudgedError(f"it goes on after character {judge.position}")
    return count


class _Judge:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.position = pattern, 0

    def _take(self, regex: re.Pattern[str]) -> re.Match[str] | None:
        match = regex.match(self.pattern, self.position)
        if match:
            self.position = match.end()
        return match

    def _next(self) -> str:
        if self.position >= len(self.pattern):
            raise NotJudgedError("it ends too early")
        self.position += 1
        return self.pattern[self.position - 1]

    def alternatives(self, nesting: int) -> int:
        if nesting > _MAX_NESTING:
            raise NotJudgedError(f"groups are nested deeper than {_MAX_NESTING}")
        poorest = self._sequence(nesting)
        while self.pattern.startswith("|", self.position):
            self.position += 1
            poorest = min(poorest, self._sequence(nesting))
        return poorest

    def _sequence(self, nesting: int) -> int:
        total = 0
        while self.position < len(self.pattern) and self.pattern[self.position] not in "|)":
            total += self._repeated(self._atom(nesting))
        return total

    def _repeated(self, count: int) -> int:
        while match := self._take(_QUANTIFIER):
            if match[0] in "*?":
                count = 0
            elif match[1] is not None:
                count *= int(match[1])
            if self.pattern.startswith("?", self.position):
                self.position += 1
        if self.pattern.startswith("{,", self.position):
            raise NotJudgedError("{,n} means different things to different engines")
        return count

    def _atom(self, nesting: int) -> int:
        char = self._next()
        if char == "(":
            return self._group(nesting)
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        return 0 if char in ".^$" or is_blank(char) else 1

    def _group(self, nesting: int) -> int:
        if self._take(_FLAGS):
            return 0
        if self.pattern.startswith("?", self.position) and not self._take(_GROUP):
            raise NotJudgedError("an unknown kind of group")
        count = self.alternatives(nesting + 1)
        if self._next() != ")":
            raise NotJudgedError("a group is not closed")
        return count

    def _class(self) -> int:
        """A class counts as a literal only where all its members are one letter in its cases: ``[.]``, ``[Ii]``."""
        negated = self.pattern.startswith("^", self.position)
        self.position += negated
        members: list[str] = []
        while True:
            match = self._take(_CLASS_ITEM)
            if match is None:
                raise NotJudgedError("a class is not closed")
            if match[0] == "]" and members:
                break
            members.append(match[0])
        plain = [item[1:] if len(item) == 2 and item[0] == "\\" and not item[1].isalnum() else item for item in members]
        single = not negated and all(len(item) == 1 for item in plain) and len({normalise(item) for item in plain}) == 1
        return int(single and not is_blank(plain[0]))

    def _escape(self) -> int:
        if match := self._take(_HEX):
            value = int(match[1] or match[2], 16)
            return int(value <= 0x10FFFF and not is_blank(chr(value)))
        if self._take(_PROPERTY):
            return 0
        char = self._next()
        if char == "Q":
            quoted, _, _ = self.pattern[self.position :].partition("\\E")
            self.position = min(len(self.pattern), self.position + len(quoted) + 2)
            return sum(not is_blank(letter) for letter in quoted)
        if char in _EMPTY_ESCAPES:
            return 0
        if char.isalnum():
            raise NotJudgedError(f"the escape \\{char}")
        return int(not is_blank(char))
