"""Addresses of senders and recipients: SMTP where one is known, whatever the address type ([MS-OXCDATA] 2.2.5).

Many items hold a directory name (address type EX) in the address property and the SMTP address elsewhere, or nowhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from excise.mapi.properties import PropertyBag, decode_string8
from excise.mapi.tags import (
    PidTagAddressType,
    PidTagDisplayName,
    PidTagEmailAddress,
    PidTagEntryId,
    PidTagRecipientDisplayName,
    PidTagRecipientEntryId,
    PidTagSenderAddressType,
    PidTagSenderEmailAddress,
    PidTagSenderEntryId,
    PidTagSenderName,
    PidTagSenderSmtpAddress,
    PidTagSentRepresentingAddressType,
    PidTagSentRepresentingEmailAddress,
    PidTagSentRepresentingEntryId,
    PidTagSentRepresentingName,
    PidTagSentRepresentingSmtpAddress,
    PidTagSmtpAddress,
    PropertyTag,
)

ONE_OFF_UID = UUID("a41f2b81-a3be-1910-9d6e-00dd010f5402").bytes_le
_UNICODE_FLAG = 0x8000
_ENTRY_LIMIT = 1 << 16


@dataclass(frozen=True)
class Address:
    """A person: display name, SMTP address ("" where none is known), and the address as stored with its type."""

    name: str
    smtp: str
    stored: str
    address_type: str

    def __bool__(self) -> bool:
        return bool(self.name or self.smtp or self.stored)

    @property
    def text(self) -> str:
        """The best address there is: SMTP, else the stored one."""
        return self.smtp or self.stored


@dataclass(frozen=True)
class _Where:
    """The properties in which one kind of address lies, the surest first."""

    name: tuple[PropertyTag, ...]
    smtp: tuple[PropertyTag, ...]
    address_type: PropertyTag
    stored: PropertyTag
    entry_id: tuple[PropertyTag, ...]


_SENDER = _Where(
    (PidTagSenderName,),
    (PidTagSenderSmtpAddress,),
    PidTagSenderAddressType,
    PidTagSenderEmailAddress,
    (PidTagSenderEntryId,),
)
_REPRESENTING = _Where(
    (PidTagSentRepresentingName,),
    (PidTagSentRepresentingSmtpAddress,),
    PidTagSentRepresentingAddressType,
    PidTagSentRepresentingEmailAddress,
    (PidTagSentRepresentingEntryId,),
)
_RECIPIENT = _Where(
    (PidTagDisplayName, PidTagRecipientDisplayName),
    (PidTagSmtpAddress,),
    PidTagAddressType,
    PidTagEmailAddress,
    (PidTagEntryId, PidTagRecipientEntryId),
)


def sender_address(message: PropertyBag) -> Address:
    """Who sent the message (PidTagSender…)."""
    return _address(message, _SENDER)


def representing_address(message: PropertyBag) -> Address:
    """On whose behalf it was sent (PidTagSentRepresenting…); this is what MIME calls From."""
    return _address(message, _REPRESENTING)


def recipient_address(row: PropertyBag) -> Address:
    """The address of a row of the recipient table."""
    return _address(row, _RECIPIENT)


def _address(bag: PropertyBag, where: _Where) -> Address:
    name = _first(bag, where.name)
    stored = (bag.text(where.stored) or "").strip()
    address_type = (bag.text(where.address_type) or "").strip().upper()
    smtp = _first(bag, where.smtp)
    if not smtp and "@" in stored and address_type in ("", "SMTP"):
        smtp = stored
    for tag in where.entry_id:
        one_off = parse_one_off(bag.binary(tag) or b"", bag.code_page)
        if one_off is None:
            continue
        name = name or one_off.name
        smtp = smtp or one_off.smtp
        stored = stored or one_off.stored
        address_type = address_type or one_off.address_type
    return Address(name if name != smtp else "", smtp, stored, address_type)


def _first(bag: PropertyBag, tags: tuple[PropertyTag, ...]) -> str:
    for tag in tags:
        text = (bag.text(tag) or "").strip()
        if text:
            return text
    return ""


def parse_one_off(entry_id: bytes, code_page: int) -> Address | None:
    """The address in a one-off EntryID ([MS-OXCDATA] 2.2.5.1), or None where it is another kind or damaged."""
    if not 24 <= len(entry_id) <= _ENTRY_LIMIT or entry_id[4:20] != ONE_OFF_UID:
        return None
    _, flags = struct.unpack_from("<HH", entry_id, 20)
    try:
        if flags & _UNICODE_FLAG:
            fields = entry_id[24 : len(entry_id) - len(entry_id) % 2].decode("utf-16-le").split("\0")
        else:
            fields = [decode_string8(piece, code_page) for piece in entry_id[24:].split(b"\0")]
    except ValueError:
        return None
    if len(fields) < 3:
        return None
    name, address_type, stored = (field.strip() for field in fields[:3])
    smtp = stored if address_type.upper() == "SMTP" and "@" in stored else ""
    return Address(name if name != smtp else "", smtp, stored, address_type.upper())


def build_one_off(name: str, address: str) -> bytes:
    """The one-off EntryID of an SMTP address, Unicode, with rich text forbidden (PST-FACTS 5.5)."""
    text = "".join(f"{part}\0" for part in (name.replace("\0", ""), "SMTP", address.replace("\0", "")))
    return bytes(4) + ONE_OFF_UID + struct.pack("<HH", 0, 0x9001) + text.encode("utf-16-le", "replace")
