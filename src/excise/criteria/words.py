"""The rule in words, as a person is asked to confirm it: nothing in a term can pose as part of the rule (S27)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from excise.core.clock import iso
from excise.core.text import count_of, shown
from excise.criteria.terms import (
    AddressTerm,
    AttachmentTerm,
    DateTerm,
    HeaderTerm,
    ItemClassTerm,
    RegexTerm,
    SizeTerm,
    Term,
)

if TYPE_CHECKING:
    from excise.criteria.rule import Branch, Clause, Criteria

#: Alternatives that are spelt out; of more (lists of Message-IDs) the rest is counted.
MAX_ALTERNATIVES = 20
_VERBS = {
    "subject": "subject is",
    "subject-contains": "subject contains",
    "subject-prefix": "subject begins with",
    "message-id": "Message-ID is",
    "body-contains": "the body contains",
    "url": "a link contains",
    "attachment": "an attachment is named",
    "from": "the sender is",
    "recipient": "a recipient is",
    "item-class": "item class is",
}
_DATES = {
    "received-since": "received on or after",
    "received-before": "received before",
    "sent-since": "sent on or after",
    "sent-before": "sent before",
}
#: The property that a date tests (S02).
RECEIVED_PROPERTY = (
    "the topmost Received header with a date, else the time that the store keeps (From_ line, file time), or "
    "PidTagMessageDeliveryTime of MAPI items"
)
SENT_PROPERTY = "the Date header, or PidTagClientSubmitTime of MAPI items"


def rule_in_words(criteria: Criteria) -> str:
    """``criteria`` as a sentence; dates in UTC, and at the end the property that each date tests."""
    branches = [_branch(branch) for branch in criteria.any_of]
    rule = branches[0] if len(branches) == 1 else " OR ".join(f"({branch})" for branch in branches)
    kinds = criteria.kinds()
    notes = []
    if kinds & {"received-since", "received-before"}:
        notes.append(f"received: {RECEIVED_PROPERTY}")
    if kinds & {"sent-since", "sent-before"}:
        notes.append(f"sent: {SENT_PROPERTY}")
    return f"{rule} [{'; '.join(notes)}]" if notes else rule


def _branch(branch: Branch) -> str:
    return " AND ".join(_clause(clause) for clause in branch.all_of)


def _clause(clause: Clause) -> str:
    terms = [_term(term) for term in clause.any_of[:MAX_ALTERNATIVES]]
    more = len(clause.any_of) - len(terms)
    if more:
        terms.append(f"{count_of(more, 'more alternative')}, all in the JSON form")
    return terms[0] if len(terms) == 1 else f"({' OR '.join(terms)})"


def _term(term: Term) -> str:
    if term.kind == "folder":
        return f"{'not ' if term.negated else ''}in folder {_quoted(term.text)} or below"
    words = _positive(term)
    return f"NOT ({words})" if term.negated else words


def _positive(term: Term) -> str:
    if isinstance(term, DateTerm):
        return f"{_DATES[term.kind]} {iso(term.at)}"
    if isinstance(term, SizeTerm):
        return f"{term.kind} than {term.size:,} bytes"
    if isinstance(term, HeaderTerm):
        return f"header {_quoted(term.name)} contains {_quoted(term.text)}"
    if isinstance(term, RegexTerm):
        # \x22 is the same to RE2, and leaves no quotation mark inside the quotation marks.
        return f'subject matches the pattern "{shown(term.text).replace(chr(34), chr(92) + "x22")}"'
    if isinstance(term, AddressTerm) and term.is_domain:
        return f"{'the sender' if term.kind == 'from' else 'a recipient'} is of the domain {_quoted(term.text[1:])}"
    if term.kind == "conversation-id":
        return f"the server's conversation id is {term.text}"
    if term.kind == "attachment-sha256":
        return f"an attachment has the SHA-256 {term.text}"
    wild = isinstance(term, AttachmentTerm | ItemClassTerm) and any(char in "*?" for char in term.text)
    note = " (* and ? are wildcards)" if wild else ""
    return f"{_VERBS[term.kind]} {_quoted(term.text)}{note}"


def _quoted(text: str) -> str:
    return '"' + shown(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
