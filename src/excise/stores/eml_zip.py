"""A zip archive of .eml and .msg files as a mailbox.

An item's id is the member's name, followed by its CRC and size where several members bear one name; names are ids here,
never paths. The mailbox's identity is the archive's directory and name, since a removal replaces the file.

Invariants: what a member says of its size is not believed, and none is expanded beyond bounds; an archive that could
not be written anew with its other members unchanged is searched, and each of its items carries the reason as a doubt.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from excise.core.errors import DamagedInput, ExciseError, SourceUnavailable
from excise.core.files import file_identity, open_nofollow, os_error
from excise.model.item import Deposit, Disposal, Fetched, Outcome, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound, MailboxChanged, Unsupported
from excise.store_api.protocols import Candidate, Filter, Folder, MailboxInfo, Tally, Unreadable
from excise.stores.directory import MAX_MESSAGE, is_component, reason_of, same_file
from excise.stores.eml_content import EmlFile, file_of, is_named, is_text, name_for, version_of_deposit
from excise.stores.eml_tree import named_identity
from excise.stores.window import WINDOW, header_end
from excise.stores.zip_layout import MEMBERS_MAX, NotPlainError, is_oversized, read_layout
from excise.stores.zip_rewrite import NewMember, new_member, replace_archive, undo_unfinished

#: How many times its packed size a member above ``_BOMB_SIZE`` bytes may have; mail seldom shrinks tenfold.
_BOMB_RATIO, _BOMB_SIZE = 200, 16 << 20
_ENCRYPTED = 0x1


class _Entry(NamedTuple):
    """A member that may be a message: its number in the directory, its id, and what zipfile says of it."""

    number: int
    id: str
    info: zipfile.ZipInfo

    @property
    def folder(self) -> str:
        return self.info.filename.rpartition("/")[0]


class _Archive:
    """The archive as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open it; DamagedInput where it is no archive that can be read."""
        try:
            self.fd = open_nofollow(path)
        except OSError as error:
            raise os_error(error, path, "opening the archive") from error
        try:
            self.status = os.fstat(self.fd)
            self._stream, self.zip = _open_zip(path, self.fd)
        except BaseException:
            os.close(self.fd)
            raise
        self.doubt = self._doubt()
        self.entries = _entries(self.zip)
        self.by_id = {entry.id: entry for entry in self.entries}

    def _doubt(self) -> str:
        if self.status.st_nlink > 1:
            return "the archive has another name (a hard link), which would keep the message"
        try:
            read_layout(self.fd)
        except NotPlainError as error:
            return f"the archive cannot be written anew: {error}"
        return ""

    def named(self, item_id: str) -> list[_Entry]:
        """The members that an id means; another one may have come or gone since the id was made."""
        if item_id in self.by_id:
            return [self.by_id[item_id]]
        return [e for e in self.entries if item_id in (e.info.filename, _marked(e.info))]

    def read(self, entry: _Entry) -> EmlFile:
        """The member, expanded and checked; ItemDamaged where it cannot be had."""
        data = self._expand(entry, None)
        return EmlFile(entry.id, entry.folder, data or b"", _moment(entry.info), self.doubt)

    def read_unless(self, entry: _Entry, rejects: Callable[[bytes], bool]) -> EmlFile | None:
        """The member; None where ``rejects`` says so of its header, the rest then unread."""
        data = self._expand(entry, rejects)
        return None if data is None else EmlFile(entry.id, entry.folder, data, _moment(entry.info), self.doubt)

    def _expand(self, entry: _Entry, rejects: Callable[[bytes], bool] | None) -> bytes | None:
        info = entry.info
        if info.flag_bits & _ENCRYPTED:
            raise ItemDamaged(f"{entry.id}: the member is encrypted")
        if info.file_size > MAX_MESSAGE:
            raise ItemDamaged(f"{entry.id}: {info.file_size} bytes, more than the {MAX_MESSAGE} of a message")
        if info.file_size > _BOMB_SIZE and info.file_size > _BOMB_RATIO * info.compress_size:
            raise ItemDamaged(f"{entry.id}: it expands more than {_BOMB_RATIO}-fold, as no mail does (a zip bomb)")
        try:
            with self.zip.open(info) as member:
                data = member.read(min(WINDOW, info.file_size + 1))
                end = header_end(data)
                if rejects is not None and end >= 0 and is_text(data) and rejects(data[:end]):
                    return None
                data += member.read(info.file_size + 1 - len(data))
        except Exception as error:  # zipfile and its decompressors raise about ten kinds; each is this member's damage
            raise ItemDamaged(f"{entry.id}: the member cannot be read: {error}") from error
        if len(data) != info.file_size:
            raise ItemDamaged(f"{entry.id}: expected {info.file_size} bytes, found {len(data)}")
        return data

    def close(self) -> None:
        """Close the archive."""
        self.zip.close()
        self._stream.close()
        os.close(self.fd)


def _open_zip(path: Path, fd: int) -> tuple[BinaryIO, zipfile.ZipFile]:
    if is_oversized(fd):
        raise DamagedInput(f"{path}: more than {MEMBERS_MAX} members", hint="Unpack it and search the directory.")
    stream = os.fdopen(os.dup(fd), "rb")
    try:
        return stream, zipfile.ZipFile(stream)
    except Exception as error:  # zipfile raises several kinds for a damaged directory
        stream.close()
        raise DamagedInput(
            f"{path}: expected a zip archive, found one that cannot be read: {error}",
            hint="Try unzip -t; a copy that was cut short must be fetched again.",
        ) from error


def _entries(archive: zipfile.ZipFile) -> list[_Entry]:
    infos = [(n, i) for n, i in enumerate(archive.infolist()) if not i.is_dir() and is_named(i.filename)]
    names = Counter(info.filename for _, info in infos)
    given: set[str] = set()
    entries = []
    for number, info in infos:
        first = item_id = info.filename if names[info.filename] == 1 else _marked(info)
        twin = 1
        while item_id in given:
            twin += 1
            item_id = f"{first}.{twin}"
        given.add(item_id)
        entries.append(_Entry(number, item_id, info))
    return entries


def _marked(info: zipfile.ZipInfo) -> str:
    return f"{info.filename}#{info.CRC:08x}-{info.file_size}"


def _moment(info: zipfile.ZipInfo) -> datetime | None:
    """The member's time in UTC from its extra field 0x5455; None without one, since the other time has no zone."""
    extra, at = info.extra, 0
    while at + 4 <= len(extra):
        kind, length = extra[at : at + 2], int.from_bytes(extra[at + 2 : at + 4], "little")
        field = extra[at + 4 : at + 4 + length]
        if kind == b"UT" and len(field) >= 5 and field[0] & 1:
            return datetime.fromtimestamp(int.from_bytes(field[1:5], "little", signed=True), UTC)
        at += 4 + length
    return None


class EmlZip:
    """One opened archive."""

    def __init__(self, kind: str, path: Path, *, writable: bool) -> None:
        """Open the archive at ``path``, which is resolved already."""
        self._kind, self.path, self._writable = kind, path, writable
        self._identity = self._identity_now()
        self._archive: _Archive | None = _Archive(path)

    def _identity_now(self) -> str:
        try:
            return named_identity(file_identity(self.path.parent.stat()), self.path.name)
        except OSError as error:
            raise os_error(error, self.path, "looking at the archive") from error

    @property
    def info(self) -> MailboxInfo:
        """The archive that stands at the path now."""
        identity = self._identity_now()
        try:
            size = self.path.lstat().st_size
        except OSError as error:
            raise os_error(error, self.path, "looking at the archive") from error
        return MailboxInfo(self._kind, f"{self._kind}:{self.path}", str(self.path), identity, size, size)

    def _current(self) -> _Archive:
        """The archive, opened anew where another file stands at the path by now."""
        if self._archive is not None:
            with suppress(OSError):
                if same_file(self._archive.status, self.path.lstat()):
                    return self._archive
            self.close()
        self._archive = _Archive(self.path)
        return self._archive

    @property
    def has_messages(self) -> bool:
        """True where some member is named as a message."""
        return bool(self._current().entries)

    def folders(self) -> Iterator[Folder]:
        """Every directory that holds messages."""
        counts = Counter(entry.folder for entry in self._current().entries)
        yield from (Folder(path, number) for path, number in sorted(counts.items()))

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every message, in the archive's order; MailboxChanged at the end where the file was written to meanwhile."""
        archive = self._current()
        for entry in archive.entries:
            if not matcher.admits_folder(entry.folder):
                tally.advance(1, 0)
                continue
            try:
                file = archive.read_unless(entry, matcher.rejects_header)
            except ItemDamaged as error:
                tally.advance(1, 0)
                yield Unreadable(f"{self.path}: {entry.id}", reason_of(error), entry.folder, entry.id)
                continue
            tally.advance(1, entry.info.compress_size)
            if file is not None:
                yield file
        tally.flush()
        if archive is self._archive and not same_file(archive.status, os.fstat(archive.fd)):
            raise MailboxChanged(f"{self.path} was written to while it was read", hint="Run the command again later.")

    def fetch(self, item_id: str) -> Fetched:
        """One message, whole."""
        archive = self._current()
        entries = archive.named(item_id)
        if not entries:
            raise ItemNotFound(f"{self.path}: there is no member {item_id[:200]!r}", hint="Search again.")
        name = entries[0].info.filename.rpartition("/")[2]
        file = archive.read(entries[0]._replace(id=item_id))
        return file.fetched({"name": name, "mode": entries[0].info.external_attr >> 16 & 0o777})

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Write the archive anew without ``targets``: all in one step."""
        self._must_be_writable()
        if disposal is not Disposal.HARD:
            raise Unsupported(f"an archive has no disposal {disposal.value!r}", hint="It has hard alone.")
        return iter(self._remove(targets)) if targets else iter(())

    def _remove(self, targets: Sequence[Target]) -> list[Removal]:
        archive = self._current()
        chosen: dict[int, str] = {}
        answers: dict[str, Removal] = {}
        for target in targets:
            number = self._check(archive, target, chosen)
            if isinstance(number, Removal):
                answers[target.id] = number
            else:
                chosen[number] = target.id
        outcome, detail = self._rewrite(archive, chosen) if chosen else (None, "")
        for item_id in chosen.values():
            answers[item_id] = Removal(item_id, outcome or Outcome.REMOVED, detail)
        return list(answers.values())

    def _check(self, archive: _Archive, target: Target, chosen: Collection[int]) -> int | Removal:
        """The member to remove for ``target``, read again; or the answer why there is none."""
        entries = [entry for entry in archive.named(target.id) if entry.number not in chosen]
        if not entries:
            return Removal(target.id, Outcome.ALREADY_ABSENT)
        for entry in entries:
            try:
                if archive.read(entry).version == target.version:
                    return entry.number
            except ItemDamaged as error:
                return Removal(target.id, Outcome.FAILED, error.message)
        return Removal(target.id, Outcome.CHANGED, "its content is not the one that was planned")

    def _rewrite(
        self, archive: _Archive, drop: Collection[int], added: Sequence[NewMember] = ()
    ) -> tuple[Outcome | None, str]:
        """Replace the archive; where that did not go well, the outcome for each item, and why."""
        try:
            unsure = replace_archive(self.path, archive.fd, drop, added)
        except ExciseError as error:
            return Outcome.FAILED, error.message
        except (OSError, zipfile.BadZipFile) as error:
            return Outcome.FAILED, f"writing the archive anew failed: {reason_of(error)}; the old one is in its place"
        return (Outcome.UNKNOWN, unsure) if unsure else (None, "")

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now."""
        archive = self._current()
        return {target.id: self._place(archive, target) for target in targets}

    def _place(self, archive: _Archive, target: Target) -> Whereabouts:
        place = Whereabouts.ABSENT
        for entry in archive.named(target.id):
            try:
                if archive.read(entry).version == target.version:
                    return Whereabouts.HERE
            except ItemDamaged:
                return Whereabouts.UNKNOWN
            place = Whereabouts.CHANGED
        return place

    def recover(self) -> Sequence[str]:
        """Take away an archive that was not finished; the one at the path is whole, old or new."""
        self._must_be_writable()
        return undo_unfinished(self.path.parent)

    def version_of(self, deposit: Deposit) -> str:
        """SHA-256 of the file to come."""
        return version_of_deposit(deposit)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many messages of each version there are, by folder. Reads every message."""
        wanted = frozenset(versions)
        found: Counter[tuple[str, str]] = Counter()
        archive = self._current()
        for entry in archive.entries if wanted else ():
            with suppress(ItemDamaged):
                version = archive.read(entry).version
                if version in wanted:
                    found[entry.folder, version] += 1
        return found

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Write the archive anew with ``deposits`` at its end: all in one step."""
        self._must_be_writable()
        return iter(self._put(deposits)) if deposits else iter(())

    def _put(self, deposits: Sequence[Deposit]) -> list[Placed]:
        archive = self._current()
        names = set(archive.zip.NameToInfo)
        added: list[NewMember] = []
        answers: list[Placed] = []
        for deposit in deposits:
            try:
                name, member = _member(deposit, names)
            except ItemDamaged as error:
                answers.append(Placed(Outcome.FAILED, None, error.message))
                continue
            names.add(name)
            added.append(member)
            answers.append(Placed(Outcome.RESTORED, name))
        outcome, detail = self._rewrite(archive, (), added) if added else (None, "")
        if outcome is not None:
            return [answer if answer.id is None else Placed(Outcome.FAILED, None, detail) for answer in answers]
        return answers

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _must_be_writable(self) -> None:
        if not self._writable:
            raise Unsupported(f"{self.path} was opened for reading only", hint="Open it with writable=True.")
        if self._identity_now() != self._identity:
            raise MailboxChanged(f"{self.path}: the directory around it is another one now", hint="Make a new plan.")
        try:
            links = self.path.lstat()
        except OSError as error:
            raise os_error(error, self.path, "looking at the archive") from error
        if not stat.S_ISREG(links.st_mode):
            raise SourceUnavailable(f"{self.path}: expected a file, found something else", hint="Make a new plan.")


def _member(deposit: Deposit, names: Collection[str]) -> tuple[str, NewMember]:
    """Name and bytes of a new member for ``deposit``; ItemDamaged where it can have none."""
    parts = deposit.folder.split("/") if deposit.folder else []
    if not all(is_component(part) and part.isprintable() for part in parts) or len(deposit.folder) > 4000:
        raise ItemDamaged("no directory in an archive can have this path")
    data, suffix = file_of(deposit)
    prefix = "".join(part + "/" for part in parts)
    name = name_for(deposit.attributes, data, suffix, lambda name: prefix + name not in names)
    mode = deposit.attributes.get("mode")
    rights = mode if isinstance(mode, int) and mode else 0o644
    return prefix + name, new_member(prefix + name, data, rights, deposit.delivered)
