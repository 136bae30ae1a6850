"""S15: ``excise import --replace`` killed at one system call after the other, then resumed and run again.

Whatever the call: of each message its old or its new version is in the mailbox, byte for byte; at the end only the new
one is, everything else is as it was, and what was removed is in evidence.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import command_line, environment, excise_cli
from crash.stage import CALLS, needs_strace
from engine.mail_files import bytes_below
from engine.test_import import contents_of, letter, write
from engine.test_import_replace import confirmed, other
from excise.model.item import Deposit
from excise.store_api.protocols import Unreadable
from stores.pst_made import make_pst
from stores.pst_samples import opened, scan

pytestmark = needs_strace

_WANTED = Counter(letter(n) for n in (100, 1, 2, 3))
_OLD = (1, 2)


def target(root: Path) -> Path:
    """The mailbox."""
    return root / ("mine.pst" if (root / "mine.pst").exists() else "mine")


def into(root: Path) -> tuple[str | Path, ...]:
    """The options that name the mailbox and what lies in its folder."""
    place = target(root)
    return ("--into", place, *(("--folder-prefix", "Inbox") if place.suffix else ()))


def contents(kind: str, path: Path) -> Counter[bytes]:
    """The messages in the mailbox, byte for byte; those of a PST as the letters of which they have the text."""
    if kind != "pst":
        return contents_of(kind, path)
    with opened(path) as box:
        found, _, _ = scan(box)
        bodies = [box.fetch(one.id).content for one in found if not isinstance(one, Unreadable)]
    numbers = [int(body.partition(b"body ")[2].split()[0]) for body in bodies]
    return Counter(other(n) if b"changed" in body else letter(n) for n, body in zip(numbers, bodies, strict=True))


def stage(root: Path, kind: str) -> None:
    """A mailbox ``mine`` with 100 and other versions of 1 and 2, and evidence ``old`` with 1 to 3."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    own = [letter(100), *(other(n) for n in _OLD)]
    if kind == "pst":
        make_pst(root / "mine.pst", [Deposit(content, "Inbox") for content in own])
    else:
        write(kind, root / "mine", own)
    write("eml", root / "old", [letter(n) for n in range(1, 4)])


def run_traced(root: Path, *options: str) -> tuple[int, list[str]]:
    """The whole import as a process under strace; its status, and the trace of its main thread."""
    trace = root / "trace"
    # No --seccomp-bpf: with it, strace 6.1 does not deliver the signal.
    strace = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={','.join(CALLS)}", *options]
    line = command_line(
        *("import", root / "old", *into(root), "--case", root / "case", "--replace"),
        *(*confirmed(2), "--jobs", "1", "--no-progress"),
    )
    env = {**environment(), "PYTHONHASHSEED": "0"}
    done = subprocess.run([*strace, *line], capture_output=True, env=env, stdin=subprocess.DEVNULL, check=False)
    lines = trace.read_text(errors="replace").splitlines()
    main = lines[0].split()[0]
    return done.returncode, [each for each in lines if each.split()[0] == main]


def calls(root: Path) -> Iterator[tuple[str, int, str]]:
    """Name, number and line of every call of an undisturbed run that touches the case or the mailbox."""
    code, lines = run_traced(root)
    assert code == 0
    numbers: Counter[str] = Counter()
    for line in lines:
        match = re.match(r"\d+ +(\w+)\(", line)
        if match:
            numbers[match[1]] += 1
            if str(root) in line and "O_RDONLY" not in line:
                yield match[1], numbers[match[1]], line


def finish(root: Path) -> None:
    """Resume, confirm the second plan where it waits, and import once more, as a person would."""
    excise_cli("resume", root / "case")
    header = root / "case/plan/0002/header.json"
    if header.exists():
        excise_cli("run", root / "case", "--confirm", sha256(header.read_bytes()).hexdigest())
    line = ("import", root / "old", *into(root), "--replace", "--json", "--case")
    done = excise_cli(*line, root / "dry")
    left = [json.loads(each)["replacing"]["replaced"] for each in done.out.splitlines() if '"replacing"' in each]
    done = excise_cli(*line, root / "again", *confirmed(left[0]))
    assert done.code == 0, done.text


def readable(root: Path) -> Path:
    """The mailbox as a reader has it that knows of a begun addition: the room for it, not yet written, is no mail."""
    if not (root / ".mine.excise-redo").exists():
        return target(root)
    copy = root / "copy" / "mine"
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes((root / "mine").read_bytes().rstrip(b"\0"))
    return copy


def wrong_at_once(root: Path, kind: str) -> Iterator[str]:
    """What is missing right after the kill: nothing may be, neither the old version nor the new one whole."""
    there = contents(kind, readable(root))
    for n in _OLD:
        if not there[letter(n)] and not there[other(n)]:
            yield f"neither version of {n} is there"
    if not there[letter(100)]:
        yield "another message is gone"


def wrong_at_the_end(root: Path, kind: str) -> Iterator[str]:
    """Everything that does not hold at the end."""
    if (found := contents(kind, target(root))) != _WANTED:
        yield f"in the mailbox: {dict(found)}"
    cases = [root / "case", root / "again"]
    evidence = [data for case in cases for name, data in bytes_below(case).items() if name.endswith("messages.mbox")]
    for n in _OLD:
        if not any(f"body {n}\nchanged".encode() in data.replace(b"\r\n", b"\n") for data in evidence):
            yield f"the old version of {n} is in no evidence"


@pytest.mark.parametrize("kind", ["mbox", "maildir", "pst"])
def test_s15_an_import_that_replaces_killed_at_a_call(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "stage"
    stage(root, kind)
    found = list(calls(root))
    assert len(found) > 100
    critical = [call for call in found if f"{root}/mine" in call[2] or '"mine' in call[2]]
    assert critical
    others = [call for call in found if call not in critical]
    wrong = []
    for name, number, line in critical[:: 30 if kind == "pst" else 2] + others[::60]:
        stage(root, kind)
        code, _ = run_traced(root, "-e", f"inject={name}:signal=KILL:when={number}")
        problems = ["it was not killed"] if code == 0 else []
        if kind == "pst":  # what was broken off in a PST is undone when it is opened to be changed
            excise_cli("resume", root / "case")
        problems += wrong_at_once(root, kind)
        finish(root)
        problems += wrong_at_the_end(root, kind)
        wrong += [f"{name} {number} ({line[:150]}): {problem}" for problem in problems]
    assert not wrong, f"{len(wrong)} problems:\n" + "\n".join(wrong)
