"""The journal of a unit: what has happened to each of its items, on disk before and after every step (S15).

Records are a chained log whose ``type`` is an event of ``states`` (or a note of the unit itself). Replaying it gives
where every item stands; holding it open holds the unit, so that a worker that outlived its run and a resumed run
cannot both work on one mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog
from excise.core.errors import DoesNotVerify
from excise.engine.states import Event, State, next_state
from excise.model.item import Outcome

_EVENTS = frozenset(Event)


class ItemStatus:
    """Where one item stands, and what is known of it."""

    __slots__ = ("detail", "outcome", "part", "placed", "sha256", "size", "state")

    def __init__(self) -> None:
        """An item of the plan that nothing has happened to."""
        self.state = State.PLANNED
        self.part = 0
        self.sha256 = ""
        self.size = 0
        self.outcome: Outcome | None = None
        self.detail = ""
        self.placed: str | None = None


def replay(records: Iterable[dict[str, Any]], items: Iterable[int], where: str) -> dict[int, ItemStatus]:
    """The status of each item by number, from the journal's records; DoesNotVerify for an impossible journal."""
    status = {item: ItemStatus() for item in items}
    for record in records:
        if record["type"] in _EVENTS:
            try:
                _apply(status, record, where)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise DoesNotVerify(
                    f"{where}: record {record['seq']}: expected an event of items, found something else"
                ) from error
    return status


def _apply(status: dict[int, ItemStatus], record: dict[str, Any], where: str) -> None:
    event = Event(record["type"])
    for entry in record["items"]:
        number, *rest = entry if isinstance(entry, list) else [entry]
        item = status[number]
        item.state = next_state(item.state, event, f"{where}: record {record['seq']}: item {number}")
        if event is Event.FETCHED:
            item.part, (item.sha256, item.size) = record["part"], rest
        elif event is Event.ENDED:
            item.outcome, item.detail, item.placed = Outcome(rest[0]), rest[1], rest[2]


class Journal:
    """The journal of one unit, held by this process."""

    def __init__(self, path: Path, items: Sequence[int]) -> None:
        """Open and replay the journal at ``path`` for the planned ``items``. Refused where another process holds it."""
        self._log = ChainedLog(path, exclusive=True)
        self.path = path
        self.status = replay(self._log.records, items, str(path))

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records."""
        return self._log.records

    @property
    def head(self) -> str:
        """The head of the chain."""
        return self._log.head

    def in_state(self, *states: State) -> list[int]:
        """The items in one of ``states``, ascending."""
        return [number for number, item in self.status.items() if item.state in states]

    def event(self, event: Event, items: Iterable[Any], **facts: Any) -> None:
        """Record ``event`` for ``items`` (numbers, or lists that begin with one), flushed; then apply it."""
        record = {"type": event, "items": list(items), **facts}
        if record["items"]:
            self._log.append(record)
            _apply(self.status, self._log.records[-1], str(self.path))

    def ended(self, outcomes: Iterable[tuple[int, Outcome, str]]) -> None:
        """Record how it ended for items: number, outcome, detail."""
        self.event(Event.ENDED, [[number, outcome, detail, None] for number, outcome, detail in outcomes])

    def give_up(self) -> None:
        """Record every open item as failed; as unknown, where the source had begun to be written to."""
        for state in State:
            if state is not State.ENDED:
                begun = state in (State.REMOVING, State.PUTTING)
                outcome = Outcome.UNKNOWN if begun else Outcome.FAILED
                why = f"given up when it was {state.value}"
                self.ended([(item, outcome, why) for item in self.in_state(state)])

    def placed(self, entries: Iterable[tuple[int, Outcome, str, str | None]]) -> None:
        """Record how a restore ended for items: number, outcome, detail, the new item's id."""
        self.event(Event.ENDED, [list(entry) for entry in entries])

    def note(self, kind: str, **facts: Any) -> None:
        """Record something of the unit as a whole."""
        self._log.append({"type": kind, **facts})

    def close(self) -> None:
        """Let go of the unit."""
        self._log.close()
