"""The conformance suite over the test EWS server, as Exchange has it and as another server does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ews.worlds import PASSWORD
from ews_server import Fault, Mailbox, Quirks, Server, World, busy, gromox, part_busy
from excise.model.item import Deposit
from excise.store_api.conformance import StoreConformance, seeds
from excise.stores.ews import STORE
from excise.stores.ews.mailbox import EwsMailbox
from excise.stores.ews.place import Place
from excise.stores.ews.store import EwsStore
from stores.ews_place import ADMIN, client_of, fill, folder_at, item_of, log_in, new_address, place_of, serving


class _PatientMailbox(EwsMailbox):
    """Closed when the server, which is in this process too, has closed its ends of the connections."""

    def close(self) -> None:
        super().close()
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join(5)


class _PatientStore(EwsStore):
    def open(self, locator: str, *, writable: bool = False) -> EwsMailbox:
        opened = super().open(locator, writable=writable)
        assert isinstance(opened, EwsMailbox)
        opened.__class__ = _PatientMailbox
        return opened


class _EwsHooks(StoreConformance):
    """How the suite changes a mailbox behind the store's back."""

    store = _PatientStore()
    main_folder = "Inbox"
    kept_flags = frozenset({"seen", "answered", "flagged", "draft"})
    quirks = Quirks()

    @pytest.fixture
    def faults(self) -> Sequence[Fault]:
        """What goes wrong all the while."""
        return ()

    @pytest.fixture(autouse=True)
    def _serve(self, monkeypatch: pytest.MonkeyPatch, faults: Sequence[Fault]) -> Iterator[None]:
        log_in(monkeypatch)
        self.world = World()
        self.world.user(ADMIN, PASSWORD, impersonates=["*"])
        with serving(self.world, self.quirks) as self.server:
            client_of(self.server)
            self.server.faults.add(*faults)
            yield
            assert not [one for request in self.server.log.requests for one in request.complaints]
            assert not self.server.log.errors
            assert not self.world.sent

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        mailbox = self.world.mailbox(new_address())
        fill(self.world, mailbox, messages)
        return place_of(self.server, mailbox.address).locator

    def mailbox(self, locator: str) -> Mailbox:
        return self.world.mailboxes[Place.parse(locator).address]

    def deliver(self, locator: str, content: bytes) -> None:
        self.world.deliver(self.mailbox(locator), "inbox", content, received=datetime.now(UTC))

    def tamper(self, locator: str, item_id: str) -> None:
        item = item_of(self.world, item_id)
        item.mime += b"More.\r\n"
        self.world.touch(item)

    def change_flags(self, locator: str, item_id: str) -> None:
        item = item_of(self.world, item_id)
        item.read = not item.read
        item.categories = ["Red"]
        self.world.touch(item)

    def damage(self, locator: str, item_id: str) -> None:
        self.server.faults.add(Fault("part", operation="GetItem", item=item_id, times=0, code="ErrorCorruptData"))

    def drop_folder(self, locator: str, folder: str) -> None:
        with self.world.lock:
            self.world.drop_folder(folder_at(self.world, self.mailbox(locator), folder))

    def replace_mailbox(self, locator: str) -> None:
        old = self.mailbox(locator)
        new = self.world.mailbox(old.address, guid="0" * 8 + old.guid[8:])
        fill(self.world, new, seeds(self.main_folder, self.other_folder))

    def snapshot(self, locator: str) -> Mapping[str, object]:
        mailbox = self.mailbox(locator)
        with self.world.lock:
            folders = {
                f.number: (f.name, f.version) for f in self.world.folders.values() if f.mailbox == mailbox.address
            }
            items = {i.number: repr(i) for i in self.world.items.values() if i.mailbox == mailbox.address}
        return {"folders": folders, "items": items}


class TestExchange(_EwsHooks):
    """Microsoft's ways, but that MIME is the same each time, which the suite asks for."""

    quirks = Quirks(mime_anew=False)


class TestGromox(_EwsHooks):
    """Those of an independent server: no export streams, ids that stay, odd times, faults without detail."""

    quirks = replace(gromox(), mime_anew=False)


#: What passes, every so often: the store is to go on as if nothing had been.
FAULTS = {
    "busy": busy(10, every=4, times=0),
    "busy item": part_busy(10, operation="GetItem", place=0, every=3, times=0),
    "busy removal": part_busy(10, operation="DeleteItem", place=0, every=2, times=0),
    "dropped before": Fault("drop_before", every=4, times=0),
    "dropped after": Fault("drop_after", every=4, times=0),
    "cut": Fault("cut", every=4, times=0),
    "cut quietly": Fault("cut_quietly", every=4, times=0),
    "one answer missing": Fault("fewer", every=4, times=0),
    "one answer twice": Fault("twice", every=4, times=0),
    "another answer": Fault("stray", every=4, times=0),
    "an answer too many": Fault("desync", every=4, times=0),
    "folders in another order": Fault("other_order", operation="GetFolder", times=0),
    "listings in another order": Fault("other_order", operation="FindItem", times=0),
    "exports truncated": Fault("truncated", operation="ExportItems", every=2, times=0),
    "no declaration": Fault("undeclared", times=0),
    "unavailable": Fault("http", status=503, every=4, times=0),
    "bad gateway": Fault("http", status=502, every=4, times=0),
    "store unavailable": Fault("error", code="ErrorMailboxStoreUnavailable", every=4, times=0),
    "move in progress": Fault("error", code="ErrorMailboxMoveInProgress", every=4, times=0),
    "too many connections": Fault("error", code="ErrorExceededConnectionCount", every=4, times=0),
    "timeout": Fault("error", code="ErrorTimeoutExpired", every=4, times=0),
    "done, and said to have failed": Fault(
        "part_after", operation="DeleteItem", code="ErrorTimeoutExpired", every=2, times=0
    ),
    "slow": Fault("slow", seconds=0.05, every=4, times=0),
}


#: Those that each run of the tests takes; all of them take minutes.
_BRIEFLY = ("busy item", "dropped after", "one answer twice", "another answer", "done, and said to have failed")


class TestFaults(_EwsHooks):
    """Microsoft's ways, with one fault of a server's at a time switched on for good."""

    quirks = Quirks(mime_anew=False)

    @pytest.fixture(params=[pytest.param(one, marks=[] if one in _BRIEFLY else pytest.mark.soak) for one in FAULTS])
    def faults(self, request: pytest.FixtureRequest) -> Sequence[Fault]:
        """One that strikes in its turn, from the start on."""
        return (replace(FAULTS[request.param]),)


def test_the_server_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version and the access are told with the mailbox."""
    log_in(monkeypatch)
    world = World()
    world.user(ADMIN, PASSWORD, impersonates=["*"])
    world.mailbox("anna@example.test")
    with Server(world) as server:
        [info] = STORE.mailboxes(place_of(server).locator)
    assert info.name == "anna@example.test"
    assert getattr(info, "details", {})["access"] == "impersonation"
    assert getattr(info, "details", {})["server"].startswith("15.")
