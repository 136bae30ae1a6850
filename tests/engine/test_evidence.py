"""S13: the writer of evidence is not believed: one wrong byte in what it wrote stops the removal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from cli.command import excise_cli
from engine.mail_files import WORM, bytes_below, ids_in_mbox, message, stores, write_mbox
from excise.case import parts
from excise.core.files import durable_file


class Flipping(io.BytesIO):
    """A file that holds one bit of what is written to it the wrong way round."""

    def __init__(self, inner: BinaryIO, at: int) -> None:
        super().__init__()
        self.inner, self.at, self.count = inner, at, 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        changed = bytearray(data)
        if self.count <= self.at < self.count + len(data):
            changed[self.at - self.count] ^= 1
        self.count += len(data)
        return self.inner.write(bytes(changed))

    def tell(self) -> int:
        return self.inner.tell()


def flip(monkeypatch: pytest.MonkeyPatch, name: str, at: int) -> None:
    """Have the writer of evidence write one bit wrong, at byte ``at`` of each file that ends with ``name``."""

    @contextmanager
    def opened(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
        with durable_file(path, mode) as stream:
            yield Flipping(stream, at) if path.name.endswith(name) else stream

    monkeypatch.setattr(parts, "durable_file", opened)


@pytest.mark.parametrize("at", [0, 7, 50, 120, 180, 200, 210])
@pytest.mark.parametrize("name", ["messages.mbox", ".eml", "items.jsonl"])
def test_s13_one_wrong_byte_stops_the_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    box, case = tmp_path / "anna.mbox", tmp_path / "case"
    write_mbox(box, [message(n, WORM if n in (1, 4) else "Report") for n in range(6)])
    before = bytes_below(tmp_path)
    size = {"messages.mbox": 420, ".eml": 165, "items.jsonl": 1000}[name]
    if at >= size:
        pytest.skip("the file is shorter")
    flip(monkeypatch, name, at)
    done = excise_cli(
        *("move", box, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "2")
    )
    if name == "items.jsonl" and done.code == 0:
        pytest.fail(f"byte {at} of items.jsonl may be wrong: {(case / 'bag-0001').exists()}")
    assert done.code == 5, done.text
    assert box.read_bytes() == before["anna.mbox"]
    assert excise_cli("resume", case, "--jobs", "1").code == 5
    assert box.read_bytes() == before["anna.mbox"]


def test_s13_evidence_that_vanishes_before_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virus scanner takes an evidence file between its commit and the removal."""
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    commit = parts.PartWriter.commit

    def taken(self: parts.PartWriter, final: Path) -> None:
        commit(self, final)
        next((final / "eml").iterdir()).unlink()

    monkeypatch.setattr(parts.PartWriter, "commit", taken)
    done = excise_cli("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
    assert done.code == 5, done.text
    assert ids_in_mbox(mail / "anna.mbox").total() == 8
