"""Tests of holds (S24): what a store says of them, and that it removes nothing that it knows to be held."""

from __future__ import annotations

from unittest import SkipTest

from excise.model.item import Outcome
from excise.store_api.conformance.base import ConformanceBase, demand, everything, fetch_all, search, unchanged_but
from excise.store_api.protocols import iterate_removals


class HoldingConformance(ConformanceBase):
    """A store as it answers for holds."""

    def needs_holds(self) -> None:
        """Skip where the store cannot tell what is held."""
        if not self.store.capabilities.reports_holds:
            raise SkipTest("this store cannot tell whether a mailbox is held")

    def test_s24_a_store_says_what_it_knows_of_holds_and_no_more(self) -> None:
        """``info.hold`` is None where the store cannot tell, and a text, which may be empty, where it can."""
        locator = self.some_mailbox()
        with self.opened(locator) as mailbox:
            hold = mailbox.info.hold
        if self.store.capabilities.reports_holds:
            demand(isinstance(hold, str), "a store that reports holds answers, empty for none", hold)
        else:
            demand(hold is None, "a store that cannot tell does not say that there is none", hold)

    def test_s24_a_held_mailbox_says_why(self) -> None:
        """The reason is told, and the mailbox is the same one with it and without it."""
        self.needs_holds()
        locator = self.some_mailbox()
        with self.opened(locator) as mailbox:
            before = mailbox.info
            demand(before.hold == "", "a mailbox that is not held says so", before)
            self.place_hold(locator, "Smith v. Example")
            demand("Smith v. Example" in (mailbox.info.hold or ""), "a hold is read anew, and named", mailbox.info)
            demand(mailbox.info.identity == before.identity, "a hold makes no other mailbox of it", mailbox.info)
        with self.opened(locator) as mailbox:
            demand("Smith v. Example" in (mailbox.info.hold or ""), "a mailbox opened later says so too", mailbox.info)

    def test_s24_nothing_is_removed_from_a_held_mailbox(self) -> None:
        """Also where the hold was placed after the mailbox was opened and searched: each target is HELD, none goes."""
        self.needs_holds()
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                before, targets = fetch_all(mailbox), search(mailbox, everything())
                self.place_hold(locator, "Smith v. Example")
                answers = iterate_removals(targets, mailbox.remove(targets, disposal))
                told = {answer.outcome for answer in answers.values()}
                demand(told == {Outcome.HELD}, f"{disposal}: all of a held mailbox is HELD", answers)
                unchanged_but(before, fetch_all(mailbox), [])
