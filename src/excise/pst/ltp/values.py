"""Property types and their values ([MS-OXCDATA] 2.11; storage: [MS-PST] 2.3.3.2, 2.3.3.4).

A value is what Python has for it: int, float, bool, str, bytes, datetime (aware, UTC), UUID, a tuple of these for
multiple values, ``ObjectRef`` for an object. A time outside the years 1601 to 9999 stays the int that it is, in
units of 100 ns since 1601.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from struct import Struct
from typing import TypeAlias
from uuid import UUID

from excise.pst.disk.damage import Damage

PT_SHORT = 0x0002
PT_LONG = 0x0003
PT_FLOAT = 0x0004
PT_DOUBLE = 0x0005
PT_CURRENCY = 0x0006
PT_APPTIME = 0x0007
PT_ERROR = 0x000A
PT_BOOLEAN = 0x000B
PT_OBJECT = 0x000D
PT_I8 = 0x0014
PT_STRING8 = 0x001E
PT_UNICODE = 0x001F
PT_SYSTIME = 0x0040
PT_CLSID = 0x0048
PT_BINARY = 0x0102
MV_FLAG = 0x1000

#: Types whose value stands in the four bytes of a property record.
INLINE = {PT_SHORT: 2, PT_LONG: 4, PT_FLOAT: 4, PT_ERROR: 4, PT_BOOLEAN: 1}
#: Types of a fixed size that is not inline.
FIXED = {PT_DOUBLE: 8, PT_CURRENCY: 8, PT_APPTIME: 8, PT_I8: 8, PT_SYSTIME: 8, PT_CLSID: 16, PT_OBJECT: 8}
_VARIABLE = frozenset({PT_STRING8, PT_UNICODE, PT_BINARY})

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_LAST_TICK = 2_650_467_744_000_000_000  # the first moment of the year 10000


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A PtypObject: the subnode that holds it, and its size in bytes as stored."""

    nid: int
    size: int


Scalar: TypeAlias = int | float | bool | str | bytes | datetime | UUID | ObjectRef
#: A value, or the damage that stands in its place.
Value: TypeAlias = Scalar | tuple[Scalar, ...]
Cell: TypeAlias = Value | Damage | None


def filetime(ticks: int) -> datetime | int:
    """The moment ``ticks`` units of 100 ns after 1601, to the microsecond; ``ticks`` where Python has none for it."""
    if 0 <= ticks < _LAST_TICK:
        return _EPOCH + timedelta(0, 0, ticks // 10)
    return ticks


@cache
def codec_of(code_page: int) -> str | None:
    """Python's codec for a Windows code page, or None where it has none."""
    special = {20127: "ascii", 65001: "utf-8", 1200: "utf-16-le", 1201: "utf-16-be", 936: "gb18030", 54936: "gb18030"}
    special |= {20866: "koi8-r", 21866: "koi8-u", 20932: "euc-jp", 51932: "euc-jp", 51949: "euc-kr", 52936: "hz"}
    special |= {50220: "iso2022_jp", 50221: "iso2022_jp", 50222: "iso2022_jp", 50225: "iso2022_kr", 10000: "mac-roman"}
    if 28591 <= code_page <= 28605:
        special[code_page] = f"iso8859-{code_page - 28590}"
    name = special.get(code_page, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


# The Windows code page in which Outlook keeps the strings of an item that went out in another character set.
_ANSI_OF_INTERNET = {50220: 932, 50221: 932, 50222: 932, 20932: 932, 51932: 932, 50225: 949, 51949: 949, 52936: 936}
_ANSI_OF_INTERNET |= {54936: 936, 20866: 1251, 21866: 1251, 28591: 1252, 28592: 1250, 28594: 1257, 28595: 1251}
_ANSI_OF_INTERNET |= {28596: 1256, 28597: 1253, 28598: 1255, 28599: 1254, 28605: 1252}
# By primary language (the low 10 bits of an LCID); Chinese by the whole LCID, and 1252 for all others.
_ANSI_OF_LANGUAGE = {0x11: 932, 0x12: 949, 0x1E: 874, 0x19: 1251, 0x22: 1251, 0x23: 1251, 0x02: 1251, 0x08: 1253}
_ANSI_OF_LANGUAGE |= {0x1F: 1254, 0x0D: 1255, 0x01: 1256, 0x29: 1256, 0x2A: 1258, 0x25: 1257, 0x26: 1257, 0x27: 1257}
_ANSI_OF_LANGUAGE |= {0x05: 1250, 0x0E: 1250, 0x15: 1250, 0x18: 1250, 0x1B: 1250, 0x24: 1250, 0x1A: 1250}
_ANSI_OF_CHINESE = {2052: 936, 4100: 936, 1028: 950, 3076: 950, 5124: 950}


def ansi_codec(message_page: int | None, internet_page: int | None, lcid: int | None) -> str | None:
    """The codec for the PtypString8 values of an item; None where the item does not tell.

    From PidTagMessageCodepage; else from the code page of its Internet form, which is another than that of the
    strings (iso-2022-jp for strings in Shift-JIS); else from its locale.
    """
    if message_page is not None and (codec := codec_of(message_page)) is not None:
        return codec
    page = _ANSI_OF_INTERNET.get(internet_page or 0)
    if page is None and internet_page is not None and (1250 <= internet_page <= 1258 or 874 <= internet_page <= 950):
        page = internet_page
    if page is None and lcid is not None:
        page = _ANSI_OF_CHINESE.get(lcid) or _ANSI_OF_LANGUAGE.get(lcid & 0x3FF)
    return None if page is None else codec_of(page)


def fixed_size(ptype: int) -> int | None:
    """Bytes of a value of ``ptype``, None where they vary."""
    return INLINE.get(ptype, FIXED.get(ptype))


def decode_value(ptype: int, data: bytes, codec: str) -> Value:
    """The value of ``ptype`` in ``data``; ``codec`` is for PtypString8. ValueError where ``data`` is none.

    A type that is not known gives the bytes themselves.
    """
    if ptype & MV_FLAG:
        return _decode_multiple(ptype & ~MV_FLAG, data, codec)
    size = fixed_size(ptype)
    if size is not None and len(data) < size:
        raise ValueError(f"{len(data)} bytes for a value of {size}")
    decoder = _SCALARS.get(ptype)
    if decoder is not None:
        return decoder(data)
    return _decode_string8(data, codec) if ptype == PT_STRING8 else data


def _decode_string8(data: bytes, codec: str) -> str:
    return data.decode(codec, "replace").rstrip("\0")


def _decode_unicode(data: bytes) -> str:
    return data.decode("utf-16-le", "replace").rstrip("\0")


def _unpacker(layout: str) -> Callable[[bytes], Scalar]:
    struct = Struct(layout)

    def unpack(data: bytes) -> Scalar:
        value: Scalar = struct.unpack_from(data)[0]
        return value

    return unpack


_SCALARS: dict[int, Callable[[bytes], Scalar]] = {
    PT_SHORT: _unpacker("<h"),
    PT_LONG: _unpacker("<i"),
    PT_FLOAT: _unpacker("<f"),
    PT_DOUBLE: _unpacker("<d"),
    PT_CURRENCY: _unpacker("<q"),
    PT_APPTIME: _unpacker("<d"),
    PT_ERROR: _unpacker("<I"),
    PT_BOOLEAN: lambda data: data[0] != 0,
    PT_I8: _unpacker("<q"),
    PT_UNICODE: _decode_unicode,
    PT_SYSTIME: lambda data: filetime(int.from_bytes(data[:8], "little")),
    PT_CLSID: lambda data: UUID(bytes_le=data[:16]),
    PT_OBJECT: lambda data: ObjectRef(*Struct("<II").unpack_from(data)),
}


def _decode_multiple(ptype: int, data: bytes, codec: str) -> Value:
    if ptype in _VARIABLE:
        parts = _split_variable(data)
    else:
        size = fixed_size(ptype)
        if size is None:
            return data
        # Inline types are packed at their own size here, booleans as 16 bits.
        size = 2 if ptype == PT_BOOLEAN else size
        if len(data) % size:
            raise ValueError(f"{len(data)} bytes for values of {size}")
        parts = [data[at : at + size] for at in range(0, len(data), size)]
    values = [decode_value(ptype, part, codec) for part in parts]
    return tuple(value for value in values if not isinstance(value, tuple))


def _split_variable(data: bytes) -> list[bytes]:
    """Cut at the offsets that follow the count (2.3.3.4.2). No more values than ``data`` has room for."""
    if not data:
        return []
    count = int.from_bytes(data[:4], "little")
    if 4 + 4 * count > len(data):
        raise ValueError(f"{count} values in {len(data)} bytes")
    offsets = [*Struct(f"<{count}I").unpack_from(data, 4), len(data)]
    if any(not 4 + 4 * count <= start <= end <= len(data) for start, end in pairwise(offsets)):
        raise ValueError("offsets of values out of order or outside")
    return [data[start:end] for start, end in pairwise(offsets)]


def encode_value(ptype: int, value: Value | Sequence[Scalar], codec: str = "cp1252") -> bytes:
    """The bytes of a value of ``ptype``, the reverse of ``decode_value``. ValueError where it has none of them.

    Multiple values may be a list as well as a tuple.
    """
    if ptype & MV_FLAG:
        return _encode_multiple(ptype & ~MV_FLAG, value, codec)
    try:
        return _encode_scalar(ptype, value, codec)
    except (struct.error, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"no value of type 0x{ptype:04x}: {error}") from error


_LAYOUTS = {PT_SHORT: "<h", PT_LONG: "<i", PT_FLOAT: "<f", PT_DOUBLE: "<d", PT_CURRENCY: "<q", PT_APPTIME: "<d"}
_LAYOUTS |= {PT_ERROR: "<I", PT_BOOLEAN: "<?", PT_I8: "<q", PT_SYSTIME: "<Q"}


def _encode_scalar(ptype: int, value: Value | Sequence[Scalar], codec: str) -> bytes:
    if ptype == PT_SYSTIME and isinstance(value, datetime):
        value = (value - _EPOCH) // timedelta(microseconds=1) * 10
    if (layout := _LAYOUTS.get(ptype)) is not None and isinstance(value, int | float):
        return Struct(layout).pack(value)
    if isinstance(value, str) and ptype in (PT_UNICODE, PT_STRING8):
        return value.encode("utf-16-le" if ptype == PT_UNICODE else codec)
    if isinstance(value, UUID) and ptype == PT_CLSID:
        return value.bytes_le
    if isinstance(value, ObjectRef) and ptype == PT_OBJECT:
        return Struct("<II").pack(value.nid, value.size)
    if isinstance(value, bytes) and fixed_size(ptype) is None and ptype not in (PT_UNICODE, PT_STRING8):
        return value
    raise ValueError(f"{type(value).__name__} is no value of type 0x{ptype:04x}")


def _encode_multiple(ptype: int, value: Value | Sequence[Scalar], codec: str) -> bytes:
    if not isinstance(value, tuple | list):
        raise ValueError(f"{type(value).__name__} is no multiple value")  # noqa: TRY004 - documented
    parts = [encode_value(ptype, each, codec) for each in value]
    if ptype == PT_BOOLEAN:
        parts = [part.ljust(2, b"\0") for part in parts]
    if ptype not in _VARIABLE:
        return b"".join(parts)
    offsets, at = [], 4 + 4 * len(parts)
    for part in parts:
        offsets.append(at)
        at += len(part)
    return Struct(f"<{len(parts) + 1}I").pack(len(parts), *offsets) + b"".join(parts)
