"""Messages that are equal but for what clients rewrite: the one that matches is the one that goes (S06, S18)."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.command import excise_cli

READ = (
    b"From a@b.c Mon Nov  2 10:00:00 2026\nFrom: a@b.c\nSubject: twin needle\nStatus: RO\nMessage-ID: <1@x>\n\nbody\n\n"
)
NEW = READ.replace(b"Status: RO\n", b"Status: O\n")


@pytest.mark.parametrize("order", [(NEW, READ), (READ, NEW), (NEW, READ, NEW)])
def test_s18_a_twin_that_does_not_match_stays(tmp_path: Path, order: tuple[bytes, ...]) -> None:
    box, case = tmp_path / "t.mbox", tmp_path / "case"
    box.write_bytes(b"".join(order))
    confirmed = ("--yes", "--expect-matches", "1", "--jobs", "1")
    done = excise_cli("move", box, "--header", "Status=RO", "--case", case, *confirmed)
    assert done.code == 0, done.text
    assert box.read_bytes() == NEW * (len(order) - 1)
