"""PST files to measure with, from a seed, written by ``excise.pst.create``.

    python bench/make_pst.py FILE COUNT    mails of 2 to 10 kB in 24 folders; one in sixteen has an attachment of 60 kB

The prose and subjects are those of make_mail.py: one message in a hundred has the subject ``NEEDLE``. Dates begin in
2001, so that the search of pst.py finds about half of them within its two years.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.utils import format_datetime
from pathlib import Path

from make_mail import Generator

import excise.pst
from excise.pst import NewAttachment, NewMessage, NewProperty

_FOLDERS = [("Inbox",), ("Sent Items",), *(("Projects", f"Project {number}") for number in range(22))]
_START, _SPAN = datetime(2001, 1, 1, 9, tzinfo=UTC), timedelta(days=730)
_TEXT, _TIME, _LONG, _BINARY = 0x1F, 0x40, 3, 0x102


def text(prop_id: int, value: str) -> NewProperty:
    """A text property."""
    return NewProperty(prop_id, _TEXT, value.encode("utf-16-le"))


def attachment(name: str, data: bytes) -> NewAttachment:
    """An attachment by value."""
    return NewAttachment([NewProperty.of(0x3705, _LONG, 1), text(0x3707, name), NewProperty(0x3701, _BINARY, data)])


class Mails:
    """Mails as NewMessage. ``size`` is about how many characters the bodies have."""

    def __init__(self, count: int, seed: int = 3, size: int = 2000) -> None:
        self._mail = Generator(seed, attachments=False)
        self._random = self._mail.random
        self._prose = self._mail.prose.decode()
        self._blob = self._random.randbytes(4 << 20)
        self._count, self._size = count, size

    def message(self, number: int, attached: int = 0) -> NewMessage:
        """Mail ``number``, with an attachment of ``attached`` bytes where that is not 0."""
        rng = self._random
        subject = str(make_header(decode_header(self._mail.subject(number).decode())))
        sent = _START + _SPAN * (number / max(1, self._count))
        who, to = rng.randrange(500), number % 40
        size = round(self._size * rng.uniform(0.5, 1.6))
        start = rng.randrange(len(self._prose) - size)
        headers = (
            f"Received: from mx.example.net by mail.example.com with ESMTPS id {rng.getrandbits(44):011X}\r\n"
            f"From: Sender {who} <sender{who}@example.net>\r\nTo: User {to} <user{to}@example.com>\r\n"
            f"Date: {format_datetime(sent)}\r\nMessage-ID: <{number}.{rng.getrandbits(40):x}@example.net>\r\n\r\n"
        )
        given = [
            text(0x001A, "IPM.Note"), text(0x0037, "\1\1" + subject), text(0x0070, subject),
            text(0x0C1A, f"Sender {who}"), text(0x0C1E, "SMTP"), text(0x0C1F, f"sender{who}@example.net"),
            text(0x0042, f"Sender {who}"), text(0x0064, "SMTP"), text(0x0065, f"sender{who}@example.net"),
            text(0x0E04, f"User {to}"), text(0x007D, headers), text(0x1000, self._prose[start : start + size]),
            NewProperty.of(0x0039, _TIME, sent), NewProperty.of(0x0E06, _TIME, sent + timedelta(seconds=9)),
            NewProperty.of(0x0E07, _LONG, number % 3 and 1),
        ]  # fmt: skip
        recipient = [
            NewProperty.of(0x0C15, _LONG, 1), text(0x3001, f"User {to}"), text(0x3002, "SMTP"),
            text(0x3003, f"user{to}@example.com"), NewProperty.of(0x0FFE, _LONG, 6),
        ]  # fmt: skip
        return NewMessage(given, [recipient], [self._attachment(number, attached)] if attached else [])

    def _attachment(self, number: int, size: int) -> NewAttachment:
        start = self._random.randrange(len(self._blob) - size)
        return attachment(f"file-{number}.pdf", self._blob[start : start + size])

    def all(self) -> Iterator[tuple[tuple[str, ...], NewMessage]]:
        """Every mail and its folder."""
        for number in range(self._count):
            attached = round(60_000 * self._random.uniform(0.2, 1.8)) if number % 16 == 5 else 0
            yield _FOLDERS[number * 7 % 24], self.message(number, attached)


def make_pst(path: Path, count: int) -> None:
    """Write ``count`` mails to a new PST at ``path``."""
    with excise.pst.create(path) as new:
        for folder, message in Mails(count).all():
            new.folder(folder).add(message)


if __name__ == "__main__":
    make_pst(Path(sys.argv[1]), int(sys.argv[2]))
