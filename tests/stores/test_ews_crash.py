"""Killed in the middle, on either side: after a resume nothing is lost, and nothing was removed that is not evidence
(S15).
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ews.worlds import PASSWORD, START, mail
from ews_server import Fault, World
from ews_server.process import ServerProcess
from stores.ews_place import ADMIN

SECRET = "Salaries 2026"
BOXES = [f"box{number}@example.test" for number in range(4)]
FIFTY = [f"box{number}@example.test" for number in range(50)]
_EACH = 3
_KEPT = 12
#: Requests of a run over ``FIFTY``, about: those that find the mailboxes and search them, and all.
_SEARCHED, _ALL = 250, 1040


def _world(boxes: Sequence[str] = BOXES) -> World:
    """Mailboxes with three messages each that are to go, and more that are to stay."""
    world = World()
    world.user(ADMIN, PASSWORD, impersonates=["*"])
    for address in boxes:
        mailbox = world.mailbox(address)
        for number in range(_KEPT):
            world.deliver(mailbox, "inbox", mail(number), received=START)
        for number in range(_EACH):
            world.deliver(mailbox, "inbox", mail(100 + number, SECRET), received=START)
    return world


class Run:
    """The command line against a server in another process."""

    def __init__(self, server: ServerProcess, path: Path, boxes: Sequence[str] = BOXES) -> None:
        self.server, self.path, self.boxes = server, path, boxes
        self.case = "case"
        self.environment = {
            **os.environ,
            "EXCISE_ACCESS_LOG": str(path / "access.jsonl"),
            "EXCISE_EWS_USER": ADMIN,
            "EXCISE_EWS_PASSWORD": PASSWORD,
            "EXCISE_EWS_AUTH": "basic",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "excise", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.path, env=self.environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def move(self) -> subprocess.Popen[str]:
        names = [part for address in self.boxes for part in ("--mailbox", address)]
        return self.start(
            "move", f"ews://127.0.0.1:{self.server.port}/?plain=1", *names, "--subject", SECRET, "--case", self.case,
            "--yes", "--expect-matches", str(_EACH * len(self.boxes)), "--evidence", "mbox", "--jobs", "2",
        )  # fmt: skip

    def until(self, holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        limit = time.monotonic() + 300
        while not holds():
            assert time.monotonic() < limit
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)

    def resume(self) -> None:
        resumed = self.start("resume", self.case)
        told = resumed.communicate(timeout=300)[0]
        assert resumed.returncode == 0, told

    def check(self) -> None:
        """All that was planned is gone, once; all else is there; the evidence holds."""
        verified = self.start("verify", self.case)
        assert verified.communicate(timeout=120)[0]
        assert verified.returncode == 0
        with (self.path / self.case / "outcome.csv").open(newline="") as file:
            removed = Counter(row["mailbox"] for row in csv.DictReader(file) if row["outcome"] == "removed")
        assert removed == dict.fromkeys(self.boxes, _EACH)
        world = self.server.world()
        for address in self.boxes:
            mailbox = world.mailboxes[address]
            left = Counter(item.mime for item in world.items_in(mailbox, "inbox"))
            assert left == Counter(mail(number) for number in range(_KEPT))
            gone = Counter(item.mime for item in world.items_in(mailbox, "recoverableitemsdeletions"))
            assert gone == Counter(mail(100 + number, SECRET) for number in range(_EACH))
        assert not world.sent


@pytest.mark.parametrize(
    ("operation", "after"),
    [("ExportItems", 0), ("ExportItems", 7), ("DeleteItem", 0), ("DeleteItem", 1), ("DeleteItem", 3), ("FindItem", 12)],
)
def test_s15_killed_while_the_server_works(tmp_path: Path, operation: str, after: int) -> None:
    """SIGKILL while a request is under way: the server carries it out when nobody waits for the answer any more."""
    with ServerProcess(tmp_path / "state", _world()) as server:
        run = Run(server, tmp_path)
        server.add_faults(Fault("slow", operation=operation, after=after, seconds=1.0))
        process = run.move()
        run.until(lambda: any(fault["struck"] for fault in server.ask("faults")), process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        time.sleep(1.2)
        run.resume()
        run.check()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("die_at", operation="DeleteItem", place=1),
        Fault("die_past", operation="DeleteItem", place=1),
        Fault("die_after", operation="DeleteItem", after=1),
        Fault("die_before", operation="ExportItems", after=4),
    ],
    ids=lambda fault: f"{fault.kind} {fault.operation}",
)
def test_s15_the_server_dies_and_comes_back(tmp_path: Path, fault: Fault) -> None:
    """In mid-request: what it had done is found, what it had not done is done."""
    with ServerProcess(tmp_path / "state", _world()) as server:
        run = Run(server, tmp_path)
        server.add_faults(fault)
        process = run.move()
        told: list[str] = []
        reader = threading.Thread(target=lambda: told.append(process.communicate(timeout=180)[0]))
        reader.start()
        run.until(lambda: not server.alive, process)
        server.wait()
        server.start()
        reader.join()
        assert process.returncode in (0, 6, 9), told
        if process.returncode:
            run.resume()
        run.check()


def _points(sample: Sequence[int], every: int) -> list[object]:
    """Numbers of requests: some, and for the soak run all over the run."""
    rest = [number for number in range(0, _ALL, every) if number not in sample]
    return [*sample, *(pytest.param(number, marks=pytest.mark.soak) for number in rest)]


@pytest.mark.parametrize("request_number", _points([_SEARCHED + 90, 760, 1010], 7))
def test_s15_killed_at_a_request_of_a_run_over_fifty_mailboxes(tmp_path: Path, request_number: int) -> None:
    """SIGKILL with several mailboxes under way at once, each at another step; what is resumed is whole."""
    with ServerProcess(tmp_path / "state", _world(FIFTY)) as server:
        run = Run(server, tmp_path, FIFTY)
        server.add_faults(Fault("slow", after=request_number, seconds=1.0))
        process = run.move()
        run.until(lambda: any(fault["struck"] for fault in server.ask("faults")), process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        time.sleep(1.2)
        _go_on(run, request_number)
        run.check()


@pytest.mark.parametrize("kind", ["die_before", "die_after"])
@pytest.mark.parametrize("request_number", _points([_SEARCHED + 400], 21))
def test_s15_the_server_dies_in_a_run_over_fifty_mailboxes(tmp_path: Path, kind: str, request_number: int) -> None:
    """Whatever was under way on its connections; it comes back with what it had done until then."""
    with ServerProcess(tmp_path / "state", _world(FIFTY)) as server:
        run = Run(server, tmp_path, FIFTY)
        server.add_faults(Fault(kind, after=request_number))
        process = run.move()
        told: list[str] = []
        reader = threading.Thread(target=lambda: told.append(process.communicate(timeout=300)[0]))
        reader.start()
        run.until(lambda: not server.alive, process)
        server.wait()
        server.start()
        reader.join()
        if process.returncode:
            _go_on(run, request_number)
        run.check()


def _go_on(run: Run, request_number: int) -> None:
    """Resume; where it was ended while it searched, nothing may have been touched, and it is begun with a new case."""
    audit = run.path / run.case / "audit.jsonl"
    begun = audit.exists() and any('"run-started"' in line for line in audit.read_text().splitlines())
    # A run that is far beyond its search was begun.
    assert begun or request_number < 2 * _SEARCHED
    if begun:
        run.resume()
        return
    world = run.server.world()
    assert all(len(world.items_in(world.mailboxes[box], "inbox")) == _KEPT + _EACH for box in run.boxes)
    run.case = "again"
    again = run.move()
    told = again.communicate(timeout=300)[0]
    assert again.returncode == 0, told
