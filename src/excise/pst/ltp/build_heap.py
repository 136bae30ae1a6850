"""Heap-on-Node and BTree-on-Heap of Unicode files, built ([MS-PST] 2.3.1, 2.3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from excise.pst.disk.formats import UNICODE
from excise.pst.disk.heaps import (
    MAX_HEAP_ITEM,
    BTHHeader,
    HNHdr,
    HNPageMap,
    fill_level,
    heap_header_size,
    hid,
    pack_bitmap_header,
    pack_fill_levels,
)
from excise.pst.disk.ids import NID_TYPE_LTP
from excise.pst.ndb.write_types import NO_TREE, Sink, SubnodeEntry, Tree

_BLOCK = UNICODE.max_block_data
_MAX_ITEMS = 2046  # one less than a HID can tell, for the filler
_MAX_BLOCKS = 1 << 16


@dataclass(frozen=True, slots=True)
class Built:
    """A heap that was written, and the subnodes that its node must have."""

    data: Tree
    subnodes: tuple[SubnodeEntry, ...]


class HeapBuilder:
    """A heap for the client ``client`` (bClientSig). Values too large for it are written to ``sink`` as subnodes."""

    def __init__(self, sink: Sink, client: int) -> None:
        self._sink = sink
        self._client = client
        self._blocks: list[list[bytes]] = [[]]
        self._end = heap_header_size(0)
        self._subnodes: list[SubnodeEntry] = []

    def add(self, data: bytes) -> int:
        """The HID of a new item. ValueError where it is empty or too large, or the heap is full."""
        if not 0 < len(data) <= MAX_HEAP_ITEM:
            raise ValueError(f"a heap item of {len(data)} bytes")
        items = self._blocks[-1]
        # A filler takes 2 bytes of the page map and must not be empty, so 2 or 3 bytes left are too few for one.
        size = self._end + len(data) + 1 & ~1
        size += 4 + 2 * (len(items) + 2)
        if len(items) == _MAX_ITEMS or (size > _BLOCK - 4 and size != _BLOCK):
            if len(self._blocks) == _MAX_BLOCKS:
                raise ValueError("the values do not fit into the 65,536 blocks of a heap")
            items = []
            self._blocks.append(items)
            self._end = heap_header_size(len(self._blocks) - 1)
        items.append(data)
        self._end += len(data)
        return hid(len(self._blocks) - 1, len(items))

    def replace(self, first_block_item: int, data: bytes) -> None:
        """Put ``data`` into the place of an item of block 0, given by its HID, that has the same size."""
        items, at = self._blocks[0], (first_block_item >> 5) - 1
        if len(items[at]) != len(data):
            raise ValueError(f"{len(data)} bytes in the place of {len(items[at])}")
        items[at] = data

    def value(self, data: bytes | Tree) -> int:
        """The HNID of a value: 0 where it is empty, a HID up to 3,580 bytes, else the NID of a subnode."""
        if isinstance(data, bytes):
            if not data:
                return 0
            if len(data) <= MAX_HEAP_ITEM:
                return self.add(data)
            data = self._sink.bytes_tree(data)
        nid = self._sink.next_nid(NID_TYPE_LTP)
        self._subnodes.append(SubnodeEntry(nid, data, NO_TREE))
        return nid

    def tree(self, cb_key: int, cb_entry: int, records: Sequence[bytes]) -> BTHHeader:
        """The BTH of ``records`` (key and data, sorted by key): what its BTHHEADER must hold."""
        if not records:
            return BTHHeader(cb_key, cb_entry, 0, 0)
        levels = 0
        keys, hids = self._level(records, cb_key)
        while len(hids) > 1:
            index = [key + child.to_bytes(4, "little") for key, child in zip(keys, hids, strict=True)]
            keys, hids = self._level(index, cb_key)
            levels += 1
        return BTHHeader(cb_key, cb_entry, levels, hids[0])

    def finish(self, root: int) -> Built:
        """Write the heap, whose hidUserRoot is ``root``."""
        return Built(self._sink.data_tree(self._packed(root)), tuple(self._subnodes))

    def _level(self, records: Sequence[bytes], cb_key: int) -> tuple[list[bytes], list[int]]:
        count = MAX_HEAP_ITEM // len(records[0])
        parts = [records[at : at + count] for at in range(0, len(records), count)]
        return [part[0][:cb_key] for part in parts], [self.add(b"".join(part)) for part in parts]

    def _packed(self, root: int) -> Iterator[bytes]:
        last = len(self._blocks) - 1
        last_level = fill_level(_BLOCK - heap_header_size(last) - len(self._body(last)[0]))
        for index in range(last + 1):
            body, ib = self._body(index)
            yield self._header(index, ib, root, last_level) + body

    def _header(self, index: int, ib: int, root: int, last_level: int) -> bytes:
        last = len(self._blocks) - 1
        count = 8 if index == 0 else 128
        levels = [0 if at > last else last_level if at == last else 15 for at in range(index, index + count)]
        if index == 0:
            return HNHdr(ib, self._client, root, pack_fill_levels(levels)).pack()
        return pack_bitmap_header(ib, pack_fill_levels(levels)) if index % 128 == 8 else ib.to_bytes(2, "little")

    def _body(self, index: int) -> tuple[bytes, int]:
        """What follows the header of a block, and ibHnpm. All but the last block are filled up."""
        items = self._blocks[index]
        start = heap_header_size(index)
        offsets = [start]
        for item in items:
            offsets.append(offsets[-1] + len(item))
        data = b"".join(items)
        ib = offsets[-1] + 1 & ~1
        if index < len(self._blocks) - 1 and ib + 4 + 2 * len(offsets) < _BLOCK:
            ib = _BLOCK - 4 - 2 * (len(offsets) + 1)
            offsets.append(ib)
        return data.ljust(ib - start, b"\0") + HNPageMap(0, tuple(offsets)).pack(), ib
