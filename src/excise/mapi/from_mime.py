"""MIME to MAPI: an RFC 5322 message as the item that Outlook shows ([MS-OXCMAIL] 2.2).

Invariants: no input is an error; no leaf is dropped, since what is no body becomes an attachment by value; what belongs
to no leaf is noted.
"""

from __future__ import annotations

from uuid import UUID

from excise.core.digests import sha256_hex
from excise.mapi import tags as t
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
_Named = dict[tuple[NamedProperty, int], Value]


def from_mime(data: bytes, keep_original: bool = False) -> MapiItem:
    """The item that ``data`` stands for; with ``keep_original`` it also bears ``data`` itself and its SHA-256."""
    named: _Named = {}
    if keep_original:
        named[PidNameOriginalMime, PropertyType.Binary] = data
        named[PidNameOriginalSha256, PropertyType.String] = sha256_hex(data)
    return _item(data, 0, named)


def original_mime(item: MapiItem) -> bytes | None:
    """The bytes that ``item`` was made of, None where it does not bear them or they do not fit their SHA-256."""
    data = item.properties.binary(PidNameOriginalMime)
    digest = item.properties.text(PidNameOriginalSha256)
    return data if data is not None and sha256_hex(data) == digest else None


def _item(data: bytes, depth: int, named: _Named | None = None) -> MapiItem:
    data = with_line_feeds(data)
    root = Part(data, 0, len(data))
    values, notes = header_values(root.headers)
    names, rows = recipients(root.headers)
    content = read_content(root, depth, _item)
    values |= {t.PidTagTransportMessageHeaders: transport_headers(data, root.headers)} | names | content.values
    bag = PropertyBag.of(values, named)
    return MapiItem(bag, tuple(rows), tuple(content.attachments), (*notes, *content.notes))
