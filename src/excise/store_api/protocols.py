"""The protocols of a store.

A ``Store`` is one kind of mail storage; it is stateless and found by its kind's name. It opens ``Mailbox`` objects, the
unit of access, logging, evidence and parallel work. Rules that each store keeps, and the conformance suite demands:

- ``find`` may yield too much, never too little (S07): it may leave out what ``matcher.rejects``,
  ``matcher.rejects_header`` or ``matcher.admits_folder`` surely exclude, nothing else. Every message is counted in the
  tally whether it is yielded or not; one that cannot be read is yielded as ``Unreadable``: seen = read + unreadable,
  always.
- Ids name an item for as long as it stays where it is, whatever happens to other items. Two equal items have two ids.
- ``version`` is a fingerprint of what is stable in that store (S06): never flags or read state. It is a string of
  ASCII.
- ``fetch`` gives the content whole or raises ``ItemDamaged``; ``ItemNotFound`` where it is gone. It marks nothing as
  read.
- ``remove`` re-reads each item right before it goes, and removes it only where the version holds (S13, S18). It yields
  exactly one ``Removal`` a target, in any order, also where it fails in the middle, and raises only before it has
  begun. After a kill in the middle, ``recover`` (or the next ``remove``) makes the mailbox whole: old or new, never
  between (S19).
- Where the store reports holds, ``info.hold`` is read anew each time it is asked for, and ``remove`` takes nothing from
  a held mailbox, nor an item that the store says is held: it answers ``HELD`` (S24).
- ``look`` says where each target is now (S20). An item whose version differs is ``CHANGED``.
- ``put`` adds items, makes missing folders, restores flags and dates, notifies nobody. It adds what it is given: the
  caller asks ``count`` first, so that nothing is doubled (S21). A torn addition is undone by ``recover``.
- Nothing outside the given targets is touched (S18), by reading either (no access marks; no lock files left behind).
- Content is hostile (S27): no path from an item is used on disk unchecked, all recursion and allocation is bounded.
- A file that others may truncate is never memory-mapped without a lock that keeps them out: a map past its end kills
  the process (SIGBUS). Read it in windows, or under a shared lock.
- Library exceptions become ``store_api.errors`` (or other ``ExciseError``) at the store's own edge.
- All objects that cross a process border (``MailboxInfo``, ids, ``Fetched`` …) are picklable; a ``Mailbox`` need not
  be.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from excise.model.item import Deposit, Disposal, Fetched, Placed, Removal, Target, Whereabouts
from excise.model.message import MessageView
from excise.model.recipient import AddressList


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of store can do, as data.

    ``rewrites``: a removal replaces the mailbox's file, so that its identity may be another one afterwards.
    ``has_folders``: False where a mailbox is one folder, called ``""``. ``main_folder``: the folder that a deposit goes
    to whose folder is ``""``. ``local_files``: work may be spread over
    processes.
    ``removal_refused_because``: why ``disposals`` is empty, for the user.
    ``compacts``: its mailboxes are ``Compacting``. ``takes_items``: a deposit's ``item`` is put property for property.
    ``remakes``: its mailboxes are ``Remaking``.
    ``jobs``: mailboxes worked on at once where nothing else is asked for; 0 for one a processor.
    ``reports_holds``: ``MailboxInfo.hold`` is never None.
    """

    kind: str
    disposals: frozenset[Disposal] = frozenset()
    can_put: bool = False
    reports_holds: bool = False
    local_files: bool = True
    rewrites: bool = False
    has_folders: bool = True
    main_folder: str = ""
    removal_refused_because: str = ""
    compacts: bool = False
    takes_items: bool = False
    remakes: bool = False
    jobs: int = 0

    @property
    def default_disposal(self) -> Disposal | None:
        """Soft where the store has it, else hard; None where nothing can be removed."""
        for disposal in (Disposal.SOFT, Disposal.HARD):
            if disposal in self.disposals:
                return disposal
        return None


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    """One mailbox that can be opened.

    ``locator``: ``kind:rest``, enough for its store to open it again in another process. ``name``: what people are
    shown.
    ``identity``: what makes it the same one (S30). ``size`` in bytes, where it is known without reading.
    ``space_for_removal``: bytes of disk that a removal needs beside the source. ``hold``: what the store itself says of
    a hold on the mailbox, as it is now (S24): the reason or name of the hold, empty where there surely is none, None
    where this store cannot tell (``Capabilities.reports_holds`` is False). ``details["hold_signs"]``: what makes a hold
    likely all the same, for people.
    """

    kind: str
    locator: str
    name: str
    identity: str
    size: int | None = None
    space_for_removal: int = 0
    details: Mapping[str, str] = field(default_factory=dict)
    hold: str | None = None


@dataclass(slots=True)
class Tally:
    """What a search has passed over; ``report`` is told of progress, now and then, for the progress bar."""

    seen: int = 0
    unreadable: int = 0
    bytes: int = 0
    false_hits: int = 0
    report: Callable[[int, int], None] | None = None
    _told: tuple[int, int] = (0, 0)

    def advance(self, messages: int, size: int) -> None:
        """Count ``messages`` more messages of ``size`` bytes together."""
        self.seen += messages
        self.bytes += size
        if self.report is not None and (self.seen - self._told[0] >= 500 or self.bytes - self._told[1] >= 1 << 24):
            self.flush()

    def flush(self) -> None:
        """Tell ``report`` of what it has not been told yet."""
        if self.report is not None:
            self.report(self.seen - self._told[0], self.bytes - self._told[1])
            self._told = (self.seen, self.bytes)


class Filter(Protocol):
    """What a store may ask of whoever searches it, to leave out what surely does not match. A ``Matcher`` is one."""

    def kinds(self) -> frozenset[str]:
        """The kinds of the terms that tell messages apart."""

    def admits_folder(self, path: str) -> bool:
        """False only where no item of the folder ``path`` can match."""

    def rejects_header(self, header: bytes) -> bool:
        """True only where the message that begins with ``header`` surely does not match."""

    def may_reject_by(self, kinds: Container[str]) -> bool:
        """True where terms of ``kinds`` alone can be enough to tell that a message does not match."""

    def rejects(self, part: MessageView) -> bool:
        """True only where the message of which ``part`` tells something surely does not match.

        ``part`` answers each kind of term as the whole message would, or gives it as untestable.
        """


class Candidate(Protocol):
    """An item that ``find`` offers to the matcher. ``version`` may be computed when it is asked for."""

    @property
    def id(self) -> str:
        """The item's id."""

    @property
    def version(self) -> str:
        """The item's fingerprint (S06)."""

    @property
    def view(self) -> MessageView:
        """The message as the matcher sees it, read when it is needed."""

    @property
    def doubt(self) -> str:
        """Why this item must not be removed though it can be shown (its bounds are in doubt …); empty where it may."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message, folder or region that is there and could not be read: never "clean" (S08)."""

    where: str
    reason: str
    folder: str = ""
    id: str | None = None


@dataclass(frozen=True, slots=True)
class NotSearched:
    """A mailbox that could not be opened or listed, and why."""

    name: str
    reason: str
    exit_code: int = 6


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a mailbox: its path, ``/`` between the parts (a ``/`` inside a part written ``%2F``), and its
    count."""

    path: str
    count: int | None = None


@runtime_checkable
class Mailbox(Protocol):
    """One opened mailbox."""

    @property
    def info(self) -> MailboxInfo:
        """The mailbox as it is now: its identity is read anew."""

    def folders(self) -> Iterator[Folder]:
        """Every folder."""

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """What may match; a candidate's view is good until the next one is asked for."""

    def fetch(self, item_id: str) -> Fetched:
        """One item, whole."""

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove exactly ``targets``."""

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now, by id."""

    def recover(self) -> Sequence[str]:
        """Finish or undo what an interrupted ``remove`` or ``put`` left; what was done, in words (nothing to do:
        empty)."""

    def version_of(self, deposit: Deposit) -> str:
        """The version that ``deposit`` would have here once it was put."""

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many items of each of ``versions`` there are, by (folder, version)."""

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits``; one ``Placed`` each, in their order."""

    def close(self) -> None:
        """Let go of files, locks and connections."""


@runtime_checkable
class Compacting(Protocol):
    """A mailbox whose file can be written anew without its free space."""

    def compact(self) -> str:
        """Do it; what was done, in words. The mailbox's identity and all its items stay; on an error all of it."""


@dataclass(frozen=True, slots=True)
class Remake:
    """What making a mailbox's file anew would come to.

    ``reason``: why nothing can be removed from it in place; ``kept``: the number of items that the new file would have;
    ``lost``: what cannot be read, which the old file alone would have; ``left_out``: what is no item and not in it.
    """

    reason: str
    kept: int
    lost: tuple[Unreadable, ...]
    left_out: tuple[Unreadable, ...] = ()


@runtime_checkable
class Remaking(Protocol):
    """A mailbox whose file can be made anew of all that can be read of it, where nothing can be removed in place."""

    def plan_remake(self, ids: Collection[str]) -> Remake | None:
        """What it would come to without the items ``ids``; None where they can be removed in place. Only reads."""

    def remake(
        self,
        targets: Sequence[Target],
        planned: Remake,
        keep: Callable[[BinaryIO], None],
        about_to: Callable[[BinaryIO, Remake], None],
    ) -> Iterator[Removal]:
        """Make it anew without ``targets``, of which each is read again first as in ``remove``, and answer for each.

        The old file, open for reading, is given to ``keep`` before anything is made, and to ``about_to`` right before
        the new one takes its name; what they raise leaves it as it was. Refused where more would be lost than is
        ``planned``. The new file is read again and compared with the old one before that.
        """


@runtime_checkable
class Addressed(Protocol):
    """A store whose mailboxes are named by the user: a server does not list them by itself."""

    def named(self, locator: str, names: Sequence[str], parts: Sequence[str]) -> Iterator[MailboxInfo | NotSearched]:
        """The ``parts`` of the mailboxes called ``names`` on the server at ``locator``, in their order; without names
        those that the locator itself names. An unknown part is a UsageError."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How much a mailbox holds: items, and their bytes, as its store counts them; None where that is not known.

    ``why``: why something of it is not known, or what it is the measure of, for people.
    """

    items: int | None = None
    size: int | None = None
    why: str = ""


@runtime_checkable
class Measuring(Protocol):
    """A store that is asked how much a mailbox holds: that takes requests, so that finding mailboxes leaves it out."""

    def measure(self, info: MailboxInfo) -> Measure:
        """How much the mailbox holds; what cannot be learnt is None, and no error."""


@runtime_checkable
class KnowsAddresses(Protocol):
    """A store whose server has an address book: it says whose mailboxes there are, and who is in which list."""

    def address_book(self, locator: str) -> AddressList:
        """The address book of the server at ``locator``; nothing is asked of it yet."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """As whom a server knows us: ``reads`` finds, copies and looks again; ``writes`` removes and puts back."""

    server: str
    reads: str
    writes: str

    @property
    def separate(self) -> bool:
        """True where the account that reads never writes."""
        return self.reads != self.writes


@runtime_checkable
class HasAccounts(Protocol):
    """A store on servers that ask who we are; the account that writes may be another than the one that reads."""

    def accounts(self, locator: str) -> Accounts:
        """The accounts for the server at ``locator``: nothing is sent and no secret is asked for."""

    def try_writer(self, locator: str) -> str:
        """Log the account that writes in, once; raises where it is refused. Why it may not open the mailbox at
        ``locator``; empty where it may."""


@runtime_checkable
class Reaching(Protocol):
    """A store whose servers can be asked how far our rights reach."""

    def reach(self, locators: Sequence[str], canaries: Sequence[str], *, writes: bool) -> Iterator[str]:
        """What reaches further than work on ``locators`` needs, mailboxes of one server, in words.

        ``canaries``: mailboxes outside of it, which no account may open. ``writes``: something is removed or put back.
        At most a constant number of requests, and no message is opened.
        """


@runtime_checkable
class Store(Protocol):
    """One kind of mail storage."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def claims(self, path: Path, head: bytes) -> bool:
        """True where ``path`` surely is a store of this kind (S03).

        ``head``: the first 4,096 bytes of a file; empty for a directory. Decided by content, never by the name alone.
        """

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The mailboxes at ``locator`` (``kind:rest``)."""

    def open(self, locator: str, *, writable: bool = False) -> Mailbox:
        """Open one mailbox; ``writable`` where ``remove``, ``put`` or ``recover`` will be called."""


def iterate_removals(targets: Iterable[Target], removals: Iterable[Removal]) -> dict[str, Removal]:
    """``removals`` by id, checked to answer each target exactly once; a ValueError says which does not."""
    by_id: dict[str, Removal] = {}
    for removal in removals:
        if removal.id in by_id:
            raise ValueError(f"the store answered twice for {removal.id}")
        by_id[removal.id] = removal
    asked = {target.id for target in targets}
    if asked != by_id.keys():
        raise ValueError(f"the store answered for {len(by_id)} items where {len(asked)} were asked for")
    return by_id
