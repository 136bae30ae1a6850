"""What an import takes messages from: any mail store, or sealed evidence of a case. It is opened for reading alone.

Evidence in a case is never a source (S28); here alone it is read, as what it is: parts that a sealed bag holds, which
the case's audit log has bound and BagIt's validator accepts. They have no kind in the registry of stores, so nothing
that removes can be given one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.case.parts import ITEMS, committed_parts
from excise.case.plan import read_plan
from excise.core.digests import sha256_hex
from excise.core.errors import DamagedInput, DoesNotVerify, Refused, UsageError
from excise.core.files import os_error, read_regular
from excise.core.marker import enclosing_case
from excise.criteria import Verdict
from excise.engine.evidence import PartReader, check_bags
from excise.engine.search import Searchable
from excise.mapi.item import MapiItem
from excise.model.item import Fetched
from excise.model.message import MessageView, MimeView
from excise.store_api import registry
from excise.store_api.discovery import Scope, find_mailboxes
from excise.store_api.errors import ItemNotFound
from excise.store_api.protocols import Candidate, Filter, MailboxInfo, Tally, Unreadable

#: The kind of a part of evidence in a plan; no store has it.
PART = "part"
_IDENTITY = "sha256:"
_FIELDS: dict[str, type] = {
    **dict.fromkeys(("evidence", "sha256", "folder", "source"), str),
    **dict.fromkeys(("item", "size"), int),
    **dict.fromkeys(("flags", "notes"), list),
    "attributes": dict,
}
_EVIDENCE_ID = re.compile(r"\d{5}-\d{6}")
_BAG = re.compile(r"bag-(\d{4,})")


class EveryItem:
    """Every item matches. Not criteria, which cannot be empty (S01): nothing that removes takes this."""

    def kinds(self) -> frozenset[str]:
        """No terms tell messages apart."""
        return frozenset()

    def admits_folder(self, path: str) -> bool:
        """Every folder is wanted."""
        del path
        return True

    def rejects_header(self, header: bytes) -> bool:
        """Nothing is excluded."""
        del header
        return False

    def may_reject_by(self, kinds: Container[str]) -> bool:
        """No kind of term excludes anything."""
        del kinds
        return False

    def rejects(self, part: MessageView) -> bool:
        """Nothing is excluded."""
        del part
        return False

    def test(self, view: MessageView) -> Verdict:
        """It matches."""
        del view
        return Verdict(True)


class WithMessageIds(EveryItem):
    """What bears one of ``ids`` (None: no Message-ID at all). Only to look, like ``EveryItem``."""

    def __init__(self, ids: Collection[str | None]) -> None:
        self._ids = frozenset(ids)

    def test(self, view: MessageView) -> Verdict:
        """It matches where its Message-ID is one of those."""
        return Verdict(view.message_id in self._ids)


class ImportSource(Searchable, Protocol):
    """What messages are taken from, opened: a mailbox, or a part of evidence."""

    def fetch(self, item_id: str) -> Fetched:
        """One item, whole."""

    def close(self) -> None:
        """Let go of files."""


def open_source(kind: str, locator: str, identity: str = "") -> ImportSource:
    """Open what an import takes messages from, for reading; a part of evidence must have ``identity``, where given."""
    if kind == PART:
        return PartSource(Path(locator.removeprefix(f"{PART}:")), identity.removeprefix(_IDENTITY))
    return registry.store(kind).open(locator)


def kind_of(unit_kind: str, source: ImportSource, item_id: str) -> str:
    """The kind of the store that an item lies in; of an item of evidence, of the one that it was fetched from."""
    return source.kind_of(item_id) if isinstance(source, PartSource) else unit_kind


def main_folder(kind: str) -> str:
    """What the main folder of a mailbox of ``kind`` is called."""
    return registry.store(kind).capabilities.main_folder if kind in registry.kinds() else ""


# A part of evidence as a mailbox


@dataclass(frozen=True, slots=True)
class _PartItem:
    """An item of a part as the matcher sees it."""

    id: str
    version: str
    view: MessageView
    doubt: str = ""


class PartSource:
    """A committed part of evidence, read item by item; an item's id is its evidence id, its version its SHA-256."""

    def __init__(self, part: Path, items_sha256: str = "") -> None:
        """Nothing is read yet. ``items_sha256``: that of its list of items, where it is known."""
        self.part = part
        self._reader = PartReader(part, items_sha256)
        self._numbers: dict[str, int] | None = None
        self._checked = False

    @property
    def info(self) -> MailboxInfo:
        """The part; its identity is the SHA-256 of its list of items."""
        try:
            identity = f"{_IDENTITY}{sha256_hex(read_regular(self.part / ITEMS))}"
        except OSError as error:
            raise os_error(error, self.part, "reading the evidence") from error
        return MailboxInfo(PART, f"{PART}:{self.part}", str(self.part), identity)

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every item of the folders that are wanted."""
        for line in self._lines().values():
            tally.advance(1, int(line["size"]))
            if not matcher.admits_folder(line["folder"]):
                continue
            try:
                _, content = self._reader.read(line["item"], line["evidence"])
            except DoesNotVerify as error:
                yield Unreadable(f"item {line['evidence']}", error.message, line["folder"], line["evidence"])
                continue
            view = MimeView(
                content,
                delivered=_delivered(line),
                delivered_from="the evidence",
                folder=line["folder"],
                flags=frozenset(line["flags"]),
            )
            yield _PartItem(line["evidence"], line["sha256"], view)
        tally.flush()

    def fetch(self, item_id: str) -> Fetched:
        """One item, its content checked against the hash in its line; DoesNotVerify where it is another."""
        line, content = self._reader.read(self._number(item_id), item_id)
        return Fetched(
            item_id,
            line["sha256"],
            content,
            line["folder"],
            frozenset(line["flags"]),
            _delivered(line),
            line["attributes"],
            notes=tuple(line["notes"]),
            stream=self._reader.read_stream(self._number(item_id), item_id),
        )

    def item(self, item_id: str) -> tuple[MapiItem | None, bool]:
        """One item property for property, None where the part has it as MIME alone; whether its source had it so."""
        number = self._number(item_id)
        return self._reader.read_item(number, item_id), self._lines()[number].get("properties") is not None

    def kind_of(self, item_id: str) -> str:
        """The kind of store that an item was fetched from."""
        line = self._lines()[self._number(item_id)]
        return str(line["source"]).partition(":")[0]

    def close(self) -> None:
        """Close what was opened."""
        self._reader.close()

    def _lines(self) -> Mapping[int, dict[str, Any]]:
        """The lines of the part; DoesNotVerify where one is not as the format has it (a case is input, S27)."""
        lines = self._reader.lines()
        if not self._checked:
            for number, line in lines.items():
                if not _is_line(line):
                    raise DoesNotVerify(f"{self.part / ITEMS}: item {number}: expected an item's line, found another")
            self._checked = True
        return lines

    def _number(self, item_id: str) -> int:
        if self._numbers is None:
            self._numbers = {line["evidence"]: number for number, line in self._lines().items()}
        if item_id not in self._numbers:
            raise ItemNotFound(f"{self.part}: there is no item {item_id[:100]!r}")
        return self._numbers[item_id]


def _is_line(line: dict[str, Any]) -> bool:
    fits = all(isinstance(line.get(key), kind) for key, kind in _FIELDS.items())
    texts = fits and all(isinstance(text, str) for text in (*line["flags"], *line["notes"]))
    if not texts or _EVIDENCE_ID.fullmatch(line["evidence"]) is None:
        return False
    try:
        _delivered(line)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _delivered(line: dict[str, Any]) -> datetime | None:
    return datetime.fromisoformat(line["delivered"]) if line["delivered"] else None


# From what the user named to what is read


def find_sources(given: str) -> Scope:
    """The mailboxes and parts of evidence that ``given`` means: a source as everywhere, or a case, a bag of it, or
    a directory of parts in that bag."""
    kind, _, rest = given.partition(":")
    named = bool(rest) and kind in registry.kinds()
    if named and not registry.store(kind).capabilities.local_files:
        return find_mailboxes([given])
    try:
        path = Path(rest if named else given).resolve(strict=True)
        root = enclosing_case(path)
    except (OSError, RuntimeError) as error:
        problem = error if isinstance(error, OSError) else OSError(0, "too many symbolic links")
        raise os_error(problem, Path(given), "opening the evidence") from error
    if root is not None and not named:
        return Scope(mailboxes=[PartSource(part).info for part in _parts(root, path)])
    if (path / ITEMS).exists() or (path / "bagit.txt").exists():
        raise UsageError(
            f"{given}: looks like evidence that was taken out of its case",
            hint="Name the case, or what is in the part: its messages.mbox or its directory eml.",
        )
    return find_mailboxes([given])


def _parts(root: Path, path: Path) -> list[Path]:
    """The parts of evidence at or below ``path`` in the case ``root``, its bag checked as ``restore`` checks it."""
    case = Case(root)
    if path == root:
        sealed = {
            record.get("plan") for record in read_chain(case.audit_path).records if record["type"] == "bag-sealed"
        }
        numbers = [n for n in case.plan_numbers() if n in sealed and read_plan(case, n).action.preserves]
        if not numbers:
            raise UsageError(
                f"{root}: no run of this case has preserved messages and come to its end",
                hint=f"See: excise status {root}",
            )
        number = max(numbers)
        path = case.bag_dir(number)
    else:
        bag = _BAG.fullmatch(path.relative_to(root).parts[0])
        if bag is None or not path.is_dir():
            raise Refused(
                "S28",
                f"{path}: lies in the case {root}; of a case only its sealed evidence can be imported",
                hint="Name the case, one of its bags, or a part in it (the directory part-NNN).",
            )
        number = int(bag[1])
    check_bags(case, read_chain(case.audit_path).records, [number])
    gathered = case.gathered_dir(number)
    # It holds again what the units' parts hold, so it is read where it alone is meant.
    alone = path == gathered or gathered in path.parents
    places = [gathered] if alone else sorted((case.bag_dir(number) / "data" / "evidence").glob("[0-9]*"))
    parts = [part for place in places for _, part in committed_parts(place)]
    found = [part for part in parts if part == path or path in part.parents]
    if not found:
        raise DamagedInput(f"{path}: expected evidence, found no part of it there")
    return found


def refuse_overlap(given: str, found: Scope, into: MailboxInfo) -> None:
    """Refuse a target that is what the messages come from, holds it, or lies in it (S28)."""
    target = _path(into)
    kind, _, rest = given.partition(":")
    named = Path(rest if rest and kind in registry.kinds() else given).resolve()
    places = [path for info in found.mailboxes if (path := _path(info)) is not None]
    for place in [named, *places] if target is not None else places:
        if target is not None and (place == target or place in target.parents or target in place.parents):
            raise Refused("S28", f"{into.name}: is what is imported, or one lies in the other: {place}")
    for info in found.mailboxes:
        if (info.kind, info.identity) == (into.kind, into.identity):
            raise Refused("S28", f"{into.name}: is the mailbox that is imported, under another name: {info.name}")


def _path(info: MailboxInfo) -> Path | None:
    """Where a mailbox of files lies; None for one that is no file."""
    if info.kind != PART and not registry.store(info.kind).capabilities.local_files:
        return None
    return Path(info.locator.partition(":")[2]).resolve()
