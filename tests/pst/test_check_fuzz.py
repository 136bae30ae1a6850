"""A check of any file ends soon, and with a report or an ExciseError: samples of Outlook changed at random."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from pathlib import Path

import pytest

import excise.pst
from excise.core.errors import ExciseError
from excise.pst.check.report import Report
from pst.editing import FILES, real
from pst.mutating import bytes_changed, structures_changed

SMALL = [path for path in FILES if path.stat().st_size < 300_000]
# A sound sample takes 0.05 s; a machine with other work to do takes longer.
SECONDS = 20
MEMORY = 200_000_000


def checked(data: bytes) -> Report | None:
    """A check of ``data``; None where the file is refused."""
    started = time.process_time()
    try:
        report = excise.pst.check(io.BytesIO(data))
    except ExciseError as error:
        assert error.message
        report = None
    else:
        assert report.text()
        assert report.unlisted >= 0
    assert time.process_time() - started < SECONDS
    return report


def check_changed(path: Path, rounds: int, seed: str) -> tuple[int, int]:
    """How many of ``rounds`` changed files got a report, and how many of these had something wrong."""
    data = path.read_bytes()
    rng = random.Random(f"{seed} {path.name}")
    known = set(excise.pst.check(io.BytesIO(data)).findings)
    reports = []
    with excise.pst.open(io.BytesIO(data)) as pst:
        for each in range(rounds):
            made = bytes_changed(data, rng) if each % 3 == 0 else structures_changed(data, pst.ndb, rng)
            reports.append(checked(made))
    told = [report for report in reports if report is not None]
    return len(told), sum(bool(set(report.findings) - known) for report in told)


@real
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_changed_samples(path: Path) -> None:
    told, wrong = check_changed(path, 24, "quick")
    assert told > 6
    assert wrong > 3


@real
@pytest.mark.soak
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("seed", range(4))
def test_many_changed_samples(path: Path, seed: int) -> None:
    rounds = 400 if path in SMALL else 60
    told, _ = check_changed(path, rounds, str(seed))
    assert told > rounds // 4


@real
@pytest.mark.parametrize("path", SMALL[:4], ids=lambda path: path.name)
def test_changed_samples_take_little_memory(path: Path) -> None:
    data = path.read_bytes()
    rng = random.Random(path.name)
    with excise.pst.open(io.BytesIO(data)) as pst:
        tracemalloc.start()
        try:
            for _ in range(8):
                checked(structures_changed(data, pst.ndb, rng))
                assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()


@real
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_samples_cut_short(path: Path) -> None:
    data = path.read_bytes()
    for size in (0, 3, 511, 564, 0x4200, 0x4400, 0x4600, len(data) // 2, len(data) - 512, len(data) - 1):
        report = checked(data[:size])
        assert report is None or not report.clean
