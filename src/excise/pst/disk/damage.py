"""Damage as a value: which layer, which structure, which field, where, what was expected and what was found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damage:
    """One contradiction between a file and its format.

    ``layer`` is disk, ndb, ltp or messaging; ``structure`` and ``field`` are Microsoft's names; ``place`` names the
    object (a NID, a BID, a folder) and ``offset`` its place in the file in bytes, -1 where it has none.
    """

    layer: str
    structure: str
    field: str
    place: str
    offset: int
    expected: str
    found: str

    def text(self) -> str:
        """One line for a person."""
        where = f"{self.place} at offset {self.offset}" if self.offset >= 0 else self.place
        return f"{self.layer}: {self.structure}.{self.field} of {where}: expected {self.expected}, found {self.found}"


class Damaged(Exception):
    """Reading cannot go on at this place. ``damage`` says why; the caller records it and goes on elsewhere."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.text())
        self.damage = damage

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.damage,))


class DamageLog:
    """What was found wrong while something was read; each thing once, at most ``limit`` of them kept.

    A log with a ``parent`` tells it everything too, so that an item knows its own damage and the file all of it.
    ``dropped`` counts what came after the limit.
    """

    __slots__ = ("_seen", "dropped", "limit", "parent")

    def __init__(self, parent: DamageLog | None = None, limit: int = 10_000) -> None:
        self._seen: dict[Damage, None] = {}
        self.parent = parent
        self.limit = limit
        self.dropped = 0

    def add(self, damage: Damage) -> None:
        """Record ``damage`` here and in every parent."""
        if damage not in self._seen:
            if len(self._seen) < self.limit:
                self._seen[damage] = None
            else:
                self.dropped += 1
        if self.parent is not None:
            self.parent.add(damage)

    @property
    def entries(self) -> tuple[Damage, ...]:
        """What was recorded, in order."""
        return tuple(self._seen)

    def __bool__(self) -> bool:
        return bool(self._seen)

    def __len__(self) -> int:
        return len(self._seen) + self.dropped
