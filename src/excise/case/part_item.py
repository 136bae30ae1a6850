"""Items taken back out of the ``messages.pst`` of a part, property for property.

Invariant: an item is given whole, and equal to its record in ``properties.jsonl``, or not at all. What the writer of
the file added to it, since every message of a PST file has it, is left out: the item is what was fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from excise.case.pst_held import Names, Unreadable, held_by_us, reading
from excise.case.reread_mapi import differences, recorded
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import NamedProperty
from excise.pst.file.read import PstFile
from excise.pst.ltp.properties import Properties
from excise.pst.messaging.message import Attachment, Message

_DATA = 0x3701
_OBJECT = 0x000D


def item_in_pst(pst: PstFile, line: Mapping[str, Any], record: Mapping[str, Any]) -> MapiItem:
    """The item of ``line``, whose record is ``record``; Unreadable where it is damaged or another."""
    names = names_of_file(pst)
    with reading():
        message = pst.message(line["pst"]["nid"])
    for difference in differences(record, held_by_us(message, names), line["pst"]["content"]):
        raise Unreadable(difference)
    with reading():
        item = _Taken(names, pst.ndb.max_tree_size).item(message, record)
    if message.log.entries:
        raise Unreadable(message.log.entries[0].text())
    return item


def names_of_file(pst: PstFile) -> Names:
    """The named properties of the file by id."""
    found = {}
    for prop_id, name in pst.names.by_id.items():
        lid, text = (None, name.key) if isinstance(name.key, str) else (name.key, None)
        found[prop_id] = NamedProperty(name.guid, lid, text)
    return found


class _Taken:
    """Reads one item; all contents together have at most ``room`` bytes."""

    def __init__(self, names: Names, room: int) -> None:
        self._names, self._room = names, room

    def item(self, message: Message, record: Mapping[str, Any], code_page: int | None = None) -> MapiItem:
        """``message`` as ``record`` has it."""
        bag = self._bag(message.properties, record["properties"], code_page)
        rows = zip(message.recipients, record["recipients"], strict=True)
        kept = zip(message.attachments, record["attachments"], strict=True)
        return MapiItem(
            bag,
            tuple(self._bag(row.properties, told, bag.code_page) for row, told in rows),
            tuple(self._attachment(one, told, bag.code_page) for one, told in kept),
        )

    def _attachment(self, one: Attachment, record: Mapping[str, Any], code_page: int) -> MapiAttachment:
        bag = self._bag(one.properties, record["properties"], code_page)
        if "embedded" in record:
            inner = one.embedded
            if inner is None:
                raise ValueError("an embedded message is not there")
            return MapiAttachment(bag, embedded=self.item(inner, record["embedded"], code_page))
        if "sha256" not in record:
            return MapiAttachment(bag, reason=str(record["reason"]))
        self._room -= one.size
        if self._room < 0:
            raise ValueError("the contents of a message are larger than their file")
        return MapiAttachment(bag, data=one.read())

    def _bag(self, values: Properties, records: list[Mapping[str, Any]], code_page: int | None) -> PropertyBag:
        kinds = ((prop_id, values.type_of(prop_id) or 0) for prop_id in values.ids())
        # Of an attachment's content the tag alone; of an object's place in its file nothing.
        entries = [(i << 16 | kind, b"" if i == _DATA else values.raw(i)) for i, kind in kinds]
        return recorded(records, PropertyBag.from_raw(entries, code_page, self._names))
