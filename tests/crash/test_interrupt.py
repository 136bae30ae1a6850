"""Ctrl-C at any time of a run: it stops at a safe point, says how to resume, and ``resume`` finishes it (S15)."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

from cli.command import command_line, environment
from crash.stage import Stage, finish, stage, wrong_at_the_end


def interrupted_run(made: Stage, pause: float, times: int) -> tuple[int, str]:
    """``excise run``, interrupted ``pause`` seconds after it began to work; exit status and all that it said."""
    run = command_line("run", made.case, "--confirm", made.plan_sha256, "--jobs", "1")
    with subprocess.Popen(
        run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        while said.splitlines()[-1:] and said.splitlines()[-1].startswith("Warning: "):
            said += process.stdout.readline()
        assert "Audit head before the run" in said, said
        for _ in range(times):
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
        said += process.stdout.read()
        return process.wait(60), said


def test_s15_interrupted(tmp_path: Path) -> None:
    dice = random.Random(7)
    codes = set()
    for _ in range(10):
        made = stage(tmp_path / "stage")
        code, said = interrupted_run(made, dice.choice([0, dice.uniform(0, 0.02), dice.uniform(0, 0.2)]), 1)
        codes.add(code)
        last = said.splitlines()[-1]
        # Once all is done and said, a Ctrl-C meets an interpreter that is on its way out.
        assert code in (0, 130) or (code == -signal.SIGINT and last == "Done."), said
        if code == 130:
            assert f"excise resume {made.case}" in last, said
        else:
            assert last == "Done." or "stopping at the next safe point" in said, said
        problems = [*(finish(made) if code else ()), *wrong_at_the_end(made)]
        assert not problems, problems
    assert 130 in codes, "no run was interrupted before its end"


def test_s15_interrupted_twice_stops_at_once(tmp_path: Path) -> None:
    for pause in (0.001, 0.005, 0.02):
        made = stage(tmp_path / "stage")
        code, said = interrupted_run(made, pause, 2)
        assert code in (0, 130, -signal.SIGINT), said
        assert "Traceback" not in said
        if code == 130:
            assert "excise resume" in said.splitlines()[-1], said
        problems = [*(finish(made) if code else ()), *wrong_at_the_end(made)]
        assert not problems, problems
