#!/usr/bin/env python3
"""Checks a case of Excise, or one of its bags, with nothing but Python 3.9 or later: no package, no network, no Excise.

    python3 -I verify_case.py [CASE | BAG] [--expect-head HASH] [--allowed-signers FILE] [--ca-file FILE]
        [--identity FILE]

It follows the specification of the case format (version 1), and shares no code with the program that wrote the case. It
only reads. Each line says what holds, what DOES NOT HOLD (with the file and the place), or what was "not checked", and
why. Signatures are given to ``ssh-keygen``, time stamps to ``openssl`` and encrypted evidence to ``age`` where these
programs are.

A copy lies in every case. Whoever can change a case can change that copy too: use one that you have from elsewhere, or
compare its SHA-256 with that of the release.

Exit status: 0 nothing that was checked is wrong; 2 this is no case, or wrong usage; 5 something does not hold.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

GENESIS = "0" * 64
LIMIT = 64 << 20
TAGS = ("bag-info.txt", "bagit.txt", "manifest-sha256.txt")
TAG_MANIFEST = "tagmanifest-sha256.txt"
#: In a bag whose evidence is encrypted: its tag files as it was sealed, and which file became which.
PLAIN, TABLE, EVIDENCE = "plain", "encrypted.csv", "data/evidence/"
QUOTED = re.compile(rb">+From ")
EVENTS = ("fetched", "preserved", "verified", "removing", "putting", "ended")
#: The state of an item and the events that may follow; an event leads to the state of its name but for (*).
FOLLOWS = {
    "planned": ("fetched", "putting", "ended"),
    "fetched": ("fetched", "preserved", "ended"),
    "preserved": ("verified", "ended"),
    "verified": ("verified", "removing", "ended"),
    "removing": ("verified", "removing", "ended"),  # (*) after verified the state stays
    "putting": ("putting", "ended"),
    "ended": (),
}
#: The items of a unit by number: [state, sha256, part, outcome].
Status = dict[int, list[Any]]
#: Who did one of these for a plan operates, and does not approve it.
ACTING = ("plan-made", "confirmed", "run-started", "run-resumed")
PRESERVING = ("copy", "move", "purge")
OUTCOMES = (
    "copied removed restored imported;already there;already absent;moved elsewhere;changed;held;refused;failed;unknown"
)
KNOWN_OUTCOMES = {*OUTCOMES.partition(";")[0].split(), *OUTCOMES.split(";")[1:]}
SEEMS_WRONG = (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError)


class Wrong(Exception):
    """Something does not hold; the text names the file and the place."""


class Report:
    """What was found, printed as it is found."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.counts: dict[bool | None, int] = {True: 0, False: 0, None: 0}

    def tell(self, what: str, ok: bool | None, detail: str = "") -> None:
        """One finding; ``ok`` is None for what was not checked."""
        self.counts[ok] += 1
        if self.as_json:
            print(json.dumps({"what": what, "ok": ok, "detail": detail}))
        elif ok is not True or not self.quiet:
            word = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}[ok]
            print(plain(f"{word}: {what}" + (f": {detail}" if detail else "")))

    def settle(self, what: str, problems: list[str], detail: str = "") -> None:
        """Tell each of ``problems``, or that ``what`` holds."""
        for problem in problems:
            self.tell(what, False, problem)
        if not problems:
            self.tell(what, True, detail)


def plain(text: str) -> str:
    """``text`` for a terminal: nothing in a case can move the cursor or hide a word."""
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)


def counted(number: int, noun: str) -> str:
    """``number`` and what it counts, in the singular for one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# Files


def open_file(path: Path) -> BinaryIO:
    """The regular file at ``path``, through no link of that name; an OSError says why not."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    fd = os.open(str(path), flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a regular file", str(path))
    return os.fdopen(fd, "rb")


def read_file(path: Path) -> bytes:
    """All bytes of a file; Wrong where it cannot be read."""
    try:
        with open_file(path) as stream:
            return stream.read()
    except OSError as error:
        raise Wrong(f"{path}: cannot be read: {error.strerror or error}") from None


def file_sha256(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file; Wrong where it cannot be read."""
    digest, size = hashlib.sha256(), 0
    try:
        with open_file(path) as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise Wrong(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest(), size


def sha256(data: bytes) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def entries(directory: Path) -> list[str]:
    """The names in a directory, sorted; none where there is no such directory."""
    return (
        sorted(path.name for path in directory.iterdir()) if directory.is_dir() and not directory.is_symlink() else []
    )


def compare(path: Path, expected: Any, problems: list[str]) -> None:
    """Add a problem unless the file at ``path`` has that SHA-256."""
    try:
        found, _ = file_sha256(path)
    except Wrong as error:
        problems.append(str(error))
        return
    if found != expected:
        problems.append(f"{path}: expected SHA-256 {str(expected)[:16]}…, found {found[:16]}…")


class Place:
    """Where the records are: in a case, or, of one plan, in a bag that is there alone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.alone = not (root / "case.json").exists() and (root / "bagit.txt").exists()
        self.records = root / "data" / "records" if self.alone else root
        self.case_json, self.audit = self.records / "case.json", self.records / "audit.jsonl"

    def plan(self, number: int) -> Path:
        """The directory of a plan."""
        return self.records / "plan" if self.alone else self.root / "plan" / f"{number:04}"

    def unit(self, number: int) -> Path:
        """The directory of a unit's logs."""
        return self.records / "units" / f"{number:05}"

    def bag(self, number: int) -> Path:
        """The bag of a plan's run."""
        return self.root if self.alone else self.root / f"bag-{number:04}"

    def encrypted(self, number: int) -> bool:
        """True where the evidence of a plan is encrypted."""
        return (self.bag(number) / TABLE).is_file()

    def seal(self, number: int) -> Path:
        """The tag manifest that a bag was sealed with."""
        return self.bag(number) / PLAIN / TAG_MANIFEST if self.encrypted(number) else self.bag(number) / TAG_MANIFEST

    def evidence(self, number: int, unit: int) -> Path:
        """Where the parts of a unit are."""
        return self.bag(number) / "data" / "evidence" / f"{unit:05}"

    def plans(self) -> list[int]:
        """The numbers of the finished plans."""
        if self.alone:
            told = re.search(rb"(?m)^Internal-Sender-Identifier: plan (\d{1,4}) ", read_file(self.root / TAGS[0]))
            return [int(told[1])] if told else []
        names = [name for name in entries(self.root / "plan") if re.fullmatch("[0-9]{4}", name)]
        return [int(name) for name in names if os.path.lexists(str(self.root / "plan" / name / "header.json"))]


# Chained logs


class Chain:
    """A chained log that was read: its records, the head after each, and what is wrong (nothing is read after that).

    ``look`` is given each record, and gives what is kept of it: that of a journal of very many items is large.
    """

    def __init__(self, path: Path, look: Callable[[dict[str, Any]], dict[str, Any]] = lambda record: record) -> None:
        self.path, self.torn, self.problem, self.look = path, 0, "", look
        self.records: list[dict[str, Any]] = []
        self.heads: list[str] = []
        try:
            with open_file(path) as stream:
                self._read(stream)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.problem = f"{path}: cannot be read: {error.strerror or error}"

    @property
    def head(self) -> str:
        """SHA-256 of the last line."""
        return self.heads[-1] if self.heads else GENESIS

    def _read(self, stream: BinaryIO) -> None:
        for line in iter(lambda: stream.readline(LIMIT), b""):
            if not line.endswith(b"\n"):
                self.torn = len(line) + len(stream.read())
                return
            record = self._checked(line[:-1])
            if record is None:
                return
            self.records.append(self.look(record))
            self.heads.append(sha256(line[:-1]))

    def _checked(self, line: bytes) -> dict[str, Any] | None:
        place = f"{self.path}: line {len(self.records) + 1}"
        try:
            record = json.loads(line)
            same = isinstance(record, dict) and canonical(record) == line
        except SEEMS_WRONG:
            record, same = None, False
        if not isinstance(record, dict):
            self.problem = f"{place}: expected a JSON object, found something else"
        elif record.get("prev") != self.head:
            found = str(record.get("prev"))[:12]
            self.problem = f"{place}: expected prev {self.head[:12]}…, found {found}: the chain is broken"
        elif record.get("seq") != len(self.records) or record["seq"] is False:
            self.problem = f"{place}: expected seq {len(self.records)}, found {str(record.get('seq'))[:20]}"
        elif not same or not isinstance(record.get("type"), str) or not isinstance(record.get("time"), str):
            self.problem = f"{place}: the record is not in canonical form"
        return None if self.problem else record

    def of(self, kind: str, plan: int) -> list[dict[str, Any]]:
        """The records of a type about a plan."""
        return [record for record in self.records if record["type"] == kind and record.get("plan") == plan]


# The whole


class Verification:
    """All checks of one case or bag."""

    def __init__(self, place: Place, report: Report, options: argparse.Namespace) -> None:
        self.place, self.report, self.options = place, report, options
        self.audit = Chain(place.audit)
        self.files: dict[str, Any] = {}
        for record in self.audit.records:
            if isinstance(record.get("files"), dict):
                self.files.update(record["files"])
            if record["type"] == "report-written":
                self.files["report.html"] = record.get("sha256")
        self.case_sha256 = ""
        self.case_id: Any = None
        self.plans: dict[int, tuple[str, dict[str, Any]]] = {}
        #: Of each plan: when an item (unit, number) was about to be removed.
        self.removals: dict[int, list[tuple[datetime, tuple[int, int]]]] = {}
        self.made_by: Any = None

    def run(self) -> None:
        """Check everything."""
        self.check_case()
        self.check_audit()
        for number in self.place.plans():
            self.check_plan(number)
        self.check_lost_plans()
        self.check_order()
        if not self.place.alone:
            StandingCheck(self).check()
            self.check_recorded_files()
            Proofs(self).check()
            self.check_strangers()

    def check_case(self) -> None:
        """case.json is the one that the audit log begins with."""
        path, problems = self.place.case_json, []
        try:
            data = read_file(path)
            self.case_sha256 = sha256(data)
            facts = json.loads(data)
            self.case_id = facts["id"]
            self.made_by = facts.get("authorisation", {}).get("user")
            if facts["excise_case"] != 1 or canonical(facts) + b"\n" != data:
                problems.append(f"{path}: expected case format 1 as canonical JSON, found something else")
        except SEEMS_WRONG:
            problems.append(f"{path}: expected the description of a case, found something else")
        except Wrong as error:
            problems.append(str(error))
        first = self.audit.records[0] if self.audit.records else {}
        if first and first.get("case_sha256") != self.case_sha256:
            problems.append(f"{path}: not the one that the audit log begins with, by its SHA-256")
        if first and (first["type"] != "case-created" or first.get("case") != self.case_id):
            problems.append(f"{self.place.audit}: line 1: expected case-created of this case, found another record")
        self.report.settle("case.json", problems, self.case_sha256)

    def check_audit(self) -> None:
        """The coordinator's log is a whole chain; its heads are those that are told."""
        audit, path, report = self.audit, self.place.audit, self.report
        problems = [audit.problem] if audit.problem else []
        if not audit.records and not problems:
            problems.append(f"{path}: expected records, found none")
        torn = f", {audit.torn} bytes of a torn last line" if audit.torn else ""
        report.settle("audit log", problems, f"{counted(len(audit.records), 'record')}, head {audit.head}{torn}")
        if not self.place.alone and not problems:
            self.check_head_file()
        wanted = (self.options.expect_head or "").lower()
        if not wanted:
            report.tell("tail of the audit log", None, "give the head that was printed or noted with --expect-head")
        elif len(wanted) >= 12 and any(head.startswith(wanted) for head in audit.heads):
            after = 0 if audit.head.startswith(wanted) else "some"
            report.tell("tail of the audit log", True, "records follow the expected head" if after else "")
        else:
            report.tell("tail of the audit log", False, f"{path}: the expected head {wanted[:64]} is not in the chain")

    def check_head_file(self) -> None:
        """audit.head is the head of the log, or an earlier one where the last command was interrupted."""
        path, audit = self.place.root / "audit.head", self.audit
        try:
            told = read_file(path)[:200].decode("ascii", "replace").strip()
        except Wrong:
            told = ""
        if told == audit.head:
            self.report.tell("audit head", True, told)
        elif told in audit.heads or (not told and len(audit.records) == 1):
            self.report.tell("audit head", None, f"{path}: older than the log: the last command was interrupted")
        else:
            found = told[:64] or "nothing"
            self.report.tell("audit head", False, f"{path}: expected {audit.head} as in {audit.path}, found {found}")

    def check_lost_plans(self) -> None:
        """Each plan that the log tells of is there."""
        there = self.place.plans()
        for record in self.audit.records:
            number = record.get("plan")
            if record["type"] == "plan-made" and number not in there and not self.place.alone:
                path = self.place.root / "plan" / f"{number!s:0>4}" / "header.json"
                self.report.tell(f"plan {number}", False, f"{path}: the audit log tells of it, and it is not there")

    def check_order(self) -> None:
        """What is written in the log follows the order in which a run can go: nothing before what it needs."""
        made: dict[str, tuple[Any, str]] = {}
        confirmed: set[tuple[str, str]] = set()
        started: set[str] = set()
        finished: set[str] = set()
        sealed: set[str] = set()
        seals: dict[str, Any] = {}
        as_sealed: dict[str, Any] = {}
        closed = False
        problems: list[str] = []
        for record in self.audit.records:
            kind, plan, digest = record["type"], str(record.get("plan")), str(record.get("plan_sha256"))
            place = f"{self.place.audit}: line {record['seq'] + 1}: {kind} of plan {plan}"
            if closed:
                line = f"{self.place.audit}: line {record['seq'] + 1}"
                problems.append(f"{line}: {kind}: a record after the case was closed")
            if kind == "case-closed":
                closed = True
                if record.get("seals") != seals:
                    line = f"{self.place.audit}: line {record['seq'] + 1}"
                    problems.append(f"{line}: {kind}: not the seals that were recorded before")
            elif kind == "case-created" and record["seq"]:
                problems.append(f"{self.place.audit}: line {record['seq'] + 1}: a second case-created")
            elif kind == "plan-made":
                if plan in made:
                    problems.append(f"{place}: it was made before")
                made[plan] = (digest, self.action(plan))
            elif kind == "confirmed":
                confirmed.add((plan, digest))
            elif kind in ("run-started", "run-resumed"):
                if plan not in made or made[plan][0] != digest:
                    problems.append(f"{place}: expected a plan that was made with this hash before, found none")
                elif made[plan][1] != "copy" and (plan, digest) not in confirmed:
                    problems.append(f"{place}: expected a confirmation of this hash before, found none")
                if (kind == "run-resumed") != (plan in started) or plan in finished:
                    problems.append(f"{place}: the run was {'ended' if plan in finished else 'not begun so'} before")
                started.add(plan)
            elif kind in ("unit-finished", "bag-sealed", "run-stopped", "run-finished"):
                if plan not in started or plan in finished:
                    problems.append(f"{place}: expected a run of it that had begun and not ended, found none")
                if kind == "run-finished":
                    if plan not in sealed:
                        problems.append(f"{place}: expected its bag to have been sealed before, found no record of it")
                    finished.add(plan)
                elif kind == "bag-sealed":
                    sealed.add(plan)
                    seals[str(record.get("bag"))] = record.get("tagmanifest_sha256")
                    as_sealed[str(record.get("bag"))] = record.get("tagmanifest_sha256")
            elif kind == "bag-encrypted":
                bag = str(record.get("bag"))
                if bag not in as_sealed or record.get("plain_tagmanifest_sha256") != as_sealed[bag]:
                    problems.append(f"{place}: expected a seal of the plain bag before, found none that it names")
                seals[bag] = record.get("tagmanifest_sha256")
        self.report.settle("order of the audit log", problems)

    def action(self, plan: str) -> str:
        """The action of a plan by its header; ``?`` where it cannot be read."""
        try:
            return str(json.loads(read_file(self.place.plan(int(plan)) / "header.json"))["action"])
        except (Wrong, *SEEMS_WRONG):
            return "?"

    def check_plan(self, number: int) -> None:
        """A plan, its units and its bag."""
        path, name, problems = self.place.plan(number) / "header.json", f"plan {number}", []
        try:
            data = read_file(path)
            header = json.loads(data)
            digest = sha256(data)
            if canonical(header) + b"\n" != data:
                problems.append(f"{path}: not in canonical form")
            if header["case"] != self.case_id or header["plan"] != number or header["format"] != 1:
                problems.append(f"{path}: expected plan {number} of case {self.case_id}, found another")
            if header["case_sha256"] != self.case_sha256:
                problems.append(f"{path}: made for another case.json")
            units = header["units"]
            if not all(type(u["unit"]) is int and 0 < u["unit"] < 100_000 and type(u["matches"]) is int for u in units):
                raise ValueError("the number of a unit")
            wanted = header["totals"]["matches"]
        except SEEMS_WRONG:
            self.report.tell(name, False, f"{path}: expected the header of a plan, found something else")
            return
        except Wrong as error:
            self.report.tell(name, False, str(error))
            return
        made = self.audit.of("plan-made", number)
        if not made and not self.audit.of("confirmed", number) and not self.audit.problem:
            self.report.tell(name, None, f"{path}: the command that made it was interrupted before it was recorded")
        elif digest not in [record.get("plan_sha256") for record in made]:
            problems.append(f"{path}: its SHA-256 {digest[:16]}… is not the one in the audit log")
        if wanted != sum(unit["matches"] for unit in units):
            problems.append(f"{path}: its total of {wanted} matches is not the sum of its units'")
        if made or problems:
            self.report.settle(name, problems, digest)
        self.plans[number] = (digest, header)
        if header.get("no_evidence"):
            self.check_no_evidence(number, digest)
        statuses = {unit["unit"]: UnitCheck(self, number, header, unit).check() for unit in units}
        BagCheck(self, number, digest, statuses).check()
        if not self.place.alone:
            ApprovalCheck(self, number, header, digest).check()

    def check_no_evidence(self, plan: int, digest: str) -> None:
        """Nothing but hashes was kept, which a second person approved if the plan was run."""
        why = "not kept (no_evidence): hashes and envelopes alone; what was removed can be neither shown nor put back"
        self.report.tell(f"evidence of plan {plan}", None, why)
        if not self.audit.of("run-started", plan) or self.place.alone:
            return
        place, others = self.place.root / "approvals" / f"{plan:04}", []
        for name in entries(place):
            if re.fullmatch(r"[0-9a-f]{16}\.json", name):
                try:
                    said = json.loads(read_file(place / name))
                    made_by = json.loads(read_file(self.place.case_json))["authorisation"]["user"]
                    other = said["role"] != "operator" and said["user"] != made_by
                    others += [said["user"]] if other and said["plan_sha256"] == digest else []
                except (Wrong, *SEEMS_WRONG):
                    continue  # what is wrong with it is told where approvals are checked
        problem = [] if others else [f"{place}: without evidence, a second person has to approve; nobody did"]
        self.report.settle(f"second person of plan {plan}", problem, ", ".join(map(str, others)))

    def under_way(self, plan: int) -> bool:
        """True where the last run of a plan has not told its end."""
        kinds = ("run-started", "run-resumed", "run-stopped", "run-finished")
        last = [r["type"] for r in self.audit.records if r["type"] in kinds and r.get("plan") == plan][-1:]
        return last in (["run-started"], ["run-resumed"]) or self.place.alone

    def waits(self, plan: int) -> bool:
        """True where a plan's bag is between its two names: the command that encrypts it was stopped just then."""
        bag = self.place.bag(plan)
        ready = bag.with_name(f"{bag.name}.encrypted.partial") / TAG_MANIFEST
        told = [r.get("tagmanifest_sha256") for r in self.audit.of("bag-encrypted", plan)][-1:]
        return not bag.exists() and ready.is_file() and [file_sha256(ready)[0]] == told

    def check_recorded_files(self) -> None:
        """Files that the log has a hash of: this program's copy, checkpoints, stamps, approvals."""
        for name, digest in sorted(self.files.items()):
            problems = []
            if name.startswith("/") or ".." in name.split("/"):
                problems.append(f"{self.place.audit}: {name!r}: not the name of a file in a case")
            else:
                compare(self.place.root / name, digest, problems)
            self.report.settle(name, problems)

    def check_strangers(self) -> None:
        """What no part of the format explains."""
        known = r"case\.json|audit\.(jsonl|head)|lock|(scope|outcome)\.csv|plan|units|bag-[0-9]{4}"
        known += (
            r"|verify_case\.py|report\.html|custody\.md|certificate-902-14\.md|checkpoints|stamps|approvals|standing"
        )
        inside = {
            "": known,
            "plan": "[0-9]{4}",
            "plan/*": r"header\.json|matches",
            "plan/*/matches": r"[0-9]{5}(\.untestable|\.lost|\.excluded)?\.jsonl",
            "units": "[0-9]{5}",
            "units/*": r"(journal|audit)\.jsonl",
        }
        strangers = []
        for pattern, names in inside.items():
            for directory in sorted(self.place.root.glob(pattern)) if pattern else [self.place.root]:
                found = [n for n in entries(directory) if not n.endswith(".partial") and not re.fullmatch(names, n)]
                strangers += [str(directory / name) for name in found]
        for name in ("checkpoints", "stamps", "approvals", "standing"):
            for path in sorted(self.place.root.glob(f"{name}/**/*")):
                recorded = path.relative_to(self.place.root).as_posix() in self.files
                if path.is_file() and not recorded and path.suffix != ".partial":
                    strangers.append(str(path))
        if strangers:
            named = ", ".join(strangers[:5])
            self.report.tell(
                "other files", None, f"{counted(len(strangers), 'file')} in no record of the case: {named}"
            )


class UnitCheck:
    """One mailbox of a plan: its lines, its two logs, its evidence."""

    def __init__(self, whole: Verification, plan: int, header: dict[str, Any], unit: dict[str, Any]) -> None:
        self.whole, self.place, self.plan, self.header = whole, whole.place, plan, header
        self.number: int = unit["unit"]
        self.matches: int = unit["matches"]
        self.facts = unit
        self.problems: list[str] = []
        self.unchecked: list[str] = []
        self.status: Status = {}
        self.possible = True

    def check(self) -> Status:
        """Check the unit; item number -> [state, sha256, part, outcome]."""
        try:
            self.check_lines("", "matches")
            self.check_lines(".untestable", "untestable")
            self.check_lines(".lost", "lost")
            review = self.header.get("review", {}).get("excluded_sha256", {})
            self.facts = {**self.facts, "excluded_sha256": review.get(str(self.number))}
            self.check_lines(".excluded", "excluded")
            if self.matches:
                journal = self.check_logs()
                if self.header["action"] in PRESERVING and not self.whole.waits(self.plan):
                    self.check_evidence(journal)
        except SEEMS_WRONG as error:
            self.problems.append(f"{self.place.unit(self.number)}: values of another type than expected ({error})")
        what = f"unit {self.number} ({self.facts['name']})"
        self.whole.report.settle(what, self.problems, counted(self.matches, "item"))
        for why in self.unchecked:
            self.whole.report.tell(what, None, why)
        return self.status

    def check_lines(self, suffix: str, key: str) -> None:
        """A file of lines has the hash in the header, and as many lines in order as the header says."""
        digest = self.facts.get(f"{key}_sha256")
        path = self.place.plan(self.plan) / "matches" / f"{self.number:05}{suffix}.jsonl"
        if not digest:
            if os.path.lexists(str(path)) and not self.facts.get("not_searched"):
                self.problems.append(f"{path}: the plan's header has no hash of it")
            return
        try:
            found, _ = file_sha256(path)
            if found != digest:
                self.problems.append(
                    f"{path}: expected SHA-256 {digest[:16]}…, found {found[:16]}…: the plan was changed"
                )
            with open_file(path) as stream:
                items = [json.loads(line).get("item") for line in stream]
            if key == "matches":
                if len(items) != self.matches or items != list(range(1, len(items) + 1)):
                    self.problems.append(f"{path}: expected items 1 to {self.matches} in order, found others")
                self.status = {item: ["planned", "", 0, None] for item in items}
        except Wrong as error:
            self.problems.append(str(error))
        except SEEMS_WRONG:
            self.problems.append(f"{path}: expected lines of items, found something else")

    def check_logs(self) -> Chain:
        """Both logs are whole chains that hold the bound heads; the journal follows the table of states."""
        bound = [r for r in self.whole.audit.of("unit-finished", self.plan) if r.get("unit") == self.number]
        directory = self.place.unit(self.number)
        chains = {
            "audit_head": Chain(directory / "audit.jsonl"),
            "journal_head": Chain(directory / "journal.jsonl", self.replay),
        }
        for key, chain in chains.items():
            if chain.problem:
                self.problems.append(chain.problem)
                continue
            heads = {GENESIS, "", *chain.heads}
            lost = [str(r.get(key))[:16] for r in bound if r.get(key) not in heads]
            self.problems += [f"{chain.path}: the head {head}… that the audit log bound is not in it" for head in lost]
            given_up = chain.records and chain.records[-1]["type"] == "ended" and "given up" in str(chain.records[-1])
            last = bound[-1].get(key) if bound else ""
            if last and last != chain.head and not lost and not given_up and not self.whole.under_way(self.plan):
                self.problems.append(f"{chain.path}: records follow the last head that the audit log bound")
        journal = chains["journal_head"]
        self.check_counts(bound, journal)
        return journal

    def replay(self, record: dict[str, Any]) -> dict[str, Any]:
        """Apply a record of the journal, unless one before was impossible; what is kept of it."""
        if record["type"] not in EVENTS:
            return record
        path = self.place.unit(self.number) / "journal.jsonl"
        try:
            if self.possible:
                self.apply(record, path)
        except Wrong as error:
            self.problems.append(str(error))
            self.possible = False
        except SEEMS_WRONG:
            self.problems.append(f"{path}: record {record['seq']}: not an event of planned items")
            self.possible = False
        items = record.get("items")
        return {**record, "items": items[:1] if isinstance(items, list) and record["type"] == "ended" else []}

    def apply(self, record: dict[str, Any], path: Path) -> None:
        """One event of the journal."""
        event = record["type"]
        for entry in record["items"]:
            number, *rest = entry if isinstance(entry, list) else [entry]
            item = self.status[number]
            if event not in FOLLOWS[item[0]]:
                place = f"{path}: record {record['seq']}: item {number}"
                raise Wrong(f"{place}: expected an event that can follow {item[0]!r}, found {event!r}")
            if event == "removing":
                told = self.whole.removals.setdefault(self.plan, [])
                told.append((moment(record["time"]), (self.number, number)))
            if not (item[0] == "removing" and event == "verified"):
                item[0] = event
            if event == "fetched":
                digest, _size = rest
                item[1], item[2] = digest, record["part"]
            elif event == "ended":
                outcome, _detail, _placed = rest
                if outcome not in KNOWN_OUTCOMES:
                    raise Wrong(f"{path}: record {record['seq']}: item {number}: {outcome!r} is no outcome")
                item[3] = outcome

    def check_counts(self, bound: list[dict[str, Any]], journal: Chain) -> None:
        """The outcomes that the coordinator told are those of the journal up to the head that it bound."""
        if not bound or journal.problem or bound[-1].get("journal_head") != journal.head:
            return
        found: dict[str, int] = {}
        for _, _, _, outcome in self.status.values():
            if outcome is not None:
                found[outcome] = found.get(outcome, 0) + 1
        if bound[-1].get("outcomes") != found:
            told = bound[-1].get("outcomes")
            self.problems.append(
                f"{self.place.audit}: line {bound[-1]['seq'] + 1}: outcomes {told}, the journal has {found}"
            )

    def check_evidence(self, journal: Chain) -> None:
        """What the journal calls preserved is in the parts, and nothing else is."""
        place = self.place.evidence(self.plan, self.number)
        there: dict[int, tuple[str, int]] = {}
        sealed = Sealed(self.whole, self.plan) if self.place.encrypted(self.plan) else None
        for name in entries(place):
            if not re.fullmatch(r"(part|original)-[0-9]{3,}", name):
                self.problems.append(f"{place / name}: not the name of a part")
            elif sealed is None:
                self.check_container(place / name, place / name, journal, there)
            elif self.whole.options.identity is None:
                for file, digest in self.told_files(name, journal).items():
                    sealed.compare(place / name / file, digest, self.problems)
            else:
                with tempfile.TemporaryDirectory(prefix="verify-case-") as copy:
                    sealed.open(place / name, Path(copy), self.problems)
                    self.check_container(place / name, Path(copy), journal, there)
        if sealed is not None and self.whole.options.identity is None:
            return
        for item, (state, digest, part, outcome) in self.status.items():
            if digest and state != "fetched" and there.get(item) != (digest, part):
                self.problems.append(f"{place}: item {item}: the evidence is not what was hashed when it was fetched")
            if outcome == "removed" and not digest:
                self.problems.append(f"{place}: item {item}: removed, but the journal knows of no evidence")
        strange = sorted(there.keys() - self.status.keys())
        self.problems += [f"{place}: item {item}: in the evidence, but not in the plan" for item in strange]

    def told_files(self, name: str, journal: Chain) -> dict[str, Any]:
        """The hashes of files that the journal has of a part or an original."""
        if name.startswith("original-"):
            told = [r for r in journal.records if r["type"] == "original" and r.get("name") == name]
            return {"original.pst": told[-1].get("sha256")} if told else {}
        told = [r for r in journal.records if r["type"] == "fetched" and r.get("part") == int(name[5:])]
        files: Any = told[-1].get("files") if told else {}
        return files if isinstance(files, dict) else {}

    def check_container(self, place: Path, copy: Path, journal: Chain, there: dict[int, tuple[str, int]]) -> None:
        """A part or an original at ``place``, read at ``copy``; ``there`` is told of its items."""
        before = len(self.problems), len(self.unchecked)
        if place.name.startswith("original-"):
            self.check_original(place, copy, journal)
        else:
            number = int(place.name[5:])
            part = PartCheck(copy, self.told_files(place.name, journal))
            part.hashes_only = bool(self.header.get("no_evidence"))
            part.check()
            self.problems += part.problems
            self.unchecked += part.unchecked
            for line in part.lines:
                if line["item"] in there:
                    self.problems.append(f"{place}/items.jsonl: item {line['item']} stands in two parts")
                there[line["item"]] = (line["sha256"], number)
                self.check_origin(place, line)
        for found, start in zip((self.problems, self.unchecked), before):
            found[start:] = [text.replace(str(copy), str(place)) for text in found[start:]]

    def check_original(self, place: Path, copy: Path, journal: Chain) -> None:
        """A file that the run made anew is kept as the journal knows it."""
        told = [r for r in journal.records if r["type"] == "original" and r.get("name") == place.name]
        strange = sorted(set(entries(copy)) - {"original.pst", "about.json"})
        self.problems += [f"{place / name}: does not belong to an original" for name in strange]
        if not told:
            self.problems.append(f"{place}: the journal does not know it")
            return
        compare(copy / "original.pst", told[-1].get("sha256"), self.problems)

    def check_origin(self, part: Path, line: dict[str, Any]) -> None:
        """A line is one of this unit's."""
        if line["evidence"] != f"{self.number:05}-{line['item']:06}":
            self.problems.append(f"{part}/items.jsonl: item {line['item']}: the evidence id of another item or unit")


class Sealed:
    """The files of an encrypted bag as they were when it was sealed."""

    def __init__(self, whole: Verification, plan: int) -> None:
        self.whole, self.bag = whole, whole.place.bag(plan)
        text = read_file(self.bag / PLAIN / "manifest-sha256.txt").decode("ascii", "replace")
        found = (re.fullmatch(r"([0-9a-f]{64})  (data/[!-~]+)", line) for line in text.splitlines())
        self.files = {line[2]: line[1] for line in found if line and ".." not in line[2].split("/")}

    def compare(self, path: Path, digest: Any, problems: list[str]) -> None:
        """Add a problem unless what was sealed under that name has that SHA-256."""
        if self.files.get(path.relative_to(self.bag).as_posix()) != digest:
            problems.append(f"{path}.age: what was sealed is not what the journal says, by its SHA-256")

    def open(self, place: Path, copy: Path, problems: list[str]) -> None:
        """Have ``age`` open every file below ``place`` into the directory ``copy``."""
        within = place.relative_to(self.bag).as_posix() + "/"
        for name, digest in self.files.items():
            if name.startswith(within):
                target = copy / name[len(within) :]
                target.parent.mkdir(exist_ok=True)
                wrong = opened(self.bag / f"{name}.age", target, self.whole.options.identity)
                if wrong:
                    problems.append(f"{self.bag / name}.age: {wrong}")
                elif file_sha256(target)[0] != digest:
                    problems.append(f"{self.bag / name}.age: holds something else than what was sealed, by its SHA-256")


def opened(path: Path, target: Path, identity: str) -> str:
    """Have ``age`` decrypt a file into ``target``; what it says where it does not."""
    done = call([shutil.which("age") or "age", "-d", "-i", identity, "-o", str(target), str(path)], b"")
    return one_line(done.stderr.partition(b"\n")[0]) or "it failed" if done.returncode else ""


class PartCheck:
    """One part of evidence."""

    WANTED: ClassVar[dict[str, type]] = {"item": int, "sha256": str, "size": int, "evidence": str}

    def __init__(self, path: Path, files: dict[str, Any]) -> None:
        self.path, self.files = path, files
        self.hashes_only = False
        self.problems: list[str] = []
        self.unchecked: list[str] = []
        self.lines: list[dict[str, Any]] = []

    def check(self) -> None:
        """Check all files of the part."""
        for name, digest in self.files.items():
            if name in ("items.jsonl", "messages.mbox", "messages.pst"):
                compare(self.path / name, digest, self.problems)
            else:
                self.problems.append(f"{self.path}: the journal has a hash of {name!r}, which is no file of a part")
        self.read_lines()
        if self.hashes_only:
            kept = [name for name in entries(self.path) if name != "items.jsonl"]
            self.problems += [f"{self.path / name}: content was kept, which may not be" for name in kept]
            return
        if any(line.get("mbox") is not None for line in self.lines) or (self.path / "messages.mbox").exists():
            self.check_mbox(self.path / "messages.mbox")
        self.check_eml()
        self.check_streams()
        self.check_properties()
        self.check_pst()
        known = {"items.jsonl", "messages.mbox", "messages.pst", "eml", "streams", "properties.jsonl"}
        strangers = [name for name in entries(self.path) if name not in known]
        self.problems += [f"{self.path / name}: does not belong to a part" for name in strangers]

    def read_lines(self) -> None:
        """The lines of items.jsonl, each with some content in the part."""
        path = self.path / "items.jsonl"
        seen: set[int] = set()
        try:
            with open_file(path) as stream:
                for number, raw in enumerate(iter(lambda: stream.readline(LIMIT), b""), 1):
                    place = f"{path}: line {number}"
                    try:
                        line = json.loads(raw)
                        fits = raw.endswith(b"\n") and all(isinstance(line[k], v) for k, v in self.WANTED.items())
                    except SEEMS_WRONG:
                        fits = False
                    if not fits:
                        self.problems.append(f"{place}: expected the record of an item, found something else")
                        continue
                    pst = line.get("pst")
                    in_pst = isinstance(pst, dict) and pst.get("content") is not None
                    if line["item"] in seen:
                        self.problems.append(f"{place}: item {line['item']} stands there twice")
                    held = [
                        line.get(key) for key in ("mbox", "eml", "pst", "stream", "properties", "attributes", "headers")
                    ]
                    if self.hashes_only and (any(held) or line.get("hashes_only") is not True):
                        self.problems.append(f"{place}: content of item {line['item']} was kept, which may not be")
                    elif self.hashes_only:
                        pass
                    elif line.get("mbox") is None and line.get("eml") is None and not in_pst:
                        self.problems.append(f"{place}: item {line['item']} has no content in this part")
                    seen.add(line["item"])
                    kept = ("item", "sha256", "size", "evidence", "mbox", "eml", "pst", "stream", "properties")
                    self.lines.append({key: line.get(key) for key in kept})
        except OSError as error:
            self.problems.append(f"{path}: cannot be read: {error.strerror or error}")

    def compare(self, place: object, digest: Any, size: int, line: dict[str, Any]) -> None:
        """Add a problem unless a content is the one that was fetched."""
        if (digest.hexdigest(), size) != (line["sha256"], line["size"]):
            self.problems.append(
                f"{place}: {line['evidence']}: expected {line['size']} bytes with SHA-256 {line['sha256'][:16]}…, "
                f"found {size} bytes with {digest.hexdigest()[:16]}…"
            )

    def check_mbox(self, path: Path) -> None:
        """Walk the mbox: a From_ line, the content with one ``>`` taken off its quoted lines, an empty line."""
        try:
            with open_file(path) as stream:
                number = 0
                for number, (offset, length, content) in enumerate(walk_mboxrd(stream, self.added), 1):
                    if number > len(self.lines):
                        self.problems.append(f"{path}: byte {offset}: a message that no line of items.jsonl names")
                        return
                    line = self.lines[number - 1]
                    told = line["mbox"] if isinstance(line["mbox"], dict) else {}
                    if (told.get("offset"), told.get("length")) != (offset, length):
                        here = f"{path}: byte {offset}"
                        self.problems.append(f"{here}: not where items.jsonl says that {line['evidence']} is")
                    self.compare(f"{path}: byte {offset}", *content, line)
                if number < len(self.lines):
                    self.problems.append(f"{path}: expected {len(self.lines)} messages, found {number}")
        except (OSError, Wrong) as error:
            self.problems.append(f"{path}: {error}")

    def added(self, number: int) -> bool:
        """True where the writer added a line end to message ``number`` (from 0)."""
        told = self.lines[number]["mbox"] if number < len(self.lines) else None
        return isinstance(told, dict) and told.get("newline_added") is True

    def check_eml(self) -> None:
        """Each EML file has the bytes that were fetched; each file is named by a line."""
        named = set()
        for line in self.lines:
            if line["eml"] is None:
                continue
            if (
                not re.fullmatch("[0-9]{5,}-[0-9]{6,}", line["evidence"])
                or line["eml"] != f"eml/{line['evidence']}.eml"
            ):
                self.problems.append(f"{self.path}/items.jsonl: {line['evidence']!r}: not the name of an EML file")
                continue
            named.add(f"{line['evidence']}.eml")
            try:
                data = read_file(self.path / line["eml"])
                self.compare(self.path / line["eml"], hashlib.sha256(data), len(data), line)
            except Wrong as error:
                self.problems.append(str(error))
        strangers = [name for name in entries(self.path / "eml") if name not in named]
        self.problems += [f"{self.path}/eml/{name}: a file that no line of items.jsonl names" for name in strangers]

    def check_streams(self) -> None:
        """Each stream has the hash in its item's line; each file is named by a line."""
        named = set()
        for line in self.lines:
            told = line["stream"]
            if told is None:
                continue
            name = f"{line['evidence']}.bin"
            told = told if isinstance(told, dict) else {}
            if not re.fullmatch("[0-9]{5,}-[0-9]{6,}", line["evidence"]) or told.get("file") != f"streams/{name}":
                self.problems.append(f"{self.path}/items.jsonl: {line['evidence']!r}: not the name of a stream's file")
                continue
            named.add(name)
            compare(self.path / "streams" / name, told.get("sha256"), self.problems)
        strangers = [name for name in entries(self.path / "streams") if name not in named]
        self.problems += [f"{self.path}/streams/{name}: a file that no line of items.jsonl names" for name in strangers]

    def check_properties(self) -> None:
        """Each line of properties.jsonl has the hash in its item's line."""
        path = self.path / "properties.jsonl"
        expected = {line["evidence"]: line["properties"] for line in self.lines if line["properties"]}
        if not expected and not path.exists():
            return
        try:
            with open_file(path) as stream:
                for number, raw in enumerate(stream, 1):
                    if expected.pop(json.loads(raw)["evidence"], None) != sha256(raw):
                        self.problems.append(f"{path}: line {number}: not the properties that were written")
        except (OSError, *SEEMS_WRONG) as error:
            self.problems.append(f"{path}: {error}")
            return
        self.problems += [f"{path}: the properties of {evidence} are missing" for evidence in expected]

    def check_pst(self) -> None:
        """The PST is the file that was closed; what is in it needs a reader of PST files."""
        path = self.path / "messages.pst"
        if any(line["pst"] is not None for line in self.lines) and not path.exists():
            self.problems.append(f"{path}: is missing")
        elif path.exists():
            known = (
                "the file is the one that was written, by its SHA-256" if path.name in self.files else "no hash of it"
            )
            self.unchecked.append(f"{path}: the messages in it (that needs a reader of PST files); {known}")


class StandingCheck:
    """Standing approvals: terms, statements about them, and the passes of a sweep that were run under them."""

    TERMS: ClassVar[tuple[str, ...]] = ("case", "case_sha256", "standing")
    SAME: ClassVar[tuple[str, ...]] = ("case", "action", "criteria_sha256", "per_hour", "policy_sha256")

    def __init__(self, whole: Verification) -> None:
        self.whole, self.root, self.audit = whole, whole.place.root / "standing", whole.audit
        self.terms: dict[int, tuple[str, dict[str, Any]]] = {}

    def check(self) -> None:
        """Check all that are there, and each pass that the log tells of."""
        for name in entries(self.root):
            if re.fullmatch("[0-9]{4}", name):
                self.settle(f"standing/{name}/terms.json", self.check_terms, int(name))
                for entry in entries(self.root / name):
                    if re.fullmatch(r"[0-9a-f]{16}\.json", entry):
                        self.settle(f"standing/{name}/{entry}", self.check_statement, int(name), entry)
        earlier: list[tuple[datetime, tuple[int, int, int]]] = []
        for record in self.audit.records:
            if record["type"] == "standing-pass":
                self.settle(f"pass of plan {record.get('plan')}", self.check_pass, record, earlier)

    def settle(self, what: str, check: Callable[..., str], *given: Any) -> None:
        """Tell what a check finds; an empty text is that it holds."""
        try:
            problem = check(*given)
        except Wrong as error:
            problem = str(error)
        except SEEMS_WRONG as error:
            problem = f"{self.root}: expected terms, statements and passes, found something else ({error!r})"
        self.whole.report.settle(what, [problem] if problem else [])

    def read(self, path: Path) -> tuple[str, dict[str, Any]]:
        """SHA-256 and values of a file in canonical form."""
        data = read_file(path)
        value = json.loads(data)
        if canonical(value) + b"\n" != data:
            raise Wrong(f"{path}: not in canonical form")
        return sha256(data), value

    def check_terms(self, number: int) -> str:
        """They are of this case, and the ones that the log tells of."""
        path = self.root / f"{number:04}" / "terms.json"
        digest, terms = self.read(path)
        if [terms[key] for key in self.TERMS] != [self.whole.case_id, self.whole.case_sha256, number]:
            return f"{path}: of another case or number"
        self.terms[number] = digest, terms
        asked = [r for r in self.audit.records if r["type"] == "standing-asked" and r.get("standing") == number]
        told = [r.get("terms_sha256") for r in asked] == [digest]
        rule_fits = sha256(canonical(terms["criteria"])) == terms["criteria_sha256"]
        if not rule_fits:
            return f"{path}: its criteria do not have the SHA-256 that it gives"
        return "" if told else f"{path}: not the terms that the audit log tells of"

    def check_statement(self, number: int, name: str) -> str:
        """It is about these terms; its signature is checked with the others."""
        path = self.root / f"{number:04}" / name
        digest, said = self.read(path)
        terms_sha256, terms = self.terms[number]
        same = all(said[key] == terms[key] for key in self.SAME) and said["excise_standing_statement"] == 1
        if not same or said["terms_sha256"] != terms_sha256 or said["standing"] != number:
            return f"{path}: a statement about other terms"
        if moment(said["until"]) > moment(terms["until"]):
            return f"{path}: it ends after the terms do"
        return "" if digest[:16] == name[:16] else f"{path}: not the statement that had this name, by its SHA-256"

    def check_pass(self, record: dict[str, Any], earlier: list[tuple[datetime, tuple[int, int, int]]]) -> str:
        """The pass was within the terms and their time, and with those before it, not above the cap."""
        plan, number = record["plan"], record["standing"]
        terms_sha256, terms = self.terms[number]
        plan_sha256, header = self.whole.plans[plan]
        path = self.root / f"{number:04}" / f"pass-{plan:04}.json"
        _, said = self.read(path)
        mine = [(when, (plan, *item)) for when, item in self.whole.removals.get(plan, [])]
        earlier += mine
        expected = {"case": self.whole.case_id, "standing": number, "terms_sha256": terms_sha256, "plan": plan}
        expected |= {"plan_sha256": plan_sha256, "per_hour": terms["per_hour"], "until": terms["until"]}
        expected |= {key: terms[key] for key in ("action", "criteria_sha256", "policy_sha256")} | {"excise_pass": 1}
        wrong = [key for key, value in expected.items() if said[key] != value]
        if set(said) != {*expected, "removable", "counted", "time", "user", "uid", "host"}:
            wrong.append("its fields")
        if wrong or [record["terms_sha256"], record["plan_sha256"]] != [terms_sha256, plan_sha256]:
            return f"{path}: {wrong[0] if wrong else 'the record of it'}: not as in the terms or the plan"
        units = [u for u in header["units"] if not u["refused"]]
        removable = sum(u["matches"] - u["doubtful"] - u.get("held", 0) for u in units)
        if said["removable"] != removable or said["counted"] + removable > terms["per_hour"]:
            return f"{path}: {said['counted']} + {removable} items, and {terms['per_hour']} an hour were approved"
        if not moment(terms["made"]) <= moment(said["time"]) < moment(terms["until"]):
            return f"{path}: not before the end that was approved"
        if moment(record["time"]) < moment(said["time"]):
            return f"{path}: its time is after that of the record that tells of it"
        return self.outside(terms, header) or self.too_many(terms, plan, mine, earlier)

    def outside(self, terms: dict[str, Any], header: dict[str, Any]) -> str:
        """What of a plan is not as the terms have it."""
        where, scope = self.whole.place.plan(header["plan"]) / "header.json", header["scope"]
        same = ("action", "disposal", "evidence", "criteria", "criteria_sha256", "policy_sha256")
        wrong = [key for key in same if header[key] != terms[key]]
        wrong += [key for key in ("sources", "mailboxes", "parts") if scope.get(key, []) != terms["scope"][key]]
        wrong += [key for key in ("compact", "rewrite") if bool(header.get(key)) != terms[key]]
        wrong += [key for key in ("no_evidence", "replaces_for") if key in header]
        for key, limit in terms["caps"].items():
            found = header["caps"][key]
            tighter = key != "share_from" and found is not None and (limit is None or found < limit)
            wrong += [] if found == limit or tighter else [f"caps: {key}"]
        used = [unit for unit in header["units"] if unit["locator"]]
        wrong += [f"mailbox {unit['name']}" for unit in used if unit["locator"] not in terms["scope"]["locators"]]
        wrong += [
            f"disposal {unit['disposal']}"
            for unit in used
            if unit["matches"] and unit["disposal"] not in terms["disposals"]
        ]
        return f"{where}: {wrong[0]}: not as in the terms of its standing approval" if wrong else ""

    def too_many(
        self,
        terms: dict[str, Any],
        plan: int,
        mine: list[tuple[datetime, tuple[int, int, int]]],
        so_far: list[tuple[datetime, tuple[int, int, int]]],
    ) -> str:
        """Where something was removed after the end, or more than the cap in 60 minutes."""
        begins, until = moment(terms["made"]), moment(terms["until"])
        for end in sorted({when for when, _ in mine}):
            if not begins <= end < until:
                return f"plan {plan}: a removal at {end.isoformat()}Z, not before the end that was approved"
            inside = {item for when, item in so_far if end - timedelta(hours=1) < when <= end}
            if len(inside) > terms["per_hour"]:
                return f"plan {plan}: {len(inside)} removals in the hour before {end.isoformat()}Z"
        return ""


def moment(text: str) -> datetime:
    """A time of a record (ISO 8601 in UTC with Z), without its zone; a ValueError for anything else."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text):
        raise ValueError(f"{text[:40]!r} is no time in UTC")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - all are


class MboxMessage:
    """A message of an mboxrd file that is being read; its last two bytes are held back."""

    def __init__(self, offset: int) -> None:
        self.offset, self.digest, self.size, self.held = offset, hashlib.sha256(), 0, b""

    def add(self, data: bytes, keep: int = 2) -> None:
        """More of the content."""
        held = self.held + data
        cut = max(0, len(held) - keep)
        self.digest.update(held[:cut])
        self.size += cut
        self.held = held[cut:]

    def end(self, offset: int, added: bool) -> tuple[int, int, tuple[Any, int]]:
        """Offset, length and (SHA-256, size) of the content without what the writer put behind it."""
        ends = b"\n\n" if added else b"\n"
        if not self.held.endswith(ends):
            raise Wrong(f"byte {offset}: expected an empty line at the end of the message at byte {self.offset}")
        self.held = self.held[: len(self.held) - len(ends)]
        self.add(b"", keep=0)
        return self.offset, offset - self.offset, (self.digest, self.size)


def walk_mboxrd(stream: BinaryIO, added: Callable[[int], bool]) -> Iterator[tuple[int, int, tuple[Any, int]]]:
    """Each message of an mboxrd file: offset, length, (SHA-256 of its content, size); Wrong where it is none."""
    message: MboxMessage | None = None
    number = offset = 0
    fresh = blank = True  # at the start of a line; the line before was empty
    for piece in iter(lambda: stream.readline(LIMIT), b""):
        if fresh and blank and piece.startswith(b"From "):
            if message is not None:
                yield message.end(offset, added(number))
                number += 1
            message = MboxMessage(offset)
        elif message is None:
            raise Wrong(f"byte {offset}: expected a From_ line")
        else:
            message.add(piece[1:] if fresh and QUOTED.match(piece) else piece)
        blank = fresh and piece == b"\n"
        fresh = piece.endswith(b"\n")
        offset += len(piece)
    if message is not None:
        if not blank:
            raise Wrong(f"byte {offset}: expected an empty line at the end")
        yield message.end(offset, added(number))


class BagCheck:
    """The bag of a plan's run: its manifests, all that is in it, and its copies of the records."""

    def __init__(self, whole: Verification, plan: int, digest: str, statuses: dict[int, Status]) -> None:
        self.whole, self.place, self.plan = whole, whole.place, plan
        self.plan_sha256, self.statuses = digest, statuses
        self.bag, self.name, self.oxum = whole.place.bag(plan), f"bag-{plan:04}", ""
        self.problems: list[str] = []

    def check(self) -> None:
        """Check the bag, if there is one."""
        tell, audit = self.whole.report.tell, self.whole.audit
        sealed = audit.of("bag-sealed", self.plan)
        if not (self.bag / TAG_MANIFEST).is_file():
            if sealed and self.whole.waits(self.plan):
                tell(self.name, None, f"{self.bag}: its encryption was interrupted: excise encrypt finishes it")
            elif sealed:
                tell(self.name, False, f"{self.bag / TAG_MANIFEST}: was there when the bag was sealed, and is gone")
            elif self.bag.exists():
                tell(self.name, None, f"{self.bag}: not sealed: the run has not ended")
            return
        if self.place.alone:
            seal = self.place.seal(self.plan)
            told = f"compare the SHA-256 of its {seal.relative_to(self.bag)} with the one in the custody record: "
            compare_with = file_sha256(seal)[0]
            tell(f"{self.name} against the audit log", None, told + compare_with)
        elif not sealed and not audit.of("run-finished", self.plan):
            tell(f"{self.name} against the audit log", None, f"{self.bag}: sealed, but the run was stopped then")
        elif not sealed:
            self.problems.append(f"{self.bag / TAG_MANIFEST}: the audit log recorded no sealing of it")
        else:
            compare(self.place.seal(self.plan), sealed[-1].get("tagmanifest_sha256"), self.problems)
        self.check_manifests()
        if self.place.encrypted(self.plan):
            self.check_encrypted()
        self.check_info()
        self.check_outcomes()
        if not self.place.alone:
            self.check_copies()
        self.whole.report.settle(self.name, self.problems)

    def check_manifests(self) -> None:
        """Every file of the bag has the hash in its manifest, and every file is in one."""
        tags, payload = self.manifest(TAG_MANIFEST), self.manifest("manifest-sha256.txt")
        wanted = list(TAGS)
        if self.place.encrypted(self.plan):
            wanted = sorted([*TAGS, TABLE, *(f"{PLAIN}/{name}" for name in (*TAGS, TAG_MANIFEST))])
        if sorted(tags) != wanted:
            self.problems.append(f"{self.bag / TAG_MANIFEST}: expected {', '.join(wanted)}, found {', '.join(tags)}")
        octets = 0
        for name, digest in {**tags, **payload}.items():
            try:
                found, size = file_sha256(self.bag / name)
            except Wrong as error:
                self.problems.append(str(error))
                continue
            octets += size if name in payload else 0
            if found != digest:
                self.problems.append(f"{self.bag / name}: expected SHA-256 {digest[:16]}…, found {found[:16]}…")
        self.oxum = f"{octets}.{len(payload)}"
        for directory, names, files in os.walk(str(self.bag)):
            for name in files + [n for n in names if (Path(directory) / n).is_symlink()]:
                path = (Path(directory) / name).relative_to(self.bag).as_posix()
                if path not in payload and path not in tags and path != TAG_MANIFEST:
                    self.problems.append(f"{self.bag / path}: a file that no manifest names")

    def manifest(self, name: str) -> dict[str, str]:
        """A manifest's hashes by file name."""
        found: dict[str, str] = {}
        try:
            lines = read_file(self.bag / name).decode("utf-8").splitlines()
        except (Wrong, ValueError) as error:
            self.problems.append(str(error) if isinstance(error, Wrong) else f"{self.bag / name}: {error}")
            return {}
        for number, line in enumerate(lines, 1):
            fits = re.fullmatch(r"([0-9a-f]{64})  ([!-~]+)", line)
            place = f"{self.bag / name}: line {number}"
            if not fits or ".." in fits[2].split("/") or fits[2].startswith("/") or fits[2] in found:
                self.problems.append(f"{place}: expected the SHA-256 and the name of a file of the bag, once")
            elif name == "manifest-sha256.txt" and not fits[2].startswith("data/"):
                self.problems.append(f"{place}: {fits[2]} is not below data/")
            else:
                found[fits[2]] = fits[1]
        return found

    def check_encrypted(self) -> None:
        """Each file that was sealed is there, encrypted to the recipients of the record, and nothing else."""
        records = [r for r in self.whole.audit.of("bag-encrypted", self.plan) if r.get("bag") == self.name]
        recipients: Any = records[-1].get("recipients") if records else None
        if records:
            compare(self.bag / TAG_MANIFEST, records[-1].get("tagmanifest_sha256"), self.problems)
        elif not self.place.alone:
            self.problems.append(f"{self.bag / TABLE}: the audit log tells of no encryption of this bag")
        for name, digest in self.manifest(f"{PLAIN}/{TAG_MANIFEST}").items():
            compare(self.bag / PLAIN / name, digest, self.problems)
        there, rows = self.manifest("manifest-sha256.txt"), self.table()
        for name, digest in Sealed(self.whole, self.plan).files.items():
            if not name.startswith(EVIDENCE):
                if there.pop(name, None) != digest:
                    self.problems.append(f"{self.bag / name}: not what was sealed")
                continue
            found = there.pop(f"{name}.age", None)
            if found is None:
                self.problems.append(f"{self.bag / name}.age: was sealed as {name}, and is in no manifest any more")
            elif rows.pop(name, None) != (digest, found):
                self.problems.append(f"{self.bag / TABLE}: {name}: not the hashes of the manifests")
            elif recipients is not None:
                self.check_recipients(self.bag / f"{name}.age", recipients)
        self.problems += [f"{self.bag / name}: was not sealed" for name in [*there, *rows]]
        told = (
            counted(len(recipients), "recipient")
            if recipients is not None
            else "recipients that only the case's log names"
        )
        given = self.whole.options.identity is not None
        why = "each file was opened and read" if given else "give --identity to have age open it"
        self.whole.report.tell(f"{self.name}: what is encrypted", given or None, f"encrypted to {told}; {why}")

    def table(self) -> dict[str, tuple[str, str]]:
        """The table's hashes by file."""
        try:
            text = read_file(self.bag / TABLE).decode("utf-8", "replace")
            return {r["file"]: (r["plain_sha256"], r["sha256"]) for r in csv.DictReader(io.StringIO(text, newline=""))}
        except (Wrong, csv.Error, *SEEMS_WRONG) as error:
            self.problems.append(f"{self.bag / TABLE}: expected a table of files, found something else ({error})")
            return {}

    def check_recipients(self, path: Path, recipients: list[str]) -> None:
        """The header of an age file names the recipients, and the key that it was read again with, which is gone."""
        wanted = sorted(["X25519", *(stanza(key) for key in recipients)])
        try:
            head = read_file(path)[: 1 << 20].partition(b"\n--- ")[0].decode("latin-1").split("\n")
        except Wrong as error:
            self.problems.append(str(error))
            return
        lines = [
            line.split(" ") for line in head if line.startswith("-> ") and not line.split(" ")[1].endswith("-grease")
        ]
        found = sorted(" ".join(line[1:3]) if line[1].startswith("ssh-") else line[1] for line in lines)
        if head[0] != "age-encryption.org/v1" or found != wanted:
            self.problems.append(f"{path}: its header does not name just the recipients of the record")

    def check_info(self) -> None:
        """bag-info.txt names this case, this plan and the sum of what is in the bag."""
        path = self.bag / "bag-info.txt"
        try:
            text = read_file(path).decode("utf-8", "replace")
        except Wrong:
            return
        wanted = {
            "Payload-Oxum": self.oxum,
            "External-Identifier": self.whole.case_id,
            "Internal-Sender-Identifier": f"plan {self.plan} {self.plan_sha256}",
        }
        for label, value in wanted.items():
            if f"{label}: {value}" not in text.splitlines():
                self.problems.append(f"{path}: expected {label}: {value}, found another")

    def check_outcomes(self) -> None:
        """outcome.csv has a row for each planned item, in order, with the outcome and hash of the journal."""
        path = self.bag / "data" / "records" / "outcome.csv"
        try:
            with open_file(path) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
                self.compare_outcomes(path, csv.DictReader(text))
        except OSError:
            return
        except (csv.Error, *SEEMS_WRONG):
            self.problems.append(f"{path}: expected a table of outcomes, found something else")

    def compare_outcomes(self, path: Path, rows: csv.DictReader[str]) -> None:
        """Each row against the journal."""
        expected = ((unit, item, s) for unit, status in self.statuses.items() for item, s in status.items())
        wrong = []
        for number, row in enumerate(rows, 2):
            unit, item, told = next(expected, (0, 0, ["", "", 0, None]))
            if (int(row["unit"]), int(row["item"])) != (unit, item):
                count = sum(map(len, self.statuses.values()))
                self.problems.append(
                    f"{path}: line {number}: expected the {count} planned items in order, found others"
                )
                return
            _, digest, _, outcome = told
            if row["outcome"] != (outcome or "") or (digest and row["sha256"] != digest):
                wrong.append(f"{path}: line {number}: item {item}: not what the journal says")
        if next(expected, None) is not None:
            self.problems.append(f"{path}: expected all planned items in order, found fewer")
        self.problems += wrong

    def check_copies(self) -> None:
        """The living records are those in the bag, or for logs, begin with them."""
        root, records = self.place.root, self.bag / "data" / "records"
        pairs = [
            (self.place.case_json, records / "case.json", False),
            (self.place.audit, records / "audit.jsonl", True),
        ]
        sealed = [n for n in self.place.plans() if (self.place.bag(n) / TAG_MANIFEST).is_file()]
        if self.plan == sealed[-1]:
            pairs.append((root / "outcome.csv", records / "outcome.csv", False))
        if self.plan == max((n for n in sealed if self.whole.action(str(n)) != "restore"), default=0):
            pairs.append((root / "scope.csv", records / "scope.csv", False))
        for path in sorted(records.glob("plan/**/*.json*")):
            pairs.append((self.place.plan(self.plan) / path.relative_to(records / "plan"), path, False))
        for path in sorted(records.glob("units/*/*.jsonl")):
            pairs.append((root / "units" / path.relative_to(records / "units"), path, True))
        for living, copy, grows in pairs:
            try:
                same = begins_with(living, copy, grows)
            except OSError as error:
                self.problems.append(f"{error.filename or living}: cannot be read: {error.strerror or error}")
                continue
            if not same:
                self.problems.append(f"{living}: differs from its copy in the sealed {self.name}")


def begins_with(living: Path, copy: Path, grows: bool) -> bool:
    """True where ``living`` has the bytes of ``copy``, and more only if it ``grows``."""
    with open_file(living) as new, open_file(copy) as old:
        for piece in iter(lambda: old.read(1 << 20), b""):
            if new.read(len(piece)) != piece:
                return False
        return grows or not new.read(1)


class ApprovalCheck:
    """The signed statements about a plan, and whether a run of it had those that its policy asks for."""

    ABOUT = ("case", "plan", "plan_sha256", "action", "disposal", "policy_sha256")
    TEXTS = ("role", "principal", "user", "host", "from", "until")

    def __init__(self, whole: Verification, plan: int, header: dict[str, Any], digest: str) -> None:
        self.whole, self.place, self.plan, self.header = whole, whole.place, plan, header
        used = {u.get("disposal") for u in header["units"] if u["matches"]} or {
            u.get("disposal") for u in header["units"]
        }
        self.disposals = used if header["action"] in ("move", "purge") else {"copy"}
        about = (header["case"], plan, digest, header["action"], ",".join(sorted(map(str, self.disposals))))
        self.about = (*about, header.get("policy_sha256"))

    def check(self) -> None:
        """Check each statement; then each run."""
        for path in sorted((self.place.root / "approvals" / f"{self.plan:04}").glob("*.json")):
            problems: list[str] = []
            try:
                self.read(path)
            except Wrong as error:
                problems.append(str(error))
            self.whole.report.settle(path.relative_to(self.place.root).as_posix(), problems)
        try:
            self.check_runs()
        except SEEMS_WRONG:
            path = self.place.plan(self.plan) / "header.json"
            why = f"{path}: the policy in it, or what the audit log says of approvals, is not in its form"
            self.whole.report.tell(f"approvals of plan {self.plan}", False, why)

    def read(self, path: Path) -> dict[str, Any]:
        """A statement about this plan; Wrong where it is another, or none."""
        data = read_file(path)
        try:
            said = json.loads(data)
            keys = {*self.ABOUT, *self.TEXTS, "excise_statement", "uid"}
            fits = canonical(said) + b"\n" == data and set(said) == keys and said["excise_statement"] == 1
            if not fits or not all(isinstance(said[key], str) for key in self.TEXTS) or type(said["uid"]) is not int:
                raise ValueError("its form")
            begins, until = moment(said["from"]), moment(said["until"])
        except SEEMS_WRONG:
            raise Wrong(f"{path}: expected a statement in canonical form, found something else") from None
        if path.name != f"{sha256(data)[:16]}.json":
            raise Wrong(f"{path}: it is not the statement that had this name, by its SHA-256")
        if tuple(said[key] for key in self.ABOUT) != self.about:
            raise Wrong(f"{path}: a statement about another plan")
        return {**said, "path": path, "sha256": sha256(data), "begins": begins, "ends": until}

    def check_runs(self) -> None:
        """Each run of the plan by the rules of the policy in its header."""
        frozen = (self.header.get("policy") or {}).get("rules") or {}
        approval, action = frozen.get("approval") or {}, self.header["action"]
        rules = [
            rule
            for rule in approval.get("rules") or ()
            if action in rule["actions"] and (not rule["disposals"] or self.disposals & set(rule["disposals"]))
        ]
        signs = bool(approval.get("operator_signs")) and (bool(rules) or action in ("move", "purge"))
        about = [record for record in self.whole.audit.records if record.get("plan") == self.plan]
        problems: list[str] = []
        seen = False
        for at, run in enumerate(about):
            if run["type"] in ("run-started", "run-resumed") and (rules or signs):
                seen = True
                place = f"{self.place.audit}: line {run['seq'] + 1}: {run['type']} of plan {self.plan}"
                lacking = self.lacking(about[:at], run, about[at + 1 :], rules, signs)
                problems += [f"{place}: {problem}" for problem in lacking]
        if seen:
            self.whole.report.settle(f"approvals of plan {self.plan}", problems)

    def lacking(
        self, before: list[dict[str, Any]], run: dict[str, Any], after: list[dict[str, Any]], rules: Any, signs: bool
    ) -> Iterator[str]:
        """What a run lacked by the rules."""
        acting = [r for r in before if r["type"] in ACTING]
        checked = ([r for r in before if r["type"] in (*ACTING, "authority-checked")] or [run])[-1]
        if checked["type"] != "authority-checked":
            # A run that lost its approval can be closed, which removes nothing and ends it.
            if run["type"] == "run-started" or any(r["type"] == "unit-finished" for r in after):
                yield "expected a record of the approvals that it had before, found none"
            return
        good: list[dict[str, Any]] = []
        for told in checked["statements"]:
            try:
                good.append(self.counted(told, moment(checked["time"])))
            except Wrong as error:
                yield str(error)
        people = self.header["policy"]["rules"]["people"]
        users = {r["who"]["user"] for r in [*acting, run] if "who" in r} | {self.whole.made_by}
        for said in good:
            person = people.get(said["principal"])
            if person is None or person["user"] != said["user"]:
                yield f"{said['path']}: its signer is not under people in the policy"
            elif said["role"] != "operator" and said["role"] not in person["roles"]:
                yield f"{said['path']}: its signer may not sign in this role"
            elif said["role"] != "operator" and said["user"] in users:
                yield f"{said['path']}: who approves is who operates"
        for rule in rules:
            hours = timedelta(hours=rule["hours"])
            lasting = [s for s in good if s["role"] in rule["roles"] and s["ends"] - s["begins"] <= hours]
            have = min(len({said[key] for said in lasting}) for key in ("principal", "user"))
            if have < rule["count"]:
                yield f"{have} of {rule['count']} approvals as {' or '.join(rule['roles'])} were there"
        if signs and not any(s["role"] == "operator" and s["user"] == run["who"]["user"] for s in good):
            yield "the operator's own signature was missing"

    def counted(self, told: dict[str, Any], at: datetime) -> dict[str, Any]:
        """The statement that the log calls counted; Wrong where it cannot have been."""
        name = f"{str(told['sha256'])[:16]}.json"
        standing = sorted(self.place.root.glob(f"standing/*/{name}"))
        path = self.place.root / "approvals" / f"{self.plan:04}" / name
        if path.exists() or not standing:
            said = self.read(path)
        else:  # one beforehand, for many plans
            path, data = standing[0], read_file(standing[0])
            said = json.loads(data)
            said |= {
                "path": path,
                "sha256": sha256(data),
                "begins": moment(said["from"]),
                "ends": moment(said["until"]),
            }
        if said["sha256"] != told["sha256"]:
            raise Wrong(f"{path}: not the statement that counted, by its SHA-256")
        key = fingerprint(path.with_name(f"{name}.sig"))
        if key != told["key"]:
            raise Wrong(f"{path}.sig: by the key {key}, and what counted was by {told['key']}")
        if (said["role"], said["user"]) != (told["role"], told["user"]):
            raise Wrong(f"{path}: by another person, or in another role, than the audit log says")
        if not said["begins"] <= at < said["ends"]:
            raise Wrong(f"{path}: it did not hold then")
        return dict(said)


def fingerprint(path: Path) -> str:
    """The fingerprint of the key that an OpenSSH signature says it was made with; Wrong where it is none."""
    found = re.fullmatch(
        rb"-----BEGIN SSH SIGNATURE-----\n([\w+/=\n]+)\n-----END SSH SIGNATURE-----\n?", read_file(path)
    )
    blob = base64.b64decode(found[1]) if found else b""
    size = int.from_bytes(blob[10:14], "big")
    if blob[:10] != b"SSHSIG\0\0\0\1" or not 0 < size <= len(blob) - 14:
        raise Wrong(f"{path}: it is not an OpenSSH signature")
    digest = base64.b64encode(hashlib.sha256(blob[14 : 14 + size]).digest())
    return "SHA256:" + digest.decode("ascii").rstrip("=")


class Proofs:
    """Checkpoints of the audit log, signatures and time stamps."""

    def __init__(self, whole: Verification) -> None:
        self.whole, self.root, self.report, self.options = whole, whole.place.root, whole.report, whole.options

    def check(self) -> None:
        """Check all that are there."""
        for name in entries(self.root / "checkpoints"):
            if re.fullmatch(r"[0-9]{6,}\.json", name):
                self.check_checkpoint(self.root / "checkpoints" / name)
        for name in entries(self.root / "stamps"):
            if name.endswith(".tsq") and not (self.root / "stamps" / f"{name[:-4]}.tsr").exists():
                self.report.tell(
                    f"stamps/{name}", None, "a request that no authority has answered yet: no time is proven"
                )
            elif name.endswith(".tsr"):
                self.check_stamp(self.root / "stamps" / name)
        approvals = sorted(self.root.glob("approvals/*/*.sig"))
        for path in approvals:
            self.check_signature(path, path.with_suffix(""), self.options.approval_namespace, self.signer(path))
        for path in sorted(self.root.glob("standing/*/*.sig")):
            self.check_signature(path, path.with_suffix(""), "excise-standing", self.signer(path))

    def signer(self, signature: Path) -> tuple[str, str]:
        """Who an approval says that it is by, and from when; nobody where it is none, which is told elsewhere."""
        try:
            said = json.loads(read_file(signature.with_suffix("")))
            return str(said["principal"]), f"{moment(said['from']):%Y%m%d%H%M%S}"
        except (Wrong, *SEEMS_WRONG):
            return "", ""

    def check_checkpoint(self, path: Path) -> None:
        """A checkpoint tells of a head that the log has."""
        problems, audit, name = [], self.whole.audit, f"checkpoints/{path.name}"
        try:
            data = read_file(path)
            told = json.loads(data)
            count, head = told["records"], told["head"]
            if canonical(told) + b"\n" != data or told["excise_checkpoint"] != 1 or path.name != f"{count:06}.json":
                problems.append(f"{path}: not a checkpoint in canonical form")
            if (told["case"], told["case_sha256"]) != (self.whole.case_id, self.whole.case_sha256):
                problems.append(f"{path}: a checkpoint of another case")
            if not 0 < count <= len(audit.heads) or audit.heads[count - 1] != head:
                problems.append(
                    f"{path}: the head {str(head)[:16]}… after {count} records is not the one in {audit.path}"
                )
        except Wrong as error:
            problems.append(str(error))
        except SEEMS_WRONG:
            problems.append(f"{path}: expected a checkpoint, found something else")
        self.report.settle(name, problems)
        signature = path.with_name(path.name + ".sig")
        if signature.exists():
            self.check_signature(signature, path, "excise-checkpoint")

    def check_signature(
        self, signature: Path, path: Path, namespace: str, signer: tuple[str, str] | None = None
    ) -> None:
        """An OpenSSH signature, by ``ssh-keygen``; by ``signer`` and no other where there is to be one."""
        name, signers = signature.relative_to(self.root).as_posix(), self.options.allowed_signers
        program = shutil.which("ssh-keygen")
        if program is None:
            self.report.tell(name, None, "the signature: no ssh-keygen on this machine")
            return
        try:
            data = read_file(path)
        except Wrong as error:
            self.report.tell(name, False, str(error))
            return
        given = ["-n", namespace, "-s", str(signature)]
        if not signers:
            done = call([program, "-Y", "check-novalidate", *given], data)
            if done.returncode == 0:
                why = "give --allowed-signers to learn whose key it is"
                self.report.tell(name, None, f"{one_line(done.stdout)}; whose it is was not checked: {why}")
            else:
                self.report.tell(name, False, f"{signature}: {one_line(done.stderr + done.stdout)}")
            return
        if signer is None:
            found = call([program, "-Y", "find-principals", "-f", signers, "-s", str(signature)], b"")
            people = found.stdout.decode("utf-8", "replace").split("\n")[0].split(",")
            if found.returncode or not people[0]:
                self.report.tell(name, False, f"{signature}: by a key that {signers} does not name")
                return
            given = ["-I", people[0], *given]
        else:
            given = ["-I", signer[0], "-Overify-time=" + signer[1] + "Z", *given]
        done = call([program, "-Y", "verify", "-f", signers, *given], data)
        ok = done.returncode == 0
        self.report.tell(
            name, ok, one_line(done.stdout) if ok else f"{signature}: {one_line(done.stderr + done.stdout)}"
        )

    def check_stamp(self, path: Path) -> None:
        """A time stamp, by ``openssl``: what it is of, and with --ca-file, who says so."""
        name, subject, program = f"stamps/{path.name}", self.stamped(path.stem), shutil.which("openssl")
        if subject is None or program is None:
            why = "no openssl on this machine" if program is None else "nothing of that name can be stamped"
            self.report.tell(name, None, f"the time stamp: {why}")
            return
        try:
            digest = file_sha256(subject)[0]
        except Wrong as error:
            self.report.tell(name, False, str(error))
            return
        shown = call([program, "ts", "-reply", "-in", str(path), "-text"], b"")
        text = shown.stdout.decode("utf-8", "replace")
        imprint = "".join(re.findall(r"(?m)^    [0-9a-f]{4} - ((?:[0-9a-f]{2}[ -])+)", text))
        when = re.search(r"(?m)^Time stamp: (.*)$", text)
        if shown.returncode or not when or digest != re.sub("[ -]", "", imprint)[:64]:
            self.report.tell(name, False, f"{path}: not a time stamp of {subject}")
            return
        if not self.options.ca_file:
            why = "the authority's signature (give its root certificate with --ca-file)"
            self.report.tell(name, None, f"says {when[1]} of {subject.name}; not checked: {why}")
            return
        command = [program, "ts", "-verify", "-data", str(subject), "-in", str(path), "-CAfile", self.options.ca_file]
        done = call(command, b"")
        ok = done.returncode == 0
        why = f"{when[1]}, of {subject.name}" if ok else f"{path}: openssl: {one_line(done.stderr)}"
        self.report.tell(name, ok, why)

    def stamped(self, stem: str) -> Path | None:
        """The file that a stamp of this name is of."""
        kind, _, number = stem.partition("-")
        if not number.isdigit():
            return None
        files = {
            "plan": self.root / "plan" / number / "header.json",
            "bag": self.whole.place.seal(int(number)),
            "checkpoint": self.root / "checkpoints" / f"{number}.json",
        }
        return files.get(kind)


def stanza(key: str) -> str:
    """What the header of an age file names for a public key."""
    kind, _, data = key.partition(" ")
    if not data:
        return "X25519"
    return f"{kind} {base64.b64encode(hashlib.sha256(base64.b64decode(data)).digest()[:4]).decode().rstrip('=')}"


def call(command: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a program with ``data`` as its input."""
    return subprocess.run(command, input=data, capture_output=True, check=False)


def one_line(data: bytes) -> str:
    """What a program said, on one line."""
    return " ".join(data.decode("utf-8", "replace").split())[:300]


def key_problem(root: Path, identity: str) -> str:
    """Why encrypted evidence cannot be opened at all; empty where it can, or where there is none."""
    first = sorted(root.glob(f"**/{EVIDENCE}*/*/items.jsonl.age"))[:1]
    if first and shutil.which("age") is None:
        return "age is not on this machine, and opens what is encrypted"
    for path in first:
        with tempfile.TemporaryDirectory(prefix="verify-case-") as copy:
            said = opened(path, Path(copy) / "items.jsonl", identity)
        if said and "failed to decrypt" not in said and "header" not in said:
            return f"{path}: {said}"
    return ""


def start() -> Path:
    """The case or bag that this file lies in."""
    here = Path(__file__).resolve().parent
    return here.parent.parent if here.name == "records" and (here.parent.parent / "bagit.txt").exists() else here


def main(arguments: list[str] | None = None) -> int:
    """Verify; the exit status."""
    parser = argparse.ArgumentParser(description="Check a case of Excise, or one of its bags.")
    parser.add_argument("case", nargs="?", type=Path, metavar="CASE", help="default: where this file lies")
    parser.add_argument("--expect-head", metavar="HASH", help="the audit head that was printed or noted elsewhere")
    parser.add_argument("--allowed-signers", metavar="FILE", help="whose keys may sign, as ssh-keygen takes it")
    parser.add_argument("--ca-file", metavar="FILE", help="root certificates of the time-stamp authority, PEM")
    parser.add_argument("--identity", metavar="FILE", help="a private key that age opens encrypted evidence with")
    parser.add_argument("--approval-namespace", default="excise-approval", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quiet", action="store_true", help="only what does not hold or was not checked")
    options = parser.parse_args(arguments)
    place = Place(options.case or start())
    if not place.case_json.exists():
        print(plain(f"{place.root}: expected a case or a bag of one, found none"), file=sys.stderr)
        return 2
    if options.identity is not None and (wrong := key_problem(place.root, options.identity)):
        print(plain(wrong), file=sys.stderr)
        return 2
    report = Report(options.json, options.quiet)
    Verification(place, report, options).run()
    counts = report.counts
    if options.json:
        summary = {"holds": counts[True], "does_not_hold": counts[False], "not_checked": counts[None]}
        print(json.dumps({"summary": summary}))
    else:
        hold, lost = "holds" if counts[True] == 1 else "hold", "was" if counts[None] == 1 else "were"
        wrong = "does" if counts[False] == 1 else "do"
        print(f"{counts[True]} {hold}, {counts[False]} {wrong} not hold, {counts[None]} {lost} not checked")
    return 5 if counts[False] else 0


if __name__ == "__main__":
    sys.exit(main())
