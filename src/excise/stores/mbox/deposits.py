"""A message as it is put into an mbox: its From_ line, its flags, its quoting."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from excise.mbox import (
    fingerprint_of,
    flag_fields,
    flags,
    is_from_line,
    quote_mboxrd,
    scan,
)
from excise.mbox.identity import MONTHS
from excise.model.item import Deposit
from excise.stores.mbox.index import make_version

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FIELD = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")
_RETURN_PATH = re.compile(rb"(?im)^return-path[ \t]*:[ \t]*<?([!-;=?-~]{1,320})>?[ \t]*\r?$")
_HEADER_END = re.compile(rb"\n\r?\n")
_FLAG_LINES = re.compile(
    rb"(?im)^(?:x-)?(?:status|keywords|mozilla-status|mozilla-keys)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
)


class DepositError(ValueError):
    """A message that an mbox cannot hold as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What is written: the From_ line without its line end, and the content."""

    line: bytes
    content: bytes

    @property
    def version(self) -> str:
        """The version that the message will have."""
        return make_version(self.line, fingerprint_of(self.line, [self.content]))

    def pieces(self, newline: bytes) -> list[bytes]:
        """The bytes to be written, with the blank line after them."""
        end = b"" if self.content.endswith(b"\n") else newline
        return [self.line, newline, self.content, end, newline]


def render(deposit: Deposit, *, by_length: bool) -> Rendered:
    """``deposit`` as it is written. A ``DepositError`` where that is not possible.

    What came from an mbox goes back as it was found there, quoted or not, as long as it stays one message; what came
    from elsewhere is quoted as mboxrd. ``by_length``: the mailbox tells messages apart by their Content-Length.
    """
    if deposit.folder:
        raise DepositError(f"an mbox has no folders, so none that is called {deposit.folder[:100]!r}")
    line, content = _from_line(deposit), deposit.content
    if not _FIELD.match(content):
        raise DepositError("the message does not begin with a header field")
    if flags(_header(content)) != deposit.flags:
        content = _with_flags(content, deposit.flags)
    found_in_mbox = "from_line" in deposit.attributes
    if not found_in_mbox or not _stays_whole(line, content, by_length=by_length):
        content = quote_mboxrd(content)
    if not _stays_whole(line, content, by_length=by_length):
        raise DepositError("the message would not be read back as one message")
    return Rendered(line, content)


def _stays_whole(line: bytes, content: bytes, *, by_length: bool) -> bool:
    data = line + b"\n" + content + (b"\n" if content.endswith(b"\n") else b"\n\n")
    entries = list(scan(data))
    if len(entries) != 1 or entries[0].doubt or entries[0].start:
        return False
    return not entries[0].length_fits or by_length or b"\nFrom " not in content


def _header(content: bytes) -> bytes:
    end = _HEADER_END.search(content)
    return content[: end.end()] if end else content


def _with_flags(content: bytes, wanted: frozenset[str]) -> bytes:
    """``content`` with the fields that give the flags ``wanted`` instead of those it has."""
    end = _HEADER_END.search(content)
    size = end.start() + 1 if end else len(content)
    head = _FLAG_LINES.sub(b"", content[:size])
    newline = b"\r\n" if head.endswith(b"\r\n") else b"\n"
    if not head.endswith(b"\n"):
        head += newline
    return head + flag_fields(wanted, newline) + content[size:]


def _from_line(deposit: Deposit) -> bytes:
    given = deposit.attributes.get("from_line")
    if given is not None:
        try:
            line = given.encode("latin-1") if isinstance(given, str) else b""
        except UnicodeEncodeError:
            line = b""
        if b"\n" in line or b"\r" in line or not is_from_line(line + b"\n", 0):
            raise DepositError("its From_ line is none")
        return line
    sender = _RETURN_PATH.search(_header(deposit.content))
    name = sender[1] if sender else b"MAILER-DAEMON"
    return b"From " + name + b" " + _asctime(deposit.delivered or datetime.fromtimestamp(0, UTC))


def _asctime(moment: datetime) -> bytes:
    """``moment`` in UTC in the form of C's asctime, whatever the locale."""
    at = moment.astimezone(UTC)
    text = f"{_DAYS[at.weekday()]} {MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S} {at.year:04}"
    return text.encode("ascii")
