"""Terms compiled into tests of a message view.

A test answers True, False, or None where it cannot be told (S11). Terms of one kind in one clause are one test, so
that a list of ten thousand Message-IDs is one look-up. ``cost`` orders tests: what is cheap goes first.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from excise.core.errors import UsageError
from excise.core.text import normalise, strip_invisible
from excise.criteria.limits import has_wildcards
from excise.criteria.rule import Clause
from excise.criteria.terms import (
    DATE_KINDS,
    SUBJECT_KINDS,
    AddressTerm,
    DateTerm,
    HeaderTerm,
    SizeTerm,
    Term,
    compile_regex,
    folder_key,
)
from excise.model.message import Address, MessageView

#: True where the test holds for the view, None where the view lacks what it needs.
Answer: TypeAlias = bool | None
Run: TypeAlias = Callable[[MessageView], Answer]

_COSTS = {
    "folder": 0,
    "larger": 0,
    "smaller": 0,
    "subject": 1,
    "subject-contains": 1,
    "subject-prefix": 1,
    "subject-regex": 2,
    "message-id": 2,
    "conversation-id": 2,
    "header": 2,
    "received-since": 3,
    "received-before": 3,
    "sent-since": 3,
    "sent-before": 3,
    "from": 3,
    "recipient": 3,
    "item-class": 4,
    "attachment": 5,
    "attachment-sha256": 6,
    "body-contains": 7,
    "url": 8,
}
#: Kinds that a header block alone can answer.
HEADER_KINDS = frozenset({*SUBJECT_KINDS, *DATE_KINDS, "message-id", "header", "from", "recipient"})
#: Kinds that need the body.
BODY_KINDS = frozenset({"attachment", "attachment-sha256", "body-contains", "url", "item-class"})


class Test(NamedTuple):
    """All terms of one kind in one clause (a negated term is a test of its own)."""

    kind: str
    cost: int
    negated: bool
    run: Run


def compile_clause(clause: Clause) -> tuple[Test, ...]:
    """The tests of which one must hold, the cheapest first."""
    groups: dict[tuple[str, int], list[Term]] = {}
    for number, term in enumerate(clause.any_of, 1):
        groups.setdefault((term.kind, number if term.negated else 0), []).append(term)
    tests = [
        Test(kind, _COSTS[kind], bool(number), _COMPILERS[kind](terms)) for (kind, number), terms in groups.items()
    ]
    return tuple(sorted(tests, key=lambda test: test.cost))


def readable(text: str) -> str:
    """The form of a subject that a pattern runs on: NFKC, invisible marks dropped, white space collapsed, case kept."""
    text = strip_invisible(unicodedata.normalize("NFKC", strip_invisible(text)))
    return " ".join(_without_surrogates(text).replace("\0", " ").split())


def _without_surrogates(text: str) -> str:
    """RE2 takes no lone surrogates; MAPI strings and UTF-7 may hold them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def matches_subject(terms: Iterable[Term]) -> Callable[[str], bool]:
    """A test of one decoded subject against the given subject terms of all four kinds."""
    by_kind: dict[str, list[str]] = {}
    for term in terms:
        by_kind.setdefault(term.kind, []).append(getattr(term, "text", ""))
    whole = frozenset(map(normalise, by_kind.get("subject", ())))
    parts = tuple(map(normalise, by_kind.get("subject-contains", ())))
    starts = tuple(map(normalise, by_kind.get("subject-prefix", ())))
    patterns = tuple(map(compile_regex, by_kind.get("subject-regex", ())))

    def test(subject: str) -> bool:
        text = normalise(subject)
        if text in whole or text.startswith(starts) or any(part in text for part in parts):
            return True
        return bool(patterns) and any(pattern.search(readable(subject)) for pattern in patterns)

    return test


def _subject(terms: list[Term]) -> Run:
    test = matches_subject(terms)
    # No Subject field counts as an empty subject.
    return lambda view: any(map(test, view.subjects or ("",)))


def _names(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test of one normalised name; patterns with wildcards run on RE2, so that no name can hang it."""
    normalised = [normalise(pattern) for pattern in patterns]
    whole = frozenset(pattern for pattern in normalised if not has_wildcards(pattern))
    wild = [pattern for pattern in normalised if pattern not in whole]
    if not wild:
        return whole.__contains__
    alternatives = "|".join(
        "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern) for pattern in wild
    )
    compiled = compile_wildcards(alternatives)
    return lambda name: name in whole or compiled.fullmatch(_without_surrogates(name)) is not None


def compile_wildcards(alternatives: str) -> Any:
    """RE2 over the given alternatives, ``.`` standing for any character; more than it can hold is a ``UsageError``."""
    import re2

    options = re2.Options()
    options.max_mem, options.log_errors = 64 << 20, False
    try:
        return re2.compile(f"(?s:{alternatives})", options)
    except re2.error as error:
        raise UsageError("there are too many names with wildcards", hint="Search for fewer of them at once.") from error


def _attachment(terms: list[Term]) -> Run:
    test = _names(term.text for term in terms if term.kind == "attachment")

    def run(view: MessageView) -> Answer:
        return any(test(normalise(name)) for attachment in view.attachments() for name in attachment.names)

    return run


def _digest(terms: list[Term]) -> Run:
    wanted = frozenset(term.text for term in terms if term.kind == "attachment-sha256")
    return lambda view: any(attachment.sha256() in wanted for attachment in view.attachments())


#: Quotes around a dot-atom. Quotes around anything else (spaces, an empty string, escapes) carry meaning and stay.
_QUOTED_ATOM = re.compile(r'"([^\s"\\(),:;<>@\[\].]+(?:\.[^\s"\\(),:;<>@\[\].]+)*)"')


def address_key(address: str) -> str:
    """An address as it is compared: normalised, its domain in Unicode whether it was written so or in ``xn--`` form.

    A local part in quotes that need not be there is the one without them (RFC 5321 4.1.2).
    """
    local, at, domain = normalise(address).rpartition("@")
    if (quoted := _QUOTED_ATOM.fullmatch(local)) is not None:
        local = quoted[1]
    if "xn--" in domain and len(domain) < 256:
        with contextlib.suppress(UnicodeError):
            domain = normalise(domain.encode("ascii").decode("idna"))
    return f"{local}{at}{domain.rstrip('.')}"


def _address(terms: list[Term], read: Callable[[MessageView], tuple[Address, ...]]) -> Run:
    addresses = [term for term in terms if isinstance(term, AddressTerm)]
    whole = frozenset(address_key(term.text) for term in addresses if not term.is_domain)
    domains = frozenset(address_key(term.text) for term in addresses if term.is_domain)

    def run(view: MessageView) -> Answer:
        keys = [address_key(address.address) for address in read(view)]
        return any(key in whole or "@" + key.rpartition("@")[2] in domains for key in keys if key)

    return run


def message_id_key(text: str) -> str:
    """A Message-ID as it is compared: without angle brackets, white space and a comment after it, in any case."""
    folded = "".join(normalise(text).split())
    bracketed = re.match(r"<([^<>]+)>", folded)
    return bracketed[1] if bracketed else folded.strip("<>")


def _message_id(terms: list[Term]) -> Run:
    wanted = frozenset(message_id_key(term.text) for term in terms if term.kind == "message-id")
    return lambda view: view.message_id is not None and message_id_key(view.message_id) in wanted


def _conversation(terms: list[Term]) -> Run:
    wanted = frozenset(term.text for term in terms if term.kind == "conversation-id")
    return lambda view: view.conversation_id in wanted


def _header(terms: list[Term]) -> Run:
    wanted = [(term.name, normalise(term.text)) for term in terms if isinstance(term, HeaderTerm)]

    def run(view: MessageView) -> Answer:
        return any(text in normalise(value) for name, text in wanted for value in view.header(name))

    return run


def _body(terms: list[Term]) -> Run:
    wanted = [normalise(term.text) for term in terms if term.kind == "body-contains"]

    def run(view: MessageView) -> Answer:
        return any(text in body for body in map(normalise, view.texts()) for text in wanted)

    return run


def _url(terms: list[Term]) -> Run:
    wanted = ["".join(normalise(term.text).split()) for term in terms if term.kind == "url"]

    def run(view: MessageView) -> Answer:
        return any(text in link for link in map(normalise, view.links()) for text in wanted)

    return run


def _item_class(terms: list[Term]) -> Run:
    test = _names(term.text for term in terms if term.kind == "item-class")

    def run(view: MessageView) -> Answer:
        found = view.item_class
        return None if found is None else test(normalise(found))

    return run


def _size(terms: list[Term]) -> Run:
    sizes = [term for term in terms if isinstance(term, SizeTerm)]

    def run(view: MessageView) -> Answer:
        size = view.size
        if size is None:
            return None
        return any(size > term.size if term.kind == "larger" else size < term.size for term in sizes)

    return run


def _date(terms: list[Term]) -> Run:
    dates = [term for term in terms if isinstance(term, DateTerm)]
    kind = dates[0].kind

    def run(view: MessageView) -> Answer:
        moment: datetime | None = view.received if kind.startswith("received") else view.sent
        if moment is None:
            return None
        return any(moment >= term.at if kind.endswith("since") else moment < term.at for term in dates)

    return run


def _folder(terms: list[Term]) -> Run:
    wanted = [folder_key(term.text) for term in terms if term.kind == "folder"]

    def run(view: MessageView) -> Answer:
        key = folder_key(view.folder)
        return any(key[: len(prefix)] == prefix for prefix in wanted)

    return run


_COMPILERS: dict[str, Callable[[list[Term]], Run]] = {
    "subject": _subject,
    "subject-contains": _subject,
    "subject-prefix": _subject,
    "subject-regex": _subject,
    "attachment": _attachment,
    "attachment-sha256": _digest,
    "from": lambda terms: _address(terms, lambda view: view.senders),
    "recipient": lambda terms: _address(terms, lambda view: view.recipients),
    "message-id": _message_id,
    "conversation-id": _conversation,
    "header": _header,
    "body-contains": _body,
    "url": _url,
    "item-class": _item_class,
    "larger": _size,
    "smaller": _size,
    "received-since": _date,
    "received-before": _date,
    "sent-since": _date,
    "sent-before": _date,
    "folder": _folder,
}
#: Why a test could not be made, where the view itself reports nothing for its kind.
MISSING = {
    "larger": "the item's size is not known",
    "smaller": "the item's size is not known",
    "received-since": "the item has no time of receipt that can be read",
    "received-before": "the item has no time of receipt that can be read",
    "sent-since": "the item has no time of sending that can be read",
    "sent-before": "the item has no time of sending that can be read",
    "item-class": "the item's class is not known",
}
