"""How much a part of a mailbox holds: what its folders say of themselves, in two requests up to 500 folders."""

from __future__ import annotations

from dataclasses import dataclass

from excise.core.errors import ExciseError
from excise.store_api.protocols import Measure
from excise.stores.ews import codes
from excise.stores.ews.account import Account
from excise.stores.ews.bodies import MESSAGE_SIZE, extended
from excise.stores.ews.place import Access, Part
from excise.stores.ews.soap import Element, find, find_all, local_name, text_at
from excise.stores.ews.tree import FIELDS, ROOTS, ask_folders, find_below, folder_of, ref

_FIELDS = (*FIELDS, extended(MESSAGE_SIZE))


@dataclass(slots=True)
class _Sum:
    """Items and bytes so far; None once a folder did not tell its own."""

    items: int | None = 0
    size: int | None = 0

    def add(self, folder: Element) -> None:
        """Add what ``folder`` says of itself; a search folder shows what lies elsewhere."""
        if local_name(folder) == "SearchFolder":
            return
        count, size = _number(text_at(folder, "TotalCount")), _number(_size(folder))
        self.items = None if self.items is None or count is None else self.items + count
        self.size = None if self.size is None or size is None else self.size + size


def measure(account: Account) -> Measure:
    """How much the part of ``account`` holds. A folder that cannot be asked makes it unknown: never a sum of some."""
    part = account.place.part
    if part is Part.PUBLIC:
        return Measure(why="public folders are not counted: they are many, and are listed level by level")
    try:
        return _measured(account, ROOTS[part])
    except ExciseError as error:
        return Measure(why=error.text())


def _measured(account: Account, roots: tuple[str, ...]) -> Measure:
    total = _Sum()
    for name, answer in zip(roots, ask_folders(account, [ref(account, one) for one in roots], _FIELDS), strict=True):
        if answer.code in codes.NO_FOLDER:
            continue
        if not answer.ok:
            return Measure(why=f"the folder {name} cannot be asked: {answer}")
        root = folder_of(answer)
        total.add(root)
        if text_at(root, "ChildFolderCount") != "0":
            for folder in find_below(account, _id(root), deep=True, fields=_FIELDS):
                total.add(folder)
    # The server leaves out in silence what a delegate may not see.
    why = "of the folders that this delegate may see" if account.access is Access.DELEGATE else ""
    if total.size is None or total.items is None:
        why = "a folder does not tell how much it holds"
    return Measure(total.items, total.size, why)


def _size(folder: Element) -> str | None:
    values = [text_at(one, "Value") for one in find_all(folder, "ExtendedProperty")]
    return values[0] if len(values) == 1 else None


def _id(folder: Element) -> str:
    found = find(folder, "FolderId")
    return "" if found is None else str(found.get("Id", ""))


def _number(told: str | None) -> int | None:
    """A number that a server tells; None for none, or for what is none."""
    return int(told) if told and told.isascii() and told.isdigit() and len(told) < 19 else None
