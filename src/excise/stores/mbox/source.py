"""The mbox file that is read: opened, decompressed where need be, watched for changes; and the messages in it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from excise.core.files import open_nofollow, os_error
from excise.core.locks import MailboxLocked, try_lock, unlock
from excise.mbox import (
    Entry,
    FileShrank,
    FileView,
    delivery_time,
    flags,
    follows_lengths,
    from_line,
    header_block,
    variant_of,
)
from excise.model.item import Fetched
from excise.model.message import MimeView
from excise.store_api.errors import ItemDamaged, MailboxBusy, MailboxChanged
from excise.stores.mbox.compressed import decompress, is_compressed
from excise.stores.mbox.index import Index, make_id, version_of
from excise.stores.mbox.replace import identity_of

#: The identity of a mailbox that is not there.
ABSENT = "absent"
#: A message may be this large; a larger one is unreadable.
MESSAGE_MAX = 1 << 30
#: A mailbox up to this size is copied to memory under a shared lock, so that nobody rewrites it while it is read.
SNAPSHOT_MAX = 1 << 24
_SNAPSHOT_PATIENCE = 2.0
_SAMPLE = 4096
#: Two writes within this time may leave the same modification time (the kernel's clock ticks every 10 ms at most).
_TICK_NS = 20_000_000


class Source:
    """An open mailbox file; one without a path is an empty mailbox that is not there.

    A small one is read from a copy in memory, a compressed one from a decompressed copy, a large one where it stands:
    then ``is_intact`` tells afterwards whether another program rewrote it meanwhile.
    """

    def __init__(self, path: Path | None) -> None:
        self.index: Index | None = None
        self._by_length: bool | None = None
        self.compressed = False
        self._path = path
        self.fd = self._content = -1
        self.identity = ABSENT
        if path is None:
            self.view = FileView(-1, "", 0)
            return
        self.fd = self._content = open_nofollow(path)
        try:
            self._info = os.fstat(self.fd)
            self.identity = identity_of(self.fd, self._info)
            head = os.pread(self.fd, 8, 0)
            if is_compressed(head):
                self.compressed = True
                self._content = decompress(self.fd, str(path))
            elif self._info.st_size <= SNAPSHOT_MAX:
                self._copy_to_memory()
            self.view = FileView(self._content, path)
            self._sample = self._sampled()
        except BaseException:
            self.close()
            raise

    def _copy_to_memory(self) -> None:
        """Take the copy; the file is read where it stands where a lock cannot be had soon, where it has grown large, or
        where a program that keeps to no lock wrote to it meanwhile."""
        deadline = time.monotonic() + _SNAPSHOT_PATIENCE
        while not try_lock(self.fd, shared=True):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.02)
        try:
            if 0 <= time.time_ns() - os.fstat(self.fd).st_mtime_ns < _TICK_NS:
                time.sleep(_TICK_NS / 1e9)
            self._info = os.fstat(self.fd)
            if self._info.st_size <= SNAPSHOT_MAX:
                self._content = self._copied()
        finally:
            unlock(self.fd)

    def _copied(self) -> int:
        """A copy in memory; the file itself where it changed while it was copied."""
        copy = os.memfd_create("mailbox", os.MFD_CLOEXEC)
        try:
            with os.fdopen(copy, "wb", closefd=False) as stream:
                size = self._info.st_size
                stream.writelines(FileView(self.fd, str(self._path), size).chunks(0, size))
            if _stand(os.fstat(self.fd)) == _stand(self._info):
                return copy
        except BaseException:
            os.close(copy)
            raise
        os.close(copy)
        return self.fd

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for fd in {self.fd, self._content} - {-1}:
            os.close(fd)
        self.fd = self._content = -1

    @property
    def by_length(self) -> bool:
        """True where every message, and there is one, has a Content-Length that fits. Looked for once."""
        if self._by_length is None:
            self._by_length = len(self.view) > 0 and follows_lengths(self.view)
        return self._by_length

    def is_stale(self) -> bool:
        """True where the path names another file, or the file has changed."""
        if self._path is None:
            return True
        try:
            now, seen = self._path.lstat(), self._info
        except FileNotFoundError:
            return True
        return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (
            seen.st_dev,
            seen.st_ino,
            seen.st_size,
            seen.st_mtime_ns,
        )

    def is_intact(self) -> bool:
        """True where the file was at most appended to since it was opened."""
        if self._path is None or (self._content != self.fd and not self.compressed):
            return True
        now, seen = os.fstat(self.fd), self._info
        if _stand(now) == _stand(seen):
            return True
        return now.st_size > seen.st_size and self._sampled() == self._sample

    def _sampled(self) -> tuple[bytes, bytes]:
        """The first bytes and the last of those that were there: a rewrite in place moves or changes them."""
        size = self._info.st_size
        return os.pread(self.fd, min(size, _SAMPLE), 0), os.pread(self.fd, _SAMPLE, max(0, size - _SAMPLE))[:size]


def _stand(info: os.stat_result) -> tuple[int, int]:
    """What changes when somebody writes to the file."""
    return info.st_size, info.st_mtime_ns


class MboxCandidate:
    """A message that is offered to the matcher; all but its bounds is read when it is asked for."""

    __slots__ = ("_entry", "_header", "_id", "_numbers", "_version", "_view", "doubt")

    def __init__(self, view: FileView, entry: Entry, header: bytes, numbers: Counter[str], doubt: str) -> None:
        self._view, self._entry, self._header, self._numbers, self.doubt = view, entry, header, numbers, doubt
        self._version = self._id = ""

    @property
    def version(self) -> str:
        """Its fingerprint."""
        if not self._version:
            self._version = version_of(self._view, self._entry)
        return self._version

    @property
    def id(self) -> str:
        """Its version and its number among equal ones."""
        self.take_number()
        return self._id

    def take_number(self) -> None:
        """Take the next number among equal messages, once, in the order of the file."""
        if not self._id:
            self._id = make_id(self.version, self._numbers[self.version])
            self._numbers[self.version] += 1

    @property
    def view(self) -> MimeView:
        """The message, delivered when its From_ line says."""
        entry = self._entry
        delivered = delivery_time(from_line(self._view, entry))
        return MimeView(
            self._view[entry.content_start : entry.content_end],
            delivered=delivered,
            delivered_from="From_ line" if delivered else "",
            flags=flags(self._header),
        )


@contextlib.contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Errors of the layers below as errors of the store contract."""
    try:
        yield
    except FileShrank as error:
        raise MailboxChanged(error.message, hint=error.hint) from error
    except MailboxLocked as error:
        raise MailboxBusy(error.message, hint=error.hint) from error
    except OSError as error:
        raise os_error(error, path, doing) from error
    except ValueError as error:
        if isinstance(error, UnicodeError) or "null byte" in str(error):
            raise os_error(OSError(errno.EINVAL, "the path is none"), repr(str(path)), doing) from error
        raise


def fetched(view: FileView, entry: Entry, item_id: str, version: str, path: Path) -> Fetched:
    if entry.content_end - entry.content_start > MESSAGE_MAX:
        raise ItemDamaged(f"{path}: the message at offset {entry.start} is larger than {MESSAGE_MAX} bytes")
    content = view[entry.content_start : entry.content_end]
    line = from_line(view, entry)
    attributes = {
        "from_line": line.decode("latin-1"),
        "quoting": variant_of(content, length_fits=entry.length_fits).value,
    }
    return Fetched(
        item_id,
        version,
        content,
        flags=flags(header_block(view, entry)),
        delivered=delivery_time(line),
        attributes=attributes,
        notes=(entry.doubt,) if entry.doubt else (),
    )
