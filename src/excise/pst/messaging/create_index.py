"""The message index 0xE01 and the id map 0xC01, which Outlook has in every file and [MS-PST] does not describe.

Their layout is that of files which Outlook wrote.
"""

from __future__ import annotations

from array import array
from functools import reduce
from itertools import groupby
from struct import Struct

from excise.pst.disk.heaps import CLIENT_ID_MAP, CLIENT_MESSAGE_INDEX
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ndb.write_types import Sink

_HID = Struct("<I")
_ROOT = Struct("<III")
_BUCKET = Struct("<II")


def index_key(conversation: bytes) -> int:
    """The key under which the messages of a conversation (16 bytes) stand in the message index."""
    return 0xFFFF0000 ^ reduce(int.__xor__, (each << 15 - at for at, each in enumerate(conversation)))


class MessageIndex:
    """The messages of a file by conversation."""

    def __init__(self) -> None:
        self._entries = array("Q")

    def add(self, conversation: bytes, nid: int) -> None:
        """Enter the message ``nid``."""
        self._entries.append(index_key(conversation) << 32 | nid)

    def build(self, sink: Sink, highest_nid: int) -> Built:
        """Write the index; ``highest_nid`` is that of any message of the file.

        A list of more than 895 messages is a subnode, as any large value of a heap: no file of Outlook's was seen that
        has one.
        """
        heap = HeapBuilder(sink, CLIENT_MESSAGE_INDEX)
        root = heap.add(bytes(_ROOT.size))
        header = heap.add(bytes(8))
        records = []
        for key, entries in groupby(sorted(self._entries), lambda each: each >> 32):
            nids = b"".join((each & 0xFFFFFFFF).to_bytes(4, "little") for each in entries)
            records.append(_BUCKET.pack(key, heap.value(nids)))
        heap.replace(header, heap.tree(4, 4, records).header.pack())
        heap.replace(root, _ROOT.pack(header, 1, highest_nid))
        return heap.finish(root)


def build_id_map(sink: Sink) -> Built:
    """Write an id map without entries."""
    heap = HeapBuilder(sink, CLIENT_ID_MAP)
    root = heap.add(bytes(_HID.size))
    header = heap.add(heap.tree(16, 4, []).header.pack())
    heap.replace(root, _HID.pack(header))
    return heap.finish(root)
