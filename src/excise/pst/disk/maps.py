"""The allocation grid: AMap, PMap, FMap, FPMap and DList ([MS-PST] 2.2.2.7.2 to 2.2.2.7.6, 2.6.1).

Region ``k`` of a file begins with its AMap page and is ``REGION`` bytes long. The 4-KB format has another grid,
which is not published; nothing here holds for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct

from excise.pst.disk.formats import ANSI, Format
from excise.pst.disk.pages import PTYPE_AMAP, PTYPE_FMAP, PTYPE_FPMAP, PTYPE_PMAP

IB_DLIST = 0x4200
IB_FIRST_AMAP = 0x4400
MAP_BITS = 496
SLOT = 64
SLOTS = MAP_BITS * 8
REGION = SLOTS * SLOT
PAGE = 512

_PMAP_EVERY = 8
_HEADER_REGIONS = 128
_FPMAP_FIRST = 128 * 64
_FPMAP_EVERY = MAP_BITS * 64

DLIST_BACKFILL_COMPLETE = 0x01
_DLIST_START = Struct("<BBHI")
_FREE_RUN = re.compile("0+")


def amap_offset(region: int) -> int:
    """Offset of the AMap page of ``region``, which is where the region begins."""
    return IB_FIRST_AMAP + region * REGION


def region_of(ib: int) -> int:
    """The region in which offset ``ib`` lies; negative before the first."""
    return (ib - IB_FIRST_AMAP) // REGION


def region_count(file_size: int) -> int:
    """How many regions a file of ``file_size`` bytes has, a last incomplete one included."""
    return max(0, -(-(file_size - IB_FIRST_AMAP) // REGION))


def map_pages(region: int) -> dict[int, int]:
    """The map pages at the beginning of ``region``: offset → ptype."""
    at = amap_offset(region)
    pages = {at: PTYPE_AMAP}
    if region % _PMAP_EVERY == 0:
        pages[at + PAGE] = PTYPE_PMAP
    if region >= _HEADER_REGIONS and (region - _HEADER_REGIONS) % MAP_BITS == 0:
        pages[at + 2 * PAGE] = PTYPE_FMAP
    if region >= _FPMAP_FIRST and (region - _FPMAP_FIRST) % _FPMAP_EVERY == 0:
        pages[at + 2 * PAGE] = PTYPE_FPMAP
    return pages


def fmap_place(region: int) -> tuple[int | None, int]:
    """Where the free-map byte of ``region`` stands: (region of the FMap page, index); None for the header's rgbFM."""
    if region < _HEADER_REGIONS:
        return None, region
    index = (region - _HEADER_REGIONS) % MAP_BITS
    return region - index, index


def pack_map(fmt: Format, bits: bytes) -> bytes:
    """The page body of a map with its 496 bytes ``bits``; ANSI has four bytes of padding first."""
    if len(bits) != MAP_BITS:
        raise ValueError(f"a map of {len(bits)} bytes")
    return bytes(4) + bits if fmt is ANSI else bits


def unpack_map(fmt: Format, page: bytes) -> bytes:
    """The 496 map bytes of ``page``."""
    at = 4 if fmt is ANSI else 0
    return page[at : at + MAP_BITS]


def slot_run(ib: int, size: int) -> tuple[int, int, int]:
    """(region, first slot, number of slots) that ``size`` bytes at ``ib`` take. Slot 0 is the high bit of byte 0."""
    region = region_of(ib)
    first = (ib - amap_offset(region)) // SLOT
    return region, first, -(-size // SLOT)


def slot_mask(first: int, count: int) -> int:
    """The bits of ``count`` slots from ``first`` in a map taken as a big-endian number of 3,968 bits."""
    return ((1 << count) - 1) << (SLOTS - first - count)


def longest_free(bits: bytes) -> int:
    """The FMap byte of an AMap: its longest run of free slots, at most 255 (2.2.2.7.4)."""
    text = bin(int.from_bytes(bits, "big") | 1 << SLOTS)[3:]
    return min(255, max(map(len, _FREE_RUN.findall(text)), default=0))


def free_slots(bits: bytes) -> int:
    """How many slots of an AMap are free."""
    return SLOTS - int.from_bytes(bits, "big").bit_count()


@dataclass(frozen=True, slots=True)
class DListPage:
    """DLISTPAGE (2.2.2.7.6) without its trailer. Each entry is (dwPageNum, dwFreeSlots)."""

    bFlags: int = DLIST_BACKFILL_COMPLETE
    ulCurrentPage: int = 0
    entries: tuple[tuple[int, int], ...] = ()
    wPadding: int = 0
    rgPadding: bytes = b""

    @classmethod
    def unpack(cls, fmt: Format, page: bytes) -> DListPage:
        """The DList ``page``; ``rgPadding`` is what follows the entries up to the trailer."""
        flags, count, padding, current = _DLIST_START.unpack_from(page)
        end = fmt.page_size - fmt.page_trailer_size
        count = min(count, (end - _DLIST_START.size) // 4)
        values = Struct(f"<{count}I").unpack_from(page, _DLIST_START.size)
        entries = tuple((value & 0xFFFFF, value >> 20) for value in values)
        return cls(flags, current, entries, padding, page[_DLIST_START.size + 4 * count : end])

    def pack(self, fmt: Format) -> bytes:
        """The body of the page, to be given to ``seal_page``."""
        body = _DLIST_START.pack(self.bFlags, len(self.entries), self.wPadding, self.ulCurrentPage)
        body += b"".join((slots << 20 | number).to_bytes(4, "little") for number, slots in self.entries)
        return body + self.rgPadding.ljust(fmt.page_size - fmt.page_trailer_size - len(body), b"\0")
