"""Putting messages into one mailbox, journalled: what a restore and an import share (S20, S21).

What is already there is counted first: the mailbox ends with at least as many copies of a message in a place as are
wanted there, so running it twice doubles nothing. Then it is counted again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.plan import Plan, UnitPlan, read_matches
from excise.core.errors import ExciseError, Unfinished
from excise.core.text import count_of
from excise.engine.authority import check_authority
from excise.engine.channel import Channel
from excise.engine.journal import Journal
from excise.engine.states import Event, State
from excise.engine.unit import UnitResult, UnitTask
from excise.model.item import Deposit, Outcome
from excise.store_api import registry
from excise.store_api.protocols import Mailbox

#: Bytes of content that are put, or held in memory, at once; a larger message goes alone.
_BATCH = 32 << 20


class PutRun(ABC):
    """One mailbox that planned messages are put into, while that runs."""

    #: What a message's outcome is called once it was put.
    done = Outcome.RESTORED

    def __init__(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        """Read the planned items and open journal and audit log."""
        self.look_only(case, plan, unit, channel)
        directory = case.make(case.unit_dir(unit.unit))
        self.journal = Journal(directory / "journal.jsonl", list(self.lines))
        self.audit = ChainedLog(directory / "audit.jsonl")

    def look_only(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        """Begin without journal and audit log, for one that only reads the planned items."""
        self.case, self.plan, self.unit, self.channel = case, plan, unit, channel
        self.lines = {line["item"]: line for line in read_matches(plan, unit)}
        self.unread: dict[int, str] = {}
        self._forms: dict[int, str] = {}
        self._known: Counter[tuple[str, str]] = Counter()

    def close(self) -> None:
        """Close both logs."""
        self.journal.close()
        self.audit.close()

    @abstractmethod
    def check_target(self) -> None:
        """Raise where the mailbox is not the one that may be written to (S30)."""

    @abstractmethod
    def deposit(self, item: int) -> Deposit | None:
        """The planned item as it goes there, checked against the planned hash; None where it cannot go there, which
        the journal then tells, or ``unread`` where it stays open."""

    @abstractmethod
    def place(self, folder: str) -> str:
        """The folder as copies are counted by it."""

    @abstractmethod
    def likeness(self, item: int, version: str) -> str:
        """What the planned item, of ``version`` in this mailbox, has in common with those that it is counted with."""

    @abstractmethod
    def copies(self, item: int) -> tuple[object, int]:
        """How many of its like there should be in its place, and where those come from: each origin counts once."""

    def look(self, mailbox: Mailbox) -> Counter[tuple[str, str]]:
        """How many there are by place and likeness, whatever their versions, before anything is put."""
        del mailbox
        return Counter()

    def detail(self, item: int) -> str:
        """What is worth knowing of an item that was put."""
        return self._forms.get(item, "")

    def tell_form(self, item: int, *, had_properties: bool, whole: bool) -> None:
        """Keep for the record in which form an item goes into a store that takes it property for property."""
        if whole:
            self._forms[item] = "property for property"
        elif had_properties:
            self._forms[item] = "as its MIME tells it: no PST of the evidence holds its properties"

    def run(self) -> None:
        """Put what is not there."""
        self.check_target()
        mailbox = registry.store(self.unit.kind).open(self.unit.locator, writable=True)
        try:
            for done in mailbox.recover():
                self.journal.note("recovered", what=done)
            self.audit.append({"type": "mailbox-opened", "mailbox": self.unit.name, "identity": mailbox.info.identity})
            todo = self.journal.in_state(State.PLANNED, State.PUTTING)
            check_authority(self.case, self.plan)
            self._known = self.look(mailbox)
            self.journal.event(Event.PUTTING, todo)
            for batch in self._batches(mailbox, todo):
                self._put(mailbox, batch)
                self.channel.check()
        finally:
            mailbox.close()
        for first in list(self.unread.values())[:1]:
            raise Unfinished(
                f"{self.unit.name}: {count_of(len(self.unread), 'message')} could not be read: {first}",
                hint="Mend the cause, then: excise resume CASE",
            )

    def _batches(self, mailbox: Mailbox, todo: Sequence[int]) -> Iterator[list[tuple[int, Deposit]]]:
        """Items in batches of bounded size, those of one likeness for one place always together (they are counted
        together)."""
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        held: dict[int, Deposit] = {}
        room = _BATCH
        for item in todo:
            deposit = self.deposit(item)
            if deposit is None:
                continue
            like = self.likeness(item, mailbox.version_of(deposit))
            groups[self.place(deposit.folder), like].append(item)
            room -= len(deposit.content)
            if room >= 0:
                held[item] = deposit
            self.channel.check()
        batch: list[tuple[int, Deposit]] = []
        size = 0
        for items in groups.values():
            for item in items:
                deposit = held.pop(item, None) or self.deposit(item)
                if deposit is not None:
                    batch.append((item, deposit))
                    size += len(deposit.content)
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _put(self, mailbox: Mailbox, batch: list[tuple[int, Deposit]]) -> None:
        versions = {item: mailbox.version_of(deposit) for item, deposit in batch}
        before = self._there(mailbox, set(versions.values()))
        room = self._room(batch, versions, before)
        missing: list[tuple[int, Deposit]] = []
        outcomes: list[tuple[int, Outcome, str, str | None]] = []
        for item, deposit in batch:
            key = (self.place(deposit.folder), self.likeness(item, versions[item]))
            if room[key] > 0:
                room[key] -= 1
                missing.append((item, deposit))
            else:
                outcomes.append((item, Outcome.ALREADY_THERE, "", None))
        placed = list(mailbox.put([deposit for _, deposit in missing]))
        if len(placed) != len(missing):
            raise ExciseError(
                f"{self.unit.name}: the store answered for {len(placed)} items where {len(missing)} were given"
            )
        for (item, _), answer in zip(missing, placed, strict=True):
            if answer.outcome is Outcome.RESTORED:
                detail = "; ".join(filter(None, (self.detail(item), answer.detail)))
                outcomes.append((item, self.done, detail, answer.id))
            else:
                outcomes.append((item, answer.outcome, answer.detail, answer.id))
        put = {item for item, outcome, _, _ in outcomes if outcome is self.done}
        self._prove(mailbox, [(item, deposit) for item, deposit in missing if item in put], versions, before)
        self.journal.placed(outcomes)
        self.channel.advance(len(batch), sum(len(deposit.content) for _, deposit in batch))

    def _room(
        self, batch: Iterable[tuple[int, Deposit]], versions: Mapping[int, str], before: Mapping[tuple[str, str], int]
    ) -> dict[tuple[str, str], int]:
        """How many copies may still be put, by place and likeness: as many as are wanted less those there."""
        wanted: dict[tuple[str, str], dict[object, int]] = defaultdict(dict)
        there: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for item, deposit in batch:
            place, version = self.place(deposit.folder), versions[item]
            key = (place, self.likeness(item, version))
            origin, count = self.copies(item)
            wanted[key][origin] = count
            there[key][version] = before.get((place, version), 0)
        return {
            key: sum(counts.values()) - max(sum(there[key].values()), self._known[key])
            for key, counts in wanted.items()
        }

    def _there(self, mailbox: Mailbox, versions: set[str]) -> Counter[tuple[str, str]]:
        """How many there are of each version, by place."""
        there: Counter[tuple[str, str]] = Counter()
        for (folder, version), count in mailbox.count(versions).items():
            there[self.place(folder), version] += count
        return there

    def _prove(
        self,
        mailbox: Mailbox,
        put: Iterable[tuple[int, Deposit]],
        versions: Mapping[int, str],
        before: Mapping[tuple[str, str], int],
    ) -> None:
        """Count again: every item that was put must be there, beside those that were there before (S20)."""
        new = Counter((self.place(deposit.folder), versions[item]) for item, deposit in put)
        found = self._there(mailbox, {version for _, version in new})
        short = sum(max(0, count + before.get(key, 0) - found[key]) for key, count in new.items())
        if short:
            raise ExciseError(
                f"{self.unit.name}: of what was put there, {count_of(short, 'message')} could not be found again",
                hint="Look at the mailbox with another program, then: excise resume CASE",
            )

    def result(self, error: ExciseError | None = None) -> UnitResult:
        """Close the books."""
        outcomes = Counter(str(item.outcome) for item in self.journal.status.values() if item.outcome is not None)
        record: dict[str, Any] = {"type": "mailbox-closed", "mailbox": self.unit.name, "outcomes": dict(outcomes)}
        record |= {"open": len(self.lines) - outcomes.total(), "journal_head": self.journal.head}
        if error is not None:
            record["error"] = error.error_id
        head = self.audit.append(record)
        text, code = ("", 0) if error is None else (error.text(), error.exit_code)
        return UnitResult(self.unit.unit, dict(outcomes), head, self.journal.head, 0, text, code)


def run_put_unit(kind: type[PutRun], task: UnitTask, channel: Channel) -> UnitResult:
    """Run or go on with one mailbox's messages."""
    case = Case(task.root)
    plan = task.read_plan(case)
    unit = kind(case, plan, plan.unit(task.unit), channel)
    try:
        try:
            unit.run()
        except ExciseError as error:
            return unit.result(error)
        return unit.result()
    finally:
        unit.close()
