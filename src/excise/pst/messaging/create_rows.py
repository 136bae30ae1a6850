"""Rows of a table on their way into it: kept compressed, for a table is written when it has all of them."""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterator, Mapping

from excise.pst.ltp.build_table import NewCell
from excise.pst.ndb.write_types import Tree

#: A row as marshal has it; a tree is its bid and size.
_Packed = dict[int, bytes | tuple[int, int]]
# About what a cell takes beside its bytes.
_CELL = 8
_CHUNK = 1 << 16
# A table's heap has 65,536 blocks and its node 173,400 subnodes: less than that, for what else they hold.
_MAX_CELL_BYTES = 480 << 20
_MAX_LARGE_CELLS = 173_000


class Rows:
    """The rows of one table, in the order in which they came."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._open: list[_Packed] = []
        self._open_bytes = self._cell_bytes = self._large = 0

    def add(self, cells: Mapping[int, NewCell]) -> None:
        """Keep a row. ValueError where no table can hold one more."""
        trees = sum(isinstance(each, Tree) for each in cells.values())
        size = sum(len(each) + 2 for each in cells.values() if isinstance(each, bytes))
        if self._cell_bytes + size > _MAX_CELL_BYTES or self._large + trees > _MAX_LARGE_CELLS:
            raise ValueError("a folder cannot hold that many messages: its table would be too large")
        self._cell_bytes += size
        self._large += trees
        self._open.append(
            {tag: (data.bid, data.size) if isinstance(data, Tree) else bytes(data) for tag, data in cells.items()}
        )
        self._open_bytes += size + _CELL * len(cells)
        if self._open_bytes > _CHUNK:
            self._done.append(zlib.compress(marshal.dumps(self._open, 2), 1))
            self._open, self._open_bytes = [], 0

    def __iter__(self) -> Iterator[Mapping[int, NewCell]]:
        for chunk in self._done:
            yield from _unpacked(marshal.loads(zlib.decompress(chunk)))  # noqa: S302 - what this object packed
        yield from _unpacked(self._open)


def _unpacked(rows: list[_Packed]) -> Iterator[Mapping[int, NewCell]]:
    for row in rows:
        yield {tag: data if isinstance(data, bytes) else Tree(*data) for tag, data in row.items()}
