"""Items of a mailbox, what may happen to them, and what did (S16: outcomes are never merged)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from excise.mapi.item import MapiItem


class Action(StrEnum):
    """What a plan is for."""

    COPY = "copy"
    MOVE = "move"
    PURGE = "purge"
    RESTORE = "restore"
    IMPORT = "import"

    @property
    def removes(self) -> bool:
        """True where items leave the source."""
        return self in (Action.MOVE, Action.PURGE)

    @property
    def preserves(self) -> bool:
        """True where items are copied into evidence."""
        return self in (Action.COPY, Action.MOVE, Action.PURGE)


class Disposal(StrEnum):
    """What becomes of an item at its source."""

    COPY = "copy"
    TRASH = "trash"
    SOFT = "soft"
    HARD = "hard"


class Outcome(StrEnum):
    """How it ended for one item. ``finished_well`` tells which need nobody's attention."""

    COPIED = "copied"
    REMOVED = "removed"
    RESTORED = "restored"
    IMPORTED = "imported"
    ALREADY_THERE = "already there"
    ALREADY_ABSENT = "already absent"
    MOVED_ELSEWHERE = "moved elsewhere"
    CHANGED = "changed"
    HELD = "held"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def finished_well(self) -> bool:
        """True where what was asked for is so."""
        return self in (
            Outcome.COPIED,
            Outcome.REMOVED,
            Outcome.RESTORED,
            Outcome.IMPORTED,
            Outcome.ALREADY_THERE,
        )


class Whereabouts(StrEnum):
    """Where an item is when one looks again (S20)."""

    HERE = "here"
    CHANGED = "changed"
    ABSENT = "absent"
    IN_TRASH = "in trash"
    RECOVERABLE = "recoverable"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """An item that a store is asked to look for or to remove: its id and the version (fingerprint, S06) that was
    seen."""

    id: str
    version: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a store says became of one target."""

    id: str
    outcome: Outcome
    detail: str = ""


#: What a note of ``Fetched`` begins with where something of the item is not in the copy.
INCOMPLETE = "incomplete: "


@dataclass(frozen=True, slots=True)
class Fetched:
    """One item as its store gave it.

    ``content``: the RFC 5322 bytes as the store holds them; for stores of MAPI items the MIME rebuilt from its
    properties, and then ``properties`` is the record of all of them (JSON values) and ``headers`` says of each header
    field of the rebuilt message whether it is ``original`` or ``synthesised``; None where nothing is rebuilt.
    ``item`` is the item itself, for evidence that holds items; it may be readable only as long as its mailbox is open.
    ``version`` is the fingerprint, ``former_versions`` are those that earlier releases gave it: plans may have them.
    ``flags``: ``seen``, ``answered``, ``flagged``, ``draft``, ``deleted``, ``forwarded``, and keywords.
    ``attributes``: what this kind of store needs to put the item back exactly as it was (JSON values). ``notes``: for
    people; one that begins with ``INCOMPLETE`` says that something of the item is not in the copy, which is then
    never removed. ``stream``: the item in its store's own form, where that is too large for an attribute; empty where
    there is none. A large ``content`` or ``stream`` lies on disk (``core.bulk``).
    """

    id: str
    version: str
    content: bytes
    folder: str = ""
    flags: frozenset[str] = frozenset()
    delivered: datetime | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] | None = None
    notes: tuple[str, ...] = ()
    item: MapiItem | None = None
    stream: bytes = b""
    former_versions: tuple[str, ...] = ()

    def is_version(self, planned: str) -> bool:
        """True where the item is as it was planned, by this release or an earlier one."""
        return planned == self.version or planned in self.former_versions


@dataclass(frozen=True, slots=True)
class Deposit:
    """One item to put into a mailbox; the fields are those of ``Fetched``.

    ``item``: where it is known property for property, for the stores that take it so (``Capabilities.takes_items``).
    """

    content: bytes
    folder: str = ""
    flags: frozenset[str] = frozenset()
    delivered: datetime | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    item: MapiItem | None = None
    stream: bytes = b""


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of one deposit: ``RESTORED`` with the new item's id, or ``FAILED`` with the reason."""

    outcome: Outcome
    id: str | None = None
    detail: str = ""
