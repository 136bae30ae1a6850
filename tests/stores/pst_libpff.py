"""The versions of items as the first release made them: with libpff, through pypff alone.

What is here is that release's own reading; plans of that time hold these versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from excise.mapi.item import AttachMethod, MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import NamedProperty, PidTagAttachDataBinary, PidTagAttachMethod, PidTagMessageFlags
from excise.stores.pst_file import parse_names
from excise.stores.pst_record import version_of_item

_OBJECT = 0x0D


def versions(path: Path) -> dict[str, str]:
    """The version of every item that libpff can open, by its id."""
    import pypff

    handle = pypff.file()
    handle.open(str(path))
    try:
        node = handle.get_name_to_id_map()
        streams = {tag >> 16: raw for tag, raw in _entries(node, 0)} if node is not None else {}
        names = parse_names(*(streams.get(key, b"") for key in (2, 3, 4)))
        return {f"{one.identifier:#x}": version_of_item(_item(one, names)) for one in _items(handle.get_root_folder())}
    finally:
        handle.close()


def _items(parent: Any) -> Iterator[Any]:
    for position in range(parent.number_of_sub_items):
        child = parent.get_sub_item(position)
        if child.identifier & 31 in (4, 8):
            yield child
        elif child.identifier & 31 in (2, 3):
            yield from _items(child)


def _entries(owner: Any, index: int, skip: int | None = None) -> Iterator[tuple[int, bytes]]:
    records = owner.get_record_set(index)
    for number in range(records.number_of_entries):
        entry = records.get_entry(number)
        skipped = entry.entry_type == skip and entry.value_type != _OBJECT
        yield entry.entry_type << 16 | entry.value_type, b"" if skipped else entry.get_data() or b""


def _item(node: Any, names: dict[int, NamedProperty]) -> MapiItem:
    bag = PropertyBag.from_raw(_entries(node, 0), names=names)
    if not hasattr(node, "get_number_of_attachments"):
        declared = (bag.integer(PidTagMessageFlags) or 0) & 0x10
        return MapiItem(bag, (), (MapiAttachment(PropertyBag(), reason="out of reach"),) if declared else ())
    table = node.recipients
    rows = range(table.number_of_record_sets if table is not None else 0)
    recipients = tuple(PropertyBag.from_raw(_entries(table, row), bag.code_page, names) for row in rows)
    kept = [_attachment(node.get_attachment(one), bag.code_page, names) for one in range(node.number_of_attachments)]
    return MapiItem(bag, recipients, tuple(kept))


def _attachment(node: Any, code_page: int, names: dict[int, NamedProperty]) -> MapiAttachment:
    bag = PropertyBag.from_raw(_entries(node, 0, PidTagAttachDataBinary.id), code_page, names)
    method, content = bag.integer(PidTagAttachMethod), bag.raw(PidTagAttachDataBinary)
    # Methods 2, 3, 4 and 7 are by reference; 5 is a message, which had its own reader and counts for nothing here.
    if method in (2, 3, 4, 5, 7) or content is None:
        return MapiAttachment(bag, reason="no content")
    if content.tag.type == _OBJECT and method != AttachMethod.Storage:
        return MapiAttachment(bag, reason="no content")
    data = node.read_buffer(node.size) if node.size else b""
    if method == AttachMethod.Storage and data[2:3] == b"\xec":
        return MapiAttachment(bag, reason="a heap")
    return MapiAttachment(bag, data=data)
