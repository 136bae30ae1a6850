"""The node database of a new Unicode PST file ([MS-PST] 2.2), written front to back.

Shares the on-disk structures with the reader and nothing else. Until ``NodeWriter.close`` the file has a header
without trees whose allocation maps are marked invalid, so that half a file is not taken for a whole one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from struct import Struct
from typing import BinaryIO

from excise.pst.disk import ids, maps, pages
from excise.pst.disk.blocks import BTYPE_X, SIBlock, SIEntry, SLBlock, SLEntry, XBlock, block_kind, seal_block
from excise.pst.disk.crypt import CRYPT_PERMUTE, encode
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import INVALID_AMAP, VALID_AMAP2, Header, Root
from excise.pst.ndb.allocate import RegionWriter
from excise.pst.ndb.write_types import NO_TREE, SubnodeEntry, Tree

__all__ = ["LEAF", "NO_TREE", "NodeWriter", "SubnodeEntry", "Tree"]

LEAF = UNICODE.max_block_data
_MAX_TOTAL = 0xFFFFFFFF
_MAX_REFERENCES = 0xFFFE
_MAX_NID_INDEX = (1 << 27) - 1
# What Outlook has in an empty file: the last index given out, by type.
_FRESH_RGNID = {3: 0x4000, 4: 0x10000, 8: 0x8000}
# Their counters hold something else than NIDs in Outlook's files.
_NO_COUNTER = frozenset({0, 6, 7, 0x10})
_FOLDER_TABLES = (ids.NID_TYPE_HIERARCHY_TABLE, ids.NID_TYPE_CONTENTS_TABLE, ids.NID_TYPE_ASSOC_CONTENTS_TABLE)


class NodeWriter:
    """Writes a new file to ``stream``, which must be seekable and readable; what was in it is lost.

    Memory is one region and some 30 bytes for each block and node. A tree that nothing refers to when the file is
    closed gets no entry in the BBT; the space it takes is not given back.
    """

    def __init__(self, stream: BinaryIO, *, crypt_method: int = CRYPT_PERMUTE) -> None:
        encode(b"", crypt_method, 0)
        self._stream = stream
        self._crypt_method = crypt_method
        self._rgnid = [_FRESH_RGNID.get(kind, ids.FIRST_FREE_NID_INDEX) for kind in range(32)]
        self._unique = 1
        self._next_page = 1
        # Block n (from 0) has the bid (n + 1) * 4, and 2 more where it is internal, so these are in order of bids.
        self._ib, self._cb = array("Q"), array("H")
        self._references, self._internal = array("H"), bytearray()
        self._nids, self._parents = array("I"), array("I")
        self._data, self._subs = array("Q"), array("Q")
        stream.seek(0)
        stream.truncate()
        stream.write(bytes(maps.IB_FIRST_AMAP))
        self._regions = RegionWriter(stream)
        self._write_header(Root(0, 0, 0, 0, 0, 0, 0, 0, INVALID_AMAP), b"\xff" * 128)

    @property
    def size(self) -> int:
        """Bytes of the file so far, without the node and block trees that ``close`` adds."""
        return self._regions.size

    def data_tree(self, blocks: Iterable[bytes]) -> Tree:
        """Write ``blocks`` as the leaves of one tree.

        Each is 8,176 bytes but the last, which may have less. ValueError where that is not so, or beyond 4 GiB - 1.
        """
        leaves, xblocks = _Level(self, 1), _Level(self, 2)
        previous = LEAF
        for block in blocks:
            if not block:
                continue
            if previous != LEAF or len(block) > LEAF:
                raise ValueError(f"a leaf of {previous if previous != LEAF else len(block)} bytes, not of {LEAF}")
            previous = len(block)
            if leaves.full:
                xblocks.add(leaves.wrap())
            leaves.add(Tree(self._block(block, False), previous))
            if xblocks.size + leaves.size > _MAX_TOTAL:
                raise ValueError("a data tree of 4 GiB or more")
        if not xblocks.size:
            return leaves.close()
        xblocks.add(leaves.wrap())
        return xblocks.close()

    def bytes_tree(self, data: bytes | Iterable[bytes]) -> Tree:
        """Write ``data`` as one tree, whatever the sizes of its pieces. ValueError beyond 4 GiB - 1."""
        return self.data_tree(_leaves([data] if isinstance(data, bytes) else data))

    def subnode_tree(self, entries: Sequence[SubnodeEntry]) -> Tree:
        """Write the subnodes ``entries``, in any order. ValueError for a NID given twice or too many for one tree."""
        ordered = sorted(entries, key=lambda each: each.nid)
        if any(one.nid == other.nid for one, other in pairwise(ordered)):
            raise ValueError("a subnode twice")
        limit = SLBlock.max_entries(UNICODE)
        if len(ordered) > limit * SIBlock.max_entries(UNICODE):
            raise ValueError(f"{len(ordered)} subnodes in one tree")
        size = sum(each.data.size + each.sub.size for each in ordered)
        index = []
        for start in range(0, len(ordered), limit):
            part = ordered[start : start + limit]
            index.append(SIEntry(part[0].nid, self._subnode_leaf(part)))
        if len(index) < 2:
            return Tree(index[0].bid, size) if index else NO_TREE
        for each in index:
            self._refer(each.bid)
        return Tree(self._block(SIBlock(tuple(index)).pack(UNICODE), True), size)

    def node(self, nid: int, data: Tree, sub: Tree = NO_TREE, parent: int = 0) -> None:
        """Enter the node ``nid``. One that is entered twice is a ValueError of ``close``."""
        self.reserve_nid(nid)
        self._refer(data.bid)
        self._refer(sub.bid)
        self._nids.append(nid)
        self._data.append(data.bid)
        self._subs.append(sub.bid)
        self._parents.append(parent)

    def share(self, tree: Tree) -> Tree:
        """``tree``, to be used once more. References are counted where a tree is used, so this does nothing else."""
        return tree

    def next_nid(self, nid_type: int) -> int:
        """A new NID of ``nid_type``. ValueError where none is left."""
        index = self._rgnid[nid_type] + 1
        if index > _MAX_NID_INDEX:
            raise ValueError(f"no NID of type 0x{nid_type:02x} is left")
        self._rgnid[nid_type] = index
        return ids.nid(nid_type, index)

    def reserve_nid(self, nid: int) -> None:
        """Let ``next_nid`` give out no NID up to ``nid``, unless it is one of Outlook's own, below index 0x400."""
        kind, index = ids.nid_type(nid), ids.nid_index(nid)
        if kind not in _NO_COUNTER and index > self._rgnid[kind]:
            self._rgnid[kind] = index

    def next_unique(self) -> int:
        """A number that was not given out before, for PidTagLtpRowVer; the header's dwUnique ends above it."""
        self._unique += 1
        return self._unique - 1

    def close(self) -> None:
        """Write the trees, the maps and the complete header. The stream stays open and is not synced.

        ValueError where a node was entered twice; the file then stays without trees.
        """
        order = sorted(range(len(self._nids)), key=self._nids.__getitem__)
        if any(self._nids[one] == self._nids[other] for one, other in pairwise(order)):
            raise ValueError("a node twice")
        self._drop_unused()
        bid_nbt, ib_nbt = self._tree(pages.PTYPE_NBT, UNICODE.nbt_entry, self._nbt_entries(order))
        bid_bbt, ib_bbt = self._tree(pages.PTYPE_BBT, UNICODE.bbt_entry, self._bbt_entries())
        fmap = self._regions.finish()
        body = maps.DListPage().pack(UNICODE)
        self._stream.seek(maps.IB_DLIST)
        self._stream.write(pages.seal_page(UNICODE, body, pages.PTYPE_DLIST, maps.IB_DLIST, self._next_page))
        last = self._regions.region
        end = maps.amap_offset(last + 1)
        root = Root(
            end, maps.amap_offset(last), self._regions.free, 0, bid_nbt, ib_nbt, bid_bbt, ib_bbt, VALID_AMAP2
        )  # fmt: skip
        for kind in _FOLDER_TABLES:
            self._rgnid[kind] = max(self._rgnid[kind], self._rgnid[ids.NID_TYPE_NORMAL_FOLDER])
        self._write_header(root, fmap)

    def _write_header(self, root: Root, fmap: bytes) -> None:
        header = Header(
            wVer=23, root=root, bidNextB=(len(self._ib) + 1) * ids.BID_STEP, bidNextP=self._next_page,
            dwUnique=self._unique + 1, rgnid=tuple(self._rgnid), bCryptMethod=self._crypt_method, rgbFM=fmap,
        )  # fmt: skip
        self._stream.seek(0)
        self._stream.write(header.sealed().pack())

    def _block(self, data: bytes, internal: bool) -> int:
        bid = (len(self._ib) + 1) * ids.BID_STEP + (ids.BID_INTERNAL if internal else 0)
        ib = self._regions.place(UNICODE.block_size(len(data)))
        encoded = data if internal else encode(data, self._crypt_method, bid)
        self._regions.put(ib, seal_block(UNICODE, encoded, ib, bid))
        self._ib.append(ib)
        self._cb.append(len(data))
        self._references.append(0)
        self._internal.append(internal)
        return bid

    def index_block(self, level: int, size: int, bids: tuple[int, ...]) -> Tree:
        """Write the XBLOCK (``level`` 1) or XXBLOCK (2) over ``bids`` with ``size`` bytes of data below."""
        for bid in bids:
            self._refer(bid)
        return Tree(self._block(XBlock(level, size, bids).pack(UNICODE), True), size)

    def _refer(self, bid: int) -> None:
        if bid:
            at = bid // ids.BID_STEP - 1
            if self._references[at] == _MAX_REFERENCES:
                raise ValueError(f"block 0x{bid:x} is used {_MAX_REFERENCES} times already")
            self._references[at] += 1

    def _subnode_leaf(self, entries: Sequence[SubnodeEntry]) -> int:
        for each in entries:
            self.reserve_nid(each.nid)
            self._refer(each.data.bid)
            self._refer(each.sub.bid)
        packed = SLBlock(tuple(SLEntry(each.nid, each.data.bid, each.sub.bid) for each in entries))
        return self._block(packed.pack(UNICODE), True)

    def _drop_unused(self) -> None:
        """Take back the references of unused blocks: they have no entry, so what they name must not count them."""
        # A block is written after all that it names.
        for at in range(len(self._ib) - 1, -1, -1):
            if not self._references[at] and self._internal[at]:
                for bid in _children(self._regions.read(self._ib[at], self._cb[at])):
                    self._references[bid // ids.BID_STEP - 1] -= 1

    def _nbt_entries(self, order: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        for at in order:
            entry = pages.NBTEntry(self._nids[at], self._data[at], self._subs[at], self._parents[at])
            yield entry.nid, entry.pack(UNICODE)

    def _bbt_entries(self) -> Iterator[tuple[int, bytes]]:
        for at, references in enumerate(self._references):
            if references:
                bid = (at + 1) * ids.BID_STEP + self._internal[at] * ids.BID_INTERNAL
                yield bid, pages.BBTEntry(bid, self._ib[at], self._cb[at], references + 1).pack(UNICODE)

    def _tree(self, ptype: int, entry: Struct, entries: Iterable[tuple[int, bytes]]) -> tuple[int, int]:
        """Write a B-tree of sorted (key, entry); (bid, ib) of its root page."""
        level = 0
        above = list(self._level(ptype, entry, entries, level)) or [self._page(ptype, entry, [], level)]
        while len(above) > 1:
            level += 1
            packed = ((each.btkey, each.pack(UNICODE)) for each in above)
            above = list(self._level(ptype, UNICODE.bt_entry, packed, level))
        return above[0].bid, above[0].ib

    def _level(
        self, ptype: int, entry: Struct, entries: Iterable[tuple[int, bytes]], level: int
    ) -> Iterator[pages.BTEntry]:
        limit = UNICODE.entries_size // entry.size
        part: list[tuple[int, bytes]] = []
        for each in entries:
            if len(part) == limit:
                yield self._page(ptype, entry, part, level)
                part = []
            part.append(each)
        if part:
            yield self._page(ptype, entry, part, level)

    def _page(self, ptype: int, entry: Struct, part: Sequence[tuple[int, bytes]], level: int) -> pages.BTEntry:
        limit = UNICODE.entries_size // entry.size
        body = pages.BTPage(b"".join(packed for _, packed in part), len(part), limit, entry.size, level).pack(UNICODE)
        bid = self._next_page
        self._next_page += 1
        ib = self._regions.place(maps.PAGE, maps.PAGE)
        self._regions.put(ib, pages.seal_page(UNICODE, body, ptype, ib, bid))
        return pages.BTEntry(part[0][0] if part else 0, bid, ib)


class _Level:
    """The blocks that the next XBLOCK (level 1) or XXBLOCK (2) will name. ``size`` is of the data below."""

    def __init__(self, writer: NodeWriter, level: int) -> None:
        self._writer = writer
        self._level = level
        self._bids: list[int] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return len(self._bids) == XBlock.max_entries(UNICODE)

    def add(self, tree: Tree) -> None:
        self._bids.append(tree.bid)
        self.size += tree.size

    def close(self) -> Tree:
        """What the level comes to if nothing is above it: nothing, its only block, or a block over all of them."""
        if len(self._bids) > 1:
            return self.wrap()
        return Tree(self._bids[0], self.size) if self._bids else NO_TREE

    def wrap(self) -> Tree:
        """A new block over all of them, though it be one: what an XXBLOCK names must be XBLOCKs."""
        tree = self._writer.index_block(self._level, self.size, tuple(self._bids))
        self._bids, self.size = [], 0
        return tree


def _leaves(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """``chunks`` cut anew into pieces of 8,176 bytes, the last one of what is left."""
    rest = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        at = 0
        if rest:
            at = LEAF - len(rest)
            rest += view[:at]
            if len(rest) < LEAF:
                continue
            yield bytes(rest)
            rest.clear()
        while len(view) - at >= LEAF:
            yield bytes(view[at : at + LEAF])
            at += LEAF
        rest += view[at:]
    if rest:
        yield bytes(rest)


def _children(data: bytes) -> Iterator[int]:
    """The BIDs that an internal block names."""
    btype, level = block_kind(data)
    if btype == BTYPE_X:
        yield from XBlock.unpack(UNICODE, data).rgbid
    elif level:
        yield from (each.bid for each in SIBlock.unpack(UNICODE, data).rgentries)
    else:
        for each in SLBlock.unpack(UNICODE, data).rgentries:
            yield from (bid for bid in (each.bidData, each.bidSub) if bid)
