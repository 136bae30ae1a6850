"""Saved jobs: TOML files of sources, mailboxes, criteria, evidence and limits (docs/reference/profile.md)."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.api.text_files import read_text
from excise.core.errors import UsageError
from excise.core.text import shown

#: A profile may hold a list of some hundred thousand mailboxes.
_LIMIT = 64 << 20
_KEYS = {
    "sources": list,
    "mailboxes": list,
    "parts": list,
    "action": str,
    "evidence": list,
    "disposal": str,
    "expect_mailboxes": int,
    "part_size": str,
    "pst_per": str,
    "rewrite": bool,
    "ticket": str,
    "reason": str,
    "operator": str,
    "limits": dict,
    "criteria": dict,
    "directory": dict,
    "description": str,
}
_DIRECTORY = {
    "url": str,
    "user": str,
    "ca": str,
    "base": str,
    "filter": str,
    "databases": list,
    "servers": list,
}
_LIMITS = {"max_per_mailbox": int, "max_total": int, "max_share": (int, float)}


@dataclass(frozen=True, slots=True)
class Profile:
    """A saved job; what it does not say is None or empty. ``criteria``: the TOML table, as ``--criteria`` files have
    it. ``directory``: where mailboxes are listed, and which."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    criteria: dict[str, Any] | None = None
    directory: dict[str, Any] = field(default_factory=dict)


def profile_directories() -> list[Path]:
    """Where a profile given by name is looked for: here, the user's configuration, the system's."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path("profiles"), config / "excise" / "profiles", Path("/etc/excise/profiles")]


def read_profile(name: str) -> Profile:
    """The profile in the file ``name``, or of that name; a UsageError says what is wrong with it and where."""
    path = _find(name)
    return parse_profile(read_text(path, "utf-8-sig", _LIMIT).text, path)


def parse_profile(text: str, path: Path) -> Profile:
    """The profile in ``text``, which stands at ``path``."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a profile in TOML: {shown(str(error), 200)}") from error
    values = _checked(_underscored(data), _KEYS, str(path))
    limits = _checked(_underscored(values.pop("limits", {})), _LIMITS, f"{path}: limits")
    directory = _checked(_underscored(values.pop("directory", {})), _DIRECTORY, f"{path}: directory")
    if "mailboxes" in values and {*directory} & {"base", "filter", "databases", "servers"}:
        raise UsageError(
            f"{path}: mailboxes names some, and [directory] lists some",
            hint="Leave one away: named mailboxes are looked up in the directory, listed ones come from it.",
        )
    criteria = values.pop("criteria", None)
    return Profile(path, values, limits, criteria, directory)


def _underscored(table: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in table.items()}


def _find(name: str) -> Path:
    if os.sep in name or name.endswith(".toml"):
        return Path(name)
    places = [directory / f"{name}.toml" for directory in profile_directories()]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UsageError(
            f"there is no profile named {shown(name)!r}", hint=f"Looked for: {', '.join(map(str, places))}."
        )
    return found


def _checked(table: dict[str, Any], known: dict[str, Any], where: str) -> dict[str, Any]:
    for key, value in table.items():
        if key not in known:
            raise UsageError(
                f"{where}: there is no setting named {shown(key)!r}", hint=f"Known: {', '.join(sorted(known))}."
            )
        kind = known[key]
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise UsageError(f"{where}: {key} has the wrong type: {shown(repr(value), 80)}")
        if known is _DIRECTORY and kind is str and not value.strip():
            raise UsageError(f"{where}: {key} is empty", hint="Leave it out, or fill it in.")
        if kind is list and not (value and all(isinstance(entry, str) and entry.strip() for entry in value)):
            raise UsageError(f"{where}: {key} must be a list of texts that is not empty")
    return table
