"""Every file of a finished case damaged in every way: ``verify`` exits with 5 and names the file, and never breaks.

What cannot be known from the case alone: whether the last records of ``audit.jsonl`` were cut off together with
``audit.head`` (``--expect-head`` tells), and the lock, which holds nothing.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import excise_cli
from engine.mail_files import WORM, stores
from excise import api
from excise.core.errors import ExciseError

Mutation = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _swap(data: bytes, dice: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    one, other = sorted(dice.sample(range(len(lines)), 2)) if len(lines) > 1 else (0, 0)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _add(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(8) + data[at:]


def _last_line_gone(data: bytes, dice: random.Random) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


MUTATIONS: dict[str, Mutation] = {
    "flip": _flip,
    "cut": _cut,
    "swap": _swap,
    "add": _add,
    "last line gone": _last_line_gone,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that was run and restored."""
    root = tmp_path_factory.mktemp("finished")
    mail, case = stores(root / "mail"), root / "case"
    assert (
        excise_cli(
            *("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
        ).code
        == 0
    )
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    assert excise_cli("verify", case).code == 0
    return case


def files(case: Path) -> list[Path]:
    """The files whose damage must be found."""
    return [path for path in sorted(case.rglob("*")) if path.is_file() and path.name != "lock"]


def damaged(case: Path, path: Path, data: bytes | None) -> Iterator[str]:
    """Put ``data`` (None: nothing) in the place of the file, verify, mend; what ``verify`` did wrong."""
    before = path.read_bytes()
    if data == before:
        return
    path.unlink() if data is None else path.write_bytes(data)
    try:
        said = [f"{check.what}: {check.detail}" for check in api.verify(case) if check.ok is False]
    except ExciseError as error:
        said = [error.message]
    finally:
        path.write_bytes(before)
    name = str(path.relative_to(case))
    if not said:
        yield f"{name}: verify finds nothing"
    elif not any(path.name in line for line in said):
        yield f"{name}: verify does not name it: {said}"


def test_every_file_that_is_gone_is_named(finished: Path) -> None:
    wrong = [problem for path in files(finished) for problem in damaged(finished, path, None)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", MUTATIONS)
def test_every_file_that_is_damaged_is_named(finished: Path, kind: str) -> None:
    dice = random.Random(f"damage {kind}")
    wrong = []
    for path in files(finished):
        data = MUTATIONS[kind](path.read_bytes(), dice)
        if path.name == "audit.jsonl" and path.parent == finished and kind == "cut":
            continue
        wrong += damaged(finished, path, data)
    assert not wrong, "\n".join(wrong)


def test_a_cut_audit_log_is_found_with_the_printed_head(finished: Path) -> None:
    head = (finished / "audit.head").read_text().strip()
    path = finished / "audit.jsonl"
    before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    try:
        path.write_bytes(b"".join(lines[:-1]))
        (finished / "audit.head").write_text(sha256(lines[-2].rstrip(b"\n")).hexdigest() + "\n")
        assert excise_cli("verify", finished, "--expect-head", head).code == 5
        path.write_bytes(before[:-40])
        (finished / "audit.head").write_text(head + "\n")
        assert excise_cli("verify", finished).code == 5
    finally:
        path.write_bytes(before)
        (finished / "audit.head").write_text(head + "\n")
    assert excise_cli("verify", finished, "--expect-head", head).code == 0


def test_a_stranger_in_the_case_is_told(finished: Path) -> None:
    for place in (finished / "stranger.txt", finished / "bag-0001/data/evidence/00001/part-001/more.eml"):
        place.write_text("x")
        try:
            done = excise_cli("verify", finished)
        finally:
            place.unlink()
        assert place.name in done.text or "part-001" in done.text
        if "bag" in str(place):
            assert done.code == 5


@pytest.mark.soak
def test_a_damaged_case_never_breaks_a_command(finished: Path, tmp_path: Path) -> None:
    dice = random.Random(99)
    for _ in range(500):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(finished, copy)
        for path in dice.sample(files(copy), 3):
            path.write_bytes(dice.choice(list(MUTATIONS.values()))(path.read_bytes() or b"x", dice))
        for command in ("verify", "status", "resume"):
            excise_cli(command, copy)
