"""Header fields made of properties, for what the transport headers do not hold ([MS-OXCMAIL] 2.1.3)."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime

from excise.mapi.addresses import Address, parse_one_off
from excise.mapi.item import MapiItem, RecipientType
from excise.mapi.mime_fields import (
    Field,
    address_list,
    fold,
    is_internet,
    parse_addresses,
    parse_block,
    unfold,
    unstructured,
)
from excise.mapi.tags import (
    PidNameKeywords,
    PidTagConversationIndex,
    PidTagConversationTopic,
    PidTagCreationTime,
    PidTagDisplayBcc,
    PidTagDisplayCc,
    PidTagDisplayTo,
    PidTagImportance,
    PidTagInReplyToId,
    PidTagInternetReferences,
    PidTagListHelp,
    PidTagListSubscribe,
    PidTagListUnsubscribe,
    PidTagReadReceiptRequested,
    PidTagReplyRecipientEntries,
    PidTagReplyRecipientNames,
    PidTagSensitivity,
    PropertyTag,
)

_IMPORTANCE = {0: "low", 2: "high"}
_SENSITIVITY = {1: "Personal", 2: "Private", 3: "Company-Confidential"}
_ID = re.compile(r"[!-~]{1,900}\Z")
_PEOPLE = 10_000


@dataclass(frozen=True)
class Synthesised:
    """Fields made of properties, and the addresses that stand in them."""

    fields: list[Field]
    addresses: list[Address]


def synthesised_fields(item: MapiItem, present: set[str]) -> Synthesised:
    """The fields that ``item`` has properties for, but for those whose lower-case name is in ``present``."""
    made = Synthesised([], [])
    for name, make in _MAKERS.items():
        if name.lower() in present:
            continue
        found = make(item)
        if isinstance(found, list):
            if found:
                made.fields.append(address_list(name, found))
                made.addresses.extend(found)
        elif found is not None:
            made.fields.append(found)
    return made


def author(item: MapiItem) -> Address:
    """Who wrote it, with an SMTP address from the transport headers where the properties have none."""
    return _with_smtp(item, item.representing, "from")


def _with_smtp(item: MapiItem, address: Address, header: str) -> Address:
    if is_internet(address) or not item.transport_headers:
        return address
    for one in parse_block(item.transport_headers)[0]:
        if one.name.lower() == header:
            for found in parse_addresses(unfold(one.value)):
                if "@" in found.smtp:
                    return Address(address.name or found.name, found.smtp, address.stored, address.address_type)
    return address


def _date(item: MapiItem) -> Field | None:
    moment = item.submitted or item.delivered or item.properties.time(PidTagCreationTime)
    return None if moment is None else Field("Date", format_datetime(moment))


def _from(item: MapiItem) -> list[Address]:
    address = author(item)
    return [address] if address else []


def _sender(item: MapiItem) -> list[Address]:
    sender, representing = item.sender, item.representing
    if not sender or sender.text.lower() == representing.text.lower():
        return []
    return [sender]


def _people(kind: RecipientType, names: PropertyTag) -> Callable[[MapiItem], list[Address]]:
    def make(item: MapiItem) -> list[Address]:
        people = item.recipients_of(kind)[:_PEOPLE]
        if people or item.recipients:
            return people
        # Without a recipient table the display names are all there is.
        shown = (item.properties.text(names) or "").split(";")[:_PEOPLE]
        return [
            Address("" if "@" in n else n, n if "@" in n else "", "", "SMTP") for n in (s.strip() for s in shown) if n
        ]

    return make


def _reply_to(item: MapiItem) -> list[Address]:
    """PidTagReplyRecipientEntries: a FlatEntryList ([MS-OXCDATA] 2.3.3)."""
    raw = item.properties.binary(PidTagReplyRecipientEntries) or b""
    people: list[Address] = []
    if len(raw) >= 8:
        at = 8
        for _ in range(min(struct.unpack_from("<I", raw)[0], 1000)):
            if at + 4 > len(raw):
                break
            size = struct.unpack_from("<I", raw, at)[0]
            address = parse_one_off(raw[at + 4 : at + 4 + size], item.properties.code_page)
            people += [address] if address else []
            at += 4 + size + -size % 4
    if people:
        return people
    names = (item.properties.text(PidTagReplyRecipientNames) or "").split(";")
    return [Address("", name.strip(), "", "SMTP") for name in names if "@" in name]


def _subject(item: MapiItem) -> Field:
    return unstructured("Subject", item.subject)


def _message_id(item: MapiItem) -> Field | None:
    stored = item.internet_message_id or ""
    return Field("Message-ID", stored) if _ID.match(stored) else unstructured("Message-ID", stored) if stored else None


def _ids(name: str, tag: PropertyTag) -> Callable[[MapiItem], Field | None]:
    def make(item: MapiItem) -> Field | None:
        words = (item.properties.text(tag) or "").split()[:1000]
        if not words:
            return None
        if all(_ID.match(word) for word in words):
            return Field(name, fold(words, len(name) + 2))
        return unstructured(name, " ".join(words))

    return make


def _text(name: str, tag: PropertyTag) -> Callable[[MapiItem], Field | None]:
    def make(item: MapiItem) -> Field | None:
        stored = item.properties.text(tag)
        return unstructured(name, stored) if stored else None

    return make


def _choice(name: str, tag: PropertyTag, words: dict[int, str]) -> Callable[[MapiItem], Field | None]:
    def make(item: MapiItem) -> Field | None:
        word = words.get(item.properties.integer(tag) or -1 if tag is PidTagSensitivity else _importance(item))
        return None if word is None else Field(name, word)

    return make


def _importance(item: MapiItem) -> int:
    stored = item.properties.integer(PidTagImportance)
    return 1 if stored is None else stored


def _thread_index(item: MapiItem) -> Field | None:
    stored = item.properties.binary(PidTagConversationIndex)
    if not stored or len(stored) > 4096:
        return None
    text = base64.b64encode(stored).decode("ascii")
    return Field("Thread-Index", fold([text[at : at + 60] for at in range(0, len(text), 60)], 14))


def _keywords(item: MapiItem) -> Field | None:
    words = item.properties.texts(PidNameKeywords)[:200]
    return unstructured("Keywords", ", ".join(words)) if words else None


def _receipt(item: MapiItem) -> list[Address]:
    return _from(item) if item.properties.boolean(PidTagReadReceiptRequested) else []


_MAKERS: dict[str, Callable[[MapiItem], Field | list[Address] | None]] = {
    "Date": _date,
    "From": _from,
    "Sender": _sender,
    "Reply-To": _reply_to,
    "To": _people(RecipientType.To, PidTagDisplayTo),
    "Cc": _people(RecipientType.Cc, PidTagDisplayCc),
    "Bcc": _people(RecipientType.Bcc, PidTagDisplayBcc),
    "Subject": _subject,
    "Message-ID": _message_id,
    "In-Reply-To": _ids("In-Reply-To", PidTagInReplyToId),
    "References": _ids("References", PidTagInternetReferences),
    "Thread-Topic": _text("Thread-Topic", PidTagConversationTopic),
    "Thread-Index": _thread_index,
    "Importance": _choice("Importance", PidTagImportance, _IMPORTANCE),
    "Sensitivity": _choice("Sensitivity", PidTagSensitivity, _SENSITIVITY),
    "Disposition-Notification-To": _receipt,
    "Keywords": _keywords,
    "List-Help": _text("List-Help", PidTagListHelp),
    "List-Subscribe": _text("List-Subscribe", PidTagListSubscribe),
    "List-Unsubscribe": _text("List-Unsubscribe", PidTagListUnsubscribe),
}
