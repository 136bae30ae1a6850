"""S15: a run that makes one PST for its case, stopped while it makes it, then resumed.

Whatever the call: each message is in that PST once and in the units' own parts once, and the case verifies.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.stage import calls_of_a_run, finish, needs_strace, run_traced, stage, wrong_at_the_end

pytestmark = needs_strace


@pytest.mark.parametrize(
    ("fault", "stride", "first"),
    [
        ("signal=KILL", 29, 1),
        ("error=EIO", 41, 4),
        pytest.param("signal=KILL", 1, 0, marks=pytest.mark.soak),
        pytest.param("error=EIO", 1, 0, marks=pytest.mark.soak),
    ],
)
def test_s15_at_a_call_that_makes_the_pst(tmp_path: Path, fault: str, stride: int, first: int) -> None:
    options = ("--pst-per", "case", "--part-size", "300kB")
    calls = calls_of_a_run(stage(tmp_path / "stage", *options))
    begin = next(at for at, call in enumerate(calls) if "evidence/case" in call.line)
    calls = [call for call in calls[begin:] if "O_RDONLY" not in call.line]
    assert sum("case-part-" in call.line for call in calls) > 20
    wrong = []
    for call in calls[first::stride]:
        made = stage(tmp_path / "stage", *options)
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        problems = [*(finish(made) if done.code else ()), *wrong_at_the_end(made)]
        wrong += [f"{call.name} {call.number} ({call.line[:120]}): {problem}" for problem in problems]
    assert not wrong, "\n".join(wrong)
