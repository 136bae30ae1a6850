"""The store of a new file: the nodes that Outlook puts into an empty one, and the folders ([MS-PST] 2.4, 2.7)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from excise.pst.disk import ids
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_properties import Property, build_properties
from excise.pst.ltp.build_table import ROW_ID_TAG, ROW_VERSION_TAG, NewCell, build_table
from excise.pst.ltp.values import PT_BINARY, PT_BOOLEAN, PT_LONG, PT_UNICODE, encode_value
from excise.pst.messaging import tags
from excise.pst.messaging.create_folder import FolderBuilder, conversation_id
from excise.pst.messaging.create_index import MessageIndex, build_id_map
from excise.pst.messaging.create_message import MessageWriter
from excise.pst.messaging.create_names import NameMapBuilder
from excise.pst.messaging.names import PS_EXCISE, PSETID_COMMON, PropertyName
from excise.pst.messaging.new_message import NewMessage
from excise.pst.messaging.templates import RECEIVE_FOLDERS, SEARCH_CONTENTS, TEMPLATES
from excise.pst.ndb.write import NO_TREE, NodeWriter

MAX_NAME = 255
# The search folder that Outlook has in every file, and the nodes that stand without data.
_SEARCH_FOLDER = 0x2223
_SEARCH_QUEUE, _SEARCH_CRITERIA, _SEARCH_TABLE = 0x2226, 0x2227, 0x2230
_QUEUES = (ids.NID_SEARCH_MANAGEMENT_QUEUE, ids.NID_SEARCH_DOMAIN_OBJECT, 0xE41, 0xEC1, 0xF21, _SEARCH_QUEUE)
# Some readers refuse a map without a name of either kind.
_FIRST_NAMES = (PropertyName(PSETID_COMMON, 0x8506), PropertyName(PS_EXCISE, "OriginalMime"))
# IPM subtree, wastebasket, common views and finder are there.
_VALID_FOLDERS = 0xC9


class StoreBuilder:
    """A store that is being written to ``stream``. It has a place for every folder below ``top``, the IPM subtree."""

    def __init__(
        self,
        stream: BinaryIO,
        display_name: str,
        *,
        record_key: bytes | None = None,
        top: str = "Top of Outlook data file",
        wastebasket: str = "Deleted Items",
    ) -> None:
        """``record_key``: 16 bytes that every EntryID carries, drawn where there are none; ``top`` and ``wastebasket``
        are folders' names."""
        self._store_name = encode_value(PT_UNICODE, display_name)
        self._record_key = record_key or secrets.token_bytes(16)
        self._writer = NodeWriter(stream)
        self._names = NameMapBuilder()
        for name in _FIRST_NAMES:
            self._names.id_of(name)
        self._messages = MessageWriter(self._writer, self._names)
        self._index = MessageIndex()
        self._highest_message = ids.nid(ids.NID_TYPE_NORMAL_MESSAGE, 0x10000)
        self.root = FolderBuilder(ids.NID_ROOT_FOLDER, "")
        self.root.append(FolderBuilder(_SEARCH_FOLDER, "SPAM Search Folder 2"))
        self.top = self._child(self.root, top)
        self._finder = self._child(self.root, "Search Root")
        self._wastebasket = self._child(self.top, wastebasket, "Deleted Items folder")
        self._views = self._child(self.root, "IPM_COMMON_VIEWS", "")

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    def folder(self, path: Sequence[str]) -> FolderBuilder:
        """The folder at ``path`` below the IPM subtree, made with those above it where it is not there yet.

        ValueError where a name is empty, longer than 255 characters, no text, or differs from another in case alone.
        """
        folder = self.top
        for name in path:
            folder = self.folder_in(folder, name)
        return folder

    def folder_in(self, above: FolderBuilder, name: str) -> FolderBuilder:
        """The folder ``name`` in ``above``, made where it is not there yet. ValueError as of ``folder``."""
        check_name(name)
        found = above.child(name)
        if found is not None and found.name != name:
            raise ValueError(f"a folder {name!r} beside {found.name!r}: Outlook does not tell them apart")
        return found or self._child(above, name)

    def add(self, folder: FolderBuilder, message: NewMessage, nid: int | None = None) -> int:
        """Write ``message`` into ``folder`` and give its NID: ``nid``, which must be no other's, or the next.

        Errors as of ``MessageWriter``; then it is not there.
        """
        written = self._messages.write(message, no_flags=tags.FLAG_ASSOCIATED)
        nid = folder.add(self._writer, written, nid)
        conversation = conversation_id(written)
        if conversation is not None:
            self._index.add(conversation, nid)
        self._highest_message = max(self._highest_message, nid)
        return nid

    def add_associated(self, folder: FolderBuilder, message: NewMessage, nid: int | None = None) -> int:
        """Write ``message`` as a folder-associated item, as ``add``."""
        return folder.add_associated(self._writer, self._messages.write(message, flags=tags.FLAG_ASSOCIATED), nid)

    def close(self) -> None:
        """Write the folders and everything else, and complete the file. The stream stays open and is not synced."""
        for folder, parent in _walk(self.root):
            folder.write(self._writer, parent)
        self._write_search_folder()
        self._write_tables()
        for nid in _QUEUES:
            self._writer.node(nid, NO_TREE)
        self._enter(ids.NID_MESSAGE_STORE, build_properties(self._writer, self._store_properties()))
        self._enter(ids.NID_NAME_TO_ID_MAP, build_properties(self._writer, self._name_map()))
        self._enter(ids.NID_ID_MAP, build_id_map(self._writer))
        self._enter(ids.NID_MESSAGE_INDEX, self._index.build(self._writer, self._highest_message))
        self._writer.close()

    def _child(self, parent: FolderBuilder, name: str, comment: str | None = None) -> FolderBuilder:
        return parent.append(FolderBuilder(self._writer.next_nid(ids.NID_TYPE_NORMAL_FOLDER), name, comment=comment))

    def _write_search_folder(self) -> None:
        activity = self._writer.bytes_tree(_SEARCH_FOLDER.to_bytes(4, "little"))
        self._writer.node(ids.NID_SEARCH_ACTIVITY_LIST, activity)
        self._enter(_SEARCH_CRITERIA, build_properties(self._writer, [Property(0x660B, PT_LONG, bytes(4))]))
        self._enter(_SEARCH_TABLE, build_table(self._writer, SEARCH_CONTENTS, []))

    def _write_tables(self) -> None:
        receive: dict[int, NewCell] = {
            ROW_ID_TAG: (1).to_bytes(4, "little"),
            ROW_VERSION_TAG: self._writer.next_unique().to_bytes(4, "little"),
            tags.MESSAGE_CLASS << 16 | PT_UNICODE: b"",
            0x66050003: ids.NID_ROOT_FOLDER.to_bytes(4, "little"),
        }
        for nid, schema in TEMPLATES.items():
            self._enter(nid, build_table(self._writer, schema, [receive] if schema is RECEIVE_FOLDERS else []))

    def _store_properties(self) -> Iterator[Property]:
        record_key = self._record_key
        one = (1).to_bytes(4, "little")
        yield Property(0x0E34, PT_BINARY, one + secrets.token_bytes(16) + one)
        yield Property(0x0E38, PT_LONG, bytes(4))
        yield Property(tags.RECORD_KEY, PT_BINARY, record_key)
        yield Property(tags.DISPLAY_NAME, PT_UNICODE, self._store_name)
        yield Property(0x35DF, PT_LONG, _VALID_FOLDERS.to_bytes(4, "little"))
        folders = {0x35E0: self.top, 0x35E3: self._wastebasket, 0x35E6: self._views, 0x35E7: self._finder}
        for prop_id, folder in folders.items():
            yield Property(prop_id, PT_BINARY, bytes(4) + record_key + folder.nid.to_bytes(4, "little"))
        yield Property(0x6633, PT_BOOLEAN, b"\1")
        yield Property(0x66FA, PT_LONG, (0xE0011).to_bytes(4, "little"))
        yield Property(0x66FC, PT_LONG, secrets.randbelow(1 << 23).to_bytes(4, "little"))
        yield Property(tags.PST_PASSWORD, PT_LONG, bytes(4))

    def _name_map(self) -> Iterator[Property]:
        for prop_id, data in self._names.values().items():
            yield Property(prop_id, PT_LONG if prop_id == 1 else PT_BINARY, data)

    def _enter(self, nid: int, built: Built) -> None:
        self._writer.node(nid, built.data, self._writer.subnode_tree(built.subnodes))


def _walk(root: FolderBuilder) -> Iterator[tuple[FolderBuilder, int]]:
    """Every folder and the NID of its parent; the root is its own."""
    stack = [(root, root.nid)]
    while stack:
        folder, parent = stack.pop()
        yield folder, parent
        stack += [(child, folder.nid) for child in reversed(folder.children.values())]


def check_name(name: str) -> None:
    """ValueError where a folder cannot be called ``name``."""
    size = len(encode_value(PT_UNICODE, name)) // 2
    if not 0 < size <= MAX_NAME or "\0" in name:
        raise ValueError(f"a folder name of {size} characters; 1 to {MAX_NAME} are possible, and no NUL")
