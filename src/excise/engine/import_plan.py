"""Planning an import: every item of the evidence with its hash, and the one mailbox that lacks some of them (S06).

The target is the plan's first unit and holds all items; each mailbox or part that they come from is a unit of its own
without items, so that it is listed and logged with its counts and failures (S22). Only reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.plan import Caps, Plan, UnitPlan, matches_path, untestable_path, write_plan
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, Interrupted, UsageError
from excise.core.files import free_space, write_durably
from excise.core.text import count_of
from excise.criteria import Criteria, Matcher
from excise.engine import accounts
from excise.engine.channel import Channel
from excise.engine.import_source import EveryItem, ImportSource, kind_of, main_folder, open_source, refuse_overlap
from excise.engine.planner import match_line, not_tested_line, search_record
from excise.engine.search import Match, NotTested, Searched, search_by
from excise.mbox import likeness
from excise.model.item import Action
from excise.model.message import Untestable
from excise.policy.effective import Effective
from excise.store_api import registry
from excise.store_api.discovery import Scope
from excise.store_api.errors import ItemChanged, ItemDamaged, ItemNotFound, Unsupported
from excise.store_api.protocols import MailboxInfo


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What to import, into which mailbox. ``given``: the evidence as it was named; ``found``: what that came to.

    ``criteria``: only what they match; None for every item. ``folder_prefix``: a folder that the evidence's folders
    are put below. ``max_total``: more items than that refuse the plan (S04). ``replacing``: other versions in the
    target are removed afterwards, within these caps.
    """

    given: str
    found: Scope
    into: MailboxInfo
    criteria: Criteria | None = None
    folder_prefix: str = ""
    max_total: int | None = None
    replacing: Caps | None = None

    def check(self) -> None:
        """Refuse what cannot be done, before anything is made."""
        refuse_overlap(self.given, self.found, self.into)
        capabilities = registry.store(self.into.kind).capabilities
        if not capabilities.can_put:
            raise Unsupported(f"{self.into.name}: a store of the kind {self.into.kind!r} cannot take messages")
        if self.replacing is not None:
            _check_removal(self.into)
        if self.folder_prefix and not capabilities.has_folders:
            raise Unsupported(f"{self.into.name}: a mailbox of the kind {self.into.kind!r} has no folders")
        if self.folder_prefix and not all(self.folder_prefix.split("/")):
            raise UsageError(f"--folder-prefix {self.folder_prefix!r}: expected names with / between them")

    def folder(self, folder: str) -> str:
        """The target's folder for what lies in the evidence's ``folder``, which is ``""`` for a main folder."""
        capabilities = registry.store(self.into.kind).capabilities
        if not capabilities.has_folders:
            return ""
        joined = "/".join(filter(None, (self.folder_prefix, folder)))
        return joined or capabilities.main_folder


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading one source came to: its unit, and the lines of its items, yet without numbers."""

    unit: UnitPlan
    lines: list[dict[str, Any]]


def make_import_plan(case: Case, order: ImportOrder, audit: ChainedLog, channel: Channel, policy: Effective) -> Plan:
    """Read all of the evidence and freeze the plan."""
    order.check()
    limit = policy.policy.caps.max_total
    if limit is not None:
        order = replace(order, max_total=limit if order.max_total is None else min(limit, order.max_total))
    number = (case.plan_numbers() or [0])[-1] + 1
    directory = case.make(case.plan_dir(number))
    case.make(directory / "matches")
    first = case.next_unit()
    criteria_sha256 = order.criteria.sha256 if order.criteria else None
    record = {"type": "search-started", "plan": number, "action": Action.IMPORT, "criteria_sha256": criteria_sha256}
    audit.append(record | {"mailboxes": len(order.found.mailboxes) + len(order.found.not_searched)})
    sources: list[UnitPlan] = []
    lines: list[dict[str, Any]] = []
    for read in _read_all(order, directory, first + 1, channel):
        sources.append(read.unit)
        lines += read.lines
        audit.append(search_record(number, read.unit) | {"matches": len(read.lines)})
    units = [_target(order, directory, first, lines), *sources]
    _check_space(order.into, sum(line["size"] for line in lines))
    header = _header(order, units) | accounts.header([units[0].locator]) | policy.header()
    plan = write_plan(case, number, header, units)
    made = {"type": "plan-made", "plan": number, "plan_sha256": plan.sha256, "matches": plan.matches}
    audit.append(made | {"action": Action.IMPORT})
    return plan


def _read_all(order: ImportOrder, directory: Path, first: int, channel: Channel) -> Iterator[_Read]:
    for number, info in enumerate(order.found.mailboxes, first):
        unit = UnitPlan(number, info.kind, info.locator, info.name, info.identity)
        try:
            yield _read(order, unit, directory, channel)
        except Interrupted as error:
            error.hint = "Nothing was touched. Start again with a new case directory."
            raise
        except ExciseError as error:
            yield _Read(replace(unit, not_searched=error.text(), not_searched_code=error.exit_code), [])
    for number, lost in enumerate(order.found.not_searched, first + len(order.found.mailboxes)):
        unit = UnitPlan(number, "", "", lost.name, "", not_searched=lost.reason, not_searched_code=lost.exit_code)
        yield _Read(unit, [])


def _read(order: ImportOrder, unit: UnitPlan, directory: Path, channel: Channel) -> _Read:
    searched = Searched()
    judge = Matcher(order.criteria) if order.criteria else EveryItem()
    lines: list[dict[str, Any]] = []
    rest: list[NotTested] = []
    source = open_source(unit.kind, unit.locator)
    try:
        for found in search_by(judge, source, searched, channel):
            line = found if isinstance(found, NotTested) else _line(order, unit, source, found)
            if isinstance(line, NotTested):
                rest.append(line)
            else:
                lines.append(line)
            channel.check()
    finally:
        source.close()
    data = [canonical_json(not_tested_line(found)) + b"\n" for found in rest]
    if data:
        write_durably(untestable_path(directory, unit.unit), data)
    done = replace(
        unit,
        seen=searched.tally.seen,
        bytes=searched.tally.bytes,
        unreadable=len(rest) - searched.untestable,
        untestable=searched.untestable,
        untestable_sha256=sha256_hex(b"".join(data)) if data else "",
    )
    return _Read(done, lines)


def _line(order: ImportOrder, unit: UnitPlan, source: ImportSource, found: Match) -> dict[str, Any] | NotTested:
    """The line of one item, read whole for its hash; where that cannot be, what it is listed as instead."""
    try:
        fetched = source.fetch(found.id)
    except (ItemDamaged, ItemChanged, ItemNotFound, DoesNotVerify) as error:
        return NotTested(found.id, found.folder, found.id, (Untestable("message", error.message),), found.envelope)
    if fetched.version != found.version:
        why = (Untestable("message", "it was changed while the evidence was read"),)
        return NotTested(found.id, found.folder, found.id, why, found.envelope)
    is_main = found.folder == main_folder(kind_of(unit.kind, source, found.id))
    line = {
        "folder": order.folder("" if is_main else found.folder),
        "from_folder": found.folder,
        "from_unit": unit.unit,
        "sha256": sha256_hex(fetched.content),
        "likeness": likeness(fetched.content),
        "size": len(fetched.content),
    }
    return match_line(0, found) | line


def _target(order: ImportOrder, directory: Path, number: int, lines: list[dict[str, Any]]) -> UnitPlan:
    """The target's unit; its items are numbered, and each says how many of its likeness there are for its folder."""
    twins = Counter((line["folder"], line["likeness"]) for line in lines)
    data = [
        canonical_json(line | {"item": item, "twins": twins[line["folder"], line["likeness"]]}) + b"\n"
        for item, line in enumerate(lines, 1)
    ]
    if data:
        write_durably(matches_path(directory, number), data)
    into = order.into
    return UnitPlan(
        number,
        into.kind,
        into.locator,
        into.name,
        into.identity,
        matches=len(lines),
        match_bytes=sum(line["size"] for line in lines),
        doubtful=sum(bool(line["doubt"]) for line in lines),
        matches_sha256=sha256_hex(b"".join(data)) if data else "",
    )


def _check_removal(into: MailboxInfo) -> None:
    """Unsupported where nothing can be removed from the target."""
    capabilities = registry.store(into.kind).capabilities
    why = into.details.get("removal", "")
    if not why and capabilities.default_disposal is None:
        why = capabilities.removal_refused_because or f"a store of the kind {into.kind!r} cannot remove"
    if not why and not capabilities.local_files:
        why = "other versions are replaced in mailboxes that are files alone"
    if why:
        raise Unsupported(f"{into.name}: {why}", hint="Import without --replace. Nothing was touched.")


def _check_space(into: MailboxInfo, need: int) -> None:
    """Refuse to plan what the target's disk surely has no room for."""
    if not registry.store(into.kind).capabilities.local_files:
        return
    place = Path(into.locator.partition(":")[2]).parent
    have = free_space(place)
    if need > have:
        raise UsageError(
            f"{into.name}: the messages need {need:,} bytes there, the disk has {have:,} free",
            hint="Free some space there. Nothing was touched.",
        )


def _header(order: ImportOrder, units: list[UnitPlan]) -> dict[str, Any]:
    total = sum(unit.matches for unit in units)
    over = order.max_total is not None and total > order.max_total
    return {
        "made": iso(now()),
        "action": Action.IMPORT,
        "disposal": None,
        "evidence": (),
        "caps": {"max_total": order.max_total},
        "refused": f"{count_of(total, 'message')}, more than --max-total {order.max_total} (safety rule S04)"
        if over
        else "",
        "criteria": order.criteria.canonical() if order.criteria else None,
        "criteria_sha256": order.criteria.sha256 if order.criteria else None,
        **({"replace": asdict(order.replacing)} if order.replacing else {}),
        "scope": {
            "evidence": order.given,
            "into": order.into.locator,
            "folder_prefix": order.folder_prefix,
            "mode": "replace" if order.replacing else "merge",
            "passed_over": order.found.passed_over,
            "other_files": order.found.other_files,
        },
        "totals": {
            "mailboxes": len(units),
            "not_searched": sum(bool(unit.not_searched) for unit in units),
            "with_matches": sum(unit.matches > 0 for unit in units),
            "matches": total,
            "match_bytes": sum(unit.match_bytes for unit in units),
            "unreadable": sum(unit.unreadable for unit in units),
            "untestable": sum(unit.untestable for unit in units),
        },
    }
