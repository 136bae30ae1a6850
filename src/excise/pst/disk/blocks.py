"""Blocks: the trailer, data-tree blocks and subnode-tree blocks ([MS-PST] 2.2.2.8)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from excise.pst.disk.crypt import crc, signature
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K, Format

BTYPE_X = 0x01
BTYPE_S = 0x02

_TRAILER_ANSI = Struct("<HHII")
_TRAILER_UNICODE = Struct("<HHIQ")
_TRAILER_4K = Struct("<HHIQHHI")
_X_START = Struct("<BBHI")
_S_START = Struct("<BBH")


@dataclass(frozen=True, slots=True)
class BlockTrailer:
    """BLOCKTRAILER (2.2.2.8.1), the last bytes of a block's 64-byte (4-KB format: 512-byte) units.

    ``dwCRC`` is of exactly ``cb`` bytes as they stand in the file, without the padding.
    """

    cb: int
    wSig: int
    dwCRC: int
    bid: int
    wUnknown: int = 0
    cbInflated: int = 0
    dwUnknown: int = 0

    @classmethod
    def unpack(cls, fmt: Format, data: bytes, at: int = 0) -> BlockTrailer:
        """The trailer at ``at`` in ``data``."""
        if fmt is ANSI:
            cb, sig, bid, checksum = _TRAILER_ANSI.unpack_from(data, at)
            return cls(cb, sig, checksum, bid)
        if fmt is UNICODE_4K:
            cb, sig, checksum, bid, unknown, inflated, unknown2 = _TRAILER_4K.unpack_from(data, at)
            return cls(cb, sig, checksum, bid, unknown, inflated, unknown2)
        return cls(*_TRAILER_UNICODE.unpack_from(data, at))

    def pack(self, fmt: Format) -> bytes:
        """The reverse of ``unpack``."""
        if fmt is ANSI:
            return _TRAILER_ANSI.pack(self.cb, self.wSig, self.bid, self.dwCRC)
        if fmt is UNICODE_4K:
            values = (self.cb, self.wSig, self.dwCRC, self.bid, self.wUnknown, self.cbInflated, self.dwUnknown)
            return _TRAILER_4K.pack(*values)
        return _TRAILER_UNICODE.pack(self.cb, self.wSig, self.dwCRC, self.bid)


def seal_block(fmt: Format, data: bytes, ib: int, bid: int, cbInflated: int | None = None) -> bytes:
    """The block ``bid`` at offset ``ib``: ``data`` (encoded by the caller), zero padding and a right trailer.

    ``cbInflated`` is for the 4-KB format: the size of the data before compression, by default that of ``data``.
    ValueError for no data or too much.
    """
    if not 0 < len(data) <= fmt.max_block_data:
        raise ValueError(f"a block of {len(data)} bytes")
    if fmt is UNICODE:
        trailer = _TRAILER_UNICODE.pack(len(data), signature(ib, bid), crc(data), bid)
    else:
        inflated = len(data) if cbInflated is None else cbInflated
        trailer = BlockTrailer(len(data), signature(ib, bid), crc(data), bid, cbInflated=inflated).pack(fmt)
    return data.ljust(fmt.block_size(len(data)) - len(trailer), b"\0") + trailer


def is_sealed(fmt: Format, raw: bytes, cb: int, ib: int, bid: int) -> bool:
    """True where ``raw`` ends in the very trailer that ``seal_block`` gives it; one comparison checks all.

    Always False in the 4-KB format, whose trailer says more. False tells nothing but that one has to look closer.
    """
    if fmt is UNICODE_4K or len(raw) != fmt.block_size(cb):
        return False
    checksum, sig = crc(raw[:cb]), signature(ib, bid)
    if fmt is ANSI:
        return raw.endswith(_TRAILER_ANSI.pack(cb, sig, bid, checksum))
    return raw.endswith(_TRAILER_UNICODE.pack(cb, sig, checksum, bid))


@dataclass(frozen=True, slots=True)
class XBlock:
    """XBLOCK (``cLevel`` 1) and XXBLOCK (2), 2.2.2.8.3.2: the BIDs below and the number of data bytes in all."""

    cLevel: int
    lcbTotal: int
    rgbid: tuple[int, ...]
    btype: int = BTYPE_X

    @classmethod
    def unpack(cls, fmt: Format, data: bytes) -> XBlock:
        """The block with data ``data``; ``rgbid`` has no more entries than ``data`` holds. ValueError if too short."""
        if len(data) < _X_START.size:
            raise ValueError(f"{len(data)} bytes are too few for an XBLOCK")
        btype, level, count, total = _X_START.unpack_from(data)
        count = min(count, (len(data) - _X_START.size) // fmt.bid_size)
        return cls(level, total, Struct(f"<{count}{fmt.bid_code}").unpack_from(data, _X_START.size), btype)

    def pack(self, fmt: Format) -> bytes:
        """The block's data."""
        count = len(self.rgbid)
        start = _X_START.pack(self.btype, self.cLevel, count, self.lcbTotal)
        return start + Struct(f"<{count}{fmt.bid_code}").pack(*self.rgbid)

    @staticmethod
    def count_in(data: bytes) -> int:
        """``cEnt`` as it stands in ``data``."""
        return int.from_bytes(data[2:4], "little")

    @staticmethod
    def max_entries(fmt: Format) -> int:
        """How many BIDs one block can hold: 1,021 in Unicode files."""
        return (fmt.max_block_data - _X_START.size) // fmt.bid_size


@dataclass(frozen=True, slots=True)
class SLEntry:
    """SLENTRY (2.2.2.8.3.3.1.1): a subnode, its data and its own subnodes."""

    nid: int
    bidData: int
    bidSub: int


@dataclass(frozen=True, slots=True)
class SIEntry:
    """SIENTRY (2.2.2.8.3.3.2.1): the first NID of the SLBLOCK ``bid``."""

    nid: int
    bid: int


@dataclass(frozen=True, slots=True)
class SLBlock:
    """SLBLOCK (2.2.2.8.3.3.1), the leaf of a subnode tree."""

    rgentries: tuple[SLEntry, ...]

    @classmethod
    def unpack(cls, fmt: Format, data: bytes) -> SLBlock:
        """The block with data ``data``; no more entries than ``data`` holds. ValueError if too short."""
        return cls(tuple(SLEntry(*values) for values in cls.values(fmt, data)))

    @staticmethod
    def values(fmt: Format, data: bytes) -> list[tuple[int, int, int]]:
        """The entries as ``unpack`` has them, each as (nid, bidData, bidSub)."""
        return [(nid, data_bid, sub_bid) for nid, data_bid, sub_bid in _subnode_entries(fmt, fmt.sl_entry, data)]

    def pack(self, fmt: Format) -> bytes:
        """The block's data."""
        packed = [fmt.sl_entry.pack(each.nid, each.bidData, each.bidSub) for each in self.rgentries]
        return _subnode_start(fmt, 0, len(packed)) + b"".join(packed)

    @staticmethod
    def max_entries(fmt: Format) -> int:
        """How many entries one block can hold: 340 in Unicode files."""
        return (fmt.max_block_data - fmt.subnode_header_size) // fmt.sl_entry.size


@dataclass(frozen=True, slots=True)
class SIBlock:
    """SIBLOCK (2.2.2.8.3.3.2), the root of a subnode tree with more than one leaf."""

    rgentries: tuple[SIEntry, ...]

    @classmethod
    def unpack(cls, fmt: Format, data: bytes) -> SIBlock:
        """The block with data ``data``; no more entries than ``data`` holds. ValueError if too short."""
        return cls(tuple(SIEntry(*values) for values in _subnode_entries(fmt, fmt.si_entry, data)))

    def pack(self, fmt: Format) -> bytes:
        """The block's data."""
        packed = [fmt.si_entry.pack(each.nid, each.bid) for each in self.rgentries]
        return _subnode_start(fmt, 1, len(packed)) + b"".join(packed)

    @staticmethod
    def max_entries(fmt: Format) -> int:
        """How many entries one block can hold: 510 in Unicode files."""
        return (fmt.max_block_data - fmt.subnode_header_size) // fmt.si_entry.size


def block_kind(data: bytes) -> tuple[int, int]:
    """(btype, cLevel) of an internal block; ValueError where ``data`` is too short."""
    if len(data) < _S_START.size:
        raise ValueError(f"{len(data)} bytes are too few for an internal block")
    return data[0], data[1]


def _subnode_start(fmt: Format, cLevel: int, cEnt: int) -> bytes:
    return _S_START.pack(BTYPE_S, cLevel, cEnt).ljust(fmt.subnode_header_size, b"\0")


def _subnode_entries(fmt: Format, entry: Struct, data: bytes) -> list[tuple[int, ...]]:
    if len(data) < fmt.subnode_header_size:
        raise ValueError(f"{len(data)} bytes are too few for a subnode block")
    start = fmt.subnode_header_size
    count = min(int.from_bytes(data[2:4], "little"), (len(data) - start) // entry.size)
    return list(entry.iter_unpack(data[start : start + count * entry.size]))
