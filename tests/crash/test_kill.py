"""S15: ``excise run`` stopped, and its disk full or failing, at one system call after the other; then resumed.

Whatever the call: each planned message is in the evidence once and gone from its source, every other byte of the
sources is as it was, and the case verifies. The quick tests take a sample of the calls, ``make soak`` takes all.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from crash.stage import Call, Stage, calls_of_a_run, finish, needs_strace, run_traced, stage, wrong_at_the_end

pytestmark = needs_strace

_COMMITS = ("rename", "renameat2", "link", "linkat", "unlink", "unlinkat", "copy_file_range")
_CANNOT_FILL = ("unlink", "unlinkat", "rmdir", "fchmod", "fchown", "utimensat")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """The calls of an undisturbed run."""
    return calls_of_a_run(stage(tmp_path_factory.mktemp("undisturbed") / "stage"))


def sample(calls: Sequence[Call], stride: int, first: int) -> list[Call]:
    """Every ``stride``-th call."""
    return list(calls[first::stride])


def sweep(root: Path, calls: Sequence[Call], fault: str) -> list[str]:
    """Run, disturbed at each of ``calls`` by ``fault``, resume, and say all that went wrong."""
    wrong = []
    for call in calls:
        made = stage(root / "stage")
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        problems = [] if "signal" in fault else list(_badly_told(done.code, done.out, done.err))
        problems += finish(made) if done.code else []
        problems += wrong_at_the_end(made)
        wrong += [f"{call.name} {call.number} ({call.line[:150]}): {problem}" for problem in problems]
    return wrong


def _badly_told(code: int, out: str, err: str) -> list[str]:
    last = (out + err).splitlines()[-1:]
    if "Traceback" in err or "unexpected error" in err:
        return [f"ended with {err[-500:]}"]
    return [] if code else [f"ended with 0, and {last}"] if "Done." not in out else []


def report(wrong: list[str]) -> str:
    """The problems, one a line."""
    return f"{len(wrong)} problems:\n" + "\n".join(wrong)


def test_s15_killed_at_a_call(tmp_path: Path, calls: list[Call]) -> None:
    # A kill at a call that only reads leaves what a kill at the next one that writes does.
    wrong = sweep(tmp_path, sample([call for call in calls if "O_RDONLY" not in call.line], 14, 0), "signal=KILL")
    assert not wrong, report(wrong)


def test_s15_disk_full_at_a_call(tmp_path: Path, calls: list[Call]) -> None:
    can = [call for call in calls if call.name not in _CANNOT_FILL and "O_RDONLY" not in call.line]
    wrong = sweep(tmp_path, sample(can, 13, 2), "error=ENOSPC")
    assert not wrong, report(wrong)


def test_s15_disk_failing_at_a_call(tmp_path: Path, calls: list[Call]) -> None:
    wrong = sweep(tmp_path, sample(calls, 26, 3), "error=EIO")
    assert not wrong, report(wrong)


@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_s15_every_name_that_is_given_or_taken_in_the_sources(tmp_path: Path, calls: list[Call], fault: str) -> None:
    critical = [call for call in calls if call.name in _COMMITS and "/mail/" in call.line]
    assert len(critical) >= 6
    wrong = sweep(tmp_path, critical, fault)
    assert not wrong, report(wrong)


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_s15_at_every_call(tmp_path: Path, calls: list[Call], fault: str) -> None:
    can = [c for c in calls if fault != "error=ENOSPC" or (c.name not in _CANNOT_FILL and "O_RDONLY" not in c.line)]
    wrong = sweep(tmp_path, can, fault)
    assert not wrong, report(wrong)


def test_s15_killed_in_the_resume_too(tmp_path: Path, calls: list[Call]) -> None:
    """A resumed run is stopped again and again, each time a little later."""
    made: Stage = stage(tmp_path / "stage")
    kills = 0
    for call in sample([call for call in calls if call.name == "fsync"], 13, 0):
        done, _ = run_traced(made, "-e", f"inject=fsync:signal=KILL:when={call.number}", may_end=True)
        if done.code == 2:
            break
        kills += done.code == -signal.SIGKILL
        assert done.code in (0, -signal.SIGKILL), done.text
    assert kills > 1
    problems = [*finish(made), *wrong_at_the_end(made)]
    assert not problems, report(problems)
