"""What the removal of messages changes in a Unicode file, beside the messages' own nodes ([MS-PST] 2.4).

A message has a row in the contents table of its folder and in those of searches that found it; the number of rows and
of unread ones stands in the properties of the folder and in its row in a hierarchy table; two maps of the store name
messages by their NID. ``plan_removal`` finds all of them and refuses (``Damaged``) what it cannot read for certain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from struct import Struct

from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.heaps import CLIENT_ID_MAP, CLIENT_MESSAGE_INDEX
from excise.pst.ltp.build_heap import Built
from excise.pst.ltp.properties import Properties, PropertyContext
from excise.pst.ltp.rebuild import HeapMap, Keep, rebuild_properties, rebuild_table, require_sound
from excise.pst.ltp.table import TableContext
from excise.pst.ltp.values import PT_LONG
from excise.pst.ltp.wide_table import WideTable, is_wide
from excise.pst.messaging import tags
from excise.pst.messaging.store import MessageStore
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.write_types import Sink, SubnodeEntry

_MESSAGES = frozenset({ids.NID_TYPE_NORMAL_MESSAGE, ids.NID_TYPE_ASSOC_MESSAGE})
_COUNTS = (tags.CONTENT_COUNT, tags.CONTENT_UNREAD_COUNT)
_HIDDEN_COUNTS = (tags.HIDDEN_COUNT, tags.HIDDEN_UNREAD)
#: The tables whose row ids are messages: the type of the folder they are of, and where it has their counts.
_TABLES = {
    ids.NID_TYPE_CONTENTS_TABLE: (ids.NID_TYPE_NORMAL_FOLDER, _COUNTS),
    ids.NID_TYPE_ASSOC_CONTENTS_TABLE: (ids.NID_TYPE_NORMAL_FOLDER, _HIDDEN_COUNTS),
    ids.NID_TYPE_SEARCH_CONTENTS_TABLE: (ids.NID_TYPE_SEARCH_FOLDER, _COUNTS),
    ids.NID_TYPE_OUTGOING_QUEUE_TABLE: (None, _COUNTS),
}
_OWN_TABLES = {
    ids.NID_TYPE_NORMAL_MESSAGE: ids.NID_TYPE_CONTENTS_TABLE,
    ids.NID_TYPE_ASSOC_MESSAGE: ids.NID_TYPE_ASSOC_CONTENTS_TABLE,
}
#: What nobody has described; it may hold rows of messages.
_OPAQUE = frozenset({ids.NID_TYPE_CONTENTS_TABLE_INDEX, ids.NID_TYPE_SEARCH_TABLE_INDEX})
_MAX_DEPTH = 64
_NID = Struct("<I")

_Rebuild = Callable[[Sink, Keep], Built]
#: The least and the most that a count may be.
_Range = tuple[int, int]


class Removal:
    """What a removal comes to: the nodes ``gone``, and the nodes that get new content."""

    def __init__(self, gone: frozenset[int], rebuilds: Mapping[int, _Rebuild]) -> None:
        self.gone = gone
        self._rebuilds = rebuilds

    @property
    def rebuilt(self) -> frozenset[int]:
        """The NIDs of the nodes that get new content."""
        return frozenset(self._rebuilds)

    def rebuild(self, nid: int, sink: Sink, keep: Keep) -> Built:
        """Write the new content of the node ``nid`` to ``sink``: its data, and all subnodes that it then has.

        Damaged where something is found wrong only now; what was written is then not to be used.
        """
        return self._rebuilds[nid](sink, keep)


def plan_removal(store: MessageStore, nids: Iterable[int]) -> Removal:
    """What the removal of the messages and associated items ``nids`` changes. Nothing is written yet.

    ValueError where one is no message's NID. Damaged where the file has nothing of one, and where something that names
    one, or may, cannot be read for certain: a removal would leave it behind.
    """
    wanted = frozenset(nids)
    for nid in wanted:
        if ids.nid_type(nid) not in _MESSAGES:
            raise ValueError(f"0x{nid:x} is not the NID of a message")
    return _Plan(store.ndb, wanted).removal() if wanted else Removal(wanted, {})


@dataclass(slots=True)
class _Table:
    """A table to be written again: rows that go, and cells that change (row id → tag → value)."""

    node: Node
    without: frozenset[int] = frozenset()
    changed: dict[int, dict[int, bytes]] = field(default_factory=dict)

    def rebuild(self, sink: Sink, keep: Keep) -> Built:
        return rebuild_table(sink, keep, self.node, self.without, self.changed)


class _Plan:
    def __init__(self, ndb: NodeDatabase, wanted: frozenset[int]) -> None:
        self._ndb = ndb
        self._wanted = wanted
        self._gone = {nid: entry.nidParent for nid in wanted if (entry := ndb.nodes.find(nid)) is not None}
        self._listed: set[int] = set()
        self._tables: dict[int, _Table] = {}
        # Folder and its parent → property id → count.
        self._counts: dict[tuple[int, int], dict[int, _Range]] = {}
        self._rebuilds: dict[int, _Rebuild] = {}

    def removal(self) -> Removal:
        nodes = self._ndb.nodes
        for nid, parent in zip(nodes.nids, nodes.parents, strict=True):
            kind = ids.nid_type(nid)
            if parent in self._wanted:
                raise Damaged(_damage("NBTENTRY", "nidParent", nid, "no node below a message", f"0x{parent:x}"))
            if kind in _TABLES:
                self._remove_rows(self._node(nid))
            elif kind in _OPAQUE:
                self._require_unnamed(self._node(nid), "of a kind that nobody has described")
        for nid in sorted(self._wanted - self._listed - self._gone.keys()):
            raise Damaged(_damage("NBT", "nid", nid, "a message", "none"))
        for (folder, parent), counts in self._counts.items():
            self._change_counts(folder, parent, counts)
        self._change_map(ids.NID_ID_MAP, CLIENT_ID_MAP, 16, self._without_ids)
        self._change_map(ids.NID_MESSAGE_INDEX, CLIENT_MESSAGE_INDEX, 4, self._without_messages)
        return Removal(frozenset(self._gone), self._rebuilds | {n: each.rebuild for n, each in self._tables.items()})

    def _node(self, nid: int) -> Node:
        node = self._ndb.node(nid, DamageLog())
        if node is None:
            raise Damaged(_damage("NBT", "nid", nid, "a node", "none"))
        return node

    def _remove_rows(self, node: Node) -> None:
        try:
            if is_wide(node):
                self._remove_wide_rows(WideTable(node))
                return
            table = TableContext(node) if node.bid_data else None
            listed = self._wanted.intersection(row_id for row_id, _ in table.index) if table is not None else ()
            require_sound(node)
        except Damaged as error:
            if node.nid in self._own_tables():
                raise
            self._require_unnamed(node, error.damage.found)
            return
        if table is not None and listed:
            self._tables[node.nid] = _Table(node, frozenset(listed))
            self._listed |= listed
            self._recount(table, listed)

    def _remove_wide_rows(self, table: WideTable) -> None:
        listed = self._wanted.intersection(table.row_ids)
        if listed:
            flags = table.numbers(tags.MESSAGE_FLAGS)
            require_sound(table.node)
            self._rebuilds[table.node.nid] = partial(table.rebuild, without=listed)
            self._listed |= listed
            self._count(table.node.nid, [value for row_id, value in flags.items() if row_id not in listed])

    def _own_tables(self) -> set[int]:
        """The contents tables of the folders that the messages are in."""
        return {ids.sibling_nid(parent, _OWN_TABLES[ids.nid_type(nid)]) for nid, parent in self._gone.items()}

    def _require_unnamed(self, node: Node, reason: str) -> None:
        """Damaged where ``node``, which cannot be read, has a NID in it or below, or is damaged itself."""
        names = {nid: _NID.pack(nid) for nid in self._wanted}
        for data in _all_data(node):
            for nid, name in names.items():
                if name in data:
                    found = f"message 0x{nid:x} in content that cannot be ({reason})"
                    raise Damaged(_damage("node", "content", node.nid, "content that can be read", found))
        for damage in node.log.entries:
            if damage.layer == "ndb":
                raise Damaged(damage)

    def _recount(self, table: TableContext, listed: Collection[int]) -> None:
        """Note what the folder of ``table`` must count without the rows ``listed``."""
        flags = [
            value
            for row_ids, (values,) in table.scan([tags.MESSAGE_FLAGS])
            for row_id, value in zip(row_ids, values, strict=True)
            if row_id not in listed
        ]
        require_sound(table.node)
        self._count(table.node.nid, flags)

    def _count(self, nid: int, flags: Sequence[object]) -> None:
        """Note what the folder of the table ``nid`` must count when its rows have these ``flags``."""
        kind, (total_tag, unread_tag) = _TABLES[ids.nid_type(nid)]
        known = [value for value in flags if isinstance(value, int)]
        unread = sum(not value & tags.FLAG_READ for value in known)
        counts = {total_tag: (len(flags), len(flags)), unread_tag: (unread, unread + len(flags) - len(known))}
        entry = None if kind is None else self._ndb.nodes.find(ids.sibling_nid(nid, kind))
        if entry is not None:
            self._counts.setdefault((entry.nid, entry.nidParent), {}).update(counts)

    def _change_counts(self, folder: int, parent: int, counts: Mapping[int, _Range]) -> None:
        """Change the counts in the folder's own properties and in its row of a hierarchy table.

        Search folders have theirs in the root's table, whatever their parent is.
        """
        node = self._node(folder)
        properties = PropertyContext(node)
        changed = _changed(properties, counts)
        require_sound(node)
        if changed:
            self._rebuilds[folder] = partial(rebuild_properties, node=node, changed=changed)
        for nid in {ids.sibling_nid(each, ids.NID_TYPE_HIERARCHY_TABLE) for each in (ids.NID_ROOT_FOLDER, parent)}:
            if self._ndb.nodes.find(nid) is not None:
                self._change_row(nid, folder, counts)

    def _change_row(self, nid: int, folder: int, counts: Mapping[int, _Range]) -> None:
        node = self._node(nid)
        row = next((row for row in TableContext(node).rows() if row.row_id == folder), None)
        cells = (
            {} if row is None else {prop_id << 16 | PT_LONG: data for prop_id, data in _changed(row, counts).items()}
        )
        require_sound(node)
        if cells:
            self._tables.setdefault(nid, _Table(node)).changed[folder] = cells

    def _change_map(self, nid: int, client: int, cb_key: int, change: Callable[[HeapMap], _Rebuild | None]) -> None:
        node = self._node(nid) if self._ndb.nodes.find(nid) is not None else None
        if node is None or not node.bid_data:
            return
        try:
            rebuild = change(HeapMap.read(node, client, cb_key))
            require_sound(node)
        except Damaged as error:
            self._require_unnamed(node, error.damage.found)
            return
        if rebuild is not None:
            self._rebuilds[nid] = rebuild

    def _without_ids(self, id_map: HeapMap) -> _Rebuild | None:
        """The ID map with 0 for the messages: Outlook keeps the records of what was deleted."""
        records = [(key, 0 if nid in self._wanted else nid) for key, nid in id_map.records]
        if records == list(id_map.records):
            return None
        return lambda sink, keep: id_map.rebuild(sink, keep, records)

    def _without_messages(self, index: HeapMap) -> _Rebuild | None:
        """The message index with the messages taken out of its lists, and without the lists that are empty then."""
        changed: dict[bytes, bytes] = {}
        for key, hnid in index.records:
            data = index.heap.value(hnid)
            if len(data) % 4:
                raise Damaged(_damage("BTH", "record", index.heap.node.nid, "whole NIDs", f"{len(data)} bytes"))
            nids = [nid for (nid,) in _NID.iter_unpack(data)]
            left = [nid for nid in nids if nid not in self._wanted]
            if len(left) < len(nids):
                changed[key] = b"".join(map(_NID.pack, left))
        if not changed:
            return None

        def records(keep: Keep) -> Iterator[tuple[bytes, bytes | SubnodeEntry]]:
            for key, hnid in index.records:
                if changed.get(key) != b"":
                    yield key, changed[key] if key in changed else index.kept(keep, hnid)

        return lambda sink, keep: index.rebuild(sink, keep, records(keep))


def _changed(properties: Properties, counts: Mapping[int, _Range]) -> dict[int, bytes]:
    """The new values of the counts that are stored and not as they must be."""
    changed = {}
    for prop_id, (least, most) in counts.items():
        if properties.type_of(prop_id) == PT_LONG:
            stored = int.from_bytes(properties.raw(prop_id), "little")
            count = min(max(stored, least), most)
            if count != stored:
                changed[prop_id] = count.to_bytes(4, "little")
    return changed


def _all_data(node: Node, depth: int = 0) -> Iterator[bytes]:
    """The data of ``node`` and of everything below it."""
    if depth > _MAX_DEPTH:
        raise Damaged(_damage("SLBLOCK", "nid", node.nid, f"at most {_MAX_DEPTH} subnodes in each other", "more"))
    if node.bid_data:
        yield node.data.read()
    for nid in node.subnodes:
        child = node.child(nid)
        if child is not None:
            yield from _all_data(child, depth + 1)


def _damage(structure: str, field: str, nid: int, expected: str, found: str) -> Damage:
    return Damage("messaging", structure, field, f"node 0x{nid:x}", -1, expected, found)
