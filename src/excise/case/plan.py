"""Plans on disk: the frozen, hashed list of matches that a run may touch (S06; docs/reference/case-format.md, "Plans").

``plan/NNNN/header.json`` is canonical JSON; its SHA-256 is the plan's hash, what a person confirms. It holds action,
caps, scope and criteria, and for each unit (mailbox) the counts and the hashes of its two files of lines:
``matches/UUUUU.jsonl`` and ``matches/UUUUU.untestable.jsonl``; where a review made it, those of what it took out
(``matches/UUUUU.excluded.jsonl``) stand under ``review``. Invariant: a plan with a header is finished and never
changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from excise.case.layout import Case
from excise.core.digests import canonical_json, sha256_hex, sha256_stream
from excise.core.errors import DoesNotVerify, UsageError
from excise.core.files import (
    PARTIAL,
    durable_file,
    fsync_directory,
    open_nofollow,
    os_error,
    read_regular,
    write_durably,
)
from excise.model.item import Action, Disposal

HEADER = "header.json"


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits that refuse and never truncate (S04): items a mailbox, items in all, percent of a mailbox."""

    max_per_mailbox: int | None = None
    max_total: int | None = None
    max_share: float = 25.0
    share_from: int = 40


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """One mailbox in a plan. ``refused``: why nothing may be removed from it (S04); ``not_searched``: why it was not.

    ``hold``: ``held: `` and the matters for which all of it is held (S24), ``none``, or ``not known``, and then what
    makes one likely; ``held``: how many of its items are held and not doubtful. ``rewrite``: why its file is to be made
    anew; ``kept`` items are then in the new one, ``lost`` in the old one alone.
    """

    unit: int
    kind: str
    locator: str
    name: str
    identity: str
    seen: int = 0
    bytes: int = 0
    unreadable: int = 0
    untestable: int = 0
    false_hits: int = 0
    matches: int = 0
    match_bytes: int = 0
    doubtful: int = 0
    disposal: str = Disposal.COPY
    refused: str = ""
    not_searched: str = ""
    not_searched_code: int = 0
    hold: str = "not known"
    space_for_removal: int = 0
    matches_sha256: str = ""
    untestable_sha256: str = ""
    source_unit: int = 0
    held: int = 0
    rewrite: str = ""
    kept: int = 0
    lost: int = 0
    lost_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: its header as objects. ``sha256`` is its hash."""

    number: int
    action: Action
    header: Mapping[str, Any]
    units: tuple[UnitPlan, ...]
    sha256: str
    directory: Path = field(compare=False)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"plan {self.number}"

    @property
    def path(self) -> Path:
        """Where its header stands."""
        return self.directory / HEADER

    @property
    def hashes_only(self) -> bool:
        """True where no content is kept of what it removes (``--no-evidence``): hashes and envelopes alone."""
        return bool(self.header.get("no_evidence"))

    @property
    def matches(self) -> int:
        """How many items the plan lists."""
        return sum(unit.matches for unit in self.units)

    @property
    def removable(self) -> int:
        """How many items it would remove: without the mailboxes where removal is refused, and without doubtful
        and held items."""
        return sum(unit.matches - unit.doubtful - unit.held for unit in self.units if not unit.refused)

    def unit(self, number: int) -> UnitPlan:
        """Unit ``number``."""
        return next(unit for unit in self.units if unit.unit == number)


def disposals_of(plan: Plan) -> set[str]:
    """The disposals that a plan's mailboxes with matches use; of all of them where none has any."""
    if not plan.action.removes:
        return {Disposal.COPY.value}
    return {str(unit.disposal) for unit in plan.units if unit.matches} or {str(unit.disposal) for unit in plan.units}


def matches_path(directory: Path, unit: int) -> Path:
    """The file of a unit's matches."""
    return directory / "matches" / f"{unit:05}.jsonl"


def untestable_path(directory: Path, unit: int) -> Path:
    """The file of what a unit's search could not test or read (S11)."""
    return directory / "matches" / f"{unit:05}.untestable.jsonl"


def lost_path(directory: Path, unit: int) -> Path:
    """The file of what cannot be read of a unit whose file is to be made anew."""
    return directory / "matches" / f"{unit:05}.lost.jsonl"


def excluded_path(directory: Path, unit: int) -> Path:
    """The file of what a review took out of a unit."""
    return directory / "matches" / f"{unit:05}.excluded.jsonl"


class LinesFile:
    """A file of lines of a plan while it is written, for a ``with`` block: one that fails leaves no file."""

    def __init__(self, path: Path) -> None:
        """The file at ``path``, made with its first line."""
        self._path = path
        self._aside = path.with_name(path.name + PARTIAL)
        self._digest = sha256()
        self._stream: BinaryIO | None = None
        self._files = ExitStack()

    def add(self, line: Mapping[str, Any]) -> None:
        """Write one line."""
        if self._stream is None:
            self._aside.unlink(missing_ok=True)
            self._stream = self._files.enter_context(durable_file(self._aside))
        data = canonical_json(line) + b"\n"
        self._digest.update(data)
        self._stream.write(data)

    def finish(self) -> str:
        """Flush it and give it its name; its SHA-256, which is empty where there were no lines and no file is made."""
        if self._stream is None:
            return ""
        self._files.close()
        self._aside.rename(self._path)
        fsync_directory(self._path.parent)
        return self._digest.hexdigest()

    def __enter__(self) -> LinesFile:
        return self

    def __exit__(self, *_: object) -> None:
        with self._files.pop_all():
            self._aside.unlink(missing_ok=True)


def write_plan(case: Case, number: int, header: Mapping[str, Any], units: list[UnitPlan]) -> Plan:
    """Freeze plan ``number``; its match files have been written and flushed."""
    full = {**header, "format": 1, "plan": number, "case": case.id, "case_sha256": case.sha256}
    full["units"] = [asdict(unit) for unit in units]
    directory = case.plan_dir(number)
    write_durably(directory / HEADER, canonical_json(full) + b"\n")
    return read_plan(case, number)


def read_plan(case: Case, number: int | None = None) -> Plan:
    """Plan ``number`` of the case, the newest one by default; a UsageError where there is none."""
    numbers = case.plan_numbers()
    if not numbers or (number is not None and number not in numbers):
        raise UsageError(
            f"{case.root}: the case has no {'plan' if number is None else f'plan {number}'}",
            hint="Its search was interrupted; nothing was touched. Start again with a new case directory.",
        )
    number = number or numbers[-1]
    path = case.plan_dir(number) / HEADER
    data = read_regular(path)
    try:
        header, units = _parsed(data)
        action = Action(header["action"])
        if header["case"] != case.id or header["plan"] != number:
            raise DoesNotVerify(
                f"{path}: expected plan {number} of case {case.id}, found that of another case or number"
            )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DoesNotVerify(f"{path}: expected the header of a plan, found something else ({error})") from error
    return Plan(number, action, header, units, sha256_hex(data), path.parent)


@lru_cache(maxsize=1)
def _parsed(data: bytes) -> tuple[Mapping[str, Any], tuple[UnitPlan, ...]]:
    """The header in ``data``, and its units: every unit of a run reads the same one."""
    header = json.loads(data)
    return header, tuple(_unit(unit) for unit in header["units"])


def _unit(values: dict[str, Any]) -> UnitPlan:
    """A unit from its JSON; a TypeError for a value of another type (S27: a unit's number becomes a path)."""
    unit = UnitPlan(**values)
    for entry in fields(UnitPlan):
        value = getattr(unit, entry.name)
        if type(value) is not {"int": int, "str": str}[str(entry.type)]:
            raise TypeError(f"{entry.name} of a unit is {value!r}")
    if not 0 < unit.unit < 100_000:
        raise ValueError(f"the number of a unit is {unit.unit}")
    return unit


def read_lines(path: Path, expected_sha256: str) -> list[dict[str, Any]]:
    """The lines of a match file, after its hash was found to be the one in the header."""
    return list(checked_lines(path, expected_sha256))


def checked_lines(path: Path, expected_sha256: str) -> Iterator[dict[str, Any]]:
    """The lines of a match file one at a time, as ``read_lines``: none is given before the file's hash was checked."""
    with os.fdopen(open_nofollow(path), "rb") as stream:
        found, _ = sha256_stream(stream)
    if found != expected_sha256:
        raise DoesNotVerify(
            f"{path}: expected SHA-256 {expected_sha256[:16]}…, found {found[:16]}…: the plan was changed",
            hint="Nothing was touched. Restore the file or start again with a new case.",
        )
    yield from _iterate(path, expected_sha256)


def read_matches(plan: Plan, unit: UnitPlan) -> list[dict[str, Any]]:
    """The planned items of a unit, checked against the plan's hash."""
    return list(planned_items(plan, unit))


def planned_items(plan: Plan, unit: UnitPlan) -> Iterator[dict[str, Any]]:
    """The planned items of a unit one at a time, as ``read_matches``: none before the plan's hash was checked."""
    if unit.matches_sha256:
        yield from checked_lines(matches_path(plan.directory, unit.unit), unit.matches_sha256)


def iterate_matches(plan: Plan, unit: UnitPlan) -> Iterator[dict[str, Any]]:
    """The planned items of a unit, one at a time; that they are those of the plan is known when the last was given."""
    return _iterate(matches_path(plan.directory, unit.unit), unit.matches_sha256)


def iterate_untestable(plan: Plan, unit: UnitPlan) -> Iterator[dict[str, Any]]:
    """What could not be tested or read in a unit, one at a time, as ``iterate_matches``."""
    return _iterate(untestable_path(plan.directory, unit.unit), unit.untestable_sha256)


def iterate_excluded(plan: Plan, unit: UnitPlan) -> Iterator[dict[str, Any]]:
    """What a review took out of a unit, one at a time, as ``iterate_matches``."""
    hashes = plan.header.get("review", {}).get("excluded_sha256", {})
    return _iterate(excluded_path(plan.directory, unit.unit), hashes.get(str(unit.unit), ""))


def _iterate(path: Path, expected_sha256: str) -> Iterator[dict[str, Any]]:
    """The lines of a file; a DoesNotVerify at the end where they were not those that the header bound."""
    if not expected_sha256:
        return
    digest = sha256()
    try:
        with os.fdopen(open_nofollow(path), "rb") as stream:
            for line in stream:
                digest.update(line)
                yield json.loads(line)
    except OSError as error:
        raise os_error(error, path, "reading the plan") from error
    except (ValueError, RecursionError) as error:
        raise DoesNotVerify(f"{path}: expected lines of a plan, found something else") from error
    if digest.hexdigest() != expected_sha256:
        raise DoesNotVerify(
            f"{path}: expected SHA-256 {expected_sha256[:16]}…, found {digest.hexdigest()[:16]}…: the plan was changed"
        )


def all_matches(plan: Plan) -> Iterator[tuple[UnitPlan, dict[str, Any]]]:
    """Every planned item with its unit."""
    for unit in plan.units:
        for match in planned_items(plan, unit):
            yield unit, match
