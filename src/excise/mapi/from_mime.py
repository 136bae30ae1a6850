"""MIME to MAPI: an RFC 5322 message as the item that Outlook shows ([MS-OXCMAIL] 2.2).

Invariants: no input is an error; no leaf is dropped, since what is no body becomes an attachment by value; what belongs
to no leaf is noted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from excise.core.digests import sha256_hex
from excise.mapi import tags as t
from excise.mapi.content_digest import content_digest
from excise.mapi.item import MapiItem
from excise.mapi.mime_content_to_mapi import read_content
from excise.mapi.mime_headers_to_mapi import header_values, recipients, transport_headers
from excise.mapi.properties import PropertyBag, Value
from excise.mapi.tags import NamedProperty, PropertyType
from excise.mime.headers import with_line_feeds
from excise.mime.multipart import Part

_PS_EXCISE = UUID("6f0f6c1e-5a51-4c0e-9b0b-2f1d6a3e8c47")
PidNameOriginalMime = NamedProperty(_PS_EXCISE, name="OriginalMime")
PidNameOriginalSha256 = NamedProperty(_PS_EXCISE, name="OriginalMimeSha256")
PidNameOriginalContent = NamedProperty(_PS_EXCISE, name="OriginalMimeContent")
_Named = dict[tuple[NamedProperty, int], Value]


class Original(NamedTuple):
    """The bytes that an item was made of, and what is made of them now."""

    data: bytes
    item: MapiItem


def from_mime(data: bytes, keep_original: bool = False) -> MapiItem:
    """The item that ``data`` stands for.

    With ``keep_original`` it also bears ``data`` itself, its SHA-256, and the digest of the content made of it.
    """
    item = _item(data, 0)
    if not keep_original:
        return item
    named: _Named = {
        (PidNameOriginalMime, PropertyType.Binary): data,
        (PidNameOriginalSha256, PropertyType.String): sha256_hex(data),
        (PidNameOriginalContent, PropertyType.String): content_digest(item),
    }
    return replace(item, properties=PropertyBag([*item.properties, *PropertyBag.of({}, named)]))


def original_mime(item: MapiItem) -> bytes | None:
    """The bytes that ``item`` was made of; None where it does not bear them, or is no longer what was made of them."""
    found = original_of(item)
    return None if found is None else found.data


def original_of(item: MapiItem) -> Original | None:
    """The same with the item that is made of them.

    An item that was changed, or lost an attachment, in Outlook must not give back the old message: the content's digest
    must be the recorded one. And the bytes must give that content anew, since anybody can write these properties; but
    for the time of delivery, which a mailbox may know better.
    """
    data = _kept(item.properties)
    if data is None or sha256_hex(data) != item.properties.text(PidNameOriginalSha256):
        return None
    digest = item.properties.text(PidNameOriginalContent)
    if content_digest(item) != digest:
        return None
    made = _item(data, 0)
    return Original(data, made) if content_digest(_delivered_as(made, item)) == digest else None


def _delivered_as(made: MapiItem, item: MapiItem) -> MapiItem:
    """``made``, delivered when ``item`` was."""
    tag = t.PidTagMessageDeliveryTime
    entries = [entry for entry in made.properties if entry.tag.id != tag.id]
    given = item.properties.raw(tag)
    return replace(made, properties=PropertyBag([*entries, *([] if given is None else [given])]))


def _kept(bag: PropertyBag) -> bytes | None:
    """The bytes that ``bag`` bears, in one property or in pieces: the second is ``OriginalMime2``, and so on."""
    pieces: list[bytes] = []
    name = PidNameOriginalMime
    while (piece := bag.binary(name)) is not None:
        pieces.append(piece)
        name = NamedProperty(_PS_EXCISE, name=f"{PidNameOriginalMime.name}{len(pieces) + 1}")
    return b"".join(pieces) if pieces else None


def _item(data: bytes, depth: int) -> MapiItem:
    data = with_line_feeds(data)
    root = Part(data, 0, len(data))
    values, notes = header_values(root.headers)
    names, rows = recipients(root.headers)
    content = read_content(root, depth, _item)
    values |= {t.PidTagTransportMessageHeaders: transport_headers(data, root.headers)} | names | content.values
    return MapiItem(PropertyBag.of(values), tuple(rows), tuple(content.attachments), (*notes, *content.notes))
