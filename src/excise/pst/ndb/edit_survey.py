"""What a file's trees reach: how often each block is named, where everything lies, and whether all of it is sound."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

from excise.pst.disk import ids, maps, pages
from excise.pst.disk.blocks import BTYPE_X, SIBlock, SLBlock, XBlock, block_kind
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.formats import UNICODE
from excise.pst.ndb.build import MAX_REFERENCES
from excise.pst.ndb.edit_layout import Layout, piece
from excise.pst.ndb.read import DataTree, Node, NodeDatabase, block_problems

# Types of subnodes whose NIDs come from the header's counters.
_COUNTED = frozenset({ids.NID_TYPE_NORMAL_MESSAGE, ids.NID_TYPE_ATTACHMENT, ids.NID_TYPE_LTP})


class References:
    """How often each block is named by what the nodes reach; an internal block counts for what it names once.

    ``position`` gives a block's number below ``total``, ``data`` the bytes of an internal block. ``judge`` is given the
    root of each tree that is met for the first time, and whether it is one of subnodes. ``highest`` is the highest
    nidIndex of each type of subnodes that has a counter.
    """

    def __init__(
        self,
        total: int,
        position: Callable[[int], int | None],
        data: Callable[[int], bytes],
        judge: Callable[[int, bool], object] | None = None,
    ) -> None:
        self.counts = array("H", [0]) * total
        self.highest: dict[int, int] = {}
        self._subs = bytearray(total)
        self._position = position
        self._data = data
        self._judge = judge

    def add(self, node: pages.NBTEntry) -> None:
        """Count what ``node`` reaches. Damaged where the BBT has no entry for it, or it is named too often."""
        stack = [*_roots(node.bidData, node.bidSub)]
        while stack:
            bid, is_sub, is_root = stack.pop()
            at = self._position(bid)
            if at is None:
                raise Damaged(_damage(bid, "bid", "a BBT entry", "none"))
            if self.counts[at] == MAX_REFERENCES:
                raise Damaged(_damage(bid, "cRef", f"at most {MAX_REFERENCES} references", "more"))
            self.counts[at] += 1
            if self.counts[at] > 1:
                if self._subs[at] != is_sub:
                    raise Damaged(_damage(bid, "bid", "data or subnodes", "a block that is named as both"))
                continue
            self._subs[at] = is_sub
            if self._judge is not None and is_root and (is_sub or ids.is_internal(bid)):
                self._judge(bid, is_sub)
            if ids.is_internal(bid):
                stack += self._below(self._data(bid))

    def _below(self, data: bytes) -> Iterator[tuple[int, bool, bool]]:
        btype, level = block_kind(data)
        if btype == BTYPE_X:
            for bid in XBlock.unpack(UNICODE, data).rgbid:
                yield bid, False, False
        elif level:
            for index in SIBlock.unpack(UNICODE, data).rgentries:
                yield index.bid, True, False
        else:
            for entry in SLBlock.unpack(UNICODE, data).rgentries:
                kind, number = ids.nid_type(entry.nid), ids.nid_index(entry.nid & 0xFFFFFFFF)
                if kind in _COUNTED and number > self.highest.get(kind, 0):
                    self.highest[kind] = number
                yield from _roots(entry.bidData, entry.bidSub)


class Survey:
    """A whole file, read and found sound, or Damaged with the first thing that is not.

    ``references`` counts by the positions of ``ndb.blocks``. Blocks with a BID below ``checked_from`` are not read for
    their checksums. ``strict`` demands that the BBT holds what is reached, with the right cRef, and nothing else.
    """

    def __init__(self, ndb: NodeDatabase, *, checked_from: int = 0, strict: bool = False) -> None:
        self._ndb = ndb
        root = ndb.header.root
        entries = ndb.blocks.entries()
        self._demand_sound()
        self.references = References(
            len(ndb.blocks), ndb.blocks.position, lambda bid: ndb.block(bid, ndb.log), self._read_tree
        )
        tree_pages = [*_page_offsets(ndb, root.ibNBT), *_page_offsets(ndb, root.ibBBT)]
        self.layout = Layout([*map(piece, tree_pages), *_block_pieces(entries, ndb.source.size)], ndb.source.size)
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
        by_place = sorted((each.ib, at) for at, each in enumerate(ndb.blocks.entries()) if each.bid >= checked_from)
        for _, at in by_place:
            entry = ndb.blocks.at(at)
            raw = ndb.source.read(entry.ib, UNICODE.block_size(entry.cb))
            for damage in block_problems(UNICODE, entry, raw, entry.bid):
                raise Damaged(damage)
            if entry.bid >= ndb.header.bidNextB:
                found = f"block 0x{entry.bid:x}"
                raise Damaged(Damage("disk", "HEADER", "bidNextB", "the header", 0, "above every BID", found))

    def _read_tree(self, bid: int, is_sub: bool) -> None:
        """Let the reader's own rules judge a tree."""
        if is_sub:
            _ = Node(self._ndb, 0, 0, bid, self._ndb.log).subnodes
        else:
            DataTree(self._ndb, bid, self._ndb.log)
        self._demand_sound()

    def _check_references(self) -> None:
        for entry, count in zip(self._ndb.blocks.entries(), self.references.counts, strict=True):
            if not count or entry.cRef != count + 1:
                raise Damaged(_damage(entry.bid, "cRef", str(count + 1), str(entry.cRef)))


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


def _block_pieces(entries: Iterable[pages.BBTEntry], size: int) -> Iterator[int]:
    for entry in entries:
        if entry.ib >= size:
            raise Damaged(_damage(entry.bid, "ib", f"inside the file of {size} bytes", str(entry.ib)))
        if not 0 < entry.cb <= UNICODE.max_block_data:
            raise Damaged(_damage(entry.bid, "cb", f"1 to {UNICODE.max_block_data}", str(entry.cb)))
        yield piece(entry.ib, entry.cb)


def _damage(bid: int, field: str, expected: str, found: str) -> Damage:
    return Damage("ndb", "BBTENTRY", field, f"block 0x{bid:x}", -1, expected, found)
