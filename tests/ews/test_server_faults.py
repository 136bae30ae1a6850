"""The EWS server's script of faults: each does what it says, to the request that it names and no other."""

from __future__ import annotations

import base64
import gzip
import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ews.test_server_operations import create, delete, ids_of
from ews.worlds import NAMES, PASSWORD, Client, mail, serving, small_world
from ews_server import Fault, Mailbox, ServerProcess, World, busy, part, part_busy, quota_exceeded

GET = (
    "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>"
    '<t:DistinguishedFolderId Id="inbox"/><t:DistinguishedFolderId Id="drafts"/></m:FolderIds></m:GetFolder>'
)


@pytest.fixture
def anna() -> Iterator[tuple[Client, World, Mailbox]]:
    """Anna's own client."""
    world, mailbox = small_world()
    with serving(world) as server:
        yield Client(server), world, mailbox
        assert server.faults.struck()


def test_throttling_is_a_fault_with_the_time_to_wait_and_passes(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(busy(4321, operation="GetFolder", after=1, times=2))
    assert client.codes(GET) == ["NoError"] * 2
    for _ in range(2):
        status, data = client.post(GET)
        assert status == 500
        assert b"ErrorServerBusy" in data
        assert b'<t:Value Name="BackOffMilliseconds">4321</t:Value>' in data
    assert client.codes(GET) == ["NoError"] * 2


def test_a_fault_strikes_every_third_request(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(busy(1, every=3, after=1, times=0))
    assert [client.post(GET)[0] for _ in range(8)] == [200, 500, 200, 200, 500, 200, 200, 500]


def test_answers_are_compressed_for_who_accepts_it(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(Fault("slow"))
    connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=10)
    data, headers = client.request(GET)
    connection.request("POST", "/EWS/Exchange.asmx", data, {**headers, "Accept-Encoding": "gzip, deflate"})
    answer = connection.getresponse()
    assert (answer.headers["Content-Encoding"], answer.headers["Transfer-Encoding"]) == ("gzip", "chunked")
    assert gzip.decompress(answer.read()) == client.post(GET)[1]
    connection.close()


def test_faults_come_with_http_200_and_without_detail_elsewhere(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.quirks.fault_status, client.server.quirks.fault_detail = 200, False
    client.server.faults.add(Fault("error", code="ErrorMailboxMoveInProgress"))
    status, data = client.post(GET)
    assert (status, b"<faultcode>ErrorMailboxMoveInProgress" in data, b"detail" in data) == (200, True, False)
    assert not data.startswith(b"<?xml")


@pytest.mark.parametrize("fault", [part("ErrorAccessDenied", place=1), part_busy(10, place=1), quota_exceeded(place=1)])
def test_one_item_of_a_batch_fails_and_stays(anna: tuple[Client, World, Mailbox], fault: Fault) -> None:
    client, world, mailbox = anna
    client.server.faults.add(fault)
    kept = world.items_in(mailbox, "inbox")[1]
    assert client.codes(delete(ids_of(world, mailbox)[:3])) == ["NoError", fault.code, "NoError"]
    assert kept.number in world.items
    assert len(world.items_in(mailbox, "inbox")) == 3


def test_an_item_that_was_removed_is_called_an_error(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    client.server.faults.add(Fault("part_after", place=0, code="ErrorTimeoutExpired", operation="DeleteItem"))
    assert client.codes(delete(ids_of(world, mailbox)[:1])) == ["ErrorTimeoutExpired"]
    assert len(world.items_in(mailbox, "inbox")) == 4


def test_a_connection_drops_before_or_after_the_server_acted(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    for kind, left in (("drop_before", 5), ("drop_after", 4)):
        client.server.faults.add(Fault(kind, operation="DeleteItem"))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            client.post(delete(ids_of(world, mailbox)[:1]))
        assert len(world.items_in(mailbox, "inbox")) == left


@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_ends_in_its_middle_openly_or_quietly(anna: tuple[Client, World, Mailbox], chunked: bool) -> None:
    client, _, _ = anna
    client.server.quirks.chunked = chunked
    client.server.faults.add(Fault("cut"))
    with pytest.raises(http.client.IncompleteRead):
        client.post(GET)
    client.server.faults.add(Fault("cut_quietly"))
    assert b"Envelope>" not in client.post(GET)[1]


def test_answers_are_missing_doubled_reversed_or_strays(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    ids = ids_of(world, mailbox)
    client.server.faults.add(part("ErrorItemNotFound", place=0, operation="DeleteItem", times=0))
    for kind, codes in (
        ("fewer", ["ErrorItemNotFound"]),
        ("other_order", ["NoError", "ErrorItemNotFound"]),
        ("twice", ["ErrorItemNotFound", "NoError", "NoError"]),
    ):
        client.server.faults.add(Fault(kind, operation="DeleteItem"))
        assert client.codes(delete([ids[0], ids.pop()])) == codes
    client.server.faults.add(Fault("stray", operation="DeleteItem"))
    assert client.ask(delete(ids[:1])).tag.endswith("}GetFolderResponse")


def test_a_connection_carries_an_answer_that_nobody_asked_for(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(Fault("desync", operation="ExpandDL"))
    connection = http.client.HTTPConnection("127.0.0.1", client.server.port, timeout=10)
    mailbox = "<m:Mailbox><t:EmailAddress>x@example.test</t:EmailAddress></m:Mailbox>"
    texts = []
    for body in (f"<m:ExpandDL>{mailbox}</m:ExpandDL>", "<m:ResolveNames/>"):
        connection.request("POST", "/EWS/Exchange.asmx", *client.request(body))
        answer = connection.getresponse()
        texts.append(answer.read())
    connection.close()
    assert b"ExpandDLResponse" in texts[0]
    assert b"GetFolderResponse" in texts[1]


def test_more_connections_than_allowed_are_refused(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.quirks.most_connections = 2
    client.server.faults.add(Fault("slow", seconds=0.5, times=0))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.post(GET)[1], range(6)))
    refused = [b"ErrorExceededConnectionCount" in answer for answer in answers]
    assert refused.count(True) >= 1
    assert refused.count(False) >= 2
    assert client.server.log.peak > 2


def test_one_mailbox_has_trouble_and_the_others_have_none(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(Fault("error", code="ErrorMailboxStoreUnavailable", mailbox="anna@example.test", times=0))
    assert b"ErrorMailboxStoreUnavailable" in client.post(GET)[1]
    assert Client(client.server, "bob@example.test").codes(GET) == ["NoError"] * 2
    client.anchor = "Anna@example.test"
    client.user = "bob@example.test"
    assert b"ErrorMailboxStoreUnavailable" in client.post(GET)[1]


def test_an_export_ends_in_the_mark_of_a_cut_one(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    client.server.faults.add(Fault("truncated", operation="ExportItems"))
    answer = client.ask(f"<m:ExportItems><m:ItemIds>{ids_of(world, mailbox)[0]}</m:ItemIds></m:ExportItems>")
    assert base64.b64decode(answer.findtext(".//m:Data", namespaces=NAMES)).endswith(b"=== Truncated Data ===")


def test_a_token_expires_and_http_itself_says_no(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(Fault("unauthorized"), Fault("http", after=1, status=503, text="down"))
    assert [client.post(GET)[0] for _ in range(3)] == [401, 503, 200]


def test_a_request_is_slow_and_so_is_every_one_with_latency(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    client.server.faults.add(Fault("slow", seconds=0.2))
    started = time.monotonic()
    client.post(GET)
    assert time.monotonic() - started >= 0.2


def test_times_carry_fractions_and_restrictions_are_ignored_elsewhere() -> None:
    world, _ = small_world()
    find = (
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>'
        '<t:FieldURI FieldURI="item:DateTimeReceived"/></t:AdditionalProperties></m:ItemShape><m:Restriction>'
        '<t:IsEqualTo><t:FieldURI FieldURI="item:Subject"/><t:FieldURIOrConstant><t:Constant Value="none such"/>'
        "</t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>"
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem>'
    )
    with serving(world) as server:
        client = Client(server)
        assert client.ask(find).find(".//t:Message", NAMES) is None
        server.quirks.honour_restrictions, server.quirks.fraction = False, 9
        texts = [time.text for time in client.ask(find).iterfind(".//t:DateTimeReceived", NAMES)]
        assert texts[-1] == "2026-01-05T09:00:00.000000000Z"
        assert len(texts) == 5


@pytest.mark.parametrize(("kind", "place", "left"), [("die_at", 1, 4), ("die_past", 1, 3), ("die_before", None, 5),
                                                     ("die_after", None, 3)])  # fmt: skip
def test_a_killed_server_comes_back_with_what_it_had_done(
    tmp_path: Path, kind: str, place: int | None, left: int
) -> None:
    world, mailbox = small_world()
    with ServerProcess(tmp_path / "state", world) as process:
        process.add_faults(Fault(kind, operation="DeleteItem", place=place))
        client = Client(process)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            client.post(delete(ids_of(world, mailbox)[:2]))
        process.wait()
        before = process.port
        process.start()
        assert process.port == before
        assert len(process.world().items_in(mailbox, "inbox")) == left
        assert client.codes(create(mail(99, "After"), disposition="SendOnly")) == ["NoError"]
        process.kill()
        assert [sent.subject for sent in process.start().world().sent] == ["After"]
        assert process.ask("log")["errors"] == []
        assert (client.password, process.ask("sent")[0]["what"]) == (PASSWORD, "message")


def test_a_world_survives_its_file_whole(tmp_path: Path) -> None:
    world, mailbox = small_world()
    world.distribution_list("team@example.test", ["anna@example.test", "team@example.test"])
    world.deliver(mailbox, "inbox", mail(70), values={"calendar:Start": world.clock()}, categories=["x"])
    process = ServerProcess(tmp_path / "state", world)
    loaded = process.world()
    for name in ("users", "mailboxes", "lists", "folders", "items", "counters", "guids", "sent"):
        assert getattr(loaded, name) == getattr(world, name), name
