"""One BTree-on-Heap ([MS-PST] 2.3.2), walked again with nothing of the reader's."""

from __future__ import annotations

from excise.pst.check.report import WARNING, Report
from excise.pst.disk.damage import Damaged
from excise.pst.disk.heaps import MAX_HEAP_ITEM, BTHHeader
from excise.pst.ltp.heap import Heap

_HEADER_SIZE = len(BTHHeader(0, 0, 0, 0).pack())


def check_bth(heap: Heap, hid: int, report: Report) -> None:
    """The BTH of the header ``hid``: keys ascend, and an index record has the first key of what is below it.

    What cannot be read at all is left to the reader, which reports it.
    """
    data = heap.item(hid)
    if len(data) < _HEADER_SIZE:
        return
    header = BTHHeader.unpack(data)
    stack = [(header.hidRoot, header.bIdxLevels, b"")] if header.hidRoot and header.cbKey else []
    seen: set[int] = set()
    last: tuple[bytes, ...] = ()

    def add(field: str, expected: str, found: str) -> None:
        report.add(WARNING, heap.damage("BTH", field, expected, found))

    while stack:
        item, level, first = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        try:
            data = heap.item(item)
        except Damaged:
            continue
        size = header.cbKey + (4 if level else header.cbEnt)
        records = [data[at : at + size] for at in range(0, len(data) // size * size, size)]
        keys = [_ordered(record[: header.cbKey]) for record in records]
        if not records or len(data) > MAX_HEAP_ITEM:
            add("hidNextLevel", f"an item of 1 to {MAX_HEAP_ITEM} bytes", f"{len(data)} bytes")
        elif first and records[0][: header.cbKey] != first:
            add("key", f"0x{keys[0].hex()}, the first below", f"0x{_ordered(first).hex()} in the index")
        if keys != sorted(set(keys)) or (not level and last and keys and keys[0] <= last[-1]):
            add("key", "ascending keys", "keys out of order or twice")
        if level:
            stack += [(int.from_bytes(each[-4:], "little"), level - 1, each[:-4]) for each in reversed(records)]
        elif keys:
            last = tuple(keys)


def _ordered(key: bytes) -> bytes:
    """``key`` as it sorts: numbers by value, GUIDs by their bytes."""
    return key[::-1] if len(key) <= 8 else key
