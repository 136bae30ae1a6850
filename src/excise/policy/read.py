"""Reading one policy file: TOML, strict, each refusal with file and line."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify, UsageError
from excise.core.files import open_nofollow, os_error
from excise.core.text import shown
from excise.policy.lines import Where, line_at, lines_of
from excise.policy.model import Policy

_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One policy as it was read: from where, and on which line each key stands."""

    path: Path
    policy: Policy
    sha256: str
    lines: Mapping[Where, int] = field(default_factory=dict)

    def at(self, *where: str | int) -> str:
        """``file:line`` of a key; the file alone where it has no lines."""
        line = line_at(dict(self.lines), where)
        return f"{self.path}" if line is None else f"{self.path}:{line}"


def read_guarded(path: Path, what: str, *, owned: bool = True) -> bytes:
    """The content of a file that rules come from. UsageError where somebody else may write it.

    ``owned``: it must belong to root or to the user who runs this. The file itself is opened, no link followed.
    """
    try:
        with os.fdopen(open_nofollow(path), "rb") as stream:
            info = os.fstat(stream.fileno())
            data = stream.read(_LIMIT + 1)
    except OSError as error:
        raise os_error(error, path, f"reading {what}") from error
    if info.st_mode & (0o022 if owned else 0o002):
        raise UsageError(
            f"{path}: {what} may be written by others (mode {info.st_mode & 0o777:o}), so it rules nothing",
            hint="Take that right away: chmod go-w",
        )
    if owned and info.st_uid not in (0, os.getuid()):
        raise UsageError(
            f"{path}: {what} belongs to another user (uid {info.st_uid}), who could change it",
            hint="Have it belong to root.",
        )
    if len(data) > _LIMIT:
        raise UsageError(f"{path}: {what} is larger than {_LIMIT:,} bytes")
    return data


def read_policy(path: Path) -> Source:
    """The policy in ``path``. A UsageError names the file and the line of what is wrong with it."""
    data = read_guarded(path, "the policy")
    try:
        text = data.decode("utf-8")
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a policy in TOML: {shown(str(error), 200)}") from error
    source = Source(path, Policy(), sha256_hex(data), lines_of(text))
    policy = _validated(json.dumps(values, default=_written), source)
    return Source(path, _absolute(policy, path.parent.resolve()), source.sha256, source.lines)


def policy_from_canonical(value: Any, path: Path) -> Policy:
    """The rules as a plan froze them; DoesNotVerify, naming ``path``, for anything else."""
    try:
        return Policy.model_validate_json(json.dumps(value))
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        raise DoesNotVerify(f"{path}: expected the rules of a policy, found something else") from error


def _validated(text: str, source: Source) -> Policy:
    try:
        return Policy.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where: Where = first["loc"]
        key = ".".join(str(part) for part in where)
        said = first["msg"].removeprefix("Value error, ")
        hint = "The keys are listed in docs/reference/policy.md." if first["type"] == "extra_forbidden" else None
        raise UsageError(f"{source.at(*where)}: {shown(key, 100)}: {shown(said, 200)}", hint=hint) from error


def _written(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _absolute(policy: Policy, place: Path) -> Policy:
    """``policy`` with its relative paths made absolute: they are meant from the policy's own directory."""
    approval = policy.approval.model_copy(
        update={
            "allowed_signers": policy.approval.allowed_signers and str(place / policy.approval.allowed_signers),
            "revoked_keys": tuple(str(place / name) for name in policy.approval.revoked_keys),
        }
    )
    holds = tuple(
        hold.model_copy(update={"files": tuple(str(place / name) for name in hold.files)}) for hold in policy.holds
    )
    return policy.model_copy(update={"approval": approval, "holds": holds})
