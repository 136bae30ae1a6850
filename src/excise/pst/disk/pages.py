"""Pages: trailers, B-tree pages and their entries ([MS-PST] 2.2.2.7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from excise.pst.disk.crypt import crc, signature
from excise.pst.disk.formats import ANSI, UNICODE_4K, Format

PTYPE_BBT = 0x80
PTYPE_NBT = 0x81
PTYPE_FMAP = 0x82
PTYPE_PMAP = 0x83
PTYPE_AMAP = 0x84
PTYPE_FPMAP = 0x85
PTYPE_DLIST = 0x86
#: Pages whose trailer has wSig 0 and their own offset as bid.
MAP_PTYPES = frozenset({PTYPE_FMAP, PTYPE_PMAP, PTYPE_AMAP, PTYPE_FPMAP})

_TRAILER_ANSI = Struct("<BBHII")
_TRAILER_UNICODE = Struct("<BBHIQ")
_COUNTS = Struct("<BBBB")
_COUNTS_4K = Struct("<HHBB")


@dataclass(frozen=True, slots=True)
class PageTrailer:
    """PAGETRAILER (2.2.2.7.1). ``dwCRC`` is of everything before the trailer."""

    ptype: int
    ptypeRepeat: int
    wSig: int
    dwCRC: int
    bid: int
    qwUnknown: int = 0

    @classmethod
    def unpack(cls, fmt: Format, page: bytes) -> PageTrailer:
        """The trailer at the end of ``page``."""
        at = fmt.page_size - fmt.page_trailer_size
        if fmt is ANSI:
            ptype, repeat, sig, bid, checksum = _TRAILER_ANSI.unpack_from(page, at)
            return cls(ptype, repeat, sig, checksum, bid)
        ptype, repeat, sig, checksum, bid = _TRAILER_UNICODE.unpack_from(page, at)
        unknown = int.from_bytes(page[at + 16 : at + 24], "little") if fmt is UNICODE_4K else 0
        return cls(ptype, repeat, sig, checksum, bid, unknown)

    def pack(self, fmt: Format) -> bytes:
        """The reverse of ``unpack``."""
        if fmt is ANSI:
            return _TRAILER_ANSI.pack(self.ptype, self.ptypeRepeat, self.wSig, self.bid, self.dwCRC)
        data = _TRAILER_UNICODE.pack(self.ptype, self.ptypeRepeat, self.wSig, self.dwCRC, self.bid)
        return data + self.qwUnknown.to_bytes(8, "little") if fmt is UNICODE_4K else data


def page_body(fmt: Format, page: bytes) -> bytes:
    """``page`` without its trailer."""
    return page[: fmt.page_size - fmt.page_trailer_size]


def seal_page(fmt: Format, body: bytes, ptype: int, ib: int, bid: int) -> bytes:
    """The page of ``ptype`` at offset ``ib`` with ``body`` and a right trailer.

    Map pages take their offset as bid and wSig 0 whatever ``bid`` is. ValueError where ``body`` has not the size.
    """
    if len(body) != fmt.page_size - fmt.page_trailer_size:
        raise ValueError(f"a page body of {len(body)} bytes")
    if ptype in MAP_PTYPES:
        trailer = PageTrailer(ptype, ptype, 0, crc(body), ib)
    else:
        trailer = PageTrailer(ptype, ptype, signature(ib, bid), crc(body), bid)
    return body + trailer.pack(fmt)


def is_sealed(fmt: Format, page: bytes, ptype: int, ib: int, bid: int) -> bool:
    """True where the B-tree ``page`` has the very trailer that ``seal_page`` gives it; one comparison checks all."""
    at = fmt.page_size - fmt.page_trailer_size
    checksum, sig = crc(page[:at]), signature(ib, bid)
    if fmt is ANSI:
        return page.startswith(_TRAILER_ANSI.pack(ptype, ptype, sig, bid, checksum), at)
    return page.startswith(_TRAILER_UNICODE.pack(ptype, ptype, sig, checksum, bid), at)


def leaf_entries(fmt: Format, page: bytes, size: int) -> bytes | None:
    """The entries, of ``size`` bytes each, of a B-tree page of level 0; None where its level or counts are others."""
    counts = _COUNTS_4K if fmt is UNICODE_4K else _COUNTS
    count, _, entry_size, level = counts.unpack_from(page, fmt.entries_size)
    return page[: count * size] if not level and entry_size == size and count * size <= fmt.entries_size else None


@dataclass(frozen=True, slots=True)
class BTEntry:
    """BTENTRY (2.2.2.7.7.2): the first key below and the child page's BREF."""

    btkey: int
    bid: int
    ib: int

    @classmethod
    def unpack(cls, fmt: Format, data: bytes, at: int = 0) -> BTEntry:
        """The entry at ``at``."""
        return cls(*fmt.bt_entry.unpack_from(data, at))

    def pack(self, fmt: Format) -> bytes:
        """The reverse of ``unpack``."""
        return fmt.bt_entry.pack(self.btkey, self.bid, self.ib)


@dataclass(frozen=True, slots=True)
class BBTEntry:
    """BBTENTRY (2.2.2.7.7.3): where a block is, its data bytes in the file, and how many refer to it, plus one.

    ``cbInflated`` is of the 4-KB format alone: the size of the data after decompression, equal to ``cb`` where it
    is not compressed.
    """

    bid: int
    ib: int
    cb: int
    cRef: int
    dwPadding: int = 0
    cbInflated: int = 0

    @classmethod
    def unpack(cls, fmt: Format, data: bytes, at: int = 0) -> BBTEntry:
        """The entry at ``at``."""
        values = fmt.bbt_entry.unpack_from(data, at)
        if fmt is UNICODE_4K:
            bid, ib, cb, inflated, references, padding = values
            return cls(bid, ib, cb, references, padding, inflated)
        return cls(*values)

    def pack(self, fmt: Format) -> bytes:
        """The reverse of ``unpack``."""
        if fmt is UNICODE_4K:
            return fmt.bbt_entry.pack(self.bid, self.ib, self.cb, self.cbInflated, self.cRef, self.dwPadding)
        if fmt is ANSI:
            return fmt.bbt_entry.pack(self.bid, self.ib, self.cb, self.cRef)
        return fmt.bbt_entry.pack(self.bid, self.ib, self.cb, self.cRef, self.dwPadding)


@dataclass(frozen=True, slots=True)
class NBTEntry:
    """NBTENTRY (2.2.2.7.7.4): a node's data tree, its subnode tree (0: none) and, for folders and messages, its parent.

    Older Outlooks leave garbage in the high half of ``nid`` and in ``dwPadding``; both are kept here as they are.
    """

    nid: int
    bidData: int
    bidSub: int
    nidParent: int
    dwPadding: int = 0

    @classmethod
    def unpack(cls, fmt: Format, data: bytes, at: int = 0) -> NBTEntry:
        """The entry at ``at``."""
        return cls(*fmt.nbt_entry.unpack_from(data, at))

    def pack(self, fmt: Format) -> bytes:
        """The reverse of ``unpack``."""
        values = (self.nid, self.bidData, self.bidSub, self.nidParent)
        return fmt.nbt_entry.pack(*values) if fmt is ANSI else fmt.nbt_entry.pack(*values, self.dwPadding)


@dataclass(frozen=True, slots=True)
class BTPage:
    """BTPAGE (2.2.2.7.7.1) without its trailer. ``rgentries`` is the whole area for entries, slack included."""

    rgentries: bytes
    cEnt: int
    cEntMax: int
    cbEnt: int
    cLevel: int
    dwPadding: bytes = b""

    @classmethod
    def unpack(cls, fmt: Format, page: bytes) -> BTPage:
        """The B-tree page ``page``; counts are taken as they are."""
        counts = _COUNTS_4K if fmt is UNICODE_4K else _COUNTS
        at = fmt.entries_size
        end = fmt.page_size - fmt.page_trailer_size
        entries, limit, size, level = counts.unpack_from(page, at)
        return cls(page[:at], entries, limit, size, level, page[at + counts.size : end])

    def pack(self, fmt: Format) -> bytes:
        """The body of the page, to be given to ``seal_page``."""
        counts = _COUNTS_4K if fmt is UNICODE_4K else _COUNTS
        body = self.rgentries.ljust(fmt.entries_size, b"\0") + counts.pack(
            self.cEnt, self.cEntMax, self.cbEnt, self.cLevel
        )
        return body + self.dwPadding.ljust(fmt.page_size - fmt.page_trailer_size - len(body), b"\0")

    @classmethod
    def of(cls, fmt: Format, entries: Iterable[BTEntry | BBTEntry | NBTEntry], cLevel: int, entry: Struct) -> BTPage:
        """A page of ``entries``, sorted by the caller; ``entry`` is their layout in ``fmt``."""
        packed = [each.pack(fmt) for each in entries]
        limit = fmt.entries_size // entry.size
        if len(packed) > limit:
            raise ValueError(f"{len(packed)} entries on a page for {limit}")
        return cls(b"".join(packed), len(packed), limit, entry.size, cLevel)
