"""The name-to-id map: its streams, and each name in the hash bucket where Outlook looks for it ([MS-PST] 2.4.7)."""

from __future__ import annotations

from collections import Counter

from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.crypt import crc
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.heaps import NameId
from excise.pst.ltp.properties import PropertyContext
from excise.pst.messaging.store import MessageStore

_FIRST_ID, _FIRST_BUCKET = 0x8000, 0x1000
_BUCKET_COUNT, _GUID_STREAM, _ENTRY_STREAM, _STRING_STREAM = 1, 2, 3, 4
_STREAMS = {_GUID_STREAM: "GUID stream", _ENTRY_STREAM: "entry stream", _STRING_STREAM: "string stream"}
_UNITS = {_GUID_STREAM: 16, _ENTRY_STREAM: 8}


def check_names(store: MessageStore, report: Report) -> None:
    """Check the name-to-id map into ``report``; what the reader finds in it is in the log of the file."""
    _ = store.names
    node = store.ndb.node(ids.NID_NAME_TO_ID_MAP, DamageLog())
    if node is None:
        return
    try:
        context = PropertyContext(node)
        _check_streams(context, report)
        entries = NameId.unpack_all(context.raw(_ENTRY_STREAM))
        _check_ids(entries, report)
        _check_buckets(context, _bucket_records(context, entries), report)
    except Damaged as error:
        report.add(ERROR, error.damage)


def _add(report: Report, grade: str, field: str, place: str, expected: str, found: str) -> None:
    report.add(grade, Damage("messaging", "NAMEID", field, place, -1, expected, found))


def _check_streams(context: PropertyContext, report: Report) -> None:
    for tag, name in _STREAMS.items():
        data = context.raw(tag)
        if not data:
            # libpff, java-libpst and pst-extractor refuse such a file; scanpst does not.
            _add(report, WARNING, name, "the name-to-id map", "at least one name", "none")
        elif len(data) % (unit := _UNITS.get(tag, 1)):
            _add(report, WARNING, name, "the name-to-id map", f"records of {unit} bytes", f"{len(data)} bytes")
    if (context.integer(_BUCKET_COUNT) or 0) < 1:
        _add(report, WARNING, "bucket count", "the name-to-id map", "1 or more", str(context.integer(_BUCKET_COUNT)))


def _check_ids(entries: list[NameId], report: Report) -> None:
    """Each id once, each name once; Outlook numbers them in the order of the stream."""
    for index, count in Counter(each.wPropIdx for each in entries).items():
        if count > 1:
            place = f"property 0x{_FIRST_ID + index:04x}"
            _add(report, WARNING, "wPropIdx", place, "one name", f"{count} names")
    names = Counter((each.dwPropertyID, each.wGuid) for each in entries)
    for (number, guid), count in names.items():
        if count > 1:
            _add(report, WARNING, "dwPropertyID", f"name 0x{number:x} of set {guid >> 1}", "one id", f"{count} ids")
    if [each.wPropIdx for each in entries] != list(range(len(entries))):
        _add(report, NOTE, "wPropIdx", "the name-to-id map", "ids in the order of the entry stream", "another order")


def _bucket_records(context: PropertyContext, entries: list[NameId]) -> dict[NameId, int]:
    """What the buckets must hold for ``entries``: each record, and the property that it names.

    A string stands there with the CRC of its name instead of its offset.
    """
    strings = memoryview(context.raw(_STRING_STREAM))
    room, records = context.node.ndb.max_tree_size, {}
    for each in entries:
        key = each.dwPropertyID
        if each.wGuid & 1:
            size = int.from_bytes(strings[key : key + 4], "little")
            room -= size
            if key + 4 + size > len(strings) or room < 0:
                continue  # the reader reports it
            key = crc(strings[key + 4 : key + 4 + size])
        records[NameId(key, each.wGuid, each.wPropIdx)] = _FIRST_ID + each.wPropIdx
    return records


def _check_buckets(context: PropertyContext, wanted: dict[NameId, int], report: Report) -> None:
    count = context.integer(_BUCKET_COUNT) or 0
    if count < 1:
        return
    held: dict[NameId, set[int]] = {}
    for tag in context.ids():
        if tag >= _FIRST_BUCKET:
            for each in NameId.unpack_all(context.raw(tag)):
                held.setdefault(each, set()).add(tag)
    for each, prop_id in wanted.items():
        tag = _FIRST_BUCKET + (each.dwPropertyID ^ each.wGuid) % count
        if tag not in held.get(each, ()):
            place = f"bucket 0x{tag:04x} of the name-to-id map"
            _add(report, WARNING, "bucket", place, f"the name of property 0x{prop_id:04x}", "others or none")
    for each, tags in held.items():
        tag = _FIRST_BUCKET + (each.dwPropertyID ^ each.wGuid) % count
        if each not in wanted or tags != {tag}:
            place = f"bucket 0x{min(tags):04x} of the name-to-id map"
            found = f"0x{each.dwPropertyID:x} of property 0x{_FIRST_ID + each.wPropIdx:04x}"
            _add(report, WARNING, "record", place, "names of the entry stream, in their buckets", found)
