"""What to look for, and the one matcher that decides what matches (S07)."""

from __future__ import annotations

from excise.criteria.matcher import Matcher, Verdict
from excise.criteria.rule import Branch, Clause, Criteria

__all__ = ["Branch", "Clause", "Criteria", "Matcher", "Verdict"]
