"""Tables that people and other programs read: scope.csv, outcome.csv, items.csv. A cell is never a formula (S27)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

SCOPE = (
    "unit",
    "mailbox",
    "kind",
    "locator",
    "identity",
    "searched",
    "reason",
    "seen",
    "unreadable",
    "untestable",
    "matches",
    "match_bytes",
    "doubtful",
    "disposal",
    "removal_refused",
    "hold",
)
OUTCOME = ("unit", "mailbox", "item", "evidence", "id", "folder", "outcome", "detail", "part", "sha256", "size")
ITEMS = (
    "evidence",
    "unit",
    "part",
    "item",
    "source",
    "mailbox",
    "folder",
    "id",
    "version",
    "message_id",
    "mih",
    "sha256",
    "size",
    "delivered",
    "flags",
    "mbox_offset",
    "mbox_length",
    "eml",
    "synthesised_headers",
    "notes",
)
LOST = ("unit", "mailbox", "original", "id", "folder", "where", "reason")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def csv_cell(value: Any) -> str:
    """``value`` as a cell: None is empty; text that a spreadsheet might run as a formula is led by an apostrophe.

    Control characters are written as ``\\xNN``, and what is not Unicode text likewise.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        value = "; ".join(str(part) for part in value)
    text = str(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "'" + text if isinstance(value, str) and text.startswith(_FORMULA) else text


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A CSV table (RFC 4180, UTF-8) with a heading; a column that a row lacks is empty."""
    # Never a list of all rows: there may be very many.
    return _csv(chain((columns,), ([csv_cell(row.get(column)) for column in columns] for row in rows)))


def csv_row(columns: Sequence[str], row: Mapping[str, Any]) -> bytes:
    """One row of such a table, without its heading."""
    return _csv([[csv_cell(row.get(column)) for column in columns]])


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "backslashreplace")


def item_row(line: Mapping[str, Any], unit: int, part: int) -> dict[str, Any]:
    """A row of items.csv from an item's line in its part."""
    place = line.get("mbox") or {}
    headers = line.get("headers")
    return {
        **line,
        "unit": unit,
        "part": part,
        "mbox_offset": place.get("offset"),
        "mbox_length": place.get("length"),
        "synthesised_headers": None
        if headers is None
        else [name for name, origin in headers if origin == "synthesised"],
    }
