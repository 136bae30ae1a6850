"""Lists of NIDs that Outlook keeps beside the folders: the message index, the ID map and the search activity list.

None of them is published. That the message index goes by the conversation id of a message's row holds for each of the
17 indexed messages with such a row in the sample files; older indexes go by something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from excise.pst.check.bth import check_bth
from excise.pst.check.report import ERROR, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE_4K
from excise.pst.disk.heaps import CLIENT_ID_MAP, CLIENT_MESSAGE_INDEX
from excise.pst.ltp.heap import BTreeOnHeap, Heap
from excise.pst.messaging.store import MessageStore
from excise.pst.ndb.read import Node

_CONVERSATION_ID = 0x3013
_BY_CONVERSATION = 1
_ROOT = Struct("<III")
_ID_RECORD = Struct("<16sI")
_INDEX_RECORD = Struct("<II")


def check_indexes(store: MessageStore, report: Report) -> None:
    """Check the lists into ``report``. Those of the 4-KB format are not known."""
    if store.ndb.format is UNICODE_4K:
        return
    for nid, check in (
        (ids.NID_MESSAGE_INDEX, _check_message_index),
        (ids.NID_ID_MAP, _check_id_map),
        (ids.NID_SEARCH_ACTIVITY_LIST, _check_search_list),
    ):
        node = store.ndb.node(nid, DamageLog())
        if node is None or not node.bid_data:
            continue
        try:
            check(store, node, report)
        except Damaged as error:
            report.add(ERROR, error.damage)
        report.add_log(ERROR, node.log)


def message_index_key(conversation_id: bytes) -> int:
    """The key of the bucket for messages with ``conversation_id`` (PidTagConversationId, 16 bytes)."""
    key = 0xFFFF0000
    for at, byte in enumerate(conversation_id[:16]):
        key ^= byte << (15 - at)
    return key


def _check_message_index(store: MessageStore, node: Node, report: Report) -> None:
    heap = Heap(node, CLIENT_MESSAGE_INDEX)
    root = heap.item(heap.root)
    if len(root) < _ROOT.size:
        report.add(WARNING, _damage("message index", "root", f"{_ROOT.size} bytes or more", f"{len(root)} bytes"))
        return
    hid, kind, highest = _ROOT.unpack_from(root)
    check_bth(heap, hid, report)
    # Outlook indexes new messages when it has time: those above the highest NID are still to come.
    wanted = dict(_keys(store, highest)) if kind == _BY_CONVERSATION else {}
    seen: set[int] = set()
    for key, nid in _indexed(heap, hid):
        if nid in seen or store.ndb.nodes.find(nid) is None:
            found = f"0x{nid:x} " + ("twice" if nid in seen else "without a node")
            report.add(WARNING, _damage("message index", "nid", "each message once, and no other", found))
        elif (right := wanted.get(nid, key)) != key:
            expected, found = f"message 0x{nid:x} in bucket 0x{right:08x}", f"in bucket 0x{key:08x}"
            report.add(WARNING, _damage("message index", "key", expected, found))
        seen.add(nid)
    for nid in sorted(wanted.keys() - seen):
        expected = f"message 0x{nid:x} in bucket 0x{wanted[nid]:08x}"
        report.add(WARNING, _damage("message index", "nid", expected, "in none"))


def _indexed(heap: Heap, hid: int) -> Iterator[tuple[int, int]]:
    """(key, NID) of each message in the index. What cannot be read is in the node's log."""
    for leaf in BTreeOnHeap(heap, hid, 4, 4).leaves():
        for key, hnid in _INDEX_RECORD.iter_unpack(leaf):
            try:
                data = heap.value(hnid)
            except Damaged as error:
                heap.node.log.add(error.damage)
                continue
            for at in range(0, len(data) - 3, 4):
                yield key, int.from_bytes(data[at : at + 4], "little")


def _keys(store: MessageStore, highest: int) -> Iterator[tuple[int, int]]:
    """(NID, key) of each message up to ``highest`` whose row has a conversation id."""
    for folder in store.folders():
        table = folder.contents
        if folder.is_search or table is None:
            continue
        try:
            for nids, (column,) in table.scan([_CONVERSATION_ID]):
                for nid, value in zip(nids, column, strict=True):
                    if nid <= highest and isinstance(value, bytes) and len(value) == 16:
                        yield nid, message_index_key(value)
        except Damaged as error:
            # Nothing is asked of messages whose rows cannot be read; the damage itself is told.
            store.ndb.log.add(error.damage)


def _check_id_map(store: MessageStore, node: Node, report: Report) -> None:
    """A record's NID is that of a node, or 0 where the object was deleted."""
    heap = Heap(node, CLIENT_ID_MAP)
    hid = int.from_bytes(heap.item(heap.root)[:4], "little")
    check_bth(heap, hid, report)
    for leaf in BTreeOnHeap(heap, hid, 16, 4).leaves():
        for key, nid in _ID_RECORD.iter_unpack(leaf):
            if nid and store.ndb.nodes.find(nid) is None:
                expected, found = f"a node or 0 for id {key.hex()}", f"0x{nid:x}, which is none"
                report.add(WARNING, _damage("ID map", "nid", expected, found))


def _check_search_list(store: MessageStore, node: Node, report: Report) -> None:
    """Every entry is the NID of a search folder."""
    data = node.data.read()
    for at in range(0, len(data) - 3, 4):
        nid = int.from_bytes(data[at : at + 4], "little")
        if ids.nid_type(nid) != ids.NID_TYPE_SEARCH_FOLDER or store.ndb.nodes.find(nid) is None:
            found = f"0x{nid:x}, which is none"
            report.add(WARNING, _damage("search activity list", "nid", "search folders", found))


def _damage(structure: str, field: str, expected: str, found: str) -> Damage:
    return Damage("messaging", structure, field, "the store", -1, expected, found)
