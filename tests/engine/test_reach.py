"""What is said of files: who else may write where they lie, and what we may do beyond them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from excise.engine.reach import reach_of
from excise.model.item import Action
from excise.policy.effective import Effective, PolicyRefused
from excise.policy.model import Policy
from excise.store_api.discovery import find_mailboxes

MAIL = (
    b"From a@example.org Mon Jan  5 09:00:00 2026\nFrom: a@example.org\nSubject: One\n"
    b"Date: Mon, 5 Jan 2026 09:00:00 +0000\n\nText\n"
)
NOBODY = Effective(Policy())


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    place = tmp_path / "mail"
    place.mkdir(mode=0o755)
    for name in ("anna", "bob", "carl"):
        (place / name).write_bytes(MAIL)
        (place / name).chmod(0o600)
    return place


def told(mail: Path, *names: str) -> list[str]:
    """What is said, without what is said of whoever runs the tests."""
    found = reach_of(NOBODY, Action.MOVE, find_mailboxes((str(mail),), names))
    as_root = [one for one in found if "this runs as root" in one]
    assert len(as_root) == (os.geteuid() == 0)
    return [one for one in found if one not in as_root]


def test_mailboxes_beside_those_that_are_named(mail: Path) -> None:
    [one] = told(mail, "bob")
    assert "hold 2 mailboxes besides the 1 that are named" in one
    assert not told(mail)
    assert not told(mail / "bob")


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, False)])
def test_a_directory_that_everybody_may_write(mail: Path, mode: int, open_to_all: bool) -> None:
    """Not so with the sticky bit, which keeps others' files from being replaced."""
    mail.chmod(mode)
    found = told(mail)
    assert [f"everybody may write to what the mailboxes are, or lie in: {mail}" in one for one in found] == [
        True
    ] * open_to_all


def test_a_mailbox_that_everybody_may_write(mail: Path) -> None:
    (mail / "anna").chmod(0o666)
    assert str(mail / "anna") in told(mail)[0]


def test_only_a_policy_refuses(mail: Path) -> None:
    """With what is wrong; what fits is not refused."""
    strict = Effective(Policy(rights_within_scope=True))
    mail.chmod(0o777)
    with pytest.raises(PolicyRefused, match="rights_within_scope"):
        reach_of(strict, Action.MOVE, find_mailboxes((str(mail),)))
