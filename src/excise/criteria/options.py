"""Criteria from the options of the command line, and from TOML.

Options and TOML have the same names (TOML with ``-`` or ``_``). Terms of one kind are alternatives, different kinds
must all hold; ``any = true`` makes subject and attachment terms alternatives of each other. In TOML the top level is
one branch; several branches, of which one must hold, are written as ``[[branch]]`` tables instead. A table ``not`` in
either holds terms none of which may hold::

    received-since = 2026-01-02          # a date alone is midnight in `timezone`
    timezone = "Europe/Berlin"
    subject = ["Invoice overdue"]
    attachment = ["*.exe"]
    any = true

    [not]
    from = ["billing@example.com"]

Lists may be given as a single string. A list that is there but empty is refused (S01): it would widen the search.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from excise.core.errors import Refused, UsageError
from excise.core.text import shown
from excise.criteria.rule import Clause
from excise.criteria.terms import (
    ATTACHMENT_KINDS,
    DATE_KINDS,
    SUBJECT_KINDS,
    AddressTerm,
    AttachmentTerm,
    ConversationTerm,
    DateTerm,
    DigestTerm,
    FolderTerm,
    HeaderTerm,
    ItemClassTerm,
    RegexTerm,
    SizeTerm,
    Term,
    TextTerm,
)

_UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9} | {
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_SIZE = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))?\s*([a-z]*)")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_SWITCHES = frozenset({"any", "with_replies", "timezone"})


def _header_term(text: str, negated: bool) -> Term:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--header {shown(text)!r} has no =", hint="Give NAME=TEXT.")
    return HeaderTerm(kind="header", name=name.strip(), text=value, negated=negated)


def _text_term(kind: Any) -> Callable[[str, bool], Term]:
    return lambda text, negated: TextTerm(kind=kind, text=text, negated=negated)


def _address_term(kind: Any) -> Callable[[str, bool], Term]:
    return lambda text, negated: AddressTerm(kind=kind, text=text.strip(), negated=negated)


#: Option (with underscores) -> how one of its values becomes a term.
_LISTS: dict[str, Callable[[str, bool], Term]] = {
    "subject": _text_term("subject"),
    "subject_contains": _text_term("subject-contains"),
    "subject_prefix": _text_term("subject-prefix"),
    "subject_regex": lambda text, negated: RegexTerm(kind="subject-regex", text=text, negated=negated),
    "attachment": lambda text, negated: AttachmentTerm(kind="attachment", text=text, negated=negated),
    "attachment_sha256": lambda text, negated: DigestTerm(
        kind="attachment-sha256", text="".join(text.split()).lower(), negated=negated
    ),
    "from": _address_term("from"),
    "recipient": _address_term("recipient"),
    "message_id": _text_term("message-id"),
    "message_ids": _text_term("message-id"),
    "conversation_id": lambda text, negated: ConversationTerm(
        kind="conversation-id", text="".join(text.split()).lower(), negated=negated
    ),
    "body_contains": _text_term("body-contains"),
    "url": _text_term("url"),
    "header": _header_term,
    "item_class": lambda text, negated: ItemClassTerm(kind="item-class", text=text, negated=negated),
    "folder": lambda text, negated: FolderTerm(kind="folder", text=text, negated=negated),
    "exclude_folder": lambda text, negated: FolderTerm(kind="folder", text=text, negated=not negated),
}
_SCALARS = ("larger", "smaller", *(kind.replace("-", "_") for kind in DATE_KINDS))
#: Every option that criteria are made of, with underscores.
OPTIONS = frozenset({*_LISTS, *_SCALARS, *_SWITCHES})


def branch_from_options(options: Mapping[str, Any]) -> tuple[Clause, ...]:
    """The clauses for the given options. None, False and an empty list (but for ``message_ids``) count as not given."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        key = "from" if name == "from_" else "any" if name == "any_" else name.replace("-", "_")
        if key not in OPTIONS:
            raise UsageError(
                f"there is no criterion named {shown(name)!r}", hint=f"Known: {', '.join(sorted(OPTIONS))}."
            )
        if key == "message_ids" and value is not None:
            value = list(value)
            if not value:
                raise Refused("S01", "the list of Message-IDs is empty", hint="Give a file that holds at least one.")
        if value is not None and value is not False and not (isinstance(value, list | tuple) and not value):
            given[key] = value
    return _clauses(given, {})


def branches_from_toml(source: str | Mapping[str, Any], where: str) -> list[tuple[Clause, ...]]:
    """The branches of a TOML text or table."""
    table = _parsed(source, where)
    branches = table.pop("branch", None)
    if branches is None:
        return [_branch_from_table(table, where)]
    if not isinstance(branches, list) or not all(isinstance(branch, dict) for branch in branches):
        raise UsageError(f"{where}: branch must be written as [[branch]] tables")
    common = {name: table.pop(name) for name in ("timezone",) if name in table}
    if table:
        raise UsageError(
            f"{where}: {', '.join(map(shown, sorted(table)))} beside [[branch]] would be ambiguous",
            hint="Write these terms into each [[branch]] that they belong to.",
        )
    if not branches:
        raise Refused("S01", f"{where}: there is no branch")
    return [
        _branch_from_table({**common, **_underscored(branch, where)}, f"{where}, branch {number}")
        for number, branch in enumerate(branches, 1)
    ]


def _parsed(source: str | Mapping[str, Any], where: str) -> dict[str, Any]:
    if isinstance(source, str):
        try:
            source = tomllib.loads(source)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
            raise UsageError(f"{where}: not TOML: {shown(str(error), 200)}") from error
    return _underscored(source, where)


def _underscored(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = name.replace("-", "_")
        if key in found:
            raise UsageError(f"{where}: {shown(name)} is given twice, once with - and once with _")
        found[key] = value
    return found


def _branch_from_table(table: dict[str, Any], where: str) -> tuple[Clause, ...]:
    negated = table.pop("not", {})
    if not isinstance(negated, Mapping):
        raise UsageError(f"{where}: not must be a table of terms")
    negated = _underscored(negated, where)
    unknown = [name for name in table if name not in OPTIONS] + [
        f"not.{name}" for name in negated if name not in OPTIONS - _SWITCHES
    ]
    if unknown:
        raise UsageError(
            f"{where}: there is no criterion named {', '.join(map(shown, unknown))}",
            hint=f"Known: {', '.join(sorted(name.replace('_', '-') for name in OPTIONS))}, not, [[branch]].",
        )
    for name, value in [*table.items(), *negated.items()]:
        if isinstance(value, list) and not value:
            raise Refused("S01", f"{where}: {name} is an empty list", hint="Leave it out, or name what to look for.")
    return _clauses(table, negated)


def _clauses(given: Mapping[str, Any], negated: Mapping[str, Any]) -> tuple[Clause, ...]:
    if _switch(given, "with_replies"):
        raise UsageError(
            "--with-replies is no criterion: it says what belongs to the messages that the criteria match",
            hint="Give it on the line of search, plan, copy, move or purge, or later: excise sweep CASE --with-replies",
        )
    zone = resolve_timezone(given.get("timezone"))
    groups: dict[str, list[Term]] = {}
    either = _switch(given, "any")
    for name, value in given.items():
        if name in _SWITCHES:
            continue
        for term in _terms(name, value, zone, negated=False):
            groups.setdefault(_group(name, term, either), []).append(term)
    clauses = [Clause(any_of=tuple(terms)) for terms in groups.values()]
    for name, value in negated.items():
        clauses += [Clause(any_of=(term,)) for term in _terms(name, value, zone, negated=True)]
    _check_ranges(clauses)
    return tuple(clauses)


def _group(name: str, term: Term, either: bool) -> str:
    """Terms of one group are alternatives; each folder that is excluded stands alone, since all of them must be."""
    if term.negated:
        return f"{name} {term.text if term.kind == 'folder' else ''}"
    if term.kind in SUBJECT_KINDS:
        return "subject"
    if term.kind in ATTACHMENT_KINDS:
        return "subject" if either else "attachment"
    return term.kind


def _terms(name: str, value: Any, zone: tzinfo, *, negated: bool) -> Iterable[Term]:
    kind: Any = name.replace("_", "-")
    if name in ("larger", "smaller"):
        return [SizeTerm(kind=kind, size=parse_size(value, kind), negated=negated)]
    if name in _SCALARS:
        return [DateTerm(kind=kind, at=parse_moment(value, zone, kind), negated=negated)]
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple | set | frozenset) or not all(isinstance(text, str) for text in values):
        raise UsageError(f"{kind} must be a text or a list of texts, not {shown(repr(value), 80)}")
    return [_LISTS[name](text, negated) for text in values]


def _switch(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"{name.replace('_', '-')} must be true or false, not {shown(repr(value), 80)}")
    return value


def _check_ranges(clauses: Iterable[Clause]) -> None:
    limits: dict[str, Term] = {term.kind: term for clause in clauses for term in clause.any_of if not term.negated}
    for since, before in (("received-since", "received-before"), ("sent-since", "sent-before")):
        start, end = limits.get(since), limits.get(before)
        if isinstance(start, DateTerm) and isinstance(end, DateTerm) and start.at >= end.at:
            raise UsageError(f"--{before} is not after --{since}: no message can match", hint="The end is exclusive.")


def parse_size(value: object, kind: str) -> int:
    """Bytes in ``10GB`` (decimal), ``10MiB`` (binary), ``1.5MB``, ``4096`` or an integer."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    unit = _UNITS.get(match[3]) if match else None
    if match is None or unit is None:
        raise UsageError(f"--{kind} {shown(str(value), 80)!r} is not a size", hint="Give bytes, or 500kB, 10MB, 2GiB.")
    fraction = match[2] or ""
    return int(match[1]) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def parse_moment(value: object, zone: tzinfo, kind: str) -> datetime:
    """An ISO 8601 date or time, aware, in UTC: a date is midnight in ``zone``, a time without offset lies in it."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"--{kind} {shown(str(value), 80)!r} is not a date or time of ISO 8601",
        hint="Give 2026-01-02, 2026-01-02T13:30 or 2026-01-02T13:30+01:00.",
    )


def resolve_timezone(name: object) -> tzinfo:
    """The zone ``name``: IANA (``Europe/Berlin``), ``UTC`` or ``+01:00``; None gives the machine's own."""
    if name is None:
        return _LocalZone()
    if isinstance(name, str):
        if name.upper() in ("UTC", "Z"):
            return UTC
        match = _OFFSET.fullmatch(name)
        try:
            if match:
                offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
                return timezone(-offset if match[1] == "-" else offset)
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):
            pass
    raise UsageError(f"--timezone {shown(str(name), 80)!r} is not known", hint="Give Europe/Berlin, UTC or +01:00.")


class _LocalZone(tzinfo):
    """The machine's zone with its rules for the date in question, not only today's offset."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        return None if dt is None else dt.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        return None if dt is None else timedelta(0)

    def tzname(self, dt: datetime | None) -> str | None:
        return None if dt is None else dt.replace(tzinfo=None).astimezone().tzname()
