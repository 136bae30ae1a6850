"""Rights that reach further than the scope: told in plan, run, report and record, refused where policy says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ews.worlds import PASSWORD, mail, small_world
from stores.ews_place import ADMIN, ANNA, serving
from stores.test_ews_accounts import BOB, REMOVER, SECOND, header
from stores.test_ews_cli import SECRET, Place

CANARY = "canary@example.test"
CANDIDATE = "may open c"
NARROW, READER = "narrow@example.test", "reader@example.test"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    world, anna = small_world()
    world.mailbox(CANARY)
    world.user(REMOVER, "battery staple", impersonates=[ANNA, BOB])
    world.user(NARROW, PASSWORD, impersonates=[ANNA, BOB])
    world.user(READER, PASSWORD)
    world.deliver(anna, "inbox", mail(90, SECRET))
    with serving(world) as server:
        yield Place(world, server, tmp_path)
        assert not server.log.complaints


def plan(place: Place, action: str = "move", *more: str, **environment: str) -> Any:
    options = (place.source, "--mailbox", ANNA, "--subject", SECRET, "--case", "case", *more)
    return place.excise("plan", action, *options, **environment)


def warnings(place: Place) -> list[str]:
    return header(place.path / "case").get("warnings", [])  # type: ignore[no-any-return]


def test_a_canary_that_an_account_may_open_is_told_everywhere(place: Place) -> None:
    """In the plan, the run, the report and the custody record; its mail is not looked at."""
    done = plan(place, EXCISE_EWS_CANARY=CANARY)
    assert done.returncode == 0, done.stderr
    [warning] = warnings(place)
    assert f"{ADMIN} may also open {CANARY}, which is outside the scope" in warning
    assert f"Warning: {warning}" in done.stdout
    assert place.server.log.per_mailbox()[CANARY] == {"GetFolder": 1}
    records = [json.loads(line) for line in (place.path / "case" / "audit.jsonl").read_text().splitlines()]
    assert records[-1]["warnings"] == 1
    done = place.excise("run", "case", "--confirm", records[-1]["plan_sha256"][:12])
    assert done.returncode == 0, done.stderr
    assert warning in done.stderr
    assert place.excise("custody", "case", "--output", "papers").returncode == 0
    assert CANARY in (place.path / "papers" / "custody.md").read_text()
    assert place.excise("report", "case").returncode == 0
    assert f"Rights beyond the scope: {warning}" in (place.path / "case" / "report.html").read_text()


@pytest.mark.parametrize("wide", [False, True])
def test_each_account_is_tried_on_each_canary_and_closed_doors_are_no_warning(place: Place, wide: bool) -> None:
    """The remover may open it or not; the finder's right to remove is told, since another one is to do that."""
    place.world.users[REMOVER].impersonates += [CANARY] * wide
    done = plan(place, EXCISE_EWS_CANARY=CANARY, **SECOND)
    assert done.returncode == 0, done.stderr
    told = warnings(place)
    assert [f"may also open {CANARY}" in one for one in told] == [True, *[True] * wide, False]
    assert f"{ADMIN}, who only finds and copies, may also put messages into, change messages in, remove" in told[-1]
    assert [one for one in told if f"{REMOVER} may also open" in one] == told[1:2] * wide
    assert place.server.log.per_mailbox()[CANARY] == {"GetFolder": 1 + wide}


def test_rights_that_fit_are_no_warning(place: Place) -> None:
    done = plan(place, EXCISE_EWS_CANARY=CANARY, EXCISE_EWS_USER=NARROW)
    assert done.returncode == 0, done.stderr
    assert not warnings(place)
    assert "Warning" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("canaries", "words"),
    [
        (ANNA, "is in the scope, so that it tells nothing"),
        ("nobody@example.test", "could not be seen"),
        (" ".join(f"c{n}@example.test" for n in range(9)), "6 canaries were not tried"),
    ],
)
def test_a_canary_that_tells_nothing_is_said(place: Place, canaries: str, words: str) -> None:
    done = plan(place, EXCISE_EWS_CANARY=canaries, EXCISE_EWS_USER=NARROW)
    assert done.returncode == 0, done.stderr
    assert any(words in one for one in warnings(place))
    assert sum(CANDIDATE in one for one in warnings(place)) <= 3


def test_the_remover_is_not_asked_for_where_only_a_plan_is_made(place: Place) -> None:
    """That it was not tried is said."""
    done = plan(place, EXCISE_EWS_CANARY=CANARY, EXCISE_EWS_REMOVER_USER=REMOVER)
    assert done.returncode == 0, done.stderr
    assert any(f"whether {REMOVER} may open {CANARY} was not tried" in one for one in warnings(place))
    assert {request.user for request in place.server.log.requests} == {ADMIN}


@pytest.mark.parametrize(("level", "told"), [("Reviewer", False), ("Editor", True)])
def test_a_delegate_who_only_copies_needs_no_more_than_reading(place: Place, level: str, told: bool) -> None:
    anna = place.world.mailboxes[ANNA]
    for folder in place.world.below(place.world.find_folder(anna, "msgfolderroot")):
        folder.permissions[READER] = level
    place.world.find_folder(anna, "msgfolderroot").permissions[READER] = level
    done = plan(place, "copy", EXCISE_EWS_USER=READER, EXCISE_EWS_ACCESS="delegate")
    assert done.returncode == 0, done.stderr
    assert [f"{READER}, who only finds and copies" in one for one in warnings(place)] == [True] * told


def test_policy_names_canaries_and_may_refuse(place: Place) -> None:
    """Before anything is searched, with file and line."""
    rules = place.path / "policy.toml"
    rules.write_text(f'canaries = ["{CANARY}"]\n')
    done = plan(place, "move", "--policy", str(rules))
    assert done.returncode == 0, done.stderr
    assert CANARY in warnings(place)[0]
    rules.write_text(f'canaries = ["{CANARY}"]\nrights_within_scope = true\n')
    place.server.log.clear()
    options = (place.source, "--mailbox", ANNA, "--subject", SECRET, "--policy", str(rules), "--case", "other")
    done = place.excise("plan", "move", *options)
    assert done.returncode == 3, done.stderr
    assert "policy.toml:2: rights_within_scope" in done.stderr
    assert CANARY in done.stderr
    assert not place.server.log.count["FindItem"]
    done = place.excise("plan", "move", *options[:-1], "third", EXCISE_EWS_USER=NARROW)
    assert done.returncode == 0, done.stderr
