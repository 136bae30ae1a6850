"""The folders and items of a PST file, in the order of its node tree.

Every node of the types message (4) and associated item (8) is an item ([MS-PST] 2.2.2.1), whatever its class; nothing
that is there is passed over in silence:

- Folders come from the node tree, not from the hierarchy tables, so that a hidden folder is walked too. What lies in
  the IPM subtree ("Top of Outlook data file") has its path from there, as Outlook shows it; items in the subtree itself
  have the empty path. Folders outside it (search folders, views, free/busy data) begin with ``(root)``.
- Associated items (FAI: views, rules, conversation actions) are searched like any other, and are doubtful to remove.
- Orphans (nodes whose parent is gone) are searched under ``(orphans)``.
- A row of a contents table whose item is not there, and a node that libpff cannot open, are ``Unreadable``.

What is deleted and only lies in unused space is not searched: libpff's recovery has no call in Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from excise.mapi.properties import DEFAULT_CODE_PAGE, PropertyBag, decode_string8
from excise.mapi.tags import PidTagInternetCodepage, PidTagMessageCodepage
from excise.store_api.protocols import Unreadable
from excise.stores.pst_file import PstFile, Unreachable, entries, libpff, record_values

ROOT, ORPHANS = "(root)", "(orphans)"
_FOLDER_TYPES, _ITEM_TYPES, _SEARCH_FOLDER, _ASSOCIATED = (2, 3), (4, 8), 3, 8
_CONTENT_COUNT, _DISPLAY_NAME = 0x3602, 0x3001
_DEPTH = 256
_ASKED_FOR_CODE_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PstFolder:
    """A folder: its node id and path; ``node`` is libpff's object."""

    nid: int
    path: str
    node: Any
    depth: int = 0


@dataclass(frozen=True, slots=True)
class PstNode:
    """An item that can be opened: its id, its folder's path, libpff's object, and how to get that again."""

    id: str
    nid: int
    folder: str
    node: Any
    parent: Any
    position: int

    @property
    def associated(self) -> bool:
        """True for an associated (hidden) item."""
        return self.nid & 31 == _ASSOCIATED

    def forget(self) -> PstNode:
        """The same without libpff's object, which holds the item's values in memory."""
        return replace(self, node=None)

    def again(self) -> Any:
        """libpff's object, opened anew."""
        with libpff():
            return _open(self.parent, self.position)


class PstTree:
    """A walk over a file: ``for found in PstTree(file): …``, folders before what is in them."""

    def __init__(self, file: PstFile) -> None:
        self._file = file
        self._seen: set[int] = set()
        self._lost = False

    def __iter__(self) -> Iterator[PstFolder | PstNode | Unreadable]:
        self._seen.clear()
        self._lost = False
        nid = self._nid_of(self._file.root)
        root = PstFolder(nid, "" if nid == self._file.subtree_nid else ROOT, self._file.root)
        yield from self._folders(root)
        yield from self._orphans()
        if self._lost:
            yield from self._parentless()

    def _folders(self, first: PstFolder) -> Iterator[PstFolder | PstNode | Unreadable]:
        stack = [first]
        while stack:
            folder = stack.pop()
            yield folder
            inner: list[PstFolder] = []
            for found in self._children(folder):
                if isinstance(found, PstFolder):
                    inner.append(found)
                else:
                    yield found
            stack.extend(reversed(inner))

    def _children(self, folder: PstFolder) -> Iterator[PstFolder | PstNode | Unreadable]:
        """The folders and items in ``folder``, then what its contents table has and the node tree has not."""
        try:
            with libpff():
                count = folder.node.number_of_sub_items
        except Unreachable as error:
            yield Unreadable(f"the folder {folder.path!r}", str(error), folder.path)
            return
        items = 0
        for position in range(count):
            found = self._child(folder, position)
            items += isinstance(found, Unreadable) or (isinstance(found, PstNode) and not found.associated)
            if found is not None:
                yield found
        if folder.nid & 31 != _SEARCH_FOLDER:
            yield from self._missing(folder, items)

    def _child(self, folder: PstFolder, position: int) -> PstFolder | PstNode | Unreadable | None:
        try:
            with libpff():
                node = _open(folder.node, position)
                nid = node.identifier
        except Unreachable as error:
            return Unreadable(f"entry {position + 1} of the folder {folder.path!r}", str(error), folder.path)
        return self._place(node, nid, folder, position)

    def _place(self, node: Any, nid: int, folder: PstFolder, position: int) -> PstFolder | PstNode | Unreadable | None:
        if nid & 31 not in (*_FOLDER_TYPES, *_ITEM_TYPES):
            return None
        if nid in self._seen:
            return Unreadable(f"node {nid:#x}", "two nodes of the file have this number", folder.path, f"{nid:#x}")
        self._seen.add(nid)
        if nid & 31 in _ITEM_TYPES:
            return PstNode(f"{nid:#x}", nid, folder.path, node, folder.node, position)
        if folder.depth >= _DEPTH:
            return Unreadable(f"node {nid:#x}", f"folders are nested deeper than {_DEPTH} levels", folder.path)
        try:
            return PstFolder(nid, self._path(folder.path, node, nid), node, folder.depth + 1)
        except Unreachable as error:
            return Unreadable(f"the folder {nid:#x} in {folder.path!r}", str(error), folder.path, f"{nid:#x}")

    def _path(self, parent: str, node: Any, nid: int) -> str:
        if nid == self._file.subtree_nid:
            return ""
        name = self._name(node).replace("/", "%2F") or f"({nid:#x})"
        return f"{parent}/{name}" if parent else name

    def _name(self, node: Any) -> str:
        with libpff():
            name = node.name if hasattr(node, "get_name") else None
        if name and self._file.is_ansi and not name.isascii():
            raw = record_values(node).get(_DISPLAY_NAME, b"")
            with suppress(ValueError):
                return decode_string8(raw, self._code_page)
        return name or ""

    @cached_property
    def _code_page(self) -> int:
        """The code page of an ANSI file's folder names: that of the first item which names one, if it comes early."""
        stack, asked = [self._file.root], 0
        while stack and asked < _ASKED_FOR_CODE_PAGE:
            parent = stack.pop()
            try:
                with libpff():
                    nodes = [parent.get_sub_item(position) for position in range(min(parent.number_of_sub_items, 100))]
            except Unreachable:
                continue
            for node in nodes:
                asked += 1
                try:
                    bag = PropertyBag.from_raw(entries(node, 0))
                except Unreachable:
                    continue
                if PidTagMessageCodepage in bag or PidTagInternetCodepage in bag:
                    return bag.code_page
            stack += reversed(nodes)
        return DEFAULT_CODE_PAGE

    def _missing(self, folder: PstFolder, items: int) -> Iterator[Unreadable]:
        """Rows of the contents table without an item; the table is read only where the folder's own count is higher."""
        where = f"of the contents table of the folder {folder.path!r}"
        try:
            declared = int.from_bytes(record_values(folder.node).get(_CONTENT_COUNT, b""), "little")
            if declared <= items or not hasattr(folder.node, "get_number_of_sub_messages"):
                return
            with libpff():
                rows = folder.node.number_of_sub_messages
        except Unreachable as error:
            yield Unreadable(f"the rows {where}", str(error), folder.path)
            return
        for row in range(rows):
            try:
                with libpff():
                    folder.node.get_sub_message(row)
            except Unreachable as error:
                self._lost = True
                yield Unreadable(f"row {row + 1} {where}", str(error), folder.path)

    def _orphans(self) -> Iterator[PstNode | Unreadable]:
        try:
            with libpff():
                count = self._file.handle.number_of_orphan_items
        except Unreachable as error:
            yield Unreadable("the orphaned items", str(error), ORPHANS)
            return
        home = PstFolder(0, ORPHANS, _Orphans(self._file.handle))
        for position in range(count):
            try:
                with libpff():
                    node = _open(home.node, position)
                    nid = node.identifier
            except Unreachable as error:
                yield Unreadable(f"orphan {position + 1}", str(error), ORPHANS)
                continue
            # An orphaned folder is passed over: each item in it is an orphan of its own.
            found = self._place(node, nid, home, position) if nid & 31 in _ITEM_TYPES else None
            if isinstance(found, PstNode | Unreadable):
                yield found

    def _parentless(self) -> Iterator[PstFolder | PstNode]:
        """Items that name no parent. Other nodes without one are tables and queues, some with nothing to open."""
        try:
            with libpff():
                top = self._file.handle.get_root_item()
                count = top.number_of_sub_items if top is not None else 0
        except Unreachable:
            # The rows that led here have been reported already.
            return
        home = PstFolder(0, ORPHANS, top)
        for position in range(count):
            try:
                with libpff():
                    node = _open(top, position)
                    nid = node.identifier
            except Unreachable:
                continue
            if nid & 31 in _ITEM_TYPES and nid not in self._seen:
                found = self._place(node, nid, home, position)
                if isinstance(found, PstNode):
                    yield found

    def _nid_of(self, node: Any) -> int:
        try:
            with libpff():
                return int(node.identifier)
        except Unreachable:
            return 0


class _Orphans:
    """The orphaned items with the face of a folder."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def get_sub_item(self, position: int) -> Any:
        """The orphan at ``position``."""
        return self._handle.get_orphan_item(position)


def _open(parent: Any, position: int) -> Any:
    node = parent.get_sub_item(position)
    if node is None:
        raise ValueError(f"entry {position + 1} is empty")
    return node
