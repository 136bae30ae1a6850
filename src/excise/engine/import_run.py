"""Running an import: each planned item is read again from the evidence, and goes in only with its planned hash."""

from __future__ import annotations

from collections import Counter

from excise.case.layout import Case
from excise.case.plan import Plan, UnitPlan
from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify, SourceUnavailable
from excise.engine.channel import Channel
from excise.engine.import_source import ImportSource, PartSource, WithMessageIds, kind_of, open_source
from excise.engine.putting import PutRun, run_put_unit
from excise.engine.search import NotTested, Searched, search_by
from excise.engine.unit import UnitResult, UnitTask
from excise.mapi.item import MapiItem
from excise.mbox import likeness
from excise.model.item import INCOMPLETE, Deposit, Fetched, Outcome
from excise.store_api import registry
from excise.store_api.errors import ItemChanged, ItemDamaged, ItemNotFound, MailboxChanged
from excise.store_api.protocols import Mailbox


class ImportRun(PutRun):
    """One import while it runs."""

    done = Outcome.IMPORTED

    def look_only(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        """Begin without journal and audit log, for one that only reads the planned items."""
        super().look_only(case, plan, unit, channel)
        self._sources: dict[int, ImportSource] = {}
        self._incomplete: dict[int, str] = {}

    def close(self) -> None:
        """Close the evidence and both logs."""
        self.close_sources()
        super().close()

    def close_sources(self) -> None:
        """Close the evidence."""
        for source in self._sources.values():
            source.close()

    def check_target(self) -> None:
        """The mailbox is the one that was planned."""
        mailbox = registry.store(self.unit.kind).open(self.unit.locator)
        try:
            found = mailbox.info.identity
        finally:
            mailbox.close()
        if found != self.unit.identity:
            raise MailboxChanged(
                f"{self.unit.name}: expected the mailbox that was planned ({self.unit.identity}), found another one "
                f"({found})",
                hint="Nothing was put into it. Import again, with a new case.",
            )

    def deposit(self, item: int) -> Deposit | None:
        """The planned item, read from the evidence; its outcome is journalled where it is not what was planned."""
        line = self.lines[item]
        source = self._source(line["from_unit"])
        try:
            fetched = source.fetch(line["id"])
            whole = self._whole(item, source, fetched)
        except ItemNotFound as error:
            self._end(item, Outcome.FAILED, f"no longer in the evidence: {error.message}")
        except ItemChanged as error:
            self._end(item, Outcome.CHANGED, f"changed in the evidence: {error.message}")
        except DoesNotVerify as error:
            self._end(item, Outcome.CHANGED, error.message)
        except SourceUnavailable as error:
            self.unread[item] = str(error)
        except ItemDamaged as error:
            if isinstance(error.__cause__, OSError):
                self.unread[item] = str(error)  # the disk's fault and not the message's: it stays open
            else:
                self._end(item, Outcome.FAILED, error.message)
        else:
            if fetched.is_version(line["version"]) and sha256_hex(fetched.content) == line["sha256"]:
                return self._deposit(item, fetched, whole)
            self._end(item, Outcome.CHANGED, "in the evidence stands another content than was planned, by its hash")
        return None

    def _whole(self, item: int, source: ImportSource, fetched: Fetched) -> MapiItem | None:
        """The item property for property, where it is known so and the target takes it so."""
        if not registry.store(self.unit.kind).capabilities.takes_items:
            return None
        if isinstance(source, PartSource):
            whole, had_properties = source.item(fetched.id)
        else:
            whole, had_properties = fetched.item, fetched.properties is not None
        self.tell_form(item, had_properties=had_properties, whole=whole is not None)
        return whole

    def _deposit(self, item: int, fetched: Fetched, whole: MapiItem | None) -> Deposit:
        missing = [note for note in fetched.notes if note.startswith(INCOMPLETE)]
        if missing:
            self._incomplete[item] = "; ".join(missing)
        line = self.lines[item]
        unit = self.plan.unit(line["from_unit"])
        attributes = dict(fetched.attributes)
        if kind_of(unit.kind, self._source(unit.unit), fetched.id) != self.unit.kind:
            attributes.pop("name", None)  # the name of a file in a store of another kind
        return Deposit(
            fetched.content, line["folder"], fetched.flags, fetched.delivered, attributes, whole, fetched.stream
        )

    def _source(self, unit: int) -> ImportSource:
        if unit not in self._sources:
            planned = self.plan.unit(unit)
            try:
                self._sources[unit] = open_source(planned.kind, planned.locator, planned.identity)
            except SourceUnavailable as error:
                error.hint = "The evidence has to be where it was. Bring it back, then: excise resume CASE"
                raise
        return self._sources[unit]

    def _end(self, item: int, outcome: Outcome, why: str) -> None:
        self.journal.ended([(item, outcome, why)])

    def place(self, folder: str) -> str:
        """Each folder is counted by itself."""
        return folder

    def likeness(self, item: int, version: str) -> str:
        """Another store may have kept the same message with another From_ line, line ends or flags in its header."""
        del version
        return str(self.lines[item]["likeness"])

    def copies(self, item: int) -> tuple[object, int]:
        """As many copies as the evidence has for that folder."""
        return None, self.lines[item]["twins"]

    def look(self, mailbox: Mailbox) -> Counter[tuple[str, str]]:
        """Count the messages there that are like a planned one; only those with a planned Message-ID are read whole."""
        there: Counter[tuple[str, str]] = Counter()
        wanted = {line["likeness"] for line in self.lines.values()}
        judge = WithMessageIds({line["envelope"]["message_id"] for line in self.lines.values()})
        for found in search_by(judge, mailbox, Searched(), self.channel):
            if isinstance(found, NotTested):
                continue  # what cannot be read there is no reason to leave a message out
            try:
                like = likeness(mailbox.fetch(found.id).content)
            except (ItemNotFound, ItemChanged, ItemDamaged):
                continue  # it went, or was changed, meanwhile
            if like in wanted:
                there[found.folder, like] += 1
            self.channel.check()
        return there

    def detail(self, item: int) -> str:
        """What of the item is not in the evidence, and in which form it went in."""
        return "; ".join(filter(None, (self._incomplete.get(item, ""), super().detail(item))))


def run_import_unit(task: UnitTask, channel: Channel) -> UnitResult:
    """Run or go on with an import."""
    return run_put_unit(ImportRun, task, channel)
