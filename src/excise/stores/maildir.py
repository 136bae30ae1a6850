"""Maildir and Maildir++ mailboxes (``maildir:PATH``), as Dovecot, Courier and Postfix keep them.

A mailbox is the Maildir with every folder in it; the Maildir itself is ``INBOX``. An item's id is the directory of its
folder and the base of its file name, so that a change of flags changes neither id nor version; the version is SHA-256
of the message. A message that the server keeps compressed is given expanded, and its file as it was goes into
``attributes["original"]``, so that it can be put back byte for byte.

Invariants: indexes, ``dovecot-uidlist`` and ``dovecot-keywords`` are never touched, and stay valid as with any other
program that works on a Maildir; a message appears in ``cur`` by a link from ``tmp`` and goes by one unlink (SAFETY
S19).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from excise.core.digests import sha256_hex
from excise.core.errors import DamagedInput, ExciseError
from excise.core.files import file_identity, os_error
from excise.model.item import Deposit, Disposal, Fetched, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound, MailboxChanged, Unsupported
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
from excise.stores.compressed import expand, form_of
from excise.stores.directory import MAX_MESSAGE, damaged, moment, reason_of
from excise.stores.maildir_change import MaildirPut, MaildirRemoval, undo_unfinished
from excise.stores.maildir_folder import (
    FileEntry,
    Listing,
    MaildirFolder,
    Mark,
    find_entry,
    folder_directories,
    for_all,
    marks_by_folder,
    parse_id,
    read_item,
)
from excise.stores.maildir_names import INBOX, MessageName, base_of, flags_of
from excise.stores.maildir_scan import scan_folder
from excise.stores.original import attributes_for

KIND = "maildir"


class MaildirMailbox:
    """One opened Maildir."""

    def __init__(self, locator: str, *, writable: bool) -> None:
        """Open the Maildir at ``locator``; its path is resolved once, here."""
        rest = locator.removeprefix(f"{KIND}:")
        try:
            self.path = Path(rest).resolve(strict=True)
            self.root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError) as error:
            problem = error if isinstance(error, OSError) else OSError(0, str(error))
            raise os_error(problem, rest, "opening the Maildir") from error
        self._writable = writable
        self._listings: dict[str, Listing | None] = {}
        if not _is_maildir(self.path):
            self.close()
            raise DamagedInput(
                f"{self.path}: expected a Maildir (a directory with cur, new and tmp in it), found none",
                hint="Name the Maildir itself, often called Maildir, or .maildir, in a home directory.",
            )

    @property
    def info(self) -> MailboxInfo:
        """The Maildir that stands at the path now."""
        try:
            identity = file_identity(self.path.stat())
        except OSError as error:
            raise os_error(error, self.path, "looking at the Maildir") from error
        return MailboxInfo(KIND, f"{KIND}:{self.path}", str(self.path), identity)

    def folders(self) -> Iterator[Folder]:
        """Every folder with its count; one that cannot be opened has none."""
        for parts, reason in folder_directories(self.root, self.path):
            if reason:
                yield Folder("/".join(parts))
                continue
            with self._opened(parts) as folder:
                yield Folder(folder.path, len(folder.entries()))

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every message that may match, folder by folder."""
        for parts, reason in folder_directories(self.root, self.path):
            try:
                if reason:
                    raise ItemDamaged(reason)
                with self._opened(parts) as folder:
                    yield from scan_folder(folder, matcher, tally)
            except (OSError, ExciseError) as error:
                tally.advance(1, 0)
                yield Unreadable(str(self.path.joinpath(*parts)), f"the folder: {reason_of(error)}", "/".join(parts))
        tally.flush()

    def fetch(self, item_id: str) -> Fetched:
        """One message, whole."""
        found = parse_id(item_id)
        if found is None:
            raise ItemNotFound(f"{self.path}: {item_id[:200]!r} is no message's id", hint="Search again.")
        parts, subdirectory, name = found
        try:
            with self._opened(parts) as folder:
                entry, data, info = next(read_item(folder, subdirectory, name))
                flags = flags_of(MessageName.parse(entry.name).info, folder.keywords())
        except FileNotFoundError as error:
            raise ItemNotFound(f"{self.path}: the folder of {item_id!r} is gone", hint="Search again.") from error
        except OSError as error:
            raise damaged(error, item_id) from error
        content = expand(data, MAX_MESSAGE)
        attributes = attributes_for({"name": entry.name}, form_of(data), data)
        delivered = moment(info.st_mtime_ns)
        return Fetched(item_id, sha256_hex(content), content, folder.path, flags, delivered, attributes)

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove ``targets``; what was removed is on disk before it is answered."""
        self._must_be_writable()
        if disposal not in STORE.capabilities.disposals:
            raise Unsupported(f"a Maildir has no disposal {disposal.value!r}", hint="It has trash and hard.")
        return MaildirRemoval(self.root, self.path, disposal, self.look).run(targets)

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now: under its base where it was, in the trash, in another folder, or nowhere."""
        places = {target.id: Whereabouts.ABSENT for target in targets}
        for parts, marks in marks_by_folder(targets).items():
            places |= self._places(parts, marks)
        absent = [target for target in targets if places[target.id] is Whereabouts.ABSENT and parse_id(target.id)]
        if absent:
            places |= self._elsewhere(absent)
        return places

    def _places(self, parts: tuple[str, ...], marks: list[Mark]) -> dict[str, Whereabouts]:
        """What stands under the names of ``marks`` in one folder, which is listed for all of them together."""
        places: dict[str, Whereabouts] = {}

        def deal(waiting: list[Mark]) -> list[Mark]:
            places.update({mark.target.id: _place(folder, mark) for mark in waiting})
            return [mark for mark in waiting if places[mark.target.id] is Whereabouts.ABSENT]

        try:
            with self._opened(parts) as folder:
                for mark in for_all(folder, marks, deal):
                    if find_entry(folder, mark.subdirectory, mark.name):
                        places[mark.target.id] = Whereabouts.UNKNOWN  # renamed faster than it could be read
        except FileNotFoundError:
            return {mark.target.id: Whereabouts.ABSENT for mark in marks}
        except OSError:
            return {mark.target.id: Whereabouts.UNKNOWN for mark in marks}
        return places

    def _elsewhere(self, targets: Sequence[Target]) -> dict[str, Whereabouts]:
        """Those of ``targets`` that lie in another folder under their base (behind a number, too, as in the trash)."""
        wanted: dict[str, list[Target]] = {}
        for target in targets:
            found = parse_id(target.id)
            if found is not None:
                wanted.setdefault(MessageName.parse(found[2]).base, []).append(target)
        places: dict[str, Whereabouts] = {}
        for parts, reason in folder_directories(self.root, self.path):
            if reason:
                continue
            with self._opened(parts) as folder:
                for entry in folder.entries():
                    base = base_of(entry.name)
                    for target in (*wanted.get(base, ()), *wanted.get(base.partition(".")[2], ())):
                        if self._version(folder, entry) == target.version and target.id not in places:
                            trashed = folder.path == "Trash"
                            places[target.id] = Whereabouts.IN_TRASH if trashed else Whereabouts.ELSEWHERE
        return places

    def _version(self, folder: MaildirFolder, entry: FileEntry) -> str | None:
        try:
            return sha256_hex(expand(folder.read(entry)[0], MAX_MESSAGE))
        except (OSError, ItemDamaged):
            return None

    def recover(self) -> Sequence[str]:
        """Take away what an interrupted ``put`` left in ``tmp``."""
        self._must_be_writable()
        return undo_unfinished(self.root, self.path)

    def version_of(self, deposit: Deposit) -> str:
        """SHA-256 of the content."""
        return sha256_hex(deposit.content)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many messages of each version there are, by folder. Reads every message."""
        wanted = frozenset(versions)
        found: Counter[tuple[str, str]] = Counter()
        for parts, reason in folder_directories(self.root, self.path) if wanted else ():
            if reason:
                continue
            with self._opened(parts) as folder:
                for entry in folder.entries():
                    version = self._version(folder, entry)
                    if version in wanted and version is not None:
                        found[folder.path, version] += 1
        return found

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits``; each is on disk before it is answered. All go to ``cur``: nobody is told of new mail."""
        self._must_be_writable()
        return MaildirPut(self.root, self.path).run(deposits)

    def close(self) -> None:
        """Close the Maildir."""
        if self.root >= 0:
            os.close(self.root)
            self.root = -1

    def _opened(self, parts: tuple[str, ...]) -> _Remembering:
        return _Remembering(parts, self.root, self._listings)

    def _must_be_writable(self) -> None:
        if not self._writable:
            raise Unsupported(f"{self.path} was opened for reading only", hint="Open it with writable=True.")
        if self.info.identity != file_identity(os.fstat(self.root)):
            raise MailboxChanged(
                f"{self.path}: another directory was put in this Maildir's place",
                hint="Nothing was done to it. Make a new plan.",
            )


class _Remembering(MaildirFolder):
    """A folder that hands its listing on to its next opening, so that fetching many messages lists it once."""

    def __init__(
        self, parts: tuple[str, ...], root: int, listings: dict[str, dict[str, list[FileEntry]] | None]
    ) -> None:
        self._listings = listings
        super().__init__(parts, root)
        self.remember(listings.get(self.key))

    def close(self) -> None:
        self._listings[self.key] = self.remember(None)
        super().close()


def _place(folder: MaildirFolder, mark: Mark) -> Whereabouts:
    """What stands under the name that ``mark`` is known by: ABSENT where nothing does, or does any more."""
    try:
        contents = [folder.read(entry)[0] for entry in find_entry(folder, mark.subdirectory, mark.name)]
        if not contents:
            return Whereabouts.ABSENT
        version = sha256_hex(expand(contents[0], MAX_MESSAGE))
    except FileNotFoundError:
        return Whereabouts.ABSENT
    except (OSError, ExciseError):
        return Whereabouts.UNKNOWN
    return Whereabouts.HERE if version == mark.target.version else Whereabouts.CHANGED


def _is_maildir(path: Path) -> bool:
    return all((path / name).is_dir() for name in ("cur", "new", "tmp"))


class MaildirStore:
    """Maildir and Maildir++ directories."""

    @property
    def capabilities(self) -> Capabilities:
        """Removal for good or to the folder Trash; putting back."""
        return Capabilities(KIND, disposals=frozenset((Disposal.TRASH, Disposal.HARD)), can_put=True, main_folder=INBOX)

    def claims(self, path: Path, head: bytes) -> bool:
        """True for a directory that has ``cur``, ``new`` and ``tmp``."""
        return not head and _is_maildir(path)

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The Maildir at ``locator``."""
        try:
            mailbox = self.open(locator)
        except ExciseError as error:
            yield NotSearched(locator, error.text(), error.exit_code)
            return
        try:
            yield mailbox.info
        finally:
            mailbox.close()

    def open(self, locator: str, *, writable: bool = False) -> MaildirMailbox:
        """Open the Maildir at ``locator``."""
        return MaildirMailbox(locator, writable=writable)


STORE: Store = MaildirStore()
