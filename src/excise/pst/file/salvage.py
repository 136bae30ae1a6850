"""All that can be read of a PST or OST file of any kind, written into a new Unicode PST.

Unlike a copy (``compact``) this takes a file that is damaged, or of another format: each item is read whole and written
anew, property for property, under the NID that it had; what cannot be read whole is told and left out. The folders
are made anew with their names, classes and comments; search folders, which hold nothing of their own, are not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import IO, BinaryIO

from excise.core.errors import DamagedInput
from excise.pst.disk.damage import Damaged
from excise.pst.disk.formats import ANSI
from excise.pst.disk.ids import NID_TYPE_ASSOC_MESSAGE, NID_TYPE_CONTENTS_TABLE, nid_type, sibling_nid
from excise.pst.file.nowhere import Nowhere
from excise.pst.file.read import PstFile, open_pst
from excise.pst.ltp.values import PT_UNICODE, encode_value
from excise.pst.messaging import tags
from excise.pst.messaging.create_folder import FolderBuilder
from excise.pst.messaging.create_store import MAX_NAME, StoreBuilder
from excise.pst.messaging.folder import Folder
from excise.pst.messaging.new_message import NewMessage

#: Damage that loses nothing: where a block was to lie.
HARMLESS = frozenset({"wSig"})
_IPM_SUBTREE, _WASTEBASKET = 0x35E0, 0x35E3
_USUAL_SUBTREE = 0x8022
_SPAM_SEARCH = 0x2223
_WHY_NO_SEARCH = "what it searches for is in a form that nobody has described; no item is lost with it"
_ORPHANS = "(orphans)"
_MOST_TWINS = 1000
# Items that share blocks could make a small file a huge one.
_GROWTH, _LEAST = 8, 64 << 20


@dataclass(frozen=True, slots=True)
class Lost:
    """What is not in the new file: the NID of an item or folder, 0 for more than one; its folder's names; why."""

    nid: int
    path: tuple[str, ...]
    reason: str


@dataclass(slots=True)
class Salvage:
    """What a salvage came to: the folder of each item by its NID, as names below the root; what is not there.

    ``search_folders`` are not there either; they hold no items.
    """

    kept: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    search_folders: list[Lost] = field(default_factory=list)


def as_written(pst: PstFile, nid: int) -> NewMessage:
    """What ``salvage`` writes of the item ``nid`` of ``pst``. Damaged where it is not whole."""
    message = pst.message(nid)
    for damage in message.read_all():
        if damage.field not in HARMLESS:
            raise Damaged(damage)
    return NewMessage.of(message, pst.names, as_unicode=pst.ndb.format is ANSI, harmless=HARMLESS)


def salvage(
    source: str | os.PathLike[str] | IO[bytes],
    target: BinaryIO | None,
    *,
    without: AbstractSet[int] = frozenset(),
    codec: str = "cp1252",
) -> Salvage:
    """Write what can be read of ``source``, but for the items ``without`` (NIDs), into the new file ``target``.

    ``target`` is an open file to write and read, which loses what was in it; None only tells what it would come to.
    ``codec`` decodes the strings of an old (ANSI) file where an item does not name its code page, and folders' names.
    Text of such a file becomes Unicode where it is text in that code page.

    Errors as of ``excise.pst.open``; DamagedInput where it would be many times as large as its source.
    """
    with open_pst(source, codec=codec) as pst:
        work = _Salvager(pst, Nowhere() if target is None else target, without)
        work.run()
        if target is not None:
            work.store.close()
            target.flush()
        return work.done


class _Salvager:
    """One salvage of ``pst`` while it runs."""

    def __init__(self, pst: PstFile, target: BinaryIO, without: AbstractSet[int]) -> None:
        self._pst, self._without = pst, without
        self._subtree = self._special(_IPM_SUBTREE) or _USUAL_SUBTREE
        self._folders = {folder.nid: folder for folder in _below(pst.root)}
        self._used: set[int] = set()
        self.done = Salvage()
        top, basket = self._folders.get(self._subtree), self._folders.get(self._special(_WASTEBASKET))
        in_top = basket is not None and basket.parent is not None and basket.parent.nid == self._subtree
        self.store = StoreBuilder(
            target,
            self._text(tags.DISPLAY_NAME) or "Outlook data file",
            record_key=pst.record_key if len(pst.record_key or b"") == 16 else None,
            **({"top": _name(top)} if top is not None else {}),
            **({"wastebasket": _name(basket)} if basket is not None and in_top else {}),
        )

    def run(self) -> None:
        """Write all folders and items."""
        builders: dict[int, tuple[FolderBuilder, tuple[str, ...]]] = {}
        for folder in self._folders.values():
            own = self._own(folder.nid)
            if folder.is_search and not own and not folder.children:
                self._leave_out(folder, builders)
                continue
            builders[folder.nid] = self._place(folder, builders)
            self._put_all(*builders[folder.nid], own)
            self._tell_rows(folder, builders[folder.nid][1], own)
            folder.forget()
        orphans = [nid for parent in sorted(self._parents - self._folders.keys()) for nid in self._own(parent)]
        if orphans:
            self._put_all(self._new(self.store.top, _ORPHANS), (self.store.top.name, _ORPHANS), orphans)
        damage = [each for each in self._pst.damage if each.structure.startswith("NBT ")]
        self.done.lost += [Lost(0, (), f"items may be missing: {each.text()}") for each in damage]

    @property
    def _parents(self) -> set[int]:
        return {*self._pst.store.messages_of, *self._pst.store.associated_of}

    def _own(self, nid: int) -> list[int]:
        store = self._pst.store
        return sorted((*store.messages_of.get(nid, ()), *store.associated_of.get(nid, ())))

    def _place(
        self, folder: Folder, builders: dict[int, tuple[FolderBuilder, tuple[str, ...]]]
    ) -> tuple[FolderBuilder, tuple[str, ...]]:
        """The folder in the new file, and its names from below the root."""
        if folder.parent is None:
            return self.store.root, ()
        above, path = builders[folder.parent.nid]
        is_top = folder.nid == self._subtree and above is self.store.root
        builder = self.store.top if is_top else self._new(above, _name(folder))
        if folder.properties is None or not folder.display_name:
            self.done.lost.append(Lost(folder.nid, path, "the folder's name and class cannot be read"))
        else:
            builder.container_class = folder.properties.text(tags.CONTAINER_CLASS) or builder.container_class
            builder.comment = folder.properties.text(tags.COMMENT) or builder.comment
        self._used.add(builder.nid)
        return builder, (*path, builder.name)

    def _leave_out(self, folder: Folder, builders: dict[int, tuple[FolderBuilder, tuple[str, ...]]]) -> None:
        """Tell of a search folder. The one that every file has, the new one has too."""
        if folder.nid != _SPAM_SEARCH:
            path = builders[folder.parent.nid][1] if folder.parent is not None else ()
            self.done.search_folders.append(Lost(folder.nid, path, f"{_name(folder)!r}: {_WHY_NO_SEARCH}"))

    def _new(self, above: FolderBuilder, name: str) -> FolderBuilder:
        """A folder in ``above`` that nothing was put into yet; a number tells it from one of the same name."""
        for number in range(1, _MOST_TWINS):
            told = name if number == 1 else f"{name} ({number})"
            found = above.child(told)
            if found is None or (found.name == told and found.nid not in self._used and not found.is_search):
                return self.store.folder_in(above, told)
        raise DamagedInput(f"{self._pst.source.name}: {_MOST_TWINS} folders of one name in {above.name!r}")

    def _put_all(self, builder: FolderBuilder, path: tuple[str, ...], nids: list[int]) -> None:
        for nid in nids:
            if nid in self._without:
                continue
            try:
                new = as_written(self._pst, nid)
                add = self.store.add_associated if nid_type(nid) == NID_TYPE_ASSOC_MESSAGE else self.store.add
                add(builder, new, nid)
            except Damaged as error:
                self.done.lost.append(Lost(nid, path, error.damage.text()))
            except (ValueError, OverflowError) as error:
                self.done.lost.append(Lost(nid, path, f"a new file cannot hold it: {error}"))
            else:
                self.done.kept[nid] = path
            if self.store.size > _GROWTH * self._pst.source.size + _LEAST:
                raise DamagedInput(f"{self._pst.source.name}: its items are many times as large as the file")

    def _tell_rows(self, folder: Folder, path: tuple[str, ...], own: list[int]) -> None:
        """Rows of the contents table without an item in the folder. A search folder's are items of other folders."""
        table = sibling_nid(folder.nid, NID_TYPE_CONTENTS_TABLE)
        if not folder.is_search and self._pst.ndb.nodes.find(table) is not None:
            for nid in sorted(set(folder.row_nids).difference(own, self._without)):
                self.done.lost.append(Lost(nid, path, "the folder's table lists it, and it is not there"))

    def _special(self, prop_id: int) -> int:
        """The NID in an EntryID of the store; 0 where it has none that can be read."""
        try:
            value = b"" if self._pst.store.properties is None else self._pst.store.properties.raw(prop_id)
        except (Damaged, KeyError):
            return 0
        return int.from_bytes(value[20:24], "little") if len(value) == 24 else 0

    def _text(self, prop_id: int) -> str:
        properties = self._pst.store.properties
        return "" if properties is None else properties.text(prop_id) or ""


def _below(root: Folder) -> Iterator[Folder]:
    """Every folder, parents first."""
    stack = [root]
    while stack:
        folder = stack.pop()
        yield folder
        stack += reversed(folder.children)


def _name(folder: Folder) -> str:
    """A name that a folder can have: that of ``folder``, as far as possible."""
    text = "" if folder.properties is None else folder.display_name.replace("\0", "")
    cut = encode_value(PT_UNICODE, text.encode("utf-16-le", "replace").decode("utf-16-le"))[: 2 * (MAX_NAME - 8)]
    return cut.decode("utf-16-le", "ignore") or f"(0x{folder.nid:x})"
