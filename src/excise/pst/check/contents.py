"""The messaging layer of a file: the nodes that every store has, the store itself, and all that is in it."""

from __future__ import annotations

from excise.pst.check.folders import FolderChecks
from excise.pst.check.heaps import check_heaps
from excise.pst.check.indexes import check_indexes
from excise.pst.check.messages import MessageChecks
from excise.pst.check.names import check_names
from excise.pst.check.plain import PlainMessages
from excise.pst.check.report import ERROR, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage
from excise.pst.messaging import tags
from excise.pst.messaging.store import MessageStore

_REQUIRED_NODES = {
    ids.NID_MESSAGE_STORE: "the message store",
    ids.NID_NAME_TO_ID_MAP: "the name-to-id map",
    ids.NID_ROOT_FOLDER: "the root folder",
    ids.NID_SEARCH_MANAGEMENT_QUEUE: "the search management queue",
    ids.NID_SEARCH_ACTIVITY_LIST: "the search activity list",
    ids.NID_HIERARCHY_TABLE_TEMPLATE: "the hierarchy table template",
    ids.NID_CONTENTS_TABLE_TEMPLATE: "the contents table template",
    ids.NID_ASSOC_CONTENTS_TABLE_TEMPLATE: "the FAI contents table template",
    ids.NID_SEARCH_CONTENTS_TABLE_TEMPLATE: "the search contents table template",
    ids.NID_RECEIVE_FOLDER_TABLE: "the receive folder table",
    ids.NID_OUTGOING_QUEUE_TABLE: "the outgoing queue table",
    ids.NID_ATTACHMENT_TABLE: "the attachment table template",
    ids.NID_RECIPIENT_TABLE: "the recipient table template",
}
_RECORD_KEY_SIZE = 16
_ENTRY_ID_SIZE = 24
_ENTRY_IDS = {
    0x35E0: "PidTagIpmSubTreeEntryId",
    0x35E3: "PidTagIpmWastebasketEntryId",
    0x35E7: "PidTagFinderEntryId",
}
_OPTIONAL_ENTRY_IDS = {0x35E6: "PidTagCommonViewsEntryId"}


def check_contents(store: MessageStore, report: Report, plain: PlainMessages | None = None) -> None:
    """Check the LTP and messaging layers of an open file into ``report``.

    With ``plain``, which is empty, only for errors: what is plain is not looked at for anything else.
    """
    for nid, what in _REQUIRED_NODES.items():
        if store.ndb.nodes.find(nid) is None:
            report.add(WARNING, Damage("messaging", "NBT", "nid", what, -1, f"node 0x{nid:x}", "none"))
    check_heaps(store.ndb, report, plain)
    check_names(store, report)
    check_indexes(store, report)
    _check_store(store, report)
    messages = MessageChecks(store.ndb, report)
    folders = FolderChecks(messages, report, plain)
    for folder in store.folders():
        folders.check(folder)
    messages.sizes.finish()
    places = [f"message 0x{item.nid:x}" for item in store.orphaned_items()]
    for place in (*places, *(f"folder 0x{orphan.nid:x}" for orphan in store.orphans)):
        report.add(ERROR, Damage("messaging", "NBTENTRY", "nidParent", place, -1, "a folder", "none"))


def _check_store(store: MessageStore, report: Report) -> None:
    """The record key, the name, and the folders that the store itself names."""
    properties = store.properties
    if properties is None:
        return

    def add(field: str, expected: str, found: str) -> None:
        report.add(WARNING, Damage("messaging", "message store", field, "the store", -1, expected, found))

    key = properties.binary(tags.RECORD_KEY) or b""
    if len(key) != _RECORD_KEY_SIZE:
        add("PidTagRecordKey", f"{_RECORD_KEY_SIZE} bytes", f"{len(key)} bytes")
    if tags.DISPLAY_NAME not in properties:
        add("PidTagDisplayName", "a value", "none")
    for tag, name in (_ENTRY_IDS | _OPTIONAL_ENTRY_IDS).items():
        value = properties.binary(tag)
        if value is None:
            if tag in _ENTRY_IDS:
                add(name, "a value", "none")
        elif len(value) != _ENTRY_ID_SIZE or value[:20] != bytes(4) + key:
            add(name, "four zeros, the record key and a NID", f"{len(value)} bytes, not with that key")
        elif store.ndb.nodes.find(nid := int.from_bytes(value[20:], "little")) is None:
            add(name, "the NID of a folder", f"0x{nid:x}, which is none")
