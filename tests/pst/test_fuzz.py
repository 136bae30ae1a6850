"""Files made to do harm, through everything that Excise does with a PST file (see ``fuzzing.Trial``)."""

from __future__ import annotations

import io
import random
from collections import Counter
from pathlib import Path

import pytest

import excise.pst
from pst.editing import FILES, real
from pst.fuzzing import Trial, changed, made

SMALL = [path for path in FILES if path.stat().st_size < 300_000]


def run(data: bytes, rounds: int, seed: str, directory: Path) -> Counter[str]:
    """The outcomes of ``rounds`` changed copies of ``data``."""
    outcomes: Counter[str] = Counter()
    with excise.pst.open(io.BytesIO(data)) as pst:
        for number in range(rounds):
            rng = random.Random(f"{seed} {number}")
            trial = Trial(changed(data, pst, rng), directory / "changed.pst", rng)
            try:
                trial.run()
            except BaseException:
                kept = directory / f"fault {seed} {number}.pst"
                kept.write_bytes(trial.data)
                print(kept)
                raise
            outcomes += trial.outcomes
    return outcomes


@real
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_changed_samples(path: Path, tmp_path: Path) -> None:
    outcomes = run(path.read_bytes(), 12, f"quick {path.name}", tmp_path)
    assert outcomes["read"] > 6
    assert outcomes["damaged"] > 2


def test_changed_files_of_ours(tmp_path: Path) -> None:
    outcomes = run(made(), 40, "quick", tmp_path)
    assert outcomes["purge"] > 4
    assert outcomes["purge refused"] > 4
    assert outcomes["item copied"] > 40
    assert outcomes["salvage with losses"] > 4
    assert outcomes["item refused"] > 4


def test_an_unchanged_file_of_ours(tmp_path: Path) -> None:
    trial = Trial(made(), tmp_path / "sound.pst", random.Random(1))
    trial.run()
    once = ("read", "check", "search", "append", "evidence", "salvage", "compact", "compact without", "purge")
    none = ("damaged", "salvage with losses")
    assert trial.outcomes == {**dict.fromkeys(once, 1), "item copied": 10, "fetch": 7, **dict.fromkeys(none, 0)}


@real
@pytest.mark.soak
@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
@pytest.mark.parametrize("seed", range(8))
def test_many_changed_samples(path: Path, seed: int, tmp_path: Path) -> None:
    assert run(path.read_bytes(), 200, f"{seed} {path.name}", tmp_path)["read"] > 100


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_many_changed_files_of_ours(seed: int, tmp_path: Path) -> None:
    assert run(made(), 200, str(seed), tmp_path)["read"] > 100
