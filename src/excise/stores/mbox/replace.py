"""Taking messages out of a mailbox file by putting another file in its place (S18, S19).

What is kept is copied, byte for byte, into a new file; the names of the two are exchanged in one step; then the old
file is watched until nobody can write to it any more, and what was still appended to it is brought over. docs/adr/0002
has the reasoning. At each moment a crash leaves one of three states, which ``recover`` tells apart by inode:

1. no note, or the note and the new file not yet in place: the new file is thrown away, nothing happened;
2. the new file in place, the old one under a private name: the old one is watched and dropped as here;
3. the old one gone: the note goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from excise.core.errors import ExciseError, Refused, Unfinished
from excise.core.files import file_identity, fsync_directory, open_nofollow, os_error
from excise.core.locks import MailboxLock, anyone_waits, nobody_writes, process_name, try_lock, writers
from excise.mbox import FileShrank, FileView
from excise.store_api.errors import MailboxBusy, MailboxChanged
from excise.stores.mbox.append import append, fingerprints, glue, lacking, newline_of
from excise.stores.mbox.beside import Beside, Note, inode

TAIL = 1 << 16
#: The extended attribute in which the new file keeps the identity of the first one.
IDENTITY = "user.excise.mailbox"
_PIECE = 1 << 26
_COMPARED = 1 << 20
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_CANNOT_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)

#: A part of the new file: ``[start, end)`` of the old one, or bytes of its own.
Part = tuple[int, int] | bytes


class OthersWait(MailboxBusy):
    """A program waits for the lock on the file that would be replaced."""


def identity_of(path_or_fd: Path | int, info: os.stat_result) -> str:
    """What makes the mailbox the same one (S30): device and inode of the file that it was first, as our own
    replacements hand it on (bound to the inode, so that a copy with all its attributes is another mailbox)."""
    own = file_identity(info)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        first, _, bearer = os.getxattr(path_or_fd, IDENTITY).decode("ascii").partition(" ")
        if bearer == own and first.startswith(f"dev:{info.st_dev:x},"):
            return first
    return own


def replace(
    lock: MailboxLock,
    beside: Beside,
    keep: Sequence[Part],
    removed: Sequence[str],
    *,
    give_way: bool = False,
    exchange: bool = True,
) -> OldFile:
    """Put a file of the parts ``keep`` in the place of the locked mailbox; the old file, to be finished without the
    locks.

    ``removed``: the fingerprints of the messages that ``keep`` leaves out. On an error nothing has changed, nothing
    is left behind, and an ExciseError says why. ``give_way``: an OthersWait where, when the copy is made, a program
    waits for the lock on the old file: it had better have that first. ``exchange=False``: as on a file system that
    cannot exchange two names.
    """
    try:
        new = os.open(beside.new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise os_error(error, beside.path, "making the new mailbox file beside it") from error
    try:
        note = _prepare(lock, beside, new, keep, removed)
        if give_way:
            _let_others_first(lock)
        _swap(lock, beside, exchange=exchange)
        # The lock on the new file keeps agents out until its name is on disk: their mail must not be there before it.
        fsync_directory(beside.path.parent)
        return OldFile(beside, note)
    except BaseException as error:
        if inode(beside.path) == os.fstat(new).st_ino:
            raise Unfinished(
                f"{beside.path}: the messages were taken out, but it was not finished: {error}",
                hint="Nothing is lost. Run excise resume, which finishes it.",
            ) from error
        _undo(beside)
        if isinstance(error, OSError):
            raise os_error(error, beside.path, "writing the new mailbox file (the mailbox is as it was)") from error
        raise
    finally:
        os.close(new)


def _let_others_first(lock: MailboxLock) -> None:
    if anyone_waits(lock.fd):
        raise OthersWait(f"{lock.path}: another program waits for the mailbox")


def _prepare(lock: MailboxLock, beside: Beside, new: int, keep: Sequence[Part], removed: Sequence[str]) -> Note:
    """The new file, whole, compared, flushed and locked, and the note on disk."""
    before = os.fstat(lock.fd)
    at = 0
    for part in keep:
        if isinstance(part, bytes):
            os.pwrite(new, part, at)
        else:
            _copy(lock, new, *part, at)
        at += len(part) if isinstance(part, bytes) else part[1] - part[0]
    if os.fstat(new).st_size != at or not _same(lock, new, keep):
        raise MailboxChanged(
            f"{beside.path}: what was copied differs from the mailbox; nothing was changed",
            hint="Another program writes to it without locks, or the disk is at fault. Run the command again.",
        )
    keep_metadata(lock.path, lock.fd, new, before, identity_of(lock.fd, before))
    os.fsync(new)
    after = os.fstat(lock.fd)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise MailboxChanged(
            f"{beside.path}: another program wrote to the mailbox while it was locked; nothing was changed",
            hint="Find out which program does not keep to the locks, then run the command again.",
        )
    if not try_lock(new):
        raise MailboxBusy(f"{beside.new}: another program has locked this file", hint="Run the command again.")
    size = before.st_size
    note = Note(before.st_ino, os.fstat(new).st_ino, size, _tail_digest(lock.fd, size), size, tuple(removed))
    beside.write_note(note)
    return note


def _copy(lock: MailboxLock, new: int, start: int, end: int, at: int) -> None:
    """Copy ``[start, end)`` of the mailbox to offset ``at`` of ``new``, in the kernel where it can."""
    while start < end:
        count = min(_PIECE, end - start)
        try:
            done = os.copy_file_range(lock.fd, new, count, start, at)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
            done = os.pwrite(new, os.pread(lock.fd, min(count, _COMPARED), start), at)
        if not done:
            raise FileShrank(f"{lock.path}: became shorter while it was copied; nothing was changed")
        start, at = start + done, at + done
        lock.refresh()


def _same(lock: MailboxLock, new: int, keep: Sequence[Part]) -> bool:
    """True where ``new`` is the parts ``keep``, one after the other."""
    at = 0
    for part in keep:
        if isinstance(part, bytes):
            if os.pread(new, len(part), at) != part:
                return False
            at += len(part)
            continue
        start, end = part
        for place in range(start, end, _COMPARED):
            count = min(_COMPARED, end - place)
            if os.pread(lock.fd, count, place) != os.pread(new, count, at):
                return False
            at += count
        lock.refresh()
    return True


def keep_metadata(path: Path, old: int, new: int, info: os.stat_result, identity: str) -> None:
    """Give the file ``new`` owner, mode, access lists and other extended attributes of ``old`` at ``path``, and the
    identity; Refused where the file system does not keep them."""
    try:
        os.fchown(new, info.st_uid, info.st_gid)
        os.fchmod(new, info.st_mode & 0o7777)
        for name in os.listxattr(old):
            if name != IDENTITY:
                os.setxattr(new, name, os.getxattr(old, name))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise _not_kept(path, error.strerror or str(error)) from error
    # A file system without attributes gives the mailbox a new identity; the caller's journal has both.
    with contextlib.suppress(OSError):
        os.setxattr(new, IDENTITY, f"{identity} {file_identity(os.fstat(new))}".encode("ascii"))
    made = os.fstat(new)
    if (made.st_uid, made.st_gid, made.st_mode) != (info.st_uid, info.st_gid, info.st_mode):
        raise _not_kept(path, "the file system changed them")


def _not_kept(path: Path, reason: str) -> Refused:
    return Refused(
        "S19",
        f"{path}: the mailbox's owner, mode or attributes cannot be kept: {reason}; nothing was changed",
        hint="Run as root, or as the mailbox's owner and a member of its group.",
    )


def _tail_digest(fd: int, size: int) -> str:
    start = max(0, size - TAIL)
    return hashlib.sha256(os.pread(fd, size - start, start)).hexdigest()


def _swap(lock: MailboxLock, beside: Beside, *, exchange: bool) -> None:
    """Give the new file the mailbox's name and the old one a private name, neither name ever missing."""
    lock.refresh()
    if exchange and _exchange(beside.new, beside.path):
        return
    # Here the old file has two names for a moment. An agent that refuses files with two names and opens before it takes
    # the dotlock could refuse a delivery; Postfix takes the dotlock first.
    os.link(beside.path, beside.old)
    try:
        beside.new.rename(beside.path)
    except BaseException:
        beside.old.unlink()
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where this system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _undo(beside: Beside) -> None:
    """Leave nothing behind; the new file is not in place. What cannot be removed now, ``recover`` removes."""
    for path in (beside.new, beside.note):
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        beside.drop_partials()
        fsync_directory(beside.path.parent)


class OldFile:
    """The file whose place was taken, under its private name, until nobody can write to it any more.

    Made under the mailbox's locks; ``finish`` is called without them. One process at a time watches it (a BSD lock,
    which a descriptor for reading can take: a descriptor for writing would count as a writer).
    """

    def __init__(self, beside: Beside, note: Note) -> None:
        """Raises MailboxBusy where another process is watching it already."""
        self._beside, self._note = beside, note
        path = beside.find_old(note)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, "the replaced mailbox file is gone", str(beside.new))
        self._path = path
        self._fd = open_nofollow(path)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise MailboxBusy(
                f"{beside.path}: another Excise is finishing a removal there", hint="Wait until it has ended."
            ) from error

    def finish(self, patience: float) -> str:
        """Wait until nobody can write to the old file, bring over what was appended to it, and remove it.

        Waits ``patience`` seconds at most. Empty where all is done; else what is left to do, in words, and ``recover``
        goes on with it. The old file is never removed while a byte of it could be missing from the new one.
        """
        try:
            if not self._wait(patience):
                return self._still_open()
            self._salvage()
            self._beside.drop(self._path)
            # The note goes last: while it is there, a file under the private name is known for what it is.
            self._beside.drop(self._beside.note)
        except (OSError, ExciseError) as error:
            return f"the file that was replaced is kept as {self._path.name}: {error}"
        finally:
            os.close(self._fd)
        return ""

    def _wait(self, patience: float) -> bool:
        """True as soon as nobody has the old file open for writing (nobody can open it anew: its name is private)."""
        deadline = time.monotonic() + patience
        pause = 0.002
        while True:
            free = nobody_writes(self._fd)
            if free is None and time.monotonic() >= deadline:
                # No lease on this file system: all agents that waited for our lock have had their time by now.
                return next(writers(os.fstat(self._fd)), None) is None
            if free or time.monotonic() >= deadline:
                return bool(free)
            with contextlib.suppress(OSError):
                # Dovecot, once it has written here, touches the path until it sees another time on this file.
                os.utime(self._fd)
            time.sleep(pause)
            pause = min(pause * 2, 0.25)

    def _still_open(self) -> str:
        who = ", ".join(process_name(pid) for pid in writers(os.fstat(self._fd))) or "another program"
        return (
            f"the file that was replaced is kept as {self._path.name} while {who} has it open for writing; "
            "close that program, then run excise resume"
        )

    def _salvage(self) -> None:
        """Bring over what was written to the old file after it was copied.

        What was appended is what stands after the bytes that were there. A program that rewrote the file instead
        (Dovecot does so to add its fields) may have moved everything: then it is each message that neither is in the
        mailbox nor was taken out.
        """
        size, note = os.fstat(self._fd).st_size, self._note
        start = max(note.copied, note.salvaged)
        appended_only = size >= start and _tail_digest(self._fd, note.copied) == note.tail
        if appended_only and size == start:
            return
        view = FileView(self._fd, self._path, size)
        with MailboxLock(self._beside.path, create=True) as lock:
            if appended_only:
                append(lock, self._beside, self._pieces(lock.fd, view.chunks(start, size)), salvaged=size)
                return
            there = Counter(fingerprints(FileView(lock.fd, self._beside.path)))
            append(lock, self._beside, self._pieces(lock.fd, lacking(view, there + Counter(note.removed))))

    def _pieces(self, mailbox: int, found: Iterator[bytes]) -> Iterator[bytes]:
        """``found``, after what must stand before a From_ line at the mailbox's end."""
        first = next(found, b"")
        if first.startswith(b"From "):
            yield glue(mailbox, newline_of(mailbox))
        yield first
        yield from found
