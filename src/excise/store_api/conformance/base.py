"""What the suite's tests share: the hooks that a store's author fills in, the messages, and ways to ask a mailbox.

Invariant: a failed demand is an AssertionError that says what the contract asks for and what was found, also under
``python -O``.
"""
# ruff: noqa: ARG002 - the hooks' arguments are for those who write them

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import SkipTest

from excise.core.digests import sha256_hex
from excise.criteria import Criteria, Matcher
from excise.model.item import Deposit, Disposal, Fetched, Target
from excise.store_api.protocols import Candidate, Mailbox, Store, Tally, Unreadable

#: Ids that name nothing, or something outside of the mailbox, if they were believed.
HOSTILE_IDS = (
    "",
    ".",
    "..",
    "/",
    "../canary",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "a/../../canary",
    "nul\0byte",
    "line\nbreak",
    "\x1b[2J",
    "\udcff\udc80",
    "x" * 5000,
    "INBOX/",
    "./..",
    "-1",
    "9" * 400,
    "#",
    "%2e%2e%2fcanary",
)

#: Folder paths that would lead out of the mailbox, or into its own works, if they were believed.
HOSTILE_FOLDERS = (
    "..",
    "../../canary",
    "/canary",
    "a/../../../canary",
    "nul\0byte",
    "control\x1b[31m",
    "cur",
    "new/tmp",
    "x" * 3000,
    "/".join("d" * 300),
    ".",
    "//",
    "%2F..%2F",
)


def demand(holds: bool, rule: str, found: object = None) -> None:
    """Fail with ``rule``, and with what was ``found``, unless it ``holds``."""
    if not holds:
        raise AssertionError(f"the contract asks: {rule}; found: {found!r}")


def message(subject: str, body: str = "Hello.\n", extra: str = "") -> bytes:
    """A plain RFC 5322 message with LF line ends. ``extra``: whole header lines."""
    head = f"From: Ann <ann@example.com>\nTo: Bob <bob@example.net>\nSubject: {subject}\n"
    head += "Date: Mon, 02 Feb 2026 10:00:00 +0000\n"
    unique = sha256_hex(f"{subject}\0{body}\0{extra}".encode())[:24]
    return f"{head}Message-ID: <{unique}@example.com>\n{extra}MIME-Version: 1.0\n\n{body}".encode()


_ATTACHED = (
    "--b1\nContent-Type: text/plain\n\nSee the file.\n--b1\nContent-Type: application/octet-stream\n"
    'Content-Disposition: attachment; filename="virus.exe"\nContent-Transfer-Encoding: base64\n\n'
    "TVqQAAMAAAAEAAAA\n--b1--\n"
)


def seeds(main_folder: str, other_folder: str | None) -> list[Deposit]:
    """The suite's own mailbox: plain and encoded subjects, twins, long ones, an attachment, folders, flags, dates."""
    start = datetime(2026, 2, 2, 10, 0, 0, tzinfo=UTC)
    twin = message("Conformance twin")
    contents = [
        message("Conformance plain"),
        message("=?utf-8?q?Conformance_gr=C3=BCn?= =?utf-8?b?ZcOk?="),
        twin,
        twin,
        message("Conformance long header", extra="".join(f"X-Long-{n}: {'y' * 70}\n" for n in range(150))),
        message("Conformance long body", body="A line of text that says little.\n" * 1000),
        message("Conformance attachment", _ATTACHED, 'Content-Type: multipart/mixed; boundary="b1"\n'),
        message("Unlike the others", body="Conformance stands in the body alone.\n"),
    ]
    flags = (frozenset[str](), frozenset({"seen"}), frozenset({"seen", "flagged"}), frozenset({"seen", "answered"}))
    made = [
        Deposit(content, main_folder, flags[n % len(flags)], start + timedelta(hours=n))
        for n, content in enumerate(contents)
    ]
    if other_folder is not None:
        made.append(Deposit(message("Conformance elsewhere"), other_folder, flags[2], start + timedelta(days=1)))
        made.append(Deposit(twin, other_folder, flags[0], start + timedelta(days=2)))
    return made


class ConformanceBase:
    """Settings and hooks; a hook that is left as it is skips the tests that need it."""

    #: The store under test.
    store: Store
    #: The path of the folder that messages without one lie in, and of another; None where there are no folders.
    main_folder: str = "INBOX"
    other_folder: str | None = "Archive/Year 2026"
    #: The flags that this store can keep.
    kept_flags: frozenset[str] = frozenset({"seen", "answered", "flagged", "draft", "deleted"})
    #: How exact delivery times are kept; None where they are not.
    delivered_within: timedelta | None = timedelta(seconds=1)
    #: False where ``fetch`` gives a message rebuilt from properties instead of the bytes that were put in.
    content_is_original: bool = True
    #: False where equal items in one folder have nothing but their order to be told apart by.
    twins_keep_ids: bool = True

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        """Make a mailbox that holds ``messages``, not through the store under test; its locator."""
        raise SkipTest("make_mailbox is not written for this store")

    def some_mailbox(self) -> str:
        """The locator of a mailbox with some messages in it."""
        return self.make_mailbox(seeds(self.main_folder, self.other_folder))

    def deliver(self, locator: str, content: bytes) -> None:
        """Let new mail arrive in the main folder, as a delivery agent would."""
        raise SkipTest("deliver is not written for this store")

    def tamper(self, locator: str, item_id: str) -> None:
        """Change the content of one item where it lies, so that its version differs."""
        raise SkipTest("tamper is not written for this store")

    def change_flags(self, locator: str, item_id: str) -> None:
        """Change the flags of one item, as a mail client would."""
        raise SkipTest("change_flags is not written for this store")

    def damage(self, locator: str, item_id: str) -> None:
        """Make one item unreadable where it lies."""
        raise SkipTest("damage is not written for this store")

    def drop_folder(self, locator: str, folder: str) -> None:
        """Take a folder away, with what is in it."""
        raise SkipTest("drop_folder is not written for this store")

    def replace_mailbox(self, locator: str) -> None:
        """Put another mailbox with the same messages in this one's place."""
        raise SkipTest("replace_mailbox is not written for this store")

    def place_hold(self, locator: str, reason: str) -> None:
        """Put a hold of that name on the mailbox, as its administrator would. Only for stores that report holds."""
        raise SkipTest("place_hold is not written for this store")

    def snapshot(self, locator: str) -> Mapping[str, object]:
        """The whole mailbox as it lies there, in a form that can be compared. By default, of the files at the path."""
        if not self.store.capabilities.local_files:
            raise SkipTest("snapshot is not written for this store")
        return snapshot_files(Path(locator.partition(":")[2]))

    def surroundings(self, locator: str) -> Mapping[str, object]:
        """What lies around the mailbox and must never change. By default, the files beside its path."""
        if not self.store.capabilities.local_files:
            return {}
        path = Path(locator.partition(":")[2])
        found = snapshot_files(path.parent)
        own = (path.name, path.name + "/")
        return {name: value for name, value in found.items() if name != own[0] and not name.startswith(own[1])}

    @contextmanager
    def opened(self, locator: str, *, writable: bool = False) -> Iterator[Mailbox]:
        """The mailbox at ``locator``, closed at the end."""
        mailbox = self.store.open(locator, writable=writable)
        try:
            yield mailbox
        finally:
            mailbox.close()

    def disposals(self) -> list[Disposal]:
        """The store's disposals; a skip where it has none."""
        found = sorted(self.store.capabilities.disposals)
        if not found:
            raise SkipTest(f"nothing is removed here: {self.store.capabilities.removal_refused_because}")
        return found

    def needs_put(self) -> None:
        """Skip where the store cannot put."""
        if not self.store.capabilities.can_put:
            raise SkipTest("this store puts nothing")


def matcher(**options: Any) -> Matcher:
    """A matcher for criteria given as on the command line."""
    return Matcher(Criteria.from_options(**options))


def everything() -> Matcher:
    """A matcher that nearly every message passes."""
    return matcher(larger="1")


def search(mailbox: Mailbox, wanted: Matcher) -> list[Target]:
    """What ``wanted`` matches, as the engine collects it (S17): all before anything is done."""
    return [target for target, _ in search_with_subjects(mailbox, wanted)]


def search_with_subjects(mailbox: Mailbox, wanted: Matcher) -> list[tuple[Target, str | None]]:
    """What ``wanted`` matches, each with its subject."""
    found: list[tuple[Target, str | None]] = []
    for candidate in candidates(mailbox, wanted):
        view = candidate.view
        if wanted.test(view).matched:
            found.append((Target(candidate.id, candidate.version, view.folder), view.subject))
    return found


def candidates(mailbox: Mailbox, wanted: Matcher) -> Iterator[Candidate]:
    """What ``find`` offers, without the unreadable."""
    for found in mailbox.find(wanted, Tally()):
        if not isinstance(found, Unreadable):
            yield found


def fetch_all(mailbox: Mailbox) -> dict[str, Fetched]:
    """Every item by its id."""
    return {target.id: mailbox.fetch(target.id) for target in search(mailbox, everything())}


def restorable(item: Fetched) -> Deposit:
    """``item`` as ``restore`` puts it back."""
    return Deposit(item.content, item.folder, item.flags, item.delivered, item.attributes)


def snapshot_files(root: Path) -> dict[str, object]:
    """Every file and directory at ``root`` by its relative name: kind, mode, links, size, times and digest."""
    found: dict[str, object] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        try:
            info = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        digest = sha256_hex(path.read_bytes()) if stat.S_ISREG(info.st_mode) else ""
        name = os.path.relpath(path, root)
        facts = (info.st_mode, info.st_nlink, info.st_ino, info.st_uid, digest)
        found[name] = facts if stat.S_ISDIR(info.st_mode) else (*facts, info.st_size, info.st_mtime_ns)
    return found


def unchanged_but(before: Mapping[str, Fetched], after: Mapping[str, Fetched], gone: Collection[str]) -> None:
    """Demand that ``after`` is ``before`` without the items ``gone`` (S18)."""
    for item_id in gone:
        demand(item_id not in after, "a removed item is not found again", item_id)
    for item_id, item in before.items():
        if item_id not in gone:
            demand(item_id in after, "an item that was no target stays, under its id", item_id)
            demand(after[item_id] == item, "an item that was no target stays as it was", after[item_id])
