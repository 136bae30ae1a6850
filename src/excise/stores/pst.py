"""PST, OST and PAB files (``pst:PATH``; one mailbox a file).

- An item's id is its node id in hex. Its version is taken over what is stable (``pst_record``, ``pst_version``). Which
  nodes are items, and how folders are named, stands in ``pst_tree``; what is damage in an item, in ``pst_item``.
- ``fetch`` rebuilds the item as MIME and gives the record of all its properties. An item whose parts are not all there,
  by the store's own figures, is ``ItemDamaged``. What cannot be reached is left out, and one
  of ``Fetched.notes`` begins with ``incomplete:`` for each such part: such a copy is never the whole item.
- ``remove`` takes messages out in place (``pst_remove``); mail is put into Unicode PSTs in place (``pst_put``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from excise.core.errors import ExciseError
from excise.core.text import shown
from excise.mapi.item import MapiItem
from excise.mapi.tags import PidTagMessageSize
from excise.mapi.to_mime import to_mime
from excise.model.item import INCOMPLETE, Deposit, Disposal, Fetched, Placed, Removal, Target, Whereabouts
from excise.model.message import MapiView, MessageView, Untestable
from excise.store_api.errors import ItemDamaged, ItemNotFound, Unsupported
from excise.store_api.protocols import (
    Candidate,
    Capabilities,
    Filter,
    Folder,
    MailboxInfo,
    NotSearched,
    Remake,
    Store,
    Tally,
    Unreadable,
)
from excise.stores import pst_put, pst_remake
from excise.stores.mbox.beside import is_private
from excise.stores.pst_compact import compact
from excise.stores.pst_file import PstFile, Unreachable
from excise.stores.pst_item import EVERY_TERM, PstItem
from excise.stores.pst_record import flags_of_item, record_of_item
from excise.stores.pst_remove import PstRemoval, recover, recoverable
from excise.stores.pst_summary import rejected_by_table
from excise.stores.pst_tree import PstFolder, PstNode, PstTree
from excise.stores.pst_version import forms_of, is_version
from excise.stores.pst_whole import IN_ANY_FILE, version_in_any_file

KIND = "pst"


_MAGIC = b"!BDN"


class PstView(MapiView):
    """An item as the matcher sees it; what could not be read is untestable for the terms that need it."""

    def __init__(self, item: PstItem, folder: str) -> None:
        size = item.properties.integer(PidTagMessageSize)
        super().__init__(item, folder=folder, flags=flags_of_item(item), size=size, notes=())
        self._pst_item = item

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        """Why terms of this kind cannot be tested on all of it."""
        found = super().untestable(term_kind)
        if term_kind == "recipient":
            _ = self._pst_item.recipients
        reason = self._pst_item.damage.get(term_kind) or self._pst_item.damage.get(EVERY_TERM)
        return (*found, Untestable(term_kind, reason)) if reason else found


class PstCandidate:
    """An item that ``find`` offers."""

    def __init__(self, node: PstNode, item: PstItem) -> None:
        self.id = node.id
        self.view: MessageView = PstView(item, node.folder)
        self.doubt = "an associated item, which belongs to its folder's settings" if node.associated else ""
        self._item = item

    @cached_property
    def version(self) -> str:
        """The fingerprint; recipients and attachments are read for it."""
        return self._item.version


class PstMailbox:
    """One opened file."""

    def __init__(self, locator: str, *, writable: bool = False) -> None:
        """Open the file at ``locator``; an ExciseError where that fails.

        ``writable``: where a change that was broken off left it so that it cannot be opened, that is mended first.
        """
        path = Path(locator.removeprefix(f"{KIND}:"))
        self._writable = writable
        self._recovered: Sequence[str] = ()
        try:
            self._file = PstFile(path)
        except ExciseError:
            if not (writable and recoverable(path)):
                raise
            self._recovered = recover(path)
            self._file = PstFile(path)
        self._locator = f"{KIND}:{self._file.path}"
        self._tree = PstTree(self._file)
        self._identity = self._file.identity()

    @property
    def info(self) -> MailboxInfo:
        """The mailbox; its identity is that of the file at its path now."""
        return MailboxInfo(
            KIND,
            self._locator,
            str(self._file.path),
            self._file.identity(),
            self._file.status.st_size,
            details=self._file.details(),
        )

    def folders(self) -> Iterator[Folder]:
        """Every folder with the number of its items; one path may stand for several nodes."""
        counts: Counter[str] = Counter()
        for folder in self._tree:
            counts[folder.path] += len(folder.nids)
        yield from (Folder(path, count) for path, count in counts.items())

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every item but what the criteria surely exclude; MailboxChanged at the end where the file changed."""
        self._refresh()
        for where, reason in self._file.problems:
            tally.advance(1, 0)
            yield Unreadable(where, reason)
        for folder in self._tree:
            for problem in self._tree.problems(folder):
                tally.advance(1, 0)
                yield problem
            if matcher.admits_folder(folder.path):
                yield from self._items(folder, matcher, tally)
            else:
                tally.advance(len(folder.nids), 0)
            folder.forget()
        tally.flush()
        self._file.check_unchanged()

    def _items(self, folder: PstFolder, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """The items of ``folder``; those that its contents table rules out are counted and not opened."""
        rejected = rejected_by_table(folder.folder, folder.path, matcher) if folder.folder is not None else {}
        for nid in folder.nids:
            if nid in rejected:
                tally.advance(1, rejected[nid])
                continue
            node = PstNode(nid, folder.path)
            try:
                item = PstItem(self._file, nid)
            except Unreachable as error:
                tally.advance(1, 0)
                yield Unreadable(f"item {node.id}", str(error), node.folder, node.id)
                continue
            tally.advance(1, max(0, item.properties.integer(PidTagMessageSize) or 0))
            yield PstCandidate(node, item)

    def fetch(self, item_id: str) -> Fetched:
        """One item, whole; ItemDamaged where the store's own figures do not agree with what was read."""
        node, item = self._at(item_id)
        damage = item.read_whole()
        if damage:
            where = f"item {item_id} in the folder {shown(node.folder)!r}"
            raise ItemDamaged(
                f"{self._file.path}: {where} is not whole: {'; '.join(damage)}",
                hint="Let Outlook's Inbox Repair Tool (SCANPST) mend a copy of the file, and search that.",
            )
        rebuilt = to_mime(item)
        self._file.check_unchanged()
        missing = [note for held in item.walk() for note in _missing(held, item)]
        return Fetched(
            id=node.id,
            version=item.version,
            content=rebuilt.data,
            folder=node.folder,
            flags=flags_of_item(item),
            delivered=item.delivered,
            attributes={"associated": True} if node.associated else {},
            properties=record_of_item(item),
            headers=None if rebuilt.is_original else tuple(rebuilt.headers),
            notes=(*missing, *item.remarks, *rebuilt.notes),
            item=item,
            former_versions=tuple(forms_of(item.version) - {item.version}),
        )

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove what is as planned, all of it in one change of the file; every other disposal is Unsupported."""
        self._require_writable()
        if disposal is not Disposal.HARD:
            raise Unsupported(f"{self._file.path}: a PST has no {disposal} removal", hint="Use --disposal hard.")
        answers = PstRemoval(self._file.path, self._identity).remove(targets)
        self._refresh()
        yield from answers

    def compact(self) -> str:
        """Write the file anew without its free space; what was done, in words."""
        done = compact(self._file.path, self._identity)
        self._take(PstFile(self._file.path))
        return done

    def plan_remake(self, ids: Collection[str]) -> Remake | None:
        """What a new file of all that can be read would come to; None where the items can be removed in place."""
        return pst_remake.plan(self._file, self._tree.codec, ids)

    def remake(
        self,
        targets: Sequence[Target],
        planned: Remake,
        keep: Callable[[BinaryIO], None],
        about_to: Callable[[BinaryIO, Remake], None],
    ) -> Iterator[Removal]:
        """Make the file anew without ``targets``."""
        self._require_writable()
        work = pst_remake.Remaker(self._file.path, self._identity, self._tree.codec)
        answers = work.remake(targets, planned, keep, about_to)
        self._take(PstFile(self._file.path))
        self._identity = self._file.identity()
        yield from answers

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now; one that cannot be read is UNKNOWN."""
        self._refresh()
        return {target.id: self._look(target) for target in targets}

    def _look(self, target: Target) -> Whereabouts:
        try:
            _, item = self._at(target.id)
            damage = item.read_whole()
        except ItemNotFound:
            return Whereabouts.ABSENT
        except ItemDamaged:
            return Whereabouts.UNKNOWN
        if damage:
            return Whereabouts.UNKNOWN
        return Whereabouts.HERE if is_version(target.version, item.version) else Whereabouts.CHANGED

    def recover(self) -> Sequence[str]:
        """Finish or undo a change of the file that was broken off."""
        if not self._writable:
            return ()
        done = (*self._recovered, *recover(self._file.path))
        self._recovered = ()
        self._refresh()
        return done

    def version_of(self, deposit: Deposit) -> str:
        """The version of the item that is made of ``deposit``."""
        return pst_put.version_of(deposit)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many readable items of each version there are, by folder; every item is read whole for it."""
        wanted = frozenset(versions)
        whole = any(version.startswith(IN_ANY_FILE) for version in wanted)
        counts: Counter[tuple[str, str]] = Counter()
        for node in self._nodes.values():
            try:
                item = PstItem(self._file, node.nid)
            except Unreachable:
                # An item that cannot be read has no version; find reports it.
                continue
            found = forms_of(item.version) | ({version_in_any_file(item)} if whole else set())
            if not item.damage:
                counts.update((node.folder, version) for version in found & wanted)
        return counts

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits`` at once: all that can be stored, or none."""
        self._require_writable()
        self._file.check_unchanged()
        try:
            return iter(pst_put.put(self._file.path, self._tree, deposits) if deposits else ())
        finally:
            self._refresh()

    def _require_writable(self) -> None:
        if not self._writable:
            raise Unsupported(f"{self._file.path} was opened for reading only", hint="Open it with writable=True.")

    def _refresh(self) -> None:
        """Read the file anew where it was written to since it was opened, be it by this mailbox."""
        if self._file.was_written_to():
            self._take(PstFile(self._file.path))

    def _take(self, opened: PstFile) -> None:
        self._file.close()
        self._file, self._tree = opened, PstTree(opened)
        self.__dict__.pop("_nodes", None)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @cached_property
    def _nodes(self) -> dict[str, PstNode]:
        """Every item by its id."""
        nodes = (PstNode(nid, folder.path) for folder in self._tree for nid in folder.nids)
        return {node.id: node for node in nodes}

    def _at(self, item_id: str) -> tuple[PstNode, PstItem]:
        node = self._nodes.get(item_id)
        if node is None:
            raise ItemNotFound(f"{self._file.path}: there is no item {shown(item_id, 80)!r}", hint="Search again.")
        try:
            return node, PstItem(self._file, node.nid)
        except Unreachable as error:
            raise ItemDamaged(f"{self._file.path}: item {item_id} cannot be read: {error}") from error


class PstStore:
    """PST files."""

    @property
    def capabilities(self) -> Capabilities:
        """Search, copy, put, and remove for good: a PST has no place where removed messages could be kept."""
        return Capabilities(
            KIND, frozenset({Disposal.HARD}), can_put=True, compacts=True, takes_items=True, remakes=True
        )

    def claims(self, path: Path, head: bytes) -> bool:
        """True for a file that begins with ``!BDN`` and is no unfinished copy of another."""
        return head[:4] == _MAGIC and not is_private(path.name)

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The one mailbox of the file."""
        try:
            mailbox = self.open(locator)
        except ExciseError as error:
            yield NotSearched(locator.removeprefix(f"{KIND}:"), error.text(), error.exit_code)
            return
        try:
            found = mailbox.info
        finally:
            mailbox.close()
        yield found

    def open(self, locator: str, *, writable: bool = False) -> PstMailbox:
        """Open one file."""
        return PstMailbox(locator, writable=writable)


def _missing(held: MapiItem, whole: MapiItem) -> Iterator[str]:
    """What the copy of ``whole`` lacks of ``held``, which is itself or a message in it."""
    where = "" if held is whole else f" of the embedded message {shown(held.subject, 120)!r}"
    for number, attachment in enumerate(held.attachments, 1):
        if attachment.reason is not None:
            name = f" {shown(attachment.name, 120)!r}" if attachment.name else ""
            yield f"{INCOMPLETE}attachment {number}{name}{where} is not in the copy: {attachment.reason}"


STORE: Store = PstStore()
