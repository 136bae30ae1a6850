"""Mail to measure with, from a seed: the same bytes for the same arguments.

    python bench/make_mail.py mbox FILE BYTES          messages of 100 kB on average, about a quarter with attachments
    python bench/make_mail.py maildir DIRECTORY COUNT  messages of 4 kB on average

One message in a hundred has the subject ``NEEDLE``, half of them as RFC 2047 words; a fifth of all other subjects are
encoded too, as in mail of people who do not write in ASCII.
"""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

NEEDLE = "Quarterly zebra report – draft 7"
_START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_TEXT = """
about account after agenda all also answer are as ask at attached back because before board budget but by call can
change client come contract copy could date day deadline delivery did discuss do draft each end every file final
first for from get give go good had has have he help her here him his how if in invoice is it its just know last
like look make many may me meeting month more most much must my need new next no not now of office on one only
open or order other our out over part people plan please price project question read report right said same say
see send she should sign so some such take team than that the their them then there these they thing this time to
two up us version very want was way we week well were what when which who will with work would year you your
"""
_WORDS = _TEXT.split()
_FOREIGN = ("Überstunden im März", "Réunion de l’équipe", "Zażółć gęślą jaźń", "会議の議事録", "Отчёт за неделю")


class Generator:
    """Messages from one seed."""

    def __init__(self, seed: int, attachments: bool) -> None:
        """``attachments``: about a quarter of the messages carry one, of 380 kB on average."""
        self.random = random.Random(seed)
        self.attachments = attachments
        self.blob = base64.encodebytes(self.random.randbytes(3 << 20))
        self.prose = b"\n".join(self._line() for _ in range(4000))

    def _line(self) -> bytes:
        return " ".join(self.random.choices(_WORDS, k=11)).encode()

    def slice(self, data: bytes, size: int) -> bytes:
        start = data.index(b"\n", self.random.randrange(max(1, len(data) - size - 100))) + 1
        end = data.find(b"\n", start + size)
        return data[start : end if end > 0 else len(data)]

    def subject(self, number: int) -> bytes:
        """The Subject field's body of message ``number``."""
        if number % 100 == 37:
            raw = NEEDLE.encode()
            encoded = b"=?UTF-8?B?" + base64.b64encode(raw) + b"?="
            quoted = raw.replace(b" ", b"_").replace(b"\xe2\x80\x93", b"=E2=80=93")
            return encoded if number % 200 == 37 else b"=?utf-8?Q?" + quoted + b"?="
        if number % 5 == 0:
            text = f"{self.random.choice(_FOREIGN)} {number}"
            return b"=?UTF-8?B?" + base64.b64encode(text.encode()) + b"?="
        return f"{' '.join(self.random.choices(_WORDS, k=5)).capitalize()} {number}".encode()

    def message(self, number: int) -> tuple[datetime, bytes]:
        """When message ``number`` was sent, and its bytes with LF line ends."""
        rng = self.random
        sent = _START + timedelta(seconds=61 * number)
        head = [
            *(
                f"Received: from mx{hop}.example.net (mx{hop}.example.net [192.0.2.{rng.randrange(1, 255)}])\n"
                f"\tby mail{hop}.example.com (Postfix) with ESMTPS id {rng.getrandbits(44):011X}\n"
                f"\tfor <user{number % 40}@example.com>; {format_datetime(sent)}".encode()
                for hop in range(3)
            ),
            f"From: Sender {rng.randrange(500)} <sender{rng.randrange(500)}@example.net>".encode(),
            f"To: user{number % 40}@example.com".encode(),
            b"Subject: " + self.subject(number),
            f"Date: {format_datetime(sent)}".encode(),
            f"Message-ID: <{number}.{rng.getrandbits(40):x}@example.net>".encode(),
            b"MIME-Version: 1.0",
        ]
        text = self.slice(self.prose, round(rng.lognormvariate(7.6, 0.7)))
        plain = [b"Content-Type: text/plain; charset=utf-8", b"", text]
        if not (self.attachments and rng.random() < 0.26):
            return sent, b"\n".join([*head, *plain, b""])
        boundary = f"=_{rng.getrandbits(60):x}".encode()
        data = self.slice(self.blob, min(3_500_000, round(rng.lognormvariate(12.4, 0.9))))
        name = f"file-{number}.{rng.choice(('pdf', 'docx', 'xlsx', 'jpg', 'zip'))}".encode()
        mixed = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"'
        return sent, b"\n".join(
            [
                *head, mixed, b"", b"--" + boundary, *plain, b"--" + boundary,
                b'Content-Type: application/octet-stream; name="' + name + b'"', b"Content-Transfer-Encoding: base64",
                b'Content-Disposition: attachment; filename="' + name + b'"', b"", data, b"--" + boundary + b"--", b"",
            ]
        )  # fmt: skip


def _messages(generator: Generator) -> Iterator[tuple[datetime, bytes]]:
    number = 0
    while True:
        yield generator.message(number)
        number += 1


def make_mbox(path: Path, size: int, seed: int = 1) -> int:
    """Write an mbox (mboxrd) of about ``size`` bytes; the number of messages with the subject NEEDLE."""
    number = 0
    with path.open("wb") as file:
        for sent, content in _messages(Generator(seed, attachments=True)):
            quoted = content.replace(b"\nFrom ", b"\n>From ")
            file.write(f"From sender@example.net {sent:%a %b %d %H:%M:%S %Y}\n".encode() + quoted + b"\n")
            number += 1
            if file.tell() >= size:
                return (number + 62) // 100
    raise AssertionError("messages never end")


def make_mbox_of_one_line(path: Path, count: int, seed: int = 4) -> int:
    """Write an mbox of ``count`` messages of 20 kB that all have the same From_ line, as Thunderbird and many exporters
    write it; the number of messages with the subject NEEDLE."""
    generator = Generator(seed, attachments=False)
    with path.open("wb") as file:
        for number in range(count):
            content = generator.message(number)[1] + generator.slice(generator.prose, 17_000)
            quoted = content.replace(b"\nFrom ", b"\n>From ")
            file.write(b"From - Mon Jan  5 08:00:00 2026\n" + quoted + b"\n\n")
    return (count + 62) // 100


def make_maildir(root: Path, count: int, seed: int = 2) -> int:
    """Write a Maildir of ``count`` messages; the number of those with the subject NEEDLE."""
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True)
    messages = _messages(Generator(seed, attachments=False))
    for number in range(count):
        sent, content = next(messages)
        name = f"{int(sent.timestamp())}.M{number:06}P1.bench,S={len(content)}:2,{'S' if number % 3 else ''}"
        (root / "cur" / name).write_bytes(content)
    return (count + 62) // 100


if __name__ == "__main__":
    kind, target, amount = sys.argv[1], Path(sys.argv[2]), int(float(sys.argv[3]))
    print(make_mbox(target, amount) if kind == "mbox" else make_maildir(target, amount), "messages match")
