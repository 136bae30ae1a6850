"""One part of one mailbox as requests are made for it: in whose name, by which server, with which account.

Two accounts may share the work: one that finds, copies and looks, and one that removes and puts back. What only reads
goes by the first, everything else by the second; neither ever stands in for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from excise.stores.ews.place import Access, Part, Place
from excise.stores.ews.server import Server
from excise.stores.ews.soap import Answer, Body, Reply

#: What changes nothing. An operation that is not among these goes by the account that writes.
READING = frozenset(
    {
        "ExpandDL",
        "ExportItems",
        "FindFolder",
        "FindItem",
        "FindPeople",
        "GetAttachment",
        "GetFolder",
        "GetItem",
        "ResolveNames",
    }
)


class Account:
    """``place`` on ``server``, opened with ``access``; what changes it goes by ``writer``, with its own access.

    Without a ``writer`` nothing can be changed.
    """

    def __init__(
        self,
        place: Place,
        server: Server,
        access: Access,
        writer: Server | None = None,
        writer_access: Access | None = None,
    ) -> None:
        """Nothing is sent yet."""
        self.place, self.server, self.access = place, server, access
        #: How often this account has asked for something.
        self.asked = 0
        self._writer = writer
        self._owner = _owner(place, access)
        self._writer_owner = _owner(place, writer_access or access)

    @property
    def folder_owner(self) -> str:
        """The address that goes with distinguished ids; empty where they are those of the one who asks."""
        return "" if self._owner or self.place.part is Part.PUBLIC else self.place.address

    def enter(self) -> None:
        """The mailbox was opened: connections are kept for as long as one is."""
        for server in self._servers():
            server.enter()

    def leave(self) -> None:
        """It was closed."""
        for server in self._servers():
            server.leave()

    def call(self, operation: str, body: Body, *, expected: int | None = None, acts: bool = False) -> Reply:
        """Ask for ``operation``; see ``Server.call``."""
        server, owner = self._way(operation)
        return server.call(operation, body, mailbox=self.place.address, owner=owner, expected=expected, acts=acts)

    def each(
        self, operation: str, keys: Sequence[str], body_of: Callable[[Sequence[str]], Body], *, acts: bool = False
    ) -> dict[str, Answer]:
        """Ask for ``operation`` on every key; see ``Server.each``."""
        server, owner = self._way(operation)
        return server.each(operation, keys, body_of, mailbox=self.place.address, owner=owner, acts=acts)

    def _way(self, operation: str) -> tuple[Server, str]:
        self.asked += 1
        if operation in READING:
            return self.server, self._owner
        if self._writer is None:
            raise AssertionError(f"{operation} is asked for a mailbox that was opened for reading only")
        return self._writer, self._writer_owner

    def _servers(self) -> set[Server]:
        return {self.server} if self._writer is None else {self.server, self._writer}


def _owner(place: Place, access: Access) -> str:
    return place.address if access is Access.IMPERSONATION and place.part is not Part.PUBLIC else ""
