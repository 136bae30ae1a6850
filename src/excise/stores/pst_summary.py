"""What a row of a contents table tells the matcher of a message that was not opened.

Invariant (S07): a term is answered only where the opened message would surely give the same answer; every other kind is
untestable, and the message is opened. A table has names of people and no addresses, and no Message-ID that can be
relied on; of sizes it keeps old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from excise.mime.addresses import Address
from excise.model.message import AttachmentView, MessageView, Untestable
from excise.pst.disk.damage import Damaged, DamageLog
from excise.pst.disk.ids import NID_ATTACHMENT_TABLE, NID_TYPE_ATTACHMENT, nid_type
from excise.pst.messaging.folder import Folder, Summary
from excise.store_api.protocols import Filter
from excise.stores.pst_item import ATTACHMENT_TERMS

_FIELDS = {
    "subject": "subject",
    "subject-contains": "subject",
    "subject-prefix": "subject",
    "subject-regex": "subject",
    "sent-since": "submit_time",
    "sent-before": "submit_time",
    "received-since": "delivery_time",
    "received-before": "delivery_time",
    "item-class": "message_class",
    **dict.fromkeys(ATTACHMENT_TERMS, "flags"),
}
#: Kinds of terms that a row may answer.
KINDS = frozenset({"folder", *_FIELDS})
#: The FILETIME zero stands for no time at all.
_NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)


class SummaryView(MessageView):
    """The view of a row. ``is_bare`` tells whether the message has no attachments; it is asked when a term needs it."""

    def __init__(self, row: Summary, folder: str, is_bare: Callable[[int], bool]) -> None:
        self._row, self._is_bare = row, is_bare
        self.folder, self.flags, self.size = folder, frozenset(), None

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        if term_kind == "folder":
            return ()
        field = _FIELDS.get(term_kind)
        if field is not None and field not in self._row.doubts and self._tells(field):
            return ()
        return (Untestable(term_kind, "the contents table does not tell"),)

    def _tells(self, field: str) -> bool:
        value = getattr(self._row, field)
        if field == "flags":
            # A message whose attachments are all hidden is not marked, so the mark alone does not tell.
            return self._row.has_attachments is False and self._is_bare(self._row.nid)
        # An empty subject may stand in the row of a message that has none, and other properties that serve as one.
        return bool(value) and value != _NO_TIME

    @property
    def subjects(self) -> tuple[str, ...]:
        return (self._row.subject,) if self._row.subject else ()

    @property
    def subject_raw(self) -> str | None:
        return self._row.subject

    @property
    def senders(self) -> tuple[Address, ...]:
        return ()

    @property
    def recipients(self) -> tuple[Address, ...]:
        return ()

    @property
    def message_id(self) -> str | None:
        return None

    @property
    def sent(self) -> datetime | None:
        return self._row.submit_time

    @property
    def received(self) -> datetime | None:
        return self._row.delivery_time

    @property
    def received_from(self) -> str:
        return "PidTagMessageDeliveryTime" if self._row.delivery_time is not None else ""

    @property
    def item_class(self) -> str | None:
        return self._row.message_class

    def header(self, name: str) -> tuple[str, ...]:
        del name
        return ()

    def attachments(self) -> Iterator[AttachmentView]:
        return iter(())

    def texts(self) -> Iterator[str]:
        return iter(())

    def links(self) -> Iterator[str]:
        return iter(())


def rejected_by_table(folder: Folder, path: str, matcher: Filter) -> dict[int, int]:
    """The messages of ``folder`` that surely do not match, by its contents table: their NIDs, and sizes in bytes.

    Empty where the table is damaged. Rows that are older than their message, or two for one message, are not believed.
    """
    if folder.is_search or not matcher.may_reject_by(KINDS):
        return {}
    rejected = {}
    for row in folder.summaries(_wanted(matcher)):
        view = SummaryView(row, path, lambda nid: _is_bare(folder, nid))
        if matcher.rejects(view) and folder.row_is_current(row.nid):
            rejected[row.nid] = max(0, row.size or 0)
    return {} if folder.log else rejected


def _wanted(matcher: Filter) -> frozenset[str]:
    return frozenset({"size", *(_FIELDS[kind] for kind in matcher.kinds() if kind in _FIELDS)})


def _is_bare(folder: Folder, nid: int) -> bool:
    """True where the message has neither an attachment nor a table of them; its properties are not read."""
    log = DamageLog()
    try:
        node = folder.store.ndb.node(nid, log)
        subnodes = () if node is None else tuple(node.subnodes)
    except Damaged:
        return False
    has_any = any(one == NID_ATTACHMENT_TABLE or nid_type(one) == NID_TYPE_ATTACHMENT for one in subnodes)
    return node is not None and not has_any and not log
