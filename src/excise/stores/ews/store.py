"""The store of mailboxes on Exchange servers. Loaded with every command, so that it loads nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from excise.core.errors import ExciseError, UsageError
from excise.model.item import Disposal
from excise.model.recipient import AddressList
from excise.store_api.protocols import Accounts, Capabilities, Mailbox, MailboxInfo, Measure, NotSearched, Store
from excise.stores.ews.place import KIND, Access, Part, Place, is_address

if TYPE_CHECKING:
    from excise.stores.ews.account import Account
    from excise.stores.ews.server import Server
    from excise.stores.ews.settings import Login

_SERVERS: dict[tuple[str, bool], Server] = {}
#: What Autodiscover said, or why it failed: a login that was refused is not tried again.
_FOUND: dict[str, str | ExciseError] = {}
_ASKED: set[str] = set()
_LOCK = threading.Lock()


class EwsStore:
    """Mailboxes on Exchange servers; all that are opened on one server share its login and its connections."""

    @property
    def capabilities(self) -> Capabilities:
        """All disposals, and putting."""
        from excise.stores.ews.settings import jobs_wanted

        disposals = frozenset({Disposal.TRASH, Disposal.SOFT, Disposal.HARD})
        return Capabilities(KIND, disposals, can_put=True, local_files=False, main_folder="Inbox", jobs=jobs_wanted())

    def claims(self, path: Path, head: bytes) -> bool:
        """False: no file is a server."""
        del path, head
        return False

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The mailbox that ``locator`` names."""
        place = _found(Place.parse(locator))
        if not place.address and place.part is not Part.PUBLIC:
            raise UsageError(
                f"{locator}: name the mailboxes of this server",
                hint="Add --mailbox ann@example.com, or --mailboxes FILE; for a list or everybody, --directory ews://HOST.",
            )
        yield _probe(place)

    def named(self, locator: str, names: Sequence[str], parts: Sequence[str]) -> Iterator[MailboxInfo | NotSearched]:
        """The ``parts`` (none: what the locator says) of the mailboxes with the addresses ``names``, in their order."""
        from excise.stores.ews.settings import jobs_wanted

        server = _found(Place.parse(locator))
        if names and not Place.parse(locator).host:
            # The address only says which server is meant.
            server = server.of("", server.part)
        try:
            chosen = [Part(part) for part in parts] or [server.part]
        except ValueError as error:
            raise UsageError(f"--parts: {error}", hint=f"Known parts: {', '.join(Part)}.") from error
        asked = dict.fromkeys(name.lower() for name in names if is_address(name))
        addresses = [server.address] if server.address else list(asked)
        if names and server.address not in ("", *asked):
            return
        wanted = [server.of(address, part) for address in addresses for part in chosen if part is not Part.PUBLIC]
        wanted += [server.of("", Part.PUBLIC)] if Part.PUBLIC in chosen else []
        if not wanted:
            yield from self.mailboxes(server.locator)
            return
        # The first one proves the login; the others then go side by side.
        yield _probe(wanted[0])
        with ThreadPoolExecutor(jobs_wanted() or 1) as pool:
            yield from pool.map(_probe, wanted[1:])

    def measure(self, info: MailboxInfo) -> Measure:
        """How many items and bytes a part of a mailbox holds, by what its folders say."""
        from excise.stores.ews.measuring import measure

        return measure(_account(Place.parse(info.locator)))

    def address_book(self, locator: str) -> AddressList:
        """The server's address book, asked in the name of the mailbox that ``locator`` names, if it names one."""
        from excise.stores.ews.address_book import EwsAddressBook

        return EwsAddressBook(_account_of(Place.parse(locator), writes=False))

    def open(self, locator: str, *, writable: bool = False) -> Mailbox:
        """Open one part of one mailbox."""
        from excise.stores.ews.mailbox import EwsMailbox

        return EwsMailbox(_account(_found(Place.parse(locator)), writable=writable), writable=writable)

    def accounts(self, locator: str) -> Accounts:
        """Who finds and who removes on a server; nothing is sent."""
        from excise.stores.ews.settings import account_name

        server = f"{KIND}://{Place.parse(locator).host}"
        return Accounts(server, account_name(), account_name(writes=True))

    def try_writer(self, locator: str) -> str:
        """Log the account that removes in, by a look at a mailbox's root; why it may not open it, where it may not."""
        from excise.stores.ews.reach import try_account

        place = Place.parse(locator)
        return try_account(_account_of(place, writes=True))

    def reach(self, locators: Sequence[str], canaries: Sequence[str], *, writes: bool) -> Iterator[str]:
        """Rights beyond the scope: on canaries, and of the account that finds, to change what it finds."""
        import os

        from excise.stores.ews import reach

        places = [Place.parse(locator) for locator in locators]
        named = [*canaries, *os.environ.get("EXCISE_EWS_CANARY", "").replace(",", " ").split()]
        tried, said = reach.choose_canaries(named, [place.address for place in places])
        yield from said
        accounts = self.accounts(locators[0])
        second = writes and accounts.separate
        if tried and second and not _can_log_in(places[0]):
            yield f"whether {accounts.writes} may open {tried[0]} was not tried, since its password is not here"
            second = False
        for who, is_second in ((accounts.reads, False), (accounts.writes, True))[: 1 + second]:
            for canary in tried:
                place = places[0].of(canary, Part.PRIMARY)
                yield reach.beyond(_account_of(place, writes=is_second), who, canary)
        finder = _account_of(places[0], writes=False)
        # With one account alone, impersonation is all or nothing: that was known when it was granted.
        if places[0].address and (accounts.separate or (finder.access is Access.DELEGATE and not writes)):
            yield reach.needless(finder, accounts.reads)


def _can_log_in(place: Place) -> bool:
    """True where the account that removes has logged in, or can without a person being asked."""
    from excise.stores.ews.settings import remover_is_ready

    return (place.url, True) in _SERVERS or remover_is_ready(place.host)


def _probe(place: Place) -> MailboxInfo | NotSearched:
    """The mailbox, or why it cannot be opened; a part that a mailbox does not have is no failure."""
    from excise.stores.ews.codes import NO_FOLDER
    from excise.stores.ews.mailbox import info_of
    from excise.stores.ews.server import Refusal
    from excise.stores.ews.tree import read_probe

    try:
        account = _account(place)
        return info_of(account, *read_probe(account))
    except Refusal as refused:
        if place.part is not Part.PRIMARY and refused.code in NO_FOLDER:
            return NotSearched(place.name, f"there is no such part: {refused.code}", 0)
        return NotSearched(place.name, refused.text(), refused.exit_code)
    except UsageError:
        raise
    except ExciseError as error:
        return NotSearched(place.name, error.text(), error.exit_code)


def _account(place: Place, *, writable: bool = False) -> Account:
    from excise.stores.ews.account import Account
    from excise.stores.ews.settings import read_settings

    if not place.address and place.part is not Part.PUBLIC:
        raise UsageError(f"{place.locator}: this is a server and no mailbox", hint="Name a mailbox with --mailbox.")
    access = place.access or read_settings().access
    if not writable:
        return Account(place, server_at(place), access)
    return Account(place, server_at(place), access, server_at(place, writes=True), read_settings(writes=True).access)


def _found(place: Place) -> Place:
    """``place`` on its server: the one that Autodiscover finds where none is named. Asked once in a process."""
    if place.host:
        return place
    from excise.stores.ews.autodiscover import discover
    from excise.stores.ews.server import Server
    from excise.stores.ews.settings import login, read_settings

    key = place.address + place.port
    domain = place.address.rpartition("@")[2]

    def log_in() -> Login:
        _ASKED.add(key)
        return login(domain)

    with _LOCK:
        if key not in _FOUND:
            try:
                _FOUND[key] = discover(place.address, place.port, log_in, read_settings())
            except ExciseError as error:
                _FOUND[key] = error
        found = _FOUND[key]
        if isinstance(found, ExciseError):
            raise found
        placed = place.on(found)
        # Whose password was asked for is not asked again.
        if (placed.url, False) not in _SERVERS and key in _ASKED:
            _SERVERS[placed.url, False] = Server(placed.url, login(domain), read_settings())
    return placed


def _account_of(place: Place, *, writes: bool) -> Account:
    """The mailbox as one of the two accounts opens it, to look at."""
    from excise.stores.ews.account import Account
    from excise.stores.ews.settings import read_settings

    return Account(place, server_at(place, writes=writes), place.access or read_settings(writes=writes).access)


def server_at(place: Place, *, writes: bool = False) -> Server:
    """The one object for the server of ``place`` in this process, with the login that finds, or that removes."""
    from excise.stores.ews.server import Server
    from excise.stores.ews.settings import has_remover, login, read_settings

    second = writes and has_remover()
    with _LOCK:
        key = (place.url, second)
        if key not in _SERVERS:
            _SERVERS[key] = Server(place.url, login(place.host, writes=second), read_settings(writes=second))
        return _SERVERS[key]


STORE: Store = EwsStore()
