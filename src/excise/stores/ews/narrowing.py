"""Criteria as restrictions, where that is safe (S07, S08).

Safe is what a server compares as the matcher does: the time of receipt. Subjects, Message-IDs, people, texts and
attachments are never left to it: it does not fold letters, drop invisible marks and white space or decode as the
matcher does, and a thousand rows that hold them cost one request. Message-IDs serve only to find again an item that
was seen, by the very value that the server gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from excise.core.clock import iso
from excise.criteria.rule import Branch, Criteria
from excise.criteria.terms import DateTerm
from excise.stores.ews.bodies import field
from excise.stores.ews.soap import attribute

_MOST_IDS = 20
_LONGEST = 200
#: Servers keep times to the second, or finer than they show.
_SLACK = timedelta(seconds=2)


def restriction_for(criteria: Criteria) -> str:
    """A restriction that every match of ``criteria`` fulfils; empty where there is none that is safe."""
    branches = criteria.any_of
    since = [_bound(branch, "received-since", max) for branch in branches]
    before = [_bound(branch, "received-before", min) for branch in branches]
    parts = []
    if all(since):
        parts.append(_compare("IsGreaterThan", min(one for one in since if one) - _SLACK))
    if all(before):
        parts.append(_compare("IsLessThan", max(one for one in before if one) + _SLACK))
    return _all(parts) if len(parts) > 1 else "".join(parts)


def message_id_restriction(ids: Iterable[str | None]) -> str:
    """A restriction that every item with one of these Message-IDs fulfils; empty where one is not safe."""
    wanted = list(dict.fromkeys(ids))
    if not 0 < len(wanted) <= _MOST_IDS:
        return ""
    found = [one for one in wanted if one is not None and _is_plain(one)]
    return _any([_contains(one) for one in found]) if len(found) == len(wanted) else ""


def _bound(branch: Branch, kind: str, tighter: Callable[[list[datetime]], datetime]) -> datetime | None:
    """The bound that every match of ``branch`` keeps; None where there is none."""
    found = [
        term.at
        for clause in branch.all_of
        if len(clause.any_of) == 1
        for term in clause.any_of
        if isinstance(term, DateTerm) and term.kind == kind and not term.negated
    ]
    return tighter(found) if found else None


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable() and " " not in text


def _contains(text: str) -> str:
    return (
        '<t:Contains ContainmentMode="Substring" ContainmentComparison="IgnoreCase">'
        f"{field('message:InternetMessageId')}<t:Constant Value={attribute(text.strip('<> '))}/></t:Contains>"
    )


def _compare(name: str, at: datetime) -> str:
    value = f'<t:FieldURIOrConstant><t:Constant Value="{iso(at.replace(microsecond=0))}"/></t:FieldURIOrConstant>'
    return f"<t:{name}>{field('item:DateTimeReceived')}{value}</t:{name}>"


def _all(parts: list[str]) -> str:
    return f"<t:And>{''.join(parts)}</t:And>"


def _any(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"<t:Or>{''.join(parts)}</t:Or>"
