"""Messages and folders added to an existing Unicode file ([MS-PST] 2.4), beside those that are in it.

A new message is a node, a row in the contents table of its folder with a cell for each column that the message has a
value for, and an entry in the two maps of the store. The number of rows and of unread ones stands in the folder's
properties and in its row in the table of the folder above. What is written anew keeps all that it held; what of it
cannot be read for certain is Damaged. Searches find new messages when Outlook runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_table import NewCell, Schema
from excise.pst.messaging import tags
from excise.pst.messaging.append_folder import Values, new_values, rebuild_folder, rebuild_rows, table_schema
from excise.pst.messaging.append_maps import IdMapAdditions, IndexAdditions
from excise.pst.messaging.append_names import ExistingNames
from excise.pst.messaging.create_folder import FolderBuilder, conversation_id
from excise.pst.messaging.create_message import MessageWriter, Written
from excise.pst.messaging.create_store import check_name
from excise.pst.messaging.folder import Folder
from excise.pst.messaging.new_message import NewMessage
from excise.pst.messaging.store import MessageStore
from excise.pst.messaging.templates import ASSOC_CONTENTS, CONTENTS, HIERARCHY
from excise.pst.ndb.edit import NodeEditor, SubnodeEntry
from excise.pst.ndb.read import Node

_IPM_SUBTREE, _REPLICA = 0x35E0, 0x0E34
_ENTRY_ID_SIZE, _ENTRY_ID_NID = 24, 20
_TABLES = (ids.NID_TYPE_HIERARCHY_TABLE, ids.NID_TYPE_CONTENTS_TABLE, ids.NID_TYPE_ASSOC_CONTENTS_TABLE)


@dataclass(slots=True)
class _Existing:
    """A folder that is in the file: as it is, what comes into it, and the folders in it by name."""

    folder: Folder
    builder: FolderBuilder
    children: dict[str, Folder] = field(default_factory=dict)

    @property
    def touched(self) -> bool:
        """True where something comes into it."""
        return bool(self.builder.messages or self.builder.associated or self.builder.children)


class Appender:
    """What is to be added to the file of ``editor``; ``finish`` writes all that is to change beside the messages."""

    def __init__(self, editor: NodeEditor) -> None:
        self._editor = editor
        self._store = MessageStore(editor.ndb, "cp1252")
        self._folders = {folder.nid: folder for folder in self._store.folders()}
        self._existing: dict[int, _Existing] = {}
        self._names = ExistingNames(editor.ndb, self._store.names)
        self._messages = MessageWriter(editor, self._names)
        highest = max((nid for nids in self._store.messages_of.values() for nid in nids), default=0)
        self._index = IndexAdditions(editor.ndb, highest)
        properties = self._store.properties
        self._ids = IdMapAdditions(editor.ndb, b"" if properties is None else properties.raw(_REPLICA))

    @property
    def top(self) -> int:
        """The NID of the IPM subtree, the top of the mailbox. Damaged where the store does not tell it."""
        properties = self._store.properties
        entry_id = b"" if properties is None else properties.raw(_IPM_SUBTREE)
        nid = int.from_bytes(entry_id[_ENTRY_ID_NID:], "little") if len(entry_id) == _ENTRY_ID_SIZE else 0
        if nid not in self._folders:
            raise Damaged(Damage("messaging", "store", "PidTagIpmSubTreeEntryId", "node 0x21", -1, "a folder", "none"))
        return nid

    def folder(self, path: Sequence[str], below: int | None = None) -> FolderBuilder:
        """The folder at ``path`` below the folder ``below``, the top of the mailbox where that is None.

        Made with those above it where it is not there yet. ValueError where a name is none, where it differs from that
        of another folder in case alone, for a search folder, and where there is no folder ``below``.
        """
        nid = self.top if below is None else below
        if nid not in self._folders:
            raise ValueError(f"there is no folder 0x{nid:x}")
        builder = self._known(self._folders[nid])
        for name in path:
            check_name(name)
            builder = self._child(builder, name)
        if builder.is_search:
            raise ValueError(f"{builder.name!r} is a search folder, which holds no messages")
        return builder

    @property
    def touched(self) -> bool:
        """True where there is something to write."""
        return any(each.touched for each in self._existing.values())

    def is_new(self, folder: FolderBuilder) -> bool:
        """True where ``folder`` is not in the file yet."""
        return folder.nid not in self._existing

    def add(self, folder: FolderBuilder, message: NewMessage) -> int:
        """Write ``message`` into ``folder`` and give its NID. Errors as of ``MessageWriter``; then it is not there."""
        self._prepare(folder)
        written = self._messages.write(message, no_flags=tags.FLAG_ASSOCIATED)
        nid = folder.add(self._editor, written)
        self._index.add(conversation_id(written), nid)
        return nid

    def add_associated(self, folder: FolderBuilder, message: NewMessage) -> int:
        """Write ``message`` as a folder-associated item, as ``add``."""
        self._prepare(folder)
        written: Written = self._messages.write(message, flags=tags.FLAG_ASSOCIATED)
        return folder.add_associated(self._editor, written)

    def finish(self) -> None:
        """Write folders, tables, names and maps. Damaged where one that has to be written anew cannot be read."""
        touched = [each for each in self._existing.values() if each.touched]
        new_rows: dict[int, list[Mapping[int, NewCell]]] = {}
        changed: dict[int, dict[int, Values]] = {}
        for each in touched:
            builder = each.builder
            for child, parent in _walk(builder):
                child.write(self._editor, parent)
            new_rows[builder.nid] = [child.hierarchy_row(self._editor) for child in builder.children.values()]
            values = self._write_folder(builder)
            if each.folder.parent is not None:
                changed.setdefault(each.folder.parent.nid, {})[builder.nid] = values
        for nid in new_rows.keys() | changed.keys():
            rows, cells = new_rows.get(nid, []), changed.get(nid, {})
            if rows or cells:
                self._write_table(nid, ids.NID_TYPE_HIERARCHY_TABLE, HIERARCHY, rows, cells)
        self._write_maps()

    def _write_folder(self, builder: FolderBuilder) -> Values:
        """Write the properties and the tables of a folder that is in the file; which of its properties are others."""
        ndb = self._editor.ndb
        values = new_values(ndb, builder)
        if builder.messages:
            self._write_table(builder.nid, ids.NID_TYPE_CONTENTS_TABLE, CONTENTS, builder.rows)
        if builder.associated:
            kind = ids.NID_TYPE_ASSOC_CONTENTS_TABLE
            self._write_table(builder.nid, kind, ASSOC_CONTENTS, builder.associated_rows)
        self._enter(builder.nid, rebuild_folder(self._editor, self._keep, ndb, builder.nid, values))
        return values

    def _write_table(
        self, folder: int, kind: int, schema: Schema, added: Iterable[Mapping[int, NewCell]],
        changed: Mapping[int, Values] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        nid = ids.sibling_nid(folder, kind)
        ndb = self._editor.ndb
        self._enter(nid, rebuild_rows(self._editor, self._keep, ndb, nid, schema, added, changed))

    def _write_maps(self) -> None:
        self._ids.keep_only({nid for nid in self._ids.nids if self._editor.entry(nid) is not None})
        for nid, changes in (
            (ids.NID_NAME_TO_ID_MAP, self._names),
            (ids.NID_MESSAGE_INDEX, self._index),
            (ids.NID_ID_MAP, self._ids),
        ):
            if changes.changed:
                self._enter(nid, changes.rebuild(self._editor, self._keep))

    def _child(self, builder: FolderBuilder, name: str) -> FolderBuilder:
        if builder.is_search:
            raise ValueError(f"{builder.name!r} is a search folder, which holds no folders")
        held = self._existing.get(builder.nid)
        children = {} if held is None else held.children
        if name in children:
            return self._known(children[name])
        found = builder.child(name)
        like = [each for each in children if each.casefold() == name.casefold()]
        other = like[0] if like else name if found is None else found.name
        if other != name:
            raise ValueError(f"a folder {name!r} beside {other!r}: Outlook does not tell them apart")
        return found or builder.append(self._new(name))

    def _new(self, name: str) -> FolderBuilder:
        nid = self._editor.next_nid(ids.NID_TYPE_NORMAL_FOLDER)
        while any(self._editor.entry(ids.sibling_nid(nid, kind)) for kind in _TABLES):
            nid = self._editor.next_nid(ids.NID_TYPE_NORMAL_FOLDER)
        return FolderBuilder(nid, name, more_cells=self._more_cells)

    def _more_cells(self, nid: int) -> Mapping[int, NewCell]:
        return self._ids.cells(nid, self._editor.next_unique())

    def _known(self, folder: Folder) -> FolderBuilder:
        if folder.nid not in self._existing:
            properties = folder.properties
            kind = None if properties is None else properties.text(tags.CONTAINER_CLASS)
            builder = FolderBuilder(folder.nid, folder.display_name, kind, more_cells=self._more_cells)
            held = self._existing[folder.nid] = _Existing(folder, builder)
            for child in folder.children:
                held.children.setdefault(child.display_name, child)
        return self._existing[folder.nid].builder

    def _prepare(self, builder: FolderBuilder) -> None:
        """Before the first item comes into a folder of the file: the layouts of its tables."""
        if builder.nid in self._existing and not (builder.messages or builder.associated):
            contents, associated = (
                ids.sibling_nid(builder.nid, kind)
                for kind in (ids.NID_TYPE_CONTENTS_TABLE, ids.NID_TYPE_ASSOC_CONTENTS_TABLE)
            )
            builder.contents = table_schema(self._editor.ndb, contents, CONTENTS)
            builder.associated_contents = table_schema(self._editor.ndb, associated, ASSOC_CONTENTS)

    def _keep(self, node: Node) -> SubnodeEntry:
        return SubnodeEntry(node.nid, self._editor.existing(node.bid_data), self._editor.existing(node.bid_sub))

    def _enter(self, nid: int, built: Built) -> None:
        entry = self._editor.entry(nid)
        tree = self._editor.subnode_tree(built.subnodes)
        self._editor.node(nid, built.data, tree, 0 if entry is None else entry.nidParent)


def _walk(top: FolderBuilder) -> Iterator[tuple[FolderBuilder, int]]:
    """Every new folder below ``top`` and the NID of its parent."""
    stack = [(child, top.nid) for child in top.children.values()]
    while stack:
        folder, parent = stack.pop()
        yield folder, parent
        stack += [(child, folder.nid) for child in folder.children.values()]
