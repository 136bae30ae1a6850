"""A folder of an existing file written anew, with what came into it: its properties and its tables ([MS-PST] 2.4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.build_properties import Property
from excise.pst.ltp.build_table import NewCell, Schema, build_table
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.rebuild import Keep, rebuild_properties, rebuild_table, require_sound, schema_of
from excise.pst.ltp.table import TableContext
from excise.pst.ltp.values import PT_BOOLEAN, PT_LONG
from excise.pst.messaging import tags
from excise.pst.messaging.create_folder import FolderBuilder
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.write_types import Sink

Values = Mapping[int, bytes]


def node_of(ndb: NodeDatabase, nid: int) -> Node | None:
    """The node ``nid``, None where there is none or it has no data. Its faults are in a log of its own."""
    node = ndb.node(nid, DamageLog())
    return node if node is not None and node.bid_data else None


def table_schema(ndb: NodeDatabase, nid: int, default: Schema) -> Schema:
    """The layout of the table ``nid``; ``default`` where there is none yet."""
    node = node_of(ndb, nid)
    if node is None:
        return default
    schema = schema_of(TableContext(node))
    require_sound(node)
    return schema


def new_values(ndb: NodeDatabase, folder: FolderBuilder) -> dict[int, bytes]:
    """The properties of ``folder``, which is in the file, that are others with what came into it, by property id."""
    values: dict[int, bytes] = {}
    if any(not child.is_search for child in folder.children.values()):
        values[tags.SUBFOLDERS] = b"\1"
    own = node_of(ndb, folder.nid)
    if own is None:
        raise Damaged(Damage("messaging", "NBT", "nid", f"node 0x{folder.nid:x}", -1, "a folder", "none"))
    stored = PropertyContext(own)
    for kind, new, unread, total_id, unread_id in (
        (ids.NID_TYPE_CONTENTS_TABLE, folder.messages, folder.unread, tags.CONTENT_COUNT, tags.CONTENT_UNREAD_COUNT),
        (ids.NID_TYPE_ASSOC_CONTENTS_TABLE, folder.associated, folder.associated_unread, tags.HIDDEN_COUNT,
         tags.HIDDEN_UNREAD),
    ):  # fmt: skip
        if new:
            rows, known_unread, unknown = _counted(ndb, ids.sibling_nid(folder.nid, kind))
            # What rows without flags are is told by the old count alone.
            told = (stored.integer(unread_id) or 0) - known_unread
            values[total_id] = _dword(rows + new)
            values[unread_id] = _dword(known_unread + min(max(told, 0), unknown) + unread)
    return values


def rebuild_folder(sink: Sink, keep: Keep, ndb: NodeDatabase, nid: int, values: Values) -> Built:
    """Write the properties of the folder ``nid`` with ``values``."""
    node = node_of(ndb, nid)
    if node is None:
        raise Damaged(Damage("messaging", "NBT", "nid", f"node 0x{nid:x}", -1, "a folder", "none"))
    stored = PropertyContext(node)
    types = {prop_id: PT_BOOLEAN if prop_id == tags.SUBFOLDERS else PT_LONG for prop_id in values}
    for prop_id, ptype in types.items():
        found = stored.type_of(prop_id)
        if found not in (None, ptype):
            place = f"property 0x{prop_id:04x} of node 0x{nid:x}"
            raise Damaged(Damage("messaging", "folder", "type", place, -1, f"0x{ptype:04x}", f"0x{found:04x}"))
    added = [Property(each, types[each], data) for each, data in values.items() if stored.type_of(each) is None]
    changed = {each: data for each, data in values.items() if stored.type_of(each) is not None}
    return rebuild_properties(sink, keep, node, changed, added)


def rebuild_rows(
    sink: Sink, keep: Keep, ndb: NodeDatabase, nid: int, default: Schema,
    added: Iterable[Mapping[int, NewCell]], changed: Mapping[int, Values],
) -> Built:  # fmt: skip
    """Write the table ``nid`` with the rows ``added`` and those that are there ``changed``; ``default``: its layout
    where there is none yet.

    A value that the table has no column for is left out, and so is a row that it does not have.
    """
    node = node_of(ndb, nid)
    if node is None:
        return build_table(sink, default, added)
    table = TableContext(node)
    places = schema_of(table).places
    listed = {row_id for row_id, _ in table.index}
    by_id = {tag >> 16: tag for tag in places}
    cells = {
        row_id: {by_id[prop_id]: data for prop_id, data in values.items() if prop_id in by_id}
        for row_id, values in changed.items()
        if row_id in listed
    }
    fitting = ({tag: cell for tag, cell in row.items() if tag in places} for row in added)
    return rebuild_table(sink, keep, node, (), cells, fitting)


def _counted(ndb: NodeDatabase, nid: int) -> tuple[int, int, int]:
    """Of the table ``nid``: rows, those that are unread, and those that do not tell."""
    node = node_of(ndb, nid)
    if node is None:
        return 0, 0, 0
    flags = [value for _, (values,) in TableContext(node).scan([tags.MESSAGE_FLAGS]) for value in values]
    require_sound(node)
    known = [value for value in flags if isinstance(value, int)]
    return len(flags), sum(not value & tags.FLAG_READ for value in known), len(flags) - len(known)


def _dword(value: int) -> bytes:
    return value.to_bytes(4, "little")
