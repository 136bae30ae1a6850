"""Files that survive a power cut: what is written is on disk, under its own name, before anybody is told so.

Invariants: a name appears only with its whole content behind it (write aside, flush, rename, flush the directory); a
path below a trusted directory is never followed through a symbolic link. What is POSIX alone stands here (and in
``locks``), so that another system can follow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from excise.core.errors import ExciseError, SourceUnavailable

#: What an unfinished file's name ends with; such a file is never evidence and may be thrown away.
PARTIAL = ".partial"


def fsync_directory(path: Path) -> None:
    """Flush the names in directory ``path`` to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Make ``path`` (its parents exist) and flush its name; one that is there already is left as it is."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode)
    fsync_directory(path.parent)


def make_directories(path: Path, mode: int = 0o700) -> None:
    """Make ``path`` and what is missing above it, each name flushed."""
    if not path.is_dir():
        make_directories(path.parent, mode)
        make_directory(path, mode)


def flush_names(path: Path, top: Path) -> None:
    """Flush the names in directory ``path`` and in those above it, up to ``top``."""
    try:
        for directory in (path, *path.parents):
            fsync_directory(directory)
            if directory == top:
                return
    except OSError as error:
        raise os_error(error, path, "flushing names to disk") from error


@contextmanager
def durable_file(path: Path, mode: int = 0o600, *, readable: bool = False) -> Iterator[BinaryIO]:
    """A new file at ``path``, flushed and closed at the end of the block; the caller flushes the directory.

    ``readable``: what was written can be read again inside the block.
    An existing ``path`` is a FileExistsError. On an error inside the block the file stays as it is, for the caller.
    """
    access = os.O_RDWR if readable else os.O_WRONLY
    fd = os.open(path, access | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w+b" if readable else "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def write_durably(path: Path, data: bytes | Iterable[bytes], mode: int = 0o600) -> None:
    """Put ``data`` at ``path`` whole or not at all, replacing what was there; on disk when this returns."""
    aside = path.with_name(path.name + PARTIAL)
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    try:
        with durable_file(aside, mode) as stream:
            for piece in (data,) if isinstance(data, bytes) else data:
                stream.write(piece)
        aside.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    fsync_directory(path.parent)


def commit_directory(partial: Path, final: Path) -> None:
    """Give the finished directory ``partial`` its lasting name ``final``, and flush it all.

    The files inside must have been flushed; their names are flushed here. A ``final`` that is there already is an
    error: what is committed is never replaced (S14).
    """
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, "a committed directory is never replaced", str(final))
    for root, _, _ in os.walk(partial, onerror=fail):
        fsync_directory(Path(root))
    partial.rename(final)
    fsync_directory(final.parent)
    fsync_directory(partial.parent)


def fail(error: OSError) -> NoReturn:
    """For ``os.walk``, which leaves out in silence what it cannot list."""
    raise error


def open_nofollow(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the regular file at ``path``, never through a symbolic link, never blocking on a FIFO."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceUnavailable(
            f"{path}: expected a regular file, found something else (a device, pipe or directory)",
            hint="Name the file itself.",
        )
    return fd


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """The content of the regular file at ``path`` (S27: no links, no devices), ``limit`` bytes of it at most."""
    with os.fdopen(open_nofollow(path), "rb") as stream:
        return stream.read() if limit is None else stream.read(limit)


def file_identity(info: os.stat_result) -> str:
    """Device and inode as text: what makes a file or directory the same one (S30)."""
    return f"dev:{info.st_dev:x},ino:{info.st_ino}"


def free_space(path: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of ``path`` or its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def os_error(error: OSError, path: Path | str, doing: str) -> ExciseError:
    """``error`` as an error for the user: what was being done, to which file, why it failed, what to do next."""
    reason = error.strerror or str(error)
    hints = {
        errno.EACCES: "Run as a user who may do this, or ask the owner for the right.",
        errno.EPERM: "Run as a user who may do this, or ask the owner for the right.",
        errno.ENOSPC: "Free some space there and run the command again (an interrupted run: excise resume).",
        errno.EDQUOT: "Raise the quota or free some space there, then run the command again.",
        errno.EFBIG: "The file system, or a limit set for this user (ulimit -f), allows no larger file: raise it.",
        errno.EIO: "The disk reports a fault: look at the system's log before you go on.",
        errno.ENOENT: "Check the path.",
        errno.EROFS: "The file system is mounted read-only.",
        errno.ELOOP: "It is a symbolic link, which is not followed here: name the file that it points to.",
    }
    hint = hints.get(error.errno or 0)
    return SourceUnavailable(f"{path}: {doing} failed: {reason}", hint=hint)
