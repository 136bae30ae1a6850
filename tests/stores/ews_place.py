"""What tests of the EWS store share: a server with mailboxes, and its address as the store takes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from ews.worlds import PASSWORD, SCHEMAS
from ews_server import Folder, Item, Mailbox, Quirks, Server, World, ids
from excise.model.item import Deposit
from excise.stores.ews import settings, store
from excise.stores.ews.place import Part, Place
from excise.stores.ews.server import Server as EwsServer
from excise.stores.ews.store import server_at

ADMIN = "admin@example.test"
ANNA = "anna@example.test"
_NUMBERS = itertools.count(1)


def log_in(monkeypatch: pytest.MonkeyPatch, user: str = ADMIN, password: str = PASSWORD, **more: str) -> None:
    """Set what the environment of a user of the store says."""
    for name, value in {"USER": user, "PASSWORD": password, "AUTH": "basic", **more}.items():
        monkeypatch.setenv(f"EXCISE_EWS_{name}", value)
    settings.login.cache_clear()
    # A port may have been that of another test's server, whose login was refused.
    store._SERVERS.clear()


@contextmanager
def serving(world: World, quirks: Quirks | None = None) -> Iterator[Server]:
    """A server over ``world``, whose requests and answers are held against Microsoft's schemas."""
    with Server(world, quirks=quirks, schemas=SCHEMAS) as server:
        yield server


def place_of(server: Server, address: str = ANNA, part: Part = Part.PRIMARY) -> Place:
    """The mailbox as a place."""
    return Place(f"127.0.0.1:{server.port}", address, part, plain=True)


def client_of(server: Server) -> EwsServer:
    """The store's own end of the connection, with pauses that suit a test."""
    found = server_at(place_of(server))
    found._first_pause = 0.02
    return found


def folder_at(world: World, mailbox: Mailbox, path: str) -> Folder:
    """The folder at ``path``, made where it is missing; the inbox by its English name."""
    if path in ("", "Inbox"):
        return world.find_folder(mailbox, "inbox")
    above: str | Folder = "msgfolderroot"
    for part in path.split("/"):
        children = (world.folders[number] for number in world.find_folder(mailbox, above).children)
        above = next((one for one in children if one.name == part), None) or world.folder(mailbox, above, part)
    assert isinstance(above, Folder)
    return above


def fill(world: World, mailbox: Mailbox, messages: Sequence[Deposit]) -> list[Item]:
    """Put ``messages`` into ``mailbox`` behind the store's back."""
    return [
        world.deliver(
            mailbox,
            folder_at(world, mailbox, one.folder),
            one.content,
            received=one.delivered,
            read="seen" in one.flags,
            flag_status="Flagged" if "flagged" in one.flags else "NotFlagged",
            extended={"tag:1081:Integer": ("Integer", "102")} if "answered" in one.flags else {},
        )
        for one in messages
    ]


def item_of(world: World, item_id: str) -> Item:
    """The item of the world that the server calls ``item_id``."""
    return world.items[ids.decode(item_id).number]


def new_address() -> str:
    """An address that no test has used."""
    return f"box{next(_NUMBERS)}@example.test"
