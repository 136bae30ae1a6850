"""What a server says that cannot be believed: answers about another item, refusals after the act, no end (S16, S27)."""

from __future__ import annotations

import base64
import gzip
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from lxml import etree

from ews.worlds import START, mail
from ews_server import Fault, part
from ews_server.faults import part_busy
from excise.core.errors import ExciseError, SourceUnavailable
from excise.model.item import Deposit, Disposal, Outcome, Target, Whereabouts
from excise.store_api.errors import ItemDamaged
from excise.stores.ews import STORE, bodies, fetching
from excise.stores.ews import server as ews_server_module
from excise.stores.ews.item import EwsItem
from excise.stores.ews.place import Part
from excise.stores.ews.server import Server as EwsServer
from excise.stores.ews.settings import Auth, Login, Settings
from excise.stores.ews.soap import TYPES
from stores import test_ews_faults
from stores.ews_place import place_of
from stores.test_ews_faults import Setting

setting = test_ews_faults.setting


def _twins(setting: Setting, folder: str = "sentitems") -> tuple[Target, Target]:
    """A message of the inbox, and its equal in another folder, both as targets."""
    setting.world.deliver(setting.anna, folder, mail(0), received=START)
    found = setting.targets()
    [version] = {one.version for one in found if sum(other.version == one.version for other in found) == 2}
    first, second = (one for one in found if one.version == version)
    return (first, second) if first.folder == "Inbox" else (second, first)


def test_s18_an_answer_about_an_equal_item_removes_nothing(setting: Setting) -> None:
    """The answers come in another order: neither twin is taken for the other, and what is not planned stays."""
    inbox, sent = _twins(setting)
    setting.faults(Fault("other_order", operation="GetItem", times=0))
    removals = list(setting.mailbox.remove([inbox, sent], Disposal.HARD))
    assert setting.server.faults.struck()
    assert [one.outcome for one in removals] == [Outcome.FAILED] * 2
    assert "another item" in removals[0].detail
    assert "DeleteItem" not in {request.operation for request in setting.server.log.requests}
    assert len(setting.inbox()) == 5


def test_s16_a_refusal_of_a_second_round_does_not_speak_for_the_first(setting: Setting) -> None:
    """Two of three are removed, the third is busy, and the request that asks for it again is refused as a whole."""
    targets = setting.targets()[:3]
    setting.faults(
        part_busy(20, operation="DeleteItem", place=2),
        Fault("error", code="ErrorAccessDenied", operation="DeleteItem", after=1, times=0),
    )
    outcomes = [one.outcome for one in setting.mailbox.remove(targets, Disposal.SOFT)]
    assert outcomes == [Outcome.REMOVED, Outcome.REMOVED, Outcome.FAILED]
    assert setting.lying_in("recoverableitemsdeletions") == 2


def test_s16_what_cannot_be_read_after_a_lost_answer_is_unknown(setting: Setting) -> None:
    """It was removed, nobody heard of it, and the server does not let us look: that is no failure to remove."""
    targets = setting.targets()[:1]
    setting.faults(
        Fault("drop_after", operation="DeleteItem"),
        part("ErrorAccessDenied", operation="GetItem", after=1, times=0),
    )
    assert [one.outcome for one in setting.mailbox.remove(targets, Disposal.SOFT)] == [Outcome.UNKNOWN]


def test_s16_the_last_answer_is_looked_for_too(setting: Setting) -> None:
    """Three requests never reach the server; the fourth is carried out, and its answer is lost."""
    targets = setting.targets()[:1]
    setting.faults(Fault("drop_before", operation="DeleteItem", times=3), Fault("drop_after", operation="DeleteItem"))
    assert [one.outcome for one in setting.mailbox.remove(targets, Disposal.SOFT)] == [Outcome.REMOVED]


def test_s20_outcomes_survive_where_the_bins_cannot_be_seen(setting: Setting) -> None:
    """What was removed for good is told so, though nobody knows whether the server keeps it."""
    targets = setting.targets()[:2]
    setting.faults(Fault("error", code="ErrorAccessDenied", operation="FindItem", after=1, times=0))
    removals = list(setting.mailbox.remove(targets, Disposal.HARD))
    assert [one.outcome for one in removals] == [Outcome.REMOVED] * 2
    assert "cannot be seen" in removals[0].detail


def test_s16_a_planned_twin_is_not_where_the_other_went(setting: Setting) -> None:
    """After a crash a new process looks: one twin was removed for good, the other still lies in its folder."""
    inbox, sent = _twins(setting)
    assert [one.outcome for one in setting.mailbox.remove([inbox], Disposal.HARD)] == [Outcome.REMOVED]
    assert setting.open().look([inbox, sent]) == {inbox.id: Whereabouts.ABSENT, sent.id: Whereabouts.HERE}


def _deposit(setting: Setting) -> Deposit:
    item = setting.mailbox.fetch(setting.targets()[0].id)
    return Deposit(item.content, "Back", item.flags, item.delivered, item.attributes)


def test_s21_an_upload_that_was_done_and_denied_is_not_done_again(setting: Setting) -> None:
    """The server stores the item and answers with an error: it is looked for before it is made of MIME."""
    deposit = _deposit(setting)
    setting.faults(Fault("part_after", code="ErrorTimeoutExpired", operation="UploadItems"))
    [placed] = setting.mailbox.put([deposit])
    assert setting.server.faults.struck()
    assert placed.outcome is Outcome.RESTORED
    assert "CreateItem" not in {request.operation for request in setting.server.log.requests}


def test_s21_what_cannot_be_read_is_not_taken_to_be_missing(setting: Setting) -> None:
    """The upload's answer is lost, and the item that lies there now is denied: nothing is sent again."""
    deposit = _deposit(setting)
    setting.faults(
        Fault("drop_after", operation="UploadItems"), part("ErrorAccessDenied", operation="GetItem", times=0)
    )
    [placed] = setting.mailbox.put([deposit])
    assert placed.outcome is Outcome.FAILED
    asked = [request.operation for request in setting.server.log.requests]
    assert asked.count("UploadItems") == 1
    assert "CreateItem" not in asked


def test_s13_an_export_of_another_item_is_never_evidence(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server exports another item than was asked for, each time."""
    first, second = setting.targets()[:2]
    asked_for = bodies.export_items
    monkeypatch.setattr(bodies, "export_items", lambda ids: asked_for([second.id] if ids == [first.id] else ids))
    with pytest.raises(ItemDamaged, match="another item"):
        setting.mailbox.fetch(first.id)


@pytest.mark.parametrize(("listed", "damaged"), [("a.txt", False), ("renamed.txt", False), ("a.txt b.txt", True)])
def test_s13_an_attachment_that_the_mime_lacks_is_damage(setting: Setting, listed: str, damaged: bool) -> None:
    """The server lists more attachments than its MIME has, though it has some."""
    listing = "".join(f"<t:FileAttachment><t:Name>{name}</t:Name></t:FileAttachment>" for name in listed.split())
    mime = base64.b64encode(mail(1, attachment="a.txt")).decode()
    element = etree.fromstring(
        f'<t:Message xmlns:t="{TYPES}"><t:MimeContent>{mime}</t:MimeContent><t:ItemId Id="AAAA"/>'
        f"<t:ItemClass>IPM.Note</t:ItemClass><t:Attachments>{listing}</t:Attachments></t:Message>"
    )
    account = setting.mailbox._account
    account.server.lacks_export = "this test has none"
    if damaged:
        with pytest.raises(ItemDamaged, match=r"b\.txt"):
            fetching.fetched(account, EwsItem(element, "Inbox"))
    else:
        assert fetching.fetched(account, EwsItem(element, "Inbox")).content == mail(1, attachment="a.txt")


@pytest.mark.parametrize("part", [Part.PRIMARY, Part.ARCHIVE, Part.RECOVERABLE])
def test_s20_folders_in_another_order_are_not_taken_for_each_other(setting: Setting, part: Part) -> None:
    """The answers do not name the folders that were asked for: the root would be the inbox, and Purges Deletions."""
    locator = place_of(setting.server, part=part).locator
    with closing(STORE.open(locator)) as mailbox:
        told, folders, tree = mailbox.info.identity, list(mailbox.folders()), mailbox._tree  # type: ignore[attr-defined]
    setting.faults(Fault("other_order", operation="GetFolder", times=0))
    [info] = STORE.mailboxes(locator)
    assert info.identity == told  # type: ignore[union-attr]
    with closing(STORE.open(locator)) as mailbox:
        assert mailbox.info.identity == told
        assert list(mailbox.folders()) == folders
        assert mailbox._tree.bins == tree.bins  # type: ignore[attr-defined]
    assert setting.server.faults.struck()


def test_s06_rows_of_another_folder_are_not_taken_for_its_own(setting: Setting) -> None:
    """The answers for several folders come in another order: each row keeps the folder that it lies in."""
    setting.world.deliver(setting.anna, "sentitems", mail(7), received=START)
    setting.faults(Fault("other_order", operation="FindItem"))
    folders = sorted(one.folder for one in setting.found())
    assert setting.server.faults.struck()
    assert folders == ["Inbox"] * 5 + ["Sent Items"]


@pytest.fixture
def endless() -> Iterator[str]:
    """A server whose small answer unpacks to eight megabytes."""
    packed = gzip.compress(bytes(8 << 20))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/EWS/Exchange.asmx"
        http.shutdown()
        thread.join()


def test_s27_an_answer_without_an_end_is_given_up(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is its size after unpacking; it is asked for once."""
    monkeypatch.setattr(ews_server_module, "_MOST", 1 << 20)
    server = EwsServer(endless, Login("anna", "secret", Auth.BASIC), Settings())
    with pytest.raises(SourceUnavailable, match="more than") as caught:
        server.call("GetFolder", "")
    assert isinstance(caught.value, ExciseError)
    assert server.requests == {"GetFolder": 1}
