"""The marker of a case directory, which no search goes into (S28)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from excise.core.errors import ExciseError
from excise.core.files import read_regular

CASE_FILE = "case.json"
MARKER = "excise_case"


def is_case(directory: Path) -> bool:
    """True where ``directory`` is a case; one whose marker is damaged counts as a case too."""
    path = directory / CASE_FILE
    try:
        data = read_regular(path, 1 << 20)
    except FileNotFoundError:
        return False
    except (OSError, ExciseError):
        return os.path.lexists(path)
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        return MARKER.encode() in data or (directory / "audit.jsonl").exists()
    return (isinstance(facts, dict) and MARKER in facts) or (directory / "audit.jsonl").exists()


def enclosing_case(path: Path) -> Path | None:
    """The case that ``path`` is or lies in, by its real path; None where there is none."""
    real = path.resolve()
    return next((place for place in (real, *real.parents) if place.is_dir() and is_case(place)), None)
