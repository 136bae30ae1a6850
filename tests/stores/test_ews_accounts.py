"""Two accounts: one finds, copies and proves, the other removes and puts back; neither stands in for the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ews.worlds import mail, small_world
from excise.core.errors import UsageError
from excise.stores.ews.settings import account_name, has_remover, read_login
from stores.ews_place import ADMIN, ANNA, serving
from stores.test_ews_cli import SECRET, Place

FINDER, REMOVER = ADMIN, "remover@example.test"
BOB = "bob@example.test"
WRITING = {"CreateFolder", "CreateItem", "DeleteItem", "EmptyFolder", "MoveItem", "UpdateItem", "UploadItems"}
SECOND = {"EXCISE_EWS_REMOVER_USER": REMOVER, "EXCISE_EWS_REMOVER_PASSWORD": "battery staple"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    world, anna = small_world()
    world.user(REMOVER, "battery staple", impersonates=["*"])
    world.deliver(anna, "inbox", mail(90, SECRET))
    world.deliver(world.mailboxes[BOB], "inbox", mail(90, SECRET))
    with serving(world) as server:
        yield Place(world, server, tmp_path)
        assert not world.sent


def by_user(place: Place) -> dict[str, set[str]]:
    """Which operations each account has asked for."""
    found: dict[str, set[str]] = {}
    for request in place.server.log.requests:
        found.setdefault(request.user, set()).add(request.operation)
    return found


def scope(place: Place) -> tuple[str, ...]:
    return (place.source, "--mailbox", ANNA, "--mailbox", BOB)


def move(place: Place, **more: str) -> Any:
    options = ("--subject", SECRET, "--case", "case", "--yes", "--expect-matches", "2")
    return place.excise("move", *scope(place), *options, **(SECOND | more))


def header(case: Path) -> dict[str, Any]:
    return json.loads(next(case.glob("plan/*/header.json")).read_text())  # type: ignore[no-any-return]


def test_the_finder_never_writes_and_the_remover_does_nothing_else(place: Place) -> None:
    """In a move and in a restore; plan, log, custody record and notice name both."""
    done = move(place)
    assert done.returncode == 0, done.stderr + done.stdout
    seen = by_user(place)
    assert not seen[FINDER] & WRITING
    assert seen[REMOVER] == {"GetFolder", "DeleteItem"}  # the look that tries its login, and its work
    assert SECRET not in place.subjects(ANNA) + place.subjects(BOB)
    told = {"server": f"ews://127.0.0.1:{place.server.port}", "reads": FINDER, "writes": REMOVER}
    assert header(place.path / "case")["accounts"] == [told]
    assert f"searched as {FINDER}, removed as {REMOVER}" in done.stdout
    notice = place.excise("notice", "case")
    assert f"searched as {FINDER}, removed as {REMOVER}" in notice.stdout
    place.server.log.clear()

    done = place.excise("restore", "case", "--yes", **SECOND)
    assert done.returncode == 0, done.stderr + done.stdout
    seen = by_user(place)
    assert not seen[FINDER] & WRITING
    assert seen[REMOVER] <= WRITING | {"GetFolder"}
    assert seen[REMOVER] & {"UploadItems", "CreateItem"}
    assert place.subjects(ANNA).count(SECRET) == 1
    records = [json.loads(line) for line in (place.path / "case" / "audit.jsonl").read_text().splitlines()]
    assert [r["accounts"] for r in records if r["type"] == "run-started"] == [[told], [told]]
    assert place.excise("custody", "case", "--output", "papers").returncode == 0
    custody = (place.path / "papers" / "custody.md").read_text().replace("\\", "")
    assert f"read as {FINDER}, written to as {REMOVER}" in custody
    assert place.excise("verify", "case").returncode == 0
    place.excise("report", "case")
    assert f"searched as {FINDER}, removed as {REMOVER}" in (place.path / "case" / "report.html").read_text()


def test_planning_and_copying_need_only_the_name_of_the_remover(place: Place) -> None:
    """Its password is asked for where it removes, and there it is needed."""
    name = {"EXCISE_EWS_REMOVER_USER": REMOVER}
    done = place.excise("plan", "move", *scope(place), "--subject", SECRET, "--case", "case", **name)
    assert done.returncode == 0, done.stderr + done.stdout
    assert set(by_user(place)) == {FINDER}
    digest = json.loads((place.path / "case" / "audit.jsonl").read_text().splitlines()[-1])["plan_sha256"][:12]
    done = place.excise("run", "case", "--confirm", digest, **name)
    assert done.returncode == 2, done.stderr
    assert "EXCISE_EWS_REMOVER_PASSWORD" in done.stderr
    done = place.excise("run", "case", "--confirm", digest)
    assert done.returncode == 3, done.stderr
    assert f"{REMOVER} removes, and now {FINDER} would" in done.stderr
    assert set(by_user(place)) == {FINDER}
    assert place.subjects(ANNA).count(SECRET) == 1
    done = place.excise("run", "case", "--confirm", digest, **SECOND)
    assert done.returncode == 0, done.stderr + done.stdout
    done = place.excise("copy", *scope(place), "--subject", "Message 1", "--case", "copy", **name)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["move", "run"])
def test_s26_a_second_login_that_is_refused_is_tried_once_and_nothing_is_done(place: Place, command: str) -> None:
    """The first account does not stand in for it."""
    wrong = SECOND | {"EXCISE_EWS_REMOVER_PASSWORD": "not-this-one"}
    if command == "move":
        done = move(place, **wrong)
        assert not (place.path / "case").exists()
    else:
        place.excise("plan", "move", *scope(place), "--subject", SECRET, "--case", "case", **SECOND)
        digest = json.loads((place.path / "case" / "audit.jsonl").read_text().splitlines()[-1])["plan_sha256"][:12]
        done = place.excise("run", "case", "--confirm", digest, **wrong)
        assert "run-started" not in (place.path / "case" / "audit.jsonl").read_text()
    assert done.returncode == 6, done.stderr
    assert REMOVER in done.stderr
    assert "HTTP 401" in done.stderr
    assert "not-this-one" not in done.stderr + done.stdout
    assert place.server.log.refused == 1
    assert not by_user(place)[FINDER] & WRITING
    assert place.subjects(ANNA).count(SECRET) == 1


def test_a_remover_without_rights_on_a_mailbox_removes_nothing_there(place: Place) -> None:
    """It is said before, the copies are made, and the messages stay."""
    place.world.users[REMOVER].impersonates[:] = [BOB]
    done = move(place)
    assert done.returncode == 9, done.stderr + done.stdout
    assert f"{REMOVER}, which is to remove, cannot open a mailbox" in done.stderr
    assert place.subjects(ANNA).count(SECRET) == 1
    assert SECRET not in place.subjects(BOB)
    assert not by_user(place)[FINDER] & WRITING


def test_a_policy_may_want_two_accounts(place: Place) -> None:
    """Refused with its line where one would do both, for a removal and not for a copy."""
    (place.path / "policy.toml").write_text("# rules\nseparate_accounts = true\n")
    policy = ("--policy", "policy.toml")
    options = (*scope(place), "--subject", SECRET, *policy)
    done = place.excise("move", *options, "--case", "case", "--yes", "--expect-matches", "2")
    assert done.returncode == 3, done.stderr
    assert "policy.toml:2: separate_accounts" in done.stderr
    assert not (place.path / "case").exists()
    assert place.excise("copy", *options, "--case", "copy").returncode == 0
    done = place.excise("move", *options, "--case", "case", "--yes", "--expect-matches", "2", **SECOND)
    assert done.returncode == 0, done.stderr + done.stdout
    config = place.path / "config" / "excise"
    config.mkdir(parents=True)
    (config / "policy.toml").write_text("separate_accounts = true\n")
    done = place.excise("restore", "case", "--yes", XDG_CONFIG_HOME=str(config.parent))
    assert done.returncode == 3, done.stderr
    assert "separate_accounts" in done.stderr
    assert SECRET not in place.subjects(ANNA)


def test_what_is_given_of_a_second_account_is_whole_or_refused() -> None:
    """Never the first one's name or secret in its place."""
    first = {"EXCISE_EWS_USER": "finder", "EXCISE_EWS_PASSWORD": "one", "EXCISE_EWS_AUTH": "basic"}
    assert not has_remover(first)
    assert account_name(first, writes=True) == "finder"
    for more, words in (
        ({"PASSWORD": "two"}, "EXCISE_EWS_REMOVER_USER"),
        ({"ACCESS": "delegate"}, "EXCISE_EWS_REMOVER_USER"),
        ({"USER": "Finder"}, "the account that removes is the account that finds"),
        ({"USER": "remover", "AUTH": "kerberos"}, "one ticket"),
        ({"USER": "remover", "AUTH": "oauth2"}, "EXCISE_EWS_REMOVER_CLIENT_ID"),
        ({"USER": "remover", "AUTH": "magic"}, "EXCISE_EWS_REMOVER_AUTH"),
    ):
        given = first | {f"EXCISE_EWS_REMOVER_{name}": value for name, value in more.items()}
        with pytest.raises(UsageError) as caught:
            account_name(given, writes=True)
        assert words in caught.value.text()
    given = first | {"EXCISE_EWS_REMOVER_USER": "remover"}
    with pytest.raises(UsageError, match="no password for remover"):
        read_login("mail.example.test", given, writes=True)
    found = read_login("mail.example.test", given | {"EXCISE_EWS_REMOVER_PASSWORD": "two"}, writes=True)
    assert (found.user, found.password) == ("remover", "two")
    assert read_login("mail.example.test", given).user == "finder"
    application = {
        "EXCISE_EWS_AUTH": "oauth2", "EXCISE_EWS_TENANT": "t", "EXCISE_EWS_CLIENT_ID": "a",
        "EXCISE_EWS_CERTIFICATE": "a.pem",
        "EXCISE_EWS_REMOVER_CLIENT_ID": "b", "EXCISE_EWS_REMOVER_CLIENT_SECRET": "s",
    }  # fmt: skip
    found = read_login("outlook.office365.com", application, writes=True)
    assert (found.user, found.password, found.certificate, found.tenant) == ("b", "s", "", "t")
