"""Files whose counters are at their end: refused before anything is written."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from excise.core.errors import DamagedInput
from excise.pst.disk.header import Header
from pst.fuzzing import made


def counting(**counters: Any) -> tuple[bytes, int]:
    """A sound file whose header has ``counters``, and the NID of one of its messages."""
    data = bytearray(made())
    header = replace(Header.unpack(bytes(data)), **counters).sealed().pack()
    data[: len(header)] = header
    with excise.pst.open(io.BytesIO(bytes(data))) as pst:
        nid = next(message.nid for folder in pst.folders() for message in folder.messages())
    return bytes(data), nid


@pytest.mark.parametrize(
    "counters",
    [{"dwUnique": 0xFFFFFFFF}, {"bidNextB": (1 << 64) - 4}, {"bidNextB": 1 << 63}, {"bidNextP": (1 << 64) - 1}],
    ids=str,
)
def test_no_change_in_place_with_used_up_counters(counters: dict[str, int], tmp_path: Path) -> None:
    data, nid = counting(**counters)
    path = tmp_path / "counted.pst"
    path.write_bytes(data)
    with pytest.raises(DamagedInput, match="used up"):
        excise.pst.purge(path, [nid])
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("unique", [0xFFFFFFFF, 0xFFFFFFF0])
@pytest.mark.parametrize("removed", [0, 1])
def test_no_copy_of_a_file_whose_change_counter_is_used_up(unique: int, removed: int) -> None:
    data, nid = counting(dwUnique=unique)
    with pytest.raises(DamagedInput, match="change counter is used up"):
        excise.pst.compact(io.BytesIO(data), io.BytesIO(), without={nid} if removed else set())


def test_a_copy_has_its_own_counters_of_blocks_and_pages() -> None:
    data, nid = counting(bidNextB=(1 << 64) - 4, bidNextP=(1 << 64) - 1)
    target = io.BytesIO()
    excise.pst.compact(io.BytesIO(data), target, without={nid})
    assert excise.pst.check(target).clean
