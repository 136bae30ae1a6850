"""Listing what lies in folders, and reading items, in few requests.

A listing is whole or an error: each page begins with the last row of the page before it, so that a view that shifted
while it was read is noticed and read again; and it has as many rows as the server says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from excise.core.errors import ExciseError
from excise.store_api.errors import MailboxChanged
from excise.stores.ews import bodies, codes
from excise.stores.ews.account import Account
from excise.stores.ews.bodies import FolderRef
from excise.stores.ews.item import ROW_FIELDS, EwsItem
from excise.stores.ews.server import refusal
from excise.stores.ews.soap import Answer, Element, children, find
from excise.stores.ews.tree import FolderNode

_PAGE = 1000
#: Rows that several folders together may have in one request (Exchange's EWSFindCountLimit is 1,000 in flight).
_TOGETHER = 800
_FOLDERS = 40
_PASSES = 4
_ITEMS = 50
_BYTES = 16 << 20
_ID = re.compile(r"[A-Za-z0-9+/]{4,2000}={0,2}")


class Shifted(Exception):
    """The view changed between two pages."""


class _FolderRefused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


def list_folders(
    account: Account, nodes: Iterable[FolderNode], restriction: str = ""
) -> Iterator[tuple[FolderNode, list[EwsItem] | ExciseError]]:
    """Each folder with its rows, or with the error that listing it gave; small ones are asked for together."""
    for group in _groups(nodes):
        if len(group) == 1:
            yield group[0], _listed_or_error(account, group[0], restriction)
            continue
        refs = [FolderRef(node.id) for node in group]
        body = bodies.find_item(refs, ROW_FIELDS, offset=0, count=_PAGE, restriction=restriction)
        answers = account.call("FindItem", body, expected=len(group)).answers
        pages = [(node, _page(answer)) for node, answer in zip(group, answers, strict=True)]
        rows = {node.id: [] if page is None else _rows(page, node.path) for node, page in pages}
        # Answers in another order would give a folder the rows of another one, or none: then no answer is believed.
        mixed = any(row.parent in rows and row.parent != node for node, some in rows.items() for row in some)
        for node, page in pages:
            if page is not None and not mixed and _is_last(page):
                yield node, rows[node.id]
            else:
                yield node, _listed_or_error(account, node, restriction)


def list_folder(account: Account, node: FolderNode, restriction: str = "") -> list[EwsItem]:
    """Every row of ``node`` that fulfils ``restriction``, the oldest first.

    A MailboxChanged where the folder never held still; a restriction that the server does not know is left out.
    """
    for _ in range(_PASSES):
        try:
            return _pass(account, node, restriction)
        except Shifted:
            continue
        except _FolderRefused as refused:
            if restriction and refused.answer.code in codes.NO_RESTRICTION:
                return list_folder(account, node)
            raise refusal(account.place.name, refused.answer.code, refused.answer.text) from refused
    raise MailboxChanged(
        f"{account.place.name}: the folder {node.path!r} changed each time it was listed",
        hint="Run the command again when less happens in it.",
    )


def _listed_or_error(account: Account, node: FolderNode, restriction: str) -> list[EwsItem] | ExciseError:
    try:
        return list_folder(account, node, restriction)
    except MailboxChanged:
        raise
    except ExciseError as error:
        return error


def _pass(account: Account, node: FolderNode, restriction: str) -> list[EwsItem]:
    found: dict[str, EwsItem] = {}
    last = ""
    while True:
        offset = max(0, len(found) - 1)
        refs = [FolderRef(node.id)]
        body = bodies.find_item(refs, ROW_FIELDS, offset=offset, count=_PAGE, restriction=restriction)
        answer = account.call("FindItem", body, expected=1).answers[0]
        page = _page(answer)
        if page is None:
            raise _FolderRefused(answer)
        rows = _rows(page, node.path)
        if found and (not rows or rows[0].id != last):
            raise Shifted
        before = len(found)
        found.update((row.id, row) for row in rows)
        if _is_last(page):
            total = page.get("TotalItemsInView", "")
            if total.isascii() and total.isdigit() and int(total) > len(found):
                raise Shifted
            return list(found.values())
        if len(found) == before:
            raise Shifted
        last = rows[-1].id


def _page(answer: Answer) -> Element | None:
    return find(answer.element, "m:RootFolder") if answer.ok else None


def _is_last(page: Element) -> bool:
    return str(page.get("IncludesLastItemInRange", "")).lower() in ("true", "1")


def _rows(page: Element, path: str) -> list[EwsItem]:
    return [item for one in children(find(page, "Items")) if (item := EwsItem(one, path)).id]


def _groups(nodes: Iterable[FolderNode]) -> Iterator[list[FolderNode]]:
    group: list[FolderNode] = []
    rows = 0
    for node in nodes:
        if group and (rows + node.count > _TOGETHER or len(group) == _FOLDERS):
            yield group
            group, rows = [], 0
        group.append(node)
        rows += node.count
    if group:
        yield group


def read_items(account: Account, ids: Sequence[str], fields: Iterable[str], *, mime: bool = False) -> dict[str, Answer]:
    """GetItem of every id (all of them ids by their form), in one request; one answer each."""
    shape = tuple(fields)
    answers = account.each("GetItem", ids, lambda some: bodies.get_item(some, shape, mime=mime))
    return {asked: _about(asked, answer) for asked, answer in answers.items()}


def _about(asked: str, answer: Answer) -> Answer:
    """``answer``, or a refusal where it is about another item: an equal twin must not go in the place of the target."""
    item = item_of(answer, "")
    if item is None or item.id == asked:
        return answer
    return replace(answer, code=codes.OTHER_ITEM, text="the server answered with another item than was asked for")


def batches(items: Iterable[EwsItem], most: int = _ITEMS) -> Iterator[list[EwsItem]]:
    """``items`` in batches of bounded number and size."""
    batch: list[EwsItem] = []
    size = 0
    for item in items:
        if batch and (len(batch) == most or size + item.size > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def item_of(answer: Answer, folder: str) -> EwsItem | None:
    """The item that a GetItem answered with; None where there is none."""
    element = next(children(find(answer.element, "m:Items")), None) if answer.ok else None
    return None if element is None else EwsItem(element, folder, answer.bulk)


def is_item_id(text: str) -> bool:
    """True for what has the form of an item's id; anything else is never sent."""
    return _ID.fullmatch(text) is not None
