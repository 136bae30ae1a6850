"""The states of an item in a run, and every way from one to the next: one table (S15).

The journal of a unit holds events; replaying them through this table gives each item's state. An event that the table
does not know in a state means that the journal is damaged or was tampered with.
"""

from __future__ import annotations

from enum import StrEnum

from excise.core.errors import DoesNotVerify


class State(StrEnum):
    """Where an item stands."""

    PLANNED = "planned"
    FETCHED = "fetched"
    PRESERVED = "preserved"
    VERIFIED = "verified"
    REMOVING = "removing"
    PUTTING = "putting"
    ENDED = "ended"


class Event(StrEnum):
    """What the journal records of items; the names are the ``type`` of its records.

    ``fetched``: hashes taken, the part is about to be committed. ``preserved``: the part has its name. ``verified``:
    read again by another reader and found equal. ``removing`` and ``putting``: the source is about to be written to.
    ``ended``: an outcome is known.
    """

    FETCHED = "fetched"
    PRESERVED = "preserved"
    VERIFIED = "verified"
    REMOVING = "removing"
    PUTTING = "putting"
    ENDED = "ended"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PLANNED, Event.FETCHED): State.FETCHED,
    (State.PLANNED, Event.PUTTING): State.PUTTING,
    (State.PLANNED, Event.ENDED): State.ENDED,
    (State.FETCHED, Event.FETCHED): State.FETCHED,  # the part was lost before its commit: fetched anew
    (State.FETCHED, Event.PRESERVED): State.PRESERVED,
    (State.FETCHED, Event.ENDED): State.ENDED,
    (State.PRESERVED, Event.VERIFIED): State.VERIFIED,
    (State.PRESERVED, Event.ENDED): State.ENDED,
    (State.VERIFIED, Event.VERIFIED): State.VERIFIED,  # a resumed run trusts no earlier process's reading
    (State.VERIFIED, Event.REMOVING): State.REMOVING,
    (State.VERIFIED, Event.ENDED): State.ENDED,
    (State.REMOVING, Event.VERIFIED): State.REMOVING,
    (State.REMOVING, Event.REMOVING): State.REMOVING,
    (State.REMOVING, Event.ENDED): State.ENDED,
    (State.PUTTING, Event.PUTTING): State.PUTTING,
    (State.PUTTING, Event.ENDED): State.ENDED,
}


def next_state(state: State, event: Event, where: str) -> State:
    """The state after ``event``; DoesNotVerify, naming ``where``, if there is no such way."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise DoesNotVerify(
            f"{where}: expected an event that can follow {state.value!r}, found {event.value!r}"
        ) from None
