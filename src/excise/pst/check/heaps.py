"""Every heap of a file and the page maps of its blocks ([MS-PST] 2.3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from excise.pst.check.bth import check_bth
from excise.pst.check.plain import PlainMessages
from excise.pst.check.report import ERROR, WARNING, Report
from excise.pst.check.tables import TableChecks
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE_4K
from excise.pst.disk.heaps import (
    CLIENT_PC,
    CLIENT_TC,
    HN_SIGNATURE,
    HNHdr,
    HNPageMap,
    heap_header_size,
)
from excise.pst.ltp.heap import Heap
from excise.pst.ndb.read import Node, NodeDatabase


def check_heaps(ndb: NodeDatabase, report: Report, plain: PlainMessages | None = None) -> None:
    """Check every heap of the NBT and below into ``report``, and for tables their rows.

    Where ``plain`` is given, messages that are plain are put there, and nothing more is asked of them.
    """
    tables = TableChecks(report)
    seen: set[int] = set()
    for node in _every_node(ndb, report, plain):
        try:
            first = node.data.block(0) if node.data.leaves else b""
        except Damaged as error:
            report.add(ERROR, error.damage)
            continue
        # Outlook shares the blocks of empty tables; a shared table is one table.
        if node.bid_data in seen or len(first) < 12 or first[2] != HN_SIGNATURE:
            continue
        if (client := first[3]) in (CLIENT_PC, CLIENT_TC):
            seen.add(node.bid_data)
            _check_blocks(node, first, report)
            if client == CLIENT_TC:
                tables.check(node)
            else:
                _check_properties(node, report)
    tables.check_highest(ndb)


def _every_node(ndb: NodeDatabase, report: Report, plain: PlainMessages | None) -> Iterator[Node]:
    """Every node of the NBT and below, each subnode tree once; what was found wrong with them goes to the report."""
    walked: set[int] = set()
    for entry in ndb.nodes.entries():
        if plain is not None and plain.add(entry.nid, entry.bidData, entry.bidSub):
            continue
        stack = [ndb.open(entry, DamageLog())]
        while stack:
            node = stack.pop()
            yield node
            key = ids.bid_key(node.bid_sub)
            if key and key not in walked:
                walked.add(key)
                stack += [ndb.open(each, DamageLog()) for each in node.subnodes.values()]
            report.add_log(ERROR, node.log)


def _check_blocks(node: Node, first: bytes, report: Report) -> None:
    report.checked["heaps"] += 1
    place = f"node 0x{node.nid:x}"
    for index in range(len(node.data.leaves)):
        try:
            data = first if index == 0 else node.data.block(index)
            at = HNHdr.unpack(data).ibHnpm if index == 0 else int.from_bytes(data[:2], "little")
            page_map = HNPageMap.unpack(data, at)
        except Damaged as error:
            report.add(ERROR, error.damage)
            continue
        except ValueError as error:
            report.add(ERROR, Damage("ltp", "HNPAGEMAP", "ibHnpm", place, -1, "a page map", str(error)))
            continue
        _check_page_map(page_map, at, place, report)
        if node.ndb.format is UNICODE_4K:
            continue
        if page_map.rgibAlloc[0] != (start := heap_header_size(index)):
            found = str(page_map.rgibAlloc[0])
            report.add(WARNING, Damage("ltp", "HNPAGEMAP", "rgibAlloc", place, -1, f"a first item at {start}", found))
        # Blocks before the last are filled up, by Outlook with bytes behind the page map.
        behind = len(data) - at - 4 - 2 * len(page_map.rgibAlloc)
        if behind and index == len(node.data.leaves) - 1:
            expected, found = "the page map at the end of the block", f"{behind} bytes behind it"
            report.add(WARNING, Damage("ltp", "HNPAGEMAP", "ibHnpm", place, -1, expected, found))


def _check_page_map(page_map: HNPageMap, at: int, place: str, report: Report) -> None:
    offsets = page_map.rgibAlloc
    if list(offsets) != sorted(offsets) or offsets[-1] > at:
        report.add(ERROR, Damage("ltp", "HNPAGEMAP", "rgibAlloc", place, -1, "ascending offsets", "others"))
    elif at - offsets[-1] > 1 or at % 2:
        found = f"{at - offsets[-1]} bytes between, at {at}"
        expected = "the page map at the first even place after the last item"
        report.add(WARNING, Damage("ltp", "HNPAGEMAP", "ibHnpm", place, -1, expected, found))
    empty = sum(start == end for start, end in pairwise(offsets))
    if empty != page_map.cFree:
        report.add(WARNING, Damage("ltp", "HNPAGEMAP", "cFree", place, -1, str(empty), str(page_map.cFree)))


def _check_properties(node: Node, report: Report) -> None:
    try:
        heap = Heap(node, CLIENT_PC)
        check_bth(heap, heap.root, report)
    except Damaged as error:
        report.add(ERROR, error.damage)
