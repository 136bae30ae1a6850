"""S15, S21: ``excise restore`` into a PST file, stopped or its disk failing at one call after the other, then resumed.

Whatever the call: every message is in the file once, with all its properties, and the case verifies.
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
from crash.stage import Stage, calls_of_a_run, finish, needs_strace, run_traced
from crash.test_pst import stage as removal
from excise.stores.pst import STORE, PstMailbox
from excise.stores.pst_whole import version_in_any_file

pytestmark = needs_strace


def told(path: Path) -> Counter[tuple[str, str]]:
    """Folder and fingerprint of all properties of each item."""
    box = STORE.open(f"pst:{path}")
    assert isinstance(box, PstMailbox)
    try:
        return Counter((node.folder, version_in_any_file(box._at(node.id)[1])) for node in box._nodes.values())
    finally:
        box.close()


def stage(root: Path) -> Stage:
    """A PST file that 3 of 8 messages were purged from, and a plan to put them back."""
    made = removal(root)
    assert excise_cli("run", made.case, "--confirm", made.plan_sha256, "--jobs", "1").code == 0
    assert excise_cli("restore", made.case, "--jobs", "1").code == 4
    return Stage(root, sha256((made.case / "plan/0002/header.json").read_bytes()).hexdigest(), {})


def wrong_at_the_end(made: Stage) -> Iterator[str]:
    """Everything that does not hold at the end of a restore that came to its end."""
    path = made.mail / "mine.pst"
    if told(path) != told(made.root / "before.pst"):
        yield f"the file holds {told(path).total()} items, or others than before the removal"
    if excise.pst.check(path).damaged:
        yield "check finds damage"
    if beside := [name.name for name in made.mail.iterdir() if name != path]:
        yield f"beside the file: {beside}"
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
def test_s15_a_restore_at_a_call(tmp_path: Path, fault: str, stride: int, first: int) -> None:
    stage(tmp_path / "stage")
    shutil.copytree(tmp_path / "stage", tmp_path / "fresh")
    made = again(tmp_path)
    calls = [call for call in calls_of_a_run(made, least=60) if "/mail/" in call.line]
    calls = [call for call in calls if "O_RDONLY" not in call.line]
    assert {call.name for call in calls} >= {"pwrite64", "fsync", "rename", "unlink"}
    wrong = []
    for call in calls[first::stride]:
        made = again(tmp_path)
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        problems = [*(finish(made) if done.code else ()), *wrong_at_the_end(made)]
        wrong += [f"{call.name} {call.number} ({call.line[:120]}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)


def again(root: Path) -> Stage:
    """The stage as it was made; the PST file keeps its inode, which is a part of its identity."""
    made, fresh = root / "stage", root / "fresh"
    (made / "mail/mine.pst").write_bytes((fresh / "mail/mine.pst").read_bytes())
    for path in (made / "mail").iterdir():
        if path.name != "mine.pst":
            path.unlink()
    shutil.rmtree(made / "case")
    shutil.copytree(fresh / "case", made / "case")
    return Stage(made, sha256((made / "case/plan/0002/header.json").read_bytes()).hexdigest(), {})
