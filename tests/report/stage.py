"""Cases for the tests of reports and reviews: many mailboxes, and a message that went to most of them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli.command import Done, excise_cli

SUBJECT = "Salaries 2026"
START = datetime(2026, 1, 13, 8, 0, tzinfo=UTC)


def body(number: int, subject: str, when: datetime, sender: str = "hr@example.com") -> bytes:
    """A message with an attachment."""
    date = when.strftime("%a, %d %b %Y %H:%M:%S +0000")
    return (
        f"From: {sender}\nTo: staff@example.com\nSubject: {subject}\nDate: {date}\nMessage-ID: <{number}@example.com>\n"
        f"Received: from mx by mail; {date}\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
        f"Content-Type: text/plain\n\nDear all, the list is attached ({number}).\n--b\nContent-Type: text/csv\n"
        "Content-Disposition: attachment; filename=salaries.csv\n\na;1\n--b--\n"
    ).encode()


def maildir(path: Path, folders: dict[str, list[tuple[bytes, str]]]) -> None:
    """A Maildir++ with folders of messages and their flags."""
    for folder, messages in folders.items():
        place = path / folder if folder else path
        for name in ("cur", "new", "tmp"):
            (place / name).mkdir(parents=True, exist_ok=True)
        for number, (content, flags) in enumerate(messages):
            file = place / "cur" / f"{1_760_000_000 + number}.M{number}P1.host:2,{flags}"
            file.write_bytes(content)


def many(root: Path, count: int, seed: int = 7) -> None:
    """``count`` mailboxes, by a seed: Maildirs and mboxes, most with a copy or more, every fiftieth unreadable."""
    chance = random.Random(seed)
    root.mkdir(parents=True)
    for number in range(count):
        name = f"{chance.choice(['anna', 'ben', 'carla', 'dora', 'emil', 'frida'])}.{number:04}@example.com"
        if number % 50 == 49:
            (root / f"{name}.pst").write_bytes(b"!BDN" + bytes(600))
            continue
        when = START + timedelta(minutes=chance.expovariate(1 / 90))
        copies = chance.choice([0, 1, 1, 1, 2]) if number % 10 else 3
        mine = [(body(number * 10 + n, SUBJECT, when + timedelta(minutes=n)), chance.choice(["", "S", "S", "RS", "PS"]))
                for n in range(copies)]  # fmt: skip
        other = [(body(number * 10 + 5 + n, f"Minutes {n}", when), "S") for n in range(2)]
        if number % 3:
            kept = chance.choice(["", ".Archive", ".Projects"])
            maildir(root / name, {"": other + (mine if not kept else []), **({kept: mine} if kept else {})})
        else:
            lines = [b"From x@example.com Tue Jan 13 09:00:00 2026\n" + content + b"\n" for content, _ in mine + other]
            (root / f"{name}.mbox").write_bytes(b"".join(lines))


def plan(mail: Path, case: Path, *options: str | Path) -> Done:
    """A plan to move all copies."""
    return excise_cli(
        *("plan", "move", mail, "--subject", SUBJECT, "--case", case, "--ticket", "T-1", "--jobs", "1"),
        *("--reason", "sent to all by mistake", "--evidence", "mbox", *options),
    )


def plan_hash(case: Path) -> str:
    """The hash of the newest plan."""
    from excise.case.layout import Case
    from excise.case.plan import read_plan

    return read_plan(Case(case)).sha256
