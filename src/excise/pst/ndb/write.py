"""The node database of a new Unicode PST file ([MS-PST] 2.2), written front to back.

Shares the on-disk structures with the reader and nothing else. Until ``NodeWriter.close`` the file has a header
without trees whose allocation maps are marked invalid, so that half a file is not taken for a whole one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import BinaryIO

from excise.pst.disk import ids, maps, pages
from excise.pst.disk.blocks import seal_block
from excise.pst.disk.crypt import CRYPT_PERMUTE, encode
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import INVALID_AMAP, VALID_AMAP2, Header, Root
from excise.pst.ndb.allocate import RegionWriter
from excise.pst.ndb.build import LEAF, MAX_REFERENCES, NO_COUNTER, TreeBuilder, children
from excise.pst.ndb.write_types import NO_TREE, SubnodeEntry, Tree

__all__ = ["LEAF", "NO_TREE", "NodeWriter", "SubnodeEntry", "Tree"]

# What Outlook has in an empty file: the last index given out, by type.
_FRESH_RGNID = {3: 0x4000, 4: 0x10000, 8: 0x8000}


class NodeWriter(TreeBuilder):
    """Writes a new file to ``stream``, which must be seekable and readable; what was in it is lost.

    With ``like``, the header of another file, the new one goes on from its counters and keeps its encryption and all
    that its header says beside the trees: NIDs and row versions given out there are not given out again here.

    Memory is one region and some 30 bytes for each block and node. A tree that nothing refers to when the file is
    closed gets no entry in the BBT; the space it takes is not given back.
    """

    def __init__(self, stream: BinaryIO, *, crypt_method: int = CRYPT_PERMUTE, like: Header | None = None) -> None:
        self._crypt_method = crypt_method if like is None else like.bCryptMethod
        encode(b"", self._crypt_method, 0)
        rgnid = [_FRESH_RGNID.get(kind, ids.FIRST_FREE_NID_INDEX) for kind in range(32)]
        if like is not None:
            pairs = enumerate(like.rgnid)
            rgnid = [each if kind in NO_COUNTER else max(each, rgnid[kind]) for kind, each in pairs]
        super().__init__(rgnid, 1 if like is None else like.dwUnique)
        self._stream = stream
        self._like = like
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

    def node(self, nid: int, data: Tree, sub: Tree = NO_TREE, parent: int = 0) -> None:
        """Enter the node ``nid``. One that is entered twice is a ValueError of ``close``."""
        self.reserve_nid(nid)
        self._refer(data.bid)
        self._refer(sub.bid)
        self._nids.append(nid)
        self._data.append(data.bid)
        self._subs.append(sub.bid)
        self._parents.append(parent)

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
        self._write_header(root, fmap)

    def _write_header(self, root: Root, fmap: bytes) -> None:
        like = self._like or Header(
            wVer=23, root=root, bidNextB=0, bidNextP=0, dwUnique=0, rgnid=(), bCryptMethod=self._crypt_method
        )
        header = replace(
            like, root=root, bidNextB=(len(self._ib) + 1) * ids.BID_STEP, bidNextP=self._next_page,
            dwUnique=self._unique + 1, rgnid=self._final_rgnid(), rgbFM=fmap, rgbFP=b"\xff" * 128,
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

    def _refer(self, bid: int) -> None:
        if bid:
            at = bid // ids.BID_STEP - 1
            if self._references[at] == MAX_REFERENCES:
                raise ValueError(f"block 0x{bid:x} is used {MAX_REFERENCES} times already")
            self._references[at] += 1

    def _drop_unused(self) -> None:
        """Take back the references of unused blocks: they have no entry, so what they name must not count them."""
        # A block is written after all that it names.
        for at in range(len(self._ib) - 1, -1, -1):
            if not self._references[at] and self._internal[at]:
                for bid in children(self._regions.read(self._ib[at], self._cb[at])):
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

    def _page(self, ptype: int, body: bytes) -> tuple[int, int]:
        bid = self._next_page
        self._next_page += 1
        ib = self._regions.place(maps.PAGE, maps.PAGE)
        self._regions.put(ib, pages.seal_page(UNICODE, body, ptype, ib, bid))
        return bid, ib
