"""Contacts and distribution lists as vCard (RFC 6350; [MS-OXOCNTC], [MS-OXVCARD])."""

from __future__ import annotations

from excise.mapi.addresses import Address, parse_one_off
from excise.mapi.icalendar import escape, fold_line
from excise.mapi.item import MapiItem
from excise.mapi.mime_entity import Entity, text_entity
from excise.mapi.mime_fields import is_internet
from excise.mapi.tags import (
    PidLidDistributionListOneOffMembers,
    PidLidEmail1EmailAddress,
    PidLidEmail2EmailAddress,
    PidLidEmail3EmailAddress,
    PidTagBirthday,
    PidTagBusinessFaxNumber,
    PidTagBusinessTelephoneNumber,
    PidTagCompanyName,
    PidTagCountry,
    PidTagDepartmentName,
    PidTagDisplayName,
    PidTagDisplayNamePrefix,
    PidTagGeneration,
    PidTagGivenName,
    PidTagHomeTelephoneNumber,
    PidTagLocality,
    PidTagMiddleName,
    PidTagMobileTelephoneNumber,
    PidTagPostalCode,
    PidTagStateOrProvince,
    PidTagStreetAddress,
    PidTagSurname,
    PidTagTitle,
    PropertyTag,
)

_NAME = (PidTagSurname, PidTagGivenName, PidTagMiddleName, PidTagDisplayNamePrefix, PidTagGeneration)
_PHONES = {
    PidTagBusinessTelephoneNumber: "work,voice",
    PidTagHomeTelephoneNumber: "home,voice",
    PidTagMobileTelephoneNumber: "cell",
    PidTagBusinessFaxNumber: "work,fax",
}
_PLACE = (PidTagStreetAddress, PidTagLocality, PidTagStateOrProvince, PidTagPostalCode, PidTagCountry)
_EMAILS = (PidLidEmail1EmailAddress, PidLidEmail2EmailAddress, PidLidEmail3EmailAddress)
_MEMBERS = 10_000


def contact_part(item: MapiItem) -> Entity | None:
    """A text/vcard part for a contact or a distribution list, else None."""
    upper = item.message_class.upper()
    if upper == "IPM.CONTACT" or upper.startswith("IPM.CONTACT."):
        lines = _contact(item)
    elif upper == "IPM.DISTLIST" or upper.startswith("IPM.DISTLIST."):
        lines = _group(item)
    else:
        return None
    whole = ["BEGIN:VCARD", "VERSION:4.0", *lines, "END:VCARD"]
    return text_entity("vcard", "".join(fold_line(line) for line in whole).encode("utf-8", "replace"), "utf-8")


def distribution_list_members(item: MapiItem) -> list[Address]:
    """The members of a distribution list, from PidLidDistributionListOneOffMembers ([MS-OXOCNTC] 2.2.2.2.2)."""
    entries = item.properties.binaries(PidLidDistributionListOneOffMembers)[:_MEMBERS]
    found = (parse_one_off(entry, item.properties.code_page) for entry in entries)
    return [address for address in found if address is not None]


def _contact(item: MapiItem) -> list[str]:
    bag = item.properties
    lines = [f"FN:{_text(item, PidTagDisplayName) or escape(item.subject)}"]
    lines.append("N:" + ";".join(_text(item, tag) for tag in _NAME))
    organisation = [_text(item, tag) for tag in (PidTagCompanyName, PidTagDepartmentName)]
    lines += [f"ORG:{';'.join(organisation)}"] if any(organisation) else []
    title = _text(item, PidTagTitle)
    lines += [f"TITLE:{title}"] if title else []
    for tag, kind in _PHONES.items():
        number = _text(item, tag)
        lines += [f'TEL;VALUE=text;TYPE="{kind}":{number}'] if number else []
    lines += [f"EMAIL:{escape(text)}" for name in _EMAILS for text in [bag.text(name)] if text]
    place = [_text(item, tag) for tag in _PLACE]
    lines += [f"ADR:;;{';'.join(place)}"] if any(place) else []
    birthday = bag.time(PidTagBirthday)
    return [*lines, f"BDAY:{birthday.year:04}{birthday:%m%d}"] if birthday else lines


def _group(item: MapiItem) -> list[str]:
    lines = ["KIND:group", f"FN:{_text(item, PidTagDisplayName) or escape(item.subject)}"]
    for member in distribution_list_members(item):
        if is_internet(member):
            lines.append(f"MEMBER:mailto:{member.smtp}")
        else:
            lines.append(f"NOTE:{escape(f'member without an Internet address: {member.name} {member.stored}')}")
    return lines


def _text(item: MapiItem, tag: PropertyTag) -> str:
    return escape((item.properties.text(tag) or "").strip())
