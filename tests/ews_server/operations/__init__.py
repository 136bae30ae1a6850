"""The operations of the server by name; each takes the call and returns the body of the answer."""

from __future__ import annotations

from collections.abc import Callable

from ..call import Call
from ..soap import Element
from . import attachments, directory, find, folders, items, lookup, removal, sync, transfer

Operation = Callable[[Call], Element]

OPERATIONS: dict[str, Operation] = {
    **attachments.OPERATIONS,
    **directory.OPERATIONS,
    **find.OPERATIONS,
    **folders.OPERATIONS,
    **items.OPERATIONS,
    **lookup.OPERATIONS,
    **removal.OPERATIONS,
    **sync.OPERATIONS,
    **transfer.OPERATIONS,
}
