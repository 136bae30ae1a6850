"""The bytes of a zip archive: where each member lies, and the directory at its end (PKWARE's APPNOTE 6.3, 4.3 and 4.4).

It exists to write an archive anew without some members, or with more, and to leave all others exactly as they are;
members are read with the standard library's zipfile, which also checks the result (another reader). What is not plain
enough for that is a ``NotPlainError`` with the reason: the archive can be searched, and is never written.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
END_SIGNATURE, _END64_SIGNATURE, _LOCATOR_SIGNATURE = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
CENTRAL_SIGNATURE, LOCAL_SIGNATURE = b"PK\x01\x02", b"PK\x03\x04"
_COMMENT_MAX = 65_535
_DIRECTORY_MAX = 128 << 20
#: The most members that an archive may have here.
MEMBERS_MAX = 1_000_000
_HAS_DESCRIPTOR, _MASKED = 0x0008, 0x2041
_WIDE = 0xFFFFFFFF


class NotPlainError(Exception):
    """Why an archive cannot be rewritten with its other members unchanged."""


class Member(NamedTuple):
    """A member: its record in the directory, and the bytes ``[start, stop)`` that are its own."""

    record: bytes
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ZipLayout:
    """An archive's parts in their order: members, directory ``[directory, tail)``, and the records from ``tail`` on."""

    size: int
    members: tuple[Member, ...]
    directory: int
    tail: bytes


def read_layout(fd: int) -> ZipLayout:
    """The layout of the archive at ``fd``; NotPlainError where it cannot be rewritten."""
    size = os.fstat(fd).st_size
    tail_at, disk, directory_disk, here, total, length, offset = _read_end(fd, size)
    if disk or directory_disk or here != total:
        raise NotPlainError("it is one volume of several")
    if is_oversized(fd):
        raise NotPlainError(f"it says that it has {total} members in a directory of {length} bytes")
    if offset + length != tail_at:
        raise NotPlainError("there are bytes that belong to nothing around its directory")
    records = _records(os.pread(fd, length, offset), total)
    members = _with_bounds(fd, records, offset)
    return ZipLayout(size, members, offset, os.pread(fd, size - tail_at, tail_at))


def is_oversized(fd: int) -> bool:
    """True where the archive at ``fd`` says that it has more members than are read here."""
    try:
        _, _, _, _, total, length, _ = _read_end(fd, os.fstat(fd).st_size)
    except NotPlainError:
        return False
    return total > MEMBERS_MAX or length > _DIRECTORY_MAX


def _read_end(fd: int, size: int) -> tuple[int, int, int, int, int, int, int]:
    """Where the end records begin, and what they say: disk, directory's disk, members here, in all, size, offset."""
    end_at = _find_end(fd, size)
    _, disk, directory_disk, here, total, length, offset, _ = END.unpack(os.pread(fd, END.size, end_at))
    if _WIDE in (length, offset) or total == 0xFFFF or _has_locator(fd, end_at):
        return _read_end64(fd, end_at)
    return end_at, disk, directory_disk, here, total, length, offset


def _find_end(fd: int, size: int) -> int:
    start = max(0, size - END.size - _COMMENT_MAX)
    data = os.pread(fd, size - start, start)
    at = data.rfind(END_SIGNATURE)
    while at >= 0:
        if len(data) - at >= END.size and at + END.size + END.unpack_from(data, at)[7] == len(data):
            return start + at
        at = data.rfind(END_SIGNATURE, 0, at)
    raise NotPlainError("its end record is not at its end")


def _has_locator(fd: int, end_at: int) -> bool:
    return end_at >= _LOCATOR.size and os.pread(fd, 4, end_at - _LOCATOR.size) == _LOCATOR_SIGNATURE


def _read_end64(fd: int, end_at: int) -> tuple[int, int, int, int, int, int, int]:
    """Where the Zip64 end record stands, and what it says."""
    if not _has_locator(fd, end_at):
        raise NotPlainError("its Zip64 locator is missing")
    _, _, at, _ = _LOCATOR.unpack(os.pread(fd, _LOCATOR.size, end_at - _LOCATOR.size))
    data = os.pread(fd, _END64.size, at) if at < end_at else b""
    if len(data) < _END64.size or data[:4] != _END64_SIGNATURE:
        raise NotPlainError("its Zip64 end record is not where its locator says")
    _, length, _, _, disk, directory_disk, here, total, size, offset = _END64.unpack(data)
    if at + 12 + length != end_at - _LOCATOR.size:
        raise NotPlainError("there are bytes that belong to nothing before its Zip64 locator")
    return at, disk, directory_disk, here, total, size, offset


def _records(data: bytes, total: int) -> list[bytes]:
    """The directory's records, whole."""
    found, at = [], 0
    while at < len(data):
        if len(data) - at < CENTRAL.size or data[at : at + 4] != CENTRAL_SIGNATURE:
            raise NotPlainError("its directory holds something else than members")
        name, extra, comment = struct.unpack_from("<3H", data, at + 28)
        stop = at + CENTRAL.size + name + extra + comment
        if stop > len(data):
            raise NotPlainError("its directory is cut short")
        found.append(data[at:stop])
        at = stop
    if len(found) != total:
        raise NotPlainError(f"its directory has {len(found)} members and says {total}")
    return found


def _with_bounds(fd: int, records: list[bytes], directory: int) -> tuple[Member, ...]:
    """The members with the bytes that are theirs, which must follow each other without a gap."""
    offsets = [offset_of(record) for record in records]
    order = sorted(range(len(records)), key=lambda n: offsets[n])
    stops = {n: offsets[after] for n, after in pairwise(order)}
    members = []
    for number, record in enumerate(records):
        start, stop = offsets[number], stops.get(number, directory)
        header = os.pread(fd, LOCAL.size, start)
        if len(header) < LOCAL.size or header[:4] != LOCAL_SIGNATURE:
            raise NotPlainError("a member is not where the directory says")
        flags = struct.unpack_from("<H", record, 8)[0]
        if flags & _MASKED:
            raise NotPlainError("a member is encrypted")
        name, extra = struct.unpack_from("<2H", header, 26)
        over = stop - (start + LOCAL.size + name + extra + _packed_size(record))
        if over not in ((0, 12, 16, 20, 24) if flags & _HAS_DESCRIPTOR else (0,)):
            raise NotPlainError("its members overlap, or there are bytes between them that belong to nothing")
        members.append(Member(record, start, stop))
    return tuple(members)


def _zip64_fields(record: bytes) -> list[tuple[str, int, int]]:
    """The 64-bit fields in the record's Zip64 extra field: name, place in the record, value."""
    unpacked, packed = struct.unpack_from("<L", record, 24)[0], struct.unpack_from("<L", record, 20)[0]
    offset = struct.unpack_from("<L", record, 42)[0]
    name, extra = struct.unpack_from("<2H", record, 28)
    at, stop = CENTRAL.size + name, CENTRAL.size + name + extra
    wanted = [w for w, v in (("unpacked", unpacked), ("packed", packed), ("offset", offset)) if v == _WIDE]
    while at + 4 <= stop:
        kind, length = struct.unpack_from("<2H", record, at)
        at += 4
        if kind == 1:
            if length < 8 * len(wanted) or at + length > stop:
                raise NotPlainError("a Zip64 field is cut short")
            return [(w, at + 8 * n, struct.unpack_from("<Q", record, at + 8 * n)[0]) for n, w in enumerate(wanted)]
        at += length
    return []


def offset_of(record: bytes) -> int:
    """Where the member of ``record`` begins."""
    wide = {name: value for name, _, value in _zip64_fields(record)}
    return int(wide.get("offset", struct.unpack_from("<L", record, 42)[0]))


def _packed_size(record: bytes) -> int:
    wide = {name: value for name, _, value in _zip64_fields(record)}
    return int(wide.get("packed", struct.unpack_from("<L", record, 20)[0]))


def moved(record: bytes, offset: int) -> bytes:
    """``record`` with its member at ``offset``."""
    data = bytearray(record)
    place = next((place for name, place, _ in _zip64_fields(record) if name == "offset"), None)
    if place is not None:
        struct.pack_into("<Q", data, place, offset)
    elif offset < _WIDE:
        struct.pack_into("<L", data, 42, offset)
    else:
        raise NotPlainError("it would grow beyond 4 GiB, which its directory has no room for")
    return bytes(data)


def moved_tail(tail: bytes, number: int, length: int, offset: int) -> bytes:
    """The end records for ``number`` members, their directory of ``length`` bytes at ``offset``."""
    data = bytearray(tail)
    end_at = 0
    if tail[:4] == _END64_SIGNATURE:
        end_at = 12 + struct.unpack_from("<Q", tail, 4)[0] + _LOCATOR.size
        struct.pack_into("<4Q", data, 24, number, number, length, offset)
        struct.pack_into("<Q", data, end_at - _LOCATOR.size + 8, offset + length)
    elif number >= 0xFFFF or length >= _WIDE or offset >= _WIDE:
        raise NotPlainError("it would grow beyond what its end record can say")
    old = END.unpack_from(tail, end_at)
    new = [number, number, length, offset]
    limits = (0xFFFF, 0xFFFF, _WIDE, _WIDE)
    if end_at:
        new = [w if o == w or v >= w else v for o, v, w in zip(old[3:7], new, limits, strict=True)]
    struct.pack_into("<2H2L", data, end_at + 8, *new)
    return bytes(data)
