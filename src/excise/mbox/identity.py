"""What names a message of an mbox for good, and what is written into it that does not.

The fingerprint (S06) is SHA-256 over the From_ line without its line end, the header without the fields that clients
and servers rewrite in place, and the body without the line ends at its end (an agent adds one there when the file's
last line had none). It is the same whatever flags are set, whoever opened the mailbox, and wherever the message stands.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from zlib import crc32

from excise.mbox.entries import HEADER_MAX, Entry
from excise.mbox.view import WINDOW, Buffer

#: Header fields that mail programs rewrite in an mbox: flags, UIDs, folder data, lengths.
VOLATILE_FIELDS = (
    "Status",
    "X-Status",
    "X-Keywords",
    "X-UID",
    "X-IMAP",
    "X-IMAPbase",
    "Content-Length",
    "Lines",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Mozilla-Keys",
    "X-Evolution",
)

_VOLATILE = re.compile(
    rb"(?im)^(?:"
    + b"|".join(re.escape(name.encode()) for name in VOLATILE_FIELDS)
    + rb")[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
)
_QUOTED = re.compile(rb"(?m)^>+From ")
_HEADER_END = re.compile(rb"\n\r?\n")
#: The names of the months in a From_ line.
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    r" (?P<month>" + "|".join(MONTHS) + r") +(?P<day>\d{1,2}),? +(?P<hour>\d{1,2}):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d))?(?: +(?P<zone1>[A-Za-z]{1,5}|[+-]\d{4}))?(?: +[A-Z]{2,5})? +(?P<year>\d{4})"
    r"(?: +(?P<zone2>[+-]\d{4}))?"
)
_STATUS = {"R": "seen"}
_X_STATUS = {"A": "answered", "F": "flagged", "T": "draft", "D": "deleted"}
_MOZILLA = {0x0001: "seen", 0x0002: "answered", 0x0004: "flagged", 0x0008: "deleted", 0x1000: "forwarded"}


def likeness(content: bytes) -> str:
    """A hash of a message that is the same however stores have kept it, as 64 hex digits.

    It leaves out what keeping changes: the volatile fields, line ends, ``>`` before From_ lines, line ends at the end.
    """
    data = content.replace(b"\r\n", b"\n")
    size = end.start() + 1 if (end := _HEADER_END.search(data)) else len(data)
    head, body = _VOLATILE.sub(b"", data[:size]), _QUOTED.sub(b"From ", data[size:])
    return hashlib.sha256(head.rstrip(b"\n") + b"\n" + body.rstrip(b"\n")).hexdigest()


def from_line(buffer: Buffer, entry: Entry) -> bytes:
    """The From_ line of ``entry`` without its line end."""
    return buffer[entry.start : entry.content_start].rstrip(b"\r\n")


def from_line_key(line: bytes) -> int:
    """A short hash (32 bits) of a From_ line, to find an entry again without reading all bodies."""
    return crc32(line)


def fingerprint(buffer: Buffer, entry: Entry) -> str:
    """The fingerprint of ``entry``, as 64 hex digits. Reads the message in pieces."""
    start, stop = entry.content_start, entry.content_end
    pieces = (buffer[at : min(at + WINDOW, stop)] for at in range(start, stop, WINDOW))
    return fingerprint_of(from_line(buffer, entry), pieces)


def fingerprint_of(line: bytes, content: Iterable[bytes]) -> str:
    """The fingerprint of a message with the From_ line ``line`` (without line end), its content in pieces of any
    size."""
    digest = hashlib.sha256(line + b"\n")
    pieces = iter(content)
    head = b""
    end = None
    while end is None and len(head) < HEADER_MAX and (piece := next(pieces, b"")):
        head += piece
        end = _HEADER_END.search(head, 0, HEADER_MAX)
    size = min(len(head), HEADER_MAX) if end is None else end.start() + 1
    digest.update(_VOLATILE.sub(b"", head[:size]).rstrip(b"\r\n"))
    # ``whole`` runs on over line ends that may be the last ones; ``trimmed`` stays at the last byte that is none.
    whole, trimmed = digest, digest.copy()
    for piece in chain((head[size:],), pieces):
        body = piece.rstrip(b"\r\n")
        if body:
            whole.update(body)
            trimmed = whole.copy()
        whole.update(piece[len(body) :])
    return trimmed.hexdigest()


def delivery_time(line: bytes) -> datetime | None:
    """The time in a From_ line; one without a zone is taken as UTC (RFC 4155). None where there is no valid one."""
    match = _DATE.search(line.decode("latin-1"))
    if match is None:
        return None
    zone = match["zone2"] or match["zone1"] or ""
    offset = timedelta()
    if zone[:1] in ("+", "-"):
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:])) * (-1 if zone[0] == "-" else 1)
    try:
        return datetime(
            int(match["year"]), MONTHS.index(match["month"]) + 1, int(match["day"]), int(match["hour"]),
            int(match["minute"]), min(int(match["second"] or 0), 59), tzinfo=timezone(offset),
        ).astimezone(UTC)  # fmt: skip
    except (ValueError, OverflowError):
        return None


def flags(header: bytes) -> frozenset[str]:
    """The flags and keywords that Status, X-Status, X-Keywords and Mozilla's fields in ``header`` give."""
    found: set[str] = set()
    for field in _VOLATILE.finditer(header):
        name, _, raw = field[0].decode("latin-1").partition(":")
        value = " ".join(raw.split())
        name = name.strip().lower()
        if name == "status":
            found.update(flag for letter, flag in _STATUS.items() if letter in value)
        elif name == "x-status":
            found.update(flag for letter, flag in _X_STATUS.items() if letter in value)
        elif name in ("x-keywords", "x-mozilla-keys"):
            found.update("forwarded" if word == "$Forwarded" else word for word in value.split())
        elif name == "x-mozilla-status" and re.fullmatch(r"[0-9a-fA-F]{4}", value):
            found.update(flag for bit, flag in _MOZILLA.items() if int(value, 16) & bit)
    return frozenset(found)


def flag_fields(wanted: frozenset[str], newline: bytes = b"\n") -> bytes:
    """Header fields that give the flags ``wanted``, in the manner of Status, X-Status and X-Keywords."""
    status = "".join(letter for letter, flag in _STATUS.items() if flag in wanted) + "O"
    x_status = "".join(letter for letter, flag in _X_STATUS.items() if flag in wanted)
    known = {*_STATUS.values(), *_X_STATUS.values(), "forwarded"}
    keywords = sorted(word for word in wanted - known if re.fullmatch(r"[!-~]+", word))
    if "forwarded" in wanted:
        keywords.append("$Forwarded")
    fields = [("Status", status), ("X-Status", x_status), ("X-Keywords", " ".join(keywords))]
    return b"".join(f"{name}: {value}".encode("ascii") + newline for name, value in fields if value)
