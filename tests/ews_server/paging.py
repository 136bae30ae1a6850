"""Pages of a view: IndexedPage…View and FractionalPage…View."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lxml import etree

from .soap import Element, EwsError, flag

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a view and the attributes by which the answer tells which."""

    rows: Sequence[Row]
    attributes: dict[str, str]


def cut(rows: Sequence[Row], view: Element | None, limit: int, *, offset_always: bool = False) -> Page[Row]:
    """The page of `rows` that a view element asks for, of at most `limit` rows (0: any number)."""
    if view is None:
        return _page(rows, 0, len(rows), limit, {}, offset_always)
    wanted = int(view.get("MaxEntriesReturned") or len(rows) or 1)
    if wanted <= 0:
        raise EwsError("ErrorInvalidPagingMaxRows", "The maximum of rows must be greater than zero.")
    name = etree.QName(view).localname
    if name in ("CalendarView", "ContactsView"):
        return _page(rows, 0, wanted, limit, {}, offset_always)
    if name.startswith("Fractional"):
        numerator, denominator = int(view.get("Numerator", "0")), int(view.get("Denominator", "1"))
        if denominator <= 0 or not 0 <= numerator <= denominator:
            raise EwsError("ErrorInvalidFractionalPagingParameters", "The fraction is none.")
        start = len(rows) * numerator // denominator
        page = _page(rows, start, wanted, limit, {}, True)
        after = page.attributes.pop("IndexedPagingOffset")
        return Page(page.rows, {"NumeratorOffset": after, "AbsoluteDenominator": str(len(rows)), **page.attributes})
    if not name.startswith("Indexed"):
        raise EwsError("ErrorUnsupportedPathForQuery", f"{name} is not served here.")
    offset = int(view.get("Offset", "0"))
    if offset < 0:
        raise EwsError("ErrorInvalidIndexedPagingParameters", "The offset must not be negative.")
    if view.get("BasePoint") == "End":
        end = max(0, len(rows) - offset)
        start = max(0, end - (min(wanted, limit) if limit else wanted))
        attributes = {"IndexedPagingOffset": str(start), "TotalItemsInView": str(len(rows))}
        return Page(rows[start:end], {**attributes, "IncludesLastItemInRange": flag(start == 0)})
    return _page(rows, offset, wanted, limit, {}, offset_always)


def _page(
    rows: Sequence[Row], start: int, wanted: int, limit: int, attributes: dict[str, str], offset_always: bool
) -> Page[Row]:
    count = min(wanted, limit) if limit else wanted
    found = rows[start : start + count]
    last = start + count >= len(rows)
    if offset_always or not last:
        attributes["IndexedPagingOffset"] = str(min(start + len(found), len(rows)))
    attributes |= {"TotalItemsInView": str(len(rows)), "IncludesLastItemInRange": flag(last)}
    return Page(found, attributes)
