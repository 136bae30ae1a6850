"""The file that is edited and the journal beside it: everything that an edit does to a disk goes through here.

Rules: the file is opened by its real name, never through a symbolic link below it, and only while no other program
has it open for writing; it is locked against programs that keep to locks for as long as it is open here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol

from excise.core.errors import Refused
from excise.core.files import PARTIAL, fsync_directory, open_nofollow, os_error, write_durably
from excise.core.locks import MailboxLock, MailboxLocked, nobody_writes, process_name, writers

JOURNAL_SUFFIX = ".excise-journal"
_JOURNAL_LIMIT = 1 << 16
_LOCK_TIMEOUT = 5.0


class Storage(Protocol):
    """A file and its journal.

    What ``write`` and ``resize`` did may be lost with the power until ``sync`` returns. ``write_journal`` replaces the
    journal whole or not at all, and ``remove_journal`` takes it away; both are on disk when they return.
    """

    name: str

    def size(self) -> int:
        """Bytes of the file."""

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; fewer where the file ends."""

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``, beyond the end too."""

    def resize(self, size: int) -> None:
        """Cut the file off or fill it up with zeros."""

    def sync(self) -> None:
        """Flush the file to disk."""

    def read_journal(self) -> bytes | None:
        """The journal; None where there is none."""

    def write_journal(self, data: bytes) -> None:
        """Replace the journal."""

    def remove_journal(self) -> None:
        """Remove the journal."""


class PathStorage:
    """The ``Storage`` of a path, as a context manager that holds its locks.

    On entry: SourceUnavailable where the file cannot be opened, MailboxLocked where another program holds a lock or has
    it open for writing, Refused where it has another name (S19) or its journal may be somebody else's (S27).
    """

    def __init__(self, path: Path | str, *, timeout: float = _LOCK_TIMEOUT) -> None:
        try:
            self.path = Path(path).resolve(strict=True)
        except OSError as error:
            raise os_error(error, path, "opening") from error
        self.name = str(self.path)
        self.journal_path = self.path.with_name(self.path.name + JOURNAL_SUFFIX)
        self._lock = MailboxLock(self.path, timeout=timeout)

    def __enter__(self) -> PathStorage:
        self._check_open_elsewhere()
        self._lock.__enter__()
        try:
            self._check_locked()
            with contextlib.suppress(FileNotFoundError):
                # A journal that was never finished: nothing had been written to the file yet.
                self.journal_path.with_name(self.journal_path.name + PARTIAL).unlink()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def fd(self) -> int:
        """The descriptor of the locked file."""
        return self._lock.fd

    def size(self) -> int:
        """See ``Storage``."""
        return os.fstat(self._lock.fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See ``Storage``."""
        self._lock.refresh()
        try:
            data = os.pread(self._lock.fd, length, offset)
            while len(data) < length and (more := os.pread(self._lock.fd, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise os_error(error, self.path, f"reading at {offset}") from error
        return data

    def write(self, offset: int, data: bytes) -> None:
        """See ``Storage``."""
        self._lock.refresh()
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._lock.fd, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise os_error(error, self.path, f"writing at {offset}") from error

    def resize(self, size: int) -> None:
        """See ``Storage``."""
        try:
            os.ftruncate(self._lock.fd, size)
        except OSError as error:
            raise os_error(error, self.path, "changing its size") from error

    def sync(self) -> None:
        """See ``Storage``."""
        self._lock.refresh()
        try:
            os.fsync(self._lock.fd)
        except OSError as error:
            raise os_error(error, self.path, "flushing to disk") from error

    def read_journal(self) -> bytes | None:
        """See ``Storage``. Refused where another user made it or may write to it (S27)."""
        try:
            fd = open_nofollow(self.journal_path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(error, self.journal_path, "reading") from error
        with os.fdopen(fd, "rb") as stream:
            info = os.fstat(fd)
            owners = (0, os.geteuid(), os.fstat(self._lock.fd).st_uid)
            if info.st_uid not in owners or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or info.st_nlink != 1:
                raise Refused(
                    "S27",
                    f"{self.journal_path}: expected a journal that Excise made, found a file that another user made or "
                    "can write",
                    hint="Find out where it comes from, then remove it.",
                )
            return stream.read(_JOURNAL_LIMIT)

    def write_journal(self, data: bytes) -> None:
        """See ``Storage``."""
        try:
            write_durably(self.journal_path, data)
        except OSError as error:
            raise os_error(error, self.journal_path, "writing") from error

    def remove_journal(self) -> None:
        """See ``Storage``."""
        try:
            self.journal_path.unlink(missing_ok=True)
            fsync_directory(self.path.parent)
        except OSError as error:
            raise os_error(error, self.journal_path, "removing") from error

    def _check_open_elsewhere(self) -> None:
        """A writer that keeps to no lock, as long as it can be seen at all."""
        try:
            fd = open_nofollow(self.path)
        except OSError as error:
            raise os_error(error, self.path, "opening") from error
        try:
            info = os.fstat(fd)
            free = nobody_writes(fd)
            found = [] if free else [process_name(pid) for pid in writers(info)]
        finally:
            os.close(fd)
        if free is False or found:
            who = ", ".join(found) or "another program"
            raise MailboxLocked(
                f"{self.path}: open for writing in {who}", hint="Close it there, then run the command again."
            )

    def _check_locked(self) -> None:
        info = os.fstat(self._lock.fd)
        if info.st_nlink != 1:
            raise Refused(
                "S19",
                f"{self.path}: has {info.st_nlink} names (hard links); a change under one would show under all",
                hint="Copy the file, or remove the other names, and run the command again.",
            )
        try:
            fcntl.flock(self._lock.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MailboxLocked(
                f"{self.path}: locked by another program (flock)", hint="Close it there, then run the command again."
            ) from error


class StorageSource:
    """A ``Storage`` as the NDB reader's ``Source``; ``head`` stands for the file's first bytes, where it is given."""

    def __init__(self, storage: Storage, head: bytes = b"") -> None:
        self.name = storage.name
        self.size = storage.size()
        self.fd = storage.fd if isinstance(storage, PathStorage) else -1
        self._storage = storage
        self._head = head

    def read(self, offset: int, length: int) -> bytes:
        """See ``excise.pst.ndb.source.Source``."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        data = self._storage.read(offset, length)
        return self._head[offset : offset + length] + data[max(0, len(self._head) - offset) :]

    def close(self) -> None:
        """Nothing: the storage is the caller's."""
