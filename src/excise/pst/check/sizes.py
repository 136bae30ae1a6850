"""PidTagMessageSize, PidTagAttachSize and the sizes of objects: what Outlook counts.

Not published. A message has the bytes of all data blocks below it, in every sample of Outlook 2007 SP2 and later; older
Outlooks counted the values. An attachment has the bytes of its values, in every sample of any age.
"""

from __future__ import annotations

from excise.core.text import count_of
from excise.pst.check.report import NOTE, WARNING, Report
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.values import PT_OBJECT, ObjectRef, fixed_size
from excise.pst.messaging import tags
from excise.pst.messaging.message import ATTACH_EMBEDDED_MSG, Attachment, Message
from excise.pst.ndb.read import Node, NodeDatabase

# No file has more; sums of hostile trees that share their parts would grow without end.
_MAX_SUM = 1 << 63


class TreeSizes:
    """The data bytes of nodes with all their subnodes; each subnode tree is read once."""

    def __init__(self, ndb: NodeDatabase) -> None:
        self._ndb = ndb
        self._known: dict[int, int] = {}

    def of(self, node: Node) -> int:
        """Bytes in the data blocks of ``node`` and of everything below it. Damaged where that cannot be told."""
        return node.data.size + (self._below(ids.bid_key(node.bid_sub)) if node.bid_sub else 0)

    def _below(self, root: int) -> int:
        stack, opened = [root], {0}
        while stack:
            bid = stack[-1]
            if bid in self._known:
                stack.pop()
                continue
            parts = [
                self._ndb.open(each, DamageLog()) for each in Node(self._ndb, 0, 0, bid, DamageLog()).subnodes.values()
            ]
            below = [ids.bid_key(each.bid_sub) for each in parts if each.bid_sub]
            if bid not in opened:
                opened.add(bid)
                stack += [each for each in below if each not in self._known and each not in opened]
                continue
            # A tree that holds itself counts nothing for that.
            total = sum(each.data.size for each in parts) + sum(self._known.get(each, 0) for each in below)
            self._known[bid] = min(total, _MAX_SUM)
        return self._known[root]


def value_size(properties: PropertyContext) -> int:
    """Bytes of all values, an object's by the size that stands with it. Damaged where that cannot be told."""
    total = 0
    for prop_id in properties.ids():
        ptype = properties.type_of(prop_id) or 0
        value = properties.get(prop_id) if ptype == PT_OBJECT else None
        size = value.size if isinstance(value, ObjectRef) else fixed_size(ptype)
        total += properties.size_of(prop_id) if size is None else size
    return total


class SizeChecks:
    """Checks the sizes of one file's messages and attachments into ``report``."""

    def __init__(self, ndb: NodeDatabase, report: Report) -> None:
        self._report = report
        self._trees = TreeSizes(ndb)
        self._by_blocks = 0
        self._by_values = 0
        self._first_by_values = ""
        self._others = DamageLog()

    def message(self, message: Message) -> None:
        """Check a message, embedded ones too. What cannot be read is left to the reader."""
        stored = message.properties.integer(tags.MESSAGE_SIZE)
        if stored is None:
            return
        try:
            right = self._trees.of(message.node)
            if stored == right:
                self._by_blocks += 1
                return
            values = value_size(message.properties)
            attached = sum(value_size(each.properties) for each in message.attachments)
        except Damaged:
            return
        place = f"message 0x{message.nid:x}"
        if stored in (values, values + attached):
            self._first_by_values = self._first_by_values or place
            self._by_values += 1
        else:
            expected = f"{right}, the bytes of its blocks"
            self._others.add(Damage("messaging", "message", "PidTagMessageSize", place, -1, expected, str(stored)))

    def attachment(self, attachment: Attachment, place: str) -> None:
        """Check an attachment, and the size that stands with an embedded message."""
        stored = attachment.properties.integer(tags.ATTACH_SIZE)
        try:
            right = value_size(attachment.properties)
            if stored is not None and stored != right:
                expected = f"{right}, the bytes of its values"
                damage = Damage("messaging", "attachment", "PidTagAttachSize", place, -1, expected, str(stored))
                self._report.add(WARNING, damage)
            if attachment.method == ATTACH_EMBEDDED_MSG:
                self._object(attachment, place)
        except Damaged:
            return

    def _object(self, attachment: Attachment, place: str) -> None:
        value, inner = attachment.properties.get(tags.ATTACH_DATA), attachment.embedded
        if not isinstance(value, ObjectRef) or inner is None:
            return
        right = self._trees.of(inner.node)
        if value.size not in (right, inner.properties.integer(tags.MESSAGE_SIZE)):
            expected = f"{right}, the bytes of its blocks"
            damage = Damage("messaging", "attachment", "PidTagAttachDataObject", place, -1, expected, str(value.size))
            self._report.add(WARNING, damage)

    def finish(self) -> None:
        """After all messages: a size by neither rule breaks one where the file goes by the newer rule."""
        if self._by_values:
            messages = count_of(self._by_values, "message")
            found = f"{messages} with the bytes of their values, the first {self._first_by_values}"
            self._note("the bytes of the blocks of each", found)
        # A file of an older Outlook is mixed after a newer one, or a copy of its nodes, wrote to it.
        if not self._by_values and self._by_blocks >= max(1, len(self._others)):
            self._report.add_log(WARNING, self._others)
        elif self._others:
            first = self._others.entries[0]
            found = f"{count_of(len(self._others), 'message')} with others, the first {first.place} with {first.found}"
            self._note("the bytes of the blocks of each, or of the values", found)

    def _note(self, expected: str, found: str) -> None:
        damage = Damage("messaging", "message", "PidTagMessageSize", "the file", -1, expected, found)
        self._report.add(NOTE, damage)
