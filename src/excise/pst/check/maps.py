"""The allocation maps ([MS-PST] 2.2.2.7.2 to 2.2.2.7.6, 2.6.1): where they are, and what they say of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk import maps, pages
from excise.pst.disk.damage import Damage
from excise.pst.disk.header import INVALID_AMAP
from excise.pst.ndb.read import NodeDatabase


@dataclass(frozen=True, slots=True)
class Extent:
    """A used piece of the file."""

    ib: int
    size: int
    what: str


def has_place(ndb: NodeDatabase, ib: int, size: int) -> bool:
    """True where a block of ``size`` bytes can be at ``ib``: in the file, behind its header and at a whole unit."""
    return not ib % ndb.format.block_unit and maps.PAGE < ib <= ndb.source.size - size


def check_maps(ndb: NodeDatabase, tree_pages: list[Extent], report: Report) -> None:
    """Every map page on the grid, and each AMap against what is used: ``tree_pages`` and the blocks."""
    regions = maps.region_count(ndb.source.size)
    # Whoever writes next makes them anew where the header says that they do not hold (2.6.1.3.7): nothing is in danger.
    behind = WARNING if ndb.header.root.fAMapValid == INVALID_AMAP else ERROR
    wanted = _sound_bits(ndb, tree_pages, regions)
    if wanted is None:
        wanted = _wanted_bits([*tree_pages, *_block_extents(ndb)], regions, report)
    bits: list[bytes] = []
    for region in range(regions):
        for ib, ptype in maps.map_pages(region).items():
            page = ndb.source.read(ib, maps.PAGE)
            if len(page) < maps.PAGE:
                damage = Damage("disk", "map", "ib", f"region {region}", ib, "a map page", "the end of the file")
                report.add(ERROR, damage)
                page = bytes(maps.PAGE)
            else:
                for damage in page_problems(ndb, page, ptype, ib, ib):
                    report.add(WARNING, damage)
            if ptype == pages.PTYPE_AMAP:
                bits.append(maps.unpack_map(ndb.format, page))
        have = int.from_bytes(bits[region], "big")
        where = (f"region {region}", maps.amap_offset(region))
        if missing := wanted[region] & ~have:
            found = f"{missing.bit_count()} used slots marked free"
            report.add(behind, Damage("disk", "AMAPPAGE", "rgbAMapBits", *where, "used slots marked", found))
        if extra := have & ~wanted[region]:
            found = f"{extra.bit_count()} free slots marked used"
            report.add(NOTE, Damage("disk", "AMAPPAGE", "rgbAMapBits", *where, "free slots unmarked", found))
    _check_free_counts(ndb, bits, report)
    _check_root(ndb, regions, report)
    _check_list(ndb, bits, report)


def page_problems(ndb: NodeDatabase, page: bytes, ptype: int, bid: int, ib: int) -> Iterator[Damage]:
    """What is wrong with the trailer of a page of the trees or the maps."""
    fmt = ndb.format
    sealed = pages.seal_page(fmt, pages.page_body(fmt, page), ptype, ib, bid)
    expected, found = pages.PageTrailer.unpack(fmt, sealed), pages.PageTrailer.unpack(fmt, page)
    for field in ("ptype", "ptypeRepeat", "wSig", "dwCRC", "bid"):
        want, have = getattr(expected, field), getattr(found, field)
        if want != have:
            yield Damage("disk", "PAGETRAILER", field, f"page 0x{bid:x}", ib, f"0x{want:x}", f"0x{have:x}")


def _block_extents(ndb: NodeDatabase) -> Iterator[Extent]:
    for bid, ib, cb, _ in ndb.blocks.values():
        size = ndb.format.block_size(cb)
        if has_place(ndb, ib, size):
            yield Extent(ib, size, f"block 0x{bid:x}")


def _sound_bits(ndb: NodeDatabase, tree_pages: list[Extent], regions: int) -> list[int] | None:
    """As ``_wanted_bits``; None where that would find anything. Takes a tenth of the memory."""
    wanted, block_size = [0] * regions, ndb.format.block_size
    pieces = [piece.ib << 32 | piece.size for piece in (*tree_pages, *_map_extents(regions))]
    for _, ib, cb, _ in ndb.blocks.values():
        size = block_size(cb)
        if has_place(ndb, ib, size):
            pieces.append(ib << 32 | size)
    pieces.sort()
    start = end = limit = 0
    for piece in pieces:
        ib, size = piece >> 32, piece & 0xFFFFFFFF
        if ib < end or ib % maps.SLOT:
            return None
        if ib != end or ib >= limit:
            _mark(wanted, start, end)
            region = maps.region_of(ib)
            if not 0 <= region < regions:
                return None
            start, limit = ib, maps.amap_offset(region + 1)
        end = ib + size
        if end > limit:
            return None
    _mark(wanted, start, end)
    return wanted


def _mark(wanted: list[int], start: int, end: int) -> None:
    """Mark what pieces that lie one after another in one region take."""
    if end > start:
        region, first, count = maps.slot_run(start, end - start)
        wanted[region] |= maps.slot_mask(first, count)


def _wanted_bits(extents: list[Extent], regions: int, report: Report) -> list[int]:
    wanted = [0] * regions
    pieces = sorted((*extents, *_map_extents(regions)), key=lambda each: each.ib)
    for at, piece in enumerate(pieces):
        region, first, count = maps.slot_run(piece.ib, piece.size)
        if not 0 <= region < regions or first + count > maps.SLOTS:
            expected = "a place within one region"
            report.add(
                ERROR, Damage("disk", "AMAPPAGE", "region", piece.what, piece.ib, expected, f"{piece.size} bytes")
            )
            continue
        if at + 1 < len(pieces) and pieces[at + 1].ib < piece.ib + piece.size:
            other = pieces[at + 1].what
            report.add(ERROR, Damage("ndb", "BREF", "ib", piece.what, piece.ib, "a place of its own", f"{other} in it"))
        wanted[region] |= maps.slot_mask(first, count)
    return wanted


def _map_extents(regions: int) -> Iterator[Extent]:
    for region in range(regions):
        for ib in maps.map_pages(region):
            yield Extent(ib, maps.PAGE, f"a map page of region {region}")


def _check_free_counts(ndb: NodeDatabase, bits: list[bytes], report: Report) -> None:
    free = sum(map(maps.free_slots, bits)) * maps.SLOT
    if ndb.header.root.cbAMapFree != free:
        damage = Damage("disk", "ROOT", "cbAMapFree", "the header", 0, str(free), str(ndb.header.root.cbAMapFree))
        report.add(WARNING, damage)
    for region, each in enumerate(bits):
        owner, index = maps.fmap_place(region)
        if owner is None:
            have = ndb.header.rgbFM[index]
        else:
            page = ndb.source.read(maps.amap_offset(owner) + 2 * maps.PAGE, maps.PAGE)
            have = maps.unpack_map(ndb.format, page)[index] if len(page) == maps.PAGE else 0
        want = maps.longest_free(each)
        # Outlook itself leaves 255 ("look and see"); a byte below the truth only hides free space.
        if have not in (want, 255):
            where = f"region {region}"
            grade = NOTE if owner is None else WARNING
            report.add(grade, Damage("disk", "FMAP", "rgbFM", where, maps.amap_offset(region), str(want), str(have)))


def _check_root(ndb: NodeDatabase, regions: int, report: Report) -> None:
    """What ROOT says of the AMaps and PMaps beside the free space of the AMaps."""
    root = ndb.header.root
    last = maps.amap_offset(regions - 1) if regions else 0
    if root.ibAMapLast != last:
        report.add(WARNING, Damage("disk", "ROOT", "ibAMapLast", "the header", 0, str(last), str(root.ibAMapLast)))
    free = 0
    for region in range(regions):
        for ib, ptype in maps.map_pages(region).items():
            body = maps.unpack_map(ndb.format, ndb.source.read(ib, maps.PAGE))
            if ptype == pages.PTYPE_PMAP:
                free += maps.free_slots(body.ljust(maps.MAP_BITS, b"\xff")) * maps.PAGE
            elif ptype == pages.PTYPE_FPMAP and body != b"\xff" * maps.MAP_BITS:
                report.add(NOTE, Damage("disk", "FPMAPPAGE", "rgbFPMapBits", f"region {region}", ib, "255", "others"))
    # Outlook keeps this to the byte, though it has given up PMaps: 0 of PMaps without a bit that is clear.
    if root.cbPMapFree != free:
        report.add(WARNING, Damage("disk", "ROOT", "cbPMapFree", "the header", 0, str(free), str(root.cbPMapFree)))


def _check_list(ndb: NodeDatabase, bits: list[bytes], report: Report) -> None:
    """The DList, where there is one: a page like those of the trees, with the free slots of AMaps that have many."""
    page = ndb.source.read(maps.IB_DLIST, maps.PAGE)
    if len(page) < maps.PAGE or not any(page):
        return

    def add(field: str, expected: str, found: str) -> None:
        report.add(WARNING, Damage("disk", "DLISTPAGE", field, "the DList", maps.IB_DLIST, expected, found))

    bid = pages.PageTrailer.unpack(ndb.format, page).bid
    for damage in page_problems(ndb, page, pages.PTYPE_DLIST, bid, maps.IB_DLIST):
        report.add(WARNING, damage)
    found = maps.DListPage.unpack(ndb.format, page)
    if page[1] > len(found.entries):
        add("cEntDList", f"at most {len(found.entries)}", str(page[1]))
    if found.wPadding or any(found.rgPadding):
        add("rgPadding", "zeros", "others")
    for number, slots in found.entries:
        if number >= len(bits):
            add("dwPageNum", f"below {len(bits)}", str(number))
        elif slots != (free := maps.free_slots(bits[number])):
            add("dwFreeSlots", f"{free} of region {number}", str(slots))
