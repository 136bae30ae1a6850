"""Append-only allocation in a new Unicode file ([MS-PST] 2.6.1): whole regions, written once and in order."""

from __future__ import annotations

from typing import BinaryIO

from excise.pst.disk import maps
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.pages import PTYPE_AMAP, PTYPE_FMAP, seal_page

_FULL_MAP = b"\xff" * maps.MAP_BITS


class RegionWriter:
    """Places data in the regions of a file, one region in memory at a time.

    A region is written, map pages and all, when the next piece does not fit into it. The FMap bytes are known only
    afterwards, so FMap pages are written again by ``finish``. Nothing before the first region is touched.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.free = 0
        self._longest = bytearray()
        self._region = self._base = self._slot = self._gaps = 0
        self._buffer = bytearray()
        self._start(0)

    @property
    def size(self) -> int:
        """Bytes of the file up to the end of what was placed."""
        return self._base + self._slot * maps.SLOT

    @property
    def region(self) -> int:
        """The region that is being filled."""
        return self._region

    def place(self, size: int, unit: int = maps.SLOT) -> int:
        """The offset of ``size`` free bytes at a multiple of ``unit`` (64 or 512), now allocated; see ``put``."""
        count, step = -(-size // maps.SLOT), unit // maps.SLOT
        first: int = -(-self._slot // step) * step
        if first + count > maps.SLOTS:
            self._flush()
            self._start(self._region + 1)
            first = -(-self._slot // step) * step
        if first > self._slot:
            self._gaps |= maps.slot_mask(self._slot, first - self._slot)
        self._slot = first + count
        return self._base + first * maps.SLOT

    def put(self, ib: int, data: bytes) -> None:
        """Write ``data`` at ``ib``, the place that was given out last."""
        at = ib - self._base
        self._buffer[at : at + len(data)] = data

    def read(self, ib: int, size: int) -> bytes:
        """``size`` bytes at ``ib`` as they were put."""
        if ib >= self._base:
            return bytes(self._buffer[ib - self._base : ib - self._base + size])
        self._stream.seek(ib)
        data = self._stream.read(size)
        self._stream.seek(self._base)
        return data

    def finish(self) -> bytes:
        """Write the last region and the FMap pages; gives the header's rgbFM. ``free`` is right from here on."""
        self._flush()
        for region in range(len(self._longest)):
            for ib, ptype in maps.map_pages(region).items():
                if ptype == PTYPE_FMAP:
                    # As in the header's map of Outlook's files, a region that does not exist yet has 255.
                    body = bytes(self._longest[region : region + maps.MAP_BITS]).ljust(maps.MAP_BITS, b"\xff")
                    self._stream.seek(ib)
                    self._stream.write(seal_page(UNICODE, body, ptype, ib, ib))
        return bytes(self._longest[:128]).ljust(128, b"\xff")

    def _start(self, region: int) -> None:
        self._region, self._base = region, maps.amap_offset(region)
        self._buffer = bytearray(maps.REGION)
        # The map pages follow one another, so all slots up to this one are taken but for the gaps.
        self._slot = len(maps.map_pages(region)) * maps.PAGE // maps.SLOT
        self._gaps = 0

    def _flush(self) -> None:
        bits = (maps.slot_mask(0, self._slot) ^ self._gaps).to_bytes(maps.MAP_BITS, "big")
        self.free += maps.free_slots(bits) * maps.SLOT
        self._longest.append(maps.longest_free(bits))
        for ib, ptype in maps.map_pages(self._region).items():
            self.put(ib, seal_page(UNICODE, bits if ptype == PTYPE_AMAP else _FULL_MAP, ptype, ib, ib))
        self._stream.seek(self._base)
        self._stream.write(self._buffer)
