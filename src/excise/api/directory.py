"""Which mailboxes a directory knows: what ``--directory`` and a profile's ``[directory]`` come to.

For stores of mailboxes that have addresses: the addresses are what such a store opens::

    settings = DirectorySettings("ldaps://dc1.example.com", user="reader@example.com", databases=("DB01",))
    found = find_recipients(settings, password)
    found.addresses                      # ("anna@example.com", …)
    found.mailboxes[0].type, found.mailboxes[0].hidden

A mail server with an address book of its own is asked in the same way: ``DirectorySettings("ews://mail.example.com")``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from excise.core.errors import SourceUnavailable, UsageError
from excise.core.text import shown
from excise.model.recipient import Recipient, Recipients, RecipientType
from excise.store_api.protocols import KnowsAddresses
from excise.store_api.registry import kinds, store


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """Where the directory is, who asks, and what is listed: all mailboxes that fit each of ``base``, ``filter``,
    ``databases`` and ``servers``. ``ca``: a file of certificates to trust instead of the system's."""

    url: str
    user: str = ""
    ca: Path | None = None
    base: str = ""
    filter: str = ""
    databases: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()

    @property
    def limits(self) -> bool:
        """False where every mailbox of the directory would be listed."""
        return bool(self.base or self.filter or self.databases or self.servers)


def find_recipients(
    settings: DirectorySettings, password: str = "", names: Sequence[str] = (), places: Mapping[str, str] | None = None
) -> Recipients:
    """The mailboxes that ``names`` mean (addresses, legacy distinguished names, aliases; groups are expanded), or
    those listed where no names are given. ``places``: name -> where it is written, for errors and sources.

    Raises ``UsageError``, ``Unauthorised`` or ``SourceUnavailable``; one that finds no mailbox at all is an error too,
    since no mailboxes must never come to mean all (S03).
    """
    if is_server(settings.url):
        found = _of_server(settings, names, places)
        return _checked(found, settings.url)
    try:
        from excise.ldap.client import Login, connect, parse_url
        from excise.ldap.directory import Directory, Wanted
    except ImportError as error:
        raise UsageError(
            "directories need the package ldap3, which is not installed", hint="pip install 'excise[ldap]'"
        ) from error
    place = parse_url(settings.url)
    with connect(place, Login(settings.user, password), settings.ca) as client:
        directory = Directory(client)
        if names:
            found = directory.resolve(names, places)
        else:
            wanted = Wanted(settings.base, settings.filter, settings.databases, settings.servers)
            found = directory.mailboxes(wanted)
    return _checked(found, place.url)


def _checked(found: Recipients, url: str) -> Recipients:
    if not found.mailboxes:
        lines = [*found.passed_over, *(f"{name}: {why}" for name, why in found.unread)]
        raise SourceUnavailable(
            f"{shown(url)}: no mailbox is meant; {len(lines)} entries were passed over"
            + "".join(f"\n  {line}" for line in lines[:10]),
            hint="Check the names, the filter, the database and the server.",
        )
    return found


def is_server(url: str) -> bool:
    """True where ``url`` names a mail server that has an address book, and no directory over LDAP."""
    kind = url.partition(":")[0]
    return kind in kinds() and isinstance(store(kind), KnowsAddresses)


def check_settings(settings: DirectorySettings) -> None:
    """UsageError where a mail server is asked for what only a directory over LDAP can answer."""
    of_ldap, name = settings.limits or settings.user or settings.ca, directory_name(settings.url)
    if is_server(settings.url) and of_ldap:
        raise UsageError(
            f"{name}: base, filter, database, server, user and CA go with directories over LDAP",
            hint="A mail server is asked with its own login: name mailboxes and lists, or say --all-mailboxes.",
        )


def _of_server(settings: DirectorySettings, names: Sequence[str], places: Mapping[str, str] | None) -> Recipients:
    check_settings(settings)
    server = store(settings.url.partition(":")[0])
    assert isinstance(server, KnowsAddresses)  # noqa: S101 - for the type checker
    book = server.address_book(settings.url)
    return book.resolve(names, places) if names else book.mailboxes()


def directory_name(url: str) -> str:
    """How a directory is shown and named in the keyring: without base."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{shown(parts.netloc.rpartition('@')[2])}"


__all__ = [
    "DirectorySettings",
    "Recipient",
    "RecipientType",
    "Recipients",
    "check_settings",
    "directory_name",
    "find_recipients",
    "is_server",
]
