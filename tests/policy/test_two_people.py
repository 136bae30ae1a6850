"""Real users of the system with real keys: the guide's story as it is told, and what each of them cannot do."""

from __future__ import annotations

import fcntl
import importlib
import os
import pwd
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = DOCS / "guide" / "two-people.md"


def load_rerun() -> ModuleType:
    """docs/rerun.py as a module."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("rerun")
    finally:
        sys.path.remove(str(DOCS))


rerun = load_rerun()


def why_not() -> str:
    """Why users cannot be made here; empty where they can."""
    if os.getuid() != 0 or shutil.which("useradd") is None:
        return "needs root, who makes users of the system"
    return "" if rerun.interpreter() else "needs root, and a Python of this version that other users may run"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "can be run")


def steady(text: str) -> list[str]:
    """A guide without what differs each time."""
    for pattern, told in (
        (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "HASH"),
        (r"\b[0-9a-f]{12}…", "HASH…"),
        (r"SHA256:[\w+/]{43}", "SHA256:KEY"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r'"uid":\d+', '"uid":N'),
        (r'"host":"[^"]*"|by the user otto on \S+', "HOST"),
        (r" {2,}", "  "),
    ):
        text = re.sub(pattern, told, text)
    return text.splitlines()


@pytest.fixture(scope="module")
def story() -> Iterator[tuple[rerun.People, str]]:
    """The users after the story, and what was printed."""
    yield from told(GUIDE.read_text())


def told(text: str) -> Iterator[tuple[rerun.People, str]]:
    """The users of a guide after it was told, and what was printed; one guide at a time."""
    with Path(tempfile.gettempdir(), "excise-two-people.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be running the same tests
        yield from _told(text)


def _told(text: str) -> Iterator[tuple[rerun.People, str]]:
    taken = {entry.pw_name for entry in pwd.getpwall()} & rerun.users_of(text) - {"root"}
    if taken:
        pytest.skip(f"needs root, and there are users already that are called {', '.join(sorted(taken))}")
    with rerun.own_place() as place, rerun.People(place, rerun.users_of(text), rerun.interpreter()) as people:
        yield people, people.rerun(text)


def test_s25_the_story_goes_as_it_is_told(story: tuple[rerun.People, str]) -> None:
    assert steady(story[1]) == steady(GUIDE.read_text())


def test_s24_what_is_held_is_there_and_what_is_not_is_gone(story: tuple[rerun.People, str]) -> None:
    mail = story[0].place / "home" / "otto" / "mail"
    found = {
        box: any(b"salaries.xlsx" in path.read_bytes() for path in files)
        for box, files in (
            ("ben", [path for path in (mail / "ben").rglob("*") if path.is_file()]),
            ("anna", [mail / "anna.mbox"]),
        )
    }
    assert found == {"ben": True, "anna": False}


@pytest.mark.parametrize(
    ("who", "command", "said"),
    [
        ("sofia", "cat ~otto/case-4711/case.json", "Permission denied"),
        ("sofia", "excise run ~otto/case-4711", "is not readable"),
        ("sofia", "excise approve ~otto/case-4711 --key ~/key", "is not readable"),
        ("sofia", "excise copy ~/mail --subject x1y --ticket INC-1 --reason 'since I can' --case ~/my", "operators"),
        ("lena", "cat /srv/excise/../../home/sofia/key", "Permission denied"),
        ("otto", "echo 'operators = []' > /etc/excise/policy.toml", "Permission denied"),
        ("otto", "echo '# nobody' > /etc/excise/holds/smith.txt", "Permission denied"),
        ("otto", "cat ~otto/key.pub >> /etc/excise/allowed_signers", "Permission denied"),
        ("lena", "excise approve /srv/excise/INC-4711.request --statement-out ~/x", "not under people"),
        (
            "otto",
            "excise approve /srv/excise/INC-4711.request --key ~/key --role 'Information Security' --statement-out ~/x",
            "who operates cannot approve",
        ),
        (
            "sofia",
            "excise approve /srv/excise/INC-4711.request --key ~/key --yes --expect-matches 4 --statement-out ~/x",
            "expected 4 matches, found 5: nothing was signed",
        ),
        ("sofia", "excise approve /srv/excise/INC-4711.request --key ~/key --statement-out ~/x", "nothing was signed"),
    ],
)  # fmt: skip
def test_s25_what_they_cannot_do(story: tuple[rerun.People, str], who: str, command: str, said: str) -> None:
    printed = story[0].run(who, command)
    assert said in printed and "(exit status 0)" not in printed, printed
    assert re.search(r"\(exit status [1-9]", printed), printed


def test_s25_sofias_approval_is_for_one_case_alone(story: tuple[rerun.People, str]) -> None:
    people = story[0]
    plan = 'excise plan move mail --subject-contains "salaries" --ticket INC-2 --reason "another matter" --case other'
    assert "(exit status 8)" in people.run("otto", plan)
    printed = people.run("otto", "excise approve other --statement-in /srv/excise/INC-4711.sofia")
    assert "it is for another case" in printed and "(exit status 4)" in printed
    assert not (people.place / "home/otto/other/approvals").exists()


def test_s25_a_request_that_was_changed_is_not_shown(story: tuple[rerun.People, str]) -> None:
    """What the operator hands over is what is signed: words, numbers and subjects that differ are found."""
    people = story[0]
    for old, new in (
        ("Salaries 2026", "Birthdays 2026"),
        ('\\\\"matches\\\\":2', '\\\\"matches\\\\":1'),
        ("salaries.xlsx", "cake.xlsx"),
    ):
        changed = f"sed 's/{old}/{new}/' /srv/excise/INC-4711.request > /srv/excise/changed"
        assert "exit status" not in people.run(
            "otto", f"{changed} && ! cmp -s /srv/excise/INC-4711.request /srv/excise/changed"
        )
        command = "excise approve /srv/excise/changed --key ~/key --yes --expect-matches 5 --statement-out ~/changed"
        printed = people.run("sofia", command)
        assert "(exit status 5)" in printed and "You sign" not in printed, (old, printed)
