"""The memory store, the reference, under the conformance suite."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from excise.model.item import Deposit
from excise.store_api.conformance import StoreConformance, seeds
from excise.store_api.protocols import MailboxInfo
from excise.stores import memory

_NUMBERS = itertools.count()


class TestMemoryConformance(StoreConformance):
    store = memory.STORE
    kept_flags = frozenset({"seen", "answered", "flagged", "draft", "deleted", "forwarded", "work"})

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        return memory.create(f"conformance-{next(_NUMBERS)}", messages)

    def deliver(self, locator: str, content: bytes) -> None:
        memory.contents_of(locator).add(Deposit(content, memory.INBOX))

    def tamper(self, locator: str, item_id: str) -> None:
        self._edit(locator, item_id, lambda item: replace(item, content=item.content + b"More.\n"))

    def change_flags(self, locator: str, item_id: str) -> None:
        self._edit(locator, item_id, lambda item: replace(item, flags=item.flags ^ {"seen", "flagged"}))

    def _edit(self, locator: str, item_id: str, change) -> None:
        contents = memory.contents_of(locator)
        item = next(item for item in contents.items.values() if item.id == item_id)
        contents.items[item.serial] = change(item)

    def drop_folder(self, locator: str, folder: str) -> None:
        contents = memory.contents_of(locator)
        contents.items = {n: item for n, item in contents.items.items() if item.folder != folder}
        contents.folders.discard(folder)

    def replace_mailbox(self, locator: str) -> None:
        memory.create(locator.partition(":")[2], seeds(self.main_folder, self.other_folder))

    def place_hold(self, locator: str, reason: str) -> None:
        memory.contents_of(locator).hold = reason

    def snapshot(self, locator: str) -> Mapping[str, object]:
        contents = memory.contents_of(locator)
        return {"items": dict(contents.items), "folders": set(contents.folders), "identity": contents.identity}


def test_every_mailbox_is_listed_by_a_star() -> None:
    locators = {memory.create(f"star-{n}") for n in range(3)}
    listed = {info.locator for info in memory.STORE.mailboxes("memory:*") if isinstance(info, MailboxInfo)}
    assert locators <= listed
    for locator in locators:
        memory.drop(locator)
    assert not locators & {info.locator for info in memory.STORE.mailboxes("memory:*") if isinstance(info, MailboxInfo)}


def test_no_file_is_a_mailbox_in_memory(tmp_path) -> None:
    assert not memory.STORE.claims(tmp_path, b"")


def test_an_id_is_never_given_twice() -> None:
    locator = memory.create("serials", [Deposit(b"Subject: one\n\n")])
    mailbox = memory.STORE.open(locator, writable=True)
    with pytest.raises(Exception, match="no item"):
        mailbox.fetch("INBOX:2")
    contents = memory.contents_of(locator)
    contents.items.clear()
    [placed] = mailbox.put([Deposit(b"Subject: two\n\n")])
    assert placed.id == "INBOX:2"
