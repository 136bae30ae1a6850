"""S15: the power goes in the middle of ``excise run``: what was not flushed is lost; then the run is resumed.

A run is recorded under strace and replayed, call by call, on a model of a disk (``crash.disk``). At each point what may
be left is laid out on the real disk, in the same place, and ``excise resume`` must come to the same end as always.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import command_line, environment
from crash.disk import RECORDED, Cut, Disk, Node, lay_out, whole_calls
from crash.stage import Stage, age_dead_locks, finish, needs_strace, quickly, stage, wrong_at_the_end

pytestmark = needs_strace

State = dict[str, tuple[Node, bytes | None]]


def record(made: Stage, command: str, *inject: str) -> list[str]:
    """The calls of ``excise run`` or ``excise resume``, with all their bytes."""
    trace = made.root / "trace"
    strace = ["strace", "-f", *quickly(inject), "-y", "-xx", "-s", "10000000", "-o", str(trace)]
    confirm = ("--confirm", made.plan_sha256) if command == "run" else ()
    done = subprocess.run(
        [
            *strace,
            "-e",
            f"trace={','.join(RECORDED)}",
            *inject,
            *command_line(command, made.case, *confirm, "--jobs", "1"),
        ],
        capture_output=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    if not quickly(inject):
        assert done.returncode == -signal.SIGKILL, "it was not killed"
    return list(whole_calls(trace))


def mailbox_identity(made: Stage) -> str:
    """The identity of the mbox, as the plan has it."""
    units = json.loads((made.case / "plan/0001/header.json").read_text())["units"]
    [found] = [unit["identity"] for unit in units if unit["kind"] == "mbox"]
    return str(found)


def states(disk: Disk, lines: Sequence[str], cut: Cut) -> Iterator[tuple[str, State]]:
    """Each different disk that the power may leave behind during ``lines``, with the call after which it went."""
    seen = set()
    for line in ("", *lines):
        if not line or disk.feed(line):
            state = disk.cut(cut)
            digest = sha256(repr(sorted((n, id(node), data) for n, (node, data) in state.items())).encode()).digest()
            if digest not in seen:
                seen.add(digest)
                yield line[:120], state


def cut_everywhere(made: Stage, disk: Disk, lines: Sequence[str], cut: Cut, stride: int, first: int) -> list[str]:
    """Resume on every ``stride``-th disk; what went wrong."""
    identity = mailbox_identity(made)
    wrong = []
    for number, (line, state) in enumerate(states(disk, lines, cut)):
        if number % stride != first:
            continue
        lay_out(state, disk, identity)
        age_dead_locks(made.mail)
        problems = [*finish(made), *wrong_at_the_end(made)]
        wrong += [f"{cut.value} unflushed lost after {number} ({line}): {problem}" for problem in problems]
    return wrong


@pytest.mark.parametrize(
    ("cut", "stride", "first"),
    [
        (Cut.ALL, 9, 0),
        (Cut.BYTES, 19, 1),
        pytest.param(Cut.ALL, 1, 0, marks=pytest.mark.soak),
        pytest.param(Cut.BYTES, 1, 0, marks=pytest.mark.soak),
        pytest.param(Cut.NOTHING, 1, 0, marks=pytest.mark.soak),
    ],
)
def test_s15_the_power_goes(tmp_path: Path, cut: Cut, stride: int, first: int) -> None:
    made = stage(tmp_path / "stage")
    disk = Disk.of(made.mail, made.case)
    lines = record(made, "run")
    assert not list(wrong_at_the_end(made))
    wrong = cut_everywhere(made, disk, lines, cut, stride, first)
    assert not wrong, "\n".join(wrong)


def test_the_model_of_the_disk_is_right(tmp_path: Path) -> None:
    """With nothing lost, the replayed calls give what is on the real disk after the run."""
    made = stage(tmp_path / "stage")
    disk = Disk.of(made.mail, made.case)
    for line in record(made, "run"):
        disk.feed(line)
    real = {
        str(path): path.read_bytes() for root in (made.mail, made.case) for path in root.rglob("*") if path.is_file()
    }
    for cut in (Cut.NOTHING, Cut.ALL):
        state = {name: data for name, (_, data) in disk.cut(cut).items() if data is not None}
        lock = str(made.case / "lock")
        assert {n: d for n, d in state.items() if n != lock} == {n: d for n, d in real.items() if n != lock}


def test_s13_killed_before_a_flush_and_then_the_power_goes(tmp_path: Path) -> None:
    """A part that a killed process committed and did not flush: the resumed one flushes it before it removes."""
    made = stage(tmp_path / "stage")
    disk = Disk.of(made.mail, made.case)
    lines = record(made, "run")
    parts = [number for number, line in enumerate(lines) if line.startswith("rename(") and _names(line, "part-001")]
    flush = sum(line.startswith("fsync(") for line in lines[: parts[0]]) + 1
    made = stage(tmp_path / "stage")
    disk = Disk.of(made.mail, made.case)
    for line in record(made, "run", "-e", f"inject=fsync:signal=KILL:when={flush}"):
        disk.feed(line)
    disk.start_process()
    wrong = cut_everywhere(made, disk, record(made, "resume"), Cut.ALL, 6, 1)
    assert not wrong, "\n".join(wrong)


def _names(line: str, name: str) -> bool:
    return "".join(f"\\x{ord(c):02x}" for c in name) in line
