"""Wide tables (bClientSig 0xAC), read with nothing of Excise's own reader of them, and made for tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise

from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ndb.read import Node
from excise.pst.ndb.write_types import NO_TREE, Sink, SubnodeEntry

#: The columns that tables made here have beside the row id: tag and size; of size 0 a heap of values.
COLUMNS = ((0x0E070003, 4), (0x0E060040, 8), (0x0E080003, 4), (0x0037001F, 0), (0x0042001F, 0), (0x0057000B, 1))


def _items(block: bytes) -> list[bytes]:
    at = int.from_bytes(block[:2], "little")
    count = int.from_bytes(block[at : at + 2], "little")
    ends = struct.unpack_from(f"<{count + 1}H", block, at + 4)
    return [block[start:end] for start, end in pairwise(ends)]


def _blocks(node: Node) -> list[bytes]:
    return [node.data.block(at) for at in range(len(node.data.leaves))]


def _item(blocks: list[bytes], hid: int) -> bytes:
    return _items(blocks[hid >> 16])[((hid & 0xFFFF) >> 5) - 1] if hid else b""


def _leaves(blocks: list[bytes], hid: int, levels: int) -> bytes:
    data = _item(blocks, hid)
    if not levels:
        return data
    children = (int.from_bytes(data[at + 4 : at + 8], "little") for at in range(0, len(data), 8))
    return b"".join(_leaves(blocks, child, levels - 1) for child in children)


def wide_rows(node: Node) -> dict[int, dict[int, bytes]]:
    """The cells of a wide table, by row id and property id."""
    blocks = _blocks(node)
    assert blocks[0][3] == 0xAC
    root = _item(blocks, int.from_bytes(blocks[0][4:8], "little"))
    ends, (index, rows, _), count, columns = (
        struct.unpack_from("<4H", root, 2),
        struct.unpack_from("<3I", root, 10),
        *struct.unpack_from("<HI", root, 22),
    )
    size = ends[3]
    if rows & 0x1F:
        sub = node.child(rows)
        assert sub is not None
        matrix = [
            b[at : at + size] for b in _blocks(sub) for at in range(0, 8176 // size * size, size) if b[at : at + size]
        ]
    else:
        whole = _item(blocks, rows)
        matrix = [whole[at : at + size] for at in range(0, len(whole), size)]
    described = node.child(columns)
    assert described is not None
    header = _item(blocks, index)
    entries = _leaves(blocks, int.from_bytes(header[4:8], "little"), header[3])
    numbers = dict(struct.iter_unpack("<II", entries))
    kinds = list(struct.iter_unpack("<6HI", described.data.read()))
    assert len(kinds) == count
    assert sorted(numbers.values()) == list(range(len([row for row in matrix if any(row)])))
    return {row_id: _cells(node, matrix[number], kinds, ends[2]) for row_id, number in numbers.items()}


def _cells(node: Node, row: bytes, kinds: Sequence[tuple[int, ...]], bits: int) -> dict[int, bytes]:
    found = {}
    for _, prop_id, at, length, bit, _, nid in kinds:
        if row[bits + bit // 8] & 0x80 >> bit % 8:
            cell = row[at : at + length]
            sub = node.child(nid) if nid else None
            found[prop_id] = cell if sub is None else _item(_blocks(sub), int.from_bytes(cell, "little"))
    return found


def build_wide(sink: Sink, rows: Mapping[int, Mapping[int, bytes]]) -> Built:
    """A wide table of ``rows``: cells by tag, by row id; a tag that a row does not have is an absent cell."""
    heap = HeapBuilder(sink, 0xAC)
    index, root = heap.add(bytes(8)), heap.add(bytes(40))
    values = {tag: HeapBuilder(sink, 0xA5) for tag, size in COLUMNS if not size}
    nids = {tag: sink.next_nid(0x1F) for tag in values}
    wide = ((0x67F20003, 4), *COLUMNS)
    kinds, at = [], 0
    for bit, (tag, size) in enumerate(wide):
        kinds.append((tag & 0xFFFF, tag >> 16, at, size or 4, bit, 0, nids.get(tag, 0)))
        at += size or 4
    end4 = at - sum(1 for _, size in wide if size == 1)
    width = at + (len(kinds) + 7) // 8
    matrix = bytearray()
    for row_id, cells in rows.items():
        row = bytearray(width)
        for kind, prop_id, place, length, bit, _, _ in kinds:
            tag = prop_id << 16 | kind
            data = row_id.to_bytes(4, "little") if prop_id == 0x67F2 else cells.get(tag)
            if data is not None:
                cell = values[tag].value(data).to_bytes(4, "little") if tag in values else data
                row[place : place + length] = cell
                row[at + bit // 8] |= 0x80 >> bit % 8
        matrix += row
    per_block = 8176 // width * width
    subnodes, hnid = [], 0
    if len(matrix) > 3580:
        parts = [bytes(matrix[start : start + per_block]) for start in range(0, len(matrix), per_block)]
        hnid = sink.next_nid(0x1F)
        tree = sink.data_tree([*(part.ljust(8176, b"\0") for part in parts[:-1]), parts[-1]])
        subnodes.append(SubnodeEntry(hnid, tree, NO_TREE))
    elif matrix:
        hnid = heap.add(bytes(matrix))
    records = sorted((row_id, number) for number, row_id in enumerate(rows))
    heap.replace(index, heap.tree(4, 4, [struct.pack("<II", *each) for each in records]).header.pack())
    columns = sink.next_nid(0x1F)
    info = struct.pack(
        "<H4HIIIHI12s", 0xAC, end4, end4, at, width, index, hnid, 0, len(kinds), columns, b"known to none"
    )
    heap.replace(root, info)
    described = b"".join(struct.pack("<6HI", *each) for each in sorted(kinds, key=lambda each: each[1]))
    subnodes.append(SubnodeEntry(columns, sink.bytes_tree(described), NO_TREE))
    subnodes += [SubnodeEntry(nids[tag], each.finish(0).data, NO_TREE) for tag, each in values.items()]
    built = heap.finish(root)
    return Built(built.data, (*built.subnodes, *subnodes))
