"""The guide for a worm at night as it is told: real users of the system with real keys, and nobody awake.

It has a module of its own, since it makes the same users as the story of two people.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from policy.test_two_people import DOCS, rerun, steady, told, why_not

NIGHT = DOCS / "guide" / "worm-at-night.md"

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "can be run")


@pytest.fixture
def night() -> Iterator[tuple[rerun.People, str]]:
    """The users after the night, and what was printed."""
    yield from told(NIGHT.read_text())


def test_s25_the_night_goes_as_it_is_told(night: tuple[rerun.People, str]) -> None:
    assert steady(night[1]) == steady(NIGHT.read_text())
    mail = night[0].place / "home" / "otto" / "mail"
    left = [path.name for path in mail.rglob("*") if path.is_file() and b"salaries.xlsx" in path.read_bytes()]
    assert left == ["later.eml"]
