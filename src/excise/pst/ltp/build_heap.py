"""Heap-on-Node and BTree-on-Heap of Unicode files, built ([MS-PST] 2.3.1, 2.3.2)."""

from __future__ import annotations

from array import array
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
    hid_parts,
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


@dataclass(frozen=True, slots=True)
class BuiltTree:
    """A BTH in the heap: its header, and the HIDs of its leaves, which hold ``per_leaf`` records each."""

    header: BTHHeader
    leaves: tuple[int, ...]
    per_leaf: int


class HeapBuilder:
    """A heap for the client ``client`` (bClientSig). Values too large for it are written to ``sink`` as subnodes."""

    def __init__(self, sink: Sink, client: int) -> None:
        self._sink = sink
        self._client = client
        self._last = _Block(heap_header_size(0))
        self._blocks = [self._last]
        self._first_hid = hid(0, 0)
        self.subnodes: list[SubnodeEntry] = []

    @property
    def size(self) -> int:
        """Bytes that the heap takes as it is, without its subnodes."""
        return (len(self._blocks) - 1) * _BLOCK + self._blocks[-1].size

    def add(self, data: bytes) -> int:
        """The HID of a new item. ValueError where it is empty or too large, or the heap is full."""
        if not 0 < len(data) <= MAX_HEAP_ITEM:
            raise ValueError(f"a heap item of {len(data)} bytes")
        block = self._last
        size = (block.end + len(data) + 1 & ~1) + 4 + 2 * (block.count + 2)
        # A filler takes 2 bytes of the page map and must not be empty, so 2 or 3 bytes left are too few for one.
        if (size > _BLOCK - 4 and size != _BLOCK) or block.count == _MAX_ITEMS:
            if len(self._blocks) == _MAX_BLOCKS:
                raise ValueError("the values do not fit into the 65,536 blocks of a heap")
            self._first_hid = hid(len(self._blocks), 0)
            block = self._last = _Block(heap_header_size(len(self._blocks)))
            self._blocks.append(block)
        return self._first_hid + block.add(data)

    def replace(self, item: int, data: bytes) -> None:
        """Put ``data`` into the place of an item, given by its HID, that has the same size."""
        block, number = hid_parts(item)
        self._blocks[block].replace(number, data)

    def value(self, data: bytes | Tree | SubnodeEntry) -> int:
        """The HNID of a value: 0 where it is empty, a HID up to 3,580 bytes, else the NID of a subnode.

        A subnode keeps its NID, a tree gets a new one.
        """
        if isinstance(data, bytes):
            if not data:
                return 0
            if len(data) <= MAX_HEAP_ITEM:
                return self.add(data)
            data = self._sink.bytes_tree(data)
        if isinstance(data, SubnodeEntry):
            self.subnodes.append(data)
            return data.nid
        nid = self._sink.next_nid(NID_TYPE_LTP)
        self.subnodes.append(SubnodeEntry(nid, data, NO_TREE))
        return nid

    def tree(self, cb_key: int, cb_entry: int, records: Sequence[bytes]) -> BuiltTree:
        """The BTH of ``records``: key and data, sorted by key. Its BTHHEADER is still to be put somewhere."""
        per_leaf = MAX_HEAP_ITEM // (cb_key + cb_entry)
        if not records:
            return BuiltTree(BTHHeader(cb_key, cb_entry, 0, 0), (), per_leaf)
        levels = 0
        keys, hids = self._level(records, cb_key)
        leaves = tuple(hids)
        while len(hids) > 1:
            index = [key + child.to_bytes(4, "little") for key, child in zip(keys, hids, strict=True)]
            keys, hids = self._level(index, cb_key)
            levels += 1
        return BuiltTree(BTHHeader(cb_key, cb_entry, levels, hids[0]), leaves, per_leaf)

    def finish(self, root: int) -> Built:
        """Write the heap, whose hidUserRoot is ``root``."""
        return Built(self._sink.data_tree(self._packed(root)), tuple(self.subnodes))

    def _level(self, records: Sequence[bytes], cb_key: int) -> tuple[list[bytes], list[int]]:
        count = MAX_HEAP_ITEM // len(records[0])
        parts = [records[at : at + count] for at in range(0, len(records), count)]
        return [part[0][:cb_key] for part in parts], [self.add(b"".join(part)) for part in parts]

    def _packed(self, root: int) -> Iterator[bytes]:
        last = len(self._blocks) - 1
        last_level = fill_level(_BLOCK - self._blocks[last].end)
        for index, block in enumerate(self._blocks):
            body, ib = block.pack(fill=index < last)
            yield self._header(index, ib, root, last_level) + body

    def _header(self, index: int, ib: int, root: int, last_level: int) -> bytes:
        last = len(self._blocks) - 1
        count = 8 if index == 0 else 128
        levels = [0 if at > last else last_level if at == last else 15 for at in range(index, index + count)]
        if index == 0:
            return HNHdr(ib, self._client, root, pack_fill_levels(levels)).pack()
        return pack_bitmap_header(ib, pack_fill_levels(levels)) if index % 128 == 8 else ib.to_bytes(2, "little")


class _Block:
    """A heap block without its header, which takes the first ``start`` bytes of it."""

    def __init__(self, start: int) -> None:
        self._data = bytearray()
        self._offsets = array("H", [start])
        self.end = start
        self.count = 0

    @property
    def size(self) -> int:
        return (self.end + 1 & ~1) + 4 + 2 * len(self._offsets)

    def add(self, data: bytes) -> int:
        """Add an item; its number, as a HID has it."""
        self._data += data
        self.end += len(data)
        self.count += 1
        self._offsets.append(self.end)
        return hid(0, self.count)

    def replace(self, number: int, data: bytes) -> None:
        start, end = (offset - self._offsets[0] for offset in self._offsets[number - 1 : number + 1])
        if end - start != len(data):
            raise ValueError(f"{len(data)} bytes in the place of {end - start}")
        self._data[start:end] = data

    def pack(self, fill: bool) -> tuple[bytes, int]:
        """Items and page map, and ibHnpm. ``fill`` makes the block as large as it can be."""
        offsets = tuple(self._offsets)
        ib = self.end + 1 & ~1
        if fill and self.size < _BLOCK:
            ib = _BLOCK - 4 - 2 * (len(offsets) + 1)
            offsets = (*offsets, ib)
        return bytes(self._data).ljust(ib - offsets[0], b"\0") + HNPageMap(0, offsets).pack(), ib
