"""What is wrong or doubtful in an mbox, layer by layer: ``file``, ``entry``, ``header``, ``content``. Reports, never
repairs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from excise.core.text import count_of
from excise.mbox.entries import HEADER_MAX, Entry, looks_like_mbox, scan_headers
from excise.mbox.view import WINDOW, Buffer

_FIELD_LINE = re.compile(rb"(?:[!-9;-~]+[ \t]*:|[ \t]|\r?\Z)")
_BOUNDARY = re.compile(
    rb"(?is)^content-type[ \t]*:[ \t]*multipart/[^\n]*(?:\n[ \t][^\n]*)*?boundary=\"?([^\s\";]{1,200})", re.MULTILINE
)
# Text has no run of zeros this long; a write that never reached the disk leaves one.
_ZEROS = bytes(16)
_UNQUOTED = re.compile(rb"(?m)^From ")
_QUOTED = re.compile(rb"(?m)^>(>*)From ")
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:")
_FOLDER_DATA = re.compile(rb"(?im)^x-imap(?:base)?[ \t]*:")


class Severity(StrEnum):
    """``ERROR``: something is broken or missing. ``WARNING``: readable but not sure. ``NOTE``: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: in which layer, at which byte offset, how bad, and what, in words."""

    layer: str
    offset: int
    severity: Severity
    what: str


class Variant(StrEnum):
    """How From_ lines inside messages are told from separators, as far as the file shows it."""

    RD = "mboxrd"
    O_OR_RD = "mboxo or mboxrd"
    CL = "mboxcl"
    CL2 = "mboxcl2"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Survey:
    """Counts over a whole file: entries, those in doubt, with a fitting Content-Length, with CRLF and LF line ends, and
    those whose body has unquoted, once and more often quoted From_ lines."""

    entries: int = 0
    doubtful: int = 0
    with_length: int = 0
    crlf: int = 0
    lf: int = 0
    unquoted: int = 0
    quoted: int = 0
    quoted_again: int = 0

    @property
    def variant(self) -> Variant:
        """The variant that all of the file agrees with. mboxo and mboxrd differ only where a ``>>From `` is seen."""
        if self.entries and self.with_length == self.entries:
            return Variant.CL2 if self.unquoted else Variant.CL
        if not self.entries or self.unquoted or self.doubtful:
            return Variant.UNKNOWN
        return Variant.RD if self.quoted_again else Variant.O_OR_RD


def variant_of(content: bytes, *, length_fits: bool) -> Variant:
    """The variant that one message shows: its content as found, and whether its Content-Length agrees with its
    bounds."""
    unquoted = _UNQUOTED.search(content) is not None if b"\nFrom " in content or content[:5] == b"From " else False
    if length_fits:
        return Variant.CL2 if unquoted else Variant.CL
    if unquoted:
        return Variant.UNKNOWN
    return Variant.RD if b">>From " in content and re.search(rb"(?m)^>>+From ", content) else Variant.O_OR_RD


def check(buffer: Buffer) -> Iterator[Finding]:
    """Every finding in ``buffer``, in the order of the file; the last one says how the file is written."""
    size = len(buffer)
    if not size:
        yield Finding("file", 0, Severity.NOTE, "the file is empty: a mailbox without messages")
        return
    survey = Survey()
    at = 0
    for entry, header in scan_headers(buffer):
        if survey.entries == 0:
            yield from _check_beginning(buffer, entry)
        survey.entries += 1
        yield from _check_entry(buffer, entry, header, survey)
        at = entry.end
    if not survey.entries:
        yield Finding("file", 0, Severity.ERROR, "no From_ line with a header after it: this is not an mbox")
        return
    if buffer[size - 1] != 0x0A:
        yield Finding("file", size, Severity.WARNING, "the last line has no end: the last message may be cut")
    if survey.crlf and survey.lf:
        yield Finding("file", 0, Severity.NOTE, f"messages with CRLF line ends: {survey.crlf}, with LF: {survey.lf}")
    yield Finding("file", at, Severity.NOTE, f"{count_of(survey.entries, 'message')}, written as {survey.variant}")


def _check_beginning(buffer: Buffer, first: Entry) -> Iterator[Finding]:
    if first.start and buffer[: first.start].strip(b"\r\n"):
        yield Finding(
            "file", 0, Severity.ERROR, f"{first.start} bytes before the first From_ line belong to no message"
        )
    elif not looks_like_mbox(buffer[first.start : first.start + 4096]):
        yield Finding("file", first.start, Severity.WARNING, "the beginning is not surely that of an mbox")


def _check_entry(buffer: Buffer, entry: Entry, header: bytes, survey: Survey) -> Iterator[Finding]:
    if buffer[entry.content_start - 2 : entry.content_start] == b"\r\n":
        survey.crlf += 1
    else:
        survey.lf += 1
    survey.with_length += entry.length_fits
    if entry.doubt:
        survey.doubtful += 1
        yield Finding("entry", entry.start, Severity.WARNING, f"bounds in doubt: {entry.doubt}")
    if entry.internal:
        yield Finding("entry", entry.start, Severity.NOTE, "a mail server's folder data, not a message")
    if entry.end == entry.content_end and entry.end < len(buffer) and not entry.doubt:
        yield Finding("entry", entry.end, Severity.NOTE, "no blank line before the next From_ line")
    yield from _check_header(entry, header, survey)
    yield from _check_content(buffer, entry, header, survey)


def _check_header(entry: Entry, header: bytes, survey: Survey) -> Iterator[Finding]:
    if len(header) >= HEADER_MAX:
        yield Finding("header", entry.content_start, Severity.ERROR, f"the header has no end within {HEADER_MAX} bytes")
    offset = entry.content_start
    for line in header.split(b"\n"):
        if not _FIELD_LINE.match(line):
            yield Finding("header", offset, Severity.WARNING, "a line that is no header field and continues none")
            break
        offset += len(line) + 1
    if not entry.length_fits and _LENGTH.search(header):
        text = "Content-Length does not land on a From_ line or the end; it is not used"
        yield Finding("header", entry.content_start, Severity.NOTE, text)
    if survey.entries > 1 and _FOLDER_DATA.search(header):
        text = "X-IMAP or X-IMAPbase in a message that is not the first"
        yield Finding("header", entry.content_start, Severity.NOTE, text)


def _check_content(buffer: Buffer, entry: Entry, header: bytes, survey: Survey) -> Iterator[Finding]:
    unquoted = quoted = again = closed = False
    zeros = -1
    boundary = _BOUNDARY.search(header)
    closing = b"\n--" + boundary[1] + b"--" if boundary else b""
    overlap = b"\n"
    for at in range(entry.content_start, entry.content_end, WINDOW):
        piece = overlap + buffer[at : min(at + WINDOW, entry.content_end)]
        if b"From " in piece:
            unquoted = unquoted or b"\nFrom " in piece
            quoted = quoted or b"\n>From " in piece
            again = again or b"\n>>From " in piece
        closed = closed or (bool(closing) and closing in piece)
        if zeros < 0 and (found := piece.find(_ZEROS)) >= 0:
            zeros = at - len(overlap) + found
        overlap = piece[-256:]
    survey.unquoted += unquoted
    survey.quoted += quoted
    survey.quoted_again += again
    if zeros >= 0:
        yield Finding("content", zeros, Severity.WARNING, "zero bytes in the text: a write that never finished?")
    if closing and not closed:
        yield Finding(
            "content", entry.content_end, Severity.WARNING, "the multipart message has no closing boundary: cut short?"
        )
