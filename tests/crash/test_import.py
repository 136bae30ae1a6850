"""S15, S21: ``excise import`` stopped, and its disk full or failing, at one system call after the other; then resumed.

Whatever the call: each message of the evidence is in the mailbox once (one that a failing disk kept out is told, and
goes in with the next import), the mailbox's own messages and the evidence are byte for byte as they were, and the case
verifies.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import excise_cli
from crash.stage import Call, Stage, calls_of_a_run, finish, needs_strace, run_traced
from engine.mail_files import bytes_below, ids_in_maildir, ids_in_mbox, message, write_maildir, write_mbox

pytestmark = needs_strace

_IDS: dict[str, Callable[[Path], Counter[str]]] = {"mbox": ids_in_mbox, "maildir": ids_in_maildir}
_WANTED = Counter(["100", "1", "2", "3", "4", "5"])


def stage(root: Path, kind: str) -> Stage:
    """A mailbox ``mail/mine`` with 100 and 3, evidence ``mail/old`` with 1 to 5, and an import that is planned."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "mail").mkdir(parents=True)
    mine, old = root / "mail/mine", root / "mail/old"
    own, evidence = [message(100, "own"), message(3, "x")], [message(n, "x") for n in range(1, 6)]
    if kind == "mbox":
        write_mbox(mine, own)
        write_mbox(old, evidence)
    else:
        write_maildir(mine, [(content, "S") for content in own])
        write_maildir(old, [(content, "FS") for content in evidence])
    expected = bytes_below(root / "mail")
    done = excise_cli("import", old, "--into", mine, "--case", root / "case", "--jobs", "1")
    assert done.code == 4, done.text
    return Stage(root, sha256((root / "case/plan/0001/header.json").read_bytes()).hexdigest(), expected)


def wrong_at_the_end(made: Stage, kind: str) -> Iterator[str]:
    """Everything that does not hold at the end. A message that could not be written has failed, and the next import
    puts it there."""
    outcome = (made.case / "outcome.csv").read_text() if (made.case / "outcome.csv").exists() else ""
    if len(re.findall(",(?:imported|already there|failed),", outcome)) != 5:
        yield f"outcome.csv: {outcome}"
    if ",failed," in outcome:
        again = made.root / "again"
        done = excise_cli("import", made.mail / "old", "--into", made.mail / "mine", "--case", again, "--yes")
        if done.code:
            yield f"imported again: {done.text}"
    found = _IDS[kind](made.mail / "mine")
    if found != _WANTED:
        yield f"in the mailbox: {dict(found)}"
    now = bytes_below(made.mail)
    for name, data in made.expected.items():
        if not now.get(name, b"").startswith(data) or (name != "mine" and now[name] != data):
            yield f"{name}: not as it was"
    if kind == "mbox" and now.keys() != made.expected.keys():
        yield f"left beside the mailbox: {now.keys() - made.expected.keys()}"
    done = excise_cli("verify", made.case)
    if done.code:
        yield f"verify: {done.code}: {[line for line in done.out.splitlines() if 'NOT' in line]}"


@pytest.mark.parametrize("kind", _IDS)
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO", "error=ENOSPC"])
def test_s15_an_import_stopped_at_a_call(tmp_path: Path, kind: str, fault: str) -> None:
    undisturbed = stage(tmp_path / "stage", kind)
    calls = calls_of_a_run(undisturbed, least=50)
    assert not list(wrong_at_the_end(undisturbed, kind))
    wrong = []
    for call in sample(calls, fault):
        made = stage(tmp_path / "stage", kind)
        done, _ = run_traced(made, "-e", f"inject={call.name}:{fault}:when={call.number}")
        outcome = (made.case / "outcome.csv").read_text() if (made.case / "outcome.csv").exists() else ""
        problems = ["a failure ended with another status"] if ",failed," in outcome and done.code != 9 else []
        problems += finish(made) if done.code else []
        if "signal" in fault and ",failed," in (made.case / "outcome.csv").read_text():
            problems.append("a message that a kill kept out was given up")
        problems += wrong_at_the_end(made, kind)
        wrong += [f"{call.name} {call.number} ({call.line[:150]}): {problem}" for problem in problems]
    assert not wrong, f"{len(wrong)} problems:\n" + "\n".join(wrong)


def sample(calls: list[Call], fault: str) -> list[Call]:
    """Many of the calls that write to the mailbox, and some of the others."""
    can = [call for call in calls if "O_RDONLY" not in call.line]
    if fault == "error=ENOSPC":
        can = [call for call in can if call.name in ("write", "pwrite64", "openat", "mkdir", "link", "linkat", "fsync")]
    critical = [call for call in can if "/mail/mine" in call.line]
    killed = fault == "signal=KILL"
    others = [call for call in can if call not in critical]
    return critical[:: 5 if killed else 11] + others[:: 19 if killed else 37]
