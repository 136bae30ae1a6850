"""S15: ``excise encrypt`` stopped, and its disk full or failing, at one system call after the other; then given again.

Whatever the call: at every moment each file of the evidence is there, in the clear or encrypted, with what was sealed;
the case verifies before and after; and in the end nothing is left in the clear.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from case.other_verifier import alone
from cli.command import Done, command_line, environment, excise_cli
from crash.disk import RECORDED, Cut, Disk, lay_out, whole_calls
from crash.stage import CALLS, Call, fill, needs_strace, quickly
from crash.test_power import states
from engine.mail_files import WORM

pyrage = pytest.importorskip("pyrage")
pytestmark = needs_strace

_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)")
_CANNOT_FILL = ("unlink", "unlinkat", "rmdir")
_COMMITS = ("rename", "renameat2", "rmdir", "unlink", "unlinkat", "fsync")


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished case that was copied, with the recipient's keys and what was sealed by name."""

    root: Path
    identity: object
    sealed: dict[str, str]

    @property
    def case(self) -> Path:
        """The case."""
        return self.root / "case"

    def again(self) -> Stage:
        """The case as it was."""
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.copytree(self.root / "kept", self.case)
        return self


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A finished move of five messages into mbox, and an unfinished part that a run left."""
    root = tmp_path_factory.mktemp("encrypt")
    fill(root / "mail")
    move = ["move", root / "mail", "--subject", WORM, "--case", root / "kept", "--jobs", "1", "--evidence", "mbox"]
    done = excise_cli(*move, "--yes", "--expect-matches", "5")
    assert done.code == 0, done.text
    left = root / "kept/units/00001/part-009.partial"
    left.mkdir()
    (left / "messages.mbox").write_bytes(b"a message\n")
    identity = pyrage.x25519.Identity.generate()
    (root / "key.pub").write_text(f"{identity.to_public()}\n")
    lines = (root / "kept/bag-0001/manifest-sha256.txt").read_text().splitlines()
    sealed = {name: digest for digest, name in (line.split("  ") for line in lines) if "/evidence/" in name}
    assert len(sealed) == 4
    return Stage(root, identity, sealed)


def _command(stage: Stage) -> list[str]:
    return command_line("encrypt", stage.case, "--recipient", stage.root / "key.pub")


def encrypt(stage: Stage) -> Done:
    """``excise encrypt``, undisturbed."""
    return excise_cli("encrypt", stage.case, "--recipient", stage.root / "key.pub")


def traced(stage: Stage, *options: str) -> tuple[Done, list[str]]:
    """``excise encrypt`` under strace; how it ended, and the trace of its main thread."""
    trace = stage.root / "trace"
    strace = ["strace", "-f", *quickly(options), "-y", "-o", str(trace), "-e", f"trace={','.join(CALLS)}", *options]
    done = subprocess.run(
        [*strace, *_command(stage)],
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    lines = trace.read_text(errors="replace").splitlines()
    main = lines[0].split()[0]
    return Done(done.returncode, done.stdout, done.stderr), [line for line in lines if line.split()[0] == main]


@pytest.fixture(scope="module")
def calls(stage: Stage) -> list[Call]:
    """Every call of an undisturbed command that touches the case."""
    done, lines = traced(stage.again())
    assert done.code == 0, done.text
    numbers: Counter[str] = Counter()
    found = []
    for line in lines:
        match = _LINE.match(line)
        if match:
            numbers[match["call"]] += 1
            if str(stage.case) in line:
                found.append(Call(match["call"], numbers[match["call"]], match["rest"]))
    assert len(found) > 100
    return found


def lost(stage: Stage) -> Iterator[str]:
    """Files of the evidence that are nowhere whole."""
    for name, digest in stage.sealed.items():
        bags = [stage.case / "bag-0001", stage.case / "bag-0001.plain.partial"]
        plain = [bag / name for bag in bags if (bag / name).exists()]
        secret = stage.case / f"bag-0001/{name}.age"
        found = [path.read_bytes() for path in plain]
        found += [pyrage.decrypt(secret.read_bytes(), [stage.identity])] if secret.exists() else []
        if digest not in [sha256(data).hexdigest() for data in found]:
            yield f"lost: {name}"


def wrong(stage: Stage, done: Done, fault: str) -> Iterator[str]:
    """All that does not hold after a disturbed command, and after another."""
    if "signal" in fault and done.code != -signal.SIGKILL:
        yield "it was not killed"
    if "Traceback" in done.err or "unexpected error" in done.err:
        yield f"ended with {done.err[-500:]}"
    yield from lost(stage)
    before = excise_cli("verify", stage.case)
    if before.code:
        yield f"verify before: {[line for line in before.out.splitlines() if 'NOT' in line]}"
    yield from (f"verify_case.py before: {line}" for line in alone(stage.case).wrong)
    again = encrypt(stage)
    if again.code:
        yield f"again: {again.text[-300:]}"
    left = [path.name for path in stage.case.rglob("*.partial")] + [n for n in stage.sealed if _there(stage, n)]
    if left:
        yield f"left: {left}"
    yield from lost(stage)
    records = [json.loads(line)["type"] for line in (stage.case / "audit.jsonl").read_text().splitlines()]
    if records[-1] != "plaintext-removed" or records.count("plaintext-removed") != 1:
        yield f"the log: {records}"
    after = excise_cli("verify", stage.case)
    yield from (f"verify_case.py after: {line}" for line in alone(stage.case).wrong)
    if after.code or "interrupted" in after.out:
        yield f"verify after: {after.out}"


def _there(stage: Stage, name: str) -> bool:
    return (stage.case / "bag-0001" / name).exists()


def sweep(stage: Stage, calls: Sequence[Call], fault: str) -> None:
    """Disturb the command at each of ``calls``; all must hold."""
    assert calls
    found = []
    for call in calls:
        done, _ = traced(stage.again(), "-e", f"inject={call.name}:{fault}:when={call.number}")
        found += [f"{call.name} {call.number} ({call.line[:150]}): {what}" for what in wrong(stage, done, fault)]
    assert not found, "\n".join(found)


def writing(calls: Sequence[Call]) -> list[Call]:
    """Those that do more than read."""
    return [call for call in calls if "O_RDONLY" not in call.line]


def some(calls: Sequence[Call], count: int = 6) -> list[Call]:
    """So many of them, evenly spread."""
    return list(calls[len(calls) // count // 2 :: max(1, len(calls) // count)])


def test_s15_killed_at_a_call(stage: Stage, calls: list[Call]) -> None:
    sweep(stage, some(writing(calls)), "signal=KILL")


def test_s15_killed_where_names_change(stage: Stage, calls: list[Call]) -> None:
    renames = [call for call in calls if call.name.startswith("rename") and "bag-0001" in call.line]
    bags = [
        call for call in renames if "/bag-0001/" not in call.line and "/bag-0001.encrypted.partial/" not in call.line
    ]
    assert len(bags) == 2
    first = min(calls.index(call) for call in bags)
    after = [call for call in calls[first:] if call.name in _COMMITS]
    sweep(stage, [*bags, *some(after, 5)], "signal=KILL")


def test_s15_disk_full_at_a_call(stage: Stage, calls: list[Call]) -> None:
    sweep(stage, some([call for call in writing(calls) if call.name not in _CANNOT_FILL]), "error=ENOSPC")


def test_s15_disk_failing_at_a_call(stage: Stage, calls: list[Call]) -> None:
    sweep(stage, some(calls), "error=EIO")


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_s15_at_every_call(stage: Stage, calls: list[Call], fault: str) -> None:
    sweep(stage, [c for c in calls if fault != "error=ENOSPC" or c in writing(calls)], fault)


@pytest.mark.parametrize(
    ("cut", "count"),
    [
        (Cut.ALL, 6),
        (Cut.BYTES, 3),
        pytest.param(Cut.ALL, 0, marks=pytest.mark.soak),
        pytest.param(Cut.BYTES, 0, marks=pytest.mark.soak),
    ],
)
def test_s15_the_power_goes(stage: Stage, cut: Cut, count: int) -> None:
    """What was not flushed is lost, at so many moments, evenly spread (0: at every one)."""
    disk, trace = Disk.of(stage.again().case), stage.root / "trace"
    recording = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "10000000", "-o", str(trace)]
    subprocess.run(
        [*recording, "-e", f"trace={','.join(RECORDED)}", *_command(stage)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=300,
    )
    found = list(states(disk, list(whole_calls(trace)), cut))
    assert len(found) > 30
    problems = []
    for line, state in found[:: max(1, len(found) // count)] if count else found:
        lay_out(state, disk, "dev:0,ino:0")
        problems += [f"after {line}: {what}" for what in wrong(stage, Done(0, "", ""), "power")]
    assert not problems, "\n".join(problems)


def test_too_little_space_is_told_before_anything_is_written(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.again()
    before = (stage.case / "audit.jsonl").read_bytes()
    monkeypatch.setattr("excise.case.encryption.free_space", lambda _path: 1000)
    done = encrypt(stage)
    assert (done.code, "Free some space" in done.err) == (6, True), done.text
    assert (stage.case / "audit.jsonl").read_bytes() == before
    assert not list(stage.case.glob("bag-0001.*"))
