"""Property Contexts of Unicode files, built ([MS-PST] 2.3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from excise.pst.disk.heaps import CLIENT_PC, pack_pc_record
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.values import INLINE, PT_LONG
from excise.pst.ndb.write_types import Sink, SubnodeEntry, Tree

_LARGEST = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Property:
    """One property. ``data`` is the value as [MS-PST] stores it, or the written tree of one that is a subnode."""

    prop_id: int
    prop_type: int
    data: bytes | Tree


@dataclass(frozen=True, slots=True)
class KeptProperty:
    """A property whose value is a subnode that keeps its NID."""

    prop_id: int
    prop_type: int
    data: SubnodeEntry


def build_properties(
    sink: Sink, properties: Iterable[Property | KeptProperty], *, size_id: int | None = None, beside: int = 0
) -> Built:
    """Write the PC of ``properties``. ValueError where an id is given twice or an inline value has another size.

    The property ``size_id``, an Integer32, gets the bytes that the PC and its subnodes take, and ``beside`` more, or
    the largest number that it can hold.
    """
    heap = HeapBuilder(sink, CLIENT_PC)
    root = heap.add(bytes(8))
    ordered = sorted(properties, key=lambda each: each.prop_id)
    if len({each.prop_id for each in ordered}) < len(ordered):
        raise ValueError("a property is given twice")
    records = [pack_pc_record(each.prop_id, each.prop_type, _hnid(heap, each)) for each in ordered]
    tree = heap.tree(2, 6, records)
    if size_id is not None:
        size = heap.size + beside + sum(each.data.size for each in heap.subnodes)
        at = [each.prop_id for each in ordered].index(size_id)
        records[at] = pack_pc_record(size_id, PT_LONG, min(size, _LARGEST))
        leaf = at // tree.per_leaf
        heap.replace(tree.leaves[leaf], b"".join(records[leaf * tree.per_leaf : (leaf + 1) * tree.per_leaf]))
    heap.replace(root, tree.header.pack())
    return heap.finish(root)


def _hnid(heap: HeapBuilder, each: Property | KeptProperty) -> int:
    size = INLINE.get(each.prop_type)
    if size is None:
        return heap.value(each.data)
    if not isinstance(each.data, bytes) or len(each.data) != size:
        raise ValueError(f"property 0x{each.prop_id:04x}{each.prop_type:04x} needs a value of {size} bytes")
    return int.from_bytes(each.data, "little")
