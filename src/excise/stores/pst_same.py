"""Whether a message in a new PST file is the one that was read from another file: property for property.

Left out is only what cannot be the same: sizes, flags that say what the new file has, and what the writer adds where a
message has none, since [MS-PST] wants every message to have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from itertools import zip_longest

from excise.pst.messaging import tags
from excise.pst.messaging.new_message import NewAttachment, NewMessage, NewProperty

_Told = dict[object, tuple[int, str]]
_SIZES = frozenset({tags.MESSAGE_SIZE, tags.ATTACH_SIZE})
_ADDED = frozenset({tags.MESSAGE_CLASS, tags.CREATION_TIME, tags.LAST_MODIFICATION_TIME, tags.SEARCH_KEY})
_ADDED_TO_ATTACHMENTS = frozenset({tags.ATTACH_METHOD, tags.RENDERING_POSITION})
_OWN_FLAGS = tags.FLAG_HAS_ATTACHMENTS | tags.FLAG_ASSOCIATED


def difference(expected: NewMessage, found: NewMessage) -> str:
    """Where ``found`` differs from ``expected``; empty where it does not. Large values are read in pieces."""
    where = _bags(expected.properties, found.properties, _ADDED)
    if where:
        return where
    if len(expected.recipients) != len(found.recipients):
        return f"expected {len(expected.recipients)} recipients, found {len(found.recipients)}"
    for number, rows in enumerate(zip(expected.recipients, found.recipients, strict=True), 1):
        if where := _bags(*rows, frozenset()):
            return f"recipient {number}: {where}"
    for number, pair in enumerate(zip_longest(expected.attachments, found.attachments), 1):
        if None in pair:
            return f"expected {len(expected.attachments)} attachments, found {len(found.attachments)}"
        if where := _attachments(*pair):
            return f"attachment {number}: {where}"
    return ""


def _attachments(expected: NewAttachment, found: NewAttachment) -> str:
    where = _bags(expected.properties, found.properties, _ADDED_TO_ATTACHMENTS)
    if where or expected.embedded is found.embedded is None:
        return where
    if expected.embedded is None or found.embedded is None:
        return "a message in one, and none in the other"
    return difference(expected.embedded, found.embedded)


def _bags(expected: Iterable[NewProperty], found: Iterable[NewProperty], added: frozenset[int]) -> str:
    mine, theirs = _told(expected), _told(found)
    for key, value in mine.items():
        if theirs.pop(key, None) != value:
            return f"property {_shown(key)} is not what it was"
    more = next((key for key in theirs if key not in added and key != tags.MESSAGE_FLAGS), None)
    return "" if more is None else f"property {_shown(more)} was not there"


def _told(properties: Iterable[NewProperty]) -> _Told:
    return {
        each.name or each.prop_id: (each.prop_type, _mark(each))
        for each in properties
        if each.name or each.prop_id not in _SIZES
    }


def _mark(each: NewProperty) -> str:
    if isinstance(each.data, bytes):
        if each.prop_id == tags.MESSAGE_FLAGS and each.name is None:
            return f"{int.from_bytes(each.data, 'little') & ~_OWN_FLAGS:x}"
        return sha256(each.data).hexdigest()
    digest = sha256()
    for piece in each.data:
        digest.update(piece)
    return digest.hexdigest()


def _shown(key: object) -> str:
    return f"0x{key:04x}" if isinstance(key, int) else str(key)
