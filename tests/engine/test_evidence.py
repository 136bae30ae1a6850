"""S13: the writer of evidence is not believed: one wrong byte in what it wrote stops the removal."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

import excise.pst
from cli.command import Done, excise_cli
from engine.mail_files import WORM, bytes_below, ids_in_mbox, message, stores, write_mbox
from excise.case import parts
from excise.core.files import durable_file


class Flipping(io.BytesIO):
    """A file that holds one bit of what is written to it the wrong way round."""

    def __init__(self, inner: BinaryIO, at: int) -> None:
        super().__init__()
        self.inner, self.at = inner, at

    def write(self, data: bytes) -> int:  # type: ignore[override]
        changed = bytearray(data)
        start = self.inner.tell()
        if start <= self.at < start + len(data):
            changed[self.at - start] ^= 1
        return self.inner.write(bytes(changed))

    def tell(self) -> int:
        return self.inner.tell()

    def seek(self, at: int, whence: int = 0) -> int:
        return self.inner.seek(at, whence)

    def read(self, size: int | None = -1) -> bytes:
        return self.inner.read(-1 if size is None else size)

    def truncate(self, size: int | None = None) -> int:
        return self.inner.truncate(size)


def flip(monkeypatch: pytest.MonkeyPatch, name: str, at: int) -> None:
    """Have the writer of evidence write one bit wrong, at byte ``at`` of each file that ends with ``name``."""

    @contextmanager
    def opened(path: Path, mode: int = 0o600, *, readable: bool = False) -> Iterator[BinaryIO]:
        with durable_file(path, mode, readable=readable) as stream:
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
        *("move", box, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "2"),
        *("--evidence", "mbox", "--evidence", "eml"),
    )
    if name == "items.jsonl" and done.code == 0:
        pytest.fail(f"byte {at} of items.jsonl may be wrong: {(case / 'bag-0001').exists()}")
    assert done.code == 5, done.text
    assert box.read_bytes() == before["anna.mbox"]
    assert excise_cli("resume", case, "--jobs", "1").code == 5
    assert box.read_bytes() == before["anna.mbox"]


def move_two(box: Path, case: Path, *options: str) -> Done:
    """Move two of six messages."""
    write_mbox(box, [message(n, WORM if n in (1, 4) else "Report") for n in range(6)])
    move = ("move", box, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "2")
    return excise_cli(*move, "--evidence", "pst", *options)


def used_places(path: Path) -> Iterator[tuple[str, int]]:
    """A byte in each piece of a PST file that means something, by what it is."""
    with excise.pst.open(path) as pst:
        yield from {"magic": 1, "client": 8, "root": 0xC0, "encryption": 0x201, "end": 0x20C}.items()
        for number, entry in enumerate(pst.ndb.blocks.entries()):
            size = pst.ndb.format.block_size(entry.cb)
            yield f"block {number}", entry.ib + entry.cb * number // (number + 3)
            yield f"trailer {number}", entry.ib + size - 16 + number % 16
        for name, ib in (("NBT", pst.header.root.ibNBT), ("BBT", pst.header.root.ibBBT)):
            yield name, ib + 5
            yield f"{name} trailer", ib + 500
        yield "AMap", 0x4400 + 3
        yield "PMap", 0x4600 + 3


def test_s13_one_wrong_byte_in_a_pst_stops_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a byte of the PST means something; the digest of the file cannot tell, since it is taken afterwards."""
    box = tmp_path / "anna.mbox"
    assert move_two(box, tmp_path / "good").code == 0
    places = list(used_places(next((tmp_path / "good").rglob("messages.pst"))))
    assert len(places) > 80
    blocks = [place for place in places if place[0].startswith(("block", "trailer"))]
    for what, at in [place for place in places if place not in blocks] + blocks[:: len(blocks) // 12]:
        case = tmp_path / "case"
        shutil.rmtree(case, ignore_errors=True)
        with monkeypatch.context() as patch:
            flip(patch, "messages.pst", at)
            done = move_two(box, case)
        assert done.code == 5, f"{what}, byte {at}: {done.text}"
        assert ids_in_mbox(box).total() == 6
        assert excise_cli("resume", case, "--jobs", "1").code == 5
        assert ids_in_mbox(box).total() == 6


@pytest.mark.parametrize("gone", ["eml", "mbox", "pst"])
def test_s13_evidence_that_vanishes_before_the_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """A virus scanner takes an evidence file between its commit and the removal."""
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    commit = parts.PartWriter.commit

    def taken(self: parts.PartWriter, final: Path) -> None:
        commit(self, final)
        next(final.rglob(f"*.{gone}")).unlink()

    monkeypatch.setattr(parts.PartWriter, "commit", taken)
    done = excise_cli(
        *("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6"),
        *("--evidence", "mbox", "--evidence", "eml", "--evidence", "pst"),
    )
    assert done.code == 5, done.text
    assert ids_in_mbox(mail / "anna.mbox").total() == 8
