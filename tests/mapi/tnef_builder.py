"""Builds winmail.dat streams for tests, from the text of [MS-OXTNEF] and not from the reader."""

from __future__ import annotations

import struct
from uuid import UUID

IID_MESSAGE = UUID("00020307-0000-0000-c000-000000000046").bytes_le
IID_STORAGE = UUID("0000000b-0000-0000-c000-000000000046").bytes_le
Property = tuple[int, object]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def attribute(level: int, attribute_id: int, data: bytes) -> bytes:
    return struct.pack("<BII", level, attribute_id, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def variable(values: list[bytes]) -> bytes:
    return struct.pack("<I", len(values)) + b"".join(struct.pack("<I", len(v)) + padded(v) for v in values)


def value(kind: int, content: object) -> bytes:
    """One value as MsgPropertyValue has it."""
    if kind & 0x1000:
        assert isinstance(content, list)
        if kind in (0x101E, 0x101F, 0x1102):
            return variable([terminated(kind & 0xFFF, one) for one in content])
        return struct.pack("<I", len(content)) + b"".join(value(kind & 0xFFF, one) for one in content)
    if kind in (0x1E, 0x1F, 0x102, 0x0D):
        return variable([terminated(kind, content)])
    return padded(struct.pack({0x02: "<h", 0x03: "<i", 0x0B: "<H", 0x14: "<q", 0x40: "<Q", 0x05: "<d"}[kind], content))


def terminated(kind: int, content: object) -> bytes:
    if isinstance(content, str):
        return (content + "\0").encode("cp1252" if kind == 0x1E else "utf-16-le")
    assert isinstance(content, bytes)
    return content


def properties(entries: list[Property], named: list[tuple[UUID, int | str, int, object]] = ()) -> bytes:  # type: ignore[assignment]
    out = [struct.pack("<I", len(entries) + len(named))]
    for tag, content in entries:
        out += [struct.pack("<I", tag), value(tag & 0xFFFF, content)]
    for index, (guid, name, kind, content) in enumerate(named):
        out.append(struct.pack("<I", (0x8000 + index) << 16 | kind) + guid.bytes_le)
        if isinstance(name, int):
            out.append(struct.pack("<II", 0, name))
        else:
            raw = (name + "\0").encode("utf-16-le")
            out.append(struct.pack("<II", 1, len(raw)) + padded(raw))
        out.append(value(kind, content))
    return b"".join(out)


def stream(*attributes: bytes) -> bytes:
    head = struct.pack("<IH", 0x223E9F78, 1)
    version = attribute(1, 0x00089006, struct.pack("<I", 0x00010000))
    codepage = attribute(1, 0x00069007, struct.pack("<II", 1252, 0))
    return head + version + codepage + b"".join(attributes)


def message_class(name: str = "IPM.Microsoft Mail.Note") -> bytes:
    return attribute(1, 0x00078008, name.encode("ascii") + b"\0")


def attachment(name: str, data: bytes | None, entries: list[Property] = ()) -> bytes:  # type: ignore[assignment]
    out = attribute(2, 0x00069002, struct.pack("<HIHHI", 1, 0xFFFFFFFF, 32, 32, 0))
    out += attribute(2, 0x00018010, name.encode("cp1252", "replace") + b"\0")
    if data is not None:
        out += attribute(2, 0x0006800F, data)
    return out + attribute(2, 0x00069005, properties([(0x3707001F, name), *entries]))
