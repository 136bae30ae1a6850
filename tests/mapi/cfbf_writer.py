"""A minimal writer of compound files ([MS-CFB], version 3) and of .msg files ([MS-OXMSG]) in them, for tests."""

from __future__ import annotations

import struct
from uuid import UUID

from excise.mapi.properties import encode_value

Tree = dict[str, "Tree | bytes"]
_FREE, _END, _FATSECT, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
_SECTOR, _MINI, _CUTOFF = 512, 64, 4096
_PS_PUBLIC_STRINGS = UUID("00020329-0000-0000-c000-000000000046")


class _Writer:
    def __init__(self) -> None:
        self.sectors: list[bytes] = []
        self.fat: list[int] = []
        self.mini = bytearray()
        self.minifat: list[int] = []
        self.entries: list[list[object]] = []  # name, type, left, right, child, start, size

    def chain(self, data: bytes) -> int:
        """Writes ``data`` in sectors one after another; the first one's number."""
        if not data:
            return _END
        first, count = len(self.sectors), -(-len(data) // _SECTOR)
        for index in range(count):
            self.sectors.append(data[index * _SECTOR : (index + 1) * _SECTOR].ljust(_SECTOR, b"\0"))
            self.fat.append(first + index + 1 if index < count - 1 else _END)
        return first

    def stream(self, data: bytes) -> int:
        if not data or len(data) >= _CUTOFF:
            return self.chain(data)
        first, count = len(self.minifat), -(-len(data) // _MINI)
        self.mini += data.ljust(count * _MINI, b"\0")
        self.minifat += [first + index + 1 for index in range(count - 1)] + [_END]
        return first

    def add(self, tree: Tree) -> int:
        """Adds the members of a storage as a balanced tree; the number of its top entry."""
        numbers: list[int] = []
        for name in sorted(tree, key=lambda n: (len(n), n.upper())):
            content = tree[name]
            numbers.append(len(self.entries))
            entry: list[object] = [name, 2, _NONE, _NONE, _NONE, 0, 0]
            self.entries.append(entry)
            if isinstance(content, bytes):
                entry[5:] = [self.stream(content), len(content)]
            else:
                entry[1] = 1
                entry[4] = self.add(content)
        return self.balance(numbers)

    def balance(self, numbers: list[int]) -> int:
        if not numbers:
            return _NONE
        middle = len(numbers) // 2
        entry = self.entries[numbers[middle]]
        entry[2], entry[3] = self.balance(numbers[:middle]), self.balance(numbers[middle + 1 :])
        return numbers[middle]


def compound_file(tree: Tree) -> bytes:
    """A compound file with the storages (dicts) and streams (bytes) of ``tree``."""
    writer = _Writer()
    writer.entries.append(["Root Entry", 5, _NONE, _NONE, _NONE, _END, 0])
    writer.entries[0][4] = writer.add(tree)
    writer.entries[0][5:] = [writer.chain(bytes(writer.mini)), len(writer.mini)]
    minifat = struct.pack(f"<{len(writer.minifat)}I", *writer.minifat)
    minifat_sectors = -(-len(minifat) // _SECTOR)
    minifat_start = writer.chain(minifat.ljust(minifat_sectors * _SECTOR, b"\xff"))
    directory = b"".join(_entry(*entry) for entry in writer.entries)
    empty = _entry("", 0, _NONE, _NONE, _NONE, 0, 0)
    directory_start = writer.chain(directory + empty * (-len(writer.entries) % 4))
    fat_sectors = 1
    while len(writer.fat) + fat_sectors > fat_sectors * 128:
        fat_sectors += 1
    first_fat = len(writer.sectors)
    fat = [*writer.fat, *[_FATSECT] * fat_sectors]
    fat += [_FREE] * (fat_sectors * 128 - len(fat))
    difat = [first_fat + n for n in range(fat_sectors)] + [_FREE] * (109 - fat_sectors)
    header = struct.pack(
        "<8s16sHHHHH6xIIIIIIIII", bytes.fromhex("d0cf11e0a1b11ae1"), bytes(16), 0x3E, 3, 0xFFFE, 9, 6, 0, fat_sectors,
        directory_start, 0, _CUTOFF, minifat_start, minifat_sectors, _END, 0,
    )  # fmt: skip
    return header + struct.pack("<109I", *difat) + b"".join(writer.sectors) + struct.pack(f"<{len(fat)}I", *fat)


def _entry(name: str, kind: int, left: int, right: int, child: int, start: int, size: int) -> bytes:
    raw = name.encode("utf-16-le") + (b"\0\0" if name else b"")
    return struct.pack(
        "<64sHBBIII16sIQQIQ", raw, len(raw), kind, 1, left, right, child, bytes(16), 0, 0, 0, start, size
    )  # fmt: skip


def storage(values: dict[int, object], header: int, more: Tree | None = None) -> Tree:
    """A message, recipient or attachment storage: its property stream, value streams, and ``more`` beside them."""
    tree: Tree = dict(more or {})
    table = bytearray(header)
    for tag, value in values.items():
        kind, name = tag & 0xFFFF, f"__substg1.0_{tag:08X}"
        if kind in (0x101F, 0x101E, 0x1102):
            pieces = [encode_value(kind & 0xFFF, one) for one in value]
            for index, piece in enumerate(pieces):
                tree[f"{name}-{index:08X}"] = piece
            width = 8 if kind == 0x1102 else 4
            tree[name] = b"".join(len(piece).to_bytes(width, "little") for piece in pieces)
            inline = struct.pack("<II", len(tree[name]), 0)
        elif kind in (0x1E, 0x1F, 0x102, 0x48) or kind & 0x1000:
            tree[name] = encode_value(kind, value)
            inline = struct.pack("<II", len(tree[name]) + {0x1E: 1, 0x1F: 2}.get(kind, 0), 0)
        elif kind == 0x0D:
            inline = struct.pack("<II", 0xFFFFFFFF, 1)
        else:
            inline = encode_value(kind, value).ljust(8, b"\0")
        table += struct.pack("<II", tag, 6) + inline
    tree["__properties_version1.0"] = bytes(table)
    return tree


def message(
    values: dict[int, object],
    recipients: list[dict[int, object]] = (),  # type: ignore[assignment]
    attachments: list[Tree] = (),  # type: ignore[assignment]
    top: bool = True,
    names: list[tuple[UUID, int | str]] = (),  # type: ignore[assignment]
) -> Tree:
    """The tree of a message; ``names`` are those of ids 0x8000, 0x8001 …"""
    more: Tree = {f"__recip_version1.0_#{n:08X}": storage(row, 8) for n, row in enumerate(recipients)}
    more |= {f"__attach_version1.0_#{n:08X}": one for n, one in enumerate(attachments)}
    if top:
        more["__nameid_version1.0"] = name_table(names)
    return storage(values, 32 if top else 24, more)


def name_table(names: list[tuple[UUID, int | str]]) -> Tree:
    guids, entries, strings = bytearray(), bytearray(), bytearray()
    for index, (guid, name) in enumerate(names):
        if guid == _PS_PUBLIC_STRINGS:
            where = 2
        else:
            where = 3 + len(guids) // 16
            guids += guid.bytes_le
        if isinstance(name, int):
            entries += struct.pack("<IHH", name, where << 1, index)
        else:
            raw = name.encode("utf-16-le")
            entries += struct.pack("<IHH", len(strings), where << 1 | 1, index)
            strings += struct.pack("<I", len(raw)) + raw + bytes(-len(raw) % 4)
    streams = {2: guids, 3: entries, 4: strings}
    return {f"__substg1.0_{n:04X}0102": bytes(data) for n, data in streams.items()}


def file_attachment(name: str, data: bytes, values: dict[int, object] | None = None) -> Tree:
    return storage({0x3707001F: name, 0x37050003: 1, 0x37010102: data, **(values or {})}, 8)


def embedded_attachment(name: str, inner: Tree) -> Tree:
    values: dict[int, object] = {0x3001001F: name, 0x37050003: 5, 0x3701000D: None}
    return storage(values, 8, {"__substg1.0_3701000D": inner})
