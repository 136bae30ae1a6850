"""Tests of finding and fetching; they need nothing but a mailbox with some messages in it."""

from __future__ import annotations

import pickle
from email import message_from_bytes
from pathlib import Path
from unittest import SkipTest

from excise.core.errors import ExciseError
from excise.core.text import normalise
from excise.model.item import Deposit, Disposal, Target, Whereabouts
from excise.store_api.conformance.base import (
    HOSTILE_IDS,
    candidates,
    demand,
    everything,
    fetch_all,
    matcher,
    search,
    search_with_subjects,
)
from excise.store_api.conformance.holding import HoldingConformance
from excise.store_api.errors import ItemNotFound, Unsupported
from excise.store_api.protocols import Mailbox, MailboxInfo, Store, Tally, Unreadable

_FDS = Path("/proc/self/fd")


class ReadingConformance(HoldingConformance):
    """A store as one reads from it."""

    def test_the_store_and_its_mailbox_keep_the_protocols(self) -> None:
        """Both have every method, and the kind is one word in capabilities, locator and information."""
        kind = self.store.capabilities.kind
        locator = self.some_mailbox()
        demand(isinstance(self.store, Store), "the store has the methods of Store", self.store)
        demand(locator.startswith(kind + ":"), "a locator begins with the kind and a colon", locator)
        with self.opened(locator) as mailbox:
            demand(isinstance(mailbox, Mailbox), "the mailbox has the methods of Mailbox", mailbox)
            demand(mailbox.info.kind == kind, "the mailbox says its kind", mailbox.info)

    def test_s03_a_mailbox_is_listed_at_its_locator(self) -> None:
        """``mailboxes`` lists what ``open`` opens, and one that is not there is an error of its own."""
        locator = self.some_mailbox()
        listed = list(self.store.mailboxes(locator))
        infos = [info for info in listed if isinstance(info, MailboxInfo)]
        demand(len(infos) == len(listed) >= 1, "a mailbox is listed at its locator", listed)
        with self.opened(infos[0].locator) as mailbox:
            demand(mailbox.info.identity == infos[0].identity, "the listed locator opens that mailbox", mailbox.info)

    def test_s07_every_message_is_seen_and_counted(self) -> None:
        """Seen = read + unreadable: what is yielded is counted as seen; ``unreadable`` is the caller's to count."""
        with self.opened(self.some_mailbox()) as mailbox:
            tally = Tally()
            found = list(mailbox.find(everything(), tally))
            demand(tally.unreadable == 0, "the caller counts what is yielded as Unreadable", tally)
            demand(tally.seen >= len(found) > 0, "each message is counted as seen", tally)
            demand(tally.bytes > 0, "bytes are counted", tally)

    def test_s07_progress_is_reported_whole(self) -> None:
        """What ``report`` is told adds up to the tally."""
        told = [0, 0]

        def report(messages: int, size: int) -> None:
            told[0] += messages
            told[1] += size

        with self.opened(self.some_mailbox()) as mailbox:
            tally = Tally(report=report)
            for _ in mailbox.find(everything(), tally):
                pass
            demand(told == [tally.seen, tally.bytes], "the last thing find does is tally.flush()", told)

    def test_s07_narrowing_equals_a_slow_full_scan(self) -> None:
        """For each subject there is: what ``find`` offers for it holds all that a full scan finds."""
        with self.opened(self.some_mailbox()) as mailbox:
            subjects = {s for _, s in search_with_subjects(mailbox, everything()) if s and normalise(s)}
            for subject in sorted(subjects)[:12]:
                wanted = matcher(subject=[subject])
                slow = {c.id for c in candidates(mailbox, everything()) if wanted.test(c.view).matched}
                quick = {target.id for target in search(mailbox, wanted)}
                demand(quick == slow and bool(slow), f"a search for {subject!r} finds all and no more", quick ^ slow)

    def test_s07_each_search_counts_the_same_messages(self) -> None:
        """The tally does not depend on what is looked for."""
        with self.opened(self.some_mailbox()) as mailbox:
            seen = []
            nothing = "no message has this subject"
            for wanted in (everything(), matcher(subject=[nothing]), matcher(subject=[nothing], folder=["Nowhere"])):
                tally = Tally()
                for _ in mailbox.find(wanted, tally):
                    pass
                seen.append(tally.seen)
            demand(len(set(seen)) == 1, "a message that is left out is counted like any other", seen)

    def test_s06_ids_are_distinct_and_stable_and_versions_are_ascii(self) -> None:
        """Ids and versions are the same when the mailbox is opened anew."""
        locator = self.some_mailbox()
        runs = []
        for _ in range(2):
            with self.opened(locator) as mailbox:
                runs.append(search(mailbox, everything()))
        ids = [target.id for target in runs[0]]
        demand(len(ids) == len(set(ids)), "two items have two ids", sorted(ids))
        demand(
            sorted(runs[0], key=lambda t: t.id) == sorted(runs[1], key=lambda t: t.id), "ids and versions stay", runs
        )
        demand(all(t.version and t.version.isascii() for t in runs[0]), "a version is ASCII and not empty", runs[0])

    def test_s13_fetch_gives_the_whole_item_each_time(self) -> None:
        """Content, version, folder and flags agree with what the search saw; a second fetch gives the same."""
        with self.opened(self.some_mailbox()) as mailbox:
            for target, subject in search_with_subjects(mailbox, everything()):
                item = mailbox.fetch(target.id)
                demand(item == mailbox.fetch(target.id), "two fetches are equal", target)
                demand((item.id, item.version) == (target.id, target.version), "fetch agrees with find", item)
                demand(item.folder == target.folder, "fetch and find name one folder", (item.folder, target.folder))
                if subject is not None and subject.isascii() and len(subject) < 60:
                    parsed = str(message_from_bytes(item.content)["Subject"])
                    demand(
                        normalise(parsed) == normalise(subject) or "=?" in parsed, "the content is that message", parsed
                    )

    def test_s13_reading_changes_nothing(self) -> None:
        """Find, fetch, look and count leave each byte, name and time as they were."""
        locator = self.some_mailbox()
        before = (self.snapshot(locator), self.surroundings(locator))
        with self.opened(locator) as mailbox:
            items = fetch_all(mailbox)
            targets = [Target(item.id, item.version, item.folder) for item in items.values()]
            demand(
                all(place is Whereabouts.HERE for place in mailbox.look(targets).values()),
                "what was found is HERE",
                mailbox.look(targets),
            )
            if self.store.capabilities.can_put:
                mailbox.count({target.version for target in targets})
            list(mailbox.folders())
        demand((self.snapshot(locator), self.surroundings(locator)) == before, "reading changes nothing", locator)

    def test_s20_look_tells_a_changed_item_from_one_that_is_here(self) -> None:
        """An item whose version differs is CHANGED; each target is answered."""
        with self.opened(self.some_mailbox()) as mailbox:
            target = search(mailbox, everything())[0]
            places = mailbox.look([Target(target.id, "0" * 64, target.folder)])
            demand(places == {target.id: Whereabouts.CHANGED}, "another version is CHANGED", places)

    def test_s27_hostile_ids_lead_nowhere(self) -> None:
        """An id that names nothing is ItemNotFound to fetch and not HERE to look."""
        locator = self.some_mailbox()
        with self.opened(locator) as mailbox:
            known = {target.id for target in search(mailbox, everything())}
            for item_id in (*HOSTILE_IDS, *(f"{one}/../../canary" for one in sorted(known)[:2])):
                try:
                    item = mailbox.fetch(item_id)
                except ItemNotFound:
                    pass
                else:
                    demand(False, f"fetch of {item_id!r} is an ItemNotFound", item)
                place = mailbox.look([Target(item_id, "0" * 64)])
                demand(list(place) == [item_id], "look answers each target", place)
                demand(place[item_id] is Whereabouts.ABSENT, f"{item_id!r} is ABSENT", place)

    def test_folders_hold_what_is_found(self) -> None:
        """Every item's folder is one of ``folders``, and counts are right where they are given."""
        with self.opened(self.some_mailbox()) as mailbox:
            listed = {folder.path: folder.count for folder in mailbox.folders()}
            found = [target.folder for target in search(mailbox, everything())]
            demand(set(found) <= listed.keys(), "each item's folder is listed", set(found) - listed.keys())
            for path, count in listed.items():
                demand(count is None or count >= found.count(path), f"the count of {path!r}", count)

    def test_s30_the_identity_is_the_same_each_time(self) -> None:
        """Two openings of one mailbox agree on what it is."""
        locator = self.some_mailbox()
        with self.opened(locator) as one, self.opened(locator) as other:
            demand(bool(one.info.identity), "a mailbox has an identity", one.info)
            demand(one.info.identity == other.info.identity, "it is the same each time", other.info)

    def test_what_crosses_a_process_border_is_picklable(self) -> None:
        """The mailbox's information, ids and fetched items survive pickling; the locator opens the mailbox again."""
        with self.opened(self.some_mailbox()) as mailbox:
            info = pickle.loads(pickle.dumps(mailbox.info))  # noqa: S301 - our own bytes of a moment ago
            demand(info == mailbox.info, "MailboxInfo is picklable", info)
            for item in fetch_all(mailbox).values():
                demand(pickle.loads(pickle.dumps(item)) == item, "Fetched is picklable", item.id)  # noqa: S301
            with self.opened(info.locator) as again:
                demand(bool(fetch_all(again)), "info.locator opens the mailbox", info)

    def test_s05_a_mailbox_opened_for_reading_refuses_to_write(self) -> None:
        """Without ``writable``, remove and put raise and nothing changes."""
        locator = self.some_mailbox()
        before = self.snapshot(locator)
        with self.opened(locator) as mailbox:
            target = search(mailbox, everything())[0]
            disposals = sorted(self.store.capabilities.disposals)
            for attempt in (
                *(lambda d=d: list(mailbox.remove([target], d)) for d in disposals),
                lambda: list(mailbox.put([Deposit(b"Subject: x\n\nx\n", self.main_folder)])),
            ):
                self._is_refused(attempt)
        demand(self.snapshot(locator) == before, "nothing was written", locator)

    def test_what_a_store_cannot_do_it_refuses_and_says_why(self) -> None:
        """A disposal that is not among the capabilities, or a put without ``can_put``, is Unsupported."""
        capabilities = self.store.capabilities
        locator = self.some_mailbox()
        with self.opened(locator) as mailbox:
            targets = search(mailbox, everything())[:1]
        if not capabilities.disposals:
            demand(bool(capabilities.removal_refused_because), "a store that removes nothing says why", capabilities)
        lacking = [d for d in Disposal if d not in capabilities.disposals]
        before = self.snapshot(locator)
        for disposal in lacking:
            try:
                with self.opened(locator, writable=True) as mailbox:
                    answers = list(mailbox.remove(targets, disposal))
            except Unsupported:
                continue
            demand(False, f"disposal {disposal.value!r} is Unsupported", answers)
        if not capabilities.can_put:
            try:
                with self.opened(locator, writable=True) as mailbox:
                    placed = list(mailbox.put([Deposit(b"Subject: x\n\nx\n", self.main_folder)]))
            except Unsupported:
                pass
            else:
                demand(False, "put is Unsupported", placed)
        demand(self.snapshot(locator) == before, "nothing was written", locator)

    def test_closing_lets_go_of_every_file(self) -> None:
        """No descriptor stays open, where a search was left in its middle too; closing twice is no error."""
        if not _FDS.is_dir():
            raise SkipTest("this system has no /proc/self/fd")
        locator = self.some_mailbox()
        with self.opened(locator) as mailbox:
            fetch_all(mailbox)
        before = len(list(_FDS.iterdir()))
        for _ in range(3):
            mailbox = self.store.open(locator)
            fetch_all(mailbox)
            search_left_in_its_middle = mailbox.find(everything(), Tally())
            next(search_left_in_its_middle)
            del search_left_in_its_middle
            mailbox.close()
            mailbox.close()
        after = len(list(_FDS.iterdir()))
        demand(after <= before, "close lets go of every descriptor", after - before)

    def test_a_mailbox_that_is_not_there_is_one_clear_error(self) -> None:
        """``open`` raises an ExciseError, ``mailboxes`` lists it as not searched or raises one."""
        locator = f"{self.store.capabilities.kind}:/nonexistent/excise-conformance"
        try:
            mailbox = self.store.open(locator)
        except ExciseError as error:
            demand(bool(error.message), "the error says what is wrong", error)
        else:
            mailbox.close()
            demand(False, "opening what is not there is an ExciseError", locator)
        try:
            listed = list(self.store.mailboxes(locator))
        except ExciseError:
            return
        demand(bool(listed) and not any(isinstance(one, MailboxInfo) for one in listed), "it is not searched", listed)

    def test_s08_an_item_that_cannot_be_read_is_never_clean(self) -> None:
        """It is yielded as Unreadable, counted, and refused by fetch; the others are found as before."""
        locator = self.some_mailbox()
        with self.opened(locator) as mailbox:
            before = search(mailbox, everything())
        self.damage(locator, before[0].id)
        with self.opened(locator) as mailbox:
            tally = Tally()
            found = list(mailbox.find(everything(), tally))
            bad = [one for one in found if isinstance(one, Unreadable)]
            demand(len(bad) == 1, "it is yielded as Unreadable", found)
            demand(bool(bad[0].where and bad[0].reason), "it says where and why", bad)
            demand(tally.seen >= len(before), "it is counted as seen", tally)
            try:
                item = mailbox.fetch(before[0].id)
            except ExciseError:
                return
            demand(False, "fetch raises where an item cannot be read whole", item)

    def _is_refused(self, attempt: object) -> None:
        try:
            answers = attempt()  # type: ignore[operator]
        except ExciseError:
            return
        demand(False, "a mailbox opened for reading only refuses to be changed", answers)
