"""One opened part of a mailbox."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from excise.core.text import shown
from excise.model.item import Deposit, Disposal, Fetched, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound, MailboxChanged, Unsupported
from excise.store_api.protocols import Candidate, Filter, Folder, MailboxInfo, Tally, Unreadable
from excise.stores.ews import codes
from excise.stores.ews.account import Account
from excise.stores.ews.fetching import fetched
from excise.stores.ews.finding import Search
from excise.stores.ews.item import WHOLE_FIELDS, EwsItem
from excise.stores.ews.listing import is_item_id, item_of, read_items
from excise.stores.ews.place import KIND
from excise.stores.ews.putting import Putting
from excise.stores.ews.removing import Removing
from excise.stores.ews.server import refusal
from excise.stores.ews.tree import FolderTree, Start, identity_of, read_identity, read_start, read_tree
from excise.stores.ews.versions import Versions

#: Seconds for which what was just read is what is there now.
_MOMENT = 1.0
DISPOSALS = frozenset({Disposal.TRASH, Disposal.SOFT, Disposal.HARD})


class EwsMailbox:
    """One part of a mailbox, as the contract of ``store_api.protocols`` has it."""

    def __init__(self, account: Account, *, writable: bool) -> None:
        """Read its folders; an ExciseError where it cannot be opened."""
        self._account, self._writable = account, writable
        self._start: Start = {}
        self._start_at = self._identity_at = (-1, 0.0)
        self._tree = self._read()
        self._closed = False
        account.enter()
        self._versions = Versions(account)
        self._removing = Removing(account, self._versions)
        self._putting = Putting(account, self._versions)

    @property
    def info(self) -> MailboxInfo:
        """The mailbox that is there now: asked for, unless that was the last thing we asked, a moment ago."""
        if not self._is_fresh(self._identity_at):
            # With what the folders begin with, in the same request: mostly they are read next.
            self._start = read_start(self._account)
            self._identity = identity_of(self._start, self._account)
            self._identity_at = self._start_at = self._now()
            self._ask_again()
        return info_of(self._account, self._identity)

    @property
    def requests(self) -> Counter[str]:
        """How many requests this process has made to the server, by operation."""
        return self._account.server.requests

    def folders(self) -> Iterator[Folder]:
        """Every folder with its count; one path may stand for several folders."""
        counts: Counter[str] = Counter()
        for node in self._refreshed():
            counts[node.path] += node.count
        yield from (Folder(path, count) for path, count in counts.items())

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """What may match; a MailboxChanged where messages moved meanwhile."""
        return Search(self._account, self._refreshed(), self._versions, matcher, tally).run()

    def fetch(self, item_id: str) -> Fetched:
        """One item, whole."""
        name = self._account.place.name
        missing = ItemNotFound(f"{name}: there is no item {shown(item_id, 80)!r}", hint="Search again.")
        if not is_item_id(item_id):
            raise missing
        answer = read_items(self._account, [item_id], WHOLE_FIELDS, mime=True)[item_id]
        if answer.code in codes.NO_MIME:
            answer = read_items(self._account, [item_id], WHOLE_FIELDS)[item_id]
        if answer.code in codes.GONE:
            raise missing
        item = item_of(answer, "")
        if item is None:
            if answer.code in codes.PASSING or answer.code in codes.DENIED:
                raise refusal(name, answer.code, answer.text)
            raise ItemDamaged(f"{name}: the item {item_id[-24:]} cannot be read: {answer}")
        if item.id != item_id or not self._place(item):
            raise missing
        self._versions.saw(item)
        return fetched(self._account, item)

    def _place(self, item: EwsItem) -> bool:
        """Say in which folder ``item`` lies; False where that is none of this part."""
        if item.parent not in self._tree.nodes:
            self._refreshed()
        node = self._tree.nodes.get(item.parent)
        item.folder = "" if node is None else node.path
        return node is not None

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove exactly ``targets``."""
        self._require_writable()
        if disposal not in DISPOSALS:
            raise Unsupported(f"a mailbox on a server has no disposal {disposal.value!r}")
        self._require_identity()
        return self._removing.remove(self._tree, targets, disposal)

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now."""
        return self._removing.look(self._tree, self._refreshed, targets) if targets else {}

    def recover(self) -> Sequence[str]:
        """Nothing: the server does each item whole or not at all, and what it did is looked for."""
        return ()

    def version_of(self, deposit: Deposit) -> str:
        """The version that ``deposit`` would have here."""
        return self._versions.expect(deposit)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many items have each of ``versions``, or were made of it, by folder."""
        tree = self._refreshed()
        counts: Counter[tuple[str, str]] = Counter()
        for copy in self._versions.find(tree, versions):
            names = tree.names(copy.folder_id)
            counts[names[-1] if copy.version in self._versions.for_main else names[0], copy.version] += 1
        return counts

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits``."""
        self._require_writable()
        self._require_identity()
        return self._putting.put(self._refreshed(), deposits)

    def close(self) -> None:
        """Let the server's connections go with the last mailbox that is open there."""
        if not self._closed:
            self._closed = True
            self._account.leave()

    def _read(self) -> FolderTree:
        tree = read_tree(self._account, self._start if self._is_fresh(self._start_at) else None)
        self._identity = tree.identity
        self._identity_at = self._tree_at = self._now()
        return tree

    def _ask_identity(self) -> None:
        self._identity = read_identity(self._account)
        self._identity_at = self._now()
        self._ask_again()

    def _ask_again(self) -> None:
        """Have a new connection say it too that the mailbox is another one: this one may carry a stray answer."""
        if self._identity != self._tree.identity:
            self._account.server.close()
            self._identity = read_identity(self._account)
            self._identity_at = self._now()

    def _now(self) -> tuple[int, float]:
        return self._account.asked, time.monotonic()

    def _is_fresh(self, read_at: tuple[int, float]) -> bool:
        """True where what was read at ``read_at`` was read just now, and nothing was asked since."""
        asked, when = read_at
        return asked == self._account.asked and time.monotonic() - when < _MOMENT

    def _refreshed(self) -> FolderTree:
        """The folders as they are now; those of another mailbox that has the address now are not kept."""
        if self._is_fresh(self._tree_at) and self._identity == self._tree.identity:
            return self._tree
        tree = self._read()
        if tree.identity == self._tree.identity:
            self._tree = tree
        return tree

    def _require_writable(self) -> None:
        if not self._writable:
            raise Unsupported(
                f"{self._account.place.name} was opened for reading only", hint="Open it with writable=True."
            )

    def _require_identity(self) -> None:
        """The address may have another mailbox now (S30): asked for each time, however short ago it was."""
        self._ask_identity()
        if self._identity != self._tree.identity:
            raise MailboxChanged(
                f"{self._account.place.name}: another mailbox has this address now", hint="Make a new plan."
            )


def info_of(account: Account, identity: str, kept: int = 0) -> MailboxInfo:
    """What is known of a mailbox whose identity was just read. ``kept``: how many items its DiscoveryHolds has."""
    details = {"server": account.server.version, "access": str(account.access)}
    if kept:
        details["hold_signs"] = f"DiscoveryHolds has {kept:,}, which a hold keeps or kept"
    return MailboxInfo(KIND, account.place.locator, account.place.name, identity, None, 0, details)
