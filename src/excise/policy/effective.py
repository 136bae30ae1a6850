"""The policy that is in force: every file that there is, put together in this order, each only able to tighten the ones
before it: /etc/excise/policy.toml, ``excise/policy.toml`` in each of $XDG_CONFIG_DIRS (default /etc/xdg) and in
$XDG_CONFIG_HOME (default ~/.config), and the one that was given. The first cannot be moved by an environment variable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import re2

from excise.core.errors import ExciseError, UsageError
from excise.core.text import shown
from excise.policy.merge import ConflictError, tightened
from excise.policy.model import Policy
from excise.policy.names import names_mailbox
from excise.policy.read import Source, policy_from_canonical, read_policy

SYSTEM = Path("/etc/excise/policy.toml")


class PolicyRefused(ExciseError):
    """What was asked for is not allowed by the policy; the message names file and line."""

    exit_code = 3
    error_id = "policy"


@dataclass(frozen=True, slots=True)
class Effective:
    """The policy in force and the files that it comes from; without any, one that asks for nothing."""

    policy: Policy
    sources: tuple[Source, ...] = ()
    given: Path | None = None

    @property
    def sha256(self) -> str | None:
        """The policy's hash; None where there is no policy."""
        return self.policy.sha256 if self.sources else None

    def header(self) -> dict[str, Any]:
        """What a plan's header says of the policy that it was made under."""
        if not self.sources:
            return {"policy_sha256": None}
        files = [{"path": str(source.path), "sha256": source.sha256} for source in self.sources]
        given = str(self.given) if self.given else None
        frozen = {"rules": self.policy.canonical(), "files": files, "given": given}
        return {"policy_sha256": self.policy.sha256, "policy": frozen}

    def origins(self, key: str, chosen: Callable[[Any], Any] = bool) -> Iterator[str]:
        """Every ``file:line`` that sets ``key`` (dotted) to a value that ``chosen`` is true for."""
        parts = tuple(key.split("."))
        names = {"holds": "hold", "rules": "rule"}
        for source in self.sources:
            value: Any = source.policy
            for part in parts:
                value = getattr(value, part)
            if value is not None and chosen(value):
                yield source.at(*(names.get(part, part) for part in parts))

    def origin(self, key: str, chosen: Callable[[Any], Any] = bool) -> str:
        """The first of ``origins``."""
        return next(self.origins(key, chosen), "the policy")

    # What is refused before anything is opened

    def check_operator(self, user: str) -> None:
        """Refuse a user who may not operate."""
        operators = self.policy.operators
        if operators is not None and user not in operators:
            where = self.origin("operators", lambda names: user not in names)
            raise PolicyRefused(
                f"{where}: operators: the user {shown(user)} may not run Excise here",
                hint="Nothing was opened. Ask one of those who may, or have the policy changed.",
            )

    def check_said(self, ticket: str, reason: str) -> None:
        """Refuse a ticket or a reason that is missing, or not as the policy wants it."""
        for key, said in (("ticket", ticket), ("reason", reason)):
            for pattern in getattr(self.policy, key):
                if re2.fullmatch(pattern, said) is None:
                    where = self.origin(key, _naming(pattern))
                    found = f"found {shown(said, 80)!r}" if said else "found none"
                    raise PolicyRefused(
                        f"{where}: {key}: expected one that matches {shown(pattern, 200)!r} as a whole, {found}",
                        hint=f"Nothing was opened. Give it with --{key}.",
                    )

    def check_reveal(self) -> None:
        """Refuse to write subjects into the log where the policy forbids it."""
        if self.policy.reveal is False:
            where = self.origin("reveal", lambda value: value is False)
            raise PolicyRefused(
                f"{where}: reveal: subjects may not be written into the log", hint="Leave --reveal out."
            )

    def never_searched(self, name: str) -> str:
        """Why the mailbox ``name`` is never searched; empty where it may be."""
        for entry in self.policy.never_search:
            if names_mailbox(entry, name):
                where = self.origin("never_search", _naming(entry))
                return f"{where}: never_search: {shown(entry)} is never searched"
        return ""

    def with_frozen(self, header: Any, path: Path) -> Effective:
        """This policy tightened by the one that a plan froze; DoesNotVerify where what it froze is not one."""
        if header.get("policy") is None:
            return self
        frozen = Source(path, policy_from_canonical(header["policy"]["rules"], path), str(header["policy_sha256"]))
        return _added(self, frozen)


def _naming(entry: str) -> Callable[[Any], bool]:
    return lambda entries: entry in entries


def policy_paths() -> list[Path]:
    """Where a policy is looked for, the strongest first."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    shared = [Path(place) for place in (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if place]
    places = [SYSTEM, *(place / "excise" / "policy.toml" for place in [*shared, config])]
    return list(dict.fromkeys(place for place in places if place.is_absolute()))


def effective_policy(given: Path | None = None) -> Effective:
    """The policy in force, tightened by the file ``given``. A file that is there and cannot be read is an error."""
    given = given and given.resolve()
    return combined([*_there(policy_paths()), *([read_policy(given)] if given else [])], given)


def combined(sources: Iterable[Source], given: Path | None = None) -> Effective:
    """``sources`` as one, the strongest first."""
    made = Effective(Policy(), (), given)
    for source in sources:
        made = _added(made, source)
    return made


def _there(paths: Iterable[Path]) -> Iterator[Source]:
    for path in paths:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # it cannot be told that there is none: reading it says why
        yield read_policy(path)


def _added(so_far: Effective, source: Source) -> Effective:
    try:
        policy = tightened(so_far.policy, source.policy) if so_far.sources else source.policy
    except ConflictError as error:
        raise UsageError(
            f"{source.at(*error.where)}: {'.'.join(error.where)}: an earlier policy says otherwise, and this one "
            "can only tighten it",
            hint=f"The earlier ones: {', '.join(str(earlier.path) for earlier in so_far.sources)}.",
        ) from error
    asks = policy.approval.rules or policy.approval.operator_signs or policy.approval.standing
    if asks and not (policy.people and policy.approval.allowed_signers):
        lacks = "people" if policy.approval.allowed_signers else "approval.allowed_signers"
        raise UsageError(
            f"{source.at('approval')}: approvals are asked for, and {lacks} does not say whose count",
            hint="Name them in the same file or in a stronger one.",
        )
    return Effective(policy, (*so_far.sources, source), so_far.given)
