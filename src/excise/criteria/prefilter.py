"""A fast look at the Subject fields of a raw header block.

Invariant (S07): it says "differs" only where the full test would surely say no. It looks at every line that might be
a Subject field, even behind what the full parser takes for the end of the block, and it gives up, rather than differ,
on anything odd.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from excise.criteria.evaluation import matches_subject
from excise.criteria.rule import Criteria
from excise.criteria.terms import SUBJECT_KINDS, Term
from excise.mime.headers import decode_header

_SUBJECT = re.compile(rb"\n[sS][uU][bB][jJ][eE][cC][tT][ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_JOURNAL = re.compile(rb"\n(?:[xX]-[mM][sS]-[jJ][oO]|[cC][oO][nN][tT][eE][nN][tT]-[iI][dD][eE])")


def subject_prefilter(criteria: Criteria) -> Callable[[bytes], bool] | None:
    """A function of a raw header block that is True only where no subject in it can satisfy ``criteria``.

    None where some branch does not depend on the subject.
    """
    terms: list[Term] = []
    for branch in criteria.any_of:
        clauses: list[tuple[Term, ...]] = [
            clause.any_of
            for clause in branch.all_of
            if all(term.kind in SUBJECT_KINDS and not term.negated for term in clause.any_of)
        ]
        if not clauses:
            return None
        # One clause that fails is enough for its branch to fail.
        terms += clauses[0]
    matches = matches_subject(terms)

    def differs(header: bytes) -> bool:
        block = b"\n" + header
        if b"\n" not in header or header.startswith(b"\xef\xbb\xbf") or _JOURNAL.search(block):
            return False
        found = _SUBJECT.findall(block)
        return not any(matches(decode_header(raw)) for raw in found or (b"",))

    return differs
