"""The checkout that the tests of the project itself look at, and running its ``excise``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def excise(*arguments: str, cwd: Path, program: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``excise`` (of this checkout, or ``program``) in ``cwd`` as a user would; its output, both streams in one."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "EXCISE_ACCESS_LOG")}
    environment["XDG_STATE_HOME"] = str(cwd / ".state")
    if not program:
        program = (sys.executable, "-P", "-m", "excise")
        environment["PYTHONPATH"] = str(ROOT / "src")
    return subprocess.run(
        [*program, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def tracked_files() -> list[Path]:
    """The files of the repository; in an unpacked source distribution, every file there is."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        found = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    else:
        foreign = re.compile(r"\.venv.*|node_modules")
        found = [path for path in ROOT.rglob("*") if not any(foreign.fullmatch(part) for part in path.parts)]
    return [path for path in found if path.is_file()]
