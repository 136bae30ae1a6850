"""The journal of a unit: what has happened to each of its items, on disk before and after every step (S15).

Records are a chained log whose ``type`` is an event of ``states`` (or a note of the unit itself). Replaying it gives
where every item stands; holding it open holds the unit, so that a worker that outlived its run and a resumed run
cannot both work on one mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog, ChainReading, read_chain
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


class _Replay:
    """Applies each record that it is given to ``status``, and keeps of its items only the first of those that ended."""

    def __init__(self, items: Iterable[int], where: str) -> None:
        self.status = {item: ItemStatus() for item in items}
        self._where = where

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        if record["type"] not in _EVENTS:
            return record
        try:
            _apply(self.status, record, self._where)
            kept = record["items"][:1] if record["type"] == Event.ENDED else []
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DoesNotVerify(
                f"{self._where}: record {record['seq']}: expected an event of items, found something else"
            ) from error
        return {**record, "items": kept}


def read_journal(path: Path, items: Iterable[int]) -> tuple[dict[int, ItemStatus], ChainReading]:
    """The status of each item by number, and the journal's records; DoesNotVerify for an impossible journal.

    Of a record's items, which ``status`` tells of, only the first is kept where they ended, and none otherwise.
    """
    replay = _Replay(items, str(path))
    return replay.status, read_chain(path, replay)


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

    def __init__(self, path: Path, items: Iterable[int]) -> None:
        """Open and replay the journal at ``path`` for the planned ``items``. Refused where another process holds it."""
        replay = _Replay(items, str(path))
        self.status = replay.status
        self._log = ChainedLog(path, exclusive=True, keep=replay)

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, without the items of events: ``status`` tells of them."""
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
