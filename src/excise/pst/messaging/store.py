"""The message store and its tree of folders ([MS-PST] 2.4.2 to 2.4.4).

The tree is that of the NBT (nidParent), and of the hierarchy tables for a folder whose nidParent is no folder. A folder
that neither puts anywhere, one in a loop and one too deep stand at the top and are reported: none is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.ids import (
    NID_MESSAGE_STORE,
    NID_ROOT_FOLDER,
    NID_TYPE_ASSOC_MESSAGE,
    NID_TYPE_HIERARCHY_TABLE,
    NID_TYPE_NORMAL_FOLDER,
    NID_TYPE_NORMAL_MESSAGE,
    NID_TYPE_SEARCH_FOLDER,
    nid_type,
    sibling_nid,
)
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import TableContext
from excise.pst.messaging import tags
from excise.pst.messaging.folder import FailedItem, Folder
from excise.pst.messaging.message import Message
from excise.pst.messaging.names import NamedProperties
from excise.pst.ndb.read import NodeDatabase

MAX_FOLDER_DEPTH = 256
_MESSAGES = frozenset({NID_TYPE_NORMAL_MESSAGE, NID_TYPE_ASSOC_MESSAGE})
_FOLDERS = frozenset({NID_TYPE_NORMAL_FOLDER, NID_TYPE_SEARCH_FOLDER})


class MessageStore:
    """The messaging layer of one file. ``codec`` is for PtypString8 where an item does not say its own code page."""

    def __init__(self, ndb: NodeDatabase, codec: str) -> None:
        self.ndb = ndb
        self.codec = codec
        self.messages_of: dict[int, list[int]] = {}
        self.associated_of: dict[int, list[int]] = {}
        self._parents: dict[int, int] = {}
        self._sort_nodes()
        self._folders: dict[int, Folder] = {}
        self.root = self._folder(NID_ROOT_FOLDER, None)
        self.orphans: list[Folder] = []
        self._build_tree()

    @cached_property
    def properties(self) -> PropertyContext | None:
        """The store's own properties; None where they cannot be read, which is in the file's log."""
        node = self.ndb.node(NID_MESSAGE_STORE)
        try:
            if node is None:
                raise Damaged(_damage("NBT", "nid", "the message store", "a node", "none"))  # noqa: TRY301
            return PropertyContext(node, self.codec)
        except Damaged as error:
            self.ndb.log.add(error.damage)
            return None

    @cached_property
    def names(self) -> NamedProperties:
        """The named properties of this file."""
        return NamedProperties(self.ndb)

    @property
    def record_key(self) -> bytes | None:
        """The store's id: 16 bytes that every EntryID of the file carries."""
        return None if self.properties is None else self.properties.binary(tags.RECORD_KEY)

    @property
    def has_password(self) -> bool:
        """True where Outlook asks for a password. It protects nothing; reading does not need it."""
        return self.properties is not None and bool(self.properties.integer(tags.PST_PASSWORD))

    def folders(self) -> Iterator[Folder]:
        """Every folder, parents first: the tree below the root, then those that have no place in it."""
        stack = [*reversed(self.orphans), self.root]
        while stack:
            folder = stack.pop()
            yield folder
            stack += reversed(folder.children)

    def orphaned_items(self) -> Iterator[Message | FailedItem]:
        """Messages and associated items whose nidParent is no folder and that no contents table lists."""
        listed = {nid for folder in self.folders() for nid in (*folder.message_nids, *folder.associated_nids)}
        for table in (self.messages_of, self.associated_of):
            for parent, nids in sorted(table.items()):
                for nid in nids if parent not in self._folders else ():
                    if nid in listed:
                        continue
                    damage = _damage("NBTENTRY", "nidParent", f"message 0x{nid:x}", "a folder", f"0x{parent:x}")
                    self.ndb.log.add(damage)
                    try:
                        yield self.open(nid)
                    except Damaged as error:
                        yield FailedItem(nid, error.damage)

    def open(self, nid: int) -> Message:
        """The message or associated item ``nid``. Damaged where it is none, is not there or cannot be read."""
        if nid_type(nid) not in _MESSAGES:
            # A row of a contents table may name any node.
            raise Damaged(
                _damage("NBT", "nid", f"message 0x{nid:x}", "a NID of a message", f"type 0x{nid_type(nid):x}")
            )
        node = self.ndb.node(nid, DamageLog(self.ndb.log))
        if node is None:
            raise Damaged(_damage("NBT", "nid", f"message 0x{nid:x}", "a node", "none"))
        return Message(node, self.codec)

    def _sort_nodes(self) -> None:
        nodes = self.ndb.nodes
        messages, associated, folders = self.messages_of, self.associated_of, self._parents
        for nid, parent in zip(nodes.nids, nodes.parents, strict=True):
            kind = nid & 0x1F
            if kind == NID_TYPE_NORMAL_MESSAGE:
                messages.setdefault(parent, []).append(nid)
            elif kind == NID_TYPE_ASSOC_MESSAGE:
                associated.setdefault(parent, []).append(nid)
            elif kind in _FOLDERS:
                folders[nid] = parent

    def _folder(self, nid: int, parent: Folder | None) -> Folder:
        folder = self._folders[nid] = Folder(self, nid, parent)
        return folder

    def _build_tree(self) -> None:
        children: dict[int, list[int]] = {}
        homeless: list[int] = []
        for nid, parent in self._parents.items():
            # Templates for new folders and the like have no parent and no index of their own.
            if nid == NID_ROOT_FOLDER:
                continue
            (children.setdefault(parent, []) if parent in self._parents and parent != nid else homeless).append(nid)
        for nid, parent in self._parents_by_table(homeless).items():
            children.setdefault(parent, []).append(nid)
        self._attach(self.root, children)
        for nid in sorted(self._parents):
            if nid not in self._folders:
                folder = self._folder(nid, None)
                self.ndb.log.add(
                    _damage(
                        "NBTENTRY",
                        "nidParent",
                        f"folder 0x{nid:x}",
                        "a folder below the root",
                        f"0x{self._parents[nid]:x}",
                    )
                )
                self.orphans.append(folder)
                self._attach(folder, children)

    def _attach(self, top: Folder, children: dict[int, list[int]]) -> None:
        stack = [(top, 0)]
        while stack:
            folder, depth = stack.pop()
            for nid in sorted(children.get(folder.nid, ())):
                if nid not in self._folders and depth < MAX_FOLDER_DEPTH:
                    child = self._folder(nid, folder)
                    folder.children.append(child)
                    stack.append((child, depth + 1))

    def _parents_by_table(self, homeless: list[int]) -> dict[int, int]:
        """For folders without a parent in the NBT, the folder whose hierarchy table lists them."""
        found: dict[int, int] = {}
        wanted = {nid for nid in homeless if nid_type(nid) in _FOLDERS}
        for parent in self._parents if wanted else ():
            node = self.ndb.node(sibling_nid(parent, NID_TYPE_HIERARCHY_TABLE))
            if node is None:
                continue
            try:
                rows = [row_id for row_id, _ in TableContext(node).index]
            except Damaged as error:
                self.ndb.log.add(error.damage)
                continue
            for nid in wanted.intersection(rows):
                found.setdefault(nid, parent)
        return found


def _damage(structure: str, field: str, place: str, expected: str, found: str) -> Damage:
    return Damage("messaging", structure, field, place, -1, expected, found)
