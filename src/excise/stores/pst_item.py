"""An item of a PST file as a ``MapiItem``.

Recipients and attachments are read when they are asked for. ``damage`` says what could not be read, by kind of term,
so that a search can say what it could not test (S11) and ``fetch`` can refuse an item that is not whole (S13).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from excise.mapi.item import AttachMethod, MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import (
    PidTagAttachMethod,
    PidTagAttachSize,
    PidTagDisplayBcc,
    PidTagDisplayCc,
    PidTagDisplayTo,
    PidTagMessageFlags,
)
from excise.pst.messaging.message import Attachment, Message
from excise.stores.pst_embedded import read_embedded
from excise.stores.pst_file import PstFile, Unreachable, reading
from excise.stores.pst_values import ItemValues, damage_since
from excise.stores.pst_version import bears_original, version_of_kept_item, version_of_pst_item, with_embedded

HAS_ATTACHMENTS = 0x10
#: By how many bytes a stored PidTagAttachSize may exceed what is read (other writers than Outlook count a little more).
_SIZE_SLACK = 64
ATTACHMENT_TERMS = ("attachment", "attachment-sha256")
#: The key of ``PstItem.damage`` for what concerns every term.
EVERY_TERM = ""


class PstItem(MapiItem):
    """The item with the NID ``nid``. Making it reads its properties; Unreachable where they cannot be read.

    Known once recipients and attachments were read: ``damage`` by kind of term, and ``remarks`` on how figures differ
    though nothing is damaged.
    """

    def __init__(self, file: PstFile, nid: int) -> None:
        values = ItemValues(file)
        with reading():
            message = file.reader.message(nid)
            bag = values.bag(message.properties)
            # Read now, so that what is wrong with them counts for everything that lies in them.
            _ = message.node.subnodes
        # The base class is frozen: its fields are set in the instance's own dictionary.
        self.__dict__.update(properties=bag, damage={}, remarks=[])
        self.__dict__.update(_message=message, _values=values, _is_ost=file.is_ost, _known=0, _absent_cells=())
        self._note_damage((EVERY_TERM,), "its properties are damaged")

    damage: dict[str, str]
    remarks: list[str]
    _message: Message
    _values: ItemValues
    _is_ost: bool
    _known: int
    #: For each recipient, once they were read, what stands in the absent cells of its row: no values.
    _absent_cells: tuple[PropertyBag, ...]

    @cached_property
    def recipients(self) -> tuple[PropertyBag, ...]:
        """The rows of the recipient table."""
        rows, page = self._message.recipients, self.properties.code_page
        try:
            with reading():
                bags = tuple(self._values.bag(row.properties, page) for row in rows)
                self._note_damage(("recipient",), "the recipients cannot be read")
                self.__dict__["_absent_cells"] = tuple(self._values.absent(row.properties, page) for row in rows)
        except Unreachable as error:
            self.damage["recipient"] = f"the recipients cannot be read: {error}"
            return ()
        # Nothing is lost with a remnant that cannot be read.
        self._fresh_damage()
        displayed = any(self.properties.text(tag) for tag in (PidTagDisplayTo, PidTagDisplayCc, PidTagDisplayBcc))
        if displayed and not bags:
            self.remarks.append("the item shows recipients, and its recipient table holds none")
        return bags

    @cached_property
    def attachments(self) -> tuple[MapiAttachment, ...]:
        """The attachments; one that cannot be reached has a reason in the place of its content."""
        found = self._message.attachments
        self._note_damage(ATTACHMENT_TERMS, "the list of attachments cannot be read")
        if self._declares_attachments and not found:
            self._damaged("the item says that it has attachments, and none is there")
        return tuple(self._attachment(number, one) for number, one in enumerate(found, 1))

    @property
    def version(self) -> str:
        """The fingerprint (S06); recipients and attachments are read for it."""
        self.read_whole()
        if bears_original(self):
            return version_of_kept_item(self)
        rows = frozenset(self._message.attachment_rows)
        pairs = zip(self._message.attachments, self.attachments, strict=True)
        listed = [kept for one, kept in pairs if one.nid in rows]
        version = version_of_pst_item(self, self._absent_cells, listed, self._declares_attachments)
        return with_embedded(version, self.attachments)

    @property
    def _declares_attachments(self) -> bool:
        return bool((self.properties.integer(PidTagMessageFlags) or 0) & HAS_ATTACHMENTS)

    def read_whole(self) -> list[str]:
        """Read everything; what is damaged, empty where the item is whole."""
        _ = self.recipients, self.attachments
        return list(dict.fromkeys(self.damage.values()))

    def __reduce__(self) -> tuple[object, ...]:
        # What crosses a process border is read before, and has no file behind it.
        self.read_whole()
        known = ("properties", "recipients", "attachments", "damage", "remarks")
        return _read_before, ({name: getattr(self, name) for name in known},)

    def _note_damage(self, kinds: tuple[str, ...], what: str) -> None:
        """Enter what was found wrong since the last time."""
        fresh = self._fresh_damage()
        if fresh:
            for kind in kinds:
                self.damage.setdefault(kind, f"{what}: {fresh}")

    def _fresh_damage(self) -> str | None:
        log, known = self._message.log, self._known
        self.__dict__["_known"] = len(log)
        return damage_since(log, known)

    def _damaged(self, reason: str) -> None:
        for kind in ATTACHMENT_TERMS:
            self.damage.setdefault(kind, reason)

    def _attachment(self, number: int, one: Attachment) -> MapiAttachment:
        bag = PropertyBag()
        try:
            with reading():
                bag = self._values.bag(one.properties, self.properties.code_page)
                kept = self._content(one, bag)
            if fresh := self._fresh_damage():
                raise Unreachable(fresh)  # noqa: TRY301 - one place says what is wrong
        except Unreachable as error:
            self._fresh_damage()
            self._damaged(f"attachment {number} cannot be read: {error}")
            return MapiAttachment(bag, reason=str(error))
        self._check_size(number, kept)
        return kept

    def _content(self, one: Attachment, bag: PropertyBag) -> MapiAttachment:
        if bag.integer(PidTagAttachMethod) == AttachMethod.EmbeddedMessage:
            return MapiAttachment(bag, embedded=read_embedded(self._values, one, self.properties.code_page))
        content = self._values.content(one, bag)
        return MapiAttachment(bag, reason=content) if isinstance(content, str) else MapiAttachment(bag, data=content)

    def _check_size(self, number: int, kept: MapiAttachment) -> None:
        """Compare with the store's own figure: PidTagAttachSize is the length of all values of the attachment."""
        declared = kept.properties.integer(PidTagAttachSize)
        if kept.data is None or declared is None:
            return
        found = len(kept.data) + sum(len(entry.raw) for entry in kept.properties)
        if found >= declared - _SIZE_SLACK:
            return
        what = f"attachment {number} has {found:,} bytes where PidTagAttachSize says {declared:,}"
        if self._is_ost:
            # Here the figure is the server's own, which counts in its own way.
            self.remarks.append(what)
        else:
            self._damaged(what)


def _read_before(values: dict[str, Any]) -> PstItem:
    """The item that was pickled."""
    item = PstItem.__new__(PstItem)
    item.__dict__.update(values)
    return item
