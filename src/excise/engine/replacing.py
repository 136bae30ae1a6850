"""Replacing: which messages of an import's target are other versions of what was imported, and their removal's order.

Another version is a message in the same folder with the same Message-ID that is equal to none of the evidence's there,
neither by its likeness nor by the version that a store gives what was put. Only reads; the removal is a plan of its
own, made when the import is at its end: what takes a message's place is always there before it goes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from excise.case.layout import Case
from excise.case.plan import Caps, Plan, UnitPlan
from excise.core.errors import Refused
from excise.core.text import count_of
from excise.criteria import Criteria
from excise.engine.authority import limited
from excise.engine.channel import Channel
from excise.engine.import_run import ImportRun
from excise.engine.import_source import WithMessageIds
from excise.engine.journal import read_journal
from excise.engine.planner import Order, Replacing, over_cap
from excise.engine.search import Match, Searched, search_by
from excise.mbox import likeness
from excise.model.item import INCOMPLETE, Action, Disposal, Outcome
from excise.policy.effective import Effective
from excise.store_api import registry
from excise.store_api.errors import ItemChanged, ItemDamaged, ItemNotFound
from excise.store_api.protocols import Mailbox

_THERE = (Outcome.IMPORTED, Outcome.ALREADY_THERE)
#: A folder of the target and a Message-ID.
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a target has of what is imported: ``new`` messages that it lacks, ``same`` ones that are there, and other
    versions, ``old``, by id and version. ``message_ids``: those of ``old``; ``left``: ids of what bears one of these
    and stays; ``seen``: messages in the target."""

    new: int = 0
    same: int = 0
    old: frozenset[tuple[str, str]] = frozenset()
    message_ids: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    seen: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    key: _Key
    id: str
    version: str
    like: str


@dataclass(slots=True)
class _Imported:
    """What the evidence has for one folder and Message-ID: likenesses, and the likeness of each version put there."""

    likes: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    items: list[int] = field(default_factory=list)
    whole: bool = True

    def like_of(self, found: _Found) -> str:
        """The likeness of the evidence's message that a found one equals; empty where it equals none."""
        return found.like if found.like in self.likes else self.versions.get(found.version, "")


class _Evidence(ImportRun):
    """The evidence of an import, read only to learn what it would be in the target: nothing is journalled."""

    def __init__(self, case: Case, plan: Plan, unit: UnitPlan, channel: Channel) -> None:
        self.look_only(case, plan, unit, channel)

    def close(self) -> None:
        """Close the evidence."""
        self.close_sources()

    def _end(self, item: int, outcome: Outcome, why: str) -> None:
        self.unread[item] = f"{outcome}: {why}"


def check_caps(plan: Plan, found: Survey, policy: Effective) -> None:
    """Refused where ``found`` has more other versions than the caps of the import ``plan`` let go (S04)."""
    caps = Caps(**plan.header["replace"])
    if found.old:
        caps = limited(policy, _order(plan, found)).caps
    count = len(found.old)
    why = over_cap(caps, Disposal.HARD, count, found.seen)
    if caps.max_total is not None and count > caps.max_total:
        why = f"{count_of(count, 'match')}, more than --max-total {caps.max_total}"
    if why:
        raise Refused("S04", f"other versions: {why.removesuffix(' (safety rule S04)')}", hint="Nothing was touched.")


def wants_replacing(plan: Plan) -> bool:
    """True for an import that other versions are to be removed after."""
    return plan.action is Action.IMPORT and bool(plan.header.get("replace"))


def survey(case: Case, plan: Plan, channel: Channel, done: Collection[int] | None = None) -> Survey:
    """Compare the target of an import with its evidence.

    ``done``: the items that the import put or found there; then a message only counts as an old version where all that
    the evidence has for its folder and Message-ID is among them, and one of it is seen there now.
    """
    unit = plan.units[0]
    evidence = _Evidence(case, plan, unit, channel)
    try:
        evidence.check_target()
        mailbox = registry.store(unit.kind).open(unit.locator)
        try:
            searched = Searched()
            there = list(_there(evidence, mailbox, searched))
            imported = _imported(evidence, mailbox, there)
            return _compare(evidence, imported, there, searched.tally.seen, done)
        finally:
            mailbox.close()
    finally:
        evidence.close()


def _key(folder: str, message_id: str | None) -> _Key:
    return folder, message_id or ""


def _there(evidence: _Evidence, mailbox: Mailbox, searched: Searched) -> Iterator[_Found]:
    """What lies in the target under a Message-ID of the evidence (or has none, as something of the evidence has)."""
    keys = {_key(line["folder"], line["envelope"]["message_id"]) for line in evidence.lines.values()}
    judge = WithMessageIds({line["envelope"]["message_id"] for line in evidence.lines.values()})
    for found in search_by(judge, mailbox, searched, evidence.channel):
        if not isinstance(found, Match) or (key := _key(found.folder, found.envelope["message_id"])) not in keys:
            continue
        try:
            fetched = mailbox.fetch(found.id)
        except (ItemNotFound, ItemChanged, ItemDamaged):
            continue  # what cannot be read, or is changing, stays
        if fetched.version == found.version:
            yield _Found(key, found.id, found.version, likeness(fetched.content))
        evidence.channel.check()


def _imported(evidence: _Evidence, mailbox: Mailbox, there: list[_Found]) -> dict[_Key, _Imported]:
    """What the evidence has by key; versions only where something there is not like it (each is read for them)."""
    imported: dict[_Key, _Imported] = defaultdict(_Imported)
    for item, line in evidence.lines.items():
        entry = imported[_key(line["folder"], line["envelope"]["message_id"])]
        entry.items.append(item)
        entry.likes.add(line["likeness"])
    for key in {found.key for found in there if found.like not in imported[found.key].likes}:
        for item in imported[key].items:
            deposit = evidence.deposit(item)
            if deposit is None:
                imported[key].whole = False
            else:
                imported[key].versions[mailbox.version_of(deposit)] = evidence.lines[item]["likeness"]
            evidence.channel.check()
    return imported


def _compare(
    evidence: _Evidence,
    imported: dict[_Key, _Imported],
    there: list[_Found],
    seen: int,
    done: Collection[int] | None,
) -> Survey:
    equal: Counter[tuple[str, str]] = Counter()
    present: set[_Key] = set()
    for found in there:
        if like := imported[found.key].like_of(found):
            equal[found.key[0], like] += 1
            present.add(found.key)
    wanted = {(line["folder"], line["likeness"]): line["twins"] for line in evidence.lines.values()}
    new = sum(max(0, count - equal[key]) for key, count in wanted.items())
    old: set[tuple[str, str]] = set()
    message_ids: set[str] = set()
    for found in there:
        entry = imported[found.key]
        settled = done is None or (found.key in present and all(item in done for item in entry.items))
        if found.key[1].strip("<> ") and entry.whole and settled and not entry.like_of(found):
            old.add((found.id, found.version))
            message_ids.add(found.key[1])
    left = sorted(f.id for f in there if f.key[1] in message_ids and (f.id, f.version) not in old)
    return Survey(new, len(evidence.lines) - new, frozenset(old), tuple(sorted(message_ids)), tuple(left), seen)


def removal_order(case: Case, plan: Plan, channel: Channel) -> Order | None:
    """The order to remove other versions of what the finished import ``plan`` put, or found; None where there are
    none."""
    unit = plan.units[0]
    path = case.unit_dir(unit.unit) / "journal.jsonl"
    status = read_journal(path, range(1, unit.matches + 1))[0] if unit.matches else {}
    # A message of which the evidence has not everything takes no other one's place.
    done = {i for i, ended in status.items() if ended.outcome in _THERE and not ended.detail.startswith(INCOMPLETE)}
    found = survey(case, plan, channel, done)
    if not found.old:
        return None
    return _order(plan, found, sum(ended.outcome is Outcome.IMPORTED for ended in status.values()))


def _order(plan: Plan, found: Survey, put: int = 0) -> Order:
    return Order(
        Action.MOVE,
        Criteria.from_options(message_ids=list(found.message_ids)),
        caps=Caps(**plan.header["replace"]),
        sources=(plan.units[0].locator,),
        replacing=Replacing(plan.number, plan.sha256, found.old, found.left, put),
    )
