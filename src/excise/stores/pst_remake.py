"""A PST file made anew, in its own place, of all that can be read of it but the messages that go.

For files from which nothing can be removed in place: ANSI and OST files, those with pages of 4 KiB, and damaged ones.
Rules (S13, S18, S19): the file is locked; what goes is read again first; the caller preserves the old file before
anything is made; the new one takes its name by one rename, and only where each item that can be read is in it, property
for property by our own reader and there for libpff too, in its folder, and a check finds no damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import excise.pst
from excise.core.errors import DamagedInput, Refused
from excise.core.files import durable_file, flush_names, open_nofollow
from excise.core.text import count_of, shown
from excise.model.item import Removal, Target
from excise.pst import Damaged, Lost, Salvage
from excise.pst import PstFile as Reader
from excise.pst.changes import why_not_in_place
from excise.pst.disk.ids import NID_TYPE_ASSOC_MESSAGE, NID_TYPE_NORMAL_MESSAGE, nid_type
from excise.pst.file.salvage import as_written
from excise.pst.ndb.edit_storage import PathStorage
from excise.store_api.errors import MailboxChanged
from excise.store_api.protocols import Remake, Unreadable
from excise.stores.pst_compact import hand_on, replace_file
from excise.stores.pst_file import PstFile
from excise.stores.pst_libpff import what_libpff_misses
from excise.stores.pst_remove import PstRemoval, message_nid
from excise.stores.pst_same import difference

_ITEMS = (NID_TYPE_NORMAL_MESSAGE, NID_TYPE_ASSOC_MESSAGE)


def plan(file: PstFile, codec: str, ids: Collection[str]) -> Remake | None:
    """What making ``file`` anew without ``ids`` would come to; None where they can be removed in place."""
    nids = frozenset(nid for each in ids if (nid := message_nid(each)) is not None)
    reason = why_not_in_place(file.path, nids)
    if not reason:
        return None
    # Also of what is to go: where it turns out not to be whole, it is in the old file alone.
    done = excise.pst.salvage(file.path, None, codec=codec)
    file.check_unchanged()
    return Remake(reason, len(done.kept.keys() - nids), tuple(map(_unreadable, done.lost)))


class Remaker:
    """Makes the file at ``path`` anew, whose identity must be ``identity`` (S30)."""

    def __init__(self, path: Path, identity: str, codec: str) -> None:
        self._path, self._identity, self._codec = path, identity, codec

    def remake(
        self,
        targets: Sequence[Target],
        planned: Remake,
        keep: Callable[[BinaryIO], None],
        about_to: Callable[[BinaryIO, Remake], None],
    ) -> list[Removal]:
        """See ``Remaking``. Errors as of ``excise.pst.salvage`` and ``PathStorage``; the file is then as it was."""
        removal = PstRemoval(self._path, self._identity)

        def make(new: Path, status: os.stat_result) -> None:
            done = self._write(new, status, going)
            searches = (replace(_unreadable(each), where="search folder") for each in done.search_folders)
            remake = Remake(planned.reason, len(done.kept), tuple(map(_unreadable, done.lost)), tuple(searches))
            self._require_planned(remake, planned)
            self._compare(new, done)
            about_to(original, remake)

        with PathStorage(self._path) as storage, os.fdopen(open_nofollow(self._path), "rb") as original:
            self._check_identity(PstFile(self._path), self._path)
            with excise.pst.open(self._path, codec=self._codec) as reader:
                going = removal.going(reader, targets)
            if going:
                keep(original)
                replace_file(self._path, storage, make, "making it anew")
        # Or a dead lock stood there after a power cut.
        flush_names(self._path.parent, self._path.parent)
        return removal.answers(targets)

    def _check_identity(self, file: PstFile, at: Path) -> None:
        try:
            found = file.identity()
        finally:
            file.close()
        known = {self._identity}
        if self._identity.startswith("key:none,"):
            # A store without a key got one.
            known.add(f"{found.partition(',')[0]},{self._identity.partition(',')[2]}")
        if found not in known:
            raise MailboxChanged(
                f"{at}: expected the mailbox that was opened ({self._identity}), found another ({found})",
                hint="The file is as it was. Make a new plan.",
            )

    def _write(self, new: Path, status: os.stat_result, going: frozenset[int]) -> Salvage:
        with durable_file(new, readable=True) as stream:
            done = excise.pst.salvage(self._path, stream, without=going, codec=self._codec)
            hand_on(self._path, stream.fileno(), status)
        return done

    def _require_planned(self, remake: Remake, planned: Remake) -> None:
        known = {(each.id, each.folder) for each in planned.lost}
        more = [each for each in remake.lost if (each.id, each.folder) not in known]
        if more:
            raise Refused(
                "S06",
                f"{self._path}: {count_of(len(more), 'item')} cannot be read that could when the plan was made: "
                f"{more[0].reason}",
                hint="The file is as it was. Make a new plan.",
            )

    def _compare(self, new: Path, done: Salvage) -> None:
        """DamagedInput unless the new file has just what was kept, as it was, and no damage."""
        self._check_identity(PstFile(new), new)
        report = excise.pst.check(new)
        if report.damaged:
            raise self._wrong(next(each.text() for each in report.findings))
        with (
            excise.pst.open(self._path, codec=self._codec) as mine,
            excise.pst.open(new, codec=self._codec) as theirs,
        ):
            self._compare_items(mine, theirs, done)
        if missed := what_libpff_misses(new, done.kept):
            raise self._wrong(missed)

    def _compare_items(self, mine: Reader, theirs: Reader, done: Salvage) -> None:
        there = {nid for nid in theirs.ndb.nodes.nids if nid_type(nid) in _ITEMS}
        if there != done.kept.keys():
            raise self._wrong(f"{len(there)} items where {len(done.kept)} were written")
        folders = {folder.nid: folder.path for folder in theirs.folders()}
        for nid, path in done.kept.items():
            entry = theirs.ndb.nodes.find(nid)
            if entry is None or folders.get(entry.nidParent) != path:
                raise self._wrong(f"item {nid:#x} in another folder")
            try:
                differs = difference(as_written(mine, nid), as_written(theirs, nid))
            except Damaged as error:
                raise self._wrong(f"item {nid:#x} that is damaged: {error}") from error
            if differs:
                raise self._wrong(f"another item {nid:#x}: {differs}")

    def _wrong(self, found: str) -> DamagedInput:
        return DamagedInput(
            f"{self._path}: the file that was made of it has {shown(found, 200)}; the file is as it was",
            hint="Please report this. What is to go is in the evidence, and still in the file.",
        )


def _unreadable(lost: Lost) -> Unreadable:
    folder = "/".join(name.replace("/", "%2F") for name in lost.path)
    where = f"item {lost.nid:#x}" if lost.nid else "the tree of nodes"
    return Unreadable(where, shown(lost.reason, 300), folder, f"{lost.nid:#x}" if lost.nid else None)
