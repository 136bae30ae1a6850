"""Folders: their properties, their items, and the rows that mirror both ([MS-PST] 2.4.4)."""

from __future__ import annotations

from collections.abc import Sequence

from excise.pst.check.messages import MessageChecks
from excise.pst.check.plain import PlainMessages, PlainRows
from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import Row, TableContext
from excise.pst.messaging import tags
from excise.pst.messaging.folder import FailedItem, Folder

_NEEDED = {
    tags.DISPLAY_NAME: "PidTagDisplayName",
    tags.CONTENT_COUNT: "PidTagContentCount",
    tags.CONTENT_UNREAD_COUNT: "PidTagContentUnreadCount",
    tags.SUBFOLDERS: "PidTagSubfolders",
}
_HIDDEN_COUNTS = (0x6635, 0x6636)
_MIRRORED = (*_NEEDED, tags.CONTAINER_CLASS, *_HIDDEN_COUNTS)


class FolderChecks:
    """Checks the folders of one file and what is in them into ``report``; ``plain`` as in ``check_contents``."""

    def __init__(self, messages: MessageChecks, report: Report, plain: PlainMessages | None = None) -> None:
        self._plain = plain
        self._messages = messages
        self._report = report

    def check(self, folder: Folder) -> None:
        """Check ``folder``, its items and its tables."""
        self._report.checked["folders"] += 1
        unread = self._check_items(folder, folder.message_nids, folder.contents)
        self._check_items(folder, folder.associated_nids, folder.associated_contents)
        # Read, so that a wide table which differs from all that are known is told; it may be sound all the same.
        _ = folder.found_nids
        self._report.add_log(NOTE if folder.is_search else ERROR, folder.log)
        properties = folder.properties
        if properties is None:
            return
        place = f"folder 0x{folder.nid:x}"
        if folder.nid == ids.NID_ROOT_FOLDER:
            self._check_root(folder, place)
        for tag, name in _NEEDED.items():
            if tag not in properties:
                self._add(WARNING, "folder", name, place, "a value", "none")
        if not folder.is_search:
            self._check_counts(folder, properties, unread, place)
            self._check_hierarchy(folder, place)

    def _add(self, grade: str, structure: str, field: str, place: str, expected: object, found: object) -> None:
        self._report.add(grade, Damage("messaging", structure, field, place, -1, str(expected), str(found)))

    def _check_root(self, folder: Folder, place: str) -> None:
        """The root folder is its own parent ([MS-PST] 2.4.3.1); readers that build the tree upwards end there."""
        entry = folder.store.ndb.nodes.find(folder.nid)
        if entry is not None and entry.nidParent != folder.nid:
            self._add(WARNING, "NBTENTRY", "nidParent", place, f"itself, 0x{folder.nid:x}", f"0x{entry.nidParent:x}")

    def _check_counts(self, folder: Folder, properties: PropertyContext, unread: int, place: str) -> None:
        counts = {tags.CONTENT_COUNT: len(folder.message_nids)}
        if self._plain is None:
            counts[tags.CONTENT_UNREAD_COUNT] = unread
        for tag, count in counts.items():
            if tag in properties and (stored := properties.integer(tag)) != count:
                self._add(WARNING, "folder", _NEEDED[tag], place, count, stored)
        # Search folders count as subfolders in some files and not in others.
        truths = {bool(folder.children), any(not child.is_search for child in folder.children)}
        if properties.get(tags.SUBFOLDERS) not in (None, *truths):
            self._add(WARNING, "folder", "PidTagSubfolders", place, sorted(truths)[0], properties.get(tags.SUBFOLDERS))

    def _check_items(self, folder: Folder, nids: Sequence[int], table: TableContext | None) -> int:
        """Every item of a folder and the row that mirrors it; gives the number of unread ones of those looked at."""
        try:
            rows = self._rows(table) if table is not None else {}
        except Damaged as error:
            self._report.add(ERROR, error.damage)
            rows = {}
        if self._plain is not None:
            nids = [nid for nid in nids if nid in rows or nid not in self._plain]
        unread = 0
        for item in folder.open_all(nids):
            self._report.checked["messages"] += 1
            if isinstance(item, FailedItem):
                self._report.add(ERROR, item.damage)
                continue
            unread += not item.flags & tags.FLAG_READ
            for damage in item.read_all():
                self._report.add(ERROR, damage)
            row = rows.get(item.nid)
            if row is None:
                expected = f"a row in the table of folder 0x{folder.nid:x}"
                self._add(WARNING, "contents table", "dwRowID", f"message 0x{item.nid:x}", expected, "none")
            else:
                self._messages.check_row(row, item)
            self._messages.check(item)
        return unread

    def _rows(self, table: TableContext) -> dict[int, Row]:
        """The rows by id, without those that are plain and mirror a plain message."""
        if self._plain is None:
            return {row.row_id: row for row in table.rows()}
        rows: dict[int, Row] = {}
        plain = PlainRows(table)
        for row in table.rows():
            if row.row_id in self._plain and row in plain:
                rows.pop(row.row_id, None)
            else:
                rows[row.row_id] = row
        return rows

    def _check_hierarchy(self, folder: Folder, place: str) -> None:
        """The folder's hierarchy table: a row for every child, with the child's own values."""
        node = folder.store.ndb.node(ids.sibling_nid(folder.nid, ids.NID_TYPE_HIERARCHY_TABLE))
        if node is None:
            self._add(ERROR, "NBT", "nid", place, "a hierarchy table", "none")
            return
        try:
            rows = {row.row_id: row for row in TableContext(node, folder.store.codec).rows()}
        except Damaged as error:
            self._report.add(ERROR, error.damage)
            return
        children = {child.nid: child for child in folder.children}
        for nid in rows.keys() - children.keys():
            self._add(WARNING, "hierarchy table", "dwRowID", place, f"a folder 0x{nid:x}", "none")
        for nid, child in children.items():
            where = f"folder 0x{nid:x}"
            row, properties = rows.get(nid), child.properties
            if row is None:
                # Search folders have rows in the root's table alone.
                grade = NOTE if child.is_search else WARNING
                expected = f"a row in the hierarchy table of folder 0x{folder.nid:x}"
                self._add(grade, "hierarchy table", "dwRowID", where, expected, "none")
            elif isinstance(properties, PropertyContext):
                for tag in _MIRRORED:
                    if tag in row and tag in properties and row.get(tag) != properties.get(tag):
                        found = f"row {row.get(tag)!r:.60}, folder {properties.get(tag)!r:.60}"
                        self._add(WARNING, "hierarchy table", f"0x{tag:04x}", where, "one value in both", found)
