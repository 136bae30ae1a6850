"""A zip archive written anew without some members, or with more: all others byte for byte as they were (S18, S19).

The new archive is written beside the old one, flushed, opened again and compared with it (the raw bytes of every
member that stays; and what zipfile, a reader that shares nothing with the writer, says of each), and takes the old
one's name by one rename, with its owner, mode and extended attributes. A kill leaves the old archive or the new one,
and at worst an unfinished file beside it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from excise.core.errors import ExciseError, Refused, SourceUnavailable
from excise.core.files import fsync_directory
from excise.store_api.errors import MailboxBusy, MailboxChanged
from excise.stores.directory import same_file
from excise.stores.unfinished import is_left_over, unfinished_name
from excise.stores.zip_layout import NotPlainError, ZipLayout, moved, moved_tail, read_layout

_CHUNK = 1 << 20
_UNIX = 3
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class NewMember:
    """A member to add: its bytes in the archive, and its record in the directory (the offset is filled in later)."""

    data: bytes
    record: bytes


def new_member(name: str, content: bytes, mode: int, when: datetime | None) -> NewMember:
    """``content`` as a compressed member ``name``; its time is kept in UTC, too (extra field 0x5455)."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = _UNIX
    info.external_attr = (stat.S_IFREG | (mode & 0o777)) << 16
    if when is not None:
        moment = when.astimezone(UTC)
        if 1980 <= moment.year < 2038:
            info.date_time = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
            info.extra = b"UT\x05\x00\x01" + int(moment.timestamp()).to_bytes(4, "little")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, content)
        directory = archive.start_dir
    whole = buffer.getvalue()
    return NewMember(whole[:directory], whole[directory : whole.rindex(b"PK\x05\x06")])


def replace_archive(path: Path, fd: int, drop: Collection[int], added: Sequence[NewMember] = ()) -> str:
    """Put an archive without the members of the numbers ``drop`` and with ``added`` in the place of the one at ``fd``.

    ``path`` is its real path. An ExciseError or OSError leaves the old archive in its place, untouched. The result is
    empty, or says why it is not sure that the new archive has its name on disk.
    """
    before = os.fstat(fd)
    if before.st_nlink > 1:
        links = before.st_nlink - 1
        raise Refused("S19", f"{path} has {links} other names (hard links), which would keep the old archive")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise MailboxBusy(f"{path} is locked by another program", hint="Try again when it is done.") from error
    tmp = path.with_name(unfinished_name())
    try:
        layout = read_layout(fd)
        with os.fdopen(os.open(tmp, _NEW_FILE, 0o600), "r+b") as new:
            _write(fd, layout, drop, added, new)
            keep_attributes(fd, before, new.fileno())
            new.flush()
            os.fsync(new.fileno())
            _compare(fd, layout, drop, added, new.fileno())
        _check_same(path, fd, before)
        tmp.rename(path)
    except NotPlainError as error:
        raise Refused("S19", f"{path} is not written anew: {error}", hint="Use excise copy.") from error
    finally:
        with suppress(FileNotFoundError):
            tmp.unlink()
        fcntl.flock(fd, fcntl.LOCK_UN)
    try:
        fsync_directory(path.parent)
    except OSError as error:
        return f"done, but that could not be flushed to disk: {error.strerror}"
    return ""


def _check_same(path: Path, fd: int, before: os.stat_result) -> None:
    if not (same_file(before, os.fstat(fd)) and same_file(before, path.lstat())):
        raise MailboxChanged(
            f"{path} was changed by another program while it was written anew",
            hint="It was left as it is. Make a new plan when nobody writes to it.",
        )


def _kept(layout: ZipLayout, drop: Collection[int]) -> list[tuple[int, int, int]]:
    """Number, start and new start of each member that stays, in the order in which they lie."""
    order = sorted(range(len(layout.members)), key=lambda n: layout.members[n].start)
    at = layout.members[order[0]].start if order else layout.directory
    kept = []
    for number in order:
        member = layout.members[number]
        if number not in drop:
            kept.append((number, member.start, at))
            at += member.stop - member.start
    return kept


def _write(fd: int, layout: ZipLayout, drop: Collection[int], added: Sequence[NewMember], new: Any) -> None:
    first = min((member.start for member in layout.members), default=layout.directory)
    _copy(fd, 0, first, new)
    places = {}
    for number, start, place in _kept(layout, drop):
        _copy(fd, start, layout.members[number].stop, new)
        places[number] = place
    records = [moved(m.record, places[n]) for n, m in enumerate(layout.members) if n in places]
    for member in added:
        records.append(moved(member.record, new.tell()))
        new.write(member.data)
    directory, length = new.tell(), sum(map(len, records))
    for record in records:
        new.write(record)
    new.write(moved_tail(layout.tail, len(records), length, directory))


def _copy(fd: int, start: int, stop: int, new: Any) -> None:
    while start < stop:
        piece = os.pread(fd, min(_CHUNK, stop - start), start)
        if not piece:
            raise SourceUnavailable("the archive became shorter while it was read", hint="Try again later.")
        new.write(piece)
        start += len(piece)


def _compare(fd: int, layout: ZipLayout, drop: Collection[int], added: Sequence[NewMember], new: int) -> None:
    """Demand that the new archive, at ``new``, holds what stays, byte for byte, and what was added, and no more."""
    for number, start, place in _kept(layout, drop):
        length = layout.members[number].stop - start
        for at in range(0, length, _CHUNK):
            size = min(_CHUNK, length - at)
            if os.pread(fd, size, start + at) != os.pread(new, size, place + at):
                raise _differs("the bytes of a member that stays")
    with _reader(fd) as old_archive, _reader(new) as new_archive:
        expected = [_facts(info) for n, info in enumerate(old_archive.infolist()) if n not in drop]
        found = [_facts(info) for info in new_archive.infolist()]
        if found[: len(expected)] != expected or len(found) != len(expected) + len(added):
            raise _differs("its list of members")
        if old_archive.comment != new_archive.comment:
            raise _differs("its comment")
        for info in new_archive.infolist()[len(expected) :]:
            with new_archive.open(info) as member:
                while member.read(_CHUNK):
                    pass


@contextmanager
def _reader(fd: int) -> Iterator[zipfile.ZipFile]:
    with os.fdopen(os.dup(fd), "rb") as stream, zipfile.ZipFile(stream) as archive:
        yield archive


def _facts(info: zipfile.ZipInfo) -> tuple[Any, ...]:
    return (
        *(info.orig_filename, info.CRC, info.compress_size, info.file_size, info.date_time, info.compress_type),
        *(info.flag_bits, info.external_attr, info.internal_attr, info.create_system, info.comment),
    )


def _differs(what: str) -> ExciseError:
    return SourceUnavailable(
        f"the archive that was written anew differs from the old one in {what}; the old one was left in its place",
        hint="Look at the disk: it does not give back what was written to it.",
    )


def keep_attributes(old: int, info: os.stat_result, new: int) -> None:
    """Give the file at ``new`` the owner, mode and extended attributes (ACLs too) of the one at ``old``, or fail."""
    now = os.fstat(new)
    if (now.st_uid, now.st_gid) != (info.st_uid, info.st_gid):
        os.fchown(new, info.st_uid, info.st_gid)
    os.fchmod(new, stat.S_IMODE(info.st_mode))
    try:
        names = os.listxattr(old)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return
        raise
    for name in names:
        value = os.getxattr(old, name)
        try:
            same = os.getxattr(new, name) == value
        except OSError:
            same = False
        if not same:
            os.setxattr(new, name, value)


def undo_unfinished(directory: Path) -> list[str]:
    """Take away the unfinished files in ``directory`` whose processes are no more; what was done, in words."""
    done = []
    for entry in sorted(directory.iterdir()):
        if is_left_over(entry.name):
            entry.unlink()
            done.append(f"an unfinished archive ({entry.name}) was taken away")
    if done:
        fsync_directory(directory)
    return done
