"""Tests of removal; the store must make a mailbox of the suite's messages for them."""

from __future__ import annotations

from excise.core.errors import ExciseError
from excise.model.item import Disposal, Outcome, Removal, Target, Whereabouts
from excise.store_api.conformance.base import (
    HOSTILE_IDS,
    ConformanceBase,
    demand,
    everything,
    fetch_all,
    matcher,
    message,
    search,
    search_with_subjects,
    unchanged_but,
)
from excise.store_api.protocols import Mailbox, iterate_removals

#: Where an item must be after each disposal (S20).
PLACES = {
    Disposal.HARD: Whereabouts.ABSENT,
    Disposal.SOFT: Whereabouts.RECOVERABLE,
    Disposal.TRASH: Whereabouts.IN_TRASH,
}


class RemovingConformance(ConformanceBase):
    """A store as one removes from it."""

    def removed(self, mailbox: Mailbox, targets: list[Target], disposal: Disposal) -> dict[str, Removal]:
        """Remove ``targets``, each answered once."""
        try:
            return iterate_removals(targets, mailbox.remove(targets, disposal))
        except ValueError as error:
            raise AssertionError(f"the contract asks: one answer for each target; found: {error}") from error

    def test_s18_only_the_targets_go(self) -> None:
        """For each disposal: the targets go, each answered once; every other item stays as it was."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            around = self.surroundings(locator)
            with self.opened(locator, writable=True) as mailbox:
                before = fetch_all(mailbox)
                targets = [
                    t
                    for t, s in search_with_subjects(mailbox, everything())
                    if s in ("Conformance plain", "Conformance attachment")
                ]
                demand(len(targets) == 2, "the suite's messages are found", targets)
                answers = self.removed(mailbox, targets, disposal)
                for answer in answers.values():
                    demand(
                        answer.outcome is Outcome.REMOVED, f"{disposal}: what is there as planned is REMOVED", answer
                    )
            with self.opened(locator) as mailbox:
                unchanged_but(before, fetch_all(mailbox), [target.id for target in targets])
            demand(self.surroundings(locator) == around, "nothing beside the mailbox is touched", locator)

    def test_s20_each_item_is_where_its_disposal_says(self) -> None:
        """``look`` after removal, by the same mailbox object and by a new one; what stays is HERE."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                targets = search(mailbox, everything())
                chosen = search(mailbox, matcher(subject=["Conformance plain"]))
                self.removed(mailbox, chosen, disposal)
                gone = {target.id for target in chosen}
                expected = {t.id: PLACES[disposal] if t.id in gone else Whereabouts.HERE for t in targets}
                demand(dict(mailbox.look(targets)) == expected, f"look after {disposal}", mailbox.look(targets))
            with self.opened(locator) as mailbox:
                demand(dict(mailbox.look(targets)) == expected, f"look after {disposal}, later", mailbox.look(targets))
                again = {target.id for target in search(mailbox, everything())}
                demand(not gone & again, "a search does not find a removed item under its id", gone & again)

    def test_s17_all_that_was_collected_goes(self) -> None:
        """Every item of the mailbox as one plan: none is skipped, whatever moves meanwhile."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                targets = search(mailbox, everything())
                answers = self.removed(mailbox, targets, disposal)
                outcomes = {answer.outcome for answer in answers.values()}
                demand(outcomes == {Outcome.REMOVED}, f"{disposal}: all are REMOVED", answers)
            with self.opened(locator) as mailbox:
                places = set(mailbox.look(targets).values())
                demand(places == {PLACES[disposal]}, f"{disposal}: all are gone", places)

    def test_s06_another_version_is_not_removed(self) -> None:
        """A target whose version is not the item's is CHANGED, and stays."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                before = fetch_all(mailbox)
                target = search(mailbox, everything())[0]
                wrong = Target(target.id, "0" * 64, target.folder)
                answers = self.removed(mailbox, [wrong], disposal)
                demand(answers[target.id].outcome is Outcome.CHANGED, "another version is CHANGED", answers)
                unchanged_but(before, fetch_all(mailbox), [])

    def test_s13_an_item_that_changed_since_the_plan_is_not_removed(self) -> None:
        """The item is read again right before it goes; the others of the batch go."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator) as mailbox:
                targets = [
                    t
                    for t, s in search_with_subjects(mailbox, everything())
                    if s in ("Conformance plain", "Conformance long body")
                ]
            self.tamper(locator, targets[0].id)
            with self.opened(locator, writable=True) as mailbox:
                answers = self.removed(mailbox, targets, disposal)
                demand(answers[targets[1].id].outcome is Outcome.REMOVED, "an unchanged item goes", answers)
                demand(answers[targets[0].id].outcome is not Outcome.REMOVED, "a changed item stays", answers)
            with self.opened(locator) as mailbox:
                place = mailbox.look(targets)[targets[0].id]
                demand(place is not Whereabouts.HERE, "an item that changed is not HERE as planned", place)

    def test_s06_flags_are_no_change(self) -> None:
        """Version and id survive a change of flags, and the item is removed all the same."""
        disposal = self.disposals()[0]
        locator = self.some_mailbox()
        with self.opened(locator, writable=True) as mailbox:
            target = search(mailbox, matcher(subject=["Conformance plain"]))[0]
            self.change_flags(locator, target.id)
            after = search(mailbox, matcher(subject=["Conformance plain"]))
            demand(after == [target], "id and version are the same whatever the flags", after)
            answers = self.removed(mailbox, [target], disposal)
            demand(answers[target.id].outcome is Outcome.REMOVED, "flags do not keep an item from going", answers)

    def test_s16_what_is_gone_already_is_not_called_removed(self) -> None:
        """A second removal, and ids that name nothing, are not REMOVED; nothing else is touched."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                chosen = search(mailbox, matcher(subject=["Conformance plain"]))
                self.removed(mailbox, chosen, disposal)
                before, around = fetch_all(mailbox), self.surroundings(locator)
                again = self.removed(mailbox, chosen, disposal)
                told = {answer.outcome for answer in again.values()}
                allowed = {Outcome.ALREADY_ABSENT, Outcome.MOVED_ELSEWHERE}
                demand(told <= allowed, "what is gone is ALREADY_ABSENT or MOVED_ELSEWHERE", again)
                nothing = [Target(item_id, "0" * 64) for item_id in HOSTILE_IDS]
                answers = self.removed(mailbox, nothing, disposal)
                told = {answer.outcome for answer in answers.values()}
                demand(told == {Outcome.ALREADY_ABSENT}, "an id that names nothing is ALREADY_ABSENT", answers)
                unchanged_but(before, fetch_all(mailbox), [])
            demand(self.surroundings(locator) == around, "no id leads out of the mailbox", locator)

    def test_an_empty_list_removes_nothing(self) -> None:
        """No targets, no answers, no change."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            before = self.snapshot(locator)
            with self.opened(locator, writable=True) as mailbox:
                demand(not self.removed(mailbox, [], disposal), "nothing is answered", disposal)
            demand(self.snapshot(locator) == before, "nothing is changed", disposal)

    def test_s18_of_twins_only_the_chosen_one_goes(self) -> None:
        """Equal items are removed one by one; the other stays."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                twins = search(mailbox, matcher(subject=["Conformance twin"]))
                same = [twin for twin in twins if twin.folder == twins[0].folder]
                demand(len(same) == 2, "two equal items have two ids", twins)
                answers = self.removed(mailbox, same[:1], disposal)
                demand(answers[same[0].id].outcome is Outcome.REMOVED, "the chosen twin is REMOVED", answers)
                left = search(mailbox, matcher(subject=["Conformance twin"]))
                here = [twin for twin in left if twin.folder == same[0].folder]
                demand(len(here) == 1, "its twin in the same folder stays", left)
                places = [mailbox.look(same)[twin.id] for twin in same]
                if self.twins_keep_ids:
                    demand(here[0].id == same[1].id, "the twin that stays keeps its id", here)
                    demand(places == [PLACES[disposal], Whereabouts.HERE], "look tells twins apart", places)
                else:
                    demand(
                        sorted(places) == sorted([PLACES[disposal], Whereabouts.HERE]),
                        "one is gone, one is here",
                        places,
                    )

    def test_s19_mail_that_arrives_meanwhile_survives(self) -> None:
        """What is delivered between find and remove, and after, is there at the end."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                before = fetch_all(mailbox)
                chosen = search(mailbox, matcher(subject=["Conformance plain"]))
                self.deliver(locator, message("Arrived before"))
                self.removed(mailbox, chosen, disposal)
                self.deliver(locator, message("Arrived after"))
            with self.opened(locator) as mailbox:
                after = fetch_all(mailbox)
                unchanged_but(before, after, [target.id for target in chosen])
                for subject in ("Arrived before", "Arrived after"):
                    demand(len(search(mailbox, matcher(subject=[subject]))) == 1, f"{subject!r} survives", subject)

    def test_s19_nothing_is_left_between_two_states(self) -> None:
        """A removal that is left in its middle: each item is as it was, or gone; ``recover`` leaves nothing to do."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                before = fetch_all(mailbox)
                found = search_with_subjects(mailbox, everything())
                targets = [target for target, subject in found if subject != "Conformance twin"][:3]
                answers = iter(mailbox.remove(targets, disposal))
                first = next(answers)
                close = getattr(answers, "close", None)
                if close is not None:
                    close()
            with self.opened(locator, writable=True) as mailbox:
                mailbox.recover()
                demand(not mailbox.recover(), "after recover there is nothing to recover", locator)
                after = fetch_all(mailbox)
                places = mailbox.look(targets)
                demand(places[first.id] is PLACES[disposal], "what was answered is so", (first, places))
                demand(
                    set(places.values()) <= {Whereabouts.HERE, PLACES[disposal]}, "old or new, never between", places
                )
                unchanged_but(before, after, [t.id for t in targets if places[t.id] is not Whereabouts.HERE])

    def test_s30_our_own_changes_leave_the_identity(self) -> None:
        """The mailbox is the same one after a removal, so that a run can be resumed and what it removed be restored."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                before = mailbox.info.identity
                self.removed(mailbox, search(mailbox, matcher(subject=["Conformance plain"])), disposal)
                demand(mailbox.info.identity == before, "identity after removal", mailbox.info)
            with self.opened(locator) as mailbox:
                demand(mailbox.info.identity == before, "identity after removal, later", mailbox.info)

    def test_s30_another_mailbox_in_its_place_is_told_apart(self) -> None:
        """Its identity differs; an open mailbox object removes nothing from it."""
        for disposal in self.disposals():
            locator = self.some_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                identity = mailbox.info.identity
                targets = search(mailbox, everything())
                self.replace_mailbox(locator)
                with self.opened(locator) as other:
                    demand(other.info.identity != identity, "another mailbox has another identity", other.info)
                    before = fetch_all(other)
                try:
                    answers = self.removed(mailbox, targets, disposal)
                except ExciseError:
                    answers = {}
                told = {answer.outcome for answer in answers.values()}
                demand(Outcome.REMOVED not in told, "nothing is removed from another mailbox", answers)
            with self.opened(locator) as other:
                unchanged_but(before, fetch_all(other), [])
