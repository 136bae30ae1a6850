"""One part of one mailbox as requests are made for it: in whose name, and by which server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from excise.stores.ews.place import Access, Part, Place
from excise.stores.ews.server import Server
from excise.stores.ews.soap import Answer, Body, Reply


class Account:
    """``place`` on ``server``, opened with ``access``."""

    def __init__(self, place: Place, server: Server, access: Access) -> None:
        """Nothing is sent yet."""
        self.place, self.server, self.access = place, server, access
        #: How often this account has asked for something.
        self.asked = 0
        self._owner = place.address if access is Access.IMPERSONATION and place.part is not Part.PUBLIC else ""

    @property
    def folder_owner(self) -> str:
        """The address that goes with distinguished ids; empty where they are those of the one who asks."""
        return "" if self._owner or self.place.part is Part.PUBLIC else self.place.address

    def call(self, operation: str, body: Body, *, expected: int | None = None, acts: bool = False) -> Reply:
        """Ask for ``operation``; see ``Server.call``."""
        self.asked += 1
        return self.server.call(
            operation, body, mailbox=self.place.address, owner=self._owner, expected=expected, acts=acts
        )

    def each(
        self, operation: str, keys: Sequence[str], body_of: Callable[[Sequence[str]], Body], *, acts: bool = False
    ) -> dict[str, Answer]:
        """Ask for ``operation`` on every key; see ``Server.each``."""
        self.asked += 1
        return self.server.each(operation, keys, body_of, mailbox=self.place.address, owner=self._owner, acts=acts)
