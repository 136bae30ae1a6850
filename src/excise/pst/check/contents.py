"""Properties, tables, folders and messages: counts, row mirrors and row versions ([MS-PST] 2.3, 2.4)."""

from __future__ import annotations

from collections.abc import Iterator

from excise.pst.check.heaps import check_heaps
from excise.pst.check.indexes import check_indexes
from excise.pst.check.names import check_names
from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.ltp.properties import Properties, PropertyContext
from excise.pst.ltp.table import ROW_ID, ROW_VERSION, Row, TableContext
from excise.pst.ltp.values import PT_STRING8, PT_UNICODE
from excise.pst.messaging import tags
from excise.pst.messaging.folder import FailedItem, Folder
from excise.pst.messaging.message import Message
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
_ROW_ONLY = frozenset({ROW_ID, ROW_VERSION, 0x0E17, 0x3013, 0x0E30, 0x0E33, 0x0E34, 0x0E38})
_MIRRORED_OF_FOLDER = (tags.DISPLAY_NAME, tags.CONTENT_COUNT, tags.CONTENT_UNREAD_COUNT, tags.SUBFOLDERS)


def check_contents(store: MessageStore, report: Report) -> None:
    """Check the LTP and messaging layers of an open file into ``report``."""
    for nid, what in _REQUIRED_NODES.items():
        if store.ndb.nodes.find(nid) is None:
            report.add(WARNING, Damage("messaging", "NBT", "nid", what, -1, f"node 0x{nid:x}", "none"))
    check_heaps(store.ndb, report)
    check_names(store, report)
    check_indexes(store, report)
    for folder in store.folders():
        report.checked["folders"] += 1
        _check_folder(folder, report)
    for item in store.orphaned_items():
        report.add(
            ERROR, Damage("messaging", "NBTENTRY", "nidParent", f"message 0x{item.nid:x}", -1, "a folder", "none")
        )
    for orphan in store.orphans:
        report.add(
            ERROR, Damage("messaging", "NBTENTRY", "nidParent", f"folder 0x{orphan.nid:x}", -1, "a folder", "none")
        )


def _check_folder(folder: Folder, report: Report) -> None:
    place = f"folder 0x{folder.nid:x}"

    def add(grade: str, structure: str, field: str, expected: object, found: object) -> None:
        report.add(grade, Damage("messaging", structure, field, place, -1, str(expected), str(found)))

    unread = _check_items(folder, folder.messages(), folder.contents, report)
    _check_items(folder, folder.associated(), folder.associated_contents, report)
    for damage in folder.log.entries:
        # A table of the wide kind that Outlook 2003 wrote for searches is sound; it is not read here.
        report.add(NOTE if folder.is_search else ERROR, damage)
    properties = folder.properties
    if properties is None or folder.is_search:
        return
    for tag, name in ((tags.DISPLAY_NAME, "PidTagDisplayName"), (tags.SUBFOLDERS, "PidTagSubfolders")):
        if tag not in properties:
            add(WARNING, "folder", name, "a value", "none")
    for tag, name, count in (
        (tags.CONTENT_COUNT, "PidTagContentCount", len(folder.message_nids)),
        (tags.CONTENT_UNREAD_COUNT, "PidTagContentUnreadCount", unread),
    ):
        if (stored := properties.integer(tag)) != count:
            add(WARNING, "folder", name, count, stored)
    # Search folders count as subfolders in some files and not in others.
    truths = {bool(folder.children), any(not child.is_search for child in folder.children)}
    if properties.get(tags.SUBFOLDERS) not in (None, *truths):
        add(WARNING, "folder", "PidTagSubfolders", sorted(truths)[0], properties.get(tags.SUBFOLDERS))
    _check_hierarchy(folder, report)


def _check_items(
    folder: Folder, items: Iterator[Message | FailedItem], table: TableContext | None, report: Report
) -> int:
    """Every item of a folder and the row that mirrors it; gives the number of unread ones."""
    rows = {row.row_id: row for row in table.rows()} if table is not None else {}
    unread = 0
    for item in items:
        report.checked["messages"] += 1
        if isinstance(item, FailedItem):
            report.add(ERROR, item.damage)
            continue
        unread += not item.flags & tags.FLAG_READ
        for damage in item.read_all():
            report.add(ERROR, damage)
        row = rows.get(item.nid)
        if row is None:
            place = f"message 0x{item.nid:x}"
            expected = f"a row in the table of folder 0x{folder.nid:x}"
            report.add(WARNING, Damage("messaging", "contents table", "dwRowID", place, -1, expected, "none"))
        else:
            _check_mirror(row, item, report)
        _check_message(item, report)
    return unread


def _check_mirror(row: Row, message: Message, report: Report) -> None:
    row.codec = message.properties.codec
    for tag in row.ids():
        if tag in _ROW_ONLY or tag not in message.properties:
            continue
        if not _same(row, message.properties, tag):
            place = f"message 0x{message.nid:x}"
            found = f"row {row.get(tag)!r:.60}, message {message.properties.get(tag)!r:.60}"
            report.add(
                WARNING, Damage("messaging", "contents table", f"0x{tag:04x}", place, -1, "one value in both", found)
            )


def _same(row: Row, properties: Properties, tag: int) -> bool:
    mine, other = row.get(tag), properties.get(tag)
    if mine == other:
        return True
    # Outlook cuts long strings in tables, and some writers long binaries.
    if row.type_of(tag) in (PT_STRING8, PT_UNICODE) and isinstance(mine, str) and isinstance(other, str):
        return len(mine) >= 254 and other.startswith(mine[:254])
    return isinstance(mine, bytes) and isinstance(other, bytes) and len(mine) >= 255 and other.startswith(mine)


def _check_message(message: Message, report: Report) -> None:
    place = f"message 0x{message.nid:x}"
    for tag, name in ((tags.MESSAGE_CLASS, "PidTagMessageClass"), (tags.MESSAGE_FLAGS, "PidTagMessageFlags")):
        if tag not in message.properties:
            report.add(WARNING, Damage("messaging", "message", name, place, -1, "a value", "none"))
    if not message.flags & tags.FLAG_ASSOCIATED and ids.NID_RECIPIENT_TABLE not in message.node.subnodes:
        # Outlook's own files lack it often, though strict readers want it.
        report.add(NOTE, Damage("messaging", "message", "recipient table", place, -1, "subnode 0x692", "none"))
    for attachment in message.attachments:
        where = f"attachment 0x{attachment.nid:x} of message 0x{message.nid:x}"
        for tag, name in ((tags.ATTACH_SIZE, "PidTagAttachSize"), (tags.ATTACH_METHOD, "PidTagAttachMethod")):
            if tag not in attachment.properties:
                report.add(WARNING, Damage("messaging", "attachment", name, where, -1, "a value", "none"))


def _check_hierarchy(folder: Folder, report: Report) -> None:
    """The folder's hierarchy table: a row for every child, with the child's own values."""
    node = folder.store.ndb.node(ids.sibling_nid(folder.nid, ids.NID_TYPE_HIERARCHY_TABLE))
    place = f"folder 0x{folder.nid:x}"
    if node is None:
        report.add(ERROR, Damage("messaging", "NBT", "nid", place, -1, "a hierarchy table", "none"))
        return
    try:
        rows = {row.row_id: row for row in TableContext(node, folder.store.codec).rows()}
    except Damaged as error:
        report.add(ERROR, error.damage)
        return
    children = {child.nid: child for child in folder.children}
    for nid in rows.keys() - children.keys():
        report.add(WARNING, Damage("messaging", "hierarchy table", "dwRowID", place, -1, f"a folder 0x{nid:x}", "none"))
    for nid, child in children.items():
        where = f"folder 0x{nid:x}"
        row, properties = rows.get(nid), child.properties
        if row is None:
            # Search folders have rows in the root's table alone.
            grade = NOTE if child.is_search else WARNING
            expected = f"a row in the hierarchy table of folder 0x{folder.nid:x}"
            report.add(grade, Damage("messaging", "hierarchy table", "dwRowID", where, -1, expected, "none"))
        elif isinstance(properties, PropertyContext):
            for tag in _MIRRORED_OF_FOLDER:
                if tag in row and tag in properties and row.get(tag) != properties.get(tag):
                    found = f"row {row.get(tag)!r:.60}, folder {properties.get(tag)!r:.60}"
                    damage = Damage(
                        "messaging", "hierarchy table", f"0x{tag:04x}", where, -1, "one value in both", found
                    )
                    report.add(WARNING, damage)
