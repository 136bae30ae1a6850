"""HEADER and ROOT ([MS-PST] 2.2.2.5, 2.2.2.6)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from struct import Struct

from excise.pst.disk.crypt import crc
from excise.pst.disk.formats import ANSI, Format, format_of

MAGIC = b"!BDN"
CLIENT_PST = b"SM"
CLIENT_OST = b"SO"
CLIENT_PAB = b"AB"
SENTINEL = 0x80

INVALID_AMAP = 0
VALID_AMAP1 = 1
VALID_AMAP2 = 2

_START = Struct("<4sI2sHHBBII")
_RGNID = Struct("<32I")
_ROOT = {"I": Struct("<9IBBH"), "Q": Struct("<I8QBBH")}
_ANSI_MIDDLE = Struct("<III128s40s128s128sBB2s12s3sB32s")
_UNICODE_MIDDLE = Struct("<QQI128sQ72sI128s128sBB2sQI3sB32s")

#: Both CRCs start at byte 8; the partial one covers 471 bytes, the full one everything up to and with bidNextB.
CRC_START = 8
CRC_PARTIAL_SIZE = 471
CRC_FULL_SIZE = 516


@dataclass(frozen=True, slots=True)
class Root:
    """ROOT (2.2.2.5): sizes of the file and the roots of its two B-trees."""

    ibFileEof: int
    ibAMapLast: int
    cbAMapFree: int
    cbPMapFree: int
    bidNBT: int
    ibNBT: int
    bidBBT: int
    ibBBT: int
    fAMapValid: int
    dwReserved: int = 0
    bReserved: int = 0
    wReserved: int = 0

    @classmethod
    def unpack(cls, fmt: Format, data: bytes) -> Root:
        """ROOT from its 40 (ANSI) or 72 bytes."""
        (reserved, eof, last, free, pfree, bid_nbt, ib_nbt, bid_bbt, ib_bbt, valid, b_reserved, w_reserved) = _ROOT[
            fmt.bid_code
        ].unpack(data)
        return cls(eof, last, free, pfree, bid_nbt, ib_nbt, bid_bbt, ib_bbt, valid, reserved, b_reserved, w_reserved)

    def pack(self, fmt: Format) -> bytes:
        """The reverse of ``unpack``."""
        return _ROOT[fmt.bid_code].pack(
            self.dwReserved, self.ibFileEof, self.ibAMapLast, self.cbAMapFree, self.cbPMapFree,
            self.bidNBT, self.ibNBT, self.bidBBT, self.ibBBT, self.fAMapValid, self.bReserved, self.wReserved,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """HEADER (2.2.2.6). ``rgnid`` holds for each nidType the last nidIndex given out.

    Fields that only one format has stay at their defaults in the other. ``rgbReservedAnsi`` is ullReserved and
    dwReserved of the ANSI header.
    """

    wVer: int
    root: Root
    bidNextB: int
    bidNextP: int
    dwUnique: int
    rgnid: tuple[int, ...]
    bCryptMethod: int
    wMagicClient: bytes = CLIENT_PST
    wVerClient: int = 19
    bPlatformCreate: int = 1
    bPlatformAccess: int = 1
    dwReserved1: int = 0
    dwReserved2: int = 0
    bidUnused: int = 0
    qwUnused: int = 0
    dwAlign: int = 0
    rgbFM: bytes = field(default=b"\xff" * 128, repr=False)
    rgbFP: bytes = field(default=b"\xff" * 128, repr=False)
    bSentinel: int = SENTINEL
    rgbReserved: bytes = bytes(2)
    rgbReservedAnsi: bytes = bytes(12)
    rgbReserved2: bytes = bytes(3)
    bReserved: int = 0
    rgbReserved3: bytes = bytes(32)
    dwMagic: bytes = MAGIC
    dwCRCPartial: int = 0
    dwCRCFull: int = 0

    @property
    def format(self) -> Format:
        """The format of ``wVer``; ValueError where it is none that is known."""
        fmt = format_of(self.wVer)
        if fmt is None:
            raise ValueError(f"wVer {self.wVer} is no known format")
        return fmt

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """The header at the start of a file. ValueError where ``data`` is too short or ``wVer`` is unknown."""
        if len(data) < ANSI.header_size:
            raise ValueError(f"{len(data)} bytes are too few for a header")
        magic, crc_partial, client, version, version_client, create, access, reserved1, reserved2 = _START.unpack_from(
            data
        )
        fmt = format_of(version)
        if fmt is None:
            raise ValueError(f"wVer {version} is no known format")
        if len(data) < fmt.header_size:
            raise ValueError(f"{len(data)} bytes are too few for a header")
        body = _unpack_ansi(fmt, data) if fmt is ANSI else _unpack_unicode(fmt, data)
        return replace(
            body, wVer=version, dwMagic=magic, dwCRCPartial=crc_partial, wMagicClient=client, wVerClient=version_client,
            bPlatformCreate=create, bPlatformAccess=access, dwReserved1=reserved1, dwReserved2=reserved2,
        )  # fmt: skip

    def pack(self) -> bytes:
        """The header with the CRCs that it carries; see ``sealed``."""
        fmt = self.format
        start = _START.pack(
            self.dwMagic, self.dwCRCPartial, self.wMagicClient, self.wVer, self.wVerClient, self.bPlatformCreate,
            self.bPlatformAccess, self.dwReserved1, self.dwReserved2,
        )  # fmt: skip
        rgnid, root = _RGNID.pack(*self.rgnid), self.root.pack(fmt)
        if fmt is ANSI:
            return start + _ANSI_MIDDLE.pack(
                self.bidNextB, self.bidNextP, self.dwUnique, rgnid, root, self.rgbFM, self.rgbFP, self.bSentinel,
                self.bCryptMethod, self.rgbReserved, self.rgbReservedAnsi, self.rgbReserved2, self.bReserved,
                self.rgbReserved3,
            )  # fmt: skip
        return start + _UNICODE_MIDDLE.pack(
            self.bidUnused, self.bidNextP, self.dwUnique, rgnid, self.qwUnused, root, self.dwAlign, self.rgbFM,
            self.rgbFP, self.bSentinel, self.bCryptMethod, self.rgbReserved, self.bidNextB, self.dwCRCFull,
            self.rgbReserved2, self.bReserved, self.rgbReserved3,
        )  # fmt: skip

    def sealed(self) -> Header:
        """This header with right CRCs."""
        partial, full = header_crcs(self.pack(), self.format)
        return replace(self, dwCRCPartial=partial, dwCRCFull=full)


def header_crcs(data: bytes, fmt: Format) -> tuple[int, int]:
    """What dwCRCPartial and dwCRCFull of the header ``data`` must be; ANSI has no full one (0)."""
    partial = crc(data[CRC_START : CRC_START + CRC_PARTIAL_SIZE])
    return partial, 0 if fmt is ANSI else crc(data[CRC_START : CRC_START + CRC_FULL_SIZE])


def _unpack_ansi(fmt: Format, data: bytes) -> Header:
    (next_b, next_p, unique, rgnid, root, fm, fp, sentinel, crypt, reserved, reserved_ansi, reserved2, b_reserved,
     reserved3) = _ANSI_MIDDLE.unpack_from(data, _START.size)  # fmt: skip
    return Header(
        wVer=0, root=Root.unpack(fmt, root), bidNextB=next_b, bidNextP=next_p, dwUnique=unique,
        rgnid=_RGNID.unpack(rgnid), bCryptMethod=crypt, rgbFM=fm, rgbFP=fp, bSentinel=sentinel, rgbReserved=reserved,
        rgbReservedAnsi=reserved_ansi, rgbReserved2=reserved2, bReserved=b_reserved, rgbReserved3=reserved3,
    )  # fmt: skip


def _unpack_unicode(fmt: Format, data: bytes) -> Header:
    (unused, next_p, unique, rgnid, qw_unused, root, align, fm, fp, sentinel, crypt, reserved, next_b, crc_full,
     reserved2, b_reserved, reserved3) = _UNICODE_MIDDLE.unpack_from(data, _START.size)  # fmt: skip
    return Header(
        wVer=0, root=Root.unpack(fmt, root), bidNextB=next_b, bidNextP=next_p, dwUnique=unique,
        rgnid=_RGNID.unpack(rgnid), bCryptMethod=crypt, bidUnused=unused, qwUnused=qw_unused, dwAlign=align, rgbFM=fm,
        rgbFP=fp, bSentinel=sentinel, rgbReserved=reserved, dwCRCFull=crc_full, rgbReserved2=reserved2,
        bReserved=b_reserved, rgbReserved3=reserved3,
    )  # fmt: skip
