"""Finishing or undoing an edit that a crash has stopped, by its journal.

Rules:
- the file's header and size must be what the edit can have left; where they are not, another program has written to
  the file since, and it is left alone;
- before the commit the old header is put back and what was appended is cut off: the old trees were never touched;
- after it, the new trees are read through and found sound first; then everything that *they* do not reach is zeroed.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from excise.core.errors import DamagedInput, Refused
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.disk.header import Header
from excise.pst.ndb.edit_journal import IMAGE, Journal, State
from excise.pst.ndb.edit_scrub import MapPages, scrub
from excise.pst.ndb.edit_storage import PathStorage, Storage, StorageSource
from excise.pst.ndb.edit_survey import Survey
from excise.pst.ndb.read import NodeDatabase


class Recovery(Enum):
    """What ``recover`` did."""

    NOTHING = "there was nothing to recover"
    UNDONE = "undone"
    FINISHED = "finished"


def recover(path: str | os.PathLike[str]) -> Recovery:
    """Finish or undo the edit of the PST file at ``path`` that a crash has stopped; the file is then as one of both.

    Refused where another program has written to the file since, or the journal is no journal; DamagedInput where the
    new trees are not sound. The file is then as it was found. Errors as of ``PathStorage`` where it cannot be opened.
    """
    storage = PathStorage(Path(path))
    if not os.path.lexists(storage.journal_path):
        return Recovery.NOTHING
    with storage:
        return recover_storage(storage)


def recover_storage(storage: Storage) -> Recovery:
    """``recover`` for a storage that is open."""
    data = storage.read_journal()
    if data is None:
        return Recovery.NOTHING
    try:
        journal = Journal.unpack(data)
    except ValueError as error:
        raise _refused(storage, f"the journal of an unfinished change cannot be read: {error}") from error
    if not journal.explains(storage.read(0, IMAGE), storage.size()):
        raise _refused(storage, "another program has written to the file since a change of it was broken off")
    if journal.state is State.WRITING:
        undo(storage, journal)
        return Recovery.UNDONE
    _, after, _ = journal.images
    finish(storage, journal, MapPages(_surveyed(storage, after).layout))
    return Recovery.FINISHED


def undo(storage: Storage, journal: Journal) -> None:
    """Put the old header back, cut off what was appended, and remove the journal."""
    before = journal.images[0]
    if storage.read(0, IMAGE) != before:
        storage.write(0, before)
    if storage.size() != journal.size:
        storage.resize(journal.size)
    storage.sync()
    storage.remove_journal()


def finish(storage: Storage, journal: Journal, map_pages: MapPages) -> None:
    """Bring a committed edit to its end: header, scrub, maps, final header; then the journal goes."""
    _, after, done = journal.images
    if storage.read(0, IMAGE) not in (after, done):
        storage.write(0, after)
        storage.sync()
    # Nothing of the old trees is touched before the header that names the new ones is on disk.
    scrub(storage, map_pages, Header.unpack(after).bidNextP)
    storage.sync()
    if storage.read(0, IMAGE) != done:
        storage.write(0, done)
        storage.sync()
    storage.remove_journal()


def _surveyed(storage: Storage, head: bytes) -> Survey:
    try:
        return Survey(NodeDatabase(StorageSource(storage, head), DamageLog()), strict=True)
    except Damaged as error:
        raise DamagedInput(
            f"{storage.name}: a change was made but not finished, and the file is damaged now: {error}",
            hint=f"It was left as it is. Restore it from a backup, and remove {storage.name}'s journal.",
        ) from error


def _refused(storage: Storage, why: str) -> Refused:
    return Refused(
        "S19", f"{storage.name}: {why}",
        hint="It was left as it is. Check the file (excise check); where it is sound, remove the journal beside it.",
    )  # fmt: skip
