"""The values of one item of a PST file, as bags of raw properties.

Invariant: all that is read for one item is no more than its file can hold, so that nodes which share blocks give
nothing. What cannot be read, or is too much, is ``Unreachable``.
"""

from __future__ import annotations

from collections.abc import Iterator

from excise.mapi.item import AttachMethod
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import PidTagAttachDataBinary, PidTagAttachMethod
from excise.pst.disk.damage import DamageLog
from excise.pst.ltp.properties import Properties
from excise.pst.ltp.table import Row
from excise.pst.messaging.message import Attachment
from excise.stores.pst_file import OBJECT, PstFile, Unreachable

_DATA = PidTagAttachDataBinary.id
#: What a message, a recipient or an attachment takes of the file beside its values.
_LEAST = 64
#: The signature of a heap ([MS-PST] 2.3.1.2), at offset 2 of a node that is no plain content.
_HEAP_SIGNATURE = b"\xec"
_BY_REFERENCE = (
    AttachMethod.ByReference,
    AttachMethod.ByReferenceResolve,
    AttachMethod.ByReferenceOnly,
    AttachMethod.ByWebReference,
)


def damage_since(log: DamageLog, known: int) -> str | None:
    """The first of what was found wrong after ``log`` had ``known`` entries, None where nothing was.

    A block's wSig alone is no damage: it says where the block was to lie, and CRC and BID, which hold, what is in it.
    """
    if len(log) == known:
        return None
    entries = log.entries
    # Past its limit a log only counts.
    fresh = entries[known:] or entries[-1:]
    return next((one.text() for one in fresh if one.field != "wSig"), None)


class ItemValues:
    """Reads the values of one item of ``file``; used for one item only, so that the bound holds."""

    def __init__(self, file: PstFile) -> None:
        self._names = file.names
        self._budget = file.reader.ndb.max_tree_size

    def bag(self, properties: Properties, code_page: int | None = None) -> PropertyBag:
        """All properties; of an attachment's content only its tag, where it is no object."""
        self._spend(_LEAST)
        return PropertyBag.from_raw(self._entries(properties), code_page, self._names)

    def absent(self, row: Row, code_page: int) -> PropertyBag:
        """What stands in the absent cells of a row (``Row.absent``)."""
        return PropertyBag.from_raw(self._counted(row.absent()), code_page, self._names)

    def content(self, attachment: Attachment, bag: PropertyBag) -> bytes | str:
        """The content of an attachment that is no message, whole; or in words why it has none in the file."""
        method, kind = bag.integer(PidTagAttachMethod), attachment.properties.type_of(_DATA)
        if method in _BY_REFERENCE:
            return "attached by reference: its content lies outside of the mailbox"
        if kind is None:
            return "it has no content"
        if kind == OBJECT and method != AttachMethod.Storage:
            return f"an object of attachment method {method}, which is no file"
        self._spend(attachment.properties.size_of(_DATA))
        data = b"".join(attachment.properties.chunks(_DATA))
        if method == AttachMethod.Storage and data[2:3] == _HEAP_SIGNATURE:
            return "an object kept as properties, which is no file"
        return data

    def _entries(self, properties: Properties) -> Iterator[tuple[int, bytes]]:
        for prop_id in properties.ids():
            kind = properties.type_of(prop_id) or 0
            left_out = prop_id == _DATA and kind != OBJECT
            yield from self._counted([(prop_id << 16 | kind, b"" if left_out else properties.raw(prop_id))])

    def _counted(self, entries: Iterator[tuple[int, bytes]] | list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        for tag, raw in entries:
            self._spend(len(raw))
            yield tag, raw

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise Unreachable("the item is larger than the file")
