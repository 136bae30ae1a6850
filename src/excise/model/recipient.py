"""Who has a mailbox: what a directory, an address list or an expanded group comes to, whichever system it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class RecipientType(StrEnum):
    """What a recipient is, by the names of Exchange's own tools; ``mailbox`` where its type is not known."""

    USER = "user"
    MAILBOX = "mailbox"
    LINKED = "linked"
    LEGACY = "legacy"
    SHARED = "shared"
    ROOM = "room"
    EQUIPMENT = "equipment"
    TEAM = "team"
    SYSTEM = "system"
    REMOTE = "remote"
    GROUP = "group"
    DYNAMIC_GROUP = "dynamic group"
    CONTACT = "contact"
    PUBLIC_FOLDER = "public folder"
    OTHER = "other"

    @property
    def has_mailbox(self) -> bool:
        """True where people's mail lies in a mailbox of this directory's own servers."""
        return self in _WITH_MAILBOX


_WITH_MAILBOX = frozenset(
    {
        RecipientType.USER,
        RecipientType.MAILBOX,
        RecipientType.LINKED,
        RecipientType.LEGACY,
        RecipientType.SHARED,
        RecipientType.ROOM,
        RecipientType.EQUIPMENT,
        RecipientType.TEAM,
    }
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """One mailbox that an address book knows.

    ``address``: the primary SMTP address, as the directory writes it. ``hidden``: left out of the address lists;
    ``disabled``: its account cannot log in, as those of shared mailboxes and rooms never can; None where that is not
    known. ``source``: where it comes from, in words. ``guid``: the mailbox's GUID as text (S30), ``legacy_dn`` and
    ``database`` as the directory has them; empty where it has none.
    """

    address: str
    display: str
    type: RecipientType
    hidden: bool | None
    disabled: bool | None
    source: str
    legacy_dn: str = ""
    database: str = ""
    guid: str = ""

    @property
    def marks(self) -> str:
        """What sets it apart, in words."""
        return ", ".join(word for word, said in (("hidden", self.hidden), ("disabled", self.disabled)) if said)


@dataclass(slots=True)
class Recipients:
    """What names or a listing came to: mailboxes, each once, in the order found; what has none here, and why.

    ``unread``: what may stand for mailboxes that nobody could tell us of (a list that cannot be expanded), each with
    the reason: no scope that it belongs to was searched whole.
    """

    mailboxes: list[Recipient] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, found: Recipient) -> None:
        """Add ``found`` unless its address is there already."""
        key = found.address.casefold()
        if key not in self._seen:
            self._seen.add(key)
            self.mailboxes.append(found)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the mailboxes."""
        return tuple(found.address for found in self.mailboxes)


class AddressBook(Protocol):
    """What turns names into mailboxes."""

    def resolve(self, names: Sequence[str], places: Mapping[str, str] | None = None) -> Recipients:
        """The mailboxes that ``names`` mean: SMTP addresses, legacy distinguished names, names of groups, which are
        expanded. A name that is not known, or that fits more than one entry, is an error: nothing is left out in
        silence. ``places``: name -> where it is written, for errors and for ``source``."""


class AddressList(AddressBook, Protocol):
    """An address book that can be listed."""

    def mailboxes(self) -> Recipients:
        """Every mailbox that it lists; an error where it cannot be listed whole."""
