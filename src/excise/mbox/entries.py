r"""The entries of an mbox: where each message begins and ends, and how sure that is.

Formats: RFC 4155 and the family that it describes (mboxo, mboxrd, mboxcl, mboxcl2), with LF or CRLF.

Invariants:

- A *separator* is a From_ line (``^From .*\d\d:\d\d(:\d\d)?.*\d{4}``) at the start of the file or after a blank line,
  followed by a line that begins a header field. The lines that git puts before its patches (40 hex digits, a fixed
  date) are never one.
- ``Content-Length`` is believed only where it lands exactly on a From_ line or the end, and, where it contradicts the
  separators, only in a file in which that is so for every message (such a file was written by an mboxcl or mboxcl2
  agent, which computes the field; in any other file a sender may have made it up).
- Entries never overlap and are yielded in order. What is in doubt is split, so that a search sees more rather than
  less, and each entry that touches the doubt says so in ``doubt``: it must not be removed.
- Nothing here holds more than one entry's header, and no step is slower than linear in the file's size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from excise.mbox.view import Buffer

#: How many bytes of a file ``looks_like_mbox`` wants to see.
HEAD_SIZE = 4096
#: Longer lines are neither From_ lines nor the names of header fields.
LINE_MAX = 1024
_AHEAD = LINE_MAX + 256  # what must be in the window to judge one line and the field after it
_BEHIND = 16  # a new window begins this much before the place of interest: blank lines are looked for there
_WINDOW = 1 << 21
#: A header block is looked at up to this size.
HEADER_MAX = 1 << 20

# Atomic groups keep the match linear on hostile lines. "From :" begins a header field; git's lines have 40 or 64 hex
# digits.
_GIT = rb"[0-9a-f]{40}(?:[0-9a-f]{24})? Mon Sep 17 00:00:00 2001\r?\n"
_FROM = rb"From (?![ \t]*:|" + _GIT + rb")(?>[^\n]*?\d\d:\d\d)(?>[^\n]*?\d{4})[^\n]*\n"
_NAME = rb"[!-9;-~]{1,200}[ \t]*:"
_FROM_LINE = re.compile(_FROM)
_FIELD = re.compile(_NAME)
_SEPARATOR = re.compile(rb"(" + _FROM + rb")" + _NAME)
_CONTENT_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?\n")
# Agents write "Content-Length:" or "Content-length:"; a field spelt otherwise is nobody's and is not looked at.
_LENGTH_HINT = b"ength:"
_HEADER_END = re.compile(rb"\n\r?\n")
_KNOWN_FIELD = re.compile(
    rb"(?im)^(?:from|to|cc|date|received|message-id|subject|return-path|delivered-to|mime-version|x-mozilla-status"
    rb"|x-imap(?:base)?|x-gm-thrid|status|sender|reply-to)[ \t]*:"
)
_ASCTIME = re.compile(rb" (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .*(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ")
_INTERNAL_SUBJECT = re.compile(rb"(?im)^Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r?$")
_INTERNAL_FIELD = re.compile(rb"(?im)^X-IMAP(?:base)?:")
_DELIVERED_FIELD = re.compile(rb"(?im)^(?:Received|Return-Path|Delivered-To):")

NO_BLANK_LINE = "no blank line before the From_ line at offset {}"
LENGTH_CONTRADICTS = (
    "Content-Length of the message at offset {} says that it reaches to offset {}, over From_ lines inside"
)


class Entry(NamedTuple):
    """One message of an mbox, as offsets in the file.

    ``start``: the From_ line; ``content_start``: the message after it; ``content_end``: where the message ends, its
    last line's end included; ``end``: after the blank line that separates it from the next one. ``doubt``: why the
    bounds are not sure (empty: they are). ``length_fits``: it has a Content-Length that agrees with its bounds.
    ``internal``: the pseudo message in which IMAP servers keep a folder's data; it is not an item.
    """

    start: int
    content_start: int
    content_end: int
    end: int
    doubt: str = ""
    length_fits: bool = False
    internal: bool = False


def looks_like_mbox(head: bytes) -> bool:
    """True where a file that begins with ``head`` (its first ``HEAD_SIZE`` bytes) surely is an mbox (S03).

    A From_ line with an asctime date and a header block with a field that mail has; git's patches are not mail stores.
    """
    match = _FROM_LINE.match(head, 0, LINE_MAX)
    if match is None or not _ASCTIME.search(match[0]):
        return False
    header = head[match.end() :]
    end = _HEADER_END.search(header)
    lines = header[: end.start()].split(b"\n") if end else header.split(b"\n")[:-1]
    if not lines or not _FIELD.match(lines[0]):
        return False
    if not all(line[:1] in (b" ", b"\t") or _FIELD.match(line) for line in lines):
        return False
    return _KNOWN_FIELD.search(b"\n".join(lines)) is not None


def is_from_line(buffer: Buffer, at: int) -> bool:
    """True where a From_ line with a date (and not one of git's) begins at ``at``; what precedes it is not looked
    at."""
    return _FROM_LINE.match(buffer[at : at + LINE_MAX]) is not None


def header_block(buffer: Buffer, entry: Entry) -> bytes:
    """The header of ``entry`` with the blank line that ends it; ``HEADER_MAX`` bytes at most."""
    return _header(buffer, entry.content_start, entry.content_end)


def scan(buffer: Buffer) -> Iterator[Entry]:
    """The entries of ``buffer`` in order. Bytes before the first From_ line belong to none."""
    return (entry for entry, _ in _Scanner(buffer).entries())


def scan_headers(buffer: Buffer) -> Iterator[tuple[Entry, bytes]]:
    """As ``scan``, each entry with its header block (see ``header_block``), which the scan has in hand anyway."""
    return _Scanner(buffer).entries()


def follows_lengths(buffer: Buffer) -> bool:
    """True where every message of ``buffer`` has a Content-Length that lands on a From_ line or the end (mboxcl,
    mboxcl2)."""
    at, size = 0, len(buffer)
    if not size:
        return False
    while at < size:
        if not is_from_line(buffer, at):
            return False
        content = _line_end(buffer, at)
        landing = _landing(buffer, content, _header(buffer, content, size))
        if landing is None:
            return False
        at = landing[1]
    return True


def _line_end(buffer: Buffer, at: int) -> int:
    end = buffer.find(b"\n", at)
    return len(buffer) if end < 0 else end + 1


def _header(buffer: Buffer, start: int, stop: int) -> bytes:
    stop = min(stop, start + HEADER_MAX)
    size = 2048
    while True:
        data = buffer[start : min(stop, start + size)]
        end = _HEADER_END.search(data)
        if end:
            return data[: end.end()]
        if start + size >= stop:
            return data
        size *= 8


def _landing(buffer: Buffer, content: int, header: bytes) -> tuple[int, int] | None:
    """(content end, next entry's start) by the Content-Length in ``header``; None where it has none that lands.

    Agents count the body with or without its last line's end, and some count the blank line after it.
    """
    found = _CONTENT_LENGTH.search(b"\n" + header.lower())
    if found is None or not header.endswith((b"\n\n", b"\n\r\n")):
        return None
    size = len(buffer)
    end = content + len(header) + int(found[1])
    if end > size:
        return None
    after = end
    content_end = end
    for step in range(3):
        if after == size or (buffer[after - 1] == 0x0A and is_from_line(buffer, after)):
            return content_end, after
        line_end = re.match(rb"\r?\n", buffer[after : after + 2])
        if line_end is None or step == 2:
            return None
        # The first line end met may still be the last line's own; then it is content.
        if step == 0 and buffer[end - 1] != 0x0A:
            content_end = after + line_end.end()
        after += line_end.end()
    return None


class _Scanner:
    """The state of one pass: a window of bytes, and whether lengths can be believed (found out when it first
    matters)."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._size = len(buffer)
        self._lengths_hold: bool | None = None
        self._window = b""
        self._base = 0

    def entries(self) -> Iterator[tuple[Entry, bytes]]:
        size = self._size
        start, content, blank = self._next_separator(0, first=True)
        doubt = NO_BLANK_LINE.format(start) if blank == 0 and start > 0 else ""
        in_doubt_until, long_doubt = 0, ""
        first = True
        while start < size:
            header = self._header_at(content)
            following, next_content, blank = self._next_separator(content - 1)
            fits = False
            if _LENGTH_HINT in header:
                landing = _landing(self._buffer, content, header)
                fits = landing is not None and landing[1] == following
                if landing is not None and not fits:
                    if self._believe_lengths():
                        following, fits, blank = landing[1], True, landing[1] - landing[0]
                        next_content = _line_end(self._buffer, following)
                        self._move(max(0, following - _BEHIND))
                    elif landing[1] > in_doubt_until:
                        in_doubt_until = landing[1]
                        long_doubt = LENGTH_CONTRADICTS.format(start, landing[1])
            end_doubt = "" if blank or fits or following == size else NO_BLANK_LINE.format(following)
            reason = doubt or end_doubt or (long_doubt if start < in_doubt_until else "")
            internal = first and _is_internal(header)
            first = False
            yield Entry(start, content, following - blank, following, reason, fits, internal), header
            start, content, doubt = following, next_content, end_doubt

    def _believe_lengths(self) -> bool:
        if self._lengths_hold is None:
            self._lengths_hold = follows_lengths(self._buffer)
        return self._lengths_hold

    def _move(self, base: int) -> None:
        self._window = self._buffer[base : base + _WINDOW]
        self._base = base

    def _header_at(self, content: int) -> bytes:
        window = self._window
        at = content - self._base
        line_end = window.find(b"\n", at)
        blank = b"\n\r\n" if window[line_end - 1 : line_end] == b"\r" else b"\n\n"
        end = window.find(blank, line_end)
        if line_end < 0 or end < 0 or end - at > HEADER_MAX:
            return _header(self._buffer, content, self._size)
        return window[at : end + len(blank)]

    def _next_separator(self, at: int, *, first: bool = False) -> tuple[int, int, int]:
        """The next separator whose newline before it is at ``at`` or later (``first``: or that begins the file).

        Its offset, the offset of the line after it, and the size of the blank line before it (0: none). At the end of
        the file: the size twice, and the size of a blank line that ends it.
        """
        relative = at - self._base
        if first:
            self._move(0)
            match = _SEPARATOR.match(self._window)
            if match and match.end(1) <= LINE_MAX:
                return 0, match.end(1), 0
            relative = 0
        while True:
            window = self._window
            relative = window.find(b"\nFrom ", relative)
            more = self._base + len(window) < self._size
            if more and (relative < 0 or relative + _AHEAD > len(window)):
                # Too near to the window's end to be judged, or nothing there: begin a new one a little before that
                # place.
                keep = len(window) if relative < 0 else relative
                self._move(self._base + keep - _BEHIND)
                relative = _BEHIND - len(b"\nFrom ") if relative < 0 else _BEHIND
                continue
            if relative < 0:
                return self._size, self._size, _blank_size(window, len(window))
            match = _SEPARATOR.match(window, relative + 1)
            if match and match.end(1) - relative <= LINE_MAX:
                base = self._base
                blank = 1 if relative and window[relative - 1] == 0x0A else _blank_size(window, relative + 1)
                return base + relative + 1, base + match.end(1), blank
            relative += 1


def _blank_size(window: bytes, at: int) -> int:
    """The size of the blank line that ends at ``at``; 0 where there is none."""
    before = window[max(0, at - 3) : at]
    if before[-2:] == b"\n\n" or before == b"\n":
        return 1
    if before == b"\n\r\n" or (before == b"\r\n" and at == 2):
        return 2
    return 0


def _is_internal(header: bytes) -> bool:
    return (
        _INTERNAL_SUBJECT.search(header) is not None
        and _INTERNAL_FIELD.search(header) is not None
        and _DELIVERED_FIELD.search(header) is None
    )
