"""What may not be removed (S24): the holds of the policy with their lists read, asked about a mailbox or an item.

Made anew each time they count, so that a hold that was placed after the plan holds. When in doubt, an item is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from excise.core.clock import parse_iso
from excise.core.errors import UsageError
from excise.core.text import normalise
from excise.policy.model import Hold, Policy
from excise.policy.names import is_of_domain, names_mailbox, of_domain
from excise.policy.read import read_guarded


@dataclass(frozen=True, slots=True)
class _Hold:
    case: str
    addresses: frozenset[str]
    domains: tuple[str, ...]
    mailboxes: tuple[str, ...]
    everybody: bool
    since: datetime | None
    before: datetime | None

    @property
    def whole(self) -> bool:
        return self.since is None and self.before is None

    def means(self, name: str) -> bool:
        """True where the mailbox ``name`` is one of those that are held."""
        return (
            any(names_mailbox(entry, name) for entry in (*self.mailboxes, *self.addresses))
            or any(of_domain(domain, name) for domain in self.domains)
            or self.everybody
        )

    def concerns(self, envelope: Mapping[str, Any]) -> bool:
        """True where somebody who is held wrote the message or got it."""
        named = (envelope.get("from"), *(envelope.get("senders") or ()), *(envelope.get("to") or ()))
        people = {normalise(address) for address in named if address}
        return bool(people & self.addresses) or any(
            is_of_domain(address.rpartition("@")[2], domain) for address in people for domain in self.domains
        )

    def covers(self, envelope: Mapping[str, Any]) -> bool:
        """True where the message was sent or received between the dates, or neither time is known."""
        times = [moment for key in ("sent", "received") if (moment := parse_iso(envelope.get(key)))]
        return not times or any(
            (self.since is None or self.since <= moment) and (self.before is None or moment < self.before)
            for moment in times
        )


class Holds:
    """Every hold in force."""

    def __init__(self, holds: Iterable[Hold] = ()) -> None:
        """Read the lists that ``holds`` name."""
        self._holds = [_read(hold) for hold in holds]

    @classmethod
    def of(cls, policy: Policy) -> Holds:
        """The holds of ``policy``, their lists read now."""
        return cls(policy.holds)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._holds)

    def mailbox(self, name: str) -> str:
        """The matters for which all of the mailbox ``name`` is held; empty where it is not."""
        return _cases(hold.case for hold in self._holds if hold.whole and hold.means(name))

    def item(self, name: str, envelope: Mapping[str, Any]) -> str:
        """The matters for which an item of the mailbox ``name`` is held; empty where it may be removed."""
        return _cases(
            hold.case
            for hold in self._holds
            if (hold.means(name) or hold.concerns(envelope)) and (hold.whole or hold.covers(envelope))
        )


def _cases(cases: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(cases))


def _read(hold: Hold) -> _Hold:
    addresses, domains, mailboxes = set(hold.addresses), list(hold.domains), list(hold.mailboxes)
    for name in hold.files:
        for entry in _entries(Path(name)):
            if entry.startswith("@"):
                domains.append(normalise(entry[1:]))
            elif "@" in entry and "/" not in entry:
                addresses.add(normalise(entry))
            else:
                mailboxes.append(entry)
    named = hold.named
    return _Hold(hold.case, frozenset(addresses), tuple(domains), tuple(mailboxes), not named, hold.since, hold.before)


def _entries(path: Path) -> list[str]:
    """The lines of a list: addresses, ``@domain``, or names of mailboxes; those that begin with ``#`` are for people.

    A list that is empty or cannot be read is an error: nobody could tell what is held.
    """
    try:
        text = read_guarded(path, "the list of a hold", owned=False).decode("utf-8-sig")
    except ValueError as error:
        raise UsageError(f"{path}: the list of a hold is not text in UTF-8 ({error})") from error
    entries = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not entries:
        raise UsageError(
            f"{path}: expected a list of who is held, found nothing in it", hint="Take the hold out of the policy."
        )
    return entries
