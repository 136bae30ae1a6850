"""Tests of what a store says of messages where everybody who may see a log reads it (S23): nothing that is in them."""

from __future__ import annotations

from collections.abc import Iterable

from excise.core.errors import ExciseError
from excise.model.item import Deposit, Target
from excise.store_api.conformance.base import ConformanceBase, demand, everything, search
from excise.store_api.protocols import Tally, Unreadable, iterate_removals

#: A mark in each thing that tells of people.
MARKS = {
    "subject": "Zugspitze",
    "sender": "quetzal@example.net",
    "name": "Kookaburra",
    "recipient": "numbat@example.org",
    "attachment": "Popocatepetl",
    "content": "Titicaca",
    "body": "Ngorongoro",
    "header": "Kilimanjaro",
}
_NOWHERE = "no such item"


def marked(number: int) -> bytes:
    """A message with every mark."""
    said = MARKS
    return (
        f"From: {said['name']} <{said['sender']}>\nTo: {said['recipient']}\nSubject: {said['subject']} {number}\n"
        f"Message-ID: <{number}@example.net>\nX-Secret: {said['header']}\nDate: Thu, 1 Jan 2026 10:00:00 +0000\n"
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\n{said['body']}\n--b\nContent-Type: text/plain\n"
        f'Content-Disposition: attachment; filename="{said["attachment"]}.txt"\n\n{said["content"]}\n--b--\n'
    ).encode()


def told(said: Iterable[object]) -> set[str]:
    """The marks in what was ``said``."""
    text = "\n".join(str(each) for each in said)
    return {what for what, mark in MARKS.items() if mark.casefold() in text.casefold()}


class PrivacyConformance(ConformanceBase):
    """A store as it answers where logs are written."""

    def marked_mailbox(self) -> str:
        """The locator of a mailbox of three messages with marks."""
        return self.make_mailbox([Deposit(marked(number), self.main_folder) for number in range(3)])

    def test_s23_ids_versions_and_doubts_tell_no_content(self) -> None:
        """Journals and logs have them, of every item."""
        locator = self.marked_mailbox()
        with self.opened(locator) as mailbox:
            said: list[object] = [mailbox.info]
            for found in mailbox.find(everything(), Tally()):
                if isinstance(found, Unreadable):
                    said += [found.where, found.reason]
                    continue
                item = mailbox.fetch(found.id)
                said += [found.id, found.version, found.doubt, item.version, *item.notes]
            demand(len(said) > 3, "the messages are found", said)
            demand(not told(said), "ids, versions, doubts and notes tell no content", told(said))

    def test_s23_answers_and_errors_tell_no_content(self) -> None:
        """Removals that are made, those that meet another version and those of nothing; and a fetch of nothing."""
        for disposal in self.disposals():
            locator = self.marked_mailbox()
            with self.opened(locator, writable=True) as mailbox:
                targets = search(mailbox, everything())
                first, second = targets[0], targets[1]
                asked = [first, Target(second.id, "another version", second.folder), Target(_NOWHERE, "x", "")]
                said: list[object] = list(iterate_removals(asked, mailbox.remove(asked, disposal)).values())
                said += [mailbox.look(targets), mailbox.info, *mailbox.recover()]
                for gone in (_NOWHERE, first.id):
                    try:
                        mailbox.fetch(gone)
                    except ExciseError as error:
                        said += [error.text(), error.error_id]
            demand(len(said) > 4, "all were answered", said)
            demand(not told(said), f"{disposal}: answers and errors tell no content", said)

    def test_s23_damage_tells_no_content(self) -> None:
        """Where and why a message cannot be read is said without what can be."""
        locator = self.marked_mailbox()
        with self.opened(locator) as mailbox:
            target = search(mailbox, everything())[1]
        self.damage(locator, target.id)
        said: list[object] = []
        try:
            with self.opened(locator) as mailbox:
                for found in mailbox.find(everything(), Tally()):
                    said += [found.where, found.reason] if isinstance(found, Unreadable) else [found.doubt]
        except ExciseError as error:
            said.append(error.text())
        demand(bool(said), "the damaged mailbox is answered for", said)
        demand(not told(said), "damage is told without content", said)
