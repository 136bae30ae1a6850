"""Rights that reach further than the scope of a plan: told before anything is removed, refused only by a policy.

Of servers the store tells (``Reaching``). Of files: who else may write where they lie, and what we may do beyond them.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from excise.engine.accounts import WRITES
from excise.model.item import Action
from excise.policy.effective import Effective, PolicyRefused
from excise.store_api import registry
from excise.store_api.discovery import Scope
from excise.store_api.protocols import HasAccounts, MailboxInfo, Reaching

_NAMED = 3


def reach_of(policy: Effective, action: Action, scope: Scope) -> list[str]:
    """What reaches further than ``action`` on the mailboxes of ``scope`` needs, in words; PolicyRefused where the
    policy wants rights that do not."""
    found = [*_of_files(scope), *_of_servers(policy, action, scope)]
    if found and policy.policy.rights_within_scope:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PolicyRefused(
            f"{policy.origin('rights_within_scope')}: rights_within_scope: {found[0]}{more}",
            hint="Nothing was removed. Have the rights cut down to what this work needs (docs/guide/exchange.md).",
        )
    return found


def _of_servers(policy: Effective, action: Action, scope: Scope) -> Iterator[str]:
    """What stores say of their servers, one question a server."""
    servers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for info in scope.mailboxes:
        store = registry.store(info.kind)
        if isinstance(store, Reaching):
            server = store.accounts(info.locator).server if isinstance(store, HasAccounts) else ""
            servers[info.kind, server].append(info.locator)
    for (kind, server), locators in servers.items():
        store = registry.store(kind)
        if isinstance(store, Reaching):
            told = store.reach(locators, policy.policy.canaries, writes=action in WRITES)
            yield from (f"{server}: {words}" for words in told if words)


def _of_files(scope: Scope) -> Iterator[str]:
    """What may be said of mailboxes that are files."""
    files = [info for info in scope.mailboxes if registry.store(info.kind).capabilities.local_files]
    if not files:
        return
    if os.geteuid() == 0:
        yield "this runs as root, who may change every file here: a user who may change these mailboxes alone is enough"
    if scope.left_out:
        yield (
            f"the sources hold {scope.left_out:,} mailboxes besides the {len(scope.mailboxes):,} that are named, and "
            "this user may open them as well: name the mailboxes' own files, or work as a user who may open no other"
        )
    open_to_all = sorted({str(place) for info in files if (place := _open_place(info)) is not None})
    if open_to_all:
        named = ", ".join(open_to_all[:_NAMED]) + (" and others" if len(open_to_all) > _NAMED else "")
        yield f"everybody may write to what the mailboxes are, or lie in: {named}"


def _open_place(info: MailboxInfo) -> Path | None:
    """The mailbox, or the directory that it lies in, where everybody may put something else in its place."""
    path = Path(info.locator.partition(":")[2])
    for place in (path, path.parent):
        try:
            mode = place.stat().st_mode
        except (OSError, ValueError):
            continue  # a mailbox in an archive, or in memory: the directory above it is asked
        if mode & stat.S_IWOTH and not (mode & stat.S_ISVTX):
            return place
    return None
