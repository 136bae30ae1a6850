"""The case directory: where everything is, its marker and its lock (docs/reference/case-format.md).

Invariants: ``case.json`` is written once, when the case is made, and never changes; a directory that holds it is marked
as a case, and no search goes into it (S28). Only one command at a time holds a case's lock (S29).
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import pwd
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise import __version__
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, UsageError
from excise.core.files import PARTIAL, make_directories, make_directory, os_error, read_regular, write_durably
from excise.core.marker import CASE_FILE, MARKER

FORMAT_VERSION = 1
#: The program that checks a case without Excise; a copy goes into every case.
VERIFIER = "verify_case.py"


@dataclass(frozen=True, slots=True)
class Authorisation:
    """Who does this and why, as they said it."""

    ticket: str = ""
    reason: str = ""
    operator: str = ""

    def record(self) -> dict[str, Any]:
        """With the facts that the machine adds: user, host, time, versions."""
        said = {"ticket": self.ticket, "reason": self.reason, "operator": self.operator}
        return {**said, **who(), "system": platform.platform(), "time": iso(now())}


def account() -> str:
    """The user of the operating system that this process runs as, whatever the environment says; empty for none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def who() -> dict[str, Any]:
    """Who runs this command, with what, as the machine tells it (S22)."""
    machine = {"user": account(), "uid": os.getuid(), "host": socket.gethostname()}
    return {**machine, "excise": __version__, "python": platform.python_version()}


class Case:
    """A case directory that exists."""

    def __init__(self, root: Path) -> None:
        """Open the case at ``root``. A UsageError where there is none, DoesNotVerify where its marker is damaged."""
        self.root = root
        path = root / CASE_FILE
        try:
            data = read_regular(path, 1 << 20)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"{root}: expected a case directory, found no {CASE_FILE} there", hint="Check the path."
            ) from None
        except OSError as error:
            raise os_error(error, path, "opening the case") from error
        try:
            facts = json.loads(data)
            version, self.id = facts[MARKER], str(facts["id"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DoesNotVerify(f"{path}: expected the description of a case, found something else") from error
        if version != FORMAT_VERSION:
            raise UsageError(
                f"{path}: expected case format {FORMAT_VERSION}, found {str(version)[:20]}",
                hint="Use a release of Excise that knows this format.",
            )
        self.facts: dict[str, Any] = facts
        self.sha256 = sha256_hex(data)

    @classmethod
    def create(cls, root: Path, authorisation: Authorisation) -> Case:
        """Make a new case at ``root``, which does not exist or is an empty directory."""
        try:
            if root.is_dir() and any(root.iterdir()):
                hint = f"Choose another directory, or go on with that case: excise status {root}"
                raise UsageError(f"{root}: expected no directory or an empty one, found something in it", hint=hint)
            make_directories(root)
            root.chmod(0o700)
            facts = {MARKER: FORMAT_VERSION, "id": str(uuid.uuid4()), "authorisation": authorisation.record()}
            write_durably(root / CASE_FILE, canonical_json(facts) + b"\n")
        except OSError as error:
            raise os_error(error, root, "making the case directory") from error
        return cls(root)

    def add_verifier(self) -> dict[str, str]:
        """Put the program that checks a case without Excise into it; its SHA-256 by its name, for the audit log."""
        data = read_regular(Path(__file__).with_name(VERIFIER))
        try:
            write_durably(self.root / VERIFIER, data)
        except OSError as error:
            raise os_error(error, self.root / VERIFIER, "making the case") from error
        return {VERIFIER: sha256_hex(data)}

    @property
    def audit_path(self) -> Path:
        """The coordinator's audit log."""
        return self.root / "audit.jsonl"

    @property
    def head_path(self) -> Path:
        """The head of the coordinator's audit log as it was when the last command ended."""
        return self.root / "audit.head"

    def plan_dir(self, number: int) -> Path:
        """The directory of plan ``number`` (from 1)."""
        return self.root / "plan" / f"{number:04}"

    def plan_numbers(self) -> list[int]:
        """The numbers of the finished plans, ascending."""
        return sorted(int(p.parent.name) for p in self.root.glob("plan/[0-9][0-9][0-9][0-9]/header.json"))

    def unit_dir(self, number: int) -> Path:
        """The working directory of unit ``number`` (from 1)."""
        return self.root / "units" / f"{number:05}"

    def unit_numbers(self) -> list[int]:
        """The numbers of the units that have been started, ascending."""
        return sorted(int(p.name) for p in self.root.glob("units/[0-9][0-9][0-9][0-9][0-9]"))

    def next_unit(self) -> int:
        """The first unit number that no plan uses yet: units are numbered through the whole case."""
        last = 0
        for number in self.plan_numbers():
            header = json.loads(read_regular(self.plan_dir(number) / "header.json"))
            last = max([last, *(unit["unit"] for unit in header["units"])])
        return last + 1

    def bag_dir(self, plan: int) -> Path:
        """The bag of the run of plan ``plan``."""
        return self.root / f"bag-{plan:04}"

    @property
    def opened_dir(self) -> Path:
        """Where encrypted evidence lies in the clear while a command that was given a key works with it."""
        return self.root / f"opened{PARTIAL}"

    def evidence_bag(self, plan: int) -> Path:
        """The bag that the evidence of plan ``plan`` is read from: its bag, or what it was opened to."""
        opened = self.opened_dir / self.bag_dir(plan).name
        return opened if opened.is_dir() else self.bag_dir(plan)

    def evidence_dir(self, plan: int, unit: int) -> Path:
        """Where the committed parts of a unit stand."""
        return self.evidence_bag(plan) / "data" / "evidence" / f"{unit:05}"

    def gathered_dir(self, plan: int) -> Path:
        """Where the parts of the one PST of the case stand (``--pst-per case``)."""
        return self.bag_dir(plan) / "data" / "evidence" / "case"

    def make(self, directory: Path) -> Path:
        """``directory``, made with all that is missing between it and the case."""
        try:
            if directory != self.root and not directory.is_dir():
                self.make(directory.parent)
                make_directory(directory)
        except OSError as error:
            raise os_error(error, directory, "making a directory of the case") from error
        return directory

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the case: one command at a time (S29). Refused at once where another holds it."""
        path = self.root / "lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise os_error(error, path, "locking the case") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(fd, 200).decode("ascii", "replace").strip()
                raise CaseLocked(
                    f"{self.root}: another command holds this case ({holder})",
                    hint="Wait for it to end, or stop it; a command that was killed holds nothing.",
                ) from None
            os.ftruncate(fd, 0)
            os.write(fd, f"host {socket.gethostname()} process {os.getpid()} boot {_boot_id()}\n".encode())
            yield
        finally:
            os.close(fd)


class CaseLocked(ExciseError):
    """Another command holds the case (S29)."""

    exit_code = 3
    error_id = "case-locked"


class CaseClosed(ExciseError):
    """The case was closed: nothing is written into it any more."""

    exit_code = 3
    error_id = "case-closed"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
