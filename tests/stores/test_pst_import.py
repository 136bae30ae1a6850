"""Real PSTs imported into mailboxes of other kinds: every item whole, in its folder, and nothing twice."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from cli.command import excise_cli
from excise.store_api.protocols import Unreadable
from stores.pst_samples import DIRECTORY, needs_samples, opened, scan


def fetched(path: Path) -> Counter[bytes]:
    """The content of every item of a PST."""
    with opened(path) as box:
        found, _, _ = scan(box)
        assert not any(isinstance(one, Unreadable) for one in found)
        return Counter(box.fetch(item_id).content for item_id in [one.id for one in found])


@needs_samples
@pytest.mark.parametrize("name", ["sample1", "msgInMsg", "outlook2019", "test_ansi"])
def test_a_pst_goes_into_a_maildir_whole_and_once(name: str, tmp_path: Path) -> None:
    path, mine = DIRECTORY / f"{name}.pst", tmp_path / "mine"
    for part in ("cur", "new", "tmp"):
        (mine / part).mkdir(parents=True)
    wanted = fetched(path)
    for case, outcome in (("first", "imported"), ("second", "already there")):
        done = excise_cli("import", path, "--into", mine, "--case", tmp_path / case, "--yes")
        assert done.code in (0, 9), done.text
        with (tmp_path / case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert Counter(row["outcome"] for row in rows) == {outcome: wanted.total()}, done.text
        assert Counter(p.read_bytes() for p in mine.rglob("*") if p.is_file() and p.parent.name == "cur") == wanted
        assert excise_cli("verify", tmp_path / case).code == 0
