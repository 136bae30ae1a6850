"""One PST, OST or PAB file opened for reading with libpff, and with Excise's own reader where that is asked for.

Invariants: the file is opened by descriptors that follow no link, one for each reader, both of the same file; every
error of libpff becomes ``Unreachable`` with libpff's own reason, or an ``ExciseError``, at this edge.

libpff checks the header's checksums only: a block whose content changed and whose structure did not is not noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from excise.core.errors import DamagedInput, SourceUnavailable
from excise.core.files import file_identity, open_nofollow, os_error
from excise.core.text import shown
from excise.mapi.tags import PS_MAPI, PS_PUBLIC_STRINGS, NamedProperty
from excise.store_api.errors import MailboxChanged

if TYPE_CHECKING:
    import excise.pst

MAGIC = b"!BDN"
_CLIENTS = {b"SM": "PST", b"SO": "OST", b"AB": "PAB"}
_ENCRYPTION = {0: "none", 1: "permute", 2: "cyclic"}
_RECORD_KEY, _IPM_SUBTREE, _PST_PASSWORD = 0x0FF9, 0x35E0, 0x67FF
_GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM = 2, 3, 4
#: PtypObject: the value names a node.
OBJECT = 0x000D
_USUAL_SUBTREE = 0x8022
_FIRST_UNICODE = 20
_NO_SET = UUID(int=0)


class Unreachable(Exception):
    """libpff could not reach something; the text is its reason."""


@contextmanager
def libpff() -> Iterator[None]:
    """Turn what libpff raises inside the block into ``Unreachable``."""
    try:
        yield
    except (OSError, MemoryError, ValueError, OverflowError, SystemError) as error:
        chain = [part for part in str(error).split(". ") if part]
        text = chain[1] if len(chain) > 1 else (chain or [type(error).__name__])[0]
        raise Unreachable(f"libpff: {shown(text, 300)}") from error


def entries(owner: Any, index: int, skip: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Tag and raw value of each property in one record set; the value of the id ``skip`` is left out (objects stay)."""
    with libpff():
        records = owner.get_record_set(index)
        if records is None:
            raise ValueError("the properties are missing")
        for number in range(records.number_of_entries):
            entry = records.get_entry(number)
            property_id, kind = entry.entry_type, entry.value_type
            if property_id is None or kind is None:
                raise ValueError(f"property {number + 1} has no id or no type")
            skipped = property_id == skip and kind != OBJECT
            yield (property_id << 16 | kind, b"" if skipped else entry.get_data() or b"")


def record_values(owner: Any, index: int = 0) -> dict[int, bytes]:
    """The values of one record set of ``owner`` by property id; Unreachable where libpff fails."""
    return {tag >> 16: raw for tag, raw in entries(owner, index)}


class PstFile:
    """An open file. ``handle`` is the ``pypff.file``; ``values`` are the message store's properties by id, raw."""

    def __init__(self, path: Path) -> None:
        """Open the file at ``path``, which is resolved once; DamagedInput or SourceUnavailable where that fails."""
        self._more = ExitStack()
        try:
            self.path = path.resolve(strict=True)
            self._stream = os.fdopen(open_nofollow(self.path), "rb", buffering=0)
        except (OSError, RuntimeError, ValueError) as error:
            problem = error if isinstance(error, OSError) else OSError(0, str(error))
            raise os_error(problem, shown(str(path)), "opening the PST file") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        import pypff

        self.status = os.fstat(self._stream.fileno())
        self._head = os.pread(self._stream.fileno(), 16, 0)
        if self._head[:4] != MAGIC:
            raise DamagedInput(f"{self.path}: expected a PST file (it begins with '!BDN'), found something else")
        handle = pypff.file()
        try:
            with libpff():
                handle.open_file_object(self._stream)
                self.handle = handle
                self.root = self.handle.get_root_folder()
                store = self.handle.get_message_store()
            self._encryption = self.handle.encryption_type
            self.values: Mapping[int, bytes] = record_values(store) if store is not None else {}
        except Unreachable as error:
            raise self._damaged(str(error)) from error
        if self.root is None:
            raise self._damaged("there is no root folder")
        if self._encryption not in _ENCRYPTION:
            raise DamagedInput(
                f"{self.path}: encrypted in a way that only Windows can undo (method {self._encryption:#x})",
                hint="Open it in Outlook on the machine that protects it, and export it from there.",
            )

    def _damaged(self, reason: str) -> DamagedInput:
        return DamagedInput(
            f"{self.path}: the PST file cannot be opened: {reason}",
            hint="Let Outlook's Inbox Repair Tool (SCANPST) mend a copy, and search that.",
        )

    @cached_property
    def reader(self) -> excise.pst.PstFile:
        """The same file through Excise's own reader; an ExciseError where it cannot be opened."""
        import excise.pst

        try:
            stream = self._more.enter_context(os.fdopen(open_nofollow(self.path), "rb", buffering=0))
        except OSError as error:
            raise os_error(error, self.path, "opening the PST file again") from error
        now = os.fstat(stream.fileno())
        if (now.st_dev, now.st_ino) != (self.status.st_dev, self.status.st_ino):
            raise self._changed()
        return excise.pst.open(stream)

    @property
    def record_key(self) -> str:
        """PidTagRecordKey of the message store in hex, empty where the file has none."""
        return self.values.get(_RECORD_KEY, b"").hex()

    @property
    def subtree_nid(self) -> int:
        """The node id of the IPM subtree: the last four bytes of its EntryID ([MS-PST] 2.4.3.2), else the usual one."""
        entry_id = self.values.get(_IPM_SUBTREE, b"")
        return int.from_bytes(entry_id[20:24], "little") if len(entry_id) == 24 else _USUAL_SUBTREE

    @property
    def is_ansi(self) -> bool:
        """True for the format of Outlook 97 to 2002, whose strings are in a code page that the file does not name."""
        return int.from_bytes(self._head[10:12], "little") < _FIRST_UNICODE

    @property
    def is_ost(self) -> bool:
        """True for an OST: the local copy of a server's mailbox."""
        return self._head[8:10] == b"SO"

    def identity(self) -> str:
        """What makes it the same mailbox (S30): record key, and device and inode of the file at the path now."""
        try:
            status = self.path.stat(follow_symlinks=False)
        except OSError as error:
            raise os_error(error, self.path, "looking at the PST file") from error
        return f"key:{self.record_key or 'none'},{file_identity(status)}"

    def details(self) -> dict[str, str]:
        """What is worth knowing of the file, for people."""
        version = int.from_bytes(self._head[10:12], "little")
        found = {
            "format": _CLIENTS.get(self._head[8:10], "unknown"),
            "version": "ANSI" if self.is_ansi else "Unicode, pages of 4 KiB" if version > 35 else "Unicode",
            "encoding": _ENCRYPTION[self._encryption],
        }
        if any(self.values.get(_PST_PASSWORD, b"")):
            found["password mark"] = "set; it does not encrypt anything and is not asked for"
        if not self.record_key:
            found["record key"] = "none; the file is told by device and inode alone"
        return found

    def names(self) -> dict[int, NamedProperty]:
        """The named properties of this file by property id ([MS-PST] 2.4.7); empty where the map cannot be read.

        libpff knows which properties have a name and gives Python no way to ask for it, so its streams are read here.
        """
        try:
            with libpff():
                node = self.handle.get_name_to_id_map()
            streams = record_values(node) if node is not None else {}
        except Unreachable:
            return {}
        return parse_names(*(streams.get(key, b"") for key in (_GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM)))

    def check_unchanged(self) -> None:
        """MailboxChanged where the file is not what was opened: replaced, written to, or cut."""
        now = os.fstat(self._stream.fileno())
        same = (now.st_size, now.st_mtime_ns) == (self.status.st_size, self.status.st_mtime_ns)
        try:
            there = self.path.stat(follow_symlinks=False)
        except OSError as error:
            raise os_error(error, self.path, "looking at the PST file again") from error
        if not same or (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):
            raise self._changed()

    def _changed(self) -> MailboxChanged:
        return MailboxChanged(
            f"{self.path}: the file changed while it was read",
            hint="Close Outlook, or make a copy of the file, and run the command again.",
        )

    def close(self) -> None:
        """Let go of the file; twice is no error."""
        self._more.close()
        handle, self.handle = getattr(self, "handle", None), None
        if handle is not None:
            try:
                with libpff():
                    handle.close()
            except Unreachable as error:
                raise SourceUnavailable(f"{self.path}: closing the PST file failed: {error}") from error
            finally:
                self._stream.close()
        self._stream.close()


def parse_names(guids: bytes, entries: bytes, strings: bytes) -> dict[int, NamedProperty]:
    """Names by property id from the three streams of the name-to-id map; an entry that points nowhere is left out."""
    sets = [PS_MAPI, PS_PUBLIC_STRINGS]
    sets += [UUID(bytes_le=guids[at : at + 16]) for at in range(0, len(guids) - 15, 16)]
    found: dict[int, NamedProperty] = {}
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
            if size and len(raw) == size:
                found[property_id] = NamedProperty(guid, name=raw.decode("utf-16-le", "replace"))
        else:
            found[property_id] = NamedProperty(guid, lid=number)
    return found
