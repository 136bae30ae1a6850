"""S15: ``excise run`` on a PST file, stopped or its power gone at one call after the other, then resumed.

Whatever the call: nothing of the planned messages is left in the file, each is in the evidence once, all others are as
they were, and the case verifies. The quick tests take a sample of the calls, ``make soak`` takes all.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import excise.pst
from cli.command import excise_cli
from crash.disk import Cut, Disk, Node
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
from engine.mail_files import WORM
from engine.test_move_pst import mail, secrets
from pst.purged import findings, found_in, messages

pytestmark = needs_strace

PLANNED = Counter(["1", "4", "7"])


def stage(root: Path, *options: str) -> Stage:
    """A PST file and a plan to purge 3 of its 8 messages; ``before.pst`` is the file as it was."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "mail").mkdir(parents=True)
    mail(root / "mail/mine.pst")
    shutil.copyfile(root / "mail/mine.pst", root / "before.pst")
    planned = (root / "mail", "--subject", WORM, "--case", root / "case", "--jobs", "1")
    done = excise_cli("plan", "purge", *planned, *options)
    assert done.code == 0, done.text
    return Stage(root, sha256((root / "case/plan/0001/header.json").read_bytes()).hexdigest(), {})


def wrong_at_the_end(made: Stage) -> Iterator[str]:
    """Everything that does not hold at the end of a run that came to its end."""
    for kind, found in (("mbox", evidence_mbox(made.case)), ("pst", evidence_pst(made.case))):
        if found != PLANNED:
            yield f"evidence in {kind}: {dict(found)}"
    path, before = made.mail / "mine.pst", made.root / "before.pst"
    if found_in(secrets(), path.read_bytes()):
        yield "the file holds bytes of what was removed"
    with excise.pst.open(path) as pst, excise.pst.open(before) as old:
        kept = {nid: told for nid, told in messages(old).items() if old.message(nid).subject.startswith("Report")}
        if messages(pst) != kept or len(kept) != 5:
            yield f"the file holds {len(messages(pst))} messages, or others than it must"
    if not findings(path) <= findings(before):
        yield f"check finds {findings(path) - findings(before)}"
    if beside := [name.name for name in made.mail.iterdir() if name != path]:
        yield f"beside the file: {beside}"
    if (made.case / "outcome.csv").read_text().count(",removed,") != 3:
        yield "outcome.csv does not say so"
    if (done := excise_cli("verify", made.case)).code != 0:
        yield f"verify: {done.code}"


@pytest.mark.parametrize(
    ("fault", "stride", "first"),
    [
        ("signal=KILL", 14, 0),
        ("error=EIO", 35, 5),
        pytest.param("signal=KILL", 1, 0, marks=pytest.mark.soak),
        pytest.param("error=EIO", 1, 0, marks=pytest.mark.soak),
    ],
)
def test_s15_at_a_call(tmp_path: Path, fault: str, stride: int, first: int) -> None:
    calls = [call for call in calls_of_a_run(stage(tmp_path / "stage")) if "/mail/" in call.line]
    calls = [call for call in calls if "O_RDONLY" not in call.line]
    assert {call.name for call in calls} >= {"pwrite64", "fsync", "rename", "unlink"}
    wrong = []
    for call in calls[first::stride]:
        made = stage(tmp_path / "stage")
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        problems = [*(finish(made) if done.code else ()), *wrong_at_the_end(made)]
        wrong += [f"{call.name} {call.number} ({call.line[:120]}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_s15_at_a_call_that_compacts(tmp_path: Path, fault: str) -> None:
    calls = [call for call in calls_of_a_run(stage(tmp_path / "stage", "--compact")) if "excise-new" in call.line]
    names = {call.name: call for call in calls}
    assert names.keys() >= {"openat", "fsetxattr", "fsync", "rename"}
    wrong = []
    for call in (names["fsetxattr"], names["fsync"], names["rename"]):
        made = stage(tmp_path / "stage", "--compact")
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        problems = [*(finish(made) if done.code else ()), *wrong_at_the_end(made)]
        wrong += [f"{call.name} {call.number} ({call.line[:120]}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("cut", "stride", "first"),
    [
        (Cut.ALL, 36, 3),
        (Cut.BYTES, 71, 7),
        pytest.param(Cut.ALL, 1, 0, marks=pytest.mark.soak),
        pytest.param(Cut.BYTES, 1, 0, marks=pytest.mark.soak),
    ],
)
def test_s15_the_power_goes(tmp_path: Path, cut: Cut, stride: int, first: int) -> None:
    made = stage(tmp_path / "stage")
    disk = Disk.of(made.mail, made.case)
    lines = record(made, "run")
    assert not list(wrong_at_the_end(made))
    wrong = []
    for number, (line, state) in enumerate(states(disk, lines, cut)):
        if number % stride == first:
            lay_out(state, made)
            age_dead_locks(made.mail)
            problems = [*finish(made), *wrong_at_the_end(made)]
            wrong += [f"{cut.value} lost after {number} ({line}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)


def lay_out(state: dict[str, tuple[Node, bytes | None]], made: Stage) -> None:
    """Make the files of ``state``; the PST file keeps its inode, which is a part of its identity."""
    for path in sorted((*made.mail.rglob("*"), *made.case.rglob("*")), reverse=True):
        if not path.is_dir() and str(path) not in state:
            path.unlink()
        elif path.is_dir() and str(path) not in state:
            path.rmdir()
    for name, (_, data) in sorted(state.items()):
        if data is None:
            Path(name).mkdir(mode=0o700, exist_ok=True)
        else:
            Path(name).touch(0o600)
            Path(name).write_bytes(data)
