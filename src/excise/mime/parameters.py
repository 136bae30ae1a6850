"""Parameters of Content-Type and Content-Disposition, and the names that a part bears (RFC 2045, 2183, 2231; S10).

Invariant: linear in the length of the field, no error for any input; a parameter given twice keeps both values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from excise.mime.charsets import decode_text
from excise.mime.headers import decode_header, unfold

_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+("(?:\\.|[^"\\])*+"|[^;]*+)', re.DOTALL)
_EXTENDED = re.compile(r"([^*]+)\*(?:(\d{1,4})(\*)?)?")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Field(NamedTuple):
    """A structured field: its value in lower case, and its parameters as written (Latin-1 stands for bytes)."""

    value: str
    parameters: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The first parameter ``name`` (lower case), in its plain or RFC 2231 form; None where there is none."""
        for key, value in self.parameters:
            if key == name:
                return _unescape(value)
        return next((text for key, text in _extended(self.parameters) if key == name), None)

    def names(self, *parameters: str) -> Iterator[str]:
        """Every reading of these parameters, the best first; mailers mix up ``name`` and ``filename``."""
        for parameter in parameters:
            for key, text in _extended(self.parameters):
                if key == parameter:
                    yield text
            for key, value in self.parameters:
                if key == parameter:
                    plain = _unescape(value)
                    yield decode_header(plain.encode("latin-1"))
                    # Senders that know no escapes write C:\file.txt; and the undecoded form is what some tools record.
                    yield decode_header(value.encode("latin-1"))
                    yield plain
                    if len(plain) > 2 and plain[0] == plain[-1] == "'":
                        yield decode_header(plain[1:-1].encode("latin-1"))


def parse_field(raw: bytes | None) -> Field:
    """Take a raw field value apart; nothing at all gives an empty value."""
    text = unfold(raw or b"").decode("latin-1")
    value, separator, rest = text.partition(";")
    if "=" in value:
        # The semicolon was forgotten: text/plain name="x".
        value, _, missed = value.strip().partition(" ")
        rest, separator = missed + separator + rest, ";"
    parameters = tuple((m[1].lower(), _bare(m[2])) for m in _PARAMETER.finditer(separator + rest))
    return Field("".join(value.split()).lower(), parameters)


def _bare(value: str) -> str:
    value = value.strip()
    if value.startswith('"'):
        return value[1:-1] if len(value) > 1 and value.endswith('"') else value[1:]
    return value


def _unescape(value: str) -> str:
    return _ESCAPED.sub(r"\1", value)


def _extended(parameters: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Parameters with charset and language, or in pieces, put together and decoded (RFC 2231 3 and 4)."""
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for key, value in parameters:
        match = _EXTENDED.fullmatch(key)
        if match:
            encoded = match[2] is None or match[3] is not None
            pieces.setdefault(match[1], {}).setdefault(int(match[2] or 0), (value, encoded))
    for name, numbered in pieces.items():
        yield name, _joined([numbered[index] for index in sorted(numbered)])


def _joined(pieces: list[tuple[str, bool]]) -> str:
    first, encoded = pieces[0]
    charset: str | None = None
    if encoded and first.count("'") >= 2:
        charset, _, first = first.split("'", 2)
        pieces = [(first, encoded), *pieces[1:]]
    data = b"".join(
        unquote_to_bytes(text.encode("latin-1")) if is_encoded else _unescape(text).encode("latin-1")
        for text, is_encoded in pieces
    )
    if charset is None and b"=?" in data:
        return decode_header(data)
    return decode_text(data, charset or None)[0]


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` without blank and repeated ones, each path followed by its last part."""
    found: dict[str, None] = {}
    for name in names:
        stripped = name.strip().strip("\0")
        if stripped:
            found[stripped] = None
            base = re.split(r"[/\\]", stripped)[-1].strip()
            if base:
                found[base] = None
    return tuple(found)
