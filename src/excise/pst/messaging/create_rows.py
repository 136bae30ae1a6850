"""Rows of a table on their way into it: kept compressed, for a table is written when it has all of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from struct import Struct

from excise.pst.ltp.build_table import NewCell
from excise.pst.ndb.write_types import Tree

_CELL, _TREE, _COUNT = Struct("<II"), Struct("<QQ"), Struct("<I")
_IS_TREE = 0xFFFFFFFF
_CHUNK = 1 << 16
# A table's heap has 65,536 blocks and its node 173,400 subnodes: less than that, for what else they hold.
_MAX_CELL_BYTES = 480 << 20
_MAX_LARGE_CELLS = 173_000


class Rows:
    """The rows of one table, in the order in which they came."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._open = bytearray()
        self._cell_bytes = self._large = 0

    def add(self, cells: Mapping[int, NewCell]) -> None:
        """Keep a row. ValueError where no table can hold one more."""
        trees = sum(isinstance(each, Tree) for each in cells.values())
        size = sum(len(each) + 2 for each in cells.values() if isinstance(each, bytes))
        if self._cell_bytes + size > _MAX_CELL_BYTES or self._large + trees > _MAX_LARGE_CELLS:
            raise ValueError("a folder cannot hold that many messages: its table would be too large")
        self._cell_bytes += size
        self._large += trees
        self._open += _COUNT.pack(len(cells))
        for tag, data in cells.items():
            if isinstance(data, Tree):
                self._open += _CELL.pack(tag, _IS_TREE) + _TREE.pack(data.bid, data.size)
            else:
                self._open += _CELL.pack(tag, len(data)) + data
        if len(self._open) > _CHUNK:
            self._done.append(zlib.compress(self._open, 1))
            self._open.clear()

    def __iter__(self) -> Iterator[Mapping[int, NewCell]]:
        for chunk in self._done:
            yield from _unpacked(zlib.decompress(chunk))
        yield from _unpacked(bytes(self._open))


def _unpacked(data: bytes) -> Iterator[Mapping[int, NewCell]]:
    at = 0
    while at < len(data):
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        cells: dict[int, NewCell] = {}
        for _ in range(count):
            tag, size = _CELL.unpack_from(data, at)
            at += _CELL.size
            if size == _IS_TREE:
                cells[tag] = Tree(*_TREE.unpack_from(data, at))
                at += _TREE.size
            else:
                cells[tag] = data[at : at + size]
                at += size
        yield cells
