"""Locks on mailbox files, in the manner of mail delivery agents: an fcntl lock on the file, and ``FILE.lock`` beside
it.

Agents differ in their order: Dovecot (as Debian sets it) waits for the fcntl lock and then makes the dotlock, Postfix
makes the dotlock and then tries the fcntl lock. Whoever waits for one lock while holding the other can lock up with
one of them; so here neither is ever waited for: both are tried, and where one cannot be had the other is let go and
the attempt is made again later.

Invariants: a ``MailboxLock`` that is held has both locks, and the path names the file that is locked. A dotlock that
may be alive is never taken away. Nothing is left behind on any way out but a kill, after which the dotlock names a
dead process. fcntl locks here belong to the open file (Linux's OFD locks), so that closing another descriptor of the
same file does not drop them; they exclude the usual process-owned ones of other programs all the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import re
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from excise.core.errors import SourceUnavailable
from excise.core.files import open_nofollow, os_error

#: A dotlock that names no process, or one whose number was given to another since, is dead after this many seconds.
STALE_SECONDS = 300
#: How often a held dotlock is touched at most: Dovecot takes one away that did not change for two minutes.
REFRESH_SECONDS = 15
_OWNER = re.compile(rb"\s*([1-9]\d{0,9})(?::([\w.-]{1,255}))?\s*\Z")
_FLOCK = "hhqqi0q"  # struct flock; the trailing 0q pads it to its full size


class MailboxLocked(SourceUnavailable):
    """Somebody else held the mailbox for longer than one would wait."""

    error_id = "mailbox-locked"


class LockLost(SourceUnavailable):
    """Another program took our dotlock away while we held it."""

    error_id = "lock-lost"


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take an fcntl lock on the whole open file ``fd``, now or not at all.

    An exclusive one, for which ``fd`` is open for writing, or a ``shared`` one, for which it is open for reading.
    """
    return _set_lock(fd, fcntl.F_RDLCK if shared else fcntl.F_WRLCK)


def unlock(fd: int) -> None:
    """Let go of the fcntl lock on ``fd``."""
    _set_lock(fd, fcntl.F_UNLCK)


def _set_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def lock_holder(fd: int) -> str:
    """Who holds an fcntl lock that excludes ours on ``fd``, in words; empty where nobody does."""
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, request))
    if kind == fcntl.F_UNLCK:
        return ""
    return process_name(pid) if pid > 0 else "another program"


def process_name(pid: int) -> str:
    """Process ``pid`` in words."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
        return f"process {pid} ({name})"
    return f"process {pid}"


def nobody_writes(fd: int) -> bool | None:
    """True where no process at all has the file of ``fd`` open for writing; None where the system cannot tell.

    ``fd`` is open for reading only. A read lease is granted only while there is no writer; it is given back at once.
    """
    with contextlib.suppress(OSError):
        # Should somebody open the file just now, the notice must not be SIGIO, which would end this process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def anyone_waits(fd: int) -> bool:
    """True where some process is known to be blocked on an fcntl lock on the file of ``fd``, as Dovecot waits."""
    mark = f":{os.fstat(fd).st_ino} "
    try:
        with Path("/proc/locks").open(encoding="ascii", errors="replace") as lines:
            return any("->" in line and mark in line for line in lines)
    except OSError:
        return False


def writers(info: os.stat_result) -> Iterator[int]:
    """The processes that have the file of ``info`` open for writing, as far as this user may see them."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError), os.scandir(process / "fd") as entries:
            if any(_is_written(process, entry, info) for entry in entries):
                yield int(process.name)


def _is_written(process: Path, entry: os.DirEntry[str], info: os.stat_result) -> bool:
    with contextlib.suppress(OSError, ValueError, IndexError):
        found = entry.stat()
        if (found.st_dev, found.st_ino) == (info.st_dev, info.st_ino):
            text = (process / "fdinfo" / entry.name).read_text("ascii")
            flags = int(text.split("flags:")[1].split()[0], 8)
            return flags & os.O_ACCMODE != os.O_RDONLY
    return False


@dataclass(slots=True)
class _Dotlock:
    """A dotlock that we hold."""

    path: Path
    fd: int
    touched: float

    def is_ours(self) -> bool:
        """True where the name still stands for the file that we made."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return False
        ours = os.fstat(self.fd)
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        if self.is_ours():
            self.path.unlink()
        os.close(self.fd)


class MailboxLock:
    """Both locks on the mailbox file ``path``, as a context manager; ``fd`` is the locked file, open to read and write.

    ``timeout``: seconds to wait for others. ``create``: make an empty mailbox (mode 0600) where there is none.
    Raises ``MailboxLocked`` with who holds it, and ``SourceUnavailable`` where the file or its directory cannot be
    written.
    """

    def __init__(self, path: Path, *, timeout: float = 60.0, create: bool = False) -> None:
        self.path = path
        self._timeout = timeout
        self._create = create
        self._fd = -1
        self._dotlock: _Dotlock | None = None

    @property
    def fd(self) -> int:
        """The descriptor of the locked file; good while the lock is held."""
        if self._fd < 0:
            raise ValueError("the lock is not held")
        return self._fd

    @property
    def held(self) -> bool:
        """True between taking and letting go."""
        return self._fd >= 0

    def __enter__(self) -> MailboxLock:
        deadline = time.monotonic() + self._timeout
        pause = 0.02
        while True:
            try:
                holder = self._attempt()
            except OSError as error:
                self.release()
                raise os_error(error, self.path, "locking the mailbox") from error
            except BaseException:
                self.release()
                raise
            if holder is None:
                return self
            if time.monotonic() >= deadline:
                raise MailboxLocked(
                    f"{self.path}: expected to lock the mailbox within {self._timeout:g} seconds, but {holder} has it",
                    hint="Wait until that program has finished with it, then run the command again.",
                )
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - only to fall out of step with others
            pause = min(pause * 1.5, 0.5)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let go of both locks, the dotlock first; nothing where none is held."""
        dotlock, self._dotlock = self._dotlock, None
        fd, self._fd = self._fd, -1
        try:
            if dotlock is not None:
                dotlock.release()
        finally:
            if fd >= 0:
                os.close(fd)

    def refresh(self) -> None:
        """Show others that the lock is alive; called now and then during long work. ``LockLost`` where it was taken
        away."""
        dotlock = self._dotlock
        if dotlock is None or time.monotonic() - dotlock.touched < REFRESH_SECONDS:
            return
        if not dotlock.is_ours():
            raise LockLost(
                f"{dotlock.path}: another program removed this lock while Excise held it",
                hint="Find out which program does not keep to the locks, then run the command again.",
            )
        os.utime(dotlock.fd)
        dotlock.touched = time.monotonic()

    def _attempt(self) -> str | None:
        """Try to take both locks. None where they are held now, else who holds one of them."""
        flags = os.O_RDWR | (os.O_CREAT if self._create else 0)
        self._fd = _open(self.path, flags)
        if not try_lock(self._fd):
            holder = lock_holder(self._fd) or "another program"
        else:
            made = _make_dotlock(self.path.with_name(self.path.name + ".lock"))
            if isinstance(made, _Dotlock):
                self._dotlock = made
                if _names(self.path, self._fd):
                    return None
                holder = "another program (it has just replaced the file)"
            else:
                holder = made
        self.release()
        return holder


def _open(path: Path, flags: int) -> int:
    if not flags & os.O_CREAT:
        return open_nofollow(path, flags)
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceUnavailable(f"{path}: expected a regular file, found something else", hint="Name the file itself.")
    return fd


def _names(path: Path, fd: int) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    locked = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (locked.st_dev, locked.st_ino)


def _make_dotlock(path: Path) -> _Dotlock | str:
    """Make the dotlock ``path``; who holds it where it is there and not surely dead.

    Only called under the fcntl lock on the mailbox, so that two of us never take away the same dead lock.
    """
    for _ in range(2):
        try:
            return _Dotlock(path, _make_owned(path), time.monotonic())
        except FileExistsError:
            holder = _living_owner(path)
            if holder is not None:
                return holder
    return f"whoever makes {path} again and again"


def _make_owned(path: Path) -> int:
    """The descriptor of the new file ``path``, which names this process from its first moment on where that can be had.

    "PID:HOST" is what Dovecot writes and reads; liblockfile reads the number.
    """
    owner = f"{os.getpid()}:{socket.gethostname()}".encode()
    try:
        fd = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        fd = -1
    named = fd < 0
    if named:
        # No unnamed files here (NFS): one that is killed just now leaves a lock without an owner, dead in five minutes.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, owner)
        if not named:
            _give_name(fd, path)
    except BaseException:
        os.close(fd)
        if named:
            path.unlink()
        raise
    return fd


def _give_name(fd: int, path: Path) -> None:
    """Give the unnamed file ``fd`` the name ``path``; a FileExistsError where that is taken."""
    directory = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a directory given, Python calls linkat with AT_SYMLINK_FOLLOW; without, a plain link, which cannot do
        # this.
        os.link(str(fd), path, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _living_owner(path: Path) -> str | None:
    """Who holds the dotlock ``path``; None where it is gone, or was dead and has been taken away."""
    try:
        fd = open_nofollow(path)
    except FileNotFoundError:
        return None
    try:
        text = os.read(fd, 512)
        info = os.fstat(fd)
    finally:
        os.close(fd)
    age = time.time() - info.st_mtime
    owner = _OWNER.match(text)
    if owner is None:
        holder, dead = f"the owner of {path} (made {age:.0f} seconds ago)", age >= STALE_SECONDS
    else:
        pid, host = int(owner[1]), (owner[2] or b"").decode("ascii", "replace")
        here = host in ("", socket.gethostname())
        holder = process_name(pid) if here else f"process {pid} on host {host} (by {path})"
        dead = here and _is_dead(pid, info.st_mtime, age, surely_here=bool(host))
    if not dead:
        return holder
    _take_away(path, info)
    return None


def _is_dead(pid: int, touched: float, age: float, *, surely_here: bool) -> bool:
    """True where process ``pid``, whose dotlock was last ``touched`` then, is surely gone from this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        # A bare number may come from another host that shares the directory: then it also has to be old.
        return surely_here or age >= STALE_SECONDS
    except PermissionError:
        pass
    started = _started(pid)
    return age >= STALE_SECONDS and started is not None and started > touched + 2


def _started(pid: int) -> float | None:
    """When process ``pid`` began, in seconds since the epoch; None where it cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        up = float(Path("/proc/uptime").read_text("ascii").split()[0])
        return time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _take_away(path: Path, judged: os.stat_result) -> None:
    """Remove the dead dotlock ``path``, unless another one stands there by now."""
    aside = path.with_name(f".{path.name}.excise-stale-{os.getpid()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    found = aside.lstat()
    if (found.st_dev, found.st_ino) != (judged.st_dev, judged.st_ino):
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
