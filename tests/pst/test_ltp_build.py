"""Heaps that are built, read back with the reader."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.pst.disk.damage import DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.ltp.build_properties import Property, build_properties
from excise.pst.ltp.properties import PropertyContext


@dataclass
class Leaves:
    bid: int
    blocks: list[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.blocks))

    def block(self, index: int) -> bytes:
        return self.blocks[index]

    def chunks(self):
        return iter(self.blocks)

    def read(self) -> bytes:
        return b"".join(self.blocks)


@dataclass
class Memory:
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def data_tree(self, blocks) -> Leaves:
        blocks = list(blocks)
        assert all(len(block) == 8176 for block in blocks[:-1])
        assert len(blocks[-1]) <= 8176
        return Leaves(next(self.numbers) * 4, blocks)

    def bytes_tree(self, data) -> Leaves:
        data = data if isinstance(data, bytes) else b"".join(data)
        return self.data_tree([data[at : at + 8176] for at in range(0, len(data), 8176)])

    def next_nid(self, nid_type: int) -> int:
        return next(self.numbers) << 5 | nid_type

    def next_unique(self) -> int:
        return next(self.numbers)


def node_of(built):
    log = DamageLog()
    ndb = SimpleNamespace(format=UNICODE)
    children = {each.nid: SimpleNamespace(data=each.data, nid=each.nid, ndb=ndb, log=log) for each in built.subnodes}
    return SimpleNamespace(data=built.data, nid=0x21, ndb=ndb, log=log, child=children.get)


def assert_same(properties: list[Property]) -> None:
    node = node_of(build_properties(Memory(), properties))
    read = PropertyContext(node)
    assert [(i, read.type_of(i), read.raw(i)) for i in read.ids()] == sorted(
        (each.prop_id, each.prop_type, each.data) for each in properties
    )
    assert not node.log.entries


SIZES = st.one_of(st.integers(0, 40), st.sampled_from([3579, 3580, 3581, 8176, 8177, 20000]), st.integers(0, 3580))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.integers(1, 0xFFFF), SIZES, max_size=60), st.booleans())
def test_properties_read_back(sizes: dict[int, int], number: bool) -> None:
    properties = [Property(i, 0x102, bytes([i & 0xFF]) * size) for i, size in sizes.items() if i != 1]
    assert_same([*properties, *([Property(1, 3, b"\x01\x02\x03\xff")] if number else [])])


@pytest.mark.parametrize("size", [1, 2, 7, 250, 3000])
def test_heap_of_many_blocks_and_levels_reads_back(size: int) -> None:
    assert_same([Property(i, 0x102, bytes([i & 0xFF]) * size) for i in range(1, 5000)])


@pytest.mark.parametrize("last", range(1, 1100))
def test_every_fill_of_a_block_reads_back(last: int) -> None:
    assert_same([Property(i, 0x102, b"x" * size) for i, size in enumerate([3500, 3580, last, 3580], 1)])


def test_wrong_properties_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        build_properties(Memory(), [Property(1, 3, b"12")])
    with pytest.raises(ValueError, match="twice"):
        build_properties(Memory(), [Property(1, 3, b"1234")] * 2)
