"""Where the blocks and pages of a Unicode file lie, and what is free between them ([MS-PST] 2.6.1).

Free is what no tree reaches; the allocation maps of the file are not asked.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from excise.pst.disk import maps
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.formats import UNICODE

# A piece is its offset and, in the low bits, the data bytes of a block; 0 stands for a page.
_CB_BITS = 13
_CB_MASK = (1 << _CB_BITS) - 1


def piece(ib: int, cb: int = 0) -> int:
    """One number for the block with ``cb`` bytes of data at ``ib``, or for the page there; see ``Layout``."""
    return ib << _CB_BITS | cb


def _size(cb: int) -> int:
    return UNICODE.block_size(cb) if cb else maps.PAGE


class Layout:
    """The ``pieces`` of a file of ``size`` bytes by place; eight bytes of memory each.

    Damaged where one of them is not on its grid, not inside a region, on a map page or on another piece.
    """

    def __init__(self, pieces: Iterable[int], size: int) -> None:
        self.regions = maps.region_count(size)
        self._pieces = array("Q", sorted(pieces))
        end = 0
        for each in self._pieces:
            ib, cb = each >> _CB_BITS, each & _CB_MASK
            region, first, count = maps.slot_run(ib, _size(cb))
            maps_end = maps.amap_offset(region) + len(maps.map_pages(region)) * maps.PAGE if region >= 0 else 0
            if not 0 <= region < self.regions or first + count > maps.SLOTS or ib < max(end, maps_end):
                raise Damaged(_misplaced(ib, cb, "a place of its own within one region"))
            if ib % (maps.SLOT if cb else maps.PAGE):
                raise Damaged(_misplaced(ib, cb, f"a multiple of {maps.SLOT if cb else maps.PAGE}"))
            end = ib + _size(cb)

    def used(self, region: int) -> int:
        """The slots of ``region`` that are taken, map pages included, as the AMap's bits in one big-endian number."""
        bits = 0
        for ib in maps.map_pages(region):
            bits |= maps.slot_mask(maps.slot_run(ib, maps.PAGE)[1], maps.PAGE // maps.SLOT)
        for ib, cb in self._inside(region):
            _, first, count = maps.slot_run(ib, _size(cb))
            bits |= maps.slot_mask(first, count)
        return bits

    def kept(self, region: int) -> Iterator[tuple[int, int]]:
        """The (start, stop) of every byte of ``region`` that means something, in order: not a block's padding."""
        for ib in maps.map_pages(region):
            yield ib, ib + maps.PAGE
        for ib, cb in self._inside(region):
            end = ib + _size(cb)
            if cb:
                yield ib, ib + cb
                yield end - UNICODE.block_trailer_size, end
            else:
                yield ib, end

    def _inside(self, region: int) -> Iterator[tuple[int, int]]:
        start = bisect_left(self._pieces, piece(maps.amap_offset(region)))
        for at in range(start, bisect_left(self._pieces, piece(maps.amap_offset(region + 1)))):
            yield self._pieces[at] >> _CB_BITS, self._pieces[at] & _CB_MASK


def _misplaced(ib: int, cb: int, expected: str) -> Damage:
    what = f"a block of {cb} bytes" if cb else "a page"
    return Damage("ndb", "BREF", "ib", what, ib, expected, str(ib))
