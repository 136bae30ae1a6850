"""TOML out of tables, with what a terminal or an editor could obey written as an escape (S27)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_toml(table: Mapping[str, Any]) -> str:
    """``table`` as TOML. Values: texts, whole numbers, booleans, lists of texts, and tables of these, which come last.

    ``tomllib`` reads it as it was. ``ValueError`` for a lone surrogate, which TOML cannot hold.
    """
    return "\n".join(_lines(table)) + "\n"


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{name} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield ""
            yield f"[{name}]"
            yield from _lines(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    made = [quoted(entry) for entry in value]
    return f"[{', '.join(made)}]" if len(made) < 2 else "[\n" + "".join(f"  {entry},\n" for entry in made) + "]"


def quoted(text: str) -> str:
    """``text`` as a basic string."""
    return f'"{"".join(map(_char, text))}"'


def _char(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char == " " or unicodedata.category(char)[0] not in "CZ":
        return char
    if unicodedata.category(char) == "Cs":
        raise ValueError(f"U+{ord(char):04X} is half of a character")
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
