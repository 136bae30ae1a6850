"""A directory tree of .eml and .msg files, or one such file, as a mailbox.

An item's id is its path below the directory; its folder is the directory's. Invariants: no symbolic link is followed,
and each is reported; a name that a message could not bear names no item, so that no other file is ever read or removed;
a case is never looked into (S28).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from excise.core.digests import sha256_hex
from excise.core.errors import ExciseError
from excise.core.files import file_identity, os_error
from excise.core.marker import is_case
from excise.model.item import Deposit, Disposal, Fetched, Outcome, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound, MailboxChanged, Unsupported
from excise.store_api.protocols import Candidate, Filter, Folder, MailboxInfo, Tally, Unreadable
from excise.stores.directory import (
    damaged,
    exists,
    is_component,
    link_new,
    make_directory_below,
    moment,
    nanoseconds,
    open_file,
    opened_below,
    read_file,
    read_opened,
    reason_of,
    same_file,
    unlink_if_there,
    write_file,
)
from excise.stores.eml_content import EmlFile, file_of, is_named, is_text, name_for, version_of_deposit
from excise.stores.unfinished import is_left_over, unfinished_name
from excise.stores.window import WINDOW, header_end

_DEPTH = 200


class _Found(NamedTuple):
    """A file that may be a message, or (with a ``reason``) something that cannot be read."""

    parts: tuple[str, ...]
    name: str
    directory: int
    reason: str = ""

    @property
    def id(self) -> str:
        return "/".join((*self.parts, self.name))

    @property
    def folder(self) -> str:
        return "/".join(self.parts)


class EmlTree:
    """One opened tree; ``only`` is the name of the file that a mailbox of one file has."""

    def __init__(self, kind: str, path: Path, *, only: str | None, writable: bool) -> None:
        """Open the directory ``path``, which is resolved already."""
        self._kind, self.path, self._only, self._writable = kind, path, only, writable
        try:
            self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise os_error(error, path, "opening the directory") from error

    @property
    def info(self) -> MailboxInfo:
        """The directory that stands at the path now. A mailbox of one file is known by its directory and name."""
        try:
            identity = file_identity(self.path.stat())
        except OSError as error:
            raise os_error(error, self.path, "looking at the directory") from error
        if self._only is None:
            return MailboxInfo(self._kind, f"{self._kind}:{self.path}", str(self.path), identity)
        place = self.path / self._only
        size = None
        with suppress(OSError):
            size = place.lstat().st_size
        return MailboxInfo(self._kind, f"{self._kind}:{place}", str(place), named_identity(identity, self._only), size)

    def folders(self) -> Iterator[Folder]:
        """Every directory that holds messages."""
        counts = Counter(found.folder for found in self._walk() if not found.reason)
        yield from (Folder(path, number) for path, number in sorted(counts.items()))

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every message that may match, directory by directory in the order of their names."""
        for found in self._walk():
            if not found.reason and not matcher.admits_folder(found.folder):
                tally.advance(1, 0)
                continue
            try:
                candidate = self._candidate(found, matcher, tally)
            except FileNotFoundError:
                continue
            except (OSError, ItemDamaged) as error:
                tally.advance(1, 0)
                yield Unreadable(str(self.path / found.id), reason_of(error), found.folder, found.id)
                continue
            if candidate is not None:
                yield candidate
        tally.flush()

    def _candidate(self, found: _Found, matcher: Filter, tally: Tally) -> EmlFile | None:
        """The file, read; None where its header excludes it."""
        if found.reason:
            raise ItemDamaged(found.reason)
        fd = open_file(found.name, found.directory)
        try:
            head = os.pread(fd, WINDOW, 0)
            end = header_end(head)
            if end >= 0 and is_text(head) and matcher.rejects_header(head[:end]):
                tally.advance(1, len(head) if len(head) < WINDOW else os.fstat(fd).st_size)
                return None
            data, info = read_opened(fd, found.name)
        finally:
            os.close(fd)
        file = EmlFile(found.id, found.folder, data, moment(info.st_mtime_ns))
        tally.advance(1, len(data))
        return file

    def fetch(self, item_id: str) -> Fetched:
        """One message, whole."""
        file, info = self._read(item_id)
        attributes = {
            "name": item_id.rpartition("/")[2],
            "mode": info.st_mode & 0o777,
            "mtime_ns": info.st_mtime_ns,
        }
        return file.fetched(attributes)

    def _read(self, item_id: str) -> tuple[EmlFile, os.stat_result]:
        found = self._parse(item_id)
        if found is None:
            raise ItemNotFound(f"{self.path}: {item_id[:200]!r} is no message's id", hint="Search again.")
        parts, name = found
        try:
            with opened_below(parts, self.root) as directory:
                data, info = read_file(name, directory)
        except FileNotFoundError as error:
            raise ItemNotFound(f"{self.path}: there is no {item_id!r} any more", hint="Search again.") from error
        except OSError as error:
            raise damaged(error, item_id) from error
        return EmlFile(item_id, "/".join(parts), data, moment(info.st_mtime_ns)), info

    def _parse(self, item_id: str) -> tuple[tuple[str, ...], str] | None:
        *parts, name = item_id.split("/")
        if len(parts) > _DEPTH or not all(is_component(part) for part in (*parts, name)):
            return None
        if self._only is not None:
            return ((), name) if item_id == self._only else None
        return (tuple(parts), name) if is_named(name) else None

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Unlink ``targets``, each read again right before; flushed before it is answered."""
        self._must_be_writable()
        if disposal is not Disposal.HARD:
            raise Unsupported(f"a directory of messages has no disposal {disposal.value!r}", hint="It has hard alone.")
        return self._remove(targets)

    def _remove(self, targets: Sequence[Target]) -> Iterator[Removal]:
        directories: dict[tuple[str, ...], list[tuple[Target, str]]] = {}
        for target in targets:
            found = self._parse(target.id)
            if found is None:
                yield Removal(target.id, Outcome.ALREADY_ABSENT, "it is no id of a message here")
            else:
                directories.setdefault(found[0], []).append((target, found[1]))
        for parts, chosen in directories.items():
            try:
                with opened_below(parts, self.root) as directory:
                    answers = [self._remove_one(target, name, directory) for target, name in chosen]
                    answers = _flushed(answers, directory)
            except FileNotFoundError:
                answers = [Removal(target.id, Outcome.ALREADY_ABSENT) for target, _ in chosen]
            except OSError as error:
                answers = [Removal(target.id, Outcome.FAILED, reason_of(error)) for target, _ in chosen]
            yield from answers

    def _remove_one(self, target: Target, name: str, directory: int) -> Removal:
        try:
            data, info = read_file(name, directory)
            if sha256_hex(data) != target.version:
                return Removal(target.id, Outcome.CHANGED, "its content is not the one that was planned")
            EmlFile(target.id, "", data, None)
            if not same_file(info, os.stat(name, dir_fd=directory, follow_symlinks=False)):
                return Removal(target.id, Outcome.CHANGED, "it was replaced while it was read")
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return Removal(target.id, Outcome.ALREADY_ABSENT)
        except (OSError, ItemDamaged) as error:
            return Removal(target.id, Outcome.FAILED, reason_of(error))
        others = info.st_nlink - 1
        return Removal(target.id, Outcome.REMOVED, f"the file has {others} other names, which stay" if others else "")

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now."""
        return {target.id: self._place(target) for target in targets}

    def _place(self, target: Target) -> Whereabouts:
        try:
            version = self._read(target.id)[0].version
        except ItemNotFound:
            return Whereabouts.ABSENT
        except ItemDamaged:
            return Whereabouts.UNKNOWN
        return Whereabouts.HERE if version == target.version else Whereabouts.CHANGED

    def recover(self) -> Sequence[str]:
        """Take away what an interrupted ``put`` left."""
        self._must_be_writable()
        done = []
        for parts, _, names in self._directories():
            for name in names:
                if is_left_over(name):
                    with opened_below(parts, self.root) as directory:
                        os.unlink(name, dir_fd=directory)
                        os.fsync(directory)
                    done.append(f"an unfinished addition ({'/'.join((*parts, name))}) was taken away")
        return done

    def version_of(self, deposit: Deposit) -> str:
        """SHA-256 of the file to come."""
        return version_of_deposit(deposit)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many messages of each version there are, by folder. Reads every message."""
        wanted = frozenset(versions)
        found: Counter[tuple[str, str]] = Counter()
        for one in self._walk() if wanted else ():
            with suppress(OSError, ItemDamaged):
                version = sha256_hex(read_file(one.name, one.directory)[0])
                if version in wanted:
                    found[one.folder, version] += 1
        return found

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add a file for each of ``deposits``, on disk before it is answered."""
        self._must_be_writable()
        return (self._put(deposit) for deposit in deposits)

    def _put(self, deposit: Deposit) -> Placed:
        parts = tuple(deposit.folder.split("/")) if deposit.folder else ()
        if len(parts) > _DEPTH or not all(is_component(part) and part.isprintable() for part in parts):
            return Placed(Outcome.FAILED, None, "no directory here can have this path")
        if self._only is not None and parts:
            return Placed(Outcome.FAILED, None, "a mailbox of one file has no folders")
        try:
            data, suffix = file_of(deposit)
            for depth in range(len(parts)):
                with opened_below(parts[:depth], self.root) as parent:
                    make_directory_below(parts[depth], parent, os.fstat(parent))
            with opened_below(parts, self.root) as directory:
                name = self._write(deposit, data, suffix, directory)
        except (OSError, ExciseError) as error:
            return Placed(Outcome.FAILED, None, reason_of(error))
        return Placed(Outcome.RESTORED, "/".join((*parts, name)))

    def _write(self, deposit: Deposit, data: bytes, suffix: str, directory: int) -> str:
        owner = os.fstat(directory)
        mode, moment_ns = deposit.attributes.get("mode"), nanoseconds(deposit.delivered)
        exact = deposit.attributes.get("mtime_ns")
        if isinstance(exact, int) and deposit.delivered is not None and moment(exact) == deposit.delivered:
            moment_ns = exact
        tmp = unfinished_name()
        try:
            rights = mode & 0o777 if isinstance(mode, int) else owner.st_mode & 0o666
            write_file(tmp, directory, data, mode=rights, moment_ns=moment_ns, owner=owner)
            while True:
                name = self._free_name(deposit, data, suffix, directory)
                if link_new(tmp, directory, name, directory):
                    break
        finally:
            unlink_if_there(tmp, directory)
            os.fsync(directory)
        return name

    def _free_name(self, deposit: Deposit, data: bytes, suffix: str, directory: int) -> str:
        if self._only is not None:
            if exists(self._only, directory):
                raise ItemDamaged(f"{self._only} is there already, and this mailbox has one file")
            return self._only
        return name_for(deposit.attributes, data, suffix, lambda name: not exists(name, directory))

    def close(self) -> None:
        """Close the directory."""
        if self.root >= 0:
            os.close(self.root)
            self.root = -1

    def _must_be_writable(self) -> None:
        if not self._writable:
            raise Unsupported(f"{self.path} was opened for reading only", hint="Open it with writable=True.")
        try:
            now = file_identity(self.path.stat())
        except OSError as error:
            raise os_error(error, self.path, "looking at the directory") from error
        if now != file_identity(os.fstat(self.root)):
            raise MailboxChanged(
                f"{self.path}: another directory was put in this one's place",
                hint="Nothing was done to it. Make a new plan.",
            )

    def _walk(self) -> Iterator[_Found]:
        """Every file that may be a message, and what cannot be read."""
        if self._only is not None:
            if exists(self._only, self.root):
                yield _Found((), self._only, self.root)
            return
        for parts, reason, names in self._directories():
            if reason:
                yield _Found(parts[:-1], parts[-1] if parts else ".", -1, reason)
                continue
            with opened_below(parts, self.root) as directory:
                for name in names:
                    if is_named(name):
                        yield _Found(parts, name, directory)

    def _directories(self) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
        """Every directory with the names of its files (links too); with a reason where it cannot be listed."""
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            files: list[str] = []
            below: list[tuple[str, ...]] = []
            linked: list[tuple[str, ...]] = []
            try:
                with opened_below(parts, self.root) as directory, os.scandir(directory) as listing:
                    for entry in listing:
                        if entry.is_dir(follow_symlinks=False):
                            below.append((*parts, entry.name))
                        elif entry.is_symlink() and not is_named(entry.name) and entry.is_dir():
                            linked.append((*parts, entry.name))
                        else:
                            files.append(entry.name)
            except FileNotFoundError:
                continue
            except OSError as error:
                yield parts, f"the directory: {reason_of(error)}", []
                continue
            yield parts, "", sorted(files)
            yield from ((link, "it is a symbolic link, which is not followed", []) for link in sorted(linked))
            if len(parts) >= _DEPTH:
                yield from ((one, f"more than {_DEPTH} directories deep", []) for one in sorted(below))
                continue
            waiting += [one for one in sorted(below, reverse=True) if not is_case(self.path.joinpath(*one))]


def named_identity(directory: str, name: str) -> str:
    """The identity of a file that is replaced when it is changed: its directory's, and its name in it."""
    return f"{directory},name:{sha256_hex(os.fsencode(name))[:16]}"


def _flushed(answers: list[Removal], directory: int) -> list[Removal]:
    """``answers`` once ``directory`` is flushed; what was removed is unknown where that fails."""
    try:
        os.fsync(directory)
    except OSError as error:
        detail = f"removed, but that could not be flushed to disk: {reason_of(error)}"
        gone = Outcome.REMOVED
        return [Removal(a.id, Outcome.UNKNOWN, detail) if a.outcome is gone else a for a in answers]
    return answers
