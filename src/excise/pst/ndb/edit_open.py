"""Which files may be changed in place: sound Unicode PST files. All others are refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable

from excise.core.errors import DamagedInput, Unfinished
from excise.pst.disk import maps
from excise.pst.disk.crypt import CRYPT_CYCLIC
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import CLIENT_OST, CLIENT_PST, MAGIC, Header, header_crcs
from excise.pst.ndb.edit_journal import IMAGE
from excise.pst.ndb.edit_storage import Storage, StorageSource
from excise.pst.ndb.edit_survey import Survey
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import Source

_VERSION = 23
_MAX_UNIQUE = 0xFFFF0000
# Far above what a file can have, and far below where a BID no longer has room in its eight bytes.
_MAX_NEXT_BID = 1 << 62
_REWRITE = "It can only be written anew: what is to stay, into a new PST file (--rewrite)."
_ON_SERVER = "Remove the messages on the server; or write what is to stay into a new PST file (--rewrite)."
_EXPORT = "Open it in Outlook as its owner and export it without protection; without the key nothing else remains."
_DAMAGED = "Restore it from a backup; or write what can be read, without the messages, into a new PST file (--rewrite)."


class NotEditable(DamagedInput):
    """This file cannot be changed in place. The message says why, the hint what remains."""


def open_database(storage: Storage, judge: Callable[[Source], bool] | None = None) -> tuple[NodeDatabase, Survey]:
    """The node database of the file in ``storage``, read through and found sound.

    NotEditable where it cannot be changed in place, Unfinished where a journal stands beside it, and what ``judge``
    raises, which is asked before anything is kept of the file, so that its memory is free again. It is true where the
    blocks were just held against their checksums, which is then not done again.
    """
    if storage.read_journal() is not None:
        raise Unfinished(
            f"{storage.name}: an earlier change of this file was broken off",
            hint="Let excise resume finish or undo it first.",
        )
    check_editable(storage.name, storage.read(0, IMAGE), storage.size())
    whole = judge is not None and judge(StorageSource(storage))
    try:
        ndb = NodeDatabase(StorageSource(storage), DamageLog())
        return ndb, Survey(ndb, checked_from=ndb.header.bidNextB if whole else 0)
    except Damaged as error:
        raise _refused(storage.name, f"it is damaged: {error}", _DAMAGED) from error


def check_editable(name: str, head: bytes, size: int) -> None:
    """NotEditable where a file of ``size`` bytes that begins with ``head`` cannot be changed in place.

    ``name`` is what the message calls it. ``head``: ``IMAGE`` bytes. What lies behind them may still forbid it.
    """
    try:
        header = Header.unpack(head)
    except ValueError as error:
        raise _refused(name, f"its header cannot be read: {error}", _DAMAGED) from error
    if head[: len(MAGIC)] != MAGIC:
        raise _refused(name, f"it begins with {head[: len(MAGIC)]!r}, not with {MAGIC!r}", _DAMAGED)
    _check_kind(name, header)
    _check_header(name, header, head, size)


def _check_kind(name: str, header: Header) -> None:
    if header.wMagicClient == CLIENT_OST:
        raise _refused(name, "it is an OST file, which Outlook fills again from its server", _ON_SERVER)
    if header.wMagicClient != CLIENT_PST:
        raise _refused(name, f"it is a file of another kind ({header.wMagicClient!r})", _REWRITE)
    if header.format is not UNICODE or header.wVer != _VERSION:
        raise _refused(name, f"its format is {header.format.name} (wVer {header.wVer})", _REWRITE)
    if header.bCryptMethod > CRYPT_CYCLIC:
        raise _refused(name, f"it is encrypted with a key of Windows (0x{header.bCryptMethod:02x})", _EXPORT)


def _check_header(name: str, header: Header, head: bytes, size: int) -> None:
    if (header.dwCRCPartial, header.dwCRCFull) != header_crcs(head, UNICODE):
        raise _refused(name, "its header's checksum is wrong", _DAMAGED)
    if header.root.ibFileEof != size:
        raise _refused(name, f"it has {size} bytes, and {header.root.ibFileEof} by its header", _DAMAGED)
    if size < maps.IB_FIRST_AMAP + maps.REGION or (size - maps.IB_FIRST_AMAP) % maps.REGION:
        found = f"{size} bytes are not {maps.IB_FIRST_AMAP} and whole regions of {maps.REGION}"
        raise _refused(name, found, _DAMAGED)
    if header.dwUnique > _MAX_UNIQUE:
        raise _refused(name, f"its change counter is used up (0x{header.dwUnique:x})", _REWRITE)
    if max(header.bidNextB, header.bidNextP) > _MAX_NEXT_BID:
        found = f"bidNextB 0x{header.bidNextB:x}, bidNextP 0x{header.bidNextP:x}"
        raise _refused(name, f"its counters of blocks and pages are used up ({found})", _REWRITE)


def _refused(name: str, why: str, remains: str) -> NotEditable:
    return NotEditable(f"{name}: cannot be changed in place: {why}", hint=remains)
