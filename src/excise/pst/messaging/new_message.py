"""Messages to be written, and how one that was read becomes one.

Values are as [MS-PST] stores them. A large one may be an iterable of pieces, which is asked when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.heaps import is_hid
from excise.pst.ltp.properties import Properties, PropertyContext
from excise.pst.ltp.table import ROW_ID, ROW_VERSION
from excise.pst.ltp.values import (
    INLINE,
    MV_FLAG,
    PT_OBJECT,
    PT_STRING8,
    PT_UNICODE,
    Scalar,
    Value,
    decode_value,
    encode_value,
)
from excise.pst.messaging import tags
from excise.pst.messaging.message import ATTACH_EMBEDDED_MSG, Attachment, Message
from excise.pst.messaging.names import PS_EXCISE, NamedProperties, PropertyName

_FIRST_NAMED_ID = 0x8000
# What a message, a recipient or an attachment takes of a file beside its values.
_LEAST = 64
_STRINGS = {PT_STRING8: PT_UNICODE, PT_STRING8 | MV_FLAG: PT_UNICODE | MV_FLAG}


@dataclass(frozen=True, slots=True)
class NewProperty:
    """A property: its type and its value as stored, whole or in pieces; of an object (PtypObject), what it holds.

    One with a ``name`` gets the id that the file has for it, and ``prop_id`` does not count. One without must have an
    id below 0x8000.
    """

    prop_id: int
    prop_type: int
    data: bytes | Iterable[bytes]
    name: PropertyName | None = None

    @classmethod
    def of(
        cls, prop_id: int, prop_type: int, value: Value | Sequence[Scalar], name: PropertyName | None = None
    ) -> NewProperty:
        """A property with what Python has for its value; multiple values are a list or a tuple.

        ValueError where ``value`` is none of ``prop_type``.
        """
        return cls(prop_id, prop_type, encode_value(prop_type, value), name)


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """An attachment. An ``embedded`` message is its data; there is no PidTagAttachDataObject in ``properties`` then."""

    properties: Sequence[NewProperty]
    embedded: NewMessage | None = None

    @classmethod
    def of(cls, attachment: Attachment, names: NamedProperties, *, as_unicode: bool = False) -> NewAttachment:
        """What ``attachment`` is, as ``NewMessage.of``."""
        properties = attachment.properties
        if attachment.method != ATTACH_EMBEDDED_MSG:
            return cls(_copied(properties, names, as_unicode))
        embedded = attachment.embedded
        assert embedded is not None  # noqa: S101 - the method says so
        return cls(_copied(properties, names, as_unicode, tags.ATTACH_DATA),
                   NewMessage.of(embedded, names, as_unicode=as_unicode))  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message. A recipient is the properties of its row, those of the table itself left out.

    ``codec`` is that of PtypString8 values, for the places where they are needed as text.
    """

    properties: Sequence[NewProperty]
    recipients: Sequence[Sequence[NewProperty]] = ()
    attachments: Sequence[NewAttachment] = ()
    codec: str = "cp1252"

    @classmethod
    def of(
        cls,
        message: Message,
        names: NamedProperties,
        *,
        as_unicode: bool = False,
        harmless: frozenset[str] = frozenset(),
    ) -> NewMessage:
        """What ``message`` is, property for property; ``names`` are those of its file, which must stay open.

        ``as_unicode`` makes PtypUnicode of those PtypString8 values that are text in the message's code page, which are
        read whole then. Damaged where anything of the message is; what is found wrong only when large values are read
        is in ``message.log``. Damaged too where it would be larger than its whole file, which values and embedded
        messages that share blocks could make it without end. ``harmless``: fields in which damage does not count.
        """
        _require_room(message)
        rows = [recipient.properties for recipient in message.recipients]
        new = cls(
            _copied(message.properties, names, as_unicode),
            _copied_rows(rows, names, as_unicode),
            tuple(NewAttachment.of(each, names, as_unicode=as_unicode) for each in message.attachments),
            message.properties.codec,
        )
        for damage in message.log.entries:
            if damage.field not in harmless:
                raise Damaged(damage)
        return new


def _require_room(message: Message) -> None:
    """Damaged where ``message``, written out, would be larger than its file."""
    room = message.node.ndb.max_tree_size
    left, stack = room, [message]
    while stack:
        each = stack.pop()
        for size in _sizes(each):
            left -= size
            if left < 0:
                place = f"message 0x{message.nid:x}"
                expected = f"no more than the {room} bytes of its file"
                raise Damaged(Damage("messaging", "message", "size", place, -1, expected, "more"))
        stack += [inner for one in each.attachments if (inner := one.embedded) is not None]


def _sizes(message: Message) -> Iterator[int]:
    """Bytes of all that ``message`` has but for the messages in it, one thing after the other."""
    for row in message.recipients:
        yield _LEAST
        yield from (len(row.properties.raw(prop_id)) for prop_id in row.properties.ids())
    yield _LEAST
    yield from map(message.properties.size_of, message.properties.ids())
    for attachment in message.attachments:
        yield _LEAST
        without = tags.ATTACH_DATA if attachment.method == ATTACH_EMBEDDED_MSG else None
        properties = attachment.properties
        yield from (properties.size_of(prop_id) for prop_id in properties.ids() if prop_id != without)


class _Pieces:
    """A value in pieces, as often as it is asked for."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks()


def _copied(
    context: PropertyContext, names: NamedProperties, as_unicode: bool, without: int = 0
) -> tuple[NewProperty, ...]:
    found = []
    for prop_id in context.ids():
        ptype = context.type_of(prop_id)
        if ptype is None or prop_id == without:
            continue
        data: bytes | Iterable[bytes]
        if as_unicode and ptype in _STRINGS:
            ptype, data = _as_unicode(ptype, context.raw(prop_id), context.codec)
        elif ptype == PT_OBJECT:
            data = _object(context, prop_id)
        elif ptype in INLINE or is_hid(context.hnid(prop_id) or 0):
            data = context.raw(prop_id)
        else:
            data = _pieces(context, prop_id)
        found.append(NewProperty(prop_id, ptype, data, _name(prop_id, names)))
    return tuple(found)


def _pieces(context: PropertyContext, prop_id: int) -> _Pieces:
    context.size_of(prop_id)  # a value that is not there is known at once
    return _Pieces(lambda: context.chunks(prop_id))


def _object(context: PropertyContext, prop_id: int) -> _Pieces:
    node = context.object_node(prop_id)
    if node is None or node.bid_sub:
        place = f"property 0x{prop_id:04x} of node 0x{context.node.nid:x}"
        found = "none" if node is None else "a subnode with subnodes"
        raise Damaged(Damage("messaging", "object", "NID", place, -1, "a subnode with data alone", found))
    return _pieces(context, prop_id)


def _copied_rows(
    rows: Sequence[Properties], names: NamedProperties, as_unicode: bool
) -> tuple[tuple[NewProperty, ...], ...]:
    found: list[dict[int, tuple[int, bytes]]] = [
        {prop_id: (row.type_of(prop_id) or 0, row.raw(prop_id)) for prop_id in row.ids()} for row in rows
    ]
    for prop_id in {prop_id for values in found for prop_id in values} if as_unicode else ():
        # All cells of a column have one type.
        turned = [
            _as_unicode(*values[prop_id], row.codec)
            for row, values in zip(rows, found, strict=True)
            if prop_id in values
        ]
        if len({ptype for ptype, _ in turned}) == 1:
            cells = iter(turned)
            for values in found:
                if prop_id in values:
                    values[prop_id] = next(cells)
    return tuple(
        tuple(
            NewProperty(prop_id, ptype, data, _name(prop_id, names))
            for prop_id, (ptype, data) in values.items()
            if prop_id not in (ROW_ID, ROW_VERSION)
        )
        for values in found
    )


def _as_unicode(ptype: int, data: bytes, codec: str) -> tuple[int, bytes]:
    """The type and value that are the same text in Unicode; the given ones where there is no such text."""
    if ptype == PT_STRING8:
        try:
            return PT_UNICODE, data.decode(codec).encode("utf-16-le")
        except UnicodeDecodeError:
            return ptype, data
    if ptype not in _STRINGS:
        return ptype, data
    try:
        value = decode_value(ptype, data, codec)
        if encode_value(ptype, value, codec) != data:
            return ptype, data
        return _STRINGS[ptype], encode_value(_STRINGS[ptype], value)
    except ValueError:
        return ptype, data


def _name(prop_id: int, names: NamedProperties) -> PropertyName | None:
    """The name of ``prop_id``. An id that its file has no name for gets one, so that it cannot mean another name."""
    if prop_id < _FIRST_NAMED_ID:
        return None
    name = names.name_of(prop_id)
    if name is None or names.id_of(name.guid, name.key) != prop_id:
        return PropertyName(PS_EXCISE, f"Unnamed{prop_id:04X}")
    return name
