"""S15: ``excise run`` of a ``--rewrite``, stopped or its power gone at one call after the other, then resumed.

Whatever the call: the file is the old one or the new one, the old one is in the evidence byte for byte, each planned
message is in the evidence once, all others are in the new file as they were, and the case verifies.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import excise.pst
from cli.command import excise_cli
from crash.disk import Cut, Disk
from crash.stage import (
    Stage,
    age_dead_locks,
    calls_of_a_run,
    evidence_mbox,
    evidence_pst,
    finish,
    needs_strace,
    run_traced,
)
from crash.test_power import record, states
from crash.test_pst import PLANNED, lay_out
from engine.mail_files import WORM
from engine.test_move_pst import as_ost, mail, secrets
from excise.stores.mbox.replace import IDENTITY
from pst.purged import found_in, messages

pytestmark = needs_strace


def stage(root: Path) -> Stage:
    """An OST file and a plan to purge 3 of its 8 messages by making it anew; ``before.pst`` is the file as it was."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "mail").mkdir(parents=True)
    mail(root / "mail/mine.pst")
    as_ost(root / "mail/mine.pst")
    shutil.copyfile(root / "mail/mine.pst", root / "before.pst")
    planned = (root / "mail", "--subject", WORM, "--case", root / "case", "--jobs", "1", "--rewrite")
    done = excise_cli("plan", "purge", *planned)
    assert done.code == 0, done.text
    return Stage(root, sha256((root / "case/plan/0001/header.json").read_bytes()).hexdigest(), {})


def hand_on_identity(made: Stage) -> None:
    """Give the file the planned identity, which an attribute holds: the model of the disk has no inodes of its own."""
    found = re.search(r'"identity":"key:[0-9a-f]*,(dev:[^"]*)"', (made.case / "plan/0001/header.json").read_text())
    assert found
    own = (made.mail / "mine.pst").stat()
    os.setxattr(made.mail / "mine.pst", IDENTITY, f"{found[1]} dev:{own.st_dev:x},ino:{own.st_ino}".encode())


def is_old_or_new(made: Stage) -> Iterator[str]:
    """What is wrong with the file right after the run was stopped."""
    data = (made.mail / "mine.pst").read_bytes()
    if data != (made.root / "before.pst").read_bytes() and excise.pst.check(made.mail / "mine.pst").damaged:
        yield "the file is neither the old one nor a whole new one"


def wrong_at_the_end(made: Stage) -> Iterator[str]:
    """Everything that does not hold at the end of a run that came to its end."""
    for kind, found in (("mbox", evidence_mbox(made.case)), ("pst", evidence_pst(made.case))):
        if found != PLANNED:
            yield f"evidence in {kind}: {dict(found)}"
    path, before = made.mail / "mine.pst", made.root / "before.pst"
    kept = list(made.case.glob("bag-0001/data/evidence/*/original-*/original.pst"))
    if [each.read_bytes() for each in kept] != [before.read_bytes()]:
        yield f"{len(kept)} originals in the evidence, or not the file as it was"
    if found_in(secrets(), path.read_bytes()):
        yield "the file holds bytes of what was removed"
    with excise.pst.open(path) as pst, excise.pst.open(before) as old:
        stay = {nid for nid in messages(old) if (old.message(nid).subject or "").startswith("Report")}
        if messages(pst).keys() != stay or len(stay) != 5:
            yield f"the file holds {len(messages(pst))} messages, or others than it must"
    if excise.pst.check(path).damaged:
        yield "check finds damage"
    if beside := [name.name for name in made.mail.iterdir() if name != path]:
        yield f"beside the file: {beside}"
    if (made.case / "outcome.csv").read_text().count(",removed,") != 3:
        yield "outcome.csv does not say so"
    if (done := excise_cli("verify", made.case)).code != 0:
        yield f"verify: {done.code}"


@pytest.mark.parametrize(
    ("fault", "stride", "first"),
    [
        ("signal=KILL", 20, 0),
        ("error=EIO", 47, 5),
        pytest.param("signal=KILL", 1, 0, marks=pytest.mark.soak),
        pytest.param("error=EIO", 1, 0, marks=pytest.mark.soak),
    ],
)
def test_s15_a_rewrite_at_a_call(tmp_path: Path, fault: str, stride: int, first: int) -> None:
    calls = calls_of_a_run(stage(tmp_path / "stage"))
    # From the first step that is not in every run: keeping the original.
    start = next(at for at, call in enumerate(calls) if "original-001" in call.line)
    end = max(at for at, call in enumerate(calls) if "/mail/" in call.line)
    chosen = [call for call in calls[start : end + 6] if "O_RDONLY" not in call.line]
    swap = next(call for call in chosen if call.name == "rename" and "excise-new" in call.line)
    assert {call.name for call in chosen} >= {"mkdir", "write", "fsync", "fsetxattr", "rename"}
    wrong = []
    for call in [*chosen[first::stride], swap, chosen[chosen.index(swap) + 1]]:
        made = stage(tmp_path / "stage")
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        problems = [*is_old_or_new(made), *(finish(made) if done.code else ()), *wrong_at_the_end(made)]
        wrong += [f"{call.name} {call.number} ({call.line[:120]}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("stride", "first"), [(14, 5), pytest.param(1, 0, marks=pytest.mark.soak)])
def test_s15_the_power_goes_in_a_rewrite(tmp_path: Path, stride: int, first: int) -> None:
    made = stage(tmp_path / "stage")
    disk = Disk.of(made.mail, made.case)
    lines = record(made, "run")
    assert not list(wrong_at_the_end(made))
    wrong = []
    for number, (line, state) in enumerate(states(disk, lines, Cut.ALL)):
        if number % stride == first:
            lay_out(state, made)
            hand_on_identity(made)
            age_dead_locks(made.mail)
            problems = [*is_old_or_new(made), *finish(made), *wrong_at_the_end(made)]
            wrong += [f"lost after {number} ({line}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)
