"""``verify_case.py`` as the other side runs it, beside ``excise verify``."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from excise import api
from excise.case import verify_case
from excise.core.errors import ExciseError

PROGRAM = Path(verify_case.__file__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says: the exit status, and what does not hold, what was not checked, what holds."""

    code: int
    wrong: list[str]
    unchecked: list[str]
    holds: list[str]

    def names(self, text: str) -> bool:
        """True where something that does not hold names ``text``."""
        return any(text in line for line in self.wrong)


def _verdict(code: int, found: list[dict[str, Any]]) -> Verdict:
    lines = {
        ok: [f"{each['what']}: {each['detail']}" for each in found if each["ok"] is ok] for ok in (False, None, True)
    }
    return Verdict(code, lines[False], lines[None], lines[True])


def alone(root: Path, *options: str | Path) -> Verdict:
    """``verify_case.py``, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = verify_case.main([str(root), "--json", *map(str, options)])
    if code == 2:
        return Verdict(2, [err.getvalue()], [], [])
    return _verdict(code, [found for found in map(json.loads, out.getvalue().splitlines()) if "what" in found])


def as_a_program(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``verify_case.py`` with no package in reach, neither Excise's nor any other."""
    command = [sys.executable, "-I", "-S", str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def excise(root: Path, head: str | None = None) -> Verdict:
    """``excise verify``, in this process."""
    try:
        found = [{"what": c.what, "ok": c.ok, "detail": c.detail} for c in api.verify(root, head)]
    except ExciseError as error:
        return Verdict(error.exit_code, [error.message], [], [])
    return _verdict(5 if any(each["ok"] is False for each in found) else 0, found)
