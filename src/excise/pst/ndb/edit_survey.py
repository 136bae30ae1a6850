"""What a file's trees reach: how often each block is named, where everything lies, and whether all of it is sound."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

from excise.pst.disk import ids, maps, pages
from excise.pst.disk.blocks import BTYPE_S, BTYPE_X, SIBlock, SLBlock, XBlock, block_kind, is_sealed
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.formats import UNICODE
from excise.pst.ndb.build import MAX_REFERENCES
from excise.pst.ndb.edit_layout import Layout, piece
from excise.pst.ndb.read import DataTree, Node, NodeDatabase, block_problems
from excise.pst.ndb.source import Source

# Types of subnodes whose NIDs come from the header's counters.
_COUNTED = frozenset({ids.NID_TYPE_NORMAL_MESSAGE, ids.NID_TYPE_ATTACHMENT, ids.NID_TYPE_LTP})
#: Blocks that lie one after another are read together, up to so many bytes.
_RUN = 1 << 18


class References:
    """How often each block is named by what the nodes reach; an internal block counts for what it names once.

    ``position`` gives a block's number below ``total``, ``data`` the bytes of an internal block. ``judge`` is given the
    root of each tree that is met for the first time, whether it is one of subnodes, and its data where the block is
    internal. ``highest`` is the highest nidIndex of each type of subnodes that has a counter.
    """

    def __init__(
        self,
        total: int,
        position: Callable[[int], int | None],
        data: Callable[[int], bytes],
        judge: Callable[[int, bool, bytes], object] | None = None,
    ) -> None:
        self.counts = array("H", [0]) * total
        self.highest: dict[int, int] = {}
        self._subs = bytearray(total)
        self._position = position
        self._data = data
        self._judge = judge

    def continued(self, total: int, position: Callable[[int], int | None], data: Callable[[int], bytes]) -> References:
        """A copy to go on from, with what it is given about blocks that came later."""
        copy = References(total, position, data)
        copy.counts[: len(self.counts)] = self.counts
        copy._subs[: len(self._subs)] = self._subs
        return copy

    def drop(self, node: pages.NBTEntry) -> None:
        """Take back what ``add`` counted for ``node``."""
        stack = [*_roots(node.bidData, node.bidSub)]
        while stack:
            bid, _, _ = stack.pop()
            at = self._position(bid)
            if at is None or not self.counts[at]:
                raise Damaged(_damage(bid, "cRef", "a block that was counted", "none"))
            self.counts[at] -= 1
            if not self.counts[at] and ids.is_internal(bid):
                stack += self._below(self._data(bid))

    def add(self, node: pages.NBTEntry) -> None:
        """Count what ``node`` reaches. Damaged where the BBT has no entry for it, or it is named too often."""
        counts, subs, position = self.counts, self._subs, self._position
        stack = [*_roots(node.bidData, node.bidSub)]
        while stack:
            bid, is_sub, is_root = stack.pop()
            at = position(bid)
            if at is None:
                raise Damaged(_damage(bid, "bid", "a BBT entry", "none"))
            count = counts[at]
            if count:
                if count == MAX_REFERENCES:
                    raise Damaged(_damage(bid, "cRef", f"at most {MAX_REFERENCES} references", "more"))
                if subs[at] != is_sub:
                    raise Damaged(_damage(bid, "bid", "data or subnodes", "a block that is named as both"))
                counts[at] = count + 1
                continue
            counts[at] = 1
            subs[at] = is_sub
            if bid & ids.BID_INTERNAL:
                data = self._data(bid)
                if self._judge is not None and is_root:
                    self._judge(bid, is_sub, data)
                stack += self._below(data)
            elif is_sub and is_root and self._judge is not None:
                self._judge(bid, is_sub, b"")

    def _below(self, data: bytes) -> Iterator[tuple[int, bool, bool]]:
        btype, level = block_kind(data)
        if btype == BTYPE_X:
            for bid in XBlock.unpack(UNICODE, data).rgbid:
                yield bid, False, False
        elif level:
            for index in SIBlock.unpack(UNICODE, data).rgentries:
                yield index.bid, True, False
        else:
            for nid, data_bid, sub_bid in SLBlock.values(UNICODE, data):
                kind, number = nid & 0x1F, (nid & 0xFFFFFFFF) >> 5
                if kind in _COUNTED and number > self.highest.get(kind, 0):
                    self.highest[kind] = number
                if data_bid:
                    yield data_bid, False, True
                if sub_bid:
                    yield sub_bid, True, True


class Survey:
    """A whole file, read and found sound, or Damaged with the first thing that is not.

    ``references`` counts by the positions of ``ndb.blocks``. Blocks with a BID below ``checked_from`` are not read for
    their checksums. ``strict`` demands that the BBT holds what is reached, with the right cRef, and nothing else.
    """

    def __init__(self, ndb: NodeDatabase, *, checked_from: int = 0, strict: bool = False) -> None:
        self._ndb = ndb
        root = ndb.header.root
        blocks = ndb.blocks  # read before it is asked what was wrong with it
        self._demand_sound()
        self.references = References(len(blocks), blocks.position, lambda bid: ndb.block(bid, ndb.log), self._read_tree)
        tree_pages = [*_page_offsets(ndb, root.ibNBT), *_page_offsets(ndb, root.ibBBT)]
        self.layout = Layout(
            [*map(piece, tree_pages), *_block_pieces(blocks.values(), ndb.source.size)], ndb.source.size
        )
        self._check_blocks(checked_from)
        for node in ndb.nodes.entries():
            self.references.add(node)
        self.highest = dict(self.references.highest)
        for nid in ndb.nodes.nids:
            kind = ids.nid_type(nid)
            self.highest[kind] = max(self.highest.get(kind, 0), ids.nid_index(nid))
        if strict:
            self._check_references()

    def _demand_sound(self) -> None:
        if self._ndb.log:
            raise Damaged(self._ndb.log.entries[0])

    def _check_blocks(self, checked_from: int) -> None:
        ndb = self._ndb
        blocks = ndb.blocks
        # One number for each, not three: there are millions of blocks in a large file.
        by_place = sorted(ib << 32 | at for at, (bid, ib, _, _) in enumerate(blocks.values()) if bid >= checked_from)
        places = (blocks.place(each & 0xFFFFFFFF) for each in by_place)
        for (bid, ib, cb), raw in _read_in_runs(ndb.source, places):
            if not is_sealed(UNICODE, raw, cb, ib, bid):
                for damage in block_problems(UNICODE, pages.BBTEntry(bid, ib, cb, 0), raw, bid):
                    raise Damaged(damage)
            if bid >= ndb.header.bidNextB:
                found = f"block 0x{bid:x}"
                raise Damaged(Damage("disk", "HEADER", "bidNextB", "the header", 0, "above every BID", found))

    def _read_tree(self, bid: int, is_sub: bool, data: bytes) -> None:
        """Let the reader's own rules judge a tree, but where it is plainly sound."""
        if is_sub and _is_sound_leaf(data):
            pass
        elif is_sub:
            _ = Node(self._ndb, 0, 0, bid, self._ndb.log).subnodes
        else:
            DataTree(self._ndb, bid, self._ndb.log)
        self._demand_sound()

    def _check_references(self) -> None:
        for (bid, _, _, references), count in zip(self._ndb.blocks.values(), self.references.counts, strict=True):
            if not count or references != count + 1:
                raise Damaged(_damage(bid, "cRef", str(count + 1), str(references)))


def _is_sound_leaf(data: bytes) -> bool:
    """True where an internal block is an SLBLOCK in which the reader would find no fault. False tells nothing."""
    if len(data) < UNICODE.subnode_header_size or block_kind(data) != (BTYPE_S, 0):
        return False
    nids = {nid & 0xFFFFFFFF for nid, _, _ in SLBlock.values(UNICODE, data)}
    return len(nids) == int.from_bytes(data[2:4], "little")


def _roots(data: int, sub: int) -> Iterator[tuple[int, bool, bool]]:
    if data:
        yield data, False, True
    if sub:
        yield sub, True, True


def _page_offsets(ndb: NodeDatabase, root: int) -> Iterator[int]:
    """The offsets of a tree's pages; the reader has found the tree sound."""
    stack = [root]
    while stack:
        ib = stack.pop()
        yield ib
        page = pages.BTPage.unpack(UNICODE, ndb.source.read(ib, maps.PAGE))
        if not page.cLevel:
            continue
        if page.cbEnt != UNICODE.bt_entry.size:
            found = str(page.cbEnt)
            raise Damaged(Damage("ndb", "BTPAGE", "cbEnt", "a tree page", ib, str(UNICODE.bt_entry.size), found))
        entries = page.rgentries[: page.cEnt * UNICODE.bt_entry.size]
        children = [child for _, _, child in UNICODE.bt_entry.iter_unpack(entries)]
        if page.cLevel == 1:
            yield from children
        else:
            stack += children


def _block_pieces(entries: Iterable[tuple[int, int, int, int]], size: int) -> Iterator[int]:
    largest = UNICODE.max_block_data
    for bid, ib, cb, _ in entries:
        if ib >= size:
            raise Damaged(_damage(bid, "ib", f"inside the file of {size} bytes", str(ib)))
        if not 0 < cb <= largest:
            raise Damaged(_damage(bid, "cb", f"1 to {largest}", str(cb)))
        yield piece(ib, cb)


def _read_in_runs(
    source: Source, places: Iterable[tuple[int, int, int]]
) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Each of ``places``, (bid, ib, cb) in order, and its block as it is in the file, padding and trailer included."""
    start, data = 0, b""
    for place in places:
        _, ib, cb = place
        size = UNICODE.block_size(cb)
        if not start <= ib <= ib + size <= start + len(data):
            start, data = ib, source.read(ib, _RUN)
        yield place, data[ib - start : ib - start + size]


def _damage(bid: int, field: str, expected: str, found: str) -> Damage:
    return Damage("ndb", "BBTENTRY", field, f"block 0x{bid:x}", -1, expected, found)
