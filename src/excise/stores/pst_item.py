"""An item of a PST file as a ``MapiItem``, read through libpff.

Recipients and attachments are read when they are asked for: libpff reads an attachment's content with the attachment.
``damage`` says what could not be read, by kind of term, so that a search can say what it could not test (S11) and
``fetch`` can refuse an item that is not whole (S13).

Embedded messages, which libpff has no call for, are read by ``pst_embedded``. What libpff cannot reach, though it is
not damaged, is an attachment with a reason or a note: recipients and attachments of items whose class it does not know.
It refuses values above 128 MiB: such an item is damaged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from excise.mapi.item import AttachMethod, MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import (
    NamedProperty,
    PidTagAttachDataBinary,
    PidTagAttachMethod,
    PidTagAttachSize,
    PidTagDisplayBcc,
    PidTagDisplayCc,
    PidTagDisplayTo,
    PidTagMessageFlags,
)
from excise.stores.pst_embedded import EmbeddedReader
from excise.stores.pst_file import OBJECT, PstFile, Unreachable, entries, libpff

HAS_ATTACHMENTS = 0x10
_PIECE = 1 << 20
#: By how many bytes a stored PidTagAttachSize may exceed what is read (other writers than Outlook count a little more).
_SIZE_SLACK = 64
_BY_REFERENCE = (
    AttachMethod.ByReference,
    AttachMethod.ByReferenceResolve,
    AttachMethod.ByReferenceOnly,
    AttachMethod.ByWebReference,
)
#: The first bytes of a heap's signature ([MS-PST] 2.3.1.2), at offset 2 of a node that is no plain content.
_HEAP_SIGNATURE = 0xEC
ATTACHMENT_TERMS = ("attachment", "attachment-sha256")


class PstItem(MapiItem):
    """One item. Making it reads its properties; Unreachable where libpff cannot.

    Known once recipients and attachments were read: ``damage`` and ``out_of_reach`` by kind of term, and ``remarks`` on
    what the copy lacks or how figures differ though nothing is damaged.
    """

    def __init__(self, file: PstFile, node: Any, names: Mapping[int, NamedProperty]) -> None:
        bag = PropertyBag.from_raw(entries(node, 0), names=names)
        # The base class is frozen: its fields are set in the instance's own dictionary.
        self.__dict__.update(properties=bag, damage={}, out_of_reach={}, remarks=[])
        self.__dict__.update(_file=file, _node=node, _names=names)

    damage: dict[str, str]
    out_of_reach: dict[str, str]
    _file: PstFile
    _node: Any
    _names: Mapping[int, NamedProperty]
    remarks: list[str]

    @cached_property
    def recipients(self) -> tuple[PropertyBag, ...]:
        """The rows of the recipient table."""
        displayed = any(self.properties.text(tag) for tag in (PidTagDisplayTo, PidTagDisplayCc, PidTagDisplayBcc))
        if not hasattr(self._node, "get_number_of_attachments"):
            if displayed:
                reason = f"libpff reaches no recipients of items of the class {self.message_class}"
                self.remarks.append(f"{reason}: only their names, as the item shows them, are in the copy")
                self.out_of_reach["recipient"] = reason
            return ()
        try:
            with libpff():
                table = self._node.recipients
                count = table.number_of_record_sets if table is not None else 0
            rows = tuple(self._bag(table, row) for row in range(count))
        except Unreachable as error:
            self.damage["recipient"] = f"the recipients cannot be read: {error}"
            return ()
        if displayed and not rows:
            self.remarks.append("the item shows recipients, and its recipient table holds none")
        return rows

    @cached_property
    def attachments(self) -> tuple[MapiAttachment, ...]:
        """The attachments; one that cannot be reached has a reason in the place of its content."""
        declared = bool((self.properties.integer(PidTagMessageFlags) or 0) & HAS_ATTACHMENTS)
        if not hasattr(self._node, "get_number_of_attachments"):
            if not declared:
                return ()
            reason = f"libpff reaches no attachments of items of the class {self.message_class}"
            self.out_of_reach.update(dict.fromkeys(ATTACHMENT_TERMS, reason))
            return (MapiAttachment(PropertyBag(), reason=reason),)
        try:
            with libpff():
                count = self._node.number_of_attachments
        except Unreachable as error:
            self._damaged(f"the list of attachments cannot be read: {error}")
            return (MapiAttachment(PropertyBag(), reason=f"the attachments cannot be read: {error}"),)
        if declared and not count:
            self._damaged("the item says that it has attachments, and none is there")
        return tuple(self._attachment(number) for number in range(count))

    def read_whole(self) -> list[str]:
        """Read everything; what is damaged, empty where the item is whole."""
        _ = self.recipients, self.attachments
        return list(dict.fromkeys(self.damage.values()))

    def _damaged(self, reason: str) -> None:
        for kind in ATTACHMENT_TERMS:
            self.damage.setdefault(kind, reason)

    def _bag(self, owner: Any, index: int, *, skip: int | None = None) -> PropertyBag:
        return PropertyBag.from_raw(entries(owner, index, skip), self.properties.code_page, self._names)

    def _attachment(self, number: int) -> MapiAttachment:
        bag = PropertyBag()
        try:
            with libpff():
                node = self._node.get_attachment(number)
            bag = self._bag(node, 0, skip=PidTagAttachDataBinary.id)
            if bag.integer(PidTagAttachMethod) == AttachMethod.EmbeddedMessage:
                with libpff():
                    nid = node.identifier
                return MapiAttachment(bag, embedded=self._embedded.read(nid))
            reason = _out_of_reach(bag)
            if reason is not None:
                return MapiAttachment(bag, reason=reason)
            data = self._content(node)
        except Unreachable as error:
            self._damaged(f"attachment {number + 1} cannot be read: {error}")
            return MapiAttachment(bag, reason=str(error))
        if bag.integer(PidTagAttachMethod) == AttachMethod.Storage and data[2:3] == bytes([_HEAP_SIGNATURE]):
            return MapiAttachment(bag, reason="libpff gives the raw heap of an object in place of its content")
        self._check_size(number, bag, data)
        return MapiAttachment(bag, data=data)

    @cached_property
    def _embedded(self) -> EmbeddedReader:
        with libpff():
            nid = self._node.identifier
        return EmbeddedReader(self._file, nid, self._names, self.properties.code_page)

    def _content(self, node: Any) -> bytes:
        """The content, whole: as long as libpff says that it is."""
        with libpff():
            size = node.size or 0
            limit = self._file.status.st_size
            if size > limit and not self._file.is_ost:
                # An OST compresses blocks; elsewhere content longer than the file is one block told many times.
                raise ValueError(f"content of {size:,} bytes in a file of {limit:,}")
            pieces: list[bytes] = []
            left = size
            while left:
                piece = node.read_buffer(min(left, _PIECE))
                if not piece:
                    break
                pieces.append(piece)
                left -= len(piece)
        if left:
            raise Unreachable(f"content of {size:,} bytes ends {left:,} bytes early")
        return b"".join(pieces)

    def _check_size(self, number: int, bag: PropertyBag, data: bytes) -> None:
        """Compare with the store's own figure: PidTagAttachSize is the length of all values of the attachment."""
        declared = bag.integer(PidTagAttachSize)
        found = len(data) + sum(len(entry.raw) for entry in bag)
        if declared is None or found >= declared - _SIZE_SLACK:
            return
        what = f"attachment {number + 1} has {found:,} bytes where PidTagAttachSize says {declared:,}"
        if self._file.is_ost:
            # Here the figure is the server's own, which counts in its own way.
            self.remarks.append(what)
        else:
            self._damaged(what)


def _out_of_reach(bag: PropertyBag) -> str | None:
    """Why libpff cannot give the content of this attachment, None where it can."""
    method = bag.integer(PidTagAttachMethod)
    content = bag.raw(PidTagAttachDataBinary)
    if method in _BY_REFERENCE:
        return "attached by reference: its content lies outside of the mailbox"
    if content is None:
        return "it has no content"
    if content.tag.type == OBJECT and method != AttachMethod.Storage:
        return f"an object of attachment method {method}, which libpff cannot reach"
    return None
