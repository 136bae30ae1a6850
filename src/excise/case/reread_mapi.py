"""A message of an evidence PST compared with the record of its item in ``properties.jsonl``: property for property.

The record was made from the item as it was fetched, before the writer of PSTs saw it, and is bound by its SHA-256.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any
from uuid import UUID

from excise.case.pst_held import DATA, Held, HeldAttachment
from excise.core.clock import iso
from excise.mapi.properties import PropertyBag, RawProperty, Value, encode_value
from excise.mapi.tags import PropertyTag

_SET = "{6f0f6c1e-5a51-4c0e-9b0b-2f1d6a3e8c47}"
_OBJECT = 0x000D
_FLAGS, _SIZE, _ATTACH_SIZE = 0x0E07, 0x0E08, 0x0E20
#: What cannot be as it was: sizes are those of what the new file holds, and an object's value is a place in its file
#: (the content of attachments is compared by its hash).
_NOT_COMPARED = {_SIZE, _ATTACH_SIZE, DATA}
#: Flags that say what the new file has: attachments, and a place among the folder's hidden items.
_OWN_FLAGS = 0x10 | 0x40
#: What the writer adds where an item has none, since [MS-PST] wants every message to have it: class, flags, size,
#: two times, search key; of an attachment method, rendering position and size; the two ids of a row.
_FILLED_IN = {0x001A, _FLAGS, _SIZE, 0x3007, 0x3008, 0x300B}
_FILLED_IN_ATTACHMENT = {0x3705, 0x370B, _ATTACH_SIZE, DATA}
_FILLED_IN_ROW = {0x67F2, 0x67F3}


def differences(record: Mapping[str, Any], held: Held, content: str | None = None) -> Iterator[str]:
    """Where ``held`` differs from ``record``; ``content`` begins the names of properties that hold its MIME."""
    yield from _compare_bag("", record["properties"], held.properties, _FILLED_IN, content)
    for number, (row, found) in enumerate(zip_longest(record["recipients"], held.recipients), 1):
        if row is None or found is None:
            yield f"expected {len(record['recipients'])} recipients, found {len(held.recipients)}"
            break
        yield from _compare_bag(f"recipient {number}: ", row, found, _FILLED_IN_ROW)
    for number, (each, there) in enumerate(zip_longest(record["attachments"], held.attachments), 1):
        if each is None or there is None:
            yield f"expected {len(record['attachments'])} attachments, found {len(held.attachments)}"
            break
        for difference in _compare_attachment(each, there):
            yield f"attachment {number}: {difference}"


def _compare_attachment(record: Mapping[str, Any], held: HeldAttachment) -> Iterator[str]:
    yield from _compare_bag("", record["properties"], held.properties, _FILLED_IN_ATTACHMENT)
    if "embedded" in record:
        inner = held.embedded()
        yield from ("there is no message in it",) if inner is None else differences(record["embedded"], inner)
    elif "sha256" in record:
        size, digest = held.content()
        if (size, digest) != (record["size"], record["sha256"]):
            yield f"expected {record['size']} bytes with SHA-256 {record['sha256'][:16]}…, found {size}, {digest[:16]}…"


def _compare_bag(
    where: str, records: Iterable[Mapping[str, Any]], bag: PropertyBag, filled_in: set[int], content: str | None = None
) -> Iterator[str]:
    there = {_place(entry.tag, str(entry.name) if entry.name else None): entry for entry in bag}
    for key, record in _expected(records):
        entry = there.pop(key, None)
        tag = PropertyTag.parse(int(record["tag"], 16))
        if entry is None:
            yield f"{where}property {key} is missing"
        elif tag.id not in _NOT_COMPARED and (entry.tag.type != tag.type or not _equal(bag, entry, record)):
            yield f"{where}property {key} is not what it was"
    for key, entry in there.items():
        is_content = content is not None and key.startswith(f"{_SET}/{content}")
        # libpff shows a cell of a row that is not there as an empty one.
        is_no_cell = filled_in is _FILLED_IN_ROW and not entry.raw.strip(b"\0")
        if entry.tag.id not in filled_in and not is_content and not is_no_cell:
            yield f"{where}property {key} was not there"


def recorded(records: Iterable[Mapping[str, Any]], bag: PropertyBag) -> PropertyBag:
    """``bag`` without what the writer added to the properties of ``records``; an attachment's content stays."""
    wanted = {key for key, _ in _expected(records)}
    kept = (e for e in bag if e.tag.id == DATA or _place(e.tag, str(e.name) if e.name else None) in wanted)
    return PropertyBag(kept, bag.code_page)


def _place(tag: PropertyTag, name: str | None) -> str:
    """What a property is found by in any file: its id, or its name where it has one."""
    return f"0x{tag.id:04X}" if name is None else name


def _expected(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The properties that must be there, by where: of those without a name of their own, after their id."""
    taken: set[str] = set()
    for record in records:
        tag = PropertyTag.parse(int(record["tag"], 16))
        if (tag.type == _OBJECT and tag.id != DATA) or tag.id in _FILLED_IN_ROW:
            continue
        name = record.get("name")
        if name in taken or (name is None and tag.id >= 0x8000):
            name = f"{_SET}/Unnamed{tag.id:04X}"
        if name is not None:
            taken.add(name)
        if tag.id != DATA:
            yield _place(tag, name), record


def _equal(bag: PropertyBag, entry: RawProperty, record: Mapping[str, Any]) -> bool:
    if "base64" in record:
        raw = base64.b64decode(record["base64"])
        if entry.tag.id == _FLAGS:
            return not (int.from_bytes(raw, "little") ^ int.from_bytes(entry.raw, "little")) & ~_OWN_FLAGS
        # A value of fixed size may have been filled up with zeros.
        return raw == entry.raw or (
            raw.startswith(entry.raw) and _is_fixed(entry) and not raw[len(entry.raw) :].strip(b"\0")
        )
    value, wanted = bag.get(entry.tag), record["value"]
    if entry.tag.id == _FLAGS and isinstance(value, int) and isinstance(wanted, int):
        return not (value ^ wanted) & ~_OWN_FLAGS
    return _gives_back(bag, entry, value) and _as_json(value) == wanted


def _is_fixed(entry: RawProperty) -> bool:
    return entry.tag.type in (2, 3, 4, 5, 6, 7, 0x0A, 0x0B, 0x14, 0x40, 0x48)


def _gives_back(bag: PropertyBag, entry: RawProperty, value: Value | None) -> bool:
    """True where ``value`` says all that the raw value does: only such ones are in a record without their raw value."""
    try:
        return value is not None and encode_value(entry.tag.type, value, bag.code_page) == entry.raw
    except (ValueError, TypeError):
        return False


def _as_json(value: Value | None) -> Any:
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    if isinstance(value, datetime):
        return iso(value)
    return str(value) if isinstance(value, UUID) else value
