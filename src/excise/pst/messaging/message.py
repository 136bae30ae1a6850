"""Messages, recipients and attachments ([MS-PST] 2.4.5, 2.4.6).

A message knows its own damage: ``log`` holds what was found wrong while it was read, so far. ``read_all`` reads
everything there is, embedded messages included, so that afterwards the log is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.ids import (
    NID_ATTACHMENT_TABLE,
    NID_RECIPIENT_TABLE,
    NID_TYPE_ATTACHMENT,
    nid_type,
)
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import Row, TableContext
from excise.pst.ltp.values import ansi_codec
from excise.pst.messaging import tags
from excise.pst.ndb.read import Node

#: Embedded messages deeper than this are reported and not opened.
MAX_DEPTH = 64

ATTACH_BY_VALUE = 1
ATTACH_BY_REFERENCE = 2
ATTACH_BY_REF_RESOLVE = 3
ATTACH_BY_REF_ONLY = 4
ATTACH_EMBEDDED_MSG = 5
ATTACH_OLE = 6
_REFERENCES = frozenset({ATTACH_BY_REFERENCE, ATTACH_BY_REF_RESOLVE, ATTACH_BY_REF_ONLY})


def plain_subject(stored: str) -> str:
    """A subject without the two characters that give its prefix's length ([MS-PST] 2.5.3.1.1.1)."""
    return stored[2:] if stored[:1] == "\x01" else stored


class Message:
    """One message object: mail, contact, appointment, … or a folder-associated item.

    Damaged where its properties cannot be read at all. ``depth`` is 0 for one in a folder, 1 for one embedded in it.
    """

    def __init__(self, node: Node, codec: str, depth: int = 0) -> None:
        self.node = node
        self.nid = node.nid
        self.depth = depth
        self.log = node.log
        self._default_codec = codec
        self.properties = PropertyContext(node, codec)
        pages = map(self.properties.integer, (tags.MESSAGE_CODEPAGE, tags.INTERNET_CODEPAGE, tags.MESSAGE_LOCALE_ID))
        self.properties.codec = ansi_codec(*pages) or codec

    @property
    def subject(self) -> str | None:
        """The subject with its prefix; None where there is none."""
        stored = self.properties.text(tags.SUBJECT)
        return None if stored is None else plain_subject(stored)

    @property
    def message_class(self) -> str | None:
        """Such as ``IPM.Note``."""
        return self.properties.text(tags.MESSAGE_CLASS)

    @property
    def flags(self) -> int:
        """PidTagMessageFlags, 0 where it is absent."""
        return self.properties.integer(tags.MESSAGE_FLAGS) or 0

    @property
    def delivery_time(self) -> datetime | None:
        """When it was delivered."""
        return self.properties.time(tags.MESSAGE_DELIVERY_TIME)

    @property
    def submit_time(self) -> datetime | None:
        """When it was sent."""
        return self.properties.time(tags.CLIENT_SUBMIT_TIME)

    @property
    def transport_headers(self) -> str | None:
        """The RFC 5322 headers that came with it; None where Outlook has kept none."""
        return self.properties.text(tags.TRANSPORT_MESSAGE_HEADERS)

    @cached_property
    def recipients(self) -> list[Recipient]:
        """The rows of the recipient table, in its order. What cannot be read is in ``log``."""
        node = self.node.child(NID_RECIPIENT_TABLE)
        if node is None:
            return []
        try:
            return [Recipient(row) for row in TableContext(node, self.properties.codec).rows()]
        except Damaged as error:
            self.log.add(error.damage)
            return []

    @cached_property
    def attachments(self) -> list[Attachment]:
        """The attachments in the order of their NIDs. What cannot be read is in ``log``.

        They are the attachment subnodes; a row of the attachment table without one is reported.
        """
        found = []
        for nid in sorted(nid for nid in self.node.subnodes if nid_type(nid) == NID_TYPE_ATTACHMENT):
            node = self.node.child(nid)
            try:
                if node is not None:
                    found.append(Attachment(node, self.properties.codec, self._default_codec, self.depth))
            except Damaged as error:
                self.log.add(error.damage)
        for row_id in self.attachment_rows:
            if row_id not in self.node.subnodes:
                where = f"message 0x{self.nid:x}"
                expected, at = f"subnode 0x{row_id:x}", self.node.offset()
                self.log.add(Damage("messaging", "attachment table", "dwRowID", where, at, expected, "none"))
        return found

    @cached_property
    def attachment_rows(self) -> list[int]:
        """The NIDs that the attachment table lists, in its order. What cannot be read is in ``log``."""
        node = self.node.child(NID_ATTACHMENT_TABLE)
        if node is None:
            return []
        try:
            return [row_id for row_id, _ in TableContext(node, self.properties.codec).index]
        except Damaged as error:
            self.log.add(error.damage)
            return []

    def read_all(self) -> tuple[Damage, ...]:
        """Read every value, recipient, attachment and embedded message, and give what was found wrong.

        Large values are read in pieces and not kept. The blocks of a message that is embedded more than once are read
        once at each depth, so that sharing them costs no time and a message within itself is still told; so are those
        of a value that several properties have.
        """
        stack, seen, values = [self], set(), set[tuple[int, int]]()
        while stack:
            message = stack.pop()
            blocks = (message.node.bid_data, message.node.bid_sub, message.depth)
            if blocks in seen:
                continue
            seen.add(blocks)
            _drain(message.properties, values)
            for recipient in message.recipients:
                for _ in recipient.properties.items():
                    pass
            for attachment in message.attachments:
                _drain(attachment.properties, values)
                try:
                    embedded = attachment.embedded
                except Damaged as error:
                    self.log.add(error.damage)
                else:
                    stack += [embedded] if embedded is not None else []
        return self.log.entries


class Recipient:
    """One row of a recipient table; there is nothing else to a recipient."""

    def __init__(self, row: Row) -> None:
        self.properties = row

    @property
    def kind(self) -> int:
        """1 To, 2 Cc, 3 Bcc, 0 originator; high bits are flags of resend and are cut off."""
        return (self.properties.integer(tags.RECIPIENT_TYPE) or 0) & 0x0F

    @property
    def name(self) -> str | None:
        """The display name."""
        return self.properties.text(tags.DISPLAY_NAME)

    @property
    def address(self) -> str | None:
        """The SMTP address where there is one, else the address of whatever type."""
        return self.properties.text(tags.SMTP_ADDRESS) or self.properties.text(tags.EMAIL_ADDRESS)


class Attachment:
    """One attachment object. Damaged where its properties cannot be read at all."""

    def __init__(self, node: Node, codec: str, default_codec: str, depth: int) -> None:
        self.node = node
        self.nid = node.nid
        self._depth = depth
        self._default_codec = default_codec
        self.properties = PropertyContext(node, codec)

    @property
    def method(self) -> int:
        """PidTagAttachMethod: by value, by reference, embedded message, OLE; 0 none."""
        return self.properties.integer(tags.ATTACH_METHOD) or 0

    @property
    def filename(self) -> str | None:
        """The long name, else the 8.3 name, else the display name."""
        names = (tags.ATTACH_LONG_FILENAME, tags.ATTACH_FILENAME, tags.DISPLAY_NAME)
        return next((name for tag in names if (name := self.properties.text(tag))), None)

    @property
    def reference(self) -> str | None:
        """The path of an attachment by reference; None for any other."""
        if self.method not in _REFERENCES:
            return None
        return self.properties.text(tags.ATTACH_LONG_PATHNAME) or self.properties.text(tags.ATTACH_PATHNAME)

    @property
    def size(self) -> int:
        """Bytes that ``chunks`` gives; 0 for an embedded message. Damaged where that cannot be told."""
        return 0 if self.method == ATTACH_EMBEDDED_MSG else self.properties.size_of(tags.ATTACH_DATA)

    def chunks(self) -> Iterator[bytes]:
        """The data in pieces: the file by value, the storage of an OLE object; nothing for an embedded message.

        Damaged where a part cannot be read.
        """
        if self.method != ATTACH_EMBEDDED_MSG:
            yield from self.properties.chunks(tags.ATTACH_DATA)

    def read(self) -> bytes:
        """All the data. Damaged where a part cannot be read."""
        return b"".join(self.chunks())

    @cached_property
    def embedded(self) -> Message | None:
        """The embedded message; None where the attachment is none. Damaged where it cannot be read or is too deep."""
        if self.method != ATTACH_EMBEDDED_MSG:
            return None
        place, at = f"attachment 0x{self.nid:x}", self.node.offset()
        if self._depth + 1 > MAX_DEPTH:
            raise Damaged(Damage("messaging", "attachment", "depth", place, at, f"at most {MAX_DEPTH}", "one more"))
        node = self.properties.object_node(tags.ATTACH_DATA)
        if node is None:
            raise Damaged(Damage("messaging", "attachment", "PidTagAttachDataObject", place, at, "a subnode", "none"))
        return Message(node, self._default_codec, self._depth + 1)


def _drain(properties: PropertyContext, known: set[tuple[int, int]]) -> None:
    """Read every value but those whose type and tree are ``known``, to which it adds; type 0: read, not decoded."""
    log: DamageLog = properties.node.log
    for prop_id in properties.ids():
        in_pieces = prop_id == tags.ATTACH_DATA
        try:
            if in_pieces and properties.integer(tags.ATTACH_METHOD) == ATTACH_EMBEDDED_MSG:
                continue
            bid = properties.tree_of(prop_id)
            tree = None if bid is None else (0 if in_pieces else properties.type_of(prop_id) or 0, bid)
            if tree in known:
                continue
            if in_pieces:
                for _ in properties.chunks(prop_id):
                    pass
            else:
                properties.get(prop_id)
            if tree is not None:
                known.add(tree)
        except Damaged as error:
            log.add(error.damage)
