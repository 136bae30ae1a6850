"""One mailbox's work in a run: everything of it is preserved, committed and verified before anything is removed (S13).

The order of the steps is that of DESIGN.md, "A run". Each step is journalled before and after; ``run_unit`` may be
called again after a kill at any instruction and goes on from the journal. Nothing here trusts an earlier process:
evidence is read again by this one before it removes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.part_pst import PartFull
from excise.case.parts import (
    EvidenceKind,
    PartWriter,
    Provenance,
    committed_parts,
    part_files,
    part_name,
    partial_name,
)
from excise.case.plan import Plan, UnitPlan, iterate_excluded, planned_items, read_plan
from excise.case.reread import reread_part
from excise.core.clock import iso, now
from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, Unfinished
from excise.core.files import flush_names, os_error
from excise.core.text import are, count_of
from excise.criteria import Criteria
from excise.engine.authority import HELD, check_authority, holds_now
from excise.engine.channel import Channel
from excise.engine.journal import Journal
from excise.engine.remaking import Originals, remake
from excise.engine.search import Match, Searched, search_mailbox
from excise.engine.states import Event, State
from excise.model.item import INCOMPLETE, Disposal, Fetched, Outcome, Removal, Target, Whereabouts
from excise.policy.holds import Holds
from excise.store_api import registry
from excise.store_api.errors import ItemChanged, ItemDamaged, ItemNotFound, MailboxChanged
from excise.store_api.protocols import Compacting, Mailbox, iterate_removals

_GONE = {
    Disposal.HARD: (Whereabouts.ABSENT,),
    Disposal.SOFT: (Whereabouts.RECOVERABLE,),
    Disposal.TRASH: (Whereabouts.IN_TRASH,),
}
#: What became of an item that was not where it was planned.
_LOST = {
    Whereabouts.ABSENT: Outcome.ALREADY_ABSENT,
    Whereabouts.ELSEWHERE: Outcome.MOVED_ELSEWHERE,
    Whereabouts.IN_TRASH: Outcome.MOVED_ELSEWHERE,
    Whereabouts.RECOVERABLE: Outcome.MOVED_ELSEWHERE,
    Whereabouts.CHANGED: Outcome.CHANGED,
}
_RESUME = "Mend the cause, then: excise resume CASE"


@dataclass(frozen=True, slots=True)
class UnitTask:
    """A unit to run: which case, which plan (and the SHA-256 that was confirmed), which unit."""

    root: Path
    plan: int
    unit: int
    plan_sha256: str

    def read_plan(self, case: Case) -> Plan:
        """The plan, read anew; a DoesNotVerify where it is not the one that was confirmed (S06)."""
        plan = read_plan(case, self.plan)
        if plan.sha256 != self.plan_sha256:
            raise DoesNotVerify(
                f"{plan.directory}: expected the plan {self.plan_sha256[:16]}…, found {plan.sha256[:16]}…",
                hint="It was changed while the run went on. Restore the file, then: excise resume CASE",
            )
        return plan


@dataclass(frozen=True, slots=True)
class UnitResult:
    """How a unit ended. ``outcomes`` counts items by outcome; the heads bind its two logs; ``late``: new matches
    seen."""

    unit: int
    outcomes: dict[str, int] = field(default_factory=dict)
    audit_head: str = ""
    journal_head: str = ""
    late: int = 0
    error: str = ""
    exit_code: int = 0


class _Planned(NamedTuple):
    """What a run needs of a planned item, of which there may be very many."""

    id: str
    version: str
    folder: str
    doubt: str
    message_id: str | None
    matched: tuple[str, ...]

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> _Planned:
        """From the item's line in the plan."""
        folder, matched = intern(line["folder"]), tuple(map(intern, line["matched"]))
        return cls(line["id"], line["version"], folder, line["doubt"], line["envelope"]["message_id"], matched)


class _Waiting:
    """Fetched items on their way into parts; only the first is in memory."""

    def __init__(self, items: Iterator[tuple[int, Fetched]]) -> None:
        self._items = items
        self.first = next(items, None)

    def next(self) -> None:
        """Drop the first and fetch the one after it."""
        self.first = None
        self.first = next(self._items, None)


class UnitRun:
    """A unit while it runs; its methods are the steps in their order."""

    def __init__(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        """Read the planned items and open journal and audit log."""
        self.case, self.plan, self.unit, self.channel = case, plan, unit, channel
        self.matches = {match["item"]: _Planned.of(match) for match in planned_items(plan, unit)}
        directory = case.make(case.unit_dir(unit.unit))
        self.directory = directory
        self.journal = Journal(directory / "journal.jsonl", list(self.matches))
        self.audit = ChainedLog(directory / "audit.jsonl")
        self.evidence = case.evidence_dir(plan.number, unit.unit)
        self.kinds = tuple(EvidenceKind(kind) for kind in plan.header["evidence"])
        self.one_pst = plan.header.get("pst_per") == "case"
        self.late = 0
        self.unread: dict[int, str] = {}

    def close(self) -> None:
        """Close both logs."""
        self.journal.close()
        self.audit.close()

    def target(self, item: int) -> Target:
        """The planned item as the store is asked for it."""
        match = self.matches[item]
        return Target(match.id, match.version, match.folder)

    def check_identity(self, mailbox: Mailbox) -> None:
        """The mailbox is the one that was planned, or the one that this unit made of it (S30)."""
        known = [note["identity"] for note in self.journal.records if note["type"] == "identity"]
        expected = known[-1] if known else self.unit.identity
        found = mailbox.info.identity
        if self._may_have_replaced_it():
            return
        if found not in {expected, self.unit.identity}:
            raise MailboxChanged(
                f"{self.unit.name}: expected the mailbox that was planned ({expected}), found another one ({found})",
                hint="It was replaced since the plan was made: make a new plan. Nothing was removed from it.",
            )

    def _may_have_replaced_it(self) -> bool:
        """True where a killed process may have put a new file in the mailbox's place and not noted its identity.

        What is there is then looked at item by item, by fingerprint, and all of it is in the evidence.
        """
        types = [record["type"] for record in self.journal.records]
        begun = len(types) - types[::-1].index(Event.REMOVING) if Event.REMOVING in types else 0
        return self._may_become_another() and begun > 0 and "identity" not in types[begun:]

    def _may_become_another(self) -> bool:
        """True where a removal may put a new file in the mailbox's place: nobody else may (S30)."""
        return bool(self.unit.rewrite) or registry.store(self.unit.kind).capabilities.rewrites

    # Preserving

    def adopt_parts(self) -> int:
        """Deal with what a killed process left: committed parts are kept, unfinished ones thrown away.

        The number of the last committed part. A part that the journal does not know is a DoesNotVerify.
        """
        for partial in self.directory.glob("part-*"):
            shutil.rmtree(partial)
        committed = committed_parts(self.evidence)
        known = {record["part"] for record in self.journal.records if record["type"] == Event.FETCHED}
        if committed:
            # The process that gave a part its name may have been killed before it flushed that name.
            flush_names(self.evidence, self.case.root)
        for number, part in committed:
            if number not in known:
                raise DoesNotVerify(
                    f"{part}: expected the parts that the journal names, found another one",
                    hint="Something else wrote into the case. Nothing was removed. Start again with a new case.",
                )
            pending = [i for i in self.journal.in_state(State.FETCHED) if self.journal.status[i].part == number]
            self.journal.event(Event.PRESERVED, pending, part=number)
        return committed[-1][0] if committed else 0

    def preserve(self, mailbox: Mailbox) -> None:
        """Fetch, hash, write and commit every item that is not yet in the evidence."""
        part = self.adopt_parts()
        todo = self.journal.in_state(State.PLANNED, State.FETCHED)
        waiting = _Waiting(self._fetch_each(mailbox, iter(todo)))
        while waiting.first is not None:
            part += 1
            self._write_part(part, waiting)
            self.channel.check()

    def _fetch_each(self, mailbox: Mailbox, items: Iterator[int]) -> Iterator[tuple[int, Fetched]]:
        for item in items:
            fetched = self._fetch(mailbox, item)
            if fetched is not None:
                yield item, fetched

    def _fetch(self, mailbox: Mailbox, item: int) -> Fetched | None:
        """One item as planned; None, its outcome journalled, where it is gone, changed or damaged."""
        self.channel.check()
        target = self.target(item)
        try:
            fetched = mailbox.fetch(target.id)
        except ItemNotFound as error:
            where = mailbox.look([target])[target.id]
            if where in _LOST:
                self.journal.ended([(item, _LOST[where], str(error))])
            else:
                self.unread[item] = f"{error.message}; when it was looked for: {where.value}"
        except ItemChanged as error:
            self.journal.ended([(item, Outcome.CHANGED, str(error))])
        except ItemDamaged as error:
            if isinstance(error.__cause__, OSError):
                self.unread[item] = str(error)  # the disk's fault and not the message's: it stays open
            else:
                self.journal.ended([(item, Outcome.FAILED, str(error))])
        else:
            if fetched.is_version(target.version):
                # The evidence names it as the plan does.
                return replace(fetched, version=target.version)
            self.journal.ended([(item, Outcome.CHANGED, "its fingerprint is not the planned one")])
        return None

    def _write_part(self, part: int, waiting: _Waiting) -> None:
        final = self.case.make(self.evidence) / part_name(part)
        partial = self.directory / partial_name(part)
        try:
            kinds = self._part_kinds(waiting)
            writer = PartWriter(partial, kinds, int(self.plan.header["part_size"]), self.unit.name)
            try:
                hashes = self._fill(writer, waiting, kinds)
                digests = writer.complete()
            except BaseException:
                writer.abandon()
                raise
            self.journal.event(Event.FETCHED, hashes, part=part, files=digests)
            writer.commit(final)
        except OSError as error:
            raise os_error(error, partial, "writing evidence") from error
        self.journal.event(Event.PRESERVED, [entry[0] for entry in hashes], part=part)

    def _part_kinds(self, waiting: _Waiting) -> tuple[EvidenceKind, ...]:
        """The kinds of evidence of a part that begins with the first item that waits.

        Where the case gets one PST, a part has one only if another kind does not hold all of an item, as of one that is
        properties and no MIME.
        """
        others = tuple(kind for kind in self.kinds if kind is not EvidenceKind.PST)
        whole = waiting.first is not None and waiting.first[1].item is not None
        return others if self.one_pst and others and not whole else self.kinds

    def _fill(self, writer: PartWriter, waiting: _Waiting, kinds: tuple[EvidenceKind, ...]) -> list[list[Any]]:
        """Write what fits; number, hash and size of each item."""
        hashes: list[list[Any]] = []
        while waiting.first is not None and writer.takes(waiting.first[1]):
            item, fetched = waiting.first
            if fetched.item is not None and kinds != self.kinds:
                break
            digest = sha256_hex(fetched.content)
            try:
                writer.add(fetched, self._provenance(item, digest))
            except PartFull:
                break
            hashes.append([item, digest, len(fetched.content)])
            missing = [note for note in fetched.notes if note.startswith(INCOMPLETE)]
            if missing:
                self.journal.note("incomplete", item=item, why="; ".join(missing))
            self.channel.advance(0, len(fetched.content))
            del fetched
            waiting.next()
        return hashes

    def _provenance(self, item: int, digest: str) -> Provenance:
        match = self.matches[item]
        return Provenance(
            f"{self.unit.unit:05}-{item:06}",
            item,
            self.unit.locator,
            self.unit.name,
            digest,
            match.message_id,
            match.matched,
            iso(now()),
        )

    # Verifying

    def verify(self) -> None:
        """Read every part again with another reader; what it finds must be what was hashed as it was fetched.

        A difference ends the unit with DoesNotVerify before anything is removed.
        """
        pending = self.journal.in_state(State.PRESERVED, State.VERIFIED, State.REMOVING)
        for part in sorted({self.journal.status[item].part for item in pending}):
            path = self.evidence / part_name(part)
            try:
                found = reread_part(path, part_files(self.journal.records, part), hashes_only=self.plan.hashes_only)
            except OSError as error:
                raise os_error(error, path, "reading the evidence again") from error
            items = [item for item in pending if self.journal.status[item].part == part]
            problems = list(found.problems)
            for item in items:
                line, status, target = found.items.get(item), self.journal.status[item], self.target(item)
                seen = line and (line.sha256, line.size, line.id, line.version)
                if seen != (status.sha256, status.size, target.id, target.version):
                    problems.append(
                        f"{path}: item {item}: expected SHA-256 {status.sha256[:16]}… as fetched, found {seen}"
                    )
            if problems:
                self.audit.append({"type": "evidence-does-not-verify", "part": part, "problems": len(problems)})
                raise DoesNotVerify(
                    problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""),
                    hint="Nothing more was removed from it. Look at the disk, then start again with a new case.",
                )
            self.journal.event(Event.VERIFIED, items, part=part)
            self.channel.check()

    # Removing

    def remove(self, mailbox: Mailbox) -> None:
        """Remove what is verified, item outcomes journalled; then look again (S20)."""
        todo = self.journal.in_state(State.VERIFIED, State.REMOVING)
        incomplete = self._incomplete()
        doubts = {item: self.matches[item].doubt or incomplete.get(item, "") for item in todo}
        self.journal.ended([(item, Outcome.REFUSED, doubt) for item, doubt in doubts.items() if doubt])
        disposal = Disposal(self.unit.disposal)
        gone = self._gone_before(mailbox, self.journal.in_state(State.REMOVING), disposal)
        todo = self._not_held(mailbox, [item for item in todo if not doubts[item]], gone)
        if not todo:
            return
        check_authority(self.case, self.plan)
        targets = {self.target(item).id: item for item in todo}
        self.journal.event(Event.REMOVING, todo)
        left = [self.target(item) for item in todo if item not in gone]
        try:
            removals = iterate_removals(left, self._take_out(mailbox, left, disposal))
        except ValueError as error:
            raise ExciseError(f"{self.unit.name}: {error}: the store's plug-in does not keep its contract") from error
        if self._may_become_another():
            self.journal.note("identity", identity=mailbox.info.identity)
        self._settle(mailbox)
        where = mailbox.look([self.target(item) for item in todo])
        outcomes = []
        for item_id, item in targets.items():
            if item in gone:
                outcome, detail = Outcome.REMOVED, "found removed when the run was resumed"
            else:
                outcome, detail = removals[item_id].outcome, removals[item_id].detail
            if outcome is Outcome.REMOVED and where[item_id] is Whereabouts.ELSEWHERE:
                detail = "; ".join(filter(None, (detail, "a message of that name is elsewhere in the mailbox")))
            elif outcome is Outcome.REMOVED and where[item_id] not in _GONE[disposal]:
                outcome = Outcome.UNKNOWN if where[item_id] is Whereabouts.UNKNOWN else Outcome.FAILED
                detail = f"reported removed, but found {where[item_id].value} when looked for"
            outcomes.append((item, outcome, detail))
        self._end_removal(outcomes, {item for item in todo if where[self.target(item).id] is Whereabouts.HERE})

    def _take_out(self, mailbox: Mailbox, targets: list[Target], disposal: Disposal) -> Iterator[Removal]:
        if not self.unit.rewrite:
            return mailbox.remove(targets, disposal)
        originals = Originals(self.case, self.evidence, self.directory, self.journal, self.unit)
        return iter(remake(originals, self.plan, self.unit, mailbox, targets))

    def _not_held(self, mailbox: Mailbox, items: list[int], gone: set[int]) -> list[int]:
        """Of ``items`` those that may be removed by the holds of this moment (S24); the others have ended."""
        whole, holds = self._held_whole(mailbox), holds_now(self.plan)
        left = set(items) - gone
        lines = planned_items(self.plan, self.unit) if left and not whole else ()
        found = {line["item"]: self._held(holds, line) for line in lines if line["item"] in left}
        why = {item: whole or found[item] for item in items if item in left}
        self.journal.ended([(item, Outcome.HELD, case) for item, case in why.items() if case])
        return [item for item in items if not why.get(item)]

    def _held(self, holds: Holds, line: Mapping[str, Any]) -> str:
        """The matters for which the item of a plan's line is held, now or when the plan was made."""
        return str(line.get("hold") or "") or holds.item(self.unit.name, line["envelope"])

    def _held_whole(self, mailbox: Mailbox | None = None) -> str:
        """Why nothing may be removed from this mailbox, by the plan, the policy and, where it is open, its store."""
        planned = self.unit.hold.removeprefix(HELD) if self.unit.hold.startswith(HELD) else ""
        tells = registry.store(self.unit.kind).capabilities.reports_holds
        told = mailbox.info.hold if mailbox is not None and tells else ""
        return planned or holds_now(self.plan).mailbox(self.unit.name) or told or ""

    def _settle(self, mailbox: Mailbox) -> None:
        """See to it that a removal left nothing beside the mailbox (a replaced file holds what was removed)."""
        for done in mailbox.recover():
            self.journal.note("recovered", what=done)
            for left in mailbox.recover():
                raise Unfinished(f"{self.unit.name}: the removal is not finished: {left}", hint=_RESUME)

    def _end_removal(self, outcomes: list[tuple[int, Outcome, str]], here: set[int]) -> None:
        """Journal the outcomes. What is unknown, or failed and is still there, stays open: the cause may be mended."""
        again = {
            item: detail
            for item, outcome, detail in outcomes
            if outcome is Outcome.UNKNOWN or (outcome is Outcome.FAILED and item in here)
        }
        self.journal.ended([ended for ended in outcomes if ended[0] not in again])
        if again:
            raise Unfinished(
                f"{self.unit.name}: {count_of(len(again), 'message')} {are(len(again))} not surely removed: "
                f"{next(iter(again.values()))}",
                hint=_RESUME,
            )

    def _gone_before(self, mailbox: Mailbox, items: list[int], disposal: Disposal) -> set[int]:
        """Of ``items``, whose removal an earlier process had begun, those that it had finished."""
        where = mailbox.look([self.target(item) for item in items]) if items else {}
        return {item for item in items if where[self.target(item).id] in _GONE[disposal]}

    def compact(self, mailbox: Mailbox) -> None:
        """Where the plan says so and something was removed, have the mailbox written anew without its free space."""
        removed = any(item.outcome is Outcome.REMOVED for item in self.journal.status.values())
        if self.plan.header.get("compact") and removed and not self.unit.rewrite and isinstance(mailbox, Compacting):
            self.journal.note("compacted", what=mailbox.compact())

    def prove(self, mailbox: Mailbox) -> None:
        """Run the search again: no removed item may turn up; what matches and was not planned came late (S20)."""
        gone = [i for i in self.journal.status if self.journal.status[i].outcome is Outcome.REMOVED]
        removed = {self.target(item).id for item in gone}
        planned = {self.target(item).id for item in self.matches}
        planned |= {line["id"] for line in iterate_excluded(self.plan, self.unit)}
        planned |= set(self.plan.header.get("replaces_for", {}).get("left", ()))
        criteria = Criteria.from_canonical(self.plan.header["criteria"])
        # In another mailbox there would be nothing either.
        self.check_identity(mailbox)
        searched = search_mailbox(mailbox, criteria, Searched(), self.channel)
        found = {match.id: match.version for match in searched if isinstance(match, Match)}
        # A twin that was delivered meanwhile may have a removed item's id (ids count equal messages): the store knows.
        again = [self.target(item) for item in gone if self.target(item).id in found]
        where = mailbox.look(again) if again and self.unit.disposal == Disposal.HARD else {}
        here = [target.id for target in again if where.get(target.id, Whereabouts.ABSENT) is not Whereabouts.ABSENT]
        if here:
            raise DoesNotVerify(
                f"{self.unit.name}: {len(here)} removed messages turned up when the search was run again",
                hint="Look at the mailbox with another program. The evidence holds them all.",
            )
        # What lies in the trash now matches too, under a new id: it did not come late.
        disposed = Counter(self.target(item).version for item in gone if self.unit.disposal != Disposal.HARD)
        late = Counter(version for item_id, version in found.items() if item_id not in planned) - disposed
        self.late = late.total() + (len(again) if self.unit.disposal == Disposal.HARD else 0)
        self.journal.note("proved", removed=len(removed), late=self.late)

    # The whole

    def run(self) -> None:
        """All steps."""
        removing = self.plan.action.removes and not self.unit.refused
        if self._is_done(removing):
            return
        held = self._held_whole() if removing and not self.journal.in_state(State.REMOVING) else ""
        removing = removing and not held
        mailbox = registry.store(self.unit.kind).open(self.unit.locator, writable=removing)
        try:
            self.check_identity(mailbox)
            for done in mailbox.recover() if removing else ():
                self.journal.note("recovered", what=done)
                self.journal.note("identity", identity=mailbox.info.identity)
            self.audit.append({"type": "mailbox-opened", "mailbox": self.unit.name, "identity": mailbox.info.identity})
            self.preserve(mailbox)
            self.verify()
            self.channel.check()
            if removing:
                self.remove(mailbox)
                self.compact(mailbox)
                self.prove(mailbox)
            else:
                self._end_without_removal(held)
            for first in list(self.unread.values())[:1]:
                raise Unfinished(
                    f"{self.unit.name}: {count_of(len(self.unread), 'message')} could not be read: {first}",
                    hint=_RESUME,
                )
        finally:
            mailbox.close()

    def _is_done(self, removing: bool) -> bool:
        """True where an earlier process came to this unit's end."""
        open_items = [item for item in self.journal.status.values() if item.state is not State.ENDED]
        return not open_items and (not removing or any(note["type"] == "proved" for note in self.journal.records))

    def _incomplete(self) -> dict[int, str]:
        """Items of which the store could not give everything, and why: never removed, never called whole (S13)."""
        return {note["item"]: note["why"] for note in self.journal.records if note["type"] == "incomplete"}

    def _end_without_removal(self, held: str) -> None:
        incomplete = self._incomplete()
        done = self.journal.in_state(State.VERIFIED)
        if held or self.unit.refused:
            outcome = Outcome.HELD if held else Outcome.REFUSED
            self.journal.ended([(item, outcome, held or self.unit.refused) for item in done])
        else:
            self.journal.ended([(item, Outcome.COPIED, incomplete.get(item, "")) for item in done])

    def result(self, error: ExciseError | None = None) -> UnitResult:
        """Close the books: the audit record, the counts, the heads."""
        outcomes = Counter(str(item.outcome) for item in self.journal.status.values() if item.outcome is not None)
        open_items = len(self.matches) - outcomes.total()
        record: dict[str, Any] = {"type": "mailbox-closed", "mailbox": self.unit.name, "outcomes": dict(outcomes)}
        record |= {"open": open_items, "journal_head": self.journal.head}
        if error is not None:
            record["error"] = error.error_id
        head = self.audit.append(record)
        text, code = ("", 0) if error is None else (error.text(), error.exit_code)
        return UnitResult(self.unit.unit, dict(outcomes), head, self.journal.head, self.late, text, code)


def run_unit(task: UnitTask, channel: Channel) -> UnitResult:
    """Run or go on with one unit. An ``ExciseError`` ends it with its items still open, to be resumed."""
    case = Case(task.root)
    plan = task.read_plan(case)
    unit = UnitRun(case, plan, plan.unit(task.unit), channel)
    try:
        try:
            unit.run()
        except ExciseError as error:
            return unit.result(error)
        return unit.result()
    finally:
        unit.close()
