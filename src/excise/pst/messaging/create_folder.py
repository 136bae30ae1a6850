"""Folders of a new file: their items while they come in, and their four nodes at the end ([MS-PST] 2.4.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from excise.pst.disk import ids
from excise.pst.disk.heaps import MAX_HEAP_ITEM
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_properties import Property, build_properties
from excise.pst.ltp.build_table import ROW_ID_TAG, ROW_VERSION_TAG, NewCell, Schema, build_table
from excise.pst.ltp.values import PT_BINARY, PT_BOOLEAN, PT_LONG, PT_UNICODE, encode_value
from excise.pst.messaging import tags
from excise.pst.messaging.create_message import Written
from excise.pst.messaging.create_rows import Rows
from excise.pst.messaging.templates import ASSOC_CONTENTS, CONTENTS, HIERARCHY
from excise.pst.ndb.write_types import NodeSink

_STATUS_TAG = tags.MESSAGE_STATUS << 16 | PT_LONG
_CONVERSATION_ID_TAG = tags.CONVERSATION_ID << 16 | PT_BINARY
_ITEM_ID_TAG = tags.REPL_ITEMID << 16 | PT_BINARY
_CONVERSATION_GUID = slice(6, 22)


def _no_cells(nid: int) -> Mapping[int, NewCell]:
    del nid
    return {}


@dataclass(eq=False, slots=True)
class FolderBuilder:
    """A folder to be, and what was put into it so far. A search folder has neither items nor tables here."""

    nid: int
    name: str
    container_class: str | None = None
    comment: str | None = None
    children: dict[str, FolderBuilder] = field(default_factory=dict)
    messages: int = 0
    unread: int = 0
    associated: int = 0
    associated_unread: int = 0
    rows: Rows = field(default_factory=Rows)
    associated_rows: Rows = field(default_factory=Rows)
    contents: Schema = CONTENTS
    associated_contents: Schema = ASSOC_CONTENTS
    #: PidTagReplItemid and what goes with it, for the row of an item or of this folder, by its NID.
    more_cells: Callable[[int], Mapping[int, NewCell]] = _no_cells

    @property
    def is_search(self) -> bool:
        """True for a search folder, which is no subfolder of the folder above."""
        return ids.nid_type(self.nid) == ids.NID_TYPE_SEARCH_FOLDER

    def child(self, name: str) -> FolderBuilder | None:
        """The folder in this one whose name is ``name`` but for case."""
        return self.children.get(name.casefold())

    def append(self, child: FolderBuilder) -> FolderBuilder:
        """Put ``child``, whose name is new here, into this folder."""
        self.children[child.name.casefold()] = child
        return child

    def add(self, writer: NodeSink, written: Written, nid: int | None = None) -> int:
        """Enter a message that was written; its NID: ``nid``, or the next. ValueError where the folder can hold no
        more."""
        nid = writer.next_nid(ids.NID_TYPE_NORMAL_MESSAGE) if nid is None else nid
        cells = written.cells(self.contents)
        if _CONVERSATION_ID_TAG not in cells and (conversation := conversation_id(written)) is not None:
            cells[_CONVERSATION_ID_TAG] = conversation
        self.rows.add(self.row(writer, nid, cells, self.contents))
        writer.node(nid, written.data, written.sub, self.nid)
        self.messages += 1
        self.unread += not written.number(tags.MESSAGE_FLAGS) & tags.FLAG_READ
        return nid

    def add_associated(self, writer: NodeSink, written: Written, nid: int | None = None) -> int:
        """Enter a folder-associated item that was written, as ``add``."""
        nid = writer.next_nid(ids.NID_TYPE_ASSOC_MESSAGE) if nid is None else nid
        cells = written.cells(self.associated_contents)
        self.associated_rows.add(self.row(writer, nid, cells, self.associated_contents))
        writer.node(nid, written.data, written.sub, self.nid)
        self.associated += 1
        self.associated_unread += not written.number(tags.MESSAGE_FLAGS) & tags.FLAG_READ
        return nid

    def write(self, writer: NodeSink, parent: int) -> None:
        """Write the folder's properties and its three tables, and those of all folders below."""
        properties = self._properties()
        if self.comment is not None:
            properties[tags.COMMENT] = _text(tags.COMMENT, self.comment)
        _enter(writer, self.nid, build_properties(writer, properties.values()), parent)
        if self.is_search:
            return
        children = [child.hierarchy_row(writer) for child in self.children.values()]
        for kind, schema, rows in (
            (ids.NID_TYPE_HIERARCHY_TABLE, HIERARCHY, children),
            (ids.NID_TYPE_CONTENTS_TABLE, self.contents, self.rows),
            (ids.NID_TYPE_ASSOC_CONTENTS_TABLE, self.associated_contents, self.associated_rows),
        ):
            _enter(writer, ids.sibling_nid(self.nid, kind), build_table(writer, schema, rows))

    def row(self, writer: NodeSink, nid: int, cells: Mapping[int, NewCell], schema: Schema) -> dict[int, NewCell]:
        """The row of the item ``nid``: those of ``cells`` that ``schema`` has columns for, and what each row has.

        A value that is too large for the table's heap is written here and now.
        """
        row = {
            tag: writer.bytes_tree(data) if isinstance(data, bytes) and len(data) > MAX_HEAP_ITEM else data
            for tag, data in cells.items()
            if tag in schema.places
        }
        if _ITEM_ID_TAG in schema.places:
            row |= {tag: cell for tag, cell in self.more_cells(nid).items() if tag in schema.places}
        if _STATUS_TAG in schema.places:
            row.setdefault(_STATUS_TAG, bytes(4))
        return row | {ROW_ID_TAG: _dword(nid), ROW_VERSION_TAG: _dword(writer.next_unique())}

    def hierarchy_row(self, writer: NodeSink) -> dict[int, NewCell]:
        """The row of this folder in the hierarchy table of the one above."""
        cells: dict[int, NewCell] = {
            prop_id << 16 | each.prop_type: each.data for prop_id, each in self._properties().items()
        }
        cells |= self.more_cells(self.nid)
        return cells | {ROW_ID_TAG: _dword(self.nid), ROW_VERSION_TAG: _dword(writer.next_unique())}

    def _properties(self) -> dict[int, Property]:
        subfolders = any(not child.is_search for child in self.children.values())
        found = [
            _text(tags.DISPLAY_NAME, self.name),
            Property(tags.CONTENT_COUNT, PT_LONG, _dword(self.messages)),
            Property(tags.CONTENT_UNREAD_COUNT, PT_LONG, _dword(self.unread)),
            Property(tags.SUBFOLDERS, PT_BOOLEAN, bytes([subfolders])),
        ]
        if self.container_class is not None:
            found.append(_text(tags.CONTAINER_CLASS, self.container_class))
        if self.associated:
            found.append(Property(tags.HIDDEN_COUNT, PT_LONG, _dword(self.associated)))
            found.append(Property(tags.HIDDEN_UNREAD, PT_LONG, _dword(self.associated_unread)))
        return {each.prop_id: each for each in found}


def conversation_id(written: Written) -> bytes | None:
    """The 16 bytes that all messages of a conversation share; None where the message tells nothing of one.

    From the conversation index, else from the topic as [MS-OXOMSG] 2.2.1.2 has it.
    """
    index = written.properties.get(tags.CONVERSATION_INDEX)
    if index is not None and isinstance(index.data, bytes) and len(index.data) >= _CONVERSATION_GUID.stop:
        return index.data[_CONVERSATION_GUID]
    topic = written.text(tags.CONVERSATION_TOPIC)
    if not topic:
        return None
    upper = topic.upper()
    if len(upper) != len(topic):
        # Some characters have several for one; these stay as they are.
        upper = "".join(big if len(big := each.upper()) == 1 else each for each in topic)
    return hashlib.md5(upper.encode("utf-16-le", "surrogatepass"), usedforsecurity=False).digest()


def _enter(writer: NodeSink, nid: int, built: Built, parent: int = 0) -> None:
    writer.node(nid, built.data, writer.subnode_tree(built.subnodes), parent)


def _text(prop_id: int, text: str) -> Property:
    return Property(prop_id, PT_UNICODE, encode_value(PT_UNICODE, text))


def _dword(value: int) -> bytes:
    return value.to_bytes(4, "little")
