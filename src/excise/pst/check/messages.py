"""Messages, recipients and attachments: the properties that they need, and the rows that mirror them."""

from __future__ import annotations

from collections.abc import Iterator

from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.check.sizes import SizeChecks
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.ltp.properties import Properties
from excise.pst.ltp.table import ROW_ID, ROW_VERSION, Row, TableContext
from excise.pst.ltp.values import PT_STRING8, PT_UNICODE
from excise.pst.messaging import tags
from excise.pst.messaging.message import ATTACH_BY_VALUE, ATTACH_EMBEDDED_MSG, ATTACH_OLE, Attachment, Message
from excise.pst.ndb.read import NodeDatabase

# Cells without a property in the message: status, conversation id, and those of replication.
_ROW_ONLY = frozenset({ROW_ID, ROW_VERSION, 0x0E17, 0x3013, *range(0x0E30, 0x0E40)})
_NEEDED = {
    tags.MESSAGE_CLASS: "PidTagMessageClass",
    tags.MESSAGE_FLAGS: "PidTagMessageFlags",
    tags.MESSAGE_SIZE: "PidTagMessageSize",
    0x300B: "PidTagSearchKey",
    0x3007: "PidTagCreationTime",
    tags.LAST_MODIFICATION_TIME: "PidTagLastModificationTime",
}
_NEEDED_OF_ATTACHMENT = {
    tags.ATTACH_SIZE: "PidTagAttachSize",
    tags.ATTACH_METHOD: "PidTagAttachMethod",
    0x370B: "PidTagRenderingPosition",
}
_NEEDED_OF_RECIPIENT = {tags.RECIPIENT_TYPE: "PidTagRecipientType", tags.DISPLAY_NAME: "PidTagDisplayName"}
# Omitted by Outlook where they are empty.
_NEVER_EMPTY = {0x0E02: "PidTagDisplayBcc", tags.DISPLAY_CC: "PidTagDisplayCc", tags.DISPLAY_TO: "PidTagDisplayTo"}
_WITH_DATA = frozenset({ATTACH_BY_VALUE, ATTACH_EMBEDDED_MSG, ATTACH_OLE})


class MessageChecks:
    """Checks the messages of one file into ``report``."""

    def __init__(self, ndb: NodeDatabase, report: Report) -> None:
        self._report = report
        self.sizes = SizeChecks(ndb, report)

    def check(self, message: Message) -> None:
        """Check ``message`` and those embedded in it; the same blocks once, however often they are embedded."""
        stack, seen = [message], set()
        while stack:
            each = stack.pop()
            blocks = (each.node.bid_data, each.node.bid_sub)
            if blocks in seen:
                continue
            seen.add(blocks)
            self._check_one(each)
            for attachment in each.attachments:
                try:
                    embedded = attachment.embedded
                except Damaged:
                    continue  # the reader has reported it
                stack += [embedded] if embedded is not None else []

    def check_row(self, row: Row, message: Message) -> None:
        """The row of a contents table against its message: one value in both, and a cell for each property."""
        row.codec = message.properties.codec
        place = f"message 0x{message.nid:x}"
        for tag in row.ids():
            if tag not in _ROW_ONLY and tag in message.properties and not _same(row, message.properties, tag):
                found = f"row {row.get(tag)!r:.60}, message {message.properties.get(tag)!r:.60}"
                self._add(WARNING, "contents table", f"0x{tag:04x}", place, "one value in both", found)
        if odd := list(_odd_cells(row, message.properties)):
            expected = "a cell for each property of the message that has a column, and no other"
            self._add(WARNING, "contents table", "rgbCEB", place, expected, "; ".join(odd[:5]))

    def _add(self, grade: str, structure: str, field: str, place: str, expected: str, found: str) -> None:
        self._report.add(grade, Damage("messaging", structure, field, place, -1, expected, found))

    def _need(self, properties: Properties, needed: dict[int, str], structure: str, place: str) -> None:
        for tag, name in needed.items():
            if tag not in properties:
                self._add(WARNING, structure, name, place, "a value", "none")

    def _check_one(self, message: Message) -> None:
        place = f"message 0x{message.nid:x}"
        self._need(message.properties, _NEEDED, "message", place)
        self.sizes.message(message)
        for tag, name in _NEVER_EMPTY.items():
            if message.properties.text(tag) == "":
                self._add(WARNING, "message", name, place, "none, or a value", "an empty one")
        if not message.flags & tags.FLAG_ASSOCIATED:
            self._check_subject(message, place)
            if ids.NID_RECIPIENT_TABLE not in message.node.subnodes:
                # Outlook's own files lack it often, though strict readers want it.
                self._add(NOTE, "message", "recipient table", place, "subnode 0x692", "none")
        for recipient in message.recipients:
            of = f"recipient of {place}"
            self._need(recipient.properties, _NEEDED_OF_RECIPIENT, "recipient", of)
        self._check_attachments(message, place)

    def _check_subject(self, message: Message, place: str) -> None:
        """U+0001 and one more than the length of the prefix, then the subject ([MS-PST] 2.5.3.1.1.1)."""
        stored = message.properties.text(tags.SUBJECT)
        if stored and stored[0] != "\x01":
            self._add(NOTE, "message", "PidTagSubject", place, "U+0001 and the length of the prefix", "the text alone")
        elif stored and not 1 <= ord(stored[1:2] or "\0") <= len(stored) - 1:
            found = f"{ord(stored[1:2] or chr(0))} before {len(stored) - 2} characters"
            self._add(WARNING, "message", "PidTagSubject", place, "a prefix within the subject", found)

    def _check_attachments(self, message: Message, place: str) -> None:
        node = message.node.child(ids.NID_ATTACHMENT_TABLE)
        rows: dict[int, Row] = {}
        if node is not None:
            try:
                rows = {row.row_id: row for row in TableContext(node, message.properties.codec).rows()}
            except Damaged as error:
                self._report.add(ERROR, error.damage)
        elif message.attachments:
            self._add(WARNING, "message", "attachment table", place, "subnode 0x671", "none")
        for attachment in message.attachments:
            where = f"attachment 0x{attachment.nid:x} of {place}"
            self._need(attachment.properties, _NEEDED_OF_ATTACHMENT, "attachment", where)
            if attachment.method in _WITH_DATA and tags.ATTACH_DATA not in attachment.properties:
                self._add(WARNING, "attachment", "PidTagAttachData", where, "a value", "none")
            self.sizes.attachment(attachment, where)
            if node is not None:
                self._check_attachment_row(rows.get(attachment.nid), attachment, where)

    def _check_attachment_row(self, row: Row | None, attachment: Attachment, place: str) -> None:
        if row is None:
            self._add(WARNING, "attachment table", "dwRowID", place, "a row", "none")
            return
        row.codec = attachment.properties.codec
        for tag in row.ids():
            if tag not in _ROW_ONLY and not _same(row, attachment.properties, tag):
                found = f"row {row.get(tag)!r:.60}, attachment {attachment.properties.get(tag)!r:.60}"
                self._add(WARNING, "attachment table", f"0x{tag:04x}", place, "one value in both", found)


def _odd_cells(row: Row, properties: Properties) -> Iterator[str]:
    """Cells without a property, and properties without a cell; empty strings may go without."""
    cells = set(row.ids()) - _ROW_ONLY
    for tag in sorted(cells):
        if tag not in properties:
            yield f"0x{tag:04x} in the row alone"
    for tag in row.columns():
        if tag not in _ROW_ONLY and tag not in cells and tag in properties and properties.get(tag) not in ("", b""):
            yield f"0x{tag:04x} in the message alone"


def _same(row: Row, properties: Properties, tag: int) -> bool:
    mine, other = row.get(tag), properties.get(tag)
    if mine == other:
        return True
    # Outlook cuts long strings in tables, and some writers long binaries.
    if row.type_of(tag) in (PT_STRING8, PT_UNICODE) and isinstance(mine, str) and isinstance(other, str):
        return len(mine) >= 254 and other.startswith(mine[:254])
    return isinstance(mine, bytes) and isinstance(other, bytes) and len(mine) >= 255 and other.startswith(mine)
