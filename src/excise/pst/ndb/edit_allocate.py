"""Free space for new blocks and pages in an existing Unicode file, and beyond its end ([MS-PST] 2.6.1.1)."""

from __future__ import annotations

from array import array

from excise.pst.disk import maps
from excise.pst.ndb.edit_layout import Layout

_UNKNOWN = 0xFFFF
_ALL = (1 << maps.SLOTS) - 1
_ALIGNED = sum(maps.slot_mask(first, 1) for first in range(0, maps.SLOTS, maps.PAGE // maps.SLOT))


class FreeSpace:
    """Gives out what is free in ``layout``, first fit, then whole new regions; nothing is ever given out twice.

    Memory is two bytes a region, and half a kilobyte for each one that something was placed in.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._taken: dict[int, int] = {}
        self._longest = array("H", [_UNKNOWN]) * layout.regions
        self._starts: dict[tuple[int, int], int] = {}

    @property
    def regions(self) -> int:
        """How many regions the file has with those that were added."""
        return len(self._longest)

    def place(self, size: int, unit: int = maps.SLOT) -> int:
        """The offset of ``size`` free bytes at a multiple of ``unit`` (64 or 512), now taken."""
        count = -(-size // maps.SLOT)
        # Space only shrinks: where a run of this length did not fit, none ever will.
        region = self._starts.get((count, unit), 0)
        while (first := self._fit(region, count, unit)) is None:
            region += 1
        self._starts[count, unit] = region
        self._taken[region] = self._used(region) | maps.slot_mask(first, count)
        self._longest[region] = _UNKNOWN
        return maps.amap_offset(region) + first * maps.SLOT

    def _used(self, region: int) -> int:
        taken = self._taken.get(region)
        return self._layout.used(region) if taken is None else taken

    def _fit(self, region: int, count: int, unit: int) -> int | None:
        if region == len(self._longest):
            self._longest.append(_UNKNOWN)
        if self._longest[region] == _UNKNOWN:
            self._longest[region] = maps.longest_free(self._used(region).to_bytes(maps.MAP_BITS, "big"))
        if self._longest[region] < count:
            return None
        runs, width = _ALL & ~self._used(region), 1
        while width < count:
            # A bit stays where the next ``step`` slots are free too; slot 0 is the highest bit.
            step = min(width, count - width)
            runs &= runs << step
            width += step
        if unit == maps.PAGE:
            runs &= _ALIGNED
        return maps.SLOTS - runs.bit_length() if runs else None
