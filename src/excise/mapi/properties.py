"""Property values and bags ([MS-OXCDATA] 2.11).

Invariant: a bag keeps every property as it was stored; decoding happens on demand and never loses the raw value. A
value that cannot be decoded is None to its reader and named by ``problems``.

The raw form is that of a PST ([MS-PST] 2.3.3): fixed values little-endian in their own size, strings and binaries
without a length and without a terminator, multiple fixed values side by side, multiple variable values as a count, an
offset for each and the data. The other readers (.msg, TNEF) bring their values into it.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from excise.mapi import codepages
from excise.mapi.tags import (
    MULTIPLE,
    NamedProperty,
    PidTagInternetCodepage,
    PidTagMessageCodepage,
    PropertyTag,
    PropertyType,
)

Scalar = str | bytes | int | float | bool | datetime | UUID
Value = Scalar | list[Scalar]
Key = PropertyTag | NamedProperty

_FIXED = {
    PropertyType.Integer16: struct.Struct("<h"),
    PropertyType.Integer32: struct.Struct("<i"),
    PropertyType.Floating32: struct.Struct("<f"),
    PropertyType.Floating64: struct.Struct("<d"),
    PropertyType.Currency: struct.Struct("<q"),
    PropertyType.FloatingTime: struct.Struct("<d"),
    PropertyType.ErrorCode: struct.Struct("<I"),
    PropertyType.Boolean: struct.Struct("<B"),
    PropertyType.Integer64: struct.Struct("<q"),
    PropertyType.Time: struct.Struct("<Q"),
    PropertyType.Guid: struct.Struct("<16s"),
}
_VARIABLE = frozenset({PropertyType.String8, PropertyType.String, PropertyType.Binary, PropertyType.Object})
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_OLE_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
#: Codecs to try where bytes do not fit their code page; UTF-8 and ASCII are named for text that is neither.
_OTHERS = {20127: ("utf-8", "cp1252"), 65001: ("cp1252",)}
#: What a String8 value is decoded with where nothing says its code page.
DEFAULT_CODE_PAGE = 1252


def fixed_size(property_type: int) -> int | None:
    """Bytes of one value of ``property_type`` (its single type), or None where it varies or is unknown."""
    packer = _FIXED.get(_single(property_type))
    return None if packer is None else packer.size


def is_variable(property_type: int) -> bool:
    """True for strings, binaries and objects, single or multiple."""
    return _single(property_type) in _VARIABLE


def filetime(moment: datetime) -> int:
    """``moment`` as FILETIME: units of 100 ns since 1601 in UTC."""
    return (moment - _FILETIME_EPOCH) // timedelta(microseconds=1) * 10


def from_filetime(ticks: int) -> datetime:
    """The reverse of ``filetime``; beyond the year 9999 a ValueError."""
    try:
        return _FILETIME_EPOCH + timedelta(microseconds=ticks // 10)
    except OverflowError:
        raise ValueError(f"the time {ticks:#x} lies beyond the year 9999") from None


def decode_value(property_type: int, raw: bytes, code_page: int) -> Value:
    """The value of ``raw``; what does not fit the type is a ValueError."""
    if not property_type & MULTIPLE:
        return _decode_one(property_type, raw, code_page)
    single = property_type & ~MULTIPLE
    return [_decode_one(single, piece, code_page) for piece in split_multiple(single, raw)]


def encode_value(property_type: int, value: Value, code_page: int = DEFAULT_CODE_PAGE) -> bytes:
    """The raw form of ``value``; a value that does not fit the type is a ValueError."""
    if not property_type & MULTIPLE:
        return _encode_one(property_type, value, code_page)
    if not isinstance(value, list):
        raise TypeError("a multiple-valued property takes a list")
    single = property_type & ~MULTIPLE
    pieces = [_encode_one(single, one, code_page) for one in value]
    return join_multiple(pieces) if single in _VARIABLE else b"".join(pieces)


def split_multiple(single: int, raw: bytes) -> list[bytes]:
    """The values in the raw form of a multiple-valued property of the single type ``single``."""
    size = fixed_size(single)
    if size is not None:
        if len(raw) % size:
            raise ValueError(f"{len(raw)} bytes are no whole number of values of {size} bytes")
        return [raw[at : at + size] for at in range(0, len(raw), size)]
    if single not in _VARIABLE:
        raise ValueError(f"property type 0x{single | MULTIPLE:04X} is unknown")
    if not raw:
        return []
    if len(raw) < 4:
        raise ValueError("a list of values ends before its count")
    count = int.from_bytes(raw[:4], "little")
    if count > (len(raw) - 4) // 4:
        raise ValueError(f"a list says {count} values in {len(raw)} bytes")
    bounds = [*struct.unpack_from(f"<{count}I", raw, 4), len(raw)]
    if any(a > b for a, b in itertools.pairwise(bounds)) or (count and bounds[0] < 4 + 4 * count):
        raise ValueError("the offsets of a list of values are out of order")
    return [raw[a:b] for a, b in itertools.pairwise(bounds)]


def join_multiple(pieces: list[bytes]) -> bytes:
    """The raw form of a list of variable values ([MS-PST] 2.3.3.4.2)."""
    at, offsets = 4 + 4 * len(pieces), []
    for piece in pieces:
        offsets.append(at)
        at += len(piece)
    return struct.pack(f"<I{len(pieces)}I", len(pieces), *offsets) + b"".join(pieces)


def without_terminator(raw: bytes, single: int) -> bytes:
    """A string value that other formats store as a C string, in the form of a bag; any other value as it is."""
    if single == PropertyType.String and raw.endswith(b"\0\0") and len(raw) % 2 == 0:
        return raw[:-2]
    return raw[:-1] if single == PropertyType.String8 and raw.endswith(b"\0") else raw


def decode_string8(raw: bytes, code_page: int) -> str:
    """Text of a String8 value; bytes that do not fit the code page are a ValueError."""
    raw = raw.rstrip(b"\0") if code_page not in (1200, 1201, 12000, 12001) else raw
    try:
        return codepages.decode(raw, code_page)
    except UnicodeDecodeError as error:
        for other in _OTHERS.get(code_page, ("utf-8",)):
            with contextlib.suppress(UnicodeDecodeError):
                return raw.decode(other)
        raise ValueError(f"byte {error.start} does not fit code page {code_page}") from None


def _single(property_type: int) -> PropertyType:
    try:
        return PropertyType(property_type & ~MULTIPLE)
    except ValueError:
        return PropertyType.Unspecified


def _decode_one(property_type: int, raw: bytes, code_page: int) -> Scalar:
    kind = _single(property_type)
    packer = _FIXED.get(kind)
    if packer is not None:
        if len(raw) < packer.size or raw[packer.size :].strip(b"\0"):
            raise ValueError(f"{kind.name} takes {packer.size} bytes, {len(raw)} are there")
        return _decode_fixed(kind, packer.unpack_from(raw)[0])
    if kind is PropertyType.String:
        return raw.decode("utf-16-le").rstrip("\0")
    if kind is PropertyType.String8:
        return decode_string8(raw, code_page)
    if kind in (PropertyType.Unspecified, PropertyType.Null):
        raise ValueError(f"property type 0x{property_type:04X} is unknown")
    return raw


def _decode_fixed(kind: PropertyType, value: Scalar) -> Scalar:
    if kind is PropertyType.Boolean:
        return bool(value)
    if kind is PropertyType.Time and isinstance(value, int):
        return from_filetime(value)
    if kind is PropertyType.Guid and isinstance(value, bytes):
        return UUID(bytes_le=value)
    if kind is PropertyType.Currency and isinstance(value, int):
        return value / 10_000
    if kind is PropertyType.FloatingTime and isinstance(value, float):
        try:
            return _OLE_EPOCH + timedelta(days=value)
        except OverflowError:
            raise ValueError(f"the time {value} lies out of range") from None
    return value


def _encode_one(property_type: int, value: Value, code_page: int) -> bytes:
    kind = _single(property_type)
    if kind is PropertyType.String and isinstance(value, str):
        return value.encode("utf-16-le", "replace")
    if kind is PropertyType.String8 and isinstance(value, str):
        return value.encode(codepages.codec(code_page) or "cp1252", "replace")
    if kind is PropertyType.Time and isinstance(value, datetime):
        value = filetime(value)
    elif kind is PropertyType.FloatingTime and isinstance(value, datetime):
        value = (value - _OLE_EPOCH) / timedelta(days=1)
    elif kind is PropertyType.Guid and isinstance(value, UUID):
        value = value.bytes_le
    elif kind is PropertyType.Currency and isinstance(value, float):
        value = round(value * 10_000)
    packer = _FIXED.get(kind)
    try:
        if packer is not None:
            return packer.pack(value)
    except struct.error:
        raise ValueError(f"{value!r} does not fit {kind.name}") from None
    if not isinstance(value, bytes) or kind in (PropertyType.String, PropertyType.String8):
        raise ValueError(f"a {type(value).__name__} does not fit {kind.name}")
    return value


class RawProperty(NamedTuple):
    """One property as stored: its tag, its raw value and, for a named one, its name."""

    tag: PropertyTag
    raw: bytes
    name: NamedProperty | None = None


class PropertyBag:
    """The properties of one object, by property id or name; at most one for each id.

    Two values under one id happen in damaged or odd files: the Unicode one is kept, else the first, and ``problems``
    names the other. Equal bags hold equal raw properties.
    """

    __slots__ = ("_by_id", "_by_name", "_code_page", "_decoded", "_notes")

    def __init__(self, properties: Iterable[RawProperty] = (), code_page: int | None = None) -> None:
        self._by_id: dict[int, RawProperty] = {}
        self._notes: list[str] = []
        for entry in properties:
            self._add(entry)
        self._by_name = {entry.name: entry for entry in self._by_id.values() if entry.name is not None}
        self._decoded: dict[int, Value | None] = {}
        self._code_page = self._find_code_page(code_page)

    @classmethod
    def from_raw(
        cls,
        entries: Iterable[tuple[int, bytes]],
        code_page: int | None = None,
        names: Mapping[int, NamedProperty] | None = None,
    ) -> PropertyBag:
        """A bag of (32-bit tag, raw value in PST form); ``names`` gives the names of ids from 0x8000 up.

        ``code_page`` is that of String8 values where the bag itself does not say it (PidTagMessageCodepage).
        """
        known = names or {}
        return cls(
            (RawProperty(PropertyTag.parse(tag), raw, known.get(tag >> 16)) for tag, raw in entries),
            code_page,
        )

    @classmethod
    def of(
        cls,
        values: Mapping[PropertyTag, Value | None],
        named: Mapping[tuple[NamedProperty, int], Value] | None = None,
    ) -> PropertyBag:
        """A bag of typed values (None is left out); ``named`` has (name, property type) as its keys."""
        plain = [RawProperty(t, encode_value(t.type, v)) for t, v in values.items() if v is not None]
        for index, ((name, kind), value) in enumerate((named or {}).items()):
            plain.append(RawProperty(PropertyTag(0x8000 + index, kind), encode_value(kind, value), name))
        return cls(plain)

    def _add(self, entry: RawProperty) -> None:
        held = self._by_id.get(entry.tag.id)
        if held is not None:
            unicode_wins = held.tag.type == PropertyType.String8 and entry.tag.type == PropertyType.String
            dropped = held if unicode_wins else entry
            if dropped.raw != (entry if unicode_wins else held).raw:
                self._notes.append(f"property {dropped.tag} is there twice; one value is not used")
            if not unicode_wins:
                return
        self._by_id[entry.tag.id] = entry

    def _find_code_page(self, given: int | None) -> int:
        own = self._raw_integer(PidTagMessageCodepage)
        internet = self._raw_integer(PidTagInternetCodepage)
        for page in (own, given, None if internet is None else codepages.windows(internet)):
            if page and page not in (1200, 1201) and codepages.codec(page) is not None:
                return page
        return DEFAULT_CODE_PAGE

    def _raw_integer(self, tag: PropertyTag) -> int | None:
        entry = self._by_id.get(tag.id)
        return int.from_bytes(entry.raw[:4], "little") if entry is not None and len(entry.raw) >= 4 else None

    @property
    def code_page(self) -> int:
        """The code page of the String8 values."""
        return self._code_page

    def __iter__(self) -> Iterator[RawProperty]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, key: Key) -> bool:
        return self.raw(key) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PropertyBag) and self._by_id == other._by_id and self._code_page == other._code_page

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PropertyBag of {len(self._by_id)} properties>"

    def raw(self, key: Key) -> RawProperty | None:
        """The property as stored, or None where it is absent. The type in a tag is not compared."""
        return self._by_name.get(key) if isinstance(key, NamedProperty) else self._by_id.get(key.id)

    def get(self, key: Key) -> Value | None:
        """The value; None where the property is absent or undecodable. Text with odd bytes comes with U+FFFD."""
        entry = self.raw(key)
        if entry is None:
            return None
        if entry.tag.id not in self._decoded:
            self._decoded[entry.tag.id] = self._decode(entry)[0]
        return self._decoded[entry.tag.id]

    def _decode(self, entry: RawProperty) -> tuple[Value | None, str | None]:
        try:
            return decode_value(entry.tag.type, entry.raw, self._code_page), None
        except ValueError as error:
            problem = f"property {entry.name or entry.tag} cannot be decoded: {error}"
        if entry.tag.type == PropertyType.String:
            return entry.raw.decode("utf-16-le", "replace").rstrip("\0"), problem
        if entry.tag.type == PropertyType.String8:
            name = codepages.codec(self._code_page) or "ascii"
            return entry.raw.decode(name, "replace").rstrip("\0"), problem
        return None, problem

    def text(self, key: Key) -> str | None:
        """The value where it is a string (of a list of strings the first)."""
        value = self.get(key)
        if isinstance(value, list):
            value = value[0] if value else None
        return value if isinstance(value, str) else None

    def texts(self, key: Key) -> list[str]:
        """The values where they are strings."""
        value = self.get(key)
        return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]

    def integer(self, key: Key) -> int | None:
        """The value where it is a whole number."""
        value = self.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def boolean(self, key: Key) -> bool | None:
        """The value where it is a boolean."""
        value = self.get(key)
        return value if isinstance(value, bool) else None

    def binary(self, key: Key) -> bytes | None:
        """The value where it is binary."""
        value = self.get(key)
        return value if isinstance(value, bytes) else None

    def binaries(self, key: Key) -> list[bytes]:
        """The values where they are binary."""
        value = self.get(key)
        return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, bytes)]

    def time(self, key: Key) -> datetime | None:
        """The value where it is a time, in UTC. The zero FILETIME means "none"."""
        value = self.get(key)
        return value if isinstance(value, datetime) and value != _FILETIME_EPOCH else None

    def problems(self) -> list[str]:
        """What could not be decoded or stood there twice: one line each, in the order of the properties."""
        found = [problem for entry in self for problem in [self._decode(entry)[1]] if problem is not None]
        return [*self._notes, *found]
