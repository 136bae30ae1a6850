"""Heap-on-Node and BTree-on-Heap, read ([MS-PST] 2.3.1, 2.3.2).

A heap keeps at most ``_KEPT`` decoded blocks, so a large table costs no more memory than that.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Iterator
from functools import cached_property, partial

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import CLIENT_BTH, HN_SIGNATURE, BTHHeader, HNHdr, HNPageMap, is_hid
from excise.pst.ndb.read import Node

_KEPT = 2048
_MAX_LEVELS = 8


class Heap:
    """The heap of ``node``. Damaged where its first block is no heap block or its client is not ``client``."""

    def __init__(self, node: Node, client: int) -> None:
        self.node = node
        self._shift = node.ndb.format.hid_shift
        self._item_mask = (1 << self._shift) - 1
        self._pages: dict[int, tuple[bytes, tuple[int, ...]]] = {}
        data, _ = self.page(0)
        header = HNHdr.unpack(data)
        if header.bSig != HN_SIGNATURE or header.bClientSig != client:
            found = f"bSig 0x{header.bSig:02x}, bClientSig 0x{header.bClientSig:02x}"
            raise Damaged(self.damage("HNHDR", "bSig", f"0x{HN_SIGNATURE:02x} and 0x{client:02x}", found))
        self.root = header.hidUserRoot

    def item(self, hid: int) -> bytes:
        """The item ``hid``; empty for 0. Damaged where the heap has none."""
        if not hid:
            return b""
        block, item = hid >> self._shift, (hid & self._item_mask) >> 5
        data, offsets = self._pages.get(block) or self.page(block)
        if hid & 0x1F or not 0 < item < len(offsets):
            expected, found = f"item 1 to {len(offsets) - 1}", f"HID 0x{hid:x}"
            raise Damaged(self.damage("HNPAGEMAP", "rgibAlloc", expected, found, block))
        return data[offsets[item - 1] : offsets[item]]

    def text_reader(self, codec: str) -> Callable[[int], str]:
        """A function that gives what a HNID refers to as text without final NULs: ``value`` for many short strings.

        They mostly follow each other, so that it holds on to the block of the last one.
        """
        shift, mask = self._shift, self._item_mask
        decode = codecs.utf_16_le_decode if codec == "utf-16-le" else partial(_decode, codec)
        block, data, offsets = -1, b"", tuple[int, ...]()

        def text(hnid: int) -> str:
            nonlocal block, data, offsets
            if hnid & 0x1F or not hnid:
                return decode(self.value(hnid), "replace", True)[0].rstrip("\0")
            if hnid >> shift != block:
                data, offsets = self.page(hnid >> shift)
                block = hnid >> shift
            item = (hnid & mask) >> 5
            if not 0 < item < len(offsets):
                self.item(hnid)  # which says what is wrong
            return decode(data[offsets[item - 1] : offsets[item]], "replace", True)[0].rstrip("\0")

        return text

    def value(self, hnid: int) -> bytes:
        """What ``hnid`` refers to: a heap item, or all the data of a subnode. Damaged where it cannot be had."""
        return self.item(hnid) if is_hid(hnid) else self.subnode(hnid).data.read()

    def subnode(self, nid: int) -> Node:
        """The subnode ``nid`` of the heap's node. Damaged where there is none."""
        node = self.node.child(nid)
        if node is None:
            raise Damaged(self.damage("SLBLOCK", "nid", f"subnode 0x{nid:x}", "none"))
        return node

    def page(self, index: int) -> tuple[bytes, tuple[int, ...]]:
        """Block ``index`` and the offsets of its items. Damaged where it is no heap block."""
        known = self._pages.get(index)
        if known is not None:
            return known
        data = self.node.data.block(index)
        try:
            offsets = HNPageMap.unpack(data, struct.Struct("<H").unpack_from(data)[0]).rgibAlloc
            if index == 0:
                HNHdr.unpack(data)
        except (ValueError, struct.error) as error:
            expected = f"a page map in block {index}"
            raise Damaged(self.damage("HNPAGEMAP", "ibHnpm", expected, str(error), index)) from error
        if list(offsets) != sorted(offsets) or offsets[-1] > len(data):
            found = "offsets out of order or outside"
            raise Damaged(self.damage("HNPAGEMAP", "rgibAlloc", f"ascending offsets in block {index}", found, index))
        if len(self._pages) >= _KEPT:
            self._pages.clear()
        self._pages[index] = data, offsets
        return data, offsets

    def damage(self, structure: str, field: str, expected: str, found: str, block: int = 0) -> Damage:
        """Damage of the LTP layer in this heap's node, in its block ``block``, whose place in the file it names."""
        place = f"node 0x{self.node.nid:x}"
        return Damage("ltp", structure, field, place, self.node.offset(block), expected, found)


def _decode(codec: str, data: bytes, errors: str, _: bool) -> tuple[str, int]:
    """As ``codecs.utf_16_le_decode``, which spares the look-up of its codec."""
    return data.decode(codec, errors), len(data)


class BTreeOnHeap:
    """The BTH whose BTHHEADER is the item ``hid``, with the sizes that its user expects.

    ``cb_entry`` None takes any. Damaged where the header is none or has other sizes.
    """

    def __init__(self, heap: Heap, hid: int, cb_key: int, cb_entry: int | None) -> None:
        self._heap = heap
        try:
            header = BTHHeader.unpack(heap.item(hid))
        except struct.error as error:
            raise Damaged(heap.damage("BTHHEADER", "bType", "a BTHHEADER", str(error))) from error
        sizes = (header.bType, header.cbKey, header.cbEnt if cb_entry is None else cb_entry)
        if (header.bType, header.cbKey, header.cbEnt) != sizes or sizes[:2] != (CLIENT_BTH, cb_key) or not header.cbEnt:
            found = f"bType 0x{header.bType:02x}, cbKey {header.cbKey}, cbEnt {header.cbEnt}"
            expected = f"bType 0xb5, cbKey {cb_key}, cbEnt {'above 0' if cb_entry is None else cb_entry}"
            raise Damaged(heap.damage("BTHHEADER", "cbEnt", expected, found))
        if header.bIdxLevels > _MAX_LEVELS:
            found = str(header.bIdxLevels)
            raise Damaged(heap.damage("BTHHEADER", "bIdxLevels", f"at most {_MAX_LEVELS}", found))
        self.header = header

    @cached_property
    def record_size(self) -> int:
        """Bytes of one leaf record."""
        return self.header.cbKey + self.header.cbEnt

    def leaves(self) -> Iterator[bytes]:
        """The leaf items in order, each cut to whole records. Those that cannot be read are reported and missing."""
        index = struct.Struct(f"<{self.header.cbKey}xI")
        stack = [(self.header.hidRoot, self.header.bIdxLevels)] if self.header.hidRoot else []
        seen: set[int] = set()
        log = self._heap.node.log
        while stack:
            hid, level = stack.pop()
            if hid in seen:
                log.add(self._heap.damage("BTH", "hidNextLevel", "each item once", f"HID 0x{hid:x} again"))
                continue
            seen.add(hid)
            try:
                data = self._heap.item(hid)
            except Damaged as error:
                log.add(error.damage)
                continue
            size = index.size if level else self.record_size
            if len(data) % size:
                log.add(self._heap.damage("BTH", "record", f"records of {size} bytes", f"{len(data)} bytes"))
                data = data[: len(data) // size * size]
            if level:
                stack += [(child, level - 1) for (child,) in reversed(list(index.iter_unpack(data)))]
            elif data:
                yield data
