"""Where the blocks and pages of a Unicode file lie, and what is free between them ([MS-PST] 2.6.1).

Free is what no tree reaches; the allocation maps of the file are not asked.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache

from excise.pst.disk import maps
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.formats import UNICODE

# A piece is its offset and, in the low bits, the data bytes of a block; 0 stands for a page.
_CB_BITS = 13
_CB_MASK = (1 << _CB_BITS) - 1


def piece(ib: int, cb: int = 0) -> int:
    """One number for the block with ``cb`` bytes of data at ``ib``, or for the page there; see ``Layout``."""
    return ib << _CB_BITS | cb


@cache
def _sizes() -> tuple[int, ...]:
    """Bytes on disk by the data bytes of a block; for 0 those of a page."""
    return (maps.PAGE, *(UNICODE.block_size(cb) for cb in range(1, 1 << _CB_BITS)))


class Layout:
    """The ``pieces`` of a file of ``size`` bytes by place; eight bytes of memory each.

    Damaged where one of them is not on its grid, not inside a region, on a map page or on another piece.
    """

    def __init__(self, pieces: Iterable[int], size: int) -> None:
        self.regions = maps.region_count(size)
        self._pieces = array("Q", sorted(pieces))
        # The first free byte, and the end of the region in which it lies.
        end = region_end = maps.amap_offset(0)
        sizes = _sizes()
        for each in self._pieces:
            ib, cb = each >> _CB_BITS, each & _CB_MASK
            if ib >= region_end:
                region = maps.region_of(ib)
                end = maps.amap_offset(region) + len(maps.map_pages(region)) * maps.PAGE
                region_end = maps.amap_offset(region + 1) if region < self.regions else 0
            if ib < end or ib + sizes[cb] > region_end:
                raise Damaged(_misplaced(ib, cb, "a place of its own within one region"))
            if ib % (maps.SLOT if cb else maps.PAGE):
                raise Damaged(_misplaced(ib, cb, f"a multiple of {maps.SLOT if cb else maps.PAGE}"))
            end = ib + sizes[cb]

    def used(self, region: int) -> int:
        """The slots of ``region`` that are taken, map pages included, as the AMap's bits in one big-endian number."""
        bits = 0
        for ib in maps.map_pages(region):
            bits |= maps.slot_mask(maps.slot_run(ib, maps.PAGE)[1], maps.PAGE // maps.SLOT)
        sizes, base = _sizes(), maps.amap_offset(region)
        start = end = base
        for ib, cb in self._inside(region):
            if ib != end:
                bits |= maps.slot_mask((start - base) // maps.SLOT, (end - start) // maps.SLOT)
                start = ib
            end = ib + sizes[cb]
        return bits | maps.slot_mask((start - base) // maps.SLOT, (end - start) // maps.SLOT)

    def kept(self, region: int) -> Iterator[tuple[int, int]]:
        """The (start, stop) of every byte of ``region`` that means something, in order: not a block's padding."""
        for ib in maps.map_pages(region):
            yield ib, ib + maps.PAGE
        sizes = _sizes()
        for ib, cb in self._inside(region):
            end = ib + sizes[cb]
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
