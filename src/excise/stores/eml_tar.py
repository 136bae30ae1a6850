"""A tar archive (also gzip, bzip2 or xz) of .eml and .msg files as a mailbox, to search and to copy from.

An item's id is the member's name, numbered where several members bear one name. Invariants: no member is unpacked to
disk; what is compressed is not expanded beyond a bound; where the archive is damaged or cut short, the rest of it is
reported as unreadable.
"""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, NoReturn

from excise.core.errors import DamagedInput
from excise.core.files import file_identity, open_nofollow, os_error
from excise.model.item import Deposit, Disposal, Fetched, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemDamaged, ItemNotFound, MailboxChanged, Unsupported
from excise.store_api.protocols import Candidate, Filter, Folder, MailboxInfo, Tally, Unreadable
from excise.stores.directory import MAX_MESSAGE, reason_of, same_file
from excise.stores.eml_content import EmlFile, is_named, version_of_deposit

NO_CHANGE = "a tar archive is not changed: unpack it and remove from the directory, or use excise copy"
#: What a compressed archive may expand to: this many times its size, or this many bytes, whichever is more.
_EXPANSION, _EXPANDED_MIN = 200, 4 << 30
_MEMBERS_MAX = 5_000_000
_BLOCK = 512


class _Member(NamedTuple):
    """A member that may be a message; with a ``reason`` where it, or the rest of the archive, cannot be read."""

    id: str
    info: tarfile.TarInfo | None
    reason: str = ""

    @property
    def folder(self) -> str:
        return self.info.name.rpartition("/")[0] if self.info is not None else ""

    @property
    def delivered(self) -> datetime | None:
        try:
            return None if self.info is None else datetime.fromtimestamp(self.info.mtime, UTC)
        except (OverflowError, ValueError, OSError):
            return None


class EmlTar:
    """One opened archive."""

    def __init__(self, kind: str, path: Path) -> None:
        """Open the archive at ``path``, which is resolved already."""
        self._kind, self.path = kind, path
        try:
            self._fd = open_nofollow(path)
        except OSError as error:
            raise os_error(error, path, "opening the archive") from error
        self._status = os.fstat(self._fd)
        self._stream = os.fdopen(self._fd, "rb", closefd=False)
        try:
            self._tar = self._opened()
        except Exception as error:  # tarfile and its decompressors raise about ten kinds
            os.close(self._fd)
            raise DamagedInput(
                f"{path}: expected a tar archive, found one that cannot be read: {error}",
                hint="Try tar -t; a copy that was cut short must be fetched again.",
            ) from error
        self._known: dict[str, tarfile.TarInfo] = {}
        self._walked = False

    def _opened(self) -> tarfile.TarFile:
        """The archive from its start."""
        self._stream.seek(0)
        return tarfile.open(fileobj=self._stream, mode="r:*")

    @property
    def info(self) -> MailboxInfo:
        """The archive that stands at the path now."""
        try:
            status = self.path.lstat()
        except OSError as error:
            raise os_error(error, self.path, "looking at the archive") from error
        details = {"removal": NO_CHANGE}
        return MailboxInfo(
            self._kind,
            f"{self._kind}:{self.path}",
            str(self.path),
            file_identity(status),
            status.st_size,
            details=details,
        )

    def has_messages(self, looked_at: int) -> bool:
        """True where one of the first members (``looked_at`` of them) is a file that is named as a message."""
        for _ in range(looked_at):
            try:
                info = self._tar.next()
            except Exception:  # noqa: BLE001 - as in _walk: what cannot be read shows no message
                return False
            if info is None or info.size > _EXPANDED_MIN:
                return False
            if info.isreg() and is_named(info.name):
                return True
        return False

    def folders(self) -> Iterator[Folder]:
        """Every directory that holds messages."""
        counts = Counter(member.folder for member in self._members() if member.info is not None)
        yield from (Folder(path, number) for path, number in sorted(counts.items()))

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every message in the archive's order; MailboxChanged at the end where the file was written to meanwhile."""
        for member in self._members():
            if not member.reason and not matcher.admits_folder(member.folder):
                tally.advance(1, 0)
                continue
            try:
                file = self._read(member)
            except ItemDamaged as error:
                tally.advance(1, 0)
                yield Unreadable(f"{self.path}: {member.id}", reason_of(error), member.folder, member.id or None)
                continue
            tally.advance(1, len(file.data))
            yield file
        tally.flush()
        if not same_file(self._status, os.fstat(self._fd)):
            raise MailboxChanged(f"{self.path} was written to while it was read", hint="Run the command again later.")

    def _members(self) -> Iterator[_Member]:
        """Every member that may be a message, and where the archive cannot be read to its end."""
        if self._walked:
            yield from (_Member(item_id, info) for item_id, info in list(self._known.items()))
            return
        known: dict[str, tarfile.TarInfo] = {}
        self._tar.close()
        self._tar = self._opened()
        for member in self._walk(known):
            yield member
            if member.reason:
                return
        self._known, self._walked = known, True

    def _walk(self, known: dict[str, tarfile.TarInfo]) -> Iterator[_Member]:
        limit = max(_EXPANDED_MIN, _EXPANSION * self._status.st_size)
        for number in range(_MEMBERS_MAX):
            try:
                info = self._tar.next()
            except Exception as error:  # noqa: BLE001 - tarfile and its decompressors raise about ten kinds; reported
                yield _Member("", None, f"the rest of the archive after {number} members: {error}")
                return
            if info is None:
                problem = self._problem_at_end()
                if problem:
                    yield _Member("", None, problem)
                return
            self._tar.members.clear()  # type: ignore[attr-defined]  # it only grows, by every member that is passed
            if info.offset_data + info.size > limit:
                yield _Member("", None, f"the rest of the archive: it expands to more than {limit} bytes")
                return
            if not is_named(info.name):
                continue
            item_id = _new_id(info.name, known)
            known[item_id] = info
            yield _Member(item_id, info)
        yield _Member("", None, f"the rest of the archive after {_MEMBERS_MAX} members")

    def _problem_at_end(self) -> str:
        """Why the archive is not at its end where tarfile stops; tarfile itself stops at damage without a word."""
        stream = self._tar.fileobj
        if stream is None:
            return ""
        try:
            stream.seek(self._tar.offset)
            block = stream.read(_BLOCK)
        except Exception as error:  # noqa: BLE001 - as in _walk
            return f"the rest of the archive: {error}"
        if not block:
            return "the archive ends without its end mark: it may be cut short"
        return "" if not block.strip(b"\0") else f"the rest of the archive: no header at offset {self._tar.offset}"

    def _read(self, member: _Member) -> EmlFile:
        """The member's file; ItemDamaged where it cannot be had."""
        info, stream = member.info, self._tar.fileobj
        if member.reason or info is None or stream is None:
            raise ItemDamaged(member.reason or "the archive is closed")
        if not info.isreg() or info.issparse():
            raise ItemDamaged(f"{member.id}: expected a file, found a link, a sparse file or something else")
        if info.size > MAX_MESSAGE:
            raise ItemDamaged(f"{member.id}: {info.size} bytes, more than the {MAX_MESSAGE} of a message")
        try:
            stream.seek(info.offset_data)
            data = stream.read(info.size)
        except Exception as error:
            raise ItemDamaged(f"{member.id}: the member cannot be read: {error}") from error
        if len(data) != info.size:
            raise ItemDamaged(f"{member.id}: expected {info.size} bytes, found {len(data)}")
        return EmlFile(member.id, member.folder, data, member.delivered, NO_CHANGE)

    def _named(self, item_id: str) -> _Member:
        if not self._walked:
            for member in self._members():
                if member.id == item_id and member.info is not None:
                    return member
        info = self._known.get(item_id)
        if info is None:
            raise ItemNotFound(f"{self.path}: there is no member {item_id[:200]!r}", hint="Search again.")
        return _Member(item_id, info)

    def fetch(self, item_id: str) -> Fetched:
        """One message, whole."""
        member = self._named(item_id)
        file = self._read(member)
        mode = member.info.mode & 0o777 if member.info is not None else 0
        return file.fetched({"name": item_id.rpartition("/")[2], "mode": mode})

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is now."""
        return {target.id: self._place(target) for target in targets}

    def _place(self, target: Target) -> Whereabouts:
        try:
            version = self._read(self._named(target.id)).version
        except ItemNotFound:
            return Whereabouts.ABSENT
        except ItemDamaged:
            return Whereabouts.UNKNOWN
        return Whereabouts.HERE if version == target.version else Whereabouts.CHANGED

    def version_of(self, deposit: Deposit) -> str:
        """SHA-256 of the file that it would be."""
        return version_of_deposit(deposit)

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many messages of each version there are, by folder. Reads every message."""
        found: Counter[tuple[str, str]] = Counter()
        for member in self._members() if versions else ():
            try:
                version = self._read(member).version
            except ItemDamaged:
                continue
            if version in versions:
                found[member.folder, version] += 1
        return found

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Refused."""
        del targets, disposal
        self._refuse()

    def recover(self) -> Sequence[str]:
        """Nothing is ever begun here."""
        return ()

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Refused."""
        del deposits
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Unsupported(f"{self.path}: {NO_CHANGE}", hint="tar -x, then name the directory.")

    def close(self) -> None:
        """Close the archive."""
        if self._fd >= 0:
            self._tar.close()
            self._stream.close()
            os.close(self._fd)
            self._fd = -1


def _new_id(name: str, known: Mapping[str, object]) -> str:
    item_id, number = name, 1
    while item_id in known:
        number += 1
        item_id = f"{name}#{number}"
    return item_id
