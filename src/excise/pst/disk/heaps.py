"""Heap-on-Node, BTree-on-Heap, Property Context and Table Context structures ([MS-PST] 2.3, 2.4.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from excise.pst.disk.formats import UNICODE, Format

HN_SIGNATURE = 0xEC
CLIENT_TC = 0x7C
CLIENT_BTH = 0xB5
CLIENT_PC = 0xBC
CLIENT_ID_MAP = 0x9C
CLIENT_MESSAGE_INDEX = 0xCC
#: Of the tables of searches that Outlook 2003 and 2007 wrote, and of the heaps of their columns; not published.
CLIENT_WIDE_TC = 0xAC
CLIENT_WIDE_VALUES = 0xA5

#: The largest heap item; larger values are subnodes.
MAX_HEAP_ITEM = 3580

_HNHDR = Struct("<HBBI4s")
_HNBITMAPHDR = Struct("<H64s")
_BTHHEADER = Struct("<BBBBI")
_PC_RECORD = Struct("<HHI")
_TCINFO = Struct("<BB4HIII")
_TCOLDESC = Struct("<IHBB")
_NAMEID = Struct("<IHH")
_WIDE_TCINFO = Struct("<H4HIIIHI12s")
_WIDE_TCOLDESC = Struct("<6HI")

HNHDR_SIZE = _HNHDR.size
HNPAGEHDR_SIZE = 2
HNBITMAPHDR_SIZE = _HNBITMAPHDR.size

_FILL_LIMITS = (3584, 2560, 2048, 1792, 1536, 1280, 1024, 768, 512, 256, 128, 64, 32, 16, 8)


def hid(block: int, item: int, fmt: Format = UNICODE) -> int:
    """HID (2.3.1.1) of the 1-based ``item`` in heap block ``block``."""
    return block << fmt.hid_shift | item << 5


def hid_parts(value: int, fmt: Format = UNICODE) -> tuple[int, int]:
    """(block, 1-based item) of a HID."""
    return value >> fmt.hid_shift, (value & (1 << fmt.hid_shift) - 1) >> 5


def is_hid(hnid: int) -> bool:
    """True where an HNID is a HID, False where it is the NID of a subnode (2.3.3.2)."""
    return not hnid & 0x1F


def heap_header_size(block: int) -> int:
    """Size of the header of heap block ``block``: HNHDR, HNBITMAPHDR (8, 136, 264, …) or HNPAGEHDR."""
    if block == 0:
        return HNHDR_SIZE
    return HNBITMAPHDR_SIZE if block % 128 == 8 else HNPAGEHDR_SIZE


def fill_level(free: int) -> int:
    """The rgbFillLevel nibble of a heap block with ``free`` bytes left (2.3.1.2)."""
    return next((level for level, limit in enumerate(_FILL_LIMITS) if free >= limit), 15)


@dataclass(frozen=True, slots=True)
class HNHdr:
    """HNHDR (2.3.1.2), the start of heap block 0. ``rgbFillLevel`` has eight nibbles, block 0 lowest."""

    ibHnpm: int
    bClientSig: int
    hidUserRoot: int
    rgbFillLevel: bytes = bytes(4)
    bSig: int = HN_SIGNATURE

    @classmethod
    def unpack(cls, data: bytes) -> HNHdr:
        """The header at the start of ``data``; struct.error where it is too short."""
        ib, sig, client, root, fill = _HNHDR.unpack_from(data)
        return cls(ib, client, root, fill, sig)

    def pack(self) -> bytes:
        """The reverse of ``unpack``."""
        return _HNHDR.pack(self.ibHnpm, self.bSig, self.bClientSig, self.hidUserRoot, self.rgbFillLevel)


def pack_bitmap_header(ibHnpm: int, rgbFillLevel: bytes) -> bytes:
    """HNBITMAPHDR (2.3.1.4); ``rgbFillLevel`` has 64 bytes."""
    return _HNBITMAPHDR.pack(ibHnpm, rgbFillLevel)


@dataclass(frozen=True, slots=True)
class HNPageMap:
    """HNPAGEMAP (2.3.1.5): item ``j`` (from 1) is at [rgibAlloc[j-1], rgibAlloc[j])."""

    cFree: int
    rgibAlloc: tuple[int, ...]

    @property
    def cAlloc(self) -> int:
        """Number of items."""
        return len(self.rgibAlloc) - 1

    @classmethod
    def unpack(cls, data: bytes, ibHnpm: int) -> HNPageMap:
        """The map at ``ibHnpm``; ValueError where it does not lie in ``data``."""
        if ibHnpm + 6 > len(data):
            raise ValueError(f"page map at {ibHnpm} of {len(data)} bytes")
        allocated = int.from_bytes(data[ibHnpm : ibHnpm + 2], "little")
        if ibHnpm + 6 + 2 * allocated > len(data):
            raise ValueError(f"page map at {ibHnpm} with {allocated} items in {len(data)} bytes")
        free, *offsets = Struct(f"<{allocated + 2}H").unpack_from(data, ibHnpm + 2)
        return cls(free, tuple(offsets))

    def pack(self) -> bytes:
        """The reverse of ``unpack``."""
        return Struct(f"<{len(self.rgibAlloc) + 2}H").pack(self.cAlloc, self.cFree, *self.rgibAlloc)


@dataclass(frozen=True, slots=True)
class BTHHeader:
    """BTHHEADER (2.3.2.1)."""

    cbKey: int
    cbEnt: int
    bIdxLevels: int
    hidRoot: int
    bType: int = CLIENT_BTH

    @classmethod
    def unpack(cls, data: bytes) -> BTHHeader:
        """The header in ``data``; struct.error where it is too short."""
        kind, key, entry, levels, root = _BTHHEADER.unpack_from(data)
        return cls(key, entry, levels, root, kind)

    def pack(self) -> bytes:
        """The reverse of ``unpack``."""
        return _BTHHEADER.pack(self.bType, self.cbKey, self.cbEnt, self.bIdxLevels, self.hidRoot)


def pack_pc_record(wPropId: int, wPropType: int, dwValueHnid: int) -> bytes:
    """PC BTH record (2.3.3.3)."""
    return _PC_RECORD.pack(wPropId, wPropType, dwValueHnid)


def unpack_pc_record(data: bytes, at: int = 0) -> tuple[int, int, int]:
    """(wPropId, wPropType, dwValueHnid) of the record at ``at``."""
    return _PC_RECORD.unpack_from(data, at)


@dataclass(frozen=True, slots=True)
class TColDesc:
    """TCOLDESC (2.3.4.2): one column. ``tag`` is property id << 16 | type."""

    tag: int
    ibData: int
    cbData: int
    iBit: int

    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> TColDesc:
        """The descriptor at ``at``."""
        return cls(*_TCOLDESC.unpack_from(data, at))

    def pack(self) -> bytes:
        """The reverse of ``unpack``."""
        return _TCOLDESC.pack(self.tag, self.ibData, self.cbData, self.iBit)


@dataclass(frozen=True, slots=True)
class TCInfo:
    """TCINFO (2.3.4.1). ``rgib`` holds TCI_4b, TCI_2b, TCI_1b and TCI_bm: the last is the size of a row."""

    rgib: tuple[int, int, int, int]
    hidRowIndex: int
    hnidRows: int
    rgTCOLDESC: tuple[TColDesc, ...]
    hidIndex: int = 0
    bType: int = CLIENT_TC

    @classmethod
    def unpack(cls, data: bytes) -> TCInfo:
        """The table's description in ``data``. ValueError where it is too short for itself or its columns."""
        if len(data) < _TCINFO.size:
            raise ValueError(f"{len(data)} bytes are too few for a TCINFO")
        kind, columns, b4, b2, b1, bm, index, rows, deprecated = _TCINFO.unpack_from(data)
        if len(data) < _TCINFO.size + columns * _TCOLDESC.size:
            raise ValueError(f"{len(data)} bytes are too few for {columns} columns")
        described = tuple(TColDesc.unpack(data, _TCINFO.size + i * _TCOLDESC.size) for i in range(columns))
        return cls((b4, b2, b1, bm), index, rows, described, deprecated, kind)

    def pack(self) -> bytes:
        """The reverse of ``unpack``."""
        columns = self.rgTCOLDESC
        start = _TCINFO.pack(self.bType, len(columns), *self.rgib, self.hidRowIndex, self.hnidRows, self.hidIndex)
        return start + b"".join([_TCOLDESC.pack(each.tag, each.ibData, each.cbData, each.iBit) for each in columns])


@dataclass(frozen=True, slots=True)
class WideTCInfo:
    """The root item of a wide table, by what the samples show: a TCINFO with its columns in a subnode.

    ``rest``: 12 bytes of unknown use, which are kept.
    """

    rgib: tuple[int, int, int, int]
    hidRowIndex: int
    hnidRows: int
    hidIndex: int
    cCols: int
    hnidColumns: int
    rest: bytes

    @classmethod
    def unpack(cls, data: bytes) -> WideTCInfo:
        """The table's description in ``data``; ValueError where it is none."""
        if len(data) != _WIDE_TCINFO.size:
            raise ValueError(f"{len(data)} bytes for the {_WIDE_TCINFO.size} of a wide table")
        kind, b4, b2, b1, bm, index, rows, deprecated, count, columns, rest = _WIDE_TCINFO.unpack(data)
        if kind != CLIENT_WIDE_TC:
            raise ValueError(f"type 0x{kind:x}")
        return cls((b4, b2, b1, bm), index, rows, deprecated, count, columns, rest)

    def pack(self) -> bytes:
        """The reverse of ``unpack``."""
        hids = (self.hidRowIndex, self.hnidRows, self.hidIndex)
        return _WIDE_TCINFO.pack(CLIENT_WIDE_TC, *self.rgib, *hids, self.cCols, self.hnidColumns, self.rest)


@dataclass(frozen=True, slots=True)
class WideColDesc:
    """A column of a wide table. ``nidValues``: the subnode whose items its cells refer to; 0 where they are the
    values."""

    tag: int
    ibData: int
    cbData: int
    iBit: int
    nidValues: int

    @classmethod
    def unpack_all(cls, data: bytes) -> tuple[WideColDesc, ...]:
        """All in ``data``; ValueError where it is not a number of whole ones with nothing unknown in them."""
        if len(data) % _WIDE_TCOLDESC.size:
            raise ValueError(f"{len(data)} bytes for columns of {_WIDE_TCOLDESC.size}")
        found = []
        for kind, prop_id, at, size, bit, unknown, nid in _WIDE_TCOLDESC.iter_unpack(data):
            if unknown:
                raise ValueError(f"0x{unknown:x} in a field that is 0 in all that are known")
            found.append(cls(prop_id << 16 | kind, at, size, bit, nid))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class NameId:
    """NAMEID (2.4.7.1). ``wGuid`` has the kind in bit 0 (1: string) and the property set above it.

    ``dwPropertyID`` is the LID, or the offset in the string stream; the property id is 0x8000 + ``wPropIdx``.
    """

    dwPropertyID: int
    wGuid: int
    wPropIdx: int

    @classmethod
    def unpack_all(cls, data: bytes) -> list[NameId]:
        """All whole records in ``data``."""
        whole = len(data) // _NAMEID.size * _NAMEID.size
        return [cls(*values) for values in _NAMEID.iter_unpack(data[:whole])]

    def pack(self) -> bytes:
        """The reverse of ``unpack_all`` for one record."""
        return _NAMEID.pack(self.dwPropertyID, self.wGuid, self.wPropIdx)


def rows_per_block(fmt: Format, row_size: int) -> int:
    """How many rows of ``row_size`` bytes a block of a row matrix holds; rows do not span blocks (2.3.4.4.1)."""
    return fmt.max_block_data // row_size


def pack_fill_levels(levels: Sequence[int]) -> bytes:
    """Fill levels as nibbles, the first in the low half of the first byte."""
    padded = [*levels, 0] if len(levels) % 2 else levels
    return bytes(padded[i] | padded[i + 1] << 4 for i in range(0, len(padded), 2))
