"""Free space, and the allocation maps of large files, of an edit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excise.pst.check.database import check_database
from excise.pst.check.report import Report
from excise.pst.disk import maps
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import Header
from excise.pst.ndb.edit import edit_nodes
from excise.pst.ndb.edit_allocate import FreeSpace
from excise.pst.ndb.edit_layout import Layout, piece
from excise.pst.ndb.edit_scrub import MapPages
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import FileSource
from pst.edit_stage import MESSAGES, new_file

REGIONS = 3
END = maps.amap_offset(REGIONS)
requests = st.lists(st.one_of(st.just(0), st.integers(1, 8176)), max_size=200)


def sizes(cb: int) -> tuple[int, int]:
    """Bytes and alignment of a piece."""
    return (UNICODE.block_size(cb), maps.SLOT) if cb else (maps.PAGE, maps.PAGE)


@given(st.lists(st.tuples(st.integers(0, REGIONS * maps.SLOTS), st.sampled_from([0, 1, 100, 5000, 8176])), max_size=60),
       requests)  # fmt: skip
def test_nothing_is_given_out_twice(old: list[tuple[int, int]], wanted: list[int]) -> None:
    taken = {slot for region in range(64) for ib in maps.map_pages(region) for slot in range(ib // 64, ib // 64 + 8)}
    pieces = []
    for slot, cb in old:
        size, unit = sizes(cb)
        ib = (maps.IB_FIRST_AMAP + slot * maps.SLOT) // unit * unit
        slots = set(range(ib // 64, (ib + size) // 64))
        if not slots & taken and maps.region_of(ib) == maps.region_of(ib + size - 1) < REGIONS:
            taken |= slots
            pieces.append(piece(ib, cb))
    layout = Layout(pieces, END)
    free = FreeSpace(layout)
    last: dict[int, int] = {}
    for cb in wanted:
        size, unit = sizes(cb)
        ib = free.place(size, unit)
        slots = set(range(ib // 64, (ib + size) // 64))
        assert ib % unit == 0
        assert not slots & taken
        assert maps.region_of(ib) == maps.region_of(ib + size - 1) < free.regions
        # First fit: no earlier place can be free for the same size.
        assert ib > last.get(cb, 0)
        last[cb] = ib
        taken |= slots
    used = sum(layout.used(region).bit_count() for region in range(REGIONS))
    assert MapPages(layout).free == (REGIONS * maps.SLOTS - used) * maps.SLOT


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(maps.IB_FIRST_AMAP)],
        [piece(maps.IB_FIRST_AMAP + 512, 10)],
        [piece(maps.IB_FIRST_AMAP + 1024 + 64)],
        [piece(maps.IB_FIRST_AMAP + 1024 + 32, 10)],
        [piece(maps.IB_FIRST_AMAP + 1024, 100), piece(maps.IB_FIRST_AMAP + 1024 + 64, 10)],
        [piece(maps.amap_offset(1) - 64, 100)],
        [piece(END, 10)],
        [piece(512, 10)],
    ],
)
def test_pieces_that_cannot_be(pieces: list[int]) -> None:
    with pytest.raises(Damaged):
        Layout(pieces, END)


@pytest.mark.parametrize(
    "regions", [pytest.param(700, id="175 MB"), pytest.param(8800, id="2.2 GB", marks=pytest.mark.soak)]
)
def test_the_maps_of_a_large_file(regions: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pst"
    path.write_bytes(new_file())
    size = maps.amap_offset(regions)
    header = Header.unpack(path.read_bytes())
    with path.open("r+b") as stream:
        stream.write(replace(header, root=replace(header.root, ibFileEof=size)).sealed().pack())
        # All free but for a stray byte near the end: the maps, and nothing but the maps, are written.
        stream.truncate(size)
        stream.seek(size - 100)
        stream.write(b"!")
    with edit_nodes(path) as editor:
        editor.remove(MESSAGES[0])
        editor.commit()
    source = FileSource(path)
    ndb, report = NodeDatabase(source, DamageLog()), Report("a", "Unicode")
    check_database(ndb, report)
    assert report.findings == []
    assert source.read(size - 100, 1) == b"\0"
    assert len(ndb.nodes) == len(MESSAGES)
    source.close()


def test_free_space_behind_the_old_end() -> None:
    free = FreeSpace(Layout([], maps.amap_offset(1)))
    # 253,952 bytes but for two map pages hold 30 blocks of 8,192; what is left holds smaller ones.
    first = [free.place(8192) for _ in range(30)]
    assert first == [maps.amap_offset(0) + 1024 + 8192 * at for at in range(30)]
    assert free.place(8192) == maps.amap_offset(1) + 512
    assert free.place(64) == first[-1] + 8192
    assert free.regions == 2
