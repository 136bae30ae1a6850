"""Faults of servers, switched on one by one: no outcome is lost, nothing is done twice, nothing is found to be clean
that was not searched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ews.worlds import START, mail, small_world
from ews_server import Fault, Item, Mailbox, Server, World, busy, part, part_busy, quota_exceeded
from excise.core.errors import ExciseError, SourceUnavailable
from excise.criteria import Criteria, Matcher
from excise.model.item import Deposit, Disposal, Outcome, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, MailboxChanged, Unauthorised
from excise.store_api.protocols import NotSearched, Tally, Unreadable
from excise.stores.ews import STORE
from excise.stores.ews.mailbox import EwsMailbox
from excise.stores.ews.place import Access, Part, Place
from stores.ews_place import ANNA, client_of, log_in, place_of, serving


class Setting:
    """Anna's mailbox with five messages, on a server whose faults a test switches on."""

    def __init__(self, world: World, anna: Mailbox, server: Server) -> None:
        self.world, self.anna, self.server = world, anna, server
        self.client = client_of(server)
        self.mailbox = self.open()

    def open(self) -> EwsMailbox:
        opened = STORE.open(place_of(self.server).locator, writable=True)
        assert isinstance(opened, EwsMailbox)
        return opened

    def faults(self, *faults: Fault) -> None:
        self.server.log.clear()
        self.server.faults.add(*faults)

    def targets(self) -> list[Target]:
        return [Target(one.id, one.version, one.folder) for one in self.found()]

    def found(self) -> list[Target]:
        matcher = Matcher(Criteria.from_options(subject_prefix=["Message"]))
        tally = Tally()
        self.mailbox = self.open()
        got = list(self.mailbox.find(matcher, tally))
        assert not [one for one in got if isinstance(one, Unreadable)]
        return [Target(one.id, one.version, one.view.folder) for one in got]  # type: ignore[union-attr]

    def inbox(self) -> list[Item]:
        return self.world.items_in(self.anna, "inbox")

    def lying_in(self, name: str) -> int:
        return len(self.world.items_in(self.anna, name))


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    log_in(monkeypatch)
    world, anna = small_world()
    with serving(world) as server:
        made = Setting(world, anna, server)
        yield made
        made.mailbox.close()
        assert not [one for request in server.log.requests for one in request.complaints]
        assert not world.sent


READ_FAULTS = {
    "busy": busy(50, times=2),
    "busy item": part_busy(50, operation="GetItem", place=2),
    "dropped before": Fault("drop_before"),
    "dropped after": Fault("drop_after", times=2),
    "cut": Fault("cut", operation="FindItem"),
    "cut quietly": Fault("cut_quietly", operation="GetItem"),
    "cut quietly, folders": Fault("cut_quietly", operation="FindFolder"),
    "one answer missing": Fault("fewer", operation="GetItem"),
    "one answer twice": Fault("twice", operation="GetItem"),
    "another answer": Fault("stray", operation="FindItem"),
    "no declaration": Fault("undeclared", times=0),
    "unavailable": Fault("http", status=503),
    "bad gateway": Fault("http", status=502),
    "store unavailable": Fault("error", code="ErrorMailboxStoreUnavailable"),
    "move in progress": Fault("error", code="ErrorMailboxMoveInProgress"),
    "internal": Fault("error", code="ErrorInternalServerTransientError"),
}


@pytest.mark.parametrize("name", READ_FAULTS)
def test_s08_reading_goes_on_where_a_fault_passes(setting: Setting, name: str) -> None:
    """A search finds all that is there, whatever one answer of the server was."""
    setting.faults(READ_FAULTS[name])
    assert len(setting.found()) == 5
    assert setting.server.faults.struck()


def test_s08_a_fault_that_stays_is_never_clean(setting: Setting) -> None:
    """A search of which an answer is always cut is an error, not a search without matches."""
    setting.faults(Fault("cut_quietly", operation="FindItem", times=0))
    with pytest.raises(SourceUnavailable, match="cut off"):
        setting.found()


def test_s08_a_folder_that_is_refused_is_unreadable(setting: Setting) -> None:
    """The other folders are searched."""
    setting.faults(part("ErrorAccessDenied", operation="FindItem", place=0, times=0))
    got = list(setting.mailbox.find(Matcher(Criteria.from_options(subject_prefix=["Message"])), Tally()))
    assert [one.reason for one in got if isinstance(one, Unreadable) and "ErrorAccessDenied" in one.reason]


def test_unknown_codes_are_named_and_not_repeated(setting: Setting) -> None:
    """What nobody has described is told as it stands."""
    setting.faults(Fault("error", code="ErrorOfTomorrow", operation="FindFolder", times=0))
    with pytest.raises(ExciseError, match="ErrorOfTomorrow"):
        setting.found()
    assert setting.server.log.count["FindFolder"] == 1


def test_a_pause_holds_for_every_worker(setting: Setting) -> None:
    """Nothing is sent before the time that the server named has passed."""
    setting.faults(busy(600))
    before = time.monotonic()
    setting.found()
    assert time.monotonic() - before >= 0.6


def test_s26_a_refused_login_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many mailboxes wait: no account is locked out."""
    log_in(monkeypatch, password="wrong")
    world, _ = small_world()
    with serving(world) as server:
        client_of(server)
        names = [f"box{n}@example.test" for n in range(20)]
        found = list(STORE.named(f"ews://127.0.0.1:{server.port}/?plain=1", names, ()))  # type: ignore[attr-defined]
        assert server.log.refused == 1
    assert len(found) == 20
    assert all(isinstance(one, NotSearched) and "refused" in one.reason for one in found)
    assert all("tried once" in one.reason and "wrong" not in one.reason for one in found)


def test_an_unknown_mailbox_and_one_without_rights_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what to do."""
    log_in(monkeypatch, user="bob@example.test")
    world, _ = small_world()
    with serving(world) as server:
        client_of(server)
        denied = place_of(server, ANNA)
        with pytest.raises(Unauthorised, match="ErrorImpersonat") as caught:
            STORE.open(denied.locator)
        assert "ApplicationImpersonation" in (caught.value.hint or "")
        nobody = Place(denied.host, "nobody@example.test", access=Access.DELEGATE, plain=True)
        with pytest.raises(SourceUnavailable, match=r"ErrorNonExistentMailbox|ErrorCannotFindUser"):
            STORE.open(nobody.locator)


ACTING_FAULTS = {
    "busy": busy(50, operation="DeleteItem", times=2),
    "busy item": part_busy(50, operation="DeleteItem", place=2),
    "dropped before": Fault("drop_before", operation="DeleteItem"),
    "dropped after": Fault("drop_after", operation="DeleteItem"),
    "cut": Fault("cut", operation="DeleteItem"),
    "cut quietly": Fault("cut_quietly", operation="DeleteItem"),
    "one answer missing": Fault("fewer", operation="DeleteItem"),
    "one answer twice": Fault("twice", operation="DeleteItem"),
    "another answer": Fault("stray", operation="DeleteItem"),
    "bad gateway": Fault("http", status=502, operation="DeleteItem"),
    "done, and said to have failed": Fault("error", code="ErrorTimeoutExpired", operation="DeleteItem"),
}


@pytest.mark.parametrize("disposal", [Disposal.TRASH, Disposal.SOFT, Disposal.HARD])
@pytest.mark.parametrize("name", ACTING_FAULTS)
def test_s16_every_item_has_its_outcome(setting: Setting, name: str, disposal: Disposal) -> None:
    """Three of five go, each told as removed, whatever became of the answer; the other two stay."""
    targets = setting.targets()[:3]
    setting.faults(ACTING_FAULTS[name])
    outcomes = [removal.outcome for removal in setting.mailbox.remove(targets, disposal)]
    assert setting.server.faults.struck()
    assert outcomes == [Outcome.REMOVED] * 3
    assert len(setting.inbox()) == 2
    assert setting.lying_in("deleteditems") == (3 if disposal is Disposal.TRASH else 0)
    assert setting.lying_in("recoverableitemsdeletions") == (3 if disposal is Disposal.SOFT else 0)
    place = {Disposal.TRASH: Whereabouts.IN_TRASH, Disposal.SOFT: Whereabouts.RECOVERABLE}
    assert set(setting.open().look(targets).values()) == {place.get(disposal, Whereabouts.ABSENT)}


def test_s16_a_refusal_of_one_item_is_its_own(setting: Setting) -> None:
    """The others of the batch go; the refused one is told with the server's code."""
    targets = setting.targets()[:3]
    setting.faults(part("ErrorAccessDenied", operation="DeleteItem", place=1))
    removals = list(setting.mailbox.remove(targets, Disposal.SOFT))
    assert [one.outcome for one in removals] == [Outcome.REMOVED, Outcome.FAILED, Outcome.REMOVED]
    assert "ErrorAccessDenied" in removals[1].detail
    assert len(setting.inbox()) == 3


def test_s24_a_full_recoverable_items_is_a_hold(setting: Setting) -> None:
    """The quota error that Exchange wraps in another one is named."""
    targets = setting.targets()[:3]
    setting.faults(quota_exceeded(operation="DeleteItem", place=1))
    removals = list(setting.mailbox.remove(targets, Disposal.SOFT))
    assert [one.outcome for one in removals] == [Outcome.REMOVED, Outcome.HELD, Outcome.REMOVED]
    assert "ErrorQuotaExceededOnDelete" in removals[1].detail


def test_s13_an_item_that_is_read_meanwhile_still_goes(setting: Setting) -> None:
    """Its ChangeKey is another one, its fingerprint is not."""
    targets = setting.targets()[:1]
    item = setting.inbox()[0]
    item.read = True
    setting.world.touch(item)
    assert [one.outcome for one in setting.mailbox.remove(targets, Disposal.SOFT)] == [Outcome.REMOVED]


@pytest.mark.parametrize("name", ["dropped after", "cut", "cut quietly", "fewer", "stray", "bad gateway", "busy"])
@pytest.mark.parametrize("export", [True, False])
def test_s21_a_lost_answer_doubles_nothing(setting: Setting, name: str, export: bool) -> None:
    """Two messages are put, and two are there, each with its own id."""
    operation = "UploadItems" if export else "CreateItem"
    fault = {
        "dropped after": Fault("drop_after", operation=operation, times=2),
        "cut": Fault("cut", operation=operation),
        "cut quietly": Fault("cut_quietly", operation=operation),
        "fewer": Fault("fewer", operation=operation),
        "stray": Fault("stray", operation=operation),
        "bad gateway": Fault("http", status=502, operation=operation),
        "busy": busy(50, operation=operation),
    }[name]
    items = [setting.mailbox.fetch(target.id) for target in setting.targets()[:2]]
    assert all("export" in item.attributes for item in items)
    kept = [{k: v for k, v in item.attributes.items() if export or k != "export"} for item in items]
    deposits = [
        Deposit(i.content, "Back", i.flags, i.delivered, attributes) for i, attributes in zip(items, kept, strict=True)
    ]
    setting.faults(fault)
    placed = list(setting.mailbox.put(deposits))
    assert setting.server.faults.struck()
    assert [one.outcome for one in placed] == [Outcome.RESTORED] * 2, placed
    assert len({one.id for one in placed}) == 2
    counted = setting.mailbox.count({item.version for item in items})
    assert {key: count for key, count in counted.items() if key[0] == "Back"} == {
        ("Back", item.version): 1 for item in items
    }


def test_s13_a_truncated_export_is_never_evidence(setting: Setting) -> None:
    """Exchange marks a stream that it cut: asked for again, and refused where it stays so."""
    target = setting.targets()[0]
    setting.faults(Fault("truncated", operation="ExportItems", times=1))
    assert setting.mailbox.fetch(target.id).attributes["export"]
    setting.server.faults.clear()
    setting.faults(Fault("truncated", operation="ExportItems", times=0))
    with pytest.raises(ItemDamaged, match="cut off"):
        setting.mailbox.fetch(target.id)


def test_s17_a_view_that_shifts_is_read_again(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail that goes away between two pages makes no other mail invisible."""
    from excise.stores.ews import listing

    monkeypatch.setattr(listing, "_PAGE", 2)
    gone = setting.inbox()[0]
    asked = setting.server.log.count
    real = listing._page

    def page(answer: object) -> object:
        if asked["FindItem"] == 2 and gone.number in setting.world.items:
            with setting.world.lock:
                setting.world.drop_item(gone)
        return real(answer)  # type: ignore[arg-type]

    monkeypatch.setattr(listing, "_page", page)
    setting.server.log.clear()
    assert len(setting.found()) == 4
    assert gone.number not in setting.world.items


def test_few_requests(setting: Setting) -> None:
    """A search of a mailbox: its folders, one listing of them all, one reading of the candidates."""
    setting.server.log.clear()
    setting.found()
    assert dict(setting.server.log.count) == {"GetFolder": 1, "FindFolder": 1, "FindItem": 1, "GetItem": 1}


def test_a_delegate_sees_what_he_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights on the inbox alone: it is searched, and the rest is told as not searched."""
    log_in(monkeypatch, user="bob@example.test")
    world, anna = small_world()
    world.find_folder(anna, "inbox").permissions["bob@example.test"] = "Reviewer"
    with serving(world) as server:
        client_of(server)
        place = Place(f"127.0.0.1:{server.port}", ANNA, access=Access.DELEGATE, plain=True)
        mailbox = STORE.open(place.locator)
        got = list(mailbox.find(Matcher(Criteria.from_options(subject_prefix=["Message"])), Tally()))
        mailbox.close()
    assert len([one for one in got if not isinstance(one, Unreadable)]) == 5
    assert [one.where for one in got if isinstance(one, Unreadable)] == ["the other folders of the mailbox"]


@pytest.mark.parametrize(
    ("which", "folder", "path"),
    [
        (Part.ARCHIVE, "archiveinbox", "Inbox"),
        (Part.ARCHIVE, "archivemsgfolderroot", "Top of Information Store"),
        (Part.PRIMARY, "msgfolderroot", "Top of Information Store"),
        (Part.RECOVERABLE, "recoverableitemsdeletions", "Deletions"),
        (Part.RECOVERABLE, "recoverableitemsversions", "Versions"),
        (Part.RECOVERABLE, "recoverableitemspurges", "Purges"),
        (Part.RECOVERABLE, "recoverableitemsdiscoveryholds", "DiscoveryHolds"),
    ],
)
def test_every_folder_of_every_part_is_searched(setting: Setting, which: Part, folder: str, path: str) -> None:
    """A message that lies in the root, in the archive or in Recoverable Items is found there."""
    setting.world.deliver(setting.anna, folder, mail(77), received=START)
    mailbox = STORE.open(place_of(setting.server, part=which).locator)
    got = list(mailbox.find(Matcher(Criteria.from_options(subject=["Message 77"])), Tally()))
    mailbox.close()
    assert [one.view.folder for one in got if not isinstance(one, Unreadable)] == [path]


def test_public_folders_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level by level, in the name of the one who asks."""
    log_in(monkeypatch, user=ANNA)
    world, _ = small_world()
    public = world.public_folders()
    world.deliver(public, world.folder(public, world.folder(public, "publicfoldersroot", "Shared"), "Deep"), mail(77))
    with serving(world) as server:
        client_of(server)
        source = f"ews://127.0.0.1:{server.port}/?plain=1"
        [info] = list(STORE.named(source, (), ("public",)))  # type: ignore[attr-defined]
        mailbox = STORE.open(info.locator)
        got = list(mailbox.find(Matcher(Criteria.from_options(subject=["Message 77"])), Tally()))
        mailbox.close()
        assert not [one for request in server.log.requests for one in request.complaints]
    assert [one.view.folder for one in got if not isinstance(one, Unreadable)] == ["Shared/Deep"]


def test_s08_an_item_that_vanishes_makes_the_search_start_again(setting: Setting) -> None:
    """It may have been moved to a folder that was listed already."""
    setting.faults(part("ErrorItemNotFound", operation="GetItem", place=1))
    with pytest.raises(MailboxChanged):
        setting.found()
