"""What an entry of the directory says of a recipient, in Exchange's schema."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from excise.model.recipient import Recipient, RecipientType

ATTRIBUTES = (
    "objectClass",
    "displayName",
    "cn",
    "mail",
    "mailNickname",
    "sAMAccountName",
    "userPrincipalName",
    "proxyAddresses",
    "legacyExchangeDN",
    "homeMDB",
    "msExchRecipientTypeDetails",
    "msExchHideFromAddressLists",
    "msExchMailboxGuid",
    "userAccountControl",
    "msExchDynamicDLFilter",
    "msExchDynamicDLBaseDN",
)
_ACCOUNT_DISABLED = 0x0002  # ADS_UF_ACCOUNTDISABLE
#: msExchRecipientTypeDetails; what is not here is OTHER.
_TYPES = {
    1 << 0: RecipientType.USER,
    1 << 1: RecipientType.LINKED,
    1 << 2: RecipientType.SHARED,
    1 << 3: RecipientType.LEGACY,
    1 << 4: RecipientType.ROOM,
    1 << 5: RecipientType.EQUIPMENT,
    1 << 6: RecipientType.CONTACT,
    1 << 7: RecipientType.CONTACT,
    1 << 8: RecipientType.GROUP,
    1 << 9: RecipientType.GROUP,
    1 << 10: RecipientType.GROUP,
    1 << 11: RecipientType.DYNAMIC_GROUP,
    1 << 12: RecipientType.PUBLIC_FOLDER,
    1 << 13: RecipientType.SYSTEM,
    1 << 14: RecipientType.SYSTEM,
    1 << 15: RecipientType.CONTACT,
    1 << 23: RecipientType.SYSTEM,  # arbitration
    1 << 29: RecipientType.SYSTEM,  # discovery
    1 << 31: RecipientType.REMOTE,
    1 << 33: RecipientType.REMOTE,
    1 << 34: RecipientType.REMOTE,
    1 << 35: RecipientType.REMOTE,
    1 << 36: RecipientType.PUBLIC_FOLDER,
    1 << 37: RecipientType.TEAM,
    1 << 38: RecipientType.REMOTE,
    1 << 39: RecipientType.SYSTEM,  # monitoring
    1 << 40: RecipientType.GROUP,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its distinguished name and its attributes, as bytes, under their names in lower case."""

    dn: str
    attributes: Mapping[str, list[bytes]]

    def texts(self, name: str) -> list[str]:
        """The values of an attribute as text."""
        return [value.decode("utf-8", "replace") for value in self.attributes.get(name.lower(), [])]

    def text(self, name: str) -> str:
        """Its first value; empty where there is none."""
        return next(iter(self.texts(name)), "")

    def number(self, name: str) -> int | None:
        """Its first value as a number."""
        text = self.text(name)
        return int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else None

    @property
    def type(self) -> RecipientType:
        """What it is: by its type details, else (Exchange 2003 had none) by its classes and its database."""
        details = self.number("msExchRecipientTypeDetails")
        if details is not None:
            return _TYPES.get(details, RecipientType.OTHER)
        classes = {name.lower() for name in self.texts("objectClass")}
        if "msexchdynamicdistributionlist" in classes:
            return RecipientType.DYNAMIC_GROUP
        if classes & {"group", "groupofnames"}:
            return RecipientType.GROUP
        if "publicfolder" in classes:
            return RecipientType.PUBLIC_FOLDER
        if self.text("homeMDB"):
            return RecipientType.USER
        return RecipientType.CONTACT if self.address else RecipientType.OTHER

    @property
    def address(self) -> str:
        """The primary SMTP address: the one behind ``SMTP:`` in capitals, else ``mail``; empty where it has none."""
        primary = next((text[5:] for text in self.texts("proxyAddresses") if text.startswith("SMTP:")), "")
        return primary or self.text("mail")

    def recipient(self, source: str) -> Recipient:
        """The entry as a recipient."""
        hidden = self.text("msExchHideFromAddressLists").upper() == "TRUE"
        account = self.number("userAccountControl")
        return Recipient(
            self.address,
            self.text("displayName") or self.text("cn"),
            self.type,
            hidden,
            None if account is None else bool(account & _ACCOUNT_DISABLED),
            source,
            self.text("legacyExchangeDN"),
            self.text("homeMDB"),
            _guid(self.attributes.get("msexchmailboxguid", [])),
        )

    def is_called(self, name: str) -> bool:
        """True where ``filters.named(name)`` means this entry."""
        key = name.casefold()
        proxies = {text.casefold() for text in self.texts("proxyAddresses")}
        if name.startswith("/"):
            return self.text("legacyExchangeDN").casefold() == key or f"x500:{key}" in proxies
        own = ("mail", "userPrincipalName") if "@" in name else ("mailNickname", "sAMAccountName")
        return (
            self.dn.casefold() == key
            or ("@" in name and f"smtp:{key}" in proxies)
            or any(self.text(attribute).casefold() == key for attribute in own)
        )


def _guid(values: list[bytes]) -> str:
    """An octet string of 16 bytes as Exchange writes a GUID."""
    return str(uuid.UUID(bytes_le=values[0])) if values and len(values[0]) == 16 else ""
