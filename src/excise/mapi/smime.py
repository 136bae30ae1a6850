"""S/MIME items kept opaque ([MS-OXOSMIME]): the signed or encrypted entity comes back as it was."""

from __future__ import annotations

import re

from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.mime_entity import Entity, file_entity
from excise.mapi.mime_fields import Field, original, parse_block

_HEAD_LIMIT = 64 << 10
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_PARAMETER = re.compile(r";\s*(smime-type|name)\s*=\s*\"?([A-Za-z0-9._-]{1,80})\"?", re.IGNORECASE)


# id-signedData … ([RFC 5652] 4 to 8, [RFC 5083], [RFC 3274]) as they stand in the head of a CMS object.
_PKCS7 = bytes.fromhex("06092a864886f70d0107")
_PKCS9 = bytes.fromhex("060b2a864886f70d01091001")
_SMIME_TYPES = {
    _PKCS7 + b"\x02": "signed-data",
    _PKCS7 + b"\x03": "enveloped-data",
    _PKCS9 + b"\x17": "authEnveloped-data",
    _PKCS9 + b"\x09": "compressed-data",
}


def opaque_entity(item: MapiItem) -> Entity | None:
    """The entity of an S/MIME item whose one attachment holds it; None for any other item."""
    if ".SMIME" not in item.message_class.upper() or len(item.attachments) != 1:
        return None
    attachment = item.attachments[0]
    if attachment.data is None:
        return None
    return _stored_entity(attachment.data) or _cms(attachment, attachment.data)


def _stored_entity(data: bytes) -> Entity | None:
    """``data`` as a MIME entity: the header that it begins with, its Content- fields alone, and its exact body."""
    end = _HEAD_END.search(data, 0, _HEAD_LIMIT)
    if end is None or not re.match(rb"(?i)(content-|mime-version)", data):
        return None
    fields, notes = parse_block(data[: end.start()].decode("ascii", "replace"))
    kept = [original(field)[0] for field in fields if field.name.lower().startswith("content-")]
    kept.sort(key=lambda field: field.name.lower() != "content-type")
    if notes or not kept or kept[0].name.lower() != "content-type":
        return None
    return Entity(tuple(kept), data[end.end() :])


def _cms(attachment: MapiAttachment, data: bytes) -> Entity | None:
    # A CMS object is a BER SEQUENCE; anything else is an attachment like others.
    if data[:1] != b"\x30":
        return None
    parameters = dict(_PARAMETER.findall(attachment.mime_type))
    smime_type = parameters.get("smime-type") or _content_type(data)
    kind = "application/pkcs7-mime" + (f"; smime-type={smime_type}" if smime_type else "")
    entity = file_entity(data, kind, attachment.name or "smime.p7m")
    return Entity((Field("Content-Type", entity.fields[0].value), *entity.fields[1:]), entity.body)


def _content_type(data: bytes) -> str | None:
    """What the CMS object itself says that it is; the SEQUENCE's own length takes up to 9 bytes."""
    head = data[:24]
    return next((name for oid, name in _SMIME_TYPES.items() if 0 < head.find(oid) <= 10), None)
