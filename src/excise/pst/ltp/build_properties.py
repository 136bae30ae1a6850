"""Property Contexts of Unicode files, built ([MS-PST] 2.3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from excise.pst.disk.heaps import CLIENT_PC, pack_pc_record
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.values import INLINE
from excise.pst.ndb.write_types import Sink, Tree


@dataclass(frozen=True, slots=True)
class Property:
    """One property. ``data`` is the value as [MS-PST] stores it, or the written tree of one that is a subnode."""

    prop_id: int
    prop_type: int
    data: bytes | Tree


def build_properties(sink: Sink, properties: Iterable[Property]) -> Built:
    """Write the PC of ``properties``. ValueError where an id is given twice or an inline value has another size."""
    heap = HeapBuilder(sink, CLIENT_PC)
    root = heap.add(bytes(8))
    ordered = sorted(properties, key=lambda each: each.prop_id)
    if len({each.prop_id for each in ordered}) < len(ordered):
        raise ValueError("a property is given twice")
    records = [pack_pc_record(each.prop_id, each.prop_type, _hnid(heap, each)) for each in ordered]
    heap.replace(root, heap.tree(2, 6, records).pack())
    return heap.finish(root)


def _hnid(heap: HeapBuilder, each: Property) -> int:
    size = INLINE.get(each.prop_type)
    if size is None:
        return heap.value(each.data)
    if not isinstance(each.data, bytes) or len(each.data) != size:
        raise ValueError(f"property 0x{each.prop_id:04x}{each.prop_type:04x} needs a value of {size} bytes")
    return int.from_bytes(each.data, "little")
