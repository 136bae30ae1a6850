"""Distribution lists and the address list of a server as scopes: what is in them is found, and what is lost is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ews.worlds import PASSWORD, mail, small_world
from ews_server import Fault, Quirks, Server, World, gromox
from excise.core.errors import SourceUnavailable
from excise.model.recipient import Recipients, RecipientType
from excise.store_api.errors import Unauthorised
from excise.stores.ews.server import Refusal
from excise.stores.ews.store import STORE
from stores.ews_place import ADMIN, ANNA, log_in, serving
from stores.test_ews_cli import SECRET, Place

BOB, CARL, DORA = "bob@example.test", "carl@example.test", "dora@example.test"
STAFF, BOARD, HIDDEN = "staff@example.test", "board@example.test", "hidden@example.test"


def office() -> World:
    """Lists in lists, in a circle, with somebody from elsewhere and a list that nobody may expand."""
    world, _ = small_world()
    for address in (CARL, DORA):
        world.mailbox(address, PASSWORD)
    world.mailbox("ghost@example.test", PASSWORD, hidden=True)
    world.distribution_list(STAFF, [ANNA, BOARD, "guest@example.org"])
    world.distribution_list(BOARD, [BOB, STAFF, ANNA.upper(), CARL])
    world.distribution_list(HIDDEN, [DORA], hidden=True)
    world.distribution_list("half@example.test", [ANNA, HIDDEN])
    for address in (ANNA, CARL):
        world.deliver(world.mailboxes[address], "inbox", mail(90, SECRET))
    return world


def locator(server: Server) -> str:
    return f"ews://127.0.0.1:{server.port}/?plain=1"


def resolved(server: Server, *names: str) -> Recipients:
    return STORE.address_book(locator(server)).resolve(names)  # type: ignore[attr-defined]


@pytest.mark.parametrize("quirks", [Quirks(), gromox()], ids=["exchange", "gromox"])
def test_a_list_is_expanded_to_its_end_though_it_is_a_circle(monkeypatch: pytest.MonkeyPatch, quirks: Quirks) -> None:
    """Each member once; one without a mailbox here is passed over and said; one request a list."""
    log_in(monkeypatch)
    with serving(office(), quirks) as server:
        found = resolved(server, STAFF)
        assert set(found.addresses) == {ANNA, BOB, CARL}
        assert [one.type for one in found.mailboxes] == [RecipientType.MAILBOX] * 3
        assert "guest@example.org" in found.passed_over[0]
        assert not found.unread
        assert any(f"in {BOARD}" in one.source for one in found.mailboxes)
        assert server.log.count["ExpandDL"] == 2
        assert not server.log.complaints


def test_the_address_book_is_asked_in_the_name_of_a_mailbox_where_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application has no address book of its own."""
    log_in(monkeypatch)
    with serving(office()) as server:
        book = STORE.address_book(f"ews://127.0.0.1:{server.port}/{ANNA}?plain=1")  # type: ignore[attr-defined]
        assert book.resolve([BOB]).addresses == (BOB,)
        assert {request.actor for request in server.log.requests} == {ANNA}


def test_names_are_taken_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses, whole display names, legacy distinguished names, lists; never the beginning of a name."""
    log_in(monkeypatch)
    world = office()
    world.mailbox("anna.b@example.test", name="Anna")
    world.mailbox("twin1@example.test", name="Twin")
    world.mailbox("twin2@example.test", name="Twin")
    with serving(world) as server:
        assert resolved(server, "Carl", world.mailboxes[DORA].legacy_dn, BOB).addresses == (CARL, DORA, BOB)
        for name, words in (
            ("car", "no entry is called so; there is carl@example.test"),
            ("nobody@example.test", "not in the address book"),
            ("Twin", "means 2 entries: twin1@example.test; twin2@example.test"),
            ("a.smith@example.test", f"no entry is called so; there is {ANNA}"),
            (HIDDEN, "does not expand it (hidden, or gone)"),
        ):
            with pytest.raises(SourceUnavailable, match="1 of 2 names mean no mailbox") as caught:
                resolved(server, BOB, name)
            assert words in caught.value.message, name


def test_a_list_in_a_list_that_cannot_be_expanded_is_unread_and_the_others_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So is one of whose members the server gives only some."""
    log_in(monkeypatch)
    with serving(office()) as server:
        found = resolved(server, "half@example.test")
        assert found.addresses == (ANNA,)
        [(name, why)] = found.unread
        assert name == f"list {HIDDEN}"
        assert "its members are not known" in why
        server.faults.add(Fault("error", operation="ExpandDL", code="ErrorAccessDenied"))
        with pytest.raises(Unauthorised, match="ErrorAccessDenied"):
            resolved(server, STAFF)


def test_members_that_the_server_holds_back_are_no_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is not given whole is an error where it was named, and unread in another list."""
    log_in(monkeypatch)
    world = office()
    world.distribution_list("two@example.test", [STAFF, BOB])
    with serving(world, Quirks(most_members=2)) as server:
        with pytest.raises(SourceUnavailable, match="the server gave 2 of 3 members"):
            resolved(server, STAFF)
        found = resolved(server, "two@example.test")
        assert found.addresses == (BOB,)
        assert "the server gave 2 of 3 members" in found.unread[0][1]
        assert not server.log.complaints


def test_the_address_list_is_whole_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page; without what is hidden; a server that stops before the end has no list."""
    log_in(monkeypatch)
    world = office()
    for number in range(230):
        world.mailbox(f"user{number:03}@example.test")
    with serving(world) as server:
        found = STORE.address_book(locator(server)).mailboxes()  # type: ignore[attr-defined]
        shown = [box.address for box in world.mailboxes.values() if not box.hidden]
        assert list(found.addresses) == sorted(shown)
        assert len(shown) == 234
        assert all(one.hidden is False for one in found.mailboxes)
        assert server.log.count["FindPeople"] == 3
        assert any(STAFF in line for line in found.passed_over)
        server.quirks.most_people = 150
        with pytest.raises(SourceUnavailable, match="the server gave 150 of"):
            STORE.address_book(locator(server)).mailboxes()  # type: ignore[attr-defined]
        server.faults.add(Fault("error", operation="FindPeople", code="ErrorInvalidOperation", times=0))
        with pytest.raises(Refusal, match="ErrorInvalidOperation"):
            STORE.address_book(locator(server)).mailboxes()  # type: ignore[attr-defined]
        assert not server.log.complaints


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serving(office()) as server:
        yield Place(server.world, server, tmp_path)


def header(case: Path) -> dict[str, Any]:
    return json.loads(next(case.glob("plan/*/header.json")).read_text())  # type: ignore[no-any-return]


def test_s03_a_list_is_a_scope_and_the_plan_says_what_it_came_to(place: Place) -> None:
    """With the words that an LDAP directory has; a list in it that cannot be expanded is not searched, and named."""
    scope = (place.source, "--directory", place.source, "--mailbox", STAFF)
    done = place.excise("move", *scope, "--subject", SECRET, "--case", "case", "--yes", "--expect-matches", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "guest@example.org" in done.stderr
    assert SECRET not in place.subjects(ANNA) + place.subjects(CARL)
    found = header(place.path / "case")["scope"]
    assert found["directory"]["named"] == [STAFF]
    assert {one["address"] for one in found["directory"]["found"]} == set(found["mailboxes"]) == {ANNA, BOB, CARL}
    assert any("guest@example.org" in line for line in found["passed_over"])
    assert place.excise("verify", "case").returncode == 0

    half = (place.source, "--directory", place.source, "--mailbox", "half@example.test", "--subject", "Message 1")
    done = place.excise("plan", "copy", *half, "--case", "half")
    assert done.returncode == 6, done.stderr + done.stdout
    assert f"list {HIDDEN}: not searched" in done.stderr
    assert header(place.path / "half")["totals"]["not_searched"] == 1
    assert f"list {HIDDEN}" in done.stdout
    assert place.excise("search", *half).returncode == 6


def test_s03_all_of_the_address_list_is_meant_only_where_that_is_said(place: Place) -> None:
    """And what only LDAP can answer is refused before anything is asked."""
    done = place.excise("search", place.source, "--directory", place.source, "--subject", SECRET)
    assert done.returncode == 2
    assert "--all-mailboxes" in done.stderr
    for more in (("--directory-database", "DB01"), ("--directory-user", ADMIN, "--mailbox", ANNA)):
        done = place.excise("search", place.source, "--directory", place.source, *more, "--subject", SECRET)
        assert done.returncode == 2, done.stderr
        assert "directories over LDAP" in done.stderr
    assert not place.server.log.count
    everybody = ("--directory", place.source, "--all-mailboxes", "--subject", SECRET, "--json")
    done = place.excise("search", place.source, *everybody)
    assert done.returncode == 0, done.stderr
    *found, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert {one["mailbox"] for one in found} == {ANNA, CARL}
    assert summary["summary"]["mailboxes_searched"] == 4


def test_a_list_without_a_directory_is_told_how_it_is_meant(place: Place) -> None:
    done = place.excise("mailboxes", place.source, "--mailbox", STAFF)
    assert done.returncode == 6
    assert "--directory ews://HOST" in done.stderr
    done = place.excise("mailboxes", place.source, "--directory", place.source, "--mailbox", BOARD, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["mailbox"] for line in lines} == {ANNA, BOB, CARL}
    assert {line["type"] for line in lines} == {"mailbox"}
    assert "hidden and disabled ones are not known" in done.stderr
