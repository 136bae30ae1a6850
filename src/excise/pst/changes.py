"""Changes of PST files in which a check finds no error: no other is changed (its content could be lost by it)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import IO, BinaryIO

from excise.pst.check.report import ERROR
from excise.pst.check.run import errors_of
from excise.pst.file import append as _append
from excise.pst.file import compact as _compact
from excise.pst.file import purge as _purge
from excise.pst.file import removable as _removable
from excise.pst.file.read import PstFile
from excise.pst.file.rewrite import CODEC, Unsound
from excise.pst.file.sound import SoundFiles, stamp_of
from excise.pst.ndb.source import Source


class Checked:
    """``Soundness`` by a check for errors, once for each state of a file that this process found or left sound."""

    def __init__(self) -> None:
        self._known = SoundFiles()

    def require(self, source: Source) -> bool:
        """Unsound where ``excise.pst.check`` finds an error anywhere in the file.

        False where it was sound the last time, and nobody wrote to it since but we.
        """
        before = stamp_of(source.fd)
        if before in self._known:
            return False
        report = errors_of(PstFile(source, CODEC))
        if report.damaged:
            errors = (finding for finding in report.findings if finding.grade == ERROR)
            # Of errors that no log had room for only the number is known.
            first = next(errors, report.findings[0])
            raise Unsound(source.name, first.damage, report.counts[ERROR])
        if stamp_of(source.fd) == before:
            self._known.add(before)
        return True

    def changed(self, source: Source) -> None:
        """Our own change of a sound file leaves it sound: it reads back what it wrote before it commits."""
        self._known.add(stamp_of(source.fd))


SOUNDNESS = Checked()


def append(path: str | os.PathLike[str], *, timeout: float = 5.0) -> _append.PstAppender:
    """Begin to add to the PST file at ``path``, which is locked until the end of the context manager.

    ``timeout`` is how long to wait for a lock, in seconds. Errors as of ``excise.pst.ndb.edit.edit_nodes``; Unsound
    where ``excise.pst.check`` finds an error in the file, or its tables or names cannot be read for certain.
    """
    return _append.append_pst(path, timeout=timeout, soundness=SOUNDNESS)


def compact(
    source: str | os.PathLike[str] | IO[bytes], target: BinaryIO, *, without: AbstractSet[int] = frozenset()
) -> _compact.Compaction:
    """Copy the Unicode PST ``source`` into ``target`` without the messages and associated items ``without`` (NIDs).

    ``target`` is an open file to write and read, which loses what was in it; until this returns it holds no PST that
    opens. All nodes keep their NIDs and their data, known or not; blocks that nothing refers to are left out.

    Errors as of ``excise.pst.open``; DamagedInput for a file of another kind; Unsound where ``excise.pst.check`` finds
    an error in it, or what names a message cannot be read for certain; ValueError where one of ``without`` is not the
    NID of a message.
    """
    return _compact.compact(source, target, without=without, soundness=SOUNDNESS)


def purge(
    path: str | os.PathLike[str],
    nids: Iterable[int],
    *,
    timeout: float = 5.0,
    check: Callable[[PstFile, int], bool] | None = None,
) -> _purge.Purged:
    """Remove the messages and associated items ``nids`` from the PST at ``path``, and erase what they leave behind.

    All of them or none: the file is changed at once, or stays as it was. ``timeout`` is how long to wait for a lock, in
    seconds. Nothing is written for no messages. ``check`` is asked for each message while the file is locked and before
    it is written to, with the file as it is then: only those for which it is true are removed, the others are ``left``.

    Errors as of ``excise.pst.ndb.edit.edit_nodes``; Unsound where ``excise.pst.check`` finds an error in the file, or
    what names a message cannot be read for certain; ValueError where one of ``nids`` is not the NID of a message. What
    ``check`` raises leaves the file as it was.
    """
    return _purge.purge(path, nids, timeout=timeout, check=check, soundness=SOUNDNESS)


def why_not_in_place(source: str | os.PathLike[str] | IO[bytes], nids: AbstractSet[int]) -> str:
    """Why ``purge`` would refuse to take the messages ``nids`` out of ``source``; empty where it would not.

    Errors as of ``excise.pst.open``. The whole file is read.
    """
    return _removable.why_not_in_place(source, nids, soundness=SOUNDNESS)
