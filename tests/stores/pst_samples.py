"""The real PST files that the tests read, from the directory that EXCISE_SAMPLES names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from excise.model.item import Fetched
from excise.pst.disk import pages
from excise.pst.disk.crypt import crc
from excise.pst.disk.formats import UNICODE
from excise.store_api.conformance.base import everything
from excise.store_api.protocols import Candidate, Tally, Unreadable
from excise.stores.pst import STORE, PstMailbox

_ROOT = os.environ.get("EXCISE_SAMPLES")
DIRECTORY = Path(_ROOT or "/nonexistent") / "pst-samples"
FILES = sorted(DIRECTORY.glob("*.pst")) if DIRECTORY.is_dir() else []
needs_samples = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES names no directory with pst-samples/")
every_sample = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@contextmanager
def opened(path: Path) -> Iterator[PstMailbox]:
    """The mailbox of the file at ``path``."""
    mailbox = STORE.open(f"pst:{path}")
    assert isinstance(mailbox, PstMailbox)
    try:
        yield mailbox
    finally:
        mailbox.close()


def scan(mailbox: PstMailbox) -> tuple[list[Candidate], list[Unreadable], Tally]:
    """All that a search of everything finds, what it could not read, and the tally as the engine keeps it."""
    tally = Tally()
    candidates: list[Candidate] = []
    unreadable: list[Unreadable] = []
    for found in mailbox.find(everything(), tally):
        if isinstance(found, Unreadable):
            tally.unreadable += 1
            unreadable.append(found)
        else:
            candidates.append(found)
    return candidates, unreadable, tally


def fetched(path: Path) -> list[Fetched]:
    """Every item of the file, fetched."""
    with opened(path) as mailbox:
        return [mailbox.fetch(candidate.id) for candidate in scan(mailbox)[0]]


def change_node(data: bytearray, nid: int, field: int, value: bytes) -> None:
    """Put ``value`` at the offset ``field`` of the entry of ``nid`` in the tree of nodes; the page stays sound.

    For Unicode files: 8 bytes each of nid, bidData and bidSub, then 4 of nidParent ([MS-PST] 2.2.2.7.7.4).
    """
    for page in range(0x4400, len(data), UNICODE.page_size):
        if data[page + 496 : page + 498] == bytes([pages.PTYPE_NBT] * 2) and data[page + 491] == 0:
            for at in range(page, page + data[page + 488] * 32, 32):
                if int.from_bytes(data[at : at + 8], "little") == nid:
                    data[at + field : at + field + len(value)] = value
            sealed = crc(bytes(data[page : page + 496]))
            data[page + 500 : page + 504] = sealed.to_bytes(4, "little")
