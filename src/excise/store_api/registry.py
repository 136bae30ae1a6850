"""Which stores there are.

Built-in stores stand in a table, loaded when first asked for; others come by the entry point group ``excise.stores``
(name = kind, object = a ``Store``) and cannot take a built-in one's name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points

from excise.core.errors import UsageError
from excise.store_api.protocols import Store

GROUP = "excise.stores"

#: kind -> module that holds the store as ``STORE``. The order is that in which a path is offered to them.
BUILT_IN = {
    "mbox": "excise.stores.mbox",
    "maildir": "excise.stores.maildir",
    "pst": "excise.stores.pst",
    "eml": "excise.stores.eml",
    "ews": "excise.stores.ews",
    "memory": "excise.stores.memory",
}


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of store that can be used, built-in ones first."""
    others = sorted(point.name for point in entry_points(group=GROUP) if point.name not in BUILT_IN)
    return (*BUILT_IN, *others)


@cache
def store(kind: str) -> Store:
    """The store of ``kind``. An unknown kind is a UsageError."""
    if kind in BUILT_IN:
        found = importlib.import_module(BUILT_IN[kind]).STORE
    else:
        points = [point for point in entry_points(group=GROUP) if point.name == kind]
        if not points:
            raise UsageError(f"there is no store of the kind {kind!r}", hint=f"Known kinds: {', '.join(kinds())}.")
        found = points[0].load()
    if not isinstance(found, Store):
        raise UsageError(f"the plug-in for {kind!r} does not offer a store", hint="See docs/reference/stores.md.")
    return found


def stores() -> Iterator[tuple[str, Store]]:
    """Every store with its kind."""
    for kind in kinds():
        yield kind, store(kind)
