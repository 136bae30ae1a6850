"""Tests of putting items back or in (S21)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from excise.core.errors import ExciseError
from excise.model.item import Deposit, Fetched, Outcome, Placed
from excise.store_api.conformance.base import (
    HOSTILE_FOLDERS,
    ConformanceBase,
    demand,
    everything,
    fetch_all,
    message,
    restorable,
    search,
    unchanged_but,
)
from excise.store_api.protocols import Mailbox

_HOSTILE_VALUES = ("../../canary", "/tmp/excise-canary", "a\0b", "", "..", "x" * 3000, ".", "cur/../../canary")  # noqa: S108


class PuttingConformance(ConformanceBase):
    """A store as one adds to it."""

    def placed(self, mailbox: Mailbox, deposits: Sequence[Deposit]) -> list[Placed]:
        """Put ``deposits``; each is answered, in their order."""
        answers = list(mailbox.put(deposits))
        demand(len(answers) == len(deposits), "one answer for each deposit, in their order", answers)
        return answers

    def equal_again(self, mailbox: Mailbox, item_id: str | None, item: Fetched) -> None:
        """Demand that what lies at ``item_id`` is ``item`` as far as this store keeps it."""
        demand(item_id is not None, "a deposit that is RESTORED has an id", item_id)
        again = mailbox.fetch(item_id or "")
        if self.content_is_original:
            demand(again.content == item.content, "the content is byte for byte as it was", again.content[:200])
            demand(again.version == item.version, "the version is as it was", again.version)
        demand(again.folder == item.folder, "the folder is as it was", (again.folder, item.folder))
        kept = self.kept_flags
        demand(again.flags & kept == item.flags & kept, "flags are as they were", (again.flags, item.flags))
        if self.delivered_within is not None and item.delivered is not None:
            demand(again.delivered is not None, "the delivery time is as it was", again.delivered)
            off = abs((again.delivered or item.delivered) - item.delivered)
            demand(off <= self.delivered_within, "the delivery time is as it was", (again.delivered, item.delivered))

    def emptied(self) -> tuple[str, dict[str, Fetched]]:
        """A mailbox from which everything was removed, and what it held; as it is where nothing can be removed."""
        self.needs_put()
        locator = self.some_mailbox()
        with self.opened(locator, writable=True) as mailbox:
            items = fetch_all(mailbox)
            if self.store.capabilities.disposals:
                best = max(self.store.capabilities.disposals, key=lambda d: (d == "hard", d == "soft"))
                targets = search(mailbox, everything())
                for answer in mailbox.remove(targets, best):
                    demand(answer.outcome is Outcome.REMOVED, "everything can be removed", answer)
        return locator, items

    def missing(self, mailbox: Mailbox, deposits: Sequence[Deposit]) -> list[Deposit]:
        """Of ``deposits``, those that the mailbox lacks, as ``restore`` finds them (S21)."""
        versions = [mailbox.version_of(deposit) for deposit in deposits]
        there = Counter(mailbox.count(set(versions)))
        lacking = []
        for deposit, version in zip(deposits, versions, strict=True):
            place = (deposit.folder, version)
            if there[place] > 0:
                there[place] -= 1
            else:
                lacking.append(deposit)
        return lacking

    def test_s21_what_was_removed_is_put_back_as_it_was(self) -> None:
        """Content, folder, flags and delivery time; in a mailbox that is opened anew too."""
        locator, items = self.emptied()
        deposits = [restorable(item) for item in items.values()]
        with self.opened(locator, writable=True) as mailbox:
            for deposit, item in zip(deposits, items.values(), strict=True):
                demand(mailbox.version_of(deposit) == item.version, "version_of tells the version to come", item.id)
            answers = self.placed(mailbox, deposits)
            for answer in answers:
                demand(answer.outcome is Outcome.RESTORED, "each is RESTORED", answer)
            demand(len({answer.id for answer in answers}) == len(answers), "each has an id of its own", answers)
        with self.opened(locator) as mailbox:
            for answer, item in zip(answers, items.values(), strict=True):
                self.equal_again(mailbox, answer.id, item)
            demand(not self.missing(mailbox, deposits), "count finds all that were put", locator)

    def test_s21_restoring_twice_doubles_nothing(self) -> None:
        """``count`` tells what is there, by folder and version, twins counted; a second restore has nothing to put."""
        locator, items = self.emptied()
        deposits = [restorable(item) for item in items.values()]
        for _ in range(2):
            with self.opened(locator, writable=True) as mailbox:
                self.placed(mailbox, self.missing(mailbox, deposits))
        with self.opened(locator) as mailbox:
            found = Counter((item.folder, item.version) for item in fetch_all(mailbox).values())
            if self.store.capabilities.disposals:
                wanted = Counter((item.folder, item.version) for item in items.values())
                demand(found == wanted, "each message is there as often as before", found - wanted or wanted - found)
            counted = mailbox.count({version for _, version in found})
            demand(Counter(counted) == found, "count agrees with what is found", counted)
            demand(not mailbox.count({"0" * 64}), "a version that is nowhere is not counted", mailbox.count({"0" * 64}))

    def test_s21_a_restore_that_was_cut_short_is_finished(self) -> None:
        """The half that a killed run has put back is not put again; twins included."""
        locator, items = self.emptied()
        deposits = [restorable(item) for item in items.values()]
        with self.opened(locator, writable=True) as mailbox:
            answers = iter(mailbox.put(deposits))
            for _ in range(len(deposits) // 2):
                next(answers)
            close = getattr(answers, "close", None)
            if close is not None:
                close()
        with self.opened(locator, writable=True) as mailbox:
            mailbox.recover()
            demand(not mailbox.recover(), "after recover there is nothing to recover", locator)
            self.placed(mailbox, self.missing(mailbox, deposits))
            found = Counter((item.folder, item.version) for item in fetch_all(mailbox).values())
            wanted = Counter((item.folder, item.version) for item in items.values())
            demand(found >= wanted, "nothing is lost", wanted - found)
            if self.store.capabilities.disposals:
                demand(found == wanted, "nothing is doubled", found - wanted)

    def test_s21_a_folder_that_is_gone_is_made_again(self) -> None:
        """The item goes to the folder that it came from."""
        if self.other_folder is None:
            return
        locator, items = self.emptied()
        self.drop_folder(locator, self.other_folder)
        chosen = [item for item in items.values() if item.folder == self.other_folder]
        with self.opened(locator, writable=True) as mailbox:
            answers = self.placed(mailbox, [restorable(item) for item in chosen])
            for answer, item in zip(answers, chosen, strict=True):
                demand(answer.outcome is Outcome.RESTORED, "it is RESTORED", answer)
                self.equal_again(mailbox, answer.id, item)
            demand(self.other_folder in {f.path for f in mailbox.folders()}, "the folder is listed", self.other_folder)

    def test_s18_putting_touches_nothing_else(self) -> None:
        """What lies there stays as it is, twins and the same Message-ID too."""
        self.needs_put()
        locator = self.some_mailbox()
        around = self.surroundings(locator)
        with self.opened(locator, writable=True) as mailbox:
            before = fetch_all(mailbox)
            first = next(iter(before.values()))
            new = [restorable(first), Deposit(message("Newly put"), self.main_folder)]
            answers = self.placed(mailbox, new)
            demand(all(answer.outcome is Outcome.RESTORED for answer in answers), "both are RESTORED", answers)
            after = fetch_all(mailbox)
            unchanged_but(before, after, [])
            demand(len(after) == len(before) + 2, "put adds what it is given", len(after))
            demand({answer.id for answer in answers} == after.keys() - before.keys(), "the new ids are told", answers)
        demand(self.surroundings(locator) == around, "nothing beside the mailbox is touched", locator)

    def test_s30_putting_leaves_the_identity(self) -> None:
        """The mailbox is the same one after a restore."""
        self.needs_put()
        locator = self.some_mailbox()
        with self.opened(locator, writable=True) as mailbox:
            before = mailbox.info.identity
            self.placed(mailbox, [Deposit(message("Newly put"), self.main_folder)])
            demand(mailbox.info.identity == before, "identity after put", mailbox.info)
        with self.opened(locator) as mailbox:
            demand(mailbox.info.identity == before, "identity after put, later", mailbox.info)

    def test_s27_hostile_folders_lead_nowhere(self) -> None:
        """Each is refused, or the item lies inside the mailbox under that folder's path; the rest is untouched."""
        self.needs_put()
        locator = self.some_mailbox()
        around = self.surroundings(locator)
        for folder in HOSTILE_FOLDERS:
            with self.opened(locator, writable=True) as mailbox:
                before = fetch_all(mailbox)
                self._put_hostile(mailbox, Deposit(message("Hostile"), folder), f"folder {folder[:40]!r}")
                unchanged_but(before, fetch_all(mailbox), [])
            demand(self.surroundings(locator) == around, f"folder {folder[:40]!r} leads nowhere", locator)

    def test_s27_hostile_attributes_lead_nowhere(self) -> None:
        """A case may be forged: whatever its attributes say, nothing outside of the mailbox is written."""
        self.needs_put()
        locator = self.some_mailbox()
        around = self.surroundings(locator)
        with self.opened(locator, writable=True) as mailbox:
            before = fetch_all(mailbox)
            samples = {tuple(sorted(item.attributes)): item for item in before.values()}
            for item in samples.values():
                for name in item.attributes:
                    for value in _hostile(item.attributes[name]):
                        attributes = {**item.attributes, name: value}
                        deposit = replace(restorable(item), attributes=attributes)
                        self._put_hostile(mailbox, deposit, f"attribute {name}={value!r:.40}")
            unchanged_but(before, fetch_all(mailbox), [])
        demand(self.surroundings(locator) == around, "no attribute leads out of the mailbox", locator)

    def _put_hostile(self, mailbox: Mailbox, deposit: Deposit, what: str) -> None:
        try:
            answers = self.placed(mailbox, [deposit])
        except ExciseError:
            return
        answer = answers[0]
        if answer.outcome is Outcome.RESTORED:
            again = mailbox.fetch(answer.id or "")
            demand(
                not self.content_is_original or again.content == deposit.content, f"{what}: the content is right", again
            )
        else:
            demand(answer.outcome is Outcome.FAILED and bool(answer.detail), f"{what}: FAILED says why", answer)


def _hostile(value: Any) -> Sequence[Any]:
    """Values in place of ``value`` that a forger may choose."""
    if isinstance(value, str):
        return _HOSTILE_VALUES
    if isinstance(value, bool | int | float):
        return (-1, 1 << 70, 0)
    return ({}, [], None) if isinstance(value, Mapping | list) else (None,)
