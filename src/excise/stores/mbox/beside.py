"""The private files that a removal or an addition keeps beside a mailbox while it is under way.

For a mailbox ``ann``: ``.ann.excise-new`` is the file that takes its place, and, once the two names were exchanged,
the old one; ``.ann.excise-old`` is the old one where a file system cannot exchange names; ``.ann.excise-note`` says
which inode is which; ``.ann.excise-redo`` holds bytes to be appended, whole, before the first of them is.

Invariant: a note or redo file is believed only where it is a regular file of our own that nobody else can write: in a
mail spool other users may make files too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from excise.core.errors import DamagedInput, Refused
from excise.core.files import PARTIAL, fsync_directory, open_nofollow, write_durably

_PRIVATE = re.compile(r"\..+\.excise-(?:new|old|note|redo|stale-\d+)(?:\.partial)?\Z", re.DOTALL)
_NOTE_MAX = 1 << 28


def is_private(name: str) -> bool:
    """True for the names that this module, and a dotlock being taken away, use; no mailbox is looked for there."""
    return _PRIVATE.match(name) is not None


@dataclass(frozen=True, slots=True)
class Note:
    """What a replacement is about: the inodes of the old and the new file, how many bytes of the old one were there
    when it
    was copied, the SHA-256 of the last ``TAIL`` of them, up to where its later bytes have been brought over too, and
    the fingerprints of the messages that were taken out.

    No device: all names stand in one directory, and device numbers may differ after the system was started anew."""

    old: int
    new: int
    copied: int
    tail: str
    salvaged: int
    removed: tuple[str, ...]


class Beside:
    """The private names of the mailbox file ``path``, and what stands there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new, self.old, self.note, self.redo = (
            path.with_name(f".{path.name}.excise-{part}") for part in ("new", "old", "note", "redo")
        )

    def anything(self) -> bool:
        """True where something was left behind, or is under way."""
        names = (self.new, self.old, self.note, self.redo)
        return any(os.path.lexists(name) for name in names) or any(os.path.lexists(p) for p in self._partials())

    def in_force(self) -> bool:
        """True where an addition or a replacement is under way that needs a mailbox, were it gone."""
        return os.path.lexists(self.redo) or os.path.lexists(self.note)

    def drop_partials(self) -> bool:
        """Remove files that were never finished; True where there were any."""
        found = [path for path in self._partials() if os.path.lexists(path)]
        for path in found:
            path.unlink()
        return bool(found)

    def _partials(self) -> tuple[Path, Path]:
        return self.note.with_name(self.note.name + PARTIAL), self.redo.with_name(self.redo.name + PARTIAL)

    def read_note(self) -> Note | None:
        """The note; None where there is none."""
        try:
            fd = open_own(self.note)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as stream:
            text = stream.read(_NOTE_MAX)
        try:
            facts = json.loads(text)
            return Note(**{**facts, "removed": tuple(facts["removed"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DamagedInput(
                f"{self.note}: expected Excise's note of a removal, found something else",
                hint="Look at the mailbox and the files beside it by hand; both versions of the mailbox are there.",
            ) from error

    def write_note(self, note: Note) -> None:
        """Put ``note`` on disk, whole, in place of an earlier one."""
        write_durably(self.note, json.dumps(asdict(note)).encode("ascii"))

    def drop(self, path: Path) -> None:
        """Remove ``path`` and flush the directory; nothing where it is gone."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        fsync_directory(path.parent)

    def find_old(self, note: Note) -> Path | None:
        """The private name under which the replaced file of ``note`` stands; None where it does not (any more)."""
        return next((path for path in (self.new, self.old) if inode(path) == note.old), None)


def inode(path: Path) -> int | None:
    """The inode that ``path`` names, a link not followed; None where there is nothing."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def open_own(path: Path) -> int:
    """A descriptor of ``path``, surely a file that we made; a Refused where it may be somebody else's."""
    fd = open_nofollow(path)
    info = os.fstat(fd)
    if info.st_uid not in (0, os.geteuid()) or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or info.st_nlink != 1:
        os.close(fd)
        raise Refused(
            "S27",
            f"{path}: expected a file that Excise made, found one that another user made or can write",
            hint="Find out where it comes from, then remove it.",
        )
    return fd
