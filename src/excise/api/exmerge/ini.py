"""ExMerge.ini as Windows reads it: sections, ``key = value``, ``;`` begins a comment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from excise.api.text_files import TextFile, read_text
from excise.core.errors import UsageError
from excise.core.text import shown

_LIMIT = 1 << 20
_SECTION = "exmerge"


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the file. ``section`` and ``key`` as they are written, ``value`` without blanks and quotes around."""

    section: str
    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one file, in its order. ``file``: as it was read."""

    file: TextFile
    all: tuple[Setting, ...]

    def own(self) -> dict[str, Setting]:
        """Those of the section [EXMERGE], by key in lower case."""
        return {setting.key.lower(): setting for setting in self.all if setting.section.lower() == _SECTION}

    def others(self) -> list[Setting]:
        """Those of other sections."""
        return [setting for setting in self.all if setting.section.lower() != _SECTION]


def read_settings(path: Path, encoding: str | None = None) -> Settings:
    """The settings in the file at ``path``; ``UsageError`` where it is not ExMerge's, or gives one key two values."""
    file = read_text(path, encoding, _LIMIT)
    seen: dict[tuple[str, str], Setting] = {}
    for setting in _lines(file):
        first = seen.setdefault((setting.section.lower(), setting.key.lower()), setting)
        if first.value != setting.value:
            raise UsageError(
                f"{path}: {shown(setting.key)} is given twice, in line {first.line} and line {setting.line}",
                hint="ExMerge takes the first; take the other one out.",
            )
    settings = Settings(file, tuple(seen.values()))
    if not settings.own():
        raise UsageError(f"{path}: expected the settings of ExMerge, found no section [EXMERGE] with any")
    return settings


def _lines(file: TextFile) -> Iterator[Setting]:
    section = ""
    for number, raw in enumerate(file.text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith("["):
            section = line[1:].partition("]")[0].strip()
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"{file.path}, line {number}: expected KEY = VALUE, found {shown(line, 80)!r}",
                hint="Comments begin with a semicolon.",
            )
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1].strip()
        yield Setting(section, key.strip(), value, number)
