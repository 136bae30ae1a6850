"""A message as a reviewer may safely see it: header fields, attachment names and text, never HTML or a file (S27).

It comes from the evidence where it is preserved, else from its mailbox, opened read-only. Looking is access: it is in
the case's audit log before anything is read (S22), without what was seen (S23).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from excise.case.chain import ChainedLog
from excise.case.layout import Case, who
from excise.case.parts import part_name
from excise.case.plan import Plan, UnitPlan, iterate_matches
from excise.core.errors import DoesNotVerify
from excise.core.text import shown_lines
from excise.engine.evidence import PartReader
from excise.engine.journal import ItemStatus, read_journal
from excise.model.mime import MimeView
from excise.model.view import MessageView
from excise.store_api import registry
from excise.store_api.errors import ItemChanged, MailboxChanged

_FIELDS = ("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "In-Reply-To", "Received")
_LONGEST = 8_000
_MOST = 50


@dataclass(frozen=True, slots=True)
class Preview:
    """What is shown. ``origin``: where it was read; ``cut``: the text goes on; ``problems``: what could not be read."""

    origin: str
    fields: tuple[tuple[str, str], ...]
    attachments: tuple[tuple[str, int | None], ...]
    text: str
    cut: bool
    problems: tuple[str, ...]


def preview(case: Case, plan: Plan, audit: ChainedLog, unit: UnitPlan, item: int) -> Preview:
    """Read one planned message and make it safe; the audit log is told first."""
    match = next((found for found in iterate_matches(plan, unit) if found["item"] == item), None)
    if match is None:
        raise DoesNotVerify(f"{plan.directory}: item {item} of unit {unit.unit} is not there")
    path = case.unit_dir(unit.unit) / "journal.jsonl"
    status = read_journal(path, range(1, unit.matches + 1))[0][item]
    origin = "evidence" if status.part and status.state != "fetched" else "mailbox"
    audit.append(
        {
            "type": "item-viewed",
            "plan": plan.number,
            "unit": unit.unit,
            "mailbox": unit.name,
            "item": item,
            "origin": origin,
            "who": who(),
        }
    )
    content = _preserved(case, plan, unit, item, status) if origin == "evidence" else _in_mailbox(unit, match)
    return _made_safe(MimeView(content), origin)


def _preserved(case: Case, plan: Plan, unit: UnitPlan, item: int, status: ItemStatus) -> bytes:
    part = PartReader(case.evidence_dir(plan.number, unit.unit) / part_name(status.part))
    try:
        line, content = part.read(item, f"{unit.unit:05}-{item:06}")
    finally:
        part.close()
    if line["sha256"] != status.sha256:
        raise DoesNotVerify(f"{part.part}: item {item}: not what was hashed when it was fetched")
    return content


def _in_mailbox(unit: UnitPlan, match: Mapping[str, Any]) -> bytes:
    mailbox = registry.store(unit.kind).open(unit.locator)
    try:
        if mailbox.info.identity != unit.identity:
            raise MailboxChanged(
                f"{unit.name}: expected the mailbox that was planned, found another one",
                hint="It was replaced since the plan was made.",
            )
        fetched = mailbox.fetch(match["id"])
    finally:
        mailbox.close()
    if not fetched.is_version(match["version"]):
        raise ItemChanged(f"{unit.name}: the message has changed since the plan was made: it would not be removed")
    return fetched.content


def _made_safe(view: MessageView, origin: str) -> Preview:
    text = ""
    for piece in view.texts():
        text += ("\n\n" if text else "") + piece[: _LONGEST + 1]
        if len(text) > _LONGEST:
            break
    plain = shown_lines(text[:_LONGEST].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    "))
    listed = tuple((" in ".join([found.name or "(no name)", *found.path]), found.size) for found in _attachments(view))
    problems = tuple(f"{problem.term_kind}: {problem.reason}" for problem in islice(view.problems(), _MOST))
    return Preview(origin, tuple(_fields(view)), listed, plain, len(text) > _LONGEST, problems)


def _attachments(view: MessageView) -> Iterator[Any]:
    return islice(view.attachments(), _MOST)


def _fields(view: MessageView) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        for value in view.header(name)[:10]:
            yield name, value[:2_000]
