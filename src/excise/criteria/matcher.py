"""The one matcher (S07): it decides what matches, whatever a server or an index proposed.

Invariants: ``untestable`` is empty unless the outcome is not known, and then ``matched`` is False. ``rejects`` and
``rejects_header`` are True only where ``test`` of the whole message gives ``matched=False`` with nothing untestable.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple, TypeAlias

from excise.criteria.evaluation import BODY_KINDS, HEADER_KINDS, MISSING, Answer, Test, compile_clause
from excise.criteria.prefilter import subject_prefilter
from excise.criteria.rule import Criteria
from excise.model.message import MessageView, Untestable
from excise.model.mime import MimeView

_Clause: TypeAlias = tuple[Test, ...]


class Verdict(NamedTuple):
    """Whether an item matches, and the terms (names of options) that were found to hold.

    ``untestable``: where the outcome is not known, what could not be tested and why (S11); empty in every other case.
    """

    matched: bool
    terms: tuple[str, ...] = ()
    untestable: tuple[Untestable, ...] = ()


_NO_MATCH = Verdict(False)


class Matcher:
    """``criteria`` made ready to test messages."""

    def __init__(self, criteria: Criteria) -> None:
        criteria.require_limits()
        self.criteria = criteria
        self._branches = tuple(
            tuple(sorted(map(compile_clause, branch.all_of), key=lambda tests: tests[-1].cost))
            for branch in criteria.any_of
        )
        self._header_branches = self._of_kinds(HEADER_KINDS)
        self._subject_differs = subject_prefilter(criteria)

    @property
    def needs_body(self) -> bool:
        """True where some term needs more than the header block."""
        return bool(self.criteria.kinds() & BODY_KINDS)

    def kinds(self) -> frozenset[str]:
        """The kinds of all terms."""
        return self.criteria.kinds()

    def admits_folder(self, path: str) -> bool:
        """False only where no item of the folder ``path`` can match."""
        return self.criteria.admits_folder(path)

    def test(self, view: MessageView) -> Verdict:
        """Test one message. Dear terms are tested only while the outcome depends on them."""
        doubts: dict[Untestable, None] = {}
        for branch in self._branches:
            verdict = _test_branch(branch, view)
            if verdict.matched:
                return verdict
            doubts.update(dict.fromkeys(verdict.untestable))
        return Verdict(False, (), tuple(doubts)) if doubts else _NO_MATCH

    def may_reject_by(self, kinds: Container[str]) -> bool:
        """True where terms of ``kinds`` alone can be enough to tell that a message does not match."""
        return all(self._of_kinds(kinds))

    def rejects(self, part: MessageView) -> bool:
        """True only where the message of which ``part`` tells something surely does not match.

        ``part`` answers each kind of term as the whole message would, or gives it as untestable.
        """
        return all(
            any(
                all(not part.untestable(test.kind) and _ask(test, part) is False for test in clause)
                for clause in branch
            )
            for branch in self._branches
        )

    def _of_kinds(self, kinds: Container[str]) -> tuple[tuple[_Clause, ...], ...]:
        """What is left of each branch where terms of other kinds cannot be answered: clauses of ``kinds`` alone."""
        return tuple(
            tuple(clause for clause in branch if all(test.kind in kinds for test in clause))
            for branch in self._branches
        )

    def rejects_header(self, header: bytes) -> bool:
        """True only where the message that begins with ``header`` surely does not match.

        ``header``: at least the whole header block; what follows it does no harm.
        """
        if self._subject_differs is not None and self._subject_differs(header):
            return True
        if not all(self._header_branches):
            return False
        view = MimeView(header)
        return not view.claims_journal and all(
            any(all(_ask(test, view) is False for test in clause) for clause in branch)
            for branch in self._header_branches
        )


def _ask(test: Test, view: MessageView) -> Answer:
    """The test's answer for ``view``, negation and what could not be read taken into account."""
    answer = test.run(view)
    if answer is False and view.untestable(test.kind):
        answer = None
    return not answer if test.negated and answer is not None else answer


def _test_branch(branch: tuple[_Clause, ...], view: MessageView) -> Verdict:
    held: dict[str, None] = {}
    doubtful: list[Test] = []
    for clause in branch:
        unsure = []
        for test in clause:
            answer = _ask(test, view)
            if answer:
                if not test.negated:
                    held[test.kind] = None
                break
            if answer is None:
                unsure.append(test)
        else:
            if not unsure:
                return _NO_MATCH
            doubtful += unsure
    if not doubtful:
        return Verdict(True, tuple(held))
    return Verdict(False, (), tuple(dict.fromkeys(reason for test in doubtful for reason in _reasons(test, view))))


def _reasons(test: Test, view: MessageView) -> tuple[Untestable, ...]:
    return view.untestable(test.kind) or (Untestable(test.kind, MISSING[test.kind]),)
