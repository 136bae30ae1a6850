"""A small writer of .msg files ([MS-OXMSG]) on compound files ([MS-CFB] version 3), for tests."""

from __future__ import annotations

import struct
from itertools import pairwise

_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
Tree = dict[str, "bytes | Tree"]


def compound_file(tree: Tree) -> bytes:
    """A compound file with the storages (dicts) and streams (bytes) of ``tree``."""
    sectors: list[bytes] = []
    fat: list[int] = []

    def chain(data: bytes, size: int, store: list[bytes], table: list[int]) -> int:
        if not data:
            return _END
        first = len(store)
        pieces = [data[at : at + size].ljust(size, b"\0") for at in range(0, len(data), size)]
        store.extend(pieces)
        table.extend([*range(first + 1, first + len(pieces)), _END])
        return first

    mini: list[bytes] = []
    minifat: list[int] = []
    entries: list[list] = [["Root Entry", 5, _FREE, _FREE, _FREE, _END, 0]]

    def add(children: Tree) -> int:
        order = sorted(children, key=lambda name: (len(name), name.upper()))
        numbers = []
        for name in order:
            child = children[name]
            entry = [name, 1 if isinstance(child, dict) else 2, _FREE, _FREE, _FREE, _END, 0]
            entries.append(entry)
            numbers.append(len(entries) - 1)
            if isinstance(child, dict):
                entry[5] = 0
                entry[4] = add(child)
            else:
                small = len(child) < 4096
                entry[5] = chain(child, 64, mini, minifat) if small else chain(child, 512, sectors, fat)
                entry[6] = len(child)
        for one, other in pairwise(numbers):
            entries[one][3] = other
        return numbers[0] if numbers else _FREE

    entries[0][4] = add(tree)
    ministream = b"".join(mini)
    entries[0][5], entries[0][6] = chain(ministream, 512, sectors, fat), len(ministream)
    minifat_at = chain(struct.pack(f"<{len(minifat)}L", *minifat), 512, sectors, fat)
    minifat_sectors = -(-len(minifat) * 4 // 512)
    directory = b""
    for name, kind, left, right, child, start, size in entries:
        coded = (name + "\0").encode("utf-16-le")
        directory += coded.ljust(64, b"\0") + struct.pack("<HBB3L", len(coded), kind, 1, left, right, child)
        directory += bytes(36) + struct.pack("<LQ", start, size)
    directory_at = chain(directory, 512, sectors, fat)
    count = 1
    while count * 128 < len(fat) + count:
        count += 1
    fat_at = len(sectors)
    fat += [_FAT] * count
    fat += [_FREE] * (count * 128 - len(fat))
    sectors += [struct.pack("<128L", *fat[n * 128 : n * 128 + 128]) for n in range(count)]
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9L", 0, count, directory_at, 0, 4096, minifat_at, minifat_sectors, _END, 0)
    header += struct.pack("<109L", *range(fat_at, fat_at + count), *[_FREE] * (109 - count))
    return header + b"".join(sectors)


def _storage(header: int, values: dict[int, object]) -> Tree:
    """The streams of a property storage whose property stream begins with ``header`` bytes."""
    stream, tree = bytes(header), {}
    for tag, value in values.items():
        if isinstance(value, int):
            stream += struct.pack("<LLQ", tag, 6, value)
            continue
        data = value.encode("utf-16-le") if isinstance(value, str) else value
        tree[f"__substg1.0_{tag:08X}"] = data
        stream += struct.pack("<LLQ", tag, 6, len(data) + (2 if isinstance(value, str) else 0))
    return {"__properties_version1.0": stream, **tree}


def msg_file(subject: str, body: str = "Hello.", attachments: dict[str, bytes] | None = None) -> bytes:
    """A .msg file with a subject, a sender, a recipient, a body and attachments."""
    tree = _storage(
        32,
        {
            0x001A001F: "IPM.Note",
            0x0037001F: subject,
            0x1000001F: body,
            0x0C1F001F: "ann@example.com",
            0x0C1E001F: "SMTP",
            0x0C1A001F: "Ann",
            0x1035001F: f"<{len(subject)}@example.com>",
            0x0E070003: 1,
            0x0E060040: 134_145_216_000_000_000,
        },
    )
    recipient = _storage(8, {0x3001001F: "Bob", 0x3003001F: "bob@example.net", 0x3002001F: "SMTP", 0x0C150003: 1})
    tree["__recip_version1.0_#00000000"] = recipient
    for number, (name, data) in enumerate((attachments or {}).items()):
        values = {0x3707001F: name, 0x3704001F: name[:8], 0x37010102: data, 0x37050003: 1, 0x0E210003: number}
        tree[f"__attach_version1.0_#{number:08X}"] = _storage(8, values)
    tree["__nameid_version1.0"] = {f"__substg1.0_{tag}0102": b"" for tag in ("0002", "0003", "0004")}
    return compound_file(tree)
