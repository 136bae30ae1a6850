"""Criteria: what to look for, as one immutable value that cannot be empty (S01).

``Criteria`` is an OR of branches, a branch an AND of clauses, a clause an OR of terms. However it is built, each
branch holds a clause whose every term is positive and limits; otherwise ``Refused`` is raised. Terms, clauses and
branches are kept without repetition in one fixed order, so that two criteria that mean the same by construction are
equal and have one digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from excise.core.digests import canonical_json, json_sha256
from excise.core.errors import DamagedInput, Refused, UsageError
from excise.core.text import shown
from excise.criteria.terms import ATTACHMENT_KINDS, DATE_KINDS, NARROWING, SUBJECT_KINDS, Term, folder_key

FORMAT = 1
_ORDER = (
    *DATE_KINDS,
    *("folder", "larger", "smaller", "item-class"),
    *SUBJECT_KINDS,
    *("from", "recipient", "message-id", "conversation-id", "header"),
    *ATTACHMENT_KINDS,
    *("body-contains", "url"),
)
_EMPTY_HINT = "Name something that the messages looked for have in common, such as a subject or an attachment."


class Clause(BaseModel):
    """Alternatives: one of ``any_of`` must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_of: tuple[Term, ...]

    @field_validator("any_of")
    @classmethod
    def _ordered(cls, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        if not terms:
            raise Refused("S01", "a clause without terms", hint=_EMPTY_HINT)
        return tuple(sorted(dict.fromkeys(terms), key=_term_key))

    def limits(self) -> bool:
        """True where whatever satisfies the clause is limited (S01)."""
        return all(term.limits() for term in self.any_of)

    def allows_removal(self, allow: frozenset[str]) -> bool:
        """True where every alternative does more than narrow (S02), or is allowed by name."""
        return self.limits() and all((term.narrowing_name() or "") in allow | {""} for term in self.any_of)


class Branch(BaseModel):
    """Clauses that must all hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    all_of: tuple[Clause, ...]

    @field_validator("all_of")
    @classmethod
    def _ordered(cls, clauses: tuple[Clause, ...]) -> tuple[Clause, ...]:
        return tuple(sorted(dict.fromkeys(clauses), key=_clause_key))


class Criteria(BaseModel):
    """What to look for: one of ``any_of`` must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_of: tuple[Branch, ...]

    @field_validator("any_of")
    @classmethod
    def _ordered(cls, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
        return tuple(sorted(dict.fromkeys(branches), key=_branch_key))

    @model_validator(mode="after")
    def _cannot_be_empty(self) -> Criteria:
        self.require_limits()
        return self

    @classmethod
    def from_options(cls, **options: Any) -> Criteria:
        """Criteria from option names with underscores (``subject_contains=["x"]``); see ``excise.criteria.options``."""
        from excise.criteria.options import branch_from_options

        return cls(any_of=(Branch(all_of=branch_from_options(options)),))

    @classmethod
    def from_toml(cls, source: str | Mapping[str, Any], where: str = "the criteria") -> Criteria:
        """Criteria from TOML text or its table (``excise.criteria.options``); ``where`` names it in messages."""
        from excise.criteria.options import branches_from_toml

        return cls(any_of=tuple(Branch(all_of=clauses) for clauses in branches_from_toml(source, where)))

    @classmethod
    def from_canonical(cls, value: object) -> Criteria:
        """The reverse of ``canonical``; anything else is ``DamagedInput``, or ``Refused`` where it would be empty."""
        if not isinstance(value, dict) or value.get("format") != FORMAT or value.keys() != {"format", "any_of"}:
            raise DamagedInput(f"these are not criteria of format {FORMAT}")
        try:
            return cls.model_validate({"any_of": value["any_of"]})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DamagedInput(f"criteria cannot be read at {shown(where, 200)}: {shown(first['msg'], 200)}") from error
        except UsageError as error:
            raise DamagedInput(f"criteria cannot be read: {error.message}") from error
        except RecursionError as error:
            raise DamagedInput("criteria are nested too deeply") from error

    def canonical(self) -> dict[str, Any]:
        """The criteria as JSON values, in one fixed order."""
        return {"format": FORMAT, **self.model_dump(mode="json")}

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical form, in hex."""
        return json_sha256(self.canonical())

    def words(self) -> str:
        """The rule in words, safe to show."""
        from excise.criteria.words import rule_in_words

        return rule_in_words(self)

    def kinds(self) -> frozenset[str]:
        """The kinds of all its terms."""
        return frozenset(term.kind for branch in self.any_of for clause in branch.all_of for term in clause.any_of)

    def require_limits(self) -> None:
        """Raise ``Refused`` (S01) where a branch would match everything."""
        if not self.any_of:
            raise Refused("S01", "there are no criteria, and no criteria must not mean all mail", hint=_EMPTY_HINT)
        for number, branch in enumerate(self.any_of, 1):
            if not any(clause.limits() for clause in branch.all_of):
                raise Refused("S01", f"{self._which(number)} limit nothing: {_why(branch)}", hint=_EMPTY_HINT)

    def require_for(self, action: str, allow: frozenset[str] = frozenset()) -> None:
        """Raise ``Refused`` (S02) where ``action`` is more than search or copy and a branch only narrows.

        ``allow``: names of ``NARROWING`` that the policy allows to stand alone.
        """
        self.require_limits()
        if action in ("search", "copy"):
            return
        for number, branch in enumerate(self.any_of, 1):
            if not any(clause.allows_removal(allow) for clause in branch.all_of):
                kinds = sorted(
                    {name for clause in branch.all_of for term in clause.any_of if (name := term.narrowing_name())}
                )
                raise Refused(
                    "S02",
                    f"{self._which(number)} only narrow ({', '.join(kinds)}), which is not enough to {action}",
                    hint="Add a subject, an attachment, an address, a Message-ID, a text or a header.",
                )

    def admits_folder(self, path: str) -> bool:
        """False only where no item of the folder ``path`` can match, so that a store may skip it."""
        key = folder_key(path)
        return any(
            all(
                any(
                    term.kind != "folder" or (key[: len(wanted := folder_key(term.text))] == wanted) != term.negated
                    for term in clause.any_of
                )
                for clause in branch.all_of
            )
            for branch in self.any_of
        )

    def _which(self, number: int) -> str:
        return "the criteria" if len(self.any_of) == 1 else f"the criteria of OR branch {number} of {len(self.any_of)}"


def _why(branch: Branch) -> str:
    reasons = [term.why_not() for clause in branch.all_of for term in clause.any_of if not term.limits()]
    return "; ".join(dict.fromkeys(reasons)) or "there are none, and no criteria must not mean all mail"


def _term_key(term: Term) -> tuple[int, bytes]:
    return _ORDER.index(term.kind), canonical_json(term.model_dump(mode="json"))


def _clause_key(clause: Clause) -> list[tuple[int, bytes]]:
    return [_term_key(term) for term in clause.any_of]


def _branch_key(branch: Branch) -> list[list[tuple[int, bytes]]]:
    return [_clause_key(clause) for clause in branch.all_of]


__all__ = ["FORMAT", "NARROWING", "Branch", "Clause", "Criteria"]
