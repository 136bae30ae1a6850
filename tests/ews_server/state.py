"""A world in a file, so that a server that was killed comes back with what it had committed.

Each object is a row; a request's changes are one transaction, and so are those of half a request where a fault kills
the server in its midst. What a killed process wrote stays, as the system has it; a power cut is not meant.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from .model import DistributionList, Folder, Item, Mailbox, Sent, User
from .plain import from_plain, to_plain
from .world import World

_KINDS = {
    "user": User,
    "mailbox": Mailbox,
    "list": DistributionList,
    "folder": Folder,
    "item": Item,
    "sent": Sent,
}


class State:
    """The file of a world. `commit` writes what changed since the last time."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS objects (kind TEXT, key TEXT, data TEXT, PRIMARY KEY (kind, key))"
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def commit(self, world: World) -> None:
        """Write all that changed."""
        with world.lock:
            rows = [self._row(world, kind, key) for kind, key in sorted(world.changed, key=str)]
            rows.append(("counters", "", json.dumps(world.counters)))
            self._database.execute("BEGIN IMMEDIATE")
            for kind, name, data in rows:
                if data is None:
                    self._database.execute("DELETE FROM objects WHERE kind = ? AND key = ?", (kind, name))
                else:
                    self._database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (kind, name, data))
            self._database.execute("COMMIT")
            world.changed.clear()

    @staticmethod
    def _row(world: World, kind: str, key: str | int) -> tuple[str, str, str | None]:
        if kind == "sent":
            found: object | None = world.sent[int(key)]
        else:
            found = _table(world, kind).get(key)
        data = None if found is None else json.dumps({name: to_plain(value) for name, value in vars(found).items()})
        return kind, str(key), data

    def load(self) -> World:
        """The world of the file, as it was last committed."""
        world = World()
        for kind, key, data in self._database.execute("SELECT kind, key, data FROM objects"):
            if kind == "counters":
                world.counters = json.loads(data)
                continue
            made = _KINDS[kind](**{name: from_plain(value) for name, value in json.loads(data).items()})
            if isinstance(made, Sent):
                world.sent.append(made)
            else:
                _table(world, kind)[int(key) if kind in ("folder", "item") else key] = made
        for user in list(world.users.values()):
            world.users.setdefault(user.address, user)
        world.guids = {mailbox.guid for mailbox in world.mailboxes.values()}
        return world


def _table(world: World, kind: str) -> dict[str | int, object]:
    tables: dict[str, object] = {
        "user": world.users,
        "mailbox": world.mailboxes,
        "list": world.lists,
        "folder": world.folders,
        "item": world.items,
    }
    return tables[kind]  # type: ignore[return-value]
