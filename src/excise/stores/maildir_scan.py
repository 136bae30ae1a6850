"""Searching one folder of a Maildir quickly: the header from one read of 8 KiB, the rest only where it may match.

Invariant: every file of the listing is counted once, as left out, as a candidate or as unreadable; one that was renamed
meanwhile is found again; one that is gone after the folder was listed anew is not there and is not counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from excise.core.digests import sha256_hex
from excise.model.message import MimeView
from excise.store_api.errors import ItemDamaged
from excise.store_api.protocols import Filter, Tally, Unreadable
from excise.stores.compressed import MAGICS, expand
from excise.stores.directory import MAX_MESSAGE, moment, open_file, read_opened, reason_of
from excise.stores.maildir_folder import FileEntry, MaildirFolder
from excise.stores.maildir_names import MessageName, base_of, flags_of
from excise.stores.window import WINDOW, header_end

_ROUNDS = 10


@dataclass(slots=True)
class MaildirCandidate:
    """A message that may match, read whole."""

    id: str
    content: bytes
    view: MimeView
    doubt: str = ""

    @property
    def version(self) -> str:
        """SHA-256 of the message."""
        return sha256_hex(self.content)


def scan_folder(folder: MaildirFolder, matcher: Filter, tally: Tally) -> Iterator[MaildirCandidate | Unreadable]:
    """Every message of ``folder`` that may match."""
    entries = folder.entries()
    if not matcher.admits_folder(folder.path):
        tally.advance(len(entries), 0)
        return
    scan = _Scan(folder, matcher, tally)
    for _ in range(_ROUNDS):
        yield from scan.run(entries)
        entries = scan.renamed()
        if not entries:
            return
    for entry in entries:
        tally.advance(1, 0)
        yield Unreadable(_where(folder, entry), "it was renamed again and again while it was read", folder.path)


def _where(folder: MaildirFolder, entry: FileEntry) -> str:
    return f"{folder.key}/{entry.subdirectory}/{entry.name}"


class _Scan:
    """A search of a folder while it runs; ``vanished`` are the files that were not under their names any more."""

    def __init__(self, folder: MaildirFolder, matcher: Filter, tally: Tally) -> None:
        self.folder, self.matcher, self.tally = folder, matcher, tally
        self.keywords = folder.keywords()
        self.vanished: list[FileEntry] = []

    def run(self, entries: list[FileEntry]) -> Iterator[MaildirCandidate | Unreadable]:
        """Look at each of ``entries``."""
        tally, rejects = self.tally, self.matcher.rejects_header
        directories, open_one, pread, close = self.folder.subdirectories, open_file, os.pread, os.close
        for entry in entries:
            try:
                fd = open_one(entry.name, directories[entry.subdirectory])
            except FileNotFoundError:
                self.vanished.append(entry)
                continue
            except OSError as error:
                yield self._unreadable(entry, error)
                continue
            try:
                head = pread(fd, WINDOW, 0)
                end = header_end(head)
                if end >= 0 and not head.startswith(MAGICS) and entry.regular and rejects(head[:end]):
                    tally.advance(1, len(head) if len(head) < WINDOW else os.fstat(fd).st_size)
                    continue
                found = self._whole(entry, fd)
            except (OSError, ItemDamaged) as error:
                yield self._unreadable(entry, error)
                continue
            finally:
                close(fd)
            if found is not None:
                yield found

    def renamed(self) -> list[FileEntry]:
        """The files that vanished, under the names that they bear now; those that are gone are left out."""
        lost = {base_of(entry.name) for entry in self.vanished}
        if not lost:
            return []
        self.vanished = []
        self.folder.entries()
        again = [entry for base in lost for entry in self.folder.named(base)]
        if len({base_of(entry.name) for entry in again}) < len(lost):
            self.folder.entries()
            again = [entry for base in lost for entry in self.folder.named(base)]
        return again

    def _whole(self, entry: FileEntry, fd: int) -> MaildirCandidate | None:
        data, info = read_opened(fd, entry.name)
        content = expand(data, MAX_MESSAGE)
        end = header_end(content)
        self.tally.advance(1, len(data))
        if self.matcher.rejects_header(content if end < 0 else content[:end]):
            return None
        view = MimeView(
            content,
            delivered=moment(info.st_mtime_ns),
            delivered_from="file time",
            folder=self.folder.path,
            flags=flags_of(MessageName.parse(entry.name).info, self.keywords),
            size=len(content),
        )
        item_id, doubt = self._id(entry)
        return MaildirCandidate(item_id, content, view, doubt)

    def _id(self, entry: FileEntry) -> tuple[str, str]:
        only = len(self.folder.named(base_of(entry.name))) < 2
        doubt = (
            ""
            if only
            else "two files of this folder bear the same base name, so that they cannot be told apart for good"
        )
        return self.folder.item_id(entry, only=only), doubt

    def _unreadable(self, entry: FileEntry, error: Exception) -> Unreadable:
        self.tally.advance(1, 0)
        return Unreadable(_where(self.folder, entry), reason_of(error), self.folder.path, self._id(entry)[0])
