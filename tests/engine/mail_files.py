"""Small mail stores on disk for the tests of engine, case and command line."""

from __future__ import annotations

import mailbox
import os
from collections import Counter
from collections.abc import Iterable
from email.message import Message
from pathlib import Path

WORM = "Your invoice is overdue"
STAMP = 1_760_000_000


def message(number: int, subject: str, *, sender: str = "eve@example.net", extra: bytes = b"") -> bytes:
    """A message; ``number`` makes its Message-ID and its body its own."""
    head = f"From: {sender}\nTo: you@example.org\nSubject: {subject}\nMessage-ID: <{number}@example.net>\n".encode()
    return head + b"Date: Thu, 1 Jan 2026 10:00:00 +0000\n" + extra + f"\nbody {number}\n>From here on\n".encode()


def write_mbox(path: Path, messages: Iterable[bytes]) -> None:
    """An mboxrd file."""
    pieces = []
    for content in messages:
        lines = content.split(b"\n")
        quoted = b"\n".join(b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines)
        pieces.append(b"From eve@example.net Thu Jan  1 10:00:00 2026\n" + quoted + b"\n")
    path.write_bytes(b"".join(pieces))


def write_maildir(path: Path, messages: Iterable[tuple[bytes, str]]) -> None:
    """A Maildir; each message with its flags (empty: it is new)."""
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    for number, (content, flags) in enumerate(messages):
        base = f"{STAMP + number}.M{number}P1.host"
        file = path / ("cur" if flags else "new") / (f"{base}:2,{flags}" if flags else base)
        file.write_bytes(content)
        os.utime(file, (STAMP + number, STAMP + number))


def write_eml(path: Path, messages: Iterable[bytes]) -> None:
    """A tree of EML files."""
    (path / "inbox").mkdir(parents=True)
    for number, content in enumerate(messages):
        (path / "inbox" / f"{number:03}.eml").write_bytes(content)


def stores(root: Path) -> Path:
    """Four stores: an mbox with 3 of 8 planned, a Maildir with 2 of 5, an EML tree with 1 of 4, an mbox with none."""
    root.mkdir(parents=True)
    write_mbox(root / "anna.mbox", [message(n, WORM if n in (1, 4, 7) else f"Report {n}") for n in range(8)])
    flags = ["S", "RS", "", "F", "S"]
    write_maildir(root / "ben", [(message(20 + n, WORM if n in (1, 3) else f"Note {n}"), flags[n]) for n in range(5)])
    write_eml(root / "carla", [message(40 + n, WORM if n == 2 else f"Letter {n}") for n in range(4)])
    write_mbox(root / "dora.mbox", [message(60 + n, f"Quiet {n}") for n in range(3)])
    return root


def bytes_below(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` by its relative path, with its bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def ids_in_mbox(path: Path) -> Counter[str]:
    """Message-IDs in an mbox as the standard library reads them."""
    box = mailbox.mbox(str(path), create=False)
    try:
        return Counter(_id(found) for found in box)
    finally:
        box.close()


def ids_in_maildir(path: Path) -> Counter[str]:
    """Message-IDs in a Maildir and its subfolders."""
    box = mailbox.Maildir(str(path), create=False)
    found = Counter(_id(item) for item in box)
    for name in box.list_folders():
        found += Counter(_id(item) for item in box.get_folder(name))
    return found


def ids_in_eml(path: Path) -> Counter[str]:
    """Message-IDs in a tree of EML files."""
    from email import message_from_bytes

    return Counter(_id(message_from_bytes(file.read_bytes())) for file in path.rglob("*.eml"))


def _id(found: Message) -> str:
    return str(found["Message-ID"]).strip("<>").partition("@")[0]
