"""What is asked before a change tells the very errors that a whole check tells, in most messages by one quick look."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

import excise.pst
from excise.core.errors import ExciseError
from excise.pst.check.plain import PlainMessages
from excise.pst.check.report import ERROR
from excise.pst.check.run import check_opened, errors_of
from excise.pst.disk.damage import Damage
from pst.editing import FILES, real
from pst.fuzzing import made
from pst.mutating import fields_changed, structures_changed

SMALL = [path for path in FILES if path.stat().st_size < 300_000]


def errors(data: bytes) -> tuple[list[Damage], int, bool]:
    """The errors in order and their number, and whether there are any that only the contents show."""
    with excise.pst.open(io.BytesIO(data)) as pst:
        report = check_opened(pst)
    with excise.pst.open(io.BytesIO(data)) as pst:
        quick = errors_of(pst)
    found, told = ([each.damage for each in one.findings if each.grade == ERROR] for one in (report, quick))
    assert told == found
    assert quick.counts[ERROR] == report.counts[ERROR]
    return found, report.counts[ERROR], bool(found) and {each.layer for each in found} <= {"ltp", "messaging"}


def plain_nids(data: bytes) -> tuple[set[int], set[int]]:
    """The messages that are plain, and all."""
    with excise.pst.open(io.BytesIO(data)) as pst:
        plain = PlainMessages(pst.ndb)
        nids = {each.nid for each in pst.ndb.nodes.entries() if each.nid & 0x1F in (4, 8)}
        return {each.nid for each in pst.ndb.nodes.entries() if plain.add(each.nid, each.bidData, each.bidSub)}, nids


def compare_changed(data: bytes, rounds: int, seed: str) -> int:
    """How many of ``rounds`` changed files have errors in their contents alone."""
    rng, in_contents = random.Random(seed), 0
    with excise.pst.open(io.BytesIO(data)) as pst:
        for each in range(rounds):
            change = structures_changed if each % 2 else fields_changed
            try:
                in_contents += errors(change(data, pst.ndb, rng))[2]
            except ExciseError:
                continue
    return in_contents


@real
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_samples(path: Path) -> None:
    errors(path.read_bytes())


@real
def test_messages_of_outlook_are_plain() -> None:
    path = next(each for each in FILES if each.name == "enron.pst")
    plain, every = plain_nids(path.read_bytes())
    assert plain == every
    assert len(every) == 71


def test_messages_of_ours_are_plain() -> None:
    plain, every = plain_nids(made())
    assert plain == every
    assert len(every) == 10


@real
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_changed_samples(path: Path) -> None:
    compare_changed(path.read_bytes(), 12, f"errors {path.name}")


def test_changed_files_of_ours() -> None:
    assert compare_changed(made(), 80, "errors of ours") > 10


@pytest.mark.soak
def test_many_changed_files_of_ours() -> None:
    for seed in range(100):
        compare_changed(made(), 100, f"errors {seed}")
