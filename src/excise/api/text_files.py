"""Text files that people and Windows programs write: UTF-8 or UTF-16 with or without a BOM, else a Windows code page.

No encoding is guessed where guessing could give other text in silence: the caller gets the encoding's name and says it.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from excise.core.errors import UsageError
from excise.core.files import os_error, read_regular
from excise.core.text import shown

#: Larger files are no lists and no settings.
LIMIT = 64 << 20
#: What "ANSI" means on a Windows of Western Europe and the Americas.
ANSI = "cp1252"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file's text. ``encoding``: Python's name of it. ``assumed``: neither the content nor the caller tells the
    encoding, and there is something in it that another code page would read as other characters."""

    path: Path
    text: str
    encoding: str
    assumed: bool = False


def read_text(path: Path, encoding: str | None = None, limit: int = LIMIT) -> TextFile:
    """The text of the regular file at ``path`` (S27: no link, no device), decoded as ``encoding`` where it is given.

    Raises ``UsageError`` where it is too large or not such text, another ``ExciseError`` where it cannot be read.
    """
    try:
        data = read_regular(path, limit + 1)
    except OSError as error:
        raise os_error(error, path, "reading the file") from error
    if len(data) > limit:
        raise UsageError(f"{path}: expected a text file of {limit >> 20} MiB at most, found a larger one")
    found = _encoding(data) if encoding is None else encoding
    try:
        text = data.decode(found)
    except LookupError as error:
        raise UsageError(f"there is no encoding named {shown(found)!r}", hint="As in: utf-8, cp1250, cp932.") from error
    except (ValueError, UnicodeError) as error:
        raise UsageError(
            f"{path}: expected text in {found}, found other bytes ({shown(str(error), 120)})",
            hint="Save it as UTF-8.",
        ) from error
    return TextFile(path, text, found, encoding is None and found == ANSI)


def _encoding(data: bytes) -> str:
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    if b"\0" in data[:4096]:
        return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        data.decode("utf-8")
    except ValueError:
        return ANSI
    return "utf-8"
