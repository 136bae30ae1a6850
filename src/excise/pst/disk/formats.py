"""The three on-disk formats and what differs between them ([MS-PST] 1.3.1.1, 2.2.2).

ANSI and Unicode are in [MS-PST]; the 4-KB-page format of Outlook 2013's OST files is not. Its layout here follows the
published format notes of other open readers: 4,096-byte pages, blocks in units of 512 bytes up to 64 KiB, a
block trailer of 24 bytes, zlib-compressed blocks, and heap ids with 14 bits of item index.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct


@dataclass(frozen=True, slots=True)
class Format:
    """Sizes and layouts of one format. All sizes are in bytes.

    ``bid_code`` is the ``struct`` and ``array`` code of a BID, an IB and a B-tree key. ``entries_size`` is the area
    of a BTPAGE that holds entries. ``hid_shift`` is the number of low bits of a HID that are not its block index.
    """

    name: str
    versions: tuple[int, ...]
    header_size: int
    page_size: int
    page_trailer_size: int
    entries_size: int
    block_trailer_size: int
    block_unit: int
    block_limit: int
    bid_code: str
    bt_entry: Struct
    bbt_entry: Struct
    nbt_entry: Struct
    subnode_header_size: int
    sl_entry: Struct
    si_entry: Struct
    row_index_code: str
    hid_shift: int

    @property
    def bid_size(self) -> int:
        """Size of a BID."""
        return 4 if self.bid_code == "I" else 8

    @property
    def max_block_data(self) -> int:
        """The most data that one block can hold: 8,176 (Unicode) or 8,180 (ANSI)."""
        return self.block_limit - self.block_trailer_size

    def block_size(self, cb: int) -> int:
        """Size on disk of a block with ``cb`` bytes of data, trailer and padding included ([MS-PST] 2.2.2.8)."""
        unit = self.block_unit
        return (cb + self.block_trailer_size + unit - 1) // unit * unit


ANSI = Format(
    name="ANSI",
    versions=(14, 15),
    header_size=512,
    page_size=512,
    page_trailer_size=12,
    entries_size=496,
    block_trailer_size=12,
    block_unit=64,
    block_limit=8192,
    bid_code="I",
    bt_entry=Struct("<III"),
    bbt_entry=Struct("<IIHH"),
    nbt_entry=Struct("<IIII"),
    subnode_header_size=4,
    sl_entry=Struct("<III"),
    si_entry=Struct("<II"),
    row_index_code="H",
    hid_shift=16,
)

UNICODE = Format(
    name="Unicode",
    versions=(21, 23),
    header_size=564,
    page_size=512,
    page_trailer_size=16,
    entries_size=488,
    block_trailer_size=16,
    block_unit=64,
    block_limit=8192,
    bid_code="Q",
    bt_entry=Struct("<QQQ"),
    bbt_entry=Struct("<QQHHI"),
    nbt_entry=Struct("<QQQII"),
    subnode_header_size=8,
    sl_entry=Struct("<QQQ"),
    si_entry=Struct("<QQ"),
    row_index_code="I",
    hid_shift=16,
)

UNICODE_4K = Format(
    name="Unicode with 4-KB pages",
    versions=(36, 37),
    header_size=564,
    page_size=4096,
    page_trailer_size=24,
    entries_size=4056,
    block_trailer_size=24,
    block_unit=512,
    block_limit=65536,
    bid_code="Q",
    bt_entry=Struct("<QQQ"),
    bbt_entry=Struct("<QQHHHH"),
    nbt_entry=Struct("<QQQII"),
    subnode_header_size=8,
    sl_entry=Struct("<QQQ"),
    si_entry=Struct("<QQ"),
    row_index_code="I",
    hid_shift=19,
)

FORMATS = (ANSI, UNICODE, UNICODE_4K)


def format_of(wVer: int) -> Format | None:
    """The format that a header's ``wVer`` stands for, or None where it is none that is known."""
    return next((fmt for fmt in FORMATS if wVer in fmt.versions), None)
