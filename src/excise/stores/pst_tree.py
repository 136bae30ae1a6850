"""The folders and items of a PST file, in the order of its node tree.

Every node of the types message (4) and associated item (8) is an item ([MS-PST] 2.2.2.1), whatever its class; nothing
that is there is passed over in silence:

- Folders come from the node tree, not from the hierarchy tables, so that a hidden folder is walked too. What lies in
  the IPM subtree ("Top of Outlook data file") has its path from there, as Outlook shows it; items in the subtree itself
  have the empty path. Folders outside it (search folders, views, free/busy data) begin with ``(root)``.
- Associated items (FAI: views, rules, conversation actions) are searched like any other, and are doubtful to remove.
- Orphans (nodes whose parent is no folder below the root) are searched under ``(orphans)``.
- A folder whose name or contents table cannot be read, and a row of a contents table whose item is not in the folder,
  are ``Unreadable``.

What is deleted and only lies in unused space is not searched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from excise.core.text import shown
from excise.mapi import codepages
from excise.mapi.properties import DEFAULT_CODE_PAGE, PropertyBag, decode_string8
from excise.mapi.tags import PidTagInternetCodepage, PidTagMessageCodepage, PropertyType
from excise.pst.disk.ids import NID_TYPE_ASSOC_MESSAGE, NID_TYPE_CONTENTS_TABLE, nid_type, sibling_nid
from excise.pst.messaging import tags
from excise.pst.messaging.folder import Folder
from excise.store_api.protocols import Unreadable
from excise.stores.pst_file import PstFile, Unreachable, reading

ROOT, ORPHANS = "(root)", "(orphans)"
_ASKED_FOR_CODE_PAGE = 1000
_ASKED_IN_A_FOLDER = 100


@dataclass(frozen=True, slots=True)
class PstFolder:
    """A folder: its path, and the NIDs of its items, messages and associated items together, ascending.

    ``folder`` is None for the orphans.
    """

    path: str
    nids: tuple[int, ...]
    folder: Folder | None = None

    def forget(self) -> None:
        """Let go of what was read of its tables."""
        if self.folder is not None:
            self.folder.forget()


@dataclass(frozen=True, slots=True)
class PstNode:
    """An item: its NID, and its folder's path."""

    nid: int
    folder: str

    @property
    def id(self) -> str:
        """The item's id."""
        return f"{self.nid:#x}"

    @property
    def associated(self) -> bool:
        """True for an associated (hidden) item."""
        return nid_type(self.nid) == NID_TYPE_ASSOC_MESSAGE


class PstTree:
    """A walk over a file: ``for folder in PstTree(file): …``, and what of it cannot be read."""

    def __init__(self, file: PstFile) -> None:
        self._file = file
        self._store = file.reader.store

    def __iter__(self) -> Iterator[PstFolder]:
        paths: dict[int, str] = {}
        for folder in self._below_root():
            # Each walk says anew what is wrong.
            folder.forget()
            path = paths[folder.nid] = self._path(folder, paths)
            yield PstFolder(path, self._own(folder.nid), folder)
        orphans = self._orphans(paths.keys())
        if orphans:
            yield PstFolder(ORPHANS, orphans)

    @property
    def codec(self) -> str:
        """What the folder names of an ANSI file are decoded with."""
        return codepages.codec(self._code_page) or "cp1252"

    def problems(self, found: PstFolder) -> Iterator[Unreadable]:
        """What of the folder itself cannot be read, and what its contents table lists that is not in it."""
        if found.folder is not None:
            yield from self._unnamed(found.folder, found.path)
            yield from self._rows_without_items(found.folder, found.path)

    def _below_root(self) -> Iterator[Folder]:
        stack = [self._store.root]
        while stack:
            folder = stack.pop()
            yield folder
            stack += reversed(folder.children)

    def _own(self, nid: int) -> tuple[int, ...]:
        return tuple(sorted((*self._store.messages_of.get(nid, ()), *self._store.associated_of.get(nid, ()))))

    def _orphans(self, folders: Iterable[int]) -> tuple[int, ...]:
        parents = {*self._store.messages_of, *self._store.associated_of}.difference(folders)
        return tuple(nid for parent in sorted(parents) for nid in self._own(parent))

    def _unnamed(self, folder: Folder, path: str) -> Iterator[Unreadable]:
        if folder.properties is None or self._raw_name(folder) is None:
            reason = folder.log.entries[0].text() if folder.log else "its name cannot be read"
            yield Unreadable(f"the folder {shown(path)!r}", reason, path, f"{folder.nid:#x}")

    def _path(self, folder: Folder, paths: dict[int, str]) -> str:
        if folder.nid == self._file.subtree_nid:
            return ""
        if folder.parent is None:
            return ROOT
        parent = paths[folder.parent.nid]
        name = self._name(folder).replace("/", "%2F") or f"({folder.nid:#x})"
        return f"{parent}/{name}" if parent else name

    def _raw_name(self, folder: Folder) -> bytes | None:
        """The name as it is stored, empty where there is none; None where it cannot be read."""
        try:
            with reading():
                return b"" if folder.properties is None else folder.properties.raw(tags.DISPLAY_NAME)
        except Unreachable:
            return None

    def _name(self, folder: Folder) -> str:
        raw, properties = self._raw_name(folder), folder.properties
        if not raw or properties is None:
            return ""
        if properties.type_of(tags.DISPLAY_NAME) == PropertyType.String8 and not raw.isascii():
            with suppress(ValueError):
                return decode_string8(raw, self._code_page)
        return properties.text(tags.DISPLAY_NAME) or ""

    @cached_property
    def _code_page(self) -> int:
        """The code page of an ANSI file's folder names: that of the first item which names one, if it comes early."""
        items = (nid for folder in self._below_root() for nid in self._own(folder.nid)[:_ASKED_IN_A_FOLDER])
        for nid in islice(items, _ASKED_FOR_CODE_PAGE):
            bag = self._code_pages_of(nid)
            if PidTagMessageCodepage in bag or PidTagInternetCodepage in bag:
                return bag.code_page
        return DEFAULT_CODE_PAGE

    def _code_pages_of(self, nid: int) -> PropertyBag:
        try:
            with reading():
                properties = self._file.reader.message(nid).properties
                found = [tag for tag in (PidTagMessageCodepage, PidTagInternetCodepage) if tag.id in properties]
                return PropertyBag.from_raw([(tag.value, properties.raw(tag.id)) for tag in found])
        except Unreachable:
            # The search reports the item.
            return PropertyBag()

    def _rows_without_items(self, folder: Folder, path: str) -> Iterator[Unreadable]:
        """Rows of the contents table without an item here. A search folder's rows are items of other folders."""
        if folder.is_search:
            return
        where = f"of the contents table of the folder {shown(path)!r}"
        own = frozenset(self._store.messages_of.get(folder.nid, ()))
        before = len(folder.log.entries)
        rows = self._rows(folder)
        for damage in folder.log.entries[before:]:
            yield Unreadable(f"the rows {where}", damage.text(), path)
        for number, nid in enumerate(rows, 1):
            if nid not in own:
                yield Unreadable(f"row {number} {where}", f"its item {nid:#x} is not in the folder", path)

    def _rows(self, folder: Folder) -> list[int]:
        """The NIDs in the contents table, in its order; what cannot be read is in the folder's log."""
        if self._file.reader.ndb.nodes.find(sibling_nid(folder.nid, NID_TYPE_CONTENTS_TABLE)) is None:
            return []
        return folder.row_nids
