"""Mailbox files that are made anew because nothing can be removed from them in place (``--rewrite``).

The plan says of each why, how many items its new file has, and what cannot be read: that is in the old file alone,
which is therefore kept in the evidence, whole and verified, before the new one takes its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.case.originals import ORIGINAL, commit_original, committed_originals, is_copy, write_original
from excise.case.plan import Plan, UnitPlan, lost_path, read_lines
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError
from excise.core.files import PARTIAL, flush_names, os_error, write_durably
from excise.engine.journal import Journal
from excise.model.item import Removal, Target
from excise.store_api import registry
from excise.store_api.errors import MailboxChanged
from excise.store_api.protocols import Mailbox, Remake, Remaking, Unreadable


def plan_remaking(unit: UnitPlan, directory: Path, ids: Sequence[str]) -> UnitPlan:
    """``unit`` with what making its file anew without ``ids`` would come to; as it is where that is not needed."""
    mailbox = registry.store(unit.kind).open(unit.locator)
    try:
        remake = mailbox.plan_remake(ids) if isinstance(mailbox, Remaking) else None
        size = mailbox.info.size or 0
    finally:
        mailbox.close()
    if remake is None:
        return unit
    lines = [canonical_json(_lost_line(each)) + b"\n" for each in remake.lost]
    if lines:
        write_durably(lost_path(directory, unit.unit), lines)
    digest = sha256_hex(b"".join(lines)) if lines else ""
    space = max(unit.space_for_removal, size)
    planned = replace(unit, rewrite=remake.reason, kept=remake.kept, lost=len(lines), space_for_removal=space)
    return replace(planned, lost_sha256=digest)


def _lost_line(lost: Unreadable) -> dict[str, Any]:
    return {"id": lost.id, "folder": lost.folder, "where": lost.where, "reason": lost.reason}


def remake(
    originals: Originals, plan: Plan, unit: UnitPlan, mailbox: Mailbox, targets: Sequence[Target]
) -> list[Removal]:
    """Make the mailbox's file anew without ``targets``, its old file kept first; the store's answers."""
    if not isinstance(mailbox, Remaking):
        raise ExciseError(f"{unit.name}: planned to be made anew, which its store cannot do")
    lines = read_lines(lost_path(plan.directory, unit.unit), unit.lost_sha256) if unit.lost_sha256 else []
    lost = tuple(Unreadable(line["where"], line["reason"], line["folder"], line["id"]) for line in lines)
    planned = Remake(unit.rewrite, unit.kept, lost)
    originals.adopt()
    return list(mailbox.remake(targets, planned, originals.keep, originals.about_to)) if targets else []


class Originals:
    """The files of one unit that are kept as they were."""

    def __init__(self, case: Case, evidence: Path, directory: Path, journal: Journal, unit: UnitPlan) -> None:
        """``evidence`` and ``directory`` are the unit's."""
        self._case, self._evidence, self._directory = case, evidence, directory
        self._journal, self._unit = journal, unit
        self._kept: Path | None = None

    def adopt(self) -> None:
        """Throw away what a killed process had not finished; DoesNotVerify for what the journal does not know."""
        for partial in self._directory.glob(f"{ORIGINAL}*"):
            shutil.rmtree(partial)
        known = {note["name"] for note in self._journal.records if note["type"] == "original"}
        for path in committed_originals(self._evidence).values():
            flush_names(self._evidence, self._case.root)
            if path.name not in known:
                raise DoesNotVerify(
                    f"{path}: expected the originals that the journal names, found another one",
                    hint="Something else wrote into the case. Nothing was removed. Start again with a new case.",
                )

    def keep(self, source: BinaryIO) -> None:
        """Have ``source`` in the evidence, byte for byte, where it is not there from before."""
        there = committed_originals(self._evidence)
        try:
            self._kept = next((path for path in there.values() if is_copy(path, source)), None)
            if self._kept is None:
                self._kept = self._write(max(there, default=0) + 1, source)
        except OSError as error:
            raise os_error(error, self._evidence, "keeping the file that is made anew") from error

    def _write(self, number: int, source: BinaryIO) -> Path:
        name = f"{ORIGINAL}{number:03}"
        partial = self._directory / f"{name}{PARTIAL}"
        unit = self._unit
        about = {"source": unit.locator, "mailbox": unit.name, "identity": unit.identity, "kept_at": iso(now())}
        digest, size = write_original(partial, source, about)
        self._journal.note("original", name=name, sha256=digest, size=size)
        final = self._case.make(self._evidence) / name
        commit_original(partial, final)
        return final

    def about_to(self, source: BinaryIO, remake: Remake) -> None:
        """The new file is about to take the name: the old one must be what is kept; what comes is journalled."""
        if self._kept is None or not is_copy(self._kept, source):
            raise MailboxChanged(
                f"{self._unit.name}: was written to while it was locked, and is not what is kept of it",
                hint="It is as it was. Find out which program does not keep to the locks, then: excise resume CASE",
            )
        lost = [{"id": each.id, "where": each.where, "reason": each.reason} for each in remake.lost]
        more = {"left_out": [_lost_line(each) for each in remake.left_out]} if remake.left_out else {}
        self._journal.note("rewriting", original=self._kept.name, kept=remake.kept, lost=lost, **more)


def lost_of(case: Case, plan: Plan, unit: UnitPlan) -> list[dict[str, Any]]:
    """What of a unit is in its old file alone, by its journal, with the name of the kept original."""
    note = _rewriting(case, unit)
    if note is None or not note["lost"]:
        return []
    folders = {
        line["id"]: line["folder"] for line in read_lines(lost_path(plan.directory, unit.unit), unit.lost_sha256)
    }
    told = {"unit": unit.unit, "mailbox": unit.name, "original": note["original"]}
    return [{**told, **line, "folder": folders.get(line["id"])} for line in note["lost"]]


def left_out_of(case: Case, unit: UnitPlan) -> list[dict[str, Any]]:
    """What is no item and was not taken over into a unit's new file, as ``lost_of``."""
    note = _rewriting(case, unit)
    told = {"unit": unit.unit, "mailbox": unit.name, "original": "" if note is None else note["original"]}
    return [{**told, **line} for line in (note or {}).get("left_out", ())]


def _rewriting(case: Case, unit: UnitPlan) -> dict[str, Any] | None:
    if not (unit.rewrite and unit.matches):
        return None
    records = read_chain(case.unit_dir(unit.unit) / "journal.jsonl").records
    return next((record for record in reversed(records) if record["type"] == "rewriting"), None)
