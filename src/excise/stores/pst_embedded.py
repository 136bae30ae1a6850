"""Messages inside messages of a PST file.

Invariant: an embedded message is given whole or not at all, and whatever is wrong in it is ``Unreachable``.
"""

from __future__ import annotations

from excise.mapi.item import MAX_EMBEDDING, AttachMethod, MapiAttachment, MapiItem
from excise.mapi.tags import PidTagAttachMethod
from excise.pst.messaging.message import Attachment, Message
from excise.stores.pst_file import Unreachable, reading
from excise.stores.pst_values import ItemValues, damage_since


def read_embedded(values: ItemValues, attachment: Attachment, code_page: int) -> MapiItem:
    """The message in ``attachment``; ``code_page`` is that of its String8 values where it names none itself."""
    log = attachment.node.log
    known = len(log)
    try:
        with reading():
            item = _item(values, _message(attachment), code_page)
    except Unreachable as error:
        raise Unreachable(f"the embedded message cannot be read: {error}") from error
    damage = damage_since(log, known)
    if damage:
        raise Unreachable(f"the embedded message is not whole: {damage}")
    return item


def _message(attachment: Attachment) -> Message:
    message = attachment.embedded
    if message is None:
        raise Unreachable("it is not there")
    return message


def _item(values: ItemValues, message: Message, code_page: int) -> MapiItem:
    bag = values.bag(message.properties, code_page)
    recipients = [values.bag(one.properties, bag.code_page) for one in message.recipients]
    kept = [_attachment(values, one, message.depth, bag.code_page) for one in message.attachments]
    return MapiItem(bag, tuple(recipients), tuple(kept))


def _attachment(values: ItemValues, one: Attachment, depth: int, code_page: int) -> MapiAttachment:
    bag = values.bag(one.properties, code_page)
    if bag.integer(PidTagAttachMethod) == AttachMethod.EmbeddedMessage:
        inner = one.embedded if depth < MAX_EMBEDDING else None
        if inner is None:
            return MapiAttachment(bag, reason=f"messages are nested deeper than {MAX_EMBEDDING}")
        return MapiAttachment(bag, embedded=_item(values, inner, code_page))
    content = values.content(one, bag)
    return MapiAttachment(bag, reason=content) if isinstance(content, str) else MapiAttachment(bag, data=content)
