"""One folder of a Maildir, opened: its files listed while others rename them, found again by their base names.

Invariants: a listing is complete though files move from ``new`` to ``cur`` or change their flags meanwhile; ``tmp`` is
never looked at for messages; two files that bear one base (a damaged Maildir) are two messages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from excise.core.marker import is_case
from excise.model.item import Target
from excise.store_api.errors import ItemDamaged, ItemNotFound
from excise.stores.directory import exists, is_component, read_file
from excise.stores.maildir_names import base_of, folder_path, read_keywords

_SUBDIRECTORIES = ("new", "cur")
_QUIET_NS = 50_000_000
_LISTINGS = 10
_DEPTH = 100
_KEYWORDS_MAX = 65_536


class FileEntry(NamedTuple):
    """A file in ``cur`` or ``new``. ``regular`` is False for a directory, link or device."""

    inode: int
    subdirectory: str
    name: str
    regular: bool = True


class Mark(NamedTuple):
    """A target with what its id says: the subdirectory, where it names one, and the base or whole name."""

    target: Target
    subdirectory: str | None
    name: str


#: The files of a folder by their base.
Listing: TypeAlias = dict[str, list[FileEntry]]


class MaildirFolder:
    """A folder, its directories open. Use it in a ``with`` block."""

    def __init__(self, parts: tuple[str, ...], root: int) -> None:
        """Open the folder in directory ``parts`` below the Maildir at ``root``; OSError where that cannot be."""
        self.parts = parts
        self.path = folder_path(parts)
        self.key = "/".join(parts) or "."
        self.subdirectories: dict[str, int] = {}
        self._known: Listing | None = None
        self.fd = os.dup(root)
        try:
            for part in parts:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
                os.close(self.fd)
                self.fd = below
            for name in _SUBDIRECTORIES:
                with suppress(FileNotFoundError):
                    self.subdirectories[name] = os.open(
                        name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd
                    )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MaildirFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories."""
        open_now = [fd for fd in (self.fd, *self.subdirectories.values()) if fd >= 0]
        self.fd, self.subdirectories = -1, {}
        for fd in open_now:
            os.close(fd)

    def keywords(self) -> dict[str, str]:
        """Letter to keyword, as Dovecot keeps them; the file is never changed here."""
        try:
            data, _ = read_file("dovecot-keywords", self.fd, _KEYWORDS_MAX)
        except (OSError, ItemDamaged):
            return {}
        return read_keywords(data)

    def entries(self) -> list[FileEntry]:
        """Every file that is a message, in the order in which they lie on disk.

        A file that is renamed while a directory is listed may show up under neither name; so a folder in which
        something has just changed is listed until two listings agree, and what any of them showed is there.
        """
        found = self._list_once()
        if not self._is_quiet():
            for _ in range(_LISTINGS):
                again = self._list_once()
                added = again.keys() - found.keys()
                found |= again
                if not added:
                    break
        self._known = found
        return sorted(entry for same in found.values() for entry in same)

    def _is_quiet(self) -> bool:
        now = time.time_ns()
        return all(now - os.fstat(fd).st_mtime_ns > _QUIET_NS for fd in self.subdirectories.values())

    def _list_once(self) -> Listing:
        """The files by base. ``new`` comes first: a file that moves to ``cur`` meanwhile is seen at least once."""
        found: Listing = {}
        doubled: set[str] = set()
        for subdirectory, fd in self.subdirectories.items():
            with os.scandir(fd) as listing:
                for entry in listing:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    one = FileEntry(entry.inode(), subdirectory, name, entry.is_file(follow_symlinks=False))
                    base = base_of(name)
                    if found.setdefault(base, [one])[0] is not one:
                        found[base].append(one)
                        doubled.add(base)
        for base in doubled:
            there = [e for e in found[base] if exists(e.name, self.subdirectories[e.subdirectory])]
            found[base] = there or found[base][-1:]
        return found

    def named(self, base: str, *, anew: bool = False) -> list[FileEntry]:
        """The files that bear ``base``; the folder is listed ``anew``, or where it was not listed yet."""
        if self._known is None or anew:
            self.entries()
        return list((self._known or {}).get(base, ()))

    def remember(self, known: Listing | None) -> Listing | None:
        """Take over the listing of an earlier opening (it may be stale); the listing as it is known now."""
        if self._known is None:
            self._known = known
        return self._known

    def read(self, entry: FileEntry) -> tuple[bytes, os.stat_result]:
        """The file as it lies there; FileNotFoundError where it was renamed or removed."""
        return read_file(entry.name, self.subdirectories[entry.subdirectory])

    def directory_of(self, entry: FileEntry) -> int:
        """The descriptor of the directory that ``entry`` lies in."""
        return self.subdirectories[entry.subdirectory]

    def item_id(self, entry: FileEntry, *, only: bool) -> str:
        """The id: directory and base; where another file bears that base, too, the whole name."""
        return f"{self.key}/{base_of(entry.name)}" if only else f"{self.key}/{entry.subdirectory}/{entry.name}"

    def sync(self) -> None:
        """Flush the names of both directories."""
        for fd in self.subdirectories.values():
            os.fsync(fd)


def parse_id(item_id: str) -> tuple[tuple[str, ...], str | None, str] | None:
    """The folder's directory, the subdirectory where the id names one, and the base or whole name; else None."""
    *parts, name = item_id.split("/")
    if not parts or not is_component(name) or name.startswith("."):
        return None
    subdirectory = parts.pop() if len(parts) > 1 and parts[-1] in _SUBDIRECTORIES else None
    folder = () if parts == ["."] else tuple(parts)
    return (folder, subdirectory, name) if is_folder(folder) else None


def is_folder(parts: tuple[str, ...]) -> bool:
    """True where a folder may lie in ``parts``: one level with a dot (Maildir++), or several without."""
    if len(parts) > _DEPTH or not all(is_component(part) for part in parts):
        return False
    if len(parts) == 1 and parts[0].startswith("."):
        return len(parts[0]) > 1
    return not any(part.startswith(".") or part in ("cur", "new", "tmp") for part in parts)


def folder_directories(root: int, place: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """The directory of every folder below the Maildir at ``root`` (its path: ``place``), the Maildir itself first.

    Each with a reason where it is there and cannot be searched, such as a symbolic link; else with an empty one.
    """
    yield (), ""
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parent = waiting.pop()
        for name, linked in _subdirectories(parent, root):
            parts = (*parent, name)
            if not is_folder(parts):
                continue
            if linked:
                yield parts, "it is a symbolic link, which is not followed"
            elif len(parts) >= _DEPTH:
                yield parts, f"more than {_DEPTH} directories deep"
            elif not is_case(place.joinpath(*parts)):
                try:
                    if _holds_messages(parts, root):
                        yield parts, ""
                except OSError as error:
                    yield parts, error.strerror or str(error)
                    continue
                if not name.startswith("."):
                    waiting.append(parts)


def _subdirectories(parts: tuple[str, ...], root: int) -> list[tuple[str, bool]]:
    """Names of the directories in ``parts``, sorted, each with whether it is a link to one."""
    with MaildirFolder(parts, root) as folder, os.scandir(folder.fd) as listing:
        return sorted(
            (entry.name, entry.is_symlink())
            for entry in listing
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and entry.is_dir())
        )


def _holds_messages(parts: tuple[str, ...], root: int) -> bool:
    with MaildirFolder(parts, root) as folder:
        return bool(folder.subdirectories)


def find_entry(folder: MaildirFolder, subdirectory: str | None, name: str, *, anew: bool = False) -> list[FileEntry]:
    """The files that an id means: those that bear the base ``name``, or the one of exactly that name."""
    if subdirectory is None:
        return folder.named(name, anew=anew)
    return [e for e in folder.named(base_of(name), anew=anew) if (e.subdirectory, e.name) == (subdirectory, name)]


def marks_by_folder(targets: Sequence[Target]) -> dict[tuple[str, ...], list[Mark]]:
    """``targets`` by the directory of their folder; those whose id is no message's are left out."""
    folders: dict[tuple[str, ...], list[Mark]] = {}
    for target in targets:
        found = parse_id(target.id)
        if found is not None:
            folders.setdefault(found[0], []).append(Mark(target, found[1], found[2]))
    return folders


def for_all(folder: MaildirFolder, marks: list[Mark], deal: Callable[[list[Mark]], list[Mark]]) -> list[Mark]:
    """Let ``deal`` have all ``marks`` under the names that are known, and what it gives back after a new listing.

    ``deal`` gives back each whose file does not bear its name (any more). The folder is listed once for all of them.
    The result: those that two new listings did not show, and those that were renamed time and again.
    """
    for attempt in range(_LISTINGS):
        marks = deal(marks)
        if not marks or (attempt > 1 and not any(find_entry(folder, mark.subdirectory, mark.name) for mark in marks)):
            break
        folder.entries()
    return marks


def read_item(
    folder: MaildirFolder, subdirectory: str | None, name: str
) -> Iterator[tuple[FileEntry, bytes, os.stat_result]]:
    """The files that an id means, each read; found again where they are renamed meanwhile. ItemNotFound for none."""
    for attempt in range(_LISTINGS):
        entries = find_entry(folder, subdirectory, name, anew=attempt > 0)
        if not entries and attempt > 1:
            break
        try:
            read = [(entry, *folder.read(entry)) for entry in entries]
        except FileNotFoundError:
            continue
        if read:
            yield from read
            return
    raise ItemNotFound(f"{folder.path}: the message {name!r} is not there any more", hint="Search again.")
