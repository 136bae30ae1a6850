"""One PST, OST or PAB file opened for reading with ``excise.pst``.

Invariants: the file is opened by one descriptor that follows no link; what cannot be read is ``Unreachable`` with the
reader's reason, or an ``ExciseError``, at this edge.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from uuid import UUID

from excise.core.errors import DamagedInput, ExciseError
from excise.core.files import open_nofollow, os_error
from excise.core.text import shown
from excise.mapi.tags import PS_MAPI, PS_PUBLIC_STRINGS, NamedProperty
from excise.pst import Damaged
from excise.pst import PstFile as Reader
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.formats import ANSI, UNICODE_4K
from excise.pst.disk.header import CLIENT_OST, CLIENT_PAB, CLIENT_PST, MAGIC
from excise.pst.disk.ids import NID_MESSAGE_STORE, NID_NAME_TO_ID_MAP
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ndb.edit_journal import IMAGE
from excise.pst.ndb.edit_open import NotEditable, check_editable
from excise.store_api.errors import MailboxChanged
from excise.stores.mbox.replace import identity_of

_CLIENTS = {CLIENT_PST: "PST", CLIENT_OST: "OST", CLIENT_PAB: "PAB"}
_ENCODINGS = {0: "none", 1: "permute", 2: "cyclic"}
_RECORD_KEY, _IPM_SUBTREE, _PST_PASSWORD = 0x0FF9, 0x35E0, 0x67FF
_GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM = 2, 3, 4
#: What names may take beside twice the stream that they are in: that much may share its characters.
_NAME_LIMIT = 1 << 20
#: PtypObject: the value names a node.
OBJECT = 0x000D
_USUAL_SUBTREE = 0x8022
_NO_SET = UUID(int=0)
#: How strings are decoded where neither the item nor the file names a code page; the store decodes most by itself.
_CODEC = "cp1252"


class Unreachable(Exception):
    """Something in the file could not be read; the text is the reason."""


@contextmanager
def reading() -> Iterator[None]:
    """Turn what the reader raises inside the block into ``Unreachable``."""
    try:
        yield
    except (Damaged, ExciseError, OSError) as error:
        raise Unreachable(shown(str(error), 300)) from error


class _Source:
    """The file by its descriptor, which stays the opener's."""

    def __init__(self, fd: int, path: Path, size: int) -> None:
        self.fd, self.name, self.size = fd, str(path), size

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``."""
        data = os.pread(self.fd, length, offset)
        while len(data) < length and (more := os.pread(self.fd, length - len(data), offset + len(data))):
            data += more
        return data

    def close(self) -> None:
        """Nothing: the descriptor is the opener's."""


class PstFile:
    """An open file. ``reader`` is it as ``excise.pst`` reads it, ``status`` its status as it was opened."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, which is resolved once; DamagedInput or SourceUnavailable where that fails."""
        self._fd = -1
        try:
            self.path = path.resolve(strict=True)
            self._fd = open_nofollow(self.path)
        except (OSError, RuntimeError, ValueError) as error:
            problem = error if isinstance(error, OSError) else OSError(0, str(error))
            raise os_error(problem, shown(str(path)), "opening the PST file") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.status = os.fstat(self._fd)
        source = _Source(self._fd, self.path, self.status.st_size)
        try:
            magic = source.read(0, len(MAGIC))
            if magic == MAGIC:
                self._read_store(source)
        except OSError as error:
            raise os_error(error, self.path, "reading the PST file") from error
        except Damaged as error:
            raise self._damaged(str(error)) from error
        except DamagedInput as error:
            raise self._damaged(error.message.removeprefix(f"{self.path}: "), error.hint) from error
        if magic != MAGIC:
            found = "something else" if magic else "an empty file (0 bytes)"
            raise DamagedInput(f"{self.path}: expected a PST file (it begins with '!BDN'), found {found}")

    def _read_store(self, source: _Source) -> None:
        self._use(Reader(source, _CODEC))

    @classmethod
    def of_reader(cls, reader: Reader, path: Path) -> PstFile:
        """The file at ``path`` as ``reader`` has it, which stays the caller's: there is nothing to close.

        Damaged where its message store cannot be read.
        """
        file = cls.__new__(cls)
        file._fd, file.path, file.status = -1, path, path.stat(follow_symlinks=False)
        file._use(reader)
        return file

    def _use(self, reader: Reader) -> None:
        self.reader = reader
        self._store_log = DamageLog()
        node = self.reader.ndb.node(NID_MESSAGE_STORE, self._store_log)
        self._store = None if node is None else PropertyContext(node)
        #: PidTagRecordKey of the message store in hex, empty where the file has none.
        self.record_key = self._value(_RECORD_KEY).hex()
        #: The NID of the IPM subtree: the last four bytes of its EntryID ([MS-PST] 2.4.3.2), else the usual one.
        entry_id = self._value(_IPM_SUBTREE)
        self.subtree_nid = int.from_bytes(entry_id[20:24], "little") if len(entry_id) == 24 else _USUAL_SUBTREE

    def _damaged(self, reason: str, hint: str | None = None) -> DamagedInput:
        return DamagedInput(
            f"{self.path}: the PST file cannot be opened: {reason}",
            hint=hint or "Let Outlook's Inbox Repair Tool (SCANPST) mend a copy, and search that.",
        )

    def _value(self, prop_id: int) -> bytes:
        """The raw value of a property of the message store, empty where it has none. Damaged where it is unreadable."""
        return b"" if self._store is None else self._store.raw(prop_id)

    @property
    def is_ansi(self) -> bool:
        """True for the format of Outlook 97 to 2002, whose strings are in a code page that the file does not name."""
        return self.reader.ndb.format is ANSI

    @property
    def is_ost(self) -> bool:
        """True for an OST: the local copy of a server's mailbox."""
        return self.reader.is_ost

    @property
    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong with what the whole file rests on: (what it is, the reason).

        Where the tree of nodes is damaged, nodes may be missing of which nothing else tells.
        """
        yield from (("the tree of nodes", one.text()) for one in self.reader.damage if one.structure.startswith("NBT "))
        yield from (("the message store", one.text()) for one in self._store_log.entries)
        yield from (("the names of properties", reason) for reason in self._name_map[1])

    def identity(self) -> str:
        """What makes it the same mailbox (S30): record key, and device and inode of the file at the path now.

        Those of the first file where a compacted one stands in its place.
        """
        try:
            status = self.path.stat(follow_symlinks=False)
        except OSError as error:
            raise os_error(error, self.path, "looking at the PST file") from error
        return f"key:{self.record_key or 'none'},{identity_of(self.path, status)}"

    def details(self) -> dict[str, str]:
        """What is worth knowing of the file, for people."""
        header, kind = self.reader.header, self.reader.ndb.format
        found = {
            "format": _CLIENTS.get(header.wMagicClient, "unknown"),
            "version": "ANSI" if kind is ANSI else "Unicode, pages of 4 KiB" if kind is UNICODE_4K else "Unicode",
            "encoding": _ENCODINGS[header.bCryptMethod],
        }
        with reading():
            if any(self._value(_PST_PASSWORD)):
                found["password mark"] = "set; it does not encrypt anything and is not asked for"
        if not self.record_key:
            found["record key"] = "none; the file is told by device and inode alone"
        if refused := self._removal_refused():
            found["removal"] = refused
            if self.status.st_nlink == 1:
                # What is to stay can go into a new file (``pst_remake``).
                found["rewrite"] = "possible"
        return found

    def _removal_refused(self) -> str:
        """Why nothing can be removed from the file, and what remains; empty where its first bytes do not tell."""
        if self.status.st_nlink > 1:
            return (
                f"has {self.status.st_nlink} names (hard links): copy it, or remove the other names (safety rule S19)"
            )
        source = self.reader.source
        try:
            check_editable("it", source.read(0, IMAGE), source.size)
        except NotEditable as error:
            return f"{error.message.removeprefix('it: ')}. {error.hint}"
        return ""

    def was_written_to(self) -> bool:
        """True where the file at the path is still the one that was opened, and was written to since."""
        try:
            now = self.path.stat(follow_symlinks=False)
        except OSError:
            # Whoever reads it next says why that fails.
            return False
        same = (now.st_dev, now.st_ino) == (self.status.st_dev, self.status.st_ino)
        return same and (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns)

    @property
    def names(self) -> dict[int, NamedProperty]:
        """The named properties of this file by property id ([MS-PST] 2.4.7); empty where there is no map to read."""
        return self._name_map[0]

    @cached_property
    def _name_map(self) -> tuple[dict[int, NamedProperty], list[str]]:
        """The names, and what is wrong with them."""
        log = DamageLog()
        try:
            with reading():
                node = self.reader.ndb.node(NID_NAME_TO_ID_MAP, log)
                if node is None:
                    return {}, []
                streams = map(PropertyContext(node).raw, (_GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM))
                names = parse_names(*streams)
        except Unreachable as error:
            return {}, [str(error)]
        return names, [one.text() for one in log.entries]

    def check_unchanged(self) -> None:
        """MailboxChanged where the file is not what was opened: replaced, written to, or cut."""
        now = os.fstat(self._fd)
        same = (now.st_size, now.st_mtime_ns) == (self.status.st_size, self.status.st_mtime_ns)
        try:
            there = self.path.stat(follow_symlinks=False)
        except OSError as error:
            raise os_error(error, self.path, "looking at the PST file again") from error
        if not same or (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):
            raise MailboxChanged(
                f"{self.path}: the file changed while it was read",
                hint="Close Outlook, or make a copy of the file, and run the command again.",
            )

    def close(self) -> None:
        """Let go of the file; twice is no error."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def parse_names(guids: bytes, entries: bytes, strings: bytes) -> dict[int, NamedProperty]:
    """Names by property id from the three streams of the name-to-id map; an entry that points nowhere is left out.

    Unreachable where names share so many characters that together they are far larger than their stream.
    """
    sets = [PS_MAPI, PS_PUBLIC_STRINGS]
    sets += [UUID(bytes_le=guids[at : at + 16]) for at in range(0, len(guids) - 15, 16)]
    found: dict[int, NamedProperty] = {}
    room = _NAME_LIMIT + 2 * len(strings)
    for at in range(0, len(entries) - 7, 8):
        number = int.from_bytes(entries[at : at + 4], "little")
        kind = int.from_bytes(entries[at + 4 : at + 6], "little")
        property_id = 0x8000 + int.from_bytes(entries[at + 6 : at + 8], "little")
        which = (kind >> 1) - 1
        if which >= len(sets) or property_id > 0xFFFF:
            continue
        guid = sets[which] if which >= 0 else _NO_SET
        if kind & 1:
            size = int.from_bytes(strings[number : number + 4], "little")
            raw = strings[number + 4 : number + 4 + size]
            room -= len(raw)
            if room < 0:
                raise Unreachable(f"they are more than twice as large as their stream of {len(strings)} bytes")
            if size and len(raw) == size:
                found[property_id] = NamedProperty(guid, name=raw.decode("utf-16-le", "replace"))
        else:
            found[property_id] = NamedProperty(guid, lid=number)
    return found
