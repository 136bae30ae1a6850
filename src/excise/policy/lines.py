"""On which line of a TOML text each key stands: tomllib tells values, and a refusal has to name its line.

The text has been read by tomllib before, so that it is known to be TOML; here only the places are found.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

#: Keys and numbers of array entries, from the top.
Where = tuple[str | int, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = re.compile(rf"\s*({_PART}(?:\s*\.\s*{_PART})*)\s*")
_PARTS = re.compile(_PART)
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}|\'\'\'(?:[^\']|\'(?!\'\'))*\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[{]|[\]}]|\n',
    re.DOTALL,
)


def lines_of(text: str) -> dict[Where, int]:
    """The line of each table and key, from 1. A value inside an array or an inline table has the line of its key."""
    found: dict[Where, int] = {}
    table: Where = ()
    counts: dict[Where, int] = {}
    for line, statement in _statements(text):
        if statement.startswith("[["):
            path = _resolved(_names(_KEY.match(statement, 2)), counts)
            counts[path] = counts.get(path, -1) + 1
            table = (*path, counts[path])
            found.setdefault(path, line)
            found[table] = line
        elif statement.startswith("["):
            table = _resolved(_names(_KEY.match(statement, 1)), counts)
            for length in range(1, len(table) + 1):
                found.setdefault(table[:length], line)
        else:
            found[(*table, *_names(_KEY.match(statement)))] = line
    return found


def line_at(lines: dict[Where, int], where: Where) -> int | None:
    """The line of ``where``, or of the nearest table or key around it; None where nothing of it is there."""
    for length in range(len(where), 0, -1):
        if where[:length] in lines:
            return lines[where[:length]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each key with its value, with the line that it begins on."""
    start = depth = 0
    text = text.replace("\r\n", "\n") + "\n"
    for token in _TOKEN.finditer(text):
        kind = token[0]
        if kind in ("[", "{"):
            depth += 1
        elif kind in ("]", "}"):
            depth -= 1
        elif kind == "\n" and depth == 0:
            statement = text[start : token.start()]
            begin = len(statement) - len(statement.lstrip())
            if statement.strip() and not statement.lstrip().startswith("#"):
                yield text.count("\n", 0, start + begin) + 1, statement.strip()
            start = token.end()


def _names(key: re.Match[str] | None) -> tuple[str, ...]:
    if key is None:
        return ()
    return tuple(next(iter(tomllib.loads(f"{part} = 0"))) for part in _PARTS.findall(key[1]))


def _resolved(names: tuple[str, ...], counts: dict[Where, int]) -> Where:
    """``names`` with the number of the entry after each array of tables on the way."""
    path: Where = ()
    for place, name in enumerate(names):
        path = (*path, name)
        if path in counts and place + 1 < len(names):
            path = (*path, counts[path])
    return path
