"""Data trees, subnode trees and B-trees as they are cut into blocks and pages ([MS-PST] 2.2.2.7.7, 2.2.2.8.3).

What the writer of new files and the editor of existing ones share; where the pieces go is theirs to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from struct import Struct

from excise.pst.disk import ids, pages
from excise.pst.disk.blocks import BTYPE_X, SIBlock, SIEntry, SLBlock, SLEntry, XBlock, block_kind
from excise.pst.disk.formats import UNICODE
from excise.pst.ndb.write_types import NO_TREE, SubnodeEntry, Tree

LEAF = UNICODE.max_block_data
#: A BBT entry has two bytes for the references and counts one more than there are.
MAX_REFERENCES = 0xFFFE
_MAX_TOTAL = 0xFFFFFFFF
_MAX_NID_INDEX = (1 << 27) - 1
_MAX_UNIQUE = 0xFFFFFFF0
#: Their counters hold something else than NIDs in Outlook's files.
NO_COUNTER = frozenset({0, 6, 7, 0x10})
_FOLDER_TABLES = (ids.NID_TYPE_HIERARCHY_TABLE, ids.NID_TYPE_CONTENTS_TABLE, ids.NID_TYPE_ASSOC_CONTENTS_TABLE)


class TreeBuilder(ABC):
    """Builds trees from the bottom up. ``rgnid`` and ``unique`` are the counters of the file's header to go on from."""

    def __init__(self, rgnid: Iterable[int], unique: int) -> None:
        self._rgnid = list(rgnid)
        self._unique = unique

    @abstractmethod
    def _block(self, data: bytes, internal: bool) -> int:
        """Write a block of ``data``, not yet encoded; its BID."""

    @abstractmethod
    def _page(self, ptype: int, body: bytes) -> tuple[int, int]:
        """Write a page; its (bid, ib)."""

    @abstractmethod
    def _refer(self, bid: int) -> None:
        """Note that something names the block ``bid`` (0: nothing does). ValueError where that cannot be."""

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
        if kind not in NO_COUNTER and index > self._rgnid[kind]:
            self._rgnid[kind] = index

    def next_unique(self) -> int:
        """A number that was not given out before, for PidTagLtpRowVer; the header's dwUnique ends above it.

        ValueError where none is left.
        """
        if self._unique >= _MAX_UNIQUE:
            raise ValueError("no row version is left")
        self._unique += 1
        return self._unique - 1

    def index_block(self, level: int, size: int, bids: tuple[int, ...]) -> Tree:
        """Write the XBLOCK (``level`` 1) or XXBLOCK (2) over ``bids`` with ``size`` bytes of data below."""
        for bid in bids:
            self._refer(bid)
        return Tree(self._block(XBlock(level, size, bids).pack(UNICODE), True), size)

    def _subnode_leaf(self, entries: Sequence[SubnodeEntry]) -> int:
        for each in entries:
            self.reserve_nid(each.nid)
            self._refer(each.data.bid)
            self._refer(each.sub.bid)
        packed = SLBlock(tuple(SLEntry(each.nid, each.data.bid, each.sub.bid) for each in entries))
        return self._block(packed.pack(UNICODE), True)

    def _final_rgnid(self) -> tuple[int, ...]:
        """The counters for the header: those of a folder's tables follow the folders'."""
        for kind in _FOLDER_TABLES:
            self._rgnid[kind] = max(self._rgnid[kind], self._rgnid[ids.NID_TYPE_NORMAL_FOLDER])
        return tuple(self._rgnid)

    def _tree(self, ptype: int, entry: Struct, entries: Iterable[tuple[int, bytes]]) -> tuple[int, int]:
        """Write a B-tree of sorted (key, entry); (bid, ib) of its root page."""
        level = 0
        above = list(self._level(ptype, entry, entries, level)) or [self._tree_page(ptype, entry, [], level)]
        while len(above) > 1:
            level += 1
            packed = ((each.btkey, each.pack(UNICODE)) for each in above)
            above = list(self._level(ptype, UNICODE.bt_entry, packed, level))
        return above[0].bid, above[0].ib

    def _level(
        self, ptype: int, entry: Struct, entries: Iterable[tuple[int, bytes]], level: int
    ) -> Iterator[pages.BTEntry]:
        limit, rest = UNICODE.entries_size // entry.size, iter(entries)
        while part := list(islice(rest, limit)):
            yield self._tree_page(ptype, entry, part, level)

    def _tree_page(self, ptype: int, entry: Struct, part: Sequence[tuple[int, bytes]], level: int) -> pages.BTEntry:
        limit = UNICODE.entries_size // entry.size
        body = pages.BTPage(b"".join(packed for _, packed in part), len(part), limit, entry.size, level).pack(UNICODE)
        bid, ib = self._page(ptype, body)
        return pages.BTEntry(part[0][0] if part else 0, bid, ib)


class _Level:
    """The blocks that the next XBLOCK (level 1) or XXBLOCK (2) will name. ``size`` is of the data below."""

    def __init__(self, builder: TreeBuilder, level: int) -> None:
        self._builder = builder
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
        tree = self._builder.index_block(self._level, self.size, tuple(self._bids))
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


def children(data: bytes) -> Iterator[int]:
    """The BIDs that the internal block with ``data`` names. ValueError where it is none."""
    btype, level = block_kind(data)
    if btype == BTYPE_X:
        yield from XBlock.unpack(UNICODE, data).rgbid
    elif level:
        yield from (each.bid for each in SIBlock.unpack(UNICODE, data).rgentries)
    else:
        for each in SLBlock.unpack(UNICODE, data).rgentries:
            yield from (bid for bid in (each.bidData, each.bidSub) if bid)
