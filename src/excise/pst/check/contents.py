"""Properties, tables, folders and messages: counts, row mirrors and row versions ([MS-PST] 2.3, 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.heaps import CLIENT_PC, CLIENT_TC, HN_SIGNATURE, HNHdr, HNPageMap, NameId
from excise.pst.ltp.properties import Properties, PropertyContext
from excise.pst.ltp.table import ROW_ID, ROW_VERSION, Row, TableContext
from excise.pst.ltp.values import PT_STRING8, PT_UNICODE
from excise.pst.messaging import tags
from excise.pst.messaging.folder import FailedItem, Folder
from excise.pst.messaging.message import Message
from excise.pst.messaging.store import MessageStore
from excise.pst.ndb.read import Node

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
    _check_heaps(store, report)
    if not len(store.names):
        report.add(NOTE, Damage("messaging", "NAMEID", "rgEntries", "the name-to-id map", -1, "a name", "none"))
    _check_buckets(store, report)
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


def _check_buckets(store: MessageStore, report: Report) -> None:
    """Every numeric name in the hash bucket that its number and property set choose ([MS-PST] 2.4.7.5)."""
    node = store.ndb.node(ids.NID_NAME_TO_ID_MAP)
    if node is None:
        return
    try:
        context = PropertyContext(node)
        count = context.integer(1) or 0
        for entry in NameId.unpack_all(context.raw(3)):
            if entry.wGuid & 1 or count < 1:
                continue
            tag = 0x1000 + (entry.dwPropertyID ^ entry.wGuid) % count
            held = NameId.unpack_all(context.raw(tag)) if tag in context else []
            if entry not in held:
                place = f"bucket 0x{tag:04x} of the name-to-id map"
                expected = f"the name of property 0x{0x8000 + entry.wPropIdx:04x}"
                report.add(NOTE, Damage("messaging", "NAMEID", "bucket", place, -1, expected, "others or none"))
    except Damaged as error:
        report.add(ERROR, error.damage)


def _check_heaps(store: MessageStore, report: Report) -> None:
    """Every heap of the NBT and below: its blocks, and for tables the row versions, which are unique in a file."""
    versions: dict[int, int] = {}
    stack = [store.ndb.open(entry, DamageLog()) for entry in store.ndb.nodes.entries()]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        try:
            first = node.data.block(0) if node.data.leaves else b""
        except Damaged as error:
            report.add(ERROR, error.damage)
            first = b""
        known = node.bid_data in seen
        if not known and len(first) >= 12 and first[2] == HN_SIGNATURE and first[3] in (CLIENT_PC, CLIENT_TC):
            # Outlook shares the blocks of empty tables; a shared table is one table.
            seen.add(node.bid_data)
            _check_heap(node, first, report)
            if first[3] == CLIENT_TC:
                _check_versions(node, versions, report)
        children = node.subnodes
        stack += [child for nid in children if (child := node.child(nid, DamageLog())) is not None]
        report.add_log(ERROR, node.log)
    highest = max(versions, default=0)
    if highest >= store.ndb.header.dwUnique:
        found = str(store.ndb.header.dwUnique)
        report.add(
            WARNING, Damage("disk", "HEADER", "dwUnique", "the header", 0, f"above row version {highest}", found)
        )


def _check_heap(node: Node, first: bytes, report: Report) -> None:
    report.checked["heaps"] += 1
    place = f"node 0x{node.nid:x}"
    for index in range(len(node.data.leaves)):
        try:
            data = first if index == 0 else node.data.block(index)
            at = HNHdr.unpack(data).ibHnpm if index == 0 else int.from_bytes(data[:2], "little")
            page_map = HNPageMap.unpack(data, at)
        except Damaged as error:
            report.add(ERROR, error.damage)
            continue
        except ValueError as error:
            report.add(ERROR, Damage("ltp", "HNPAGEMAP", "ibHnpm", place, -1, "a page map", str(error)))
            continue
        offsets = page_map.rgibAlloc
        if list(offsets) != sorted(offsets) or offsets[-1] > at:
            report.add(ERROR, Damage("ltp", "HNPAGEMAP", "rgibAlloc", place, -1, "ascending offsets", "others"))
        elif at - offsets[-1] > 1:
            found = f"{at - offsets[-1]} bytes between"
            report.add(
                WARNING, Damage("ltp", "HNPAGEMAP", "ibHnpm", place, -1, "the page map after the last item", found)
            )
        empty = sum(start == end for start, end in pairwise(offsets))
        if empty != page_map.cFree:
            report.add(WARNING, Damage("ltp", "HNPAGEMAP", "cFree", place, -1, str(empty), str(page_map.cFree)))


def _check_versions(node: Node, versions: dict[int, int], report: Report) -> None:
    try:
        table = TableContext(node)
        for column, what in ((ROW_ID, "PidTagLtpRowId"), (ROW_VERSION, "PidTagLtpRowVer")):
            if column not in table.columns:
                report.add(WARNING, Damage("ltp", "TCINFO", what, f"table 0x{node.nid:x}", -1, "a column", "none"))
        rows = list(table.rows())
        report.checked["rows"] += len(rows)
    except Damaged as error:
        report.add(ERROR, error.damage)
        return
    for row in rows:
        version = row.integer(ROW_VERSION)
        if version is None:
            continue
        if version in versions:
            found = f"{version}, which table 0x{versions[version]:x} has too"
            place = f"row 0x{row.row_id:x} of table 0x{node.nid:x}"
            report.add(WARNING, Damage("ltp", "TCROW", "PidTagLtpRowVer", place, -1, "a version of its own", found))
        versions[version] = node.nid


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
