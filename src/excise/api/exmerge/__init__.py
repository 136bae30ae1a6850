"""ExMerge's settings as a profile of Excise's: ``import_profile``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from excise.api.exmerge.conversion import Choices, Conversion
from excise.api.exmerge.ini import read_settings
from excise.api.exmerge.keys import SECTIONS
from excise.api.profile import parse_profile
from excise.api.toml_text import to_toml
from excise.core.errors import DamagedInput, Refused, UsageError
from excise.core.text import shown
from excise.criteria import Criteria

_HEAD = "# Made from ExMerge's settings by excise profile import. Read it before you use it.\n"


@dataclass(frozen=True, slots=True)
class Imported:
    """A profile, as TOML, and of each setting in the file: its key, its value, and what it became, in words."""

    text: str
    became: tuple[tuple[str, str, str], ...]
    rule: str


def import_profile(path: Path, choices: Choices) -> Imported:
    """The profile that ExMerge's settings at ``path`` come to, read back and checked.

    Raises ``Refused`` where it would match more than ExMerge did, or everything (S01, S02), ``UsageError`` where a
    setting is not understood.
    """
    settings = read_settings(path, choices.encoding)
    conversion = Conversion(settings, choices)
    profile = conversion.run()
    if "criteria" not in profile:
        raise Refused(
            "S01",
            f"{path}: no dates, no subjects, no attachments and no folders, which ExMerge takes for all mail",
            hint="Give it a criterion: an export of whole mailboxes wants one too, such as a date long past.",
        )
    text = _HEAD + _written(profile, path)
    read = parse_profile(text, path)
    if tomllib.loads(text) != profile:
        raise UsageError(f"{path}: a value cannot be written as TOML")
    criteria = Criteria.from_toml(read.criteria or {}, where=f"{path}: the criteria")
    criteria.require_for(profile["action"])
    became = [(s.key, s.value, conversion.notes[s.key.lower()]) for s in settings.own().values()]
    ignored = "not known to Excise, and ignored, as you said"
    became += [(f"[{s.section}] {s.key}", s.value, SECTIONS.get(s.section.lower(), ignored)) for s in settings.others()]
    return Imported(text, tuple(became), criteria.words())


def _written(profile: dict[str, object], path: Path) -> str:
    try:
        return to_toml(profile)
    except ValueError as error:
        raise DamagedInput(f"{path}: a value is no text: {shown(str(error))}", hint="Give its --encoding.") from error


__all__ = ["Choices", "Imported", "import_profile"]
