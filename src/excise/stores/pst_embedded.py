"""Messages inside messages of a PST file, read with ``excise.pst``: libpff has no call for them.

Invariants: an embedded message is given whole or not at all, and whatever is wrong in it is ``Unreachable``; all that
is read for one item is no more than the file can hold, so that subnodes which share blocks give nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from excise.core.errors import ExciseError
from excise.mapi.item import MAX_EMBEDDING, AttachMethod, MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import NamedProperty, PidTagAttachDataBinary, PidTagAttachMethod
from excise.pst import Damaged
from excise.pst.ltp.properties import Properties
from excise.pst.messaging.message import Attachment, Message
from excise.stores.pst_file import OBJECT, PstFile, Unreachable

_DATA = PidTagAttachDataBinary.id
#: What a message or an attachment takes of the file beside its values: it has a block of its own.
_LEAST = 64
_BY_REFERENCE = (
    AttachMethod.ByReference,
    AttachMethod.ByReferenceResolve,
    AttachMethod.ByReferenceOnly,
    AttachMethod.ByWebReference,
)


class EmbeddedReader:
    """The embedded messages of the item whose NID is ``nid``.

    ``code_page`` is that of their String8 values where they name none themselves.
    """

    def __init__(self, file: PstFile, nid: int, names: Mapping[int, NamedProperty], code_page: int) -> None:
        self._file, self._nid, self._names, self._code_page = file, nid, names, code_page

    def read(self, attachment: int) -> MapiItem:
        """The message in the attachment with the NID ``attachment``, whole; else Unreachable."""
        try:
            found = next((one for one in self._message.attachments if one.nid == attachment), None)
            embedded = found.embedded if found is not None else None
            if embedded is None:
                raise Unreachable(f"the embedded message of the attachment {attachment:#x} is not there")
            item = self._item(embedded, self._code_page)
        except (Damaged, ExciseError, OSError) as error:
            raise Unreachable(f"the embedded message cannot be read: {error}") from error
        damage = self._message.log.entries
        if damage:
            raise Unreachable(f"the embedded message is not whole: {damage[0].text()}")
        return item

    @cached_property
    def _message(self) -> Message:
        pst = self._file.reader
        self._budget = pst.ndb.max_tree_size
        return pst.message(self._nid)

    def _item(self, message: Message, code_page: int) -> MapiItem:
        bag = self._bag(message.properties, code_page)
        recipients = [self._bag(one.properties, bag.code_page) for one in message.recipients]
        kept = [self._attachment(one, message.depth, bag.code_page) for one in message.attachments]
        return MapiItem(bag, tuple(recipients), tuple(kept))

    def _attachment(self, one: Attachment, depth: int, code_page: int) -> MapiAttachment:
        bag = self._bag(one.properties, code_page)
        method, kind = bag.integer(PidTagAttachMethod), one.properties.type_of(_DATA)
        if method == AttachMethod.EmbeddedMessage:
            inner = one.embedded if depth < MAX_EMBEDDING else None
            if inner is None:
                return MapiAttachment(bag, reason=f"messages are nested deeper than {MAX_EMBEDDING}")
            return MapiAttachment(bag, embedded=self._item(inner, code_page))
        if method in _BY_REFERENCE:
            return MapiAttachment(bag, reason="attached by reference: its content lies outside of the mailbox")
        if kind is None:
            return MapiAttachment(bag, reason="it has no content")
        if kind == OBJECT and method != AttachMethod.Storage:
            return MapiAttachment(bag, reason=f"an object of attachment method {method}")
        self._spend(one.size)
        return MapiAttachment(bag, data=one.read())

    def _bag(self, properties: Properties, code_page: int) -> PropertyBag:
        self._spend(_LEAST)
        return PropertyBag.from_raw(self._entries(properties), code_page, self._names)

    def _entries(self, properties: Properties) -> Iterator[tuple[int, bytes]]:
        """Tag and raw value of each property; the content of an attachment is left out, an object's place is not."""
        for prop_id in properties.ids():
            kind = properties.type_of(prop_id) or 0
            raw = b"" if prop_id == _DATA and kind != OBJECT else properties.raw(prop_id)
            self._spend(len(raw))
            yield prop_id << 16 | kind, raw

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise Unreachable("the embedded messages of the item are larger than the file")
