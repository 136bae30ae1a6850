"""The reference store: mailboxes in the memory of this process (``memory:NAME``).

It shows what the contract of ``store_api.protocols`` asks for in its plainest form, with every disposal, and other
tests build on it. Faults are injected by a subclass of ``MemoryMailbox`` that a subclass of ``MemoryStore`` opens,
never by a switch in here.

Invariants: an item's id is its folder and a serial number that is never given twice, so that an id never names another
item; an item that moves (to the trash) has a new id and keeps its serial number.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from excise.core.digests import sha256_hex
from excise.core.errors import SourceUnavailable
from excise.model.item import Deposit, Disposal, Fetched, Outcome, Placed, Removal, Target, Whereabouts
from excise.model.message import MimeView
from excise.store_api.errors import ItemNotFound, MailboxChanged, Unsupported
from excise.store_api.protocols import (
    Candidate,
    Capabilities,
    Filter,
    Folder,
    MailboxInfo,
    NotSearched,
    Store,
    Tally,
    Unreadable,
)

KIND = "memory"
INBOX = "INBOX"
TRASH = "Trash"


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One item as it is kept. ``recoverable``: soft-deleted, seen by no search."""

    serial: int
    content: bytes
    folder: str = INBOX
    flags: frozenset[str] = frozenset()
    delivered: datetime | None = None
    recoverable: bool = False

    @property
    def id(self) -> str:
        """Folder and serial number."""
        return f"{self.folder}:{self.serial}"

    @property
    def version(self) -> str:
        """SHA-256 of the content."""
        return sha256_hex(self.content)

    @property
    def view(self) -> MimeView:
        """The message as the matcher sees it."""
        return MimeView(
            self.content,
            delivered=self.delivered,
            delivered_from="delivery time" if self.delivered else "",
            folder=self.folder,
            flags=self.flags,
        )

    @property
    def doubt(self) -> str:
        """Always empty: nothing is in doubt here."""
        return ""


@dataclass(slots=True)
class Contents:
    """What a mailbox holds; ``items`` by serial number. ``hold``: why nothing may be removed from it; empty: it may."""

    identity: str = field(default_factory=lambda: secrets.token_hex(16))
    items: dict[int, MemoryItem] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {INBOX})
    last_serial: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    hold: str = ""

    def add(self, deposit: Deposit) -> MemoryItem:
        """Keep ``deposit`` under a new serial number."""
        with self.lock:
            self.last_serial += 1
            folder = deposit.folder or INBOX
            item = MemoryItem(self.last_serial, deposit.content, folder, deposit.flags, deposit.delivered)
            self.items[item.serial] = item
            self.folders.add(folder)
            return item

    def listed(self) -> list[MemoryItem]:
        """The items that a user sees, in their order."""
        with self.lock:
            return [item for item in self.items.values() if not item.recoverable]


_MAILBOXES: dict[str, Contents] = {}


def create(name: str, deposits: Iterable[Deposit] = ()) -> str:
    """A new mailbox of that name, in place of any other; its locator."""
    contents = _MAILBOXES[name] = Contents()
    for deposit in deposits:
        contents.add(deposit)
    return f"{KIND}:{name}"


def contents_of(locator: str) -> Contents:
    """What the mailbox at ``locator`` holds, to look at or to change behind Excise's back."""
    name = locator.removeprefix(f"{KIND}:")
    try:
        return _MAILBOXES[name]
    except KeyError:
        raise SourceUnavailable(
            f"{KIND}:{name}: this process holds no mailbox of that name",
            hint="Make it with excise.stores.memory.create.",
        ) from None


def drop(locator: str) -> None:
    """Forget the mailbox at ``locator``."""
    _MAILBOXES.pop(locator.removeprefix(f"{KIND}:"), None)


class MemoryMailbox:
    """One opened mailbox."""

    def __init__(self, locator: str, *, writable: bool) -> None:
        """Open the mailbox at ``locator``; a SourceUnavailable where there is none."""
        self._locator = locator
        self._writable = writable
        self._contents = contents_of(locator)

    @property
    def info(self) -> MailboxInfo:
        """The mailbox that stands at the locator now."""
        contents = contents_of(self._locator)
        size = sum(len(item.content) for item in contents.listed())
        name = self._locator.removeprefix(f"{KIND}:")
        return MailboxInfo(KIND, self._locator, name, contents.identity, size, hold=contents.hold)

    def folders(self) -> Iterator[Folder]:
        """Every folder with its count."""
        counts = Counter(item.folder for item in self._contents.listed())
        for path in sorted(self._contents.folders):
            yield Folder(path, counts[path])

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every item; the matcher decides."""
        del matcher
        for item in self._contents.listed():
            tally.advance(1, len(item.content))
            yield item
        tally.flush()

    def fetch(self, item_id: str) -> Fetched:
        """One item, whole; ItemNotFound where it is gone."""
        item = self._at(item_id)
        if item is None:
            raise ItemNotFound(f"{self._locator}: there is no item {item_id!r}", hint="Search again.")
        return Fetched(item.id, item.version, item.content, item.folder, item.flags, item.delivered)

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove ``targets`` one by one."""
        self._must_be_writable()
        if disposal not in STORE.capabilities.disposals:
            raise Unsupported(f"a {KIND} mailbox has no disposal {disposal.value!r}")
        if contents_of(self._locator) is not self._contents:
            raise MailboxChanged(f"{self._locator}: another mailbox stands there now", hint="Make a new plan.")
        return (self._remove(target, disposal) for target in targets)

    def _remove(self, target: Target, disposal: Disposal) -> Removal:
        with self._contents.lock:
            item = self._at(target.id)
            if item is None:
                moved = self._look(target) in (Whereabouts.IN_TRASH, Whereabouts.ELSEWHERE)
                return Removal(target.id, Outcome.MOVED_ELSEWHERE if moved else Outcome.ALREADY_ABSENT)
            if self._contents.hold:
                return Removal(target.id, Outcome.HELD, self._contents.hold)
            if item.version != target.version:
                return Removal(target.id, Outcome.CHANGED, "its content is not the one that was planned")
            if disposal is Disposal.HARD:
                del self._contents.items[item.serial]
            elif disposal is Disposal.SOFT:
                self._contents.items[item.serial] = replace(item, recoverable=True)
            elif item.folder == TRASH:
                return Removal(target.id, Outcome.REFUSED, "it lies in the trash already")
            else:
                self._contents.items[item.serial] = replace(item, folder=TRASH)
                self._contents.folders.add(TRASH)
            return Removal(target.id, Outcome.REMOVED)

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now."""
        return {target.id: self._look(target) for target in targets}

    def _look(self, target: Target) -> Whereabouts:
        item = self._contents.items.get(_serial(target.id))
        if item is None:
            return Whereabouts.ABSENT
        if item.version != target.version:
            return Whereabouts.CHANGED if item.id == target.id else Whereabouts.ABSENT
        if item.recoverable:
            return Whereabouts.RECOVERABLE
        if item.id == target.id:
            return Whereabouts.HERE
        return Whereabouts.IN_TRASH if item.folder == TRASH else Whereabouts.ELSEWHERE

    def recover(self) -> Sequence[str]:
        """Nothing is ever half done here."""
        self._must_be_writable()
        return ()

    def version_of(self, deposit: Deposit) -> str:
        """SHA-256 of the content."""
        return sha256_hex(deposit.content)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many items of each version there are, by folder."""
        wanted = frozenset(versions)
        found = ((item.folder, item.version) for item in self._contents.listed())
        return Counter(place for place in found if place[1] in wanted)

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits``."""
        self._must_be_writable()
        return (Placed(Outcome.RESTORED, self._contents.add(deposit).id) for deposit in deposits)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _at(self, item_id: str) -> MemoryItem | None:
        item = self._contents.items.get(_serial(item_id))
        return item if item is not None and item.id == item_id and not item.recoverable else None

    def _must_be_writable(self) -> None:
        if not self._writable:
            raise Unsupported(f"{self._locator} was opened for reading only", hint="Open it with writable=True.")


class MemoryStore:
    """Mailboxes in the memory of this process."""

    #: What ``open`` makes; a test that needs faults has a subclass here.
    mailbox_class: type[MemoryMailbox] = MemoryMailbox

    @property
    def capabilities(self) -> Capabilities:
        """Everything that a store can do."""
        return Capabilities(
            KIND,
            disposals=frozenset((Disposal.TRASH, Disposal.SOFT, Disposal.HARD)),
            can_put=True,
            reports_holds=True,
            local_files=False,
        )

    def claims(self, path: Path, head: bytes) -> bool:
        """False: no file is a mailbox in memory."""
        del path, head
        return False

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The one mailbox at ``locator``; every one for ``memory:*``."""
        if locator == f"{KIND}:*":
            for name in sorted(_MAILBOXES):
                yield self.open(f"{KIND}:{name}").info
            return
        try:
            yield self.open(locator).info
        except SourceUnavailable as error:
            yield NotSearched(locator, error.message, error.exit_code)

    def open(self, locator: str, *, writable: bool = False) -> MemoryMailbox:
        """Open the mailbox at ``locator``."""
        return self.mailbox_class(locator, writable=writable)


def _serial(item_id: str) -> int:
    digits = item_id.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0


STORE: Store = MemoryStore()
