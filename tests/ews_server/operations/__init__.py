"""The operations of the server by name; each takes the call and returns the body of the answer."""

from __future__ import annotations

from collections.abc import Callable

from ..call import Call
from ..soap import Element
from . import attachments, find, folders, items, lookup

Operation = Callable[[Call], Element]

OPERATIONS: dict[str, Operation] = {
    **attachments.OPERATIONS,
    **find.OPERATIONS,
    **folders.OPERATIONS,
    **items.OPERATIONS,
    **lookup.OPERATIONS,
}
