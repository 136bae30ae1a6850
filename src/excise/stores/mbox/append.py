"""Adding bytes at a mailbox's end so that a crash leaves them there whole or not at all (S15, S19).

Protocol, under both locks: the bytes and their place go into ``.NAME.excise-redo``, whole and flushed; the mailbox is
made longer by their size; they are written into the room so made; all is flushed; the redo file goes. Agents may append
after a crash of ours: the room is ours all the same, and ``finish`` fills it, however much of it was written.

The redo file is the bytes themselves with a trailer of ``_TRAILER`` bytes after them (JSON, padded with spaces).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from excise.core.errors import DamagedInput, ExciseError, Unfinished
from excise.core.files import PARTIAL, durable_file, fsync_directory, os_error
from excise.core.locks import MailboxLock
from excise.mbox import FileView, fingerprint, scan
from excise.stores.mbox.beside import Beside, open_own

_TRAILER = 512
_PIECE = 1 << 20


def newline_of(fd: int) -> bytes:
    """The line end that the mailbox open at ``fd`` uses: that of its first line; LF where it has none."""
    head = os.pread(fd, 4096, 0)
    return b"\r\n" if head.partition(b"\n")[0].endswith(b"\r") and b"\n" in head else b"\n"


def glue(fd: int, newline: bytes) -> bytes:
    """What must stand between the end of the mailbox at ``fd`` and a new From_ line, for it to follow a blank line."""
    size = os.fstat(fd).st_size
    end = os.pread(fd, 4, max(0, size - 4))
    if not end or end.endswith((b"\n\n", b"\n\r\n")) or end in (b"\n", b"\r\n"):
        return b""
    return newline if end.endswith(b"\n") else newline * 2


def append(lock: MailboxLock, beside: Beside, pieces: Iterable[bytes], *, salvaged: int | None = None) -> int:
    """Add ``pieces`` at the end of the locked mailbox; the offset at which they stand. Begins with what ``glue`` says.

    ``salvaged``: where the bytes come from the replaced file, the offset up to which it has been brought over by them.
    On an error the mailbox is as it was, and an ExciseError says why; ``Unfinished`` where that could not be done.
    """
    offset = os.fstat(lock.fd).st_size
    try:
        _write_redo(lock, beside, offset, pieces, salvaged)
    except OSError as error:
        _drop_redo(beside)
        raise os_error(error, lock.path, "adding to the mailbox (nothing was changed)") from error
    except BaseException:
        _drop_redo(beside)
        raise
    with _opened_redo(beside) as (fd, facts):
        try:
            _apply(lock, fd, facts)
        except (OSError, ExciseError) as error:
            _roll_back(lock, beside, facts, error)
            if isinstance(error, OSError):
                raise os_error(error, lock.path, "adding to the mailbox (it is as it was)") from error
            raise
    _conclude(beside, facts)
    return offset


def finish(lock: MailboxLock, beside: Beside) -> str | None:
    """Finish the addition that an earlier process had begun; what was done, in words; None where there is none."""
    if not os.path.lexists(beside.redo):
        return None
    with _opened_redo(beside) as (fd, facts):
        info = os.fstat(lock.fd)
        same = info.st_ino == facts["inode"]
        if same and (info.st_size == facts["offset"] or _room_is_ours(lock.fd, fd, facts)):
            _apply(lock, fd, facts)
            done = f"finished adding {facts['length']} bytes to {lock.path}"
            missing = None
        else:
            missing = _missing(lock, beside, fd, facts)
            done = f"added {len(missing)} bytes to {lock.path}, which another program had rewritten meanwhile"
    if missing:
        # The mailbox is another file by now, or was rewritten in place: what is not in it goes to its end.
        beside.redo.unlink()
        append(lock, beside, [glue(lock.fd, newline_of(lock.fd)), missing], salvaged=facts["salvaged"])
    else:
        _conclude(beside, facts)
    return done


def _write_redo(lock: MailboxLock, beside: Beside, offset: int, pieces: Iterable[bytes], salvaged: int | None) -> None:
    digest, length = hashlib.sha256(), 0
    partial = beside.redo.with_name(beside.redo.name + PARTIAL)
    with durable_file(partial) as stream:
        for piece in pieces:
            stream.write(piece)
            digest.update(piece)
            length += len(piece)
            lock.refresh()
        facts = {
            "inode": os.fstat(lock.fd).st_ino,
            "offset": offset,
            "length": length,
            "sha256": digest.hexdigest(),
            "salvaged": salvaged,
        }
        stream.write(json.dumps(facts).encode("ascii").ljust(_TRAILER))
    partial.rename(beside.redo)
    fsync_directory(beside.redo.parent)


@contextlib.contextmanager
def _opened_redo(beside: Beside) -> Iterator[tuple[int, dict[str, Any]]]:
    """The redo file's descriptor and its trailer, checked."""
    fd = open_own(beside.redo)
    try:
        size = os.fstat(fd).st_size
        try:
            facts = json.loads(os.pread(fd, _TRAILER, max(0, size - _TRAILER)))
            whole = facts["length"] == size - _TRAILER and facts["sha256"] == _digest(fd, facts["length"])
        except (ValueError, TypeError, KeyError, RecursionError):
            whole = False
        if not whole:
            raise DamagedInput(
                f"{beside.redo}: expected the bytes of an addition to {beside.path.name}, found a damaged file",
                hint="Look at the end of the mailbox by hand, then remove this file.",
            )
        yield fd, facts
    finally:
        os.close(fd)


def _digest(fd: int, length: int) -> str:
    digest = hashlib.sha256()
    for piece in FileView(fd, "redo", length).chunks(0, length):
        digest.update(piece)
    return digest.hexdigest()


def _apply(lock: MailboxLock, fd: int, facts: dict[str, Any]) -> None:
    """Make the room and write the bytes into it; may be done again."""
    offset, length = facts["offset"], facts["length"]
    if length and os.fstat(lock.fd).st_size < offset + length:
        os.ftruncate(lock.fd, offset + length)
        with suppress_errno(errno.EOPNOTSUPP, errno.EINVAL):
            os.posix_fallocate(lock.fd, offset, length)
    at = 0
    for piece in FileView(fd, "redo", length).chunks(0, length):
        _write_all(lock.fd, piece, offset + at)
        at += len(piece)
        lock.refresh()
    os.fsync(lock.fd)


@contextlib.contextmanager
def suppress_errno(*codes: int) -> Iterator[None]:
    """Pass over an OSError with one of ``codes``."""
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _roll_back(lock: MailboxLock, beside: Beside, facts: dict[str, Any], cause: Exception) -> None:
    try:
        size, offset = os.fstat(lock.fd).st_size, facts["offset"]
        if size > offset + facts["length"]:
            raise FileExistsError(errno.EEXIST, "another program has added to it without a lock")
        if size > offset:
            os.ftruncate(lock.fd, offset)
            os.fsync(lock.fd)
        _drop_redo(beside)
    except OSError as error:
        raise Unfinished(
            f"{lock.path}: adding to the mailbox failed ({cause}), and so did taking it back ({error})",
            hint=f"Nothing is lost: the bytes are in {beside.redo.name}, and the next run puts them right.",
        ) from error


def _room_is_ours(mailbox: int, redo: int, facts: dict[str, Any]) -> bool:
    """True where the room holds nothing but the bytes that belong there, and zeros where they were not written yet."""
    offset, length = facts["offset"], facts["length"]
    if os.fstat(mailbox).st_size < offset + length:
        return False
    for at in range(0, length, _PIECE):
        count = min(_PIECE, length - at)
        found, wanted = os.pread(mailbox, count, offset + at), os.pread(redo, count, at)
        if found != wanted and any(a not in (0, b) for a, b in zip(found, wanted, strict=True)):
            return False
    return True


def _missing(lock: MailboxLock, beside: Beside, redo: int, facts: dict[str, Any]) -> bytes:
    """The messages of the redo file that the mailbox lacks; nothing where the note says that they were brought over."""
    note = beside.read_note()
    if note is not None and facts["salvaged"] is not None and note.salvaged >= facts["salvaged"]:
        return b""
    wanted = FileView(redo, beside.redo, facts["length"])
    first = next(scan(wanted), None)
    begin = wanted[: len(wanted) if first is None else first.start]
    there = Counter(fingerprints(FileView(lock.fd, lock.path)))
    return b"".join([begin if begin.strip(b"\r\n") else b"", *lacking(wanted, there)])


def fingerprints(view: FileView) -> Iterator[str]:
    """The fingerprint of each message of ``view``."""
    return (fingerprint(view, entry) for entry in scan(view))


def lacking(view: FileView, there: Counter[str]) -> Iterator[bytes]:
    """The messages of ``view`` that are not among those ``there``, each with its From_ line and the blank line after
    it.

    ``there`` counts fingerprints, and is used up.
    """
    for entry in scan(view):
        mark = fingerprint(view, entry)
        if there[mark] > 0:
            there[mark] -= 1
        else:
            yield from view.chunks(entry.start, entry.end)


def _conclude(beside: Beside, facts: dict[str, Any]) -> None:
    """Say that it is done: in the note where the bytes come from the replaced file, then by the redo file's end."""
    note = beside.read_note() if facts["salvaged"] is not None else None
    if note is not None and note.salvaged < facts["salvaged"]:
        beside.write_note(dataclasses.replace(note, salvaged=facts["salvaged"]))
    beside.drop(beside.redo)


def _drop_redo(beside: Beside) -> None:
    for path in (Path(f"{beside.redo}{PARTIAL}"), beside.redo):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    fsync_directory(beside.redo.parent)
