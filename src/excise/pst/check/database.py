"""The header, the trees, the blocks and their references ([MS-PST] 2.2).

Each tree is walked here again, page by page, with nothing of the reader's tables, so that a page is held
against its parent.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from struct import Struct

from excise.pst.check.maps import Extent, check_maps, has_place, page_problems
from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk import ids, maps, pages
from excise.pst.disk.blocks import BTYPE_X, SIBlock, SLBlock, XBlock, block_kind, is_sealed
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE_4K
from excise.pst.disk.header import INVALID_AMAP
from excise.pst.ndb.read import NodeDatabase, block_problems

# Types whose rgnid counter holds something else in Outlook's own files, or follows that of the folder.
_NO_COUNTER = frozenset({0, 6, 7, 0x0A, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13})

# So many bytes are read at once where blocks lie one after another.
_RUN = 1 << 18


def check_database(ndb: NodeDatabase, report: Report) -> None:
    """Check the disk and NDB layers of an open file into ``report``."""
    _check_header(ndb, report)
    tree_pages = [*_check_tree(ndb, pages.PTYPE_NBT, report), *_check_tree(ndb, pages.PTYPE_BBT, report)]
    _check_blocks(ndb, report)
    _check_references(ndb, report)
    if ndb.format is not UNICODE_4K:
        check_maps(ndb, tree_pages, report)


def _check_header(ndb: NodeDatabase, report: Report) -> None:
    header, root = ndb.header, ndb.header.root

    def add(grade: str, field: str, expected: str, found: object) -> None:
        report.add(grade, Damage("disk", "HEADER", field, "the header", 0, expected, str(found)))

    if header.wVerClient != 19:
        add(NOTE, "wVerClient", "19", header.wVerClient)
    if header.bSentinel != 0x80:
        add(WARNING, "bSentinel", "128", header.bSentinel)
    if header.dwAlign:
        add(WARNING, "dwAlign", "0", header.dwAlign)
    if root.ibFileEof != ndb.source.size:
        add(ERROR if root.ibFileEof > ndb.source.size else WARNING, "ibFileEof", str(ndb.source.size), root.ibFileEof)
    if root.fAMapValid == INVALID_AMAP:
        add(WARNING, "fAMapValid", "1 or 2; a write was not finished", root.fAMapValid)
    if ndb.format is not UNICODE_4K and (ndb.source.size - maps.IB_FIRST_AMAP) % maps.REGION:
        add(WARNING, "ibFileEof", f"{maps.IB_FIRST_AMAP} and whole regions of {maps.REGION}", ndb.source.size)
    highest = max((entry.bid for entry in ndb.blocks.entries()), default=0)
    if highest >= header.bidNextB:
        add(ERROR, "bidNextB", f"above 0x{highest:x}", f"0x{header.bidNextB:x}")
    for kind, index in sorted(_highest_indices(ndb).items()):
        if kind not in _NO_COUNTER and index > header.rgnid[kind]:
            add(WARNING, f"rgnid[{kind}]", f"0x{index:x} or above", f"0x{header.rgnid[kind]:x}")


def _highest_indices(ndb: NodeDatabase) -> dict[int, int]:
    found: dict[int, int] = {}
    for nid in ndb.nodes.nids:
        kind, index = ids.nid_type(nid), ids.nid_index(nid)
        if index > found.get(kind, -1):
            found[kind] = index
    return found


def _check_tree(ndb: NodeDatabase, ptype: int, report: Report) -> Iterator[Extent]:
    """Every page of a tree against its parent; gives the pages."""
    fmt, root = ndb.format, ndb.header.root
    name = "NBT" if ptype == pages.PTYPE_NBT else "BBT"
    bid, ib = (root.bidNBT, root.ibNBT) if ptype == pages.PTYPE_NBT else (root.bidBBT, root.ibBBT)
    leaf = fmt.nbt_entry if ptype == pages.PTYPE_NBT else fmt.bbt_entry
    stack: list[tuple[int, int, int | None, int | None]] = [(bid, ib, None, None)]
    seen: set[int] = set()
    while stack:
        bid, ib, first_key, level = stack.pop()

        def add(grade: str, field: str, expected: object, found: object, at: int = ib, page_bid: int = bid) -> None:
            place = f"{name} page 0x{page_bid:x}"
            report.add(grade, Damage("ndb", f"{name} BTPAGE", field, place, at, str(expected), str(found)))

        page = ndb.source.read(ib, fmt.page_size) if ib not in seen and 0 < ib < ndb.source.size else b""
        if len(page) < fmt.page_size or len(seen) > ndb.source.size // fmt.page_size:
            add(ERROR, "BREF.ib", "a page of its own inside the file", ib)
            continue
        seen.add(ib)
        for damage in page_problems(ndb, page, ptype, bid, ib):
            report.add(ERROR, damage)
        report.checked["pages"] += 1
        yield Extent(ib, fmt.page_size, f"{name} page 0x{bid:x}")
        if bid >= ndb.header.bidNextP:
            add(WARNING, "bid", f"below bidNextP 0x{ndb.header.bidNextP:x}", f"0x{bid:x}")
        if ib % fmt.page_size:
            add(ERROR, "BREF.ib", f"a multiple of {fmt.page_size}", ib)
        parsed = pages.BTPage.unpack(fmt, page)
        entry = leaf if parsed.cLevel == 0 else fmt.bt_entry
        if level is not None and parsed.cLevel != level:
            add(ERROR, "cLevel", level, parsed.cLevel)
        values, keys = _checked_entries(parsed, entry, fmt.entries_size // entry.size, ptype, add)
        if first_key is not None and keys and keys[0] != first_key:
            add(WARNING, "btkey", f"0x{keys[0]:x}, the first of the page", f"0x{first_key:x} in its parent")
        if parsed.cLevel and (level is None or parsed.cLevel <= level):
            stack += [(v[1], v[2], key, parsed.cLevel - 1) for v, key in zip(values, keys, strict=True)][::-1]


def _checked_entries(
    page: pages.BTPage, entry: Struct, limit: int, ptype: int, add: Callable[..., None]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """The entries of a page and their keys."""
    if page.cbEnt != entry.size or page.cEntMax != limit or page.cEnt > limit:
        found = f"cbEnt {page.cbEnt}, cEntMax {page.cEntMax}, cEnt {page.cEnt}"
        add(ERROR, "cEnt", f"cbEnt {entry.size}, cEntMax {limit}", found)
    values = list(entry.iter_unpack(page.rgentries[: min(page.cEnt, limit) * entry.size]))
    keys = [value[0] & 0xFFFFFFFF if ptype == pages.PTYPE_NBT else value[0] & ~1 for value in values]
    if keys != sorted(set(keys)):
        add(ERROR, "key", "ascending keys", "keys out of order or twice")
    return values, keys


def _check_blocks(ndb: NodeDatabase, report: Report) -> None:
    """Every block of the BBT against its trailer and the file."""
    fmt = ndb.format
    sealed = _sealed_blocks(ndb)
    if sealed:
        report.checked["blocks"] += len(sealed)
    for at in range(len(sealed)):
        if sealed[at]:
            continue
        entry = ndb.blocks.at(at)
        size = fmt.block_size(entry.cb)
        place = f"block 0x{entry.bid:x}"
        if not has_place(ndb, entry.ib, size):
            expected = f"a multiple of {fmt.block_unit} with {size} bytes inside the file"
            report.add(ERROR, Damage("ndb", "BBTENTRY", "ib", place, entry.ib, expected, str(entry.ib)))
            continue
        if not 0 < entry.cb <= fmt.max_block_data:
            expected = f"1 to {fmt.max_block_data}"
            report.add(ERROR, Damage("ndb", "BBTENTRY", "cb", place, entry.ib, expected, str(entry.cb)))
        for damage in block_problems(fmt, entry, ndb.source.read(entry.ib, size), entry.bid):
            report.add(ERROR, damage)


def _sealed_blocks(ndb: NodeDatabase) -> bytearray:
    """1 for each block of the BBT, in its order, that has a place, a size and its right trailer.

    The file is read from its beginning to its end, which is faster than by BIDs.
    """
    fmt = ndb.format
    sealed = bytearray(len(ndb.blocks))
    if fmt is UNICODE_4K:
        return sealed
    order = sorted(ib << 32 | at for at, (_, ib, _, _) in enumerate(ndb.blocks.values()))
    start, run = 0, b""
    for each in order:
        ib, at = each >> 32, each & 0xFFFFFFFF
        bid, _, cb = ndb.blocks.place(at)
        size = fmt.block_size(cb)
        if not has_place(ndb, ib, size) or not 0 < cb <= fmt.max_block_data:
            continue
        if ib + size > start + len(run):
            start, run = ib, ndb.source.read(ib, _RUN)
        sealed[at] = is_sealed(fmt, run[ib - start : ib - start + size], cb, ib, bid)
    return sealed


def _check_references(ndb: NodeDatabase, report: Report) -> None:
    """cRef of every block against the references that there are: one more than their number (section 2.2.2.7.7.3)."""
    blocks = ndb.blocks
    counts = array("I", bytes(4 * len(blocks)))
    missing: dict[int, None] = {}
    stack: list[int] = []
    for _, data, sub, _ in ndb.nodes.values():
        if data:
            stack.append(data)
        if sub:
            stack.append(sub)
    while stack:
        bid = stack.pop()
        at = blocks.position(bid)
        if at is not None:
            counts[at] += 1
            if counts[at] > 1:
                continue
        elif (bid := ids.bid_key(bid)) in missing:
            continue
        else:
            missing[bid] = None
        if ids.is_internal(bid):
            stack += _children(ndb, ids.bid_key(bid), report)
    for at, ((_, _, _, stored), references) in enumerate(zip(blocks.values(), counts, strict=True)):
        if references and stored == references + 1:
            continue
        entry = blocks.at(at)
        place = f"block 0x{entry.bid:x}"
        if not references:
            damage = Damage(
                "ndb", "BBTENTRY", "cRef", place, entry.ib, "a reference to the block", f"none, cRef {entry.cRef}"
            )
            report.add(NOTE, damage)
        else:
            damage = Damage("ndb", "BBTENTRY", "cRef", place, entry.ib, str(references + 1), str(entry.cRef))
            report.add(WARNING, damage)
    for bid in missing:
        report.add(ERROR, Damage("ndb", "BBT", "bid", f"block 0x{bid:x}", -1, "a BBT entry", "none"))


def _children(ndb: NodeDatabase, bid: int, report: Report) -> list[int]:
    """The BIDs that an internal block names; what is wrong with its contents goes to the report."""
    place = f"block 0x{bid:x}"
    try:
        data = ndb.block(bid, DamageLog())
        btype, level = block_kind(data)
        if btype == BTYPE_X:
            block = XBlock.unpack(ndb.format, data)
            _check_leaves(ndb, block, place, report)
            return list(block.rgbid)
        if level:
            index = SIBlock.unpack(ndb.format, data).rgentries
            _check_order([entry.nid for entry in index], place, report)
            _check_index(ndb, [(entry.nid, entry.bid) for entry in index], place, report)
            return [entry.bid for entry in index]
        leaf = SLBlock.values(ndb.format, data)
        nids = [nid & 0xFFFFFFFF for nid, _, _ in leaf]
        _check_order(nids, place, report)
        _check_subnode_counters(ndb, nids, report)
        return [child for _, below, sub in leaf for child in (below, sub) if child]
    except Damaged as error:
        report.add(ERROR, error.damage)
    except ValueError as error:
        report.add(ERROR, Damage("ndb", "block", "data", place, -1, "an internal block", str(error)))
    return []


def _check_leaves(ndb: NodeDatabase, block: XBlock, place: str, report: Report) -> None:
    """Leaves but the last are full, and lcbTotal is their sum. An XXBLOCK's is left to its XBLOCKs."""
    if block.cLevel != 1:
        return
    entries = [ndb.blocks.find(bid) for bid in block.rgbid]
    # The BBT of the 4-KB format has both sizes; a tree counts the data, not what it takes in the file.
    sizes = [(entry.cbInflated if ndb.format is UNICODE_4K else entry.cb) if entry else 0 for entry in entries]
    if sum(sizes) != block.lcbTotal:
        report.add(ERROR, Damage("ndb", "XBLOCK", "lcbTotal", place, -1, str(sum(sizes)), str(block.lcbTotal)))
    short = [size for size in sizes[:-1] if size != ndb.format.max_block_data]
    if short and ndb.format is not UNICODE_4K:
        found = f"a block of {short[0]}"
        expected = f"blocks of {ndb.format.max_block_data} bytes before the last"
        report.add(WARNING, Damage("ndb", "XBLOCK", "rgbid", place, -1, expected, found))


def _check_index(ndb: NodeDatabase, index: list[tuple[int, int]], place: str, report: Report) -> None:
    """An SIBLOCK entry has the first NID of its SLBLOCK, and no NID of a block is in the reach of the next."""
    limits = [nid & 0xFFFFFFFF for nid, _ in index[1:]] + [1 << 32]
    for (first, bid), limit in zip(index, limits, strict=True):
        leaf = SLBlock.unpack(ndb.format, ndb.block(bid, DamageLog())).rgentries
        nids = [entry.nid & 0xFFFFFFFF for entry in leaf]
        if not nids or nids[0] != first & 0xFFFFFFFF or nids[-1] >= limit:
            found = f"0x{nids[0]:x} to 0x{nids[-1]:x}" if nids else "an empty block"
            expected = f"NIDs from 0x{first:x} on, below 0x{limit:x}"
            report.add(WARNING, Damage("ndb", "SIENTRY", "nid", place, -1, expected, found))


def _check_order(nids: list[int], place: str, report: Report) -> None:
    if nids != sorted(set(nids)):
        damage = Damage("ndb", "SLBLOCK", "nid", place, -1, "ascending NIDs", "NIDs out of order or twice")
        report.add(ERROR, damage)


def _check_subnode_counters(ndb: NodeDatabase, nids: list[int], report: Report) -> None:
    for nid in nids:
        kind, index = ids.nid_type(nid), ids.nid_index(nid)
        if kind in (4, 5, 0x1F) and index > ndb.header.rgnid[kind]:
            expected, found = f"0x{index:x} or above", f"0x{ndb.header.rgnid[kind]:x}"
            report.add(WARNING, Damage("disk", "HEADER", f"rgnid[{kind}]", "the header", 0, expected, found))
