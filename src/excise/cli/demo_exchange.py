"""``excise demo --exchange``: the main job on mailboxes of an Exchange server that runs in this process.

The server is that of Excise's own tests; it speaks Exchange Web Services on the loopback interface over a store in
memory. That store is the witness: what lies in it is compared before and after, past all that Excise says.
"""

from __future__ import annotations

import email.policy
import email.utils
import hashlib
import importlib
import mailbox
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from email.parser import BytesParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from excise.cli.demo import CRITERIA, MATCHES, DemoFailedError, bundled, copy_mail, step
from excise.cli.screen import say
from excise.core.errors import UsageError
from excise.core.text import count_of

_NEEDED = ("exchangelib", "lxml", "requests")
_ADMIN = "purge@example.com"
_OWNERS = ("anna", "ben", "carla", "dora")


def require() -> None:
    """A UsageError where what speaks with Exchange servers is not installed."""
    if not all(map(find_spec, _NEEDED)):
        raise UsageError("this demo speaks with an Exchange server, for which libraries are missing",
                         hint="pip install 'excise[ews]'")  # fmt: skip


def show(place: Path) -> None:
    """The whole demo, in the directory ``place``."""
    require()
    package, password = _server_package(), secrets.token_urlsafe(12)
    copy_mail(bundled(), place / "mail")
    world = package.World()
    world.user(_ADMIN, password, impersonates=["*"])
    for owner in _OWNERS:
        box = world.mailbox(f"{owner}@example.com")
        for content in _mail_of(place / "mail", owner):
            sent = BytesParser(policy=email.policy.default).parsebytes(content, headersonly=True)["Date"]
            world.deliver(box, "inbox", content, received=email.utils.parsedate_to_datetime(sent))
    (place / "mailboxes.txt").write_text("".join(f"{owner}@example.com\n" for owner in _OWNERS), encoding="ascii")
    with package.Server(world) as server:
        login = {"EXCISE_EWS_USER": _ADMIN, "EXCISE_EWS_PASSWORD": password, "EXCISE_EWS_AUTH": "basic"}
        _job(place, world, f"ews://127.0.0.1:{server.port}/?plain=1", login)


def _job(place: Path, world: Any, source: str, login: dict[str, str]) -> None:
    scope = [source, "--mailboxes", "mailboxes.txt"]
    search = ["search", *scope, *CRITERIA]
    say(
        "Human Resources sent a message to everybody by mistake. It lies in the mailboxes of Anna, Ben and Carla on\n"
        "an Exchange server, which runs in this process for the demo; Dora's has only mail that looks alike. The\n"
        f"account {_ADMIN} may impersonate all of them; EXCISE_EWS_USER and EXCISE_EWS_PASSWORD have its login."
    )
    before = _messages(world)
    found = f"{MATCHES} matches in 3 of 4 mailboxes"
    step(place, "Which mailboxes are meant, and can they be opened?", ["mailboxes", *scope], "anna@example.com", login)
    step(place, "Look first. Nothing is changed.", search, found, login)
    move = ["move", *scope, *CRITERIA, "--case", "case", "--ticket", "DEMO-1", "--yes", "--expect-matches"]
    output = step(
        place,
        "Move them: each message is copied into evidence with the server's own export beside it, read back and\n"
        "compared; then it is read on the server once more, and only if it is still the same, removed.",
        [*move, str(MATCHES)],
        "Done.",
        login,
    )
    _compare(before, _messages(world), gone=MATCHES)
    say(f"\nThe server's own store agrees: {MATCHES} messages are gone from the folders, all others are the same.")
    head = output.rpartition("Audit head: ")[2].split()[0]
    check = ["verify", "case", "--expect-head", head]
    step(
        place, "Verify the case against the audit head that was printed.", check, " 0 do not hold, 0 are not proven", {}
    )
    step(place, "The proof: the same search again finds nothing.", search, "0 matches in 0 of 4 mailboxes", login)
    step(
        place,
        "An Exchange server keeps what was removed in Recoverable Items until its retention ends (the disposal soft).\n"
        "excise purge goes further; a hold on the mailbox keeps it even then, and the outcome says so.",
        [*search, "--parts", "recoverable"],
        found,
        login,
    )
    step(place, "Undo: put them back where they were.", ["restore", "case", "--yes"], "Done.", login)
    step(place, "All are back.", search, found, login)
    _compare(before, _messages(world), gone=0)
    say("\nThe server's own store agrees: every message is there again, byte for byte, and none twice.")


def _server_package() -> Any:
    """The server: beside this file in an installed package, in tests/ in a checkout."""
    here = Path(__file__).resolve()
    if (here.parent / "demo_server").is_dir():
        return importlib.import_module("excise.cli.demo_server")
    tests = here.parents[3] / "tests"
    if not (tests / "ews_server").is_dir():
        raise DemoFailedError(f"the demo's server is missing; looked in {here.parent}", hint="Install Excise again.")
    sys.path.insert(0, str(tests))
    try:
        return importlib.import_module("ews_server")
    finally:
        sys.path.remove(str(tests))


def _mail_of(mail: Path, owner: str) -> Iterator[bytes]:
    """The bundled messages of ``owner`` as a server gets them, with CRLF."""
    if (mail / f"{owner}.mbox").is_file():
        box = mailbox.mbox(mail / f"{owner}.mbox", create=False)
        found = [box.get_bytes(key) for key in box.keys()]  # noqa: SIM118
        box.close()
    else:
        places = sorted((mail / owner).rglob("*"))
        found = [
            p.read_bytes() for p in places if p.suffix == ".eml" or (p.parent.name in ("cur", "new") and p.is_file())
        ]
    yield from (content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for content in found)


def _messages(world: Any) -> Counter[tuple[str, str]]:
    """Every message in the server's inboxes: (its mailbox, SHA-256 of its bytes)."""
    found: Counter[tuple[str, str]] = Counter()
    for owner in _OWNERS:
        box = world.mailboxes[f"{owner}@example.com"]
        found.update((owner, hashlib.sha256(item.mime).hexdigest()) for item in world.items_in(box, "inbox"))
    return found


def _compare(before: Counter[tuple[str, str]], now: Counter[tuple[str, str]], *, gone: int) -> None:
    missing, new = (before - now).total(), (now - before).total()
    if missing != gone or new:
        raise DemoFailedError(
            f"the server's store has {count_of(missing, 'message')} missing and {new} new ones, expected {gone} and 0",
            hint="This is a fault of Excise: please report it.",
        )
