"""A small case that is about to be run, and what must hold after its run was stopped and resumed (S15).

An mbox with 3 of 8 messages planned and a Maildir with 2 of 5. ``faults`` runs ``excise run`` as a real process under
strace, which can stop it or make a system call fail at any number.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import Done, command_line, environment, excise_cli
from engine.mail_files import WORM, bytes_below, ids_in_mbox, message, write_maildir, write_mbox
from pst.oracles import libpff_folders

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

PLANNED = Counter(["1", "4", "7", "21", "23"])
CALLS = (
    *("write", "pwrite64", "openat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat"),
    *("mkdir", "mkdirat", "rmdir", "fsync", "fdatasync", "ftruncate", "copy_file_range"),
    *("fchmod", "fchown", "fsetxattr", "utimensat"),
)
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Stage:
    """Sources and a planned case below ``root``."""

    root: Path
    plan_sha256: str
    expected: dict[str, bytes]

    @property
    def mail(self) -> Path:
        """The sources."""
        return self.root / "mail"

    @property
    def case(self) -> Path:
        """The case."""
        return self.root / "case"


def fill(mail: Path) -> None:
    """Make the two stores."""
    mail.mkdir()
    write_mbox(mail / "anna.mbox", [message(n, WORM if n in (1, 4, 7) else f"Report {n}") for n in range(8)])
    flags = ["S", "RS", "", "F", "S"]
    write_maildir(mail / "ben", [(message(20 + n, WORM if n in (1, 3) else f"Note {n}"), flags[n]) for n in range(5)])


def what_stays(mail: Path) -> dict[str, bytes]:
    """The sources as they must be after the run, byte for byte."""
    expected = bytes_below(mail)
    pieces = expected["anna.mbox"].split(b"From eve@")[1:]
    kept = [b"From eve@" + piece for number, piece in enumerate(pieces) if number not in (1, 4, 7)]
    expected["anna.mbox"] = b"".join(kept)
    return {name: data for name, data in expected.items() if b"body 21\n" not in data and b"body 23\n" not in data}


def stage(root: Path, *options: str) -> Stage:
    """Make sources and plan in ``root``, whatever was there; ``options`` are the plan's beside its own."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    fill(root / "mail")
    expected = what_stays(root / "mail")
    kinds = [option for kind in ("mbox", "eml", "pst") for option in ("--evidence", kind)]
    planned = ("--subject", WORM, "--case", root / "case", "--jobs", "1", *kinds, *options)
    done = excise_cli("plan", "move", root / "mail", *planned)
    assert done.code == 0, done.text
    return Stage(root, sha256((root / "case/plan/0001/header.json").read_bytes()).hexdigest(), expected)


# Faults


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of a run that touches the case or the sources: name, number, and line in the trace."""

    name: str
    number: int
    line: str


def quickly(options: Sequence[str]) -> list[str]:
    """The option of strace for stops at the traced calls alone; with it strace 6.1 sends no signal."""
    return [] if any("signal=KILL" in option for option in options) else ["--seccomp-bpf"]


def run_traced(stage: Stage, *options: str, may_end: bool = False) -> tuple[Done, list[str]]:
    """``excise run`` as a process under strace; how it ended, and the trace of its main thread."""
    trace = stage.root / "trace"
    strace = ["strace", "-f", *quickly(options), "-y", "-o", str(trace), "-e", f"trace={','.join(CALLS)}", *options]
    run = command_line("run", stage.case, "--confirm", stage.plan_sha256, "--jobs", "1", "--no-progress")
    done = subprocess.run(
        [*strace, *run],
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    if not (quickly(options) or may_end):
        assert done.returncode == -signal.SIGKILL, "it was not killed"
    lines = trace.read_text(errors="replace").splitlines()
    main = lines[0].split()[0]
    return Done(done.returncode, done.stdout, done.stderr), [line for line in lines if line.split()[0] == main]


def calls_of_a_run(stage: Stage, least: int = 150) -> list[Call]:
    """Every call of an undisturbed run that touches the case or the sources."""
    done, lines = run_traced(stage)
    assert done.code == 0, done.text
    numbers: Counter[str] = Counter()
    calls = []
    for line in lines:
        found = _LINE.match(line)
        if found:
            name = found["call"]
            numbers[name] += 1
            if str(stage.case) in line or str(stage.mail) in line:
                calls.append(Call(name, numbers[name], found["rest"]))
    assert len(calls) > least
    return calls


# What must hold


def finish(stage: Stage) -> Iterator[str]:
    """Resume until it is done; what went wrong."""
    before = excise_cli("verify", stage.case)
    if before.code != 0:
        yield f"verify before the resume: {before.code}: {[x for x in before.out.splitlines() if 'NOT' in x]}"
    for _ in range(4):
        done = excise_cli("resume", stage.case, "--jobs", "1")
        if done.code == 2 and "never begun" in done.err:
            done = excise_cli("run", stage.case, "--confirm", stage.plan_sha256, "--jobs", "1")
        if done.code == 0 or (done.code == 2 and "has been run to its end" in done.err):
            break
        yield f"resume: {done.code}: {done.err[-300:]}"


def wrong_at_the_end(stage: Stage) -> Iterator[str]:
    """Everything that does not hold at the end of a run that came to its end."""
    evidence = {"mbox": evidence_mbox, "eml": evidence_eml, "pst": evidence_pst}
    for kind, found in ((kind, read(stage.case)) for kind, read in evidence.items()):
        if found != PLANNED:
            yield f"evidence in {kind}: {dict(found)}"
    now = bytes_below(stage.mail)
    for name in sorted(now.keys() | stage.expected.keys()):
        if now.get(name) != stage.expected.get(name):
            yield f"source {name}: {'gone' if name not in now else 'not as it must be'}"
    outcome = (stage.case / "outcome.csv").read_text() if (stage.case / "outcome.csv").exists() else ""
    if outcome.count(",removed,") != PLANNED.total():
        yield f"outcome.csv: {outcome}"
    done = excise_cli("verify", stage.case)
    if done.code != 0:
        yield f"verify: {done.code}: {[x for x in done.out.splitlines() if 'NOT' in x]}"


def evidence_mbox(case: Path) -> Counter[str]:
    """Message-IDs in the committed mbox parts."""
    return sum((ids_in_mbox(path) for path in case.glob("bag-*/data/evidence/*/part-???/messages.mbox")), Counter())


def evidence_eml(case: Path) -> Counter[str]:
    """Message-IDs in the committed EML files."""
    files = case.glob("bag-*/data/evidence/*/part-???/eml/*.eml")
    return Counter(str(message_from_bytes(f.read_bytes())["Message-ID"]).strip("<>").partition("@")[0] for f in files)


def evidence_pst(case: Path) -> Counter[str]:
    """Message-IDs in the committed PSTs, as libpff reads them."""
    found: Counter[str] = Counter()
    for path in case.glob("bag-*/data/evidence/*/part-???/messages.pst"):
        for items in libpff_folders(path).values():
            found.update(item.transport_headers.partition("Message-ID: <")[2].partition("@")[0] for item in items)
    return found


def age_dead_locks(mail: Path) -> None:
    """As after the minutes that a machine needs to come up again."""
    for path in mail.rglob("*.lock"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)
