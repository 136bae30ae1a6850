"""How many messages each term of the criteria hits, tested on the preserved copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from excise.criteria import Criteria
from excise.criteria.evaluation import Test, compile_clause
from excise.criteria.rule import Clause
from excise.criteria.terms import Term
from excise.report.families import Family


class Hits:
    """Counts over the messages that ``count`` is told of."""

    COLUMNS: ClassVar = ("term", "messages", "messages_without_copies", "mailboxes")

    def __init__(self, criteria: Any) -> None:
        """``criteria``: their canonical form from a plan's header; None where there were none."""
        terms: list[Term] = []
        if criteria is not None:
            found = Criteria.from_canonical(criteria)
            terms = [term for branch in found.any_of for clause in branch.all_of for term in clause.any_of]
        self._kinds: Counter[str] = Counter(str(term.kind) for term in terms)
        self._tests: dict[str, Test] = {
            name_of(term): compile_clause(Clause(any_of=(term,)))[0] for term in terms if not term.negated
        }
        self._messages: Counter[str] = Counter()
        self._unique: Counter[str] = Counter()
        self._mailboxes: dict[str, set[str]] = {name: set() for name in self._tests}

    def count(self, family: Family, *, first: bool) -> list[str]:
        """The terms that hit a message; ``first``: it is no copy of one that was counted before.

        A term that is the only one of its kind holds where the search noted that its kind held: the source may have
        had what its copy in MIME has not.
        """
        noted = set(family.line.get("matched") or ())
        found = [
            name
            for name, test in self._tests.items()
            if (test.kind in noted and self._kinds[test.kind] == 1) or test.run(family.view) is True
        ]
        for name in found:
            self._messages[name] += 1
            self._unique[name] += first
            self._mailboxes[name].add(str(family.line["mailbox"]))
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row a term, those without hits too."""
        for name in self._tests:
            counts = (self._messages[name], self._unique[name], len(self._mailboxes[name]))
            yield dict(zip(self.COLUMNS, (name, *counts), strict=True))


def name_of(term: Term) -> str:
    """A term as it stands on the command line."""
    values = term.model_dump(mode="json")
    said = [str(value) for key, value in values.items() if key not in ("kind", "negated") and value is not None]
    return " ".join([str(term.kind), *said])
