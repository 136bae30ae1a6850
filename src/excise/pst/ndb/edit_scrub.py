"""The allocation maps of a file as its trees have it, and zeros over everything else ([MS-PST] 2.6.1).

Both say the same however often they are done, so that a crash in between needs nothing but a second time.
"""

from __future__ import annotations

from excise.pst.disk import maps, pages
from excise.pst.disk.formats import UNICODE
from excise.pst.ndb.edit_journal import IMAGE
from excise.pst.ndb.edit_layout import Layout
from excise.pst.ndb.edit_storage import Storage

_ZEROS = bytes(maps.REGION)
_FULL_MAP = b"\xff" * maps.MAP_BITS
_HEADER_REGIONS = 128


class MapPages:
    """The map pages of ``layout``. ``free`` is cbAMapFree; one byte of memory a region."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.free = 0
        self._longest = bytearray()
        for region in range(layout.regions):
            bits = self._bits(region)
            self.free += maps.free_slots(bits) * maps.SLOT
            self._longest.append(maps.longest_free(bits))

    @property
    def rgbFM(self) -> bytes:
        """The header's own part of the FMap; as in Outlook's files, a region that does not exist has 255."""
        return bytes(self._longest[:_HEADER_REGIONS]).ljust(_HEADER_REGIONS, b"\xff")

    def pages(self, region: int) -> dict[int, bytes]:
        """The map pages of ``region`` by offset."""
        return {
            ib: pages.seal_page(UNICODE, self._body(region, ptype), ptype, ib, ib)
            for ib, ptype in maps.map_pages(region).items()
        }

    def _body(self, region: int, ptype: int) -> bytes:
        if ptype == pages.PTYPE_AMAP:
            return self._bits(region)
        if ptype == pages.PTYPE_FMAP:
            return bytes(self._longest[region : region + maps.MAP_BITS]).ljust(maps.MAP_BITS, b"\xff")
        return _FULL_MAP

    def _bits(self, region: int) -> bytes:
        return self.layout.used(region).to_bytes(maps.MAP_BITS, "big")


def scrub(storage: Storage, map_pages: MapPages, bidNextP: int) -> None:
    """Zero every byte of the file that ``map_pages.layout`` does not keep, and write the maps and an empty DList.

    Only what is not so yet is written. The header's two sectors are the caller's; nothing is flushed.
    """
    dlist = pages.seal_page(UNICODE, maps.DListPage().pack(UNICODE), pages.PTYPE_DLIST, maps.IB_DLIST, bidNextP)
    wanted = bytes(maps.IB_DLIST - IMAGE) + dlist
    if storage.read(IMAGE, len(wanted)) != wanted:
        storage.write(IMAGE, wanted)
    for region in range(map_pages.layout.regions):
        _scrub_region(storage, map_pages, region)


def _scrub_region(storage: Storage, map_pages: MapPages, region: int) -> None:
    base = maps.amap_offset(region)
    data = storage.read(base, maps.REGION)
    at = base
    for start, stop in (*map_pages.layout.kept(region), (base + maps.REGION, base + maps.REGION)):
        if data[at - base : start - base] != _ZEROS[: start - at]:
            storage.write(at, _ZEROS[: start - at])
        at = stop
    for ib, page in map_pages.pages(region).items():
        if data[ib - base : ib - base + maps.PAGE] != page:
            storage.write(ib, page)
