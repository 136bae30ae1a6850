"""Load files as review programs read them: Concordance DAT, and CSV.

DAT: UTF-8 with a byte-order mark, a heading, CR LF. Each value stands between two thorns (U+00FE), one inside of it is
doubled; values are parted by U+0014, which Concordance shows as a pilcrow; a line end inside a value is U+00AE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from excise.case.records import csv_bytes, csv_row
from excise.core.files import durable_file

QUOTE, DELIMITER, NEW_LINE = "\u00fe", "\x14", "\u00ae"
_LINE_ENDS = re.compile(r"\r\n|[\r\n\u0085\u2028\u2029]")


def dat_value(value: Any) -> str:
    """``value`` between its thorns. Lists are parted by ``; ``; control characters are written as ``\\xNN``."""
    if value is None:
        text = ""
    elif isinstance(value, (list, tuple)):
        text = "; ".join(map(str, value))
    else:
        text = str(value)
    if not text.isprintable():
        text = _LINE_ENDS.sub(NEW_LINE, text)
        text = "".join(c if c.isprintable() or c in "\u00ad\u3000\u00a0" else _escaped(c) for c in text)
    return f"{QUOTE}{text.replace(QUOTE, QUOTE * 2)}{QUOTE}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def dat_line(values: Sequence[Any]) -> bytes:
    """One line of a DAT file."""
    return (DELIMITER.join(map(dat_value, values)) + "\r\n").encode("utf-8", "backslashreplace")


class LoadFile:
    """loadfile.dat and loadfile.csv, written row by row; they have their names when the block has ended well."""

    def __init__(self, place: Path, columns: Sequence[str]) -> None:
        """Start both in the directory ``place``."""
        self._columns = columns
        self._files = ExitStack()
        self._dat = self._files.enter_context(durable_file(place / "loadfile.dat"))
        self._csv = self._files.enter_context(durable_file(place / "loadfile.csv"))
        self._dat.write(b"\xef\xbb\xbf" + dat_line(columns))
        self._csv.write(csv_bytes(columns, ()))

    def add(self, row: Mapping[str, Any]) -> None:
        """One document."""
        self._dat.write(dat_line([row.get(column) for column in self._columns]))
        self._csv.write(csv_row(self._columns, row))

    def __enter__(self) -> LoadFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
