"""The chain-of-custody record, and a draft certificate under Federal Rule of Evidence 902(14).

Both are Markdown and hold facts of the case alone: who did what when, and the hashes. What a person has to say, and to
sign, is left blank. No subject and no correspondent is in them (S23).
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from string import Template
from typing import Any

from excise import __version__
from excise.case.bag import is_encrypted, is_sealed, seal_path, tag_manifest_sha256
from excise.case.chain import ChainReading, read_chain
from excise.case.gathered import PART_WRITTEN
from excise.case.layout import Case
from excise.case.parts import committed_parts, part_name
from excise.case.plan import Plan, read_plan
from excise.core.age import key_name
from excise.core.clock import iso, now
from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify
from excise.core.files import open_nofollow, os_error, read_regular
from excise.core.text import count_of, shown
from excise.engine.accounts import planned, used

CUSTODY, CERTIFICATE = "custody.md", "certificate-902-14.md"
#: In the place of a mailbox's name, for the one PST of the case.
_EVERY = "all of these, in one PST"
_BLANK = "_______________________"
#: What a record of the audit log is called in the chain of custody; those that are not here are of single mailboxes.
_STEPS = {
    "case-created": "Case made",
    "search-started": "Search started",
    "plan-made": "Plan frozen",
    "standing-asked": "Standing approval asked for",
    "standing-pass": "Pass of a sweep approved by a standing approval",
    "standing-refused": "Pass of a sweep refused under a standing approval",
    "confirmed": "Plan confirmed",
    "run-started": "Collection started",
    "run-resumed": "Collection resumed",
    "run-stopped": "Collection stopped before its end",
    "bag-sealed": "Evidence sealed",
    "run-finished": "Collection ended",
    "checkpoint": "Audit head written down",
    "stamped": "Time stamp received",
    "report-written": "Report written",
    "load-file-written": "Copies written for review",
    "custody-written": "Custody record written",
    "bag-encrypted": "Evidence encrypted",
    "plaintext-removed": "Evidence in the clear removed",
    "evidence-opened": "Encrypted evidence opened",
    "case-closed": "Case closed",
}


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of evidence: its mailbox, where it is, how many messages it has, SHA-256 of its files by name.

    ``again``: its messages are in other parts too.
    """

    mailbox: str
    place: str
    messages: int
    files: Mapping[str, str]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sealed bag that holds evidence. ``sealed``: SHA-256 of its tag manifest before it was encrypted, if it was."""

    plan: Plan
    bag: str
    seal: str
    parts: Sequence[_Part]
    sealed: str = ""

    @property
    def messages(self) -> int:
        """How many messages it holds."""
        return sum(part.messages for part in self.parts if not part.again)


def custody_files(case: Case) -> dict[str, bytes]:
    """Both papers by name. DoesNotVerify where the audit log or a plan is not what it must be."""
    audit = read_chain(case.audit_path)
    if not audit.records:
        raise DoesNotVerify(f"{case.audit_path}: expected records, found none")
    bags = [_evidence(case, plan, audit.records) for plan in _sealed_plans(case, audit)]
    custody = "\n".join(_custody(case, audit, bags)) + "\n"
    certificate = _certificate(case, audit, bags)
    return {
        name: text.encode("utf-8", "backslashreplace")
        for name, text in {CUSTODY: custody, CERTIFICATE: certificate}.items()
    }


def _sealed_plans(case: Case, audit: ChainReading) -> Iterator[Plan]:
    kinds = ("bag-sealed", "bag-encrypted")
    seals = {(r.get("plan"), r.get("tagmanifest_sha256")) for r in audit.records if r["type"] in kinds}
    for number in case.plan_numbers():
        plan, bag = read_plan(case, number), case.bag_dir(number)
        if is_sealed(bag) and plan.action.preserves:
            if (number, tag_manifest_sha256(bag)) not in seals:
                raise DoesNotVerify(
                    f"{bag}: not the bag that the audit log recorded", hint=f"See: excise verify {case.root}"
                )
            yield plan


def _evidence(case: Case, plan: Plan, records: Sequence[Mapping[str, Any]]) -> Evidence:
    bag = case.bag_dir(plan.number)
    parts = []
    files, counts = _files(bag), _messages(bag)
    for unit in plan.units:
        for number, part in committed_parts(case.evidence_dir(plan.number, unit.unit)):
            place = f"data/evidence/{unit.unit:05}/{part_name(number)}"
            count = counts[unit.unit, number] if counts is not None else _lines(part / "items.jsonl")
            parts.append(_Part(unit.name, place, count, files.get(place, {})))
    written = {r["part"]: r["items"] for r in records if (r["type"], r.get("plan")) == (PART_WRITTEN, plan.number)}
    for number, part in committed_parts(case.gathered_dir(plan.number)):
        place = f"data/evidence/{part.parent.name}/{part_name(number)}"
        count = _lines(part / "items.jsonl") if counts is None else written[number]
        parts.append(_Part(_EVERY, place, count, files.get(place, {}), again=True))
    sealed = sha256_hex(read_regular(seal_path(bag))) if is_encrypted(bag) else ""
    return Evidence(plan, bag.name, tag_manifest_sha256(bag), parts, sealed)


def _messages(bag: Path) -> Counter[tuple[int, int]] | None:
    """How many messages each part has, by unit and part, of an encrypted bag; from the table that is not encrypted."""
    if not is_encrypted(bag):
        return None
    path = bag / "data" / "records" / "items.csv"
    try:
        with os.fdopen(open_nofollow(path), "rb") as stream, TextIOWrapper(stream, "utf-8", newline="") as text:
            return Counter((int(row["unit"]), int(row["part"])) for row in csv.DictReader(text))
    except OSError as error:
        raise os_error(error, path, "reading the records") from error
    except (csv.Error, KeyError, ValueError) as error:
        raise DoesNotVerify(f"{path}: expected a table of items, found something else") from error


def _files(bag: Path) -> dict[str, dict[str, str]]:
    """SHA-256 by file name by directory, from the bag's manifest."""
    found: dict[str, dict[str, str]] = {}
    for line in read_regular(bag / "manifest-sha256.txt").decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        directory, _, file = name.rpartition("/")
        found.setdefault(directory, {})[file] = digest
    return found


def _lines(path: Path) -> int:
    try:
        with os.fdopen(open_nofollow(path), "rb") as stream:
            return sum(1 for _ in stream)
    except OSError as error:
        raise os_error(error, path, "reading the evidence") from error


def cell(value: Any) -> str:
    """``value`` in a table or a line of Markdown: nothing in it is markup, nor ends the line (S27)."""
    text = "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~<>&" else c for c in shown(str(value)))
    return text or "–"


def _table(heads: Sequence[str], rows: Iterator[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(map(cell, row)) + " |"


def _authority(case: Case) -> Mapping[str, Any]:
    found = case.facts.get("authorisation")
    return found if isinstance(found, dict) else {}


def _who(record: Mapping[str, Any], otherwise: Mapping[str, Any]) -> str:
    who = record.get("who")
    facts = who if isinstance(who, dict) else otherwise
    return f"{facts.get('user')} (uid {facts.get('uid')}) on {facts.get('host')}" if facts else ""


def _count(value: object, noun: str) -> str:
    return count_of(value, noun) if isinstance(value, int) else f"{value} {noun}s"


def _detail(record: Mapping[str, Any]) -> str:
    plan = f"plan {record['plan']}" if record.get("plan") else ""
    signed = "signed" if record.get("signed") else "not signed"
    facts = {
        "confirmed": record.get("how"),
        "plan-made": _count(record.get("matches"), "message"),
        "bag-sealed": record.get("bag"),
        "run-finished": f"status {record.get('exit_code')}",
        "checkpoint": f"after {_count(record.get('records'), 'record')}, {signed}",
        "run-started": "; ".join(used(record)),
        "run-resumed": "; ".join(used(record)),
        "stamped": f"{record.get('of')}: {record.get('stamp_time')}, by {record.get('authority') or 'hand'}",
        "case-closed": record.get("statement"),
        "bag-encrypted": _encrypted_to(record),
        "plaintext-removed": record.get("bag"),
        "evidence-opened": f"for {record.get('why')}",
        "load-file-written": _count(record.get("documents"), "document"),
        "standing-asked": f"number {record.get('standing')}, {record.get('per_hour')} an hour "
        f"until {record.get('until')}",
        "standing-pass": f"number {record.get('standing')}, {record.get('removable')} to remove, "
        f"{record.get('counted')} in the hour before",
        "standing-refused": f"number {record.get('standing')}: {record.get('why')}",
    }
    said = facts.get(record["type"])
    return ", ".join(part for part in (plan, str(said or "")) if part)


def _encrypted_to(record: Mapping[str, Any]) -> str:
    keys = record.get("recipients")
    return f"{record.get('bag')}, to {', '.join(key_name(str(key)) for key in keys or ())}"


def _custody(case: Case, audit: ChainReading, bags: Sequence[Evidence]) -> Iterator[str]:
    said = _authority(case)
    yield from ("# Chain of custody", "")
    yield f"Case {cell(case.id)}, written {iso(now())} with Excise {__version__}. All times are UTC."
    yield from ("", "## Authority", "")
    labels = ("ticket", "reason", "operator", "user", "uid", "host", "excise", "python", "system", "time")
    yield from _table(
        ("what", "as recorded when the case was made"), ((label, said.get(label, "")) for label in labels)
    )
    yield from ("", "`operator` is what was said; `user`, `uid` and `host` are what the machine knew.", "")
    yield from ("## What was done", "")
    steps = [record for record in audit.records if record["type"] in _STEPS]
    maker = said if steps and steps[0]["type"] == "case-created" else {}
    yield from _table(
        ("record", "time", "what", "detail", "by"),
        (
            (r["seq"] + 1, r["time"], _STEPS[r["type"]], _detail(r), _who(r, maker if not r["seq"] else {}))
            for r in steps
        ),
    )
    yield from ("", "`record` is the line of audit.jsonl, which has a record of every mailbox beside these.", "")
    for bag in bags:
        yield from _bag_section(bag)
    yield from _check_section(case, audit, bags)
    yield from ("## Hand-over", "")
    yield from (
        "Whoever releases or receives the evidence signs here, after checking the SHA-256 of the tag manifest.",
        "",
    )
    heads = ("date and time", "released by", "received by", "purpose", "SHA-256 checked", "signatures")
    yield from _table(heads, iter([("",) * len(heads)] * 4))


def _bag_section(bag: Evidence) -> Iterator[str]:
    plan = bag.plan
    yield from (f"## Evidence of plan {plan.number}: {bag.bag}", "")
    facts = {
        "action": plan.action.value,
        "accounts": "; ".join(planned(plan)),
        "rights beyond the scope": "; ".join(map(str, plan.header.get("warnings", ()))),
        "rule": plan.header.get("rule", ""),
        "plan's SHA-256": plan.sha256,
        "SHA-256 of tagmanifest-sha256.txt": bag.seal,
        **({"the same before it was encrypted": bag.sealed} if bag.sealed else {}),
        "mailboxes searched": sum(not unit.not_searched for unit in plan.units),
        "mailboxes not searched": sum(bool(unit.not_searched) for unit in plan.units),
        "messages hashed, and not preserved" if plan.hashes_only else "messages preserved": bag.messages,
    }
    if plan.hashes_only:
        yield "**No evidence was kept** (`--no-evidence`, with a second person's approval): the parts below hold"
        yield from ("hashes and envelopes alone. Nothing of what was removed can be shown or put back.", "")
    yield from _table(("what", "value"), iter(facts.items()))
    yield ""
    rows = ((p.mailbox, f"{p.place}/{name}", p.messages, digest) for p in bag.parts for name, digest in p.files.items())
    yield from _table(("mailbox", "file in the bag", "messages", "SHA-256"), rows)
    yield ""


def _check_section(case: Case, audit: ChainReading, bags: Sequence[Evidence]) -> Iterator[str]:
    yield from ("## Hashes that bind it", "")
    records = count_of(len(audit.records), "record")
    yield f"The head of the audit log when this was written, after {records}: `{audit.head}`"
    yield from ("", f"SHA-256 of case.json: `{case.sha256}`", "", "Check it without Excise:", "")
    yield f"    python3 -I verify_case.py CASE --expect-head {audit.head}"
    for bag in bags:
        yield f"    (cd {bag.bag} && sha256sum -c manifest-sha256.txt tagmanifest-sha256.txt)"
    yield ""


def _certificate(case: Case, audit: ChainReading, bags: Sequence[Evidence]) -> str:
    said = _authority(case)
    facts = {key: cell(said.get(key, "")) for key in ("time", "excise", "host", "user", "ticket", "reason")}
    containers = [
        f"   - {bag.bag}, {count_of(bag.messages, 'message')}, OF WHICH NO COPY WAS KEPT, hashes alone: `{bag.seal}`"
        if bag.plan.hashes_only
        else f"   - {bag.bag}, {count_of(bag.messages, 'message')}: `{bag.seal}`"
        for bag in bags
    ]
    missing = f"   - none has been sealed so far: {_BLANK}"
    more = {"case": cell(case.id), "containers": "\n".join(containers) or missing, "head": audit.head}
    text = Path(__file__).with_name("certificate.md").read_text(encoding="utf-8")
    return Template(text).substitute(facts, blank=_BLANK, **more)
