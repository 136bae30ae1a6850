"""Files reached from an open directory, never by a path that somebody may have changed meanwhile (S19, S27).

Invariants: a name is one component, looked up below a descriptor, and no symbolic link is followed; nothing that is
read gets a new access time where the system lets us keep it; what is written is on disk before it has its name, and
never replaces anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard

from excise.core.errors import ExciseError
from excise.core.files import os_error
from excise.store_api.errors import ItemDamaged

#: The largest message that is read, in bytes; one beyond it is reported as unreadable.
MAX_MESSAGE = 512 << 20

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)


@contextmanager
def opened_directory(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A descriptor of the directory ``name`` below ``parent``, closed at the end of the block."""
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_below(parts: tuple[str, ...], parent: int) -> Iterator[int]:
    """A descriptor of the directory ``parts`` below ``parent``, each part opened from the one before it."""
    fd = os.dup(parent)
    try:
        for part in parts:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def open_file(name: str, parent: int) -> int:
    """A descriptor of ``name`` below ``parent`` for reading, not through a link, without marking the access."""
    if _NOATIME:
        try:
            return os.open(name, _FILE | _NOATIME, dir_fd=parent)
        except PermissionError:
            pass  # another user's file: its access time is not ours to keep
    return os.open(name, _FILE, dir_fd=parent)


def read_file(name: str, parent: int, limit: int = MAX_MESSAGE) -> tuple[bytes, os.stat_result]:
    """The regular file ``name`` below ``parent``, whole, and what it is; ItemDamaged where that cannot be had."""
    fd = open_file(name, parent)
    try:
        return read_opened(fd, name, limit)
    finally:
        os.close(fd)


def read_opened(fd: int, name: str, limit: int = MAX_MESSAGE) -> tuple[bytes, os.stat_result]:
    """The regular file at ``fd``, whole; ItemDamaged where it is none, is too large, or changes meanwhile."""
    before = os.fstat(fd)
    if not stat.S_ISREG(before.st_mode):
        raise ItemDamaged(f"{name}: expected a regular file, found a directory, link or device")
    if before.st_size > limit:
        raise ItemDamaged(f"{name}: {before.st_size} bytes, more than the {limit} that a message may have")
    pieces, size = [], 0
    while size <= before.st_size and (piece := os.pread(fd, before.st_size + 1 - size, size)):
        pieces.append(piece)
        size += len(piece)
    if size != before.st_size:
        raise ItemDamaged(f"{name}: changed while it was read", hint="Run the command again when nobody writes to it.")
    return b"".join(pieces), before


def write_file(name: str, parent: int, data: bytes, *, mode: int, moment_ns: int | None, owner: os.stat_result) -> None:
    """A new file ``name`` below ``parent`` with ``data`` and its modification time, flushed; ``owner``'s own."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        give_to(fd, owner)
        os.fchmod(fd, mode & 0o777)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if moment_ns is not None:
            os.utime(fd, ns=(moment_ns, moment_ns))
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory_below(name: str, parent: int, owner: os.stat_result) -> None:
    """The directory ``name`` below ``parent``, made like ``owner`` where it is missing, its name flushed."""
    try:
        os.mkdir(name, owner.st_mode & 0o777, dir_fd=parent)
    except FileExistsError:
        return
    with opened_directory(name, parent) as fd:
        give_to(fd, owner)
        os.fchmod(fd, stat.S_IMODE(owner.st_mode))
    os.fsync(parent)


def give_to(fd: int, owner: os.stat_result) -> None:
    """Let the file at ``fd`` belong to the user and group of ``owner``: what root puts there is theirs."""
    info = os.fstat(fd)
    if (info.st_uid, info.st_gid) == (owner.st_uid, owner.st_gid):
        return
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)
    else:
        with contextlib.suppress(PermissionError):  # the group is a courtesy to others who share the mailbox
            os.fchown(fd, -1, owner.st_gid)


def link_new(source: str, source_dir: int, name: str, target_dir: int) -> bool:
    """Give the file ``source`` the further name ``name``; False where that name is taken by another file.

    Where the file system has no links, the file is renamed instead.
    """
    try:
        os.link(source, name, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    except FileExistsError:
        mine = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
        theirs = os.stat(name, dir_fd=target_dir, follow_symlinks=False)
        return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if exists(name, target_dir):
            return False
        os.rename(source, name, src_dir_fd=source_dir, dst_dir_fd=target_dir)
    return True


def unlink_if_there(name: str, parent: int) -> None:
    """Take the name ``name`` away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def exists(name: str, parent: int) -> bool:
    """True where something bears the name ``name`` below ``parent``."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """True where both are one file that was not written to in between."""
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) == (
        other.st_dev,
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
    )


def is_component(name: object, limit: int = 255) -> TypeGuard[str]:
    """True where ``name`` can be one component of a path and nothing else: not ``..``, no slash, no NUL."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    try:
        return len(os.fsencode(name)) <= limit
    except UnicodeEncodeError:
        return False


def moment(nanoseconds: int) -> datetime:
    """A file's time, in nanoseconds, as an aware time in UTC; exact to the microsecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def nanoseconds(delivered: datetime | None) -> int | None:
    """The reverse of ``moment``."""
    if delivered is None:
        return None
    return (int(delivered.replace(microsecond=0).timestamp()) * 1_000_000 + delivered.microsecond) * 1000


def reason_of(error: Exception) -> str:
    """Why something could not be read, in one clause."""
    if isinstance(error, ExciseError):
        return error.message
    if isinstance(error, OSError):
        if error.errno == errno.ELOOP:
            return "it is a symbolic link, which is not followed"
        return error.strerror or str(error)
    return str(error)


def damaged(error: OSError, name: str) -> ItemDamaged:
    """``error``, met when the item ``name`` was read, as the contract has it."""
    found = os_error(error, name, "reading the message")
    return ItemDamaged(found.message, hint=found.hint)
