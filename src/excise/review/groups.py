"""The matches of a plan, by subject, sender and mailbox, each group with an id that is the same whenever one looks.

Of each match only what a list shows is kept. A group's id is a letter (``s`` subject, ``f`` from, ``m`` mailbox) and
its place when groups of that kind are ordered by size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from excise.case.plan import Plan, iterate_matches
from excise.core.errors import DoesNotVerify, UsageError
from excise.core.text import normalise
from excise.engine.review import Exclusion

KINDS = {"s": "subject", "f": "sender", "m": "mailbox"}
_ITEM = re.compile(r"(\d{5})-(\d{6,})\Z", re.ASCII)
_NAMES = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One match as a list shows it."""

    unit: int
    item: int
    mailbox: str
    folder: str
    subject: str
    sender: str
    received: str
    attachments: tuple[str, ...]
    more_attachments: int
    doubt: str

    @property
    def id(self) -> str:
        """Its id: the evidence id that it will have."""
        return f"{self.unit:05}-{self.item:06}"

    @property
    def key(self) -> tuple[int, int]:
        """Unit and item."""
        return self.unit, self.item


@dataclass(slots=True)
class Group:
    """Matches that have something in common. ``label``: what, as the first of them has it."""

    label: str
    entries: list[Entry] = field(default_factory=list)
    id: str = ""

    @property
    def kind(self) -> str:
        """What they have in common: subject, sender or mailbox."""
        return KINDS[self.id[0]]


class Review:
    """A plan as somebody reviews it: its groups, and what was taken out so far."""

    def __init__(self, plan: Plan) -> None:
        """Read all matches; a DoesNotVerify where they are not those of the plan."""
        self.plan = plan
        self.exclusions: list[Exclusion] = []
        self.entries: dict[tuple[int, int], Entry] = {}
        self.groups: dict[str, Group] = {}
        found: dict[str, dict[str, Group]] = {kind: {} for kind in KINDS}
        for entry in _entries(plan):
            self.entries[entry.key] = entry
            keys = {"s": (normalise(entry.subject), entry.subject), "f": (entry.sender.lower(), entry.sender)}
            keys["m"] = (str(entry.unit), entry.mailbox)
            for kind, (key, label) in keys.items():
                found[kind].setdefault(key, Group(label)).entries.append(entry)
        for kind, groups in found.items():
            for number, (_, group) in enumerate(sorted(groups.items(), key=_by_size), 1):
                group.id = f"{kind}{number}"
                self.groups[group.id] = group

    def of_kind(self, kind: str) -> list[Group]:
        """The groups of one kind, the largest first."""
        return [group for name, group in self.groups.items() if name.startswith(kind)]

    def group(self, name: str) -> Group:
        """The group with that id; a UsageError where there is none."""
        if name not in self.groups:
            raise UsageError(f"plan {self.plan.number} has no group {name[:20]!r}", hint="The list shows their ids.")
        return self.groups[name]

    def entry(self, name: str) -> Entry:
        """The match with that id; a UsageError where there is none."""
        found = _ITEM.match(name)
        entry = self.entries.get((int(found[1]), int(found[2]))) if found else None
        if entry is None:
            raise UsageError(f"plan {self.plan.number} has no item {name[:20]!r}", hint="The list shows their ids.")
        return entry

    def exclude(self, groups: list[str], items: list[str], reason: str) -> int:
        """Take out groups and items, each for ``reason``; how many items that takes out that were still in."""
        if not reason.strip():
            raise UsageError("an exclusion needs a reason", hint="Say why, for the record: --reason TEXT")
        before = self.excluded
        made = [Exclusion(frozenset(e.key for e in self.group(name).entries), name, reason) for name in groups]
        made += [Exclusion(frozenset({self.entry(name).key}), name, reason) for name in items]
        self.exclusions += made
        return len(self.excluded) - len(before)

    @property
    def excluded(self) -> set[tuple[int, int]]:
        """What was taken out so far."""
        return {key for exclusion in self.exclusions for key in exclusion.items}


def _by_size(entry: tuple[str, Group]) -> tuple[int, str]:
    return -len(entry[1].entries), entry[0]


def _entries(plan: Plan) -> Iterator[Entry]:
    for unit in plan.units:
        for match in iterate_matches(plan, unit):
            try:
                yield _entry(unit.unit, unit.name, match)
            except (KeyError, TypeError, AttributeError) as error:
                raise DoesNotVerify(f"{plan.directory}: expected matches, found something else ({error!r})") from error


def _entry(unit: int, mailbox: str, match: dict[str, Any]) -> Entry:
    envelope = match["envelope"]
    names = [str(attachment["name"] or "(no name)") for attachment in envelope["attachments"]]
    return Entry(
        unit,
        int(match["item"]),
        mailbox,
        intern(str(match["folder"])),
        intern(str(envelope["subject"] or "")),
        intern(str(envelope["from"] or "")),
        str(envelope["received"] or ""),
        tuple(map(intern, names[:_NAMES])),
        max(0, len(names) - _NAMES),
        intern(str(match["doubt"])),
    )
