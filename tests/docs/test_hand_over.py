"""The guide to a hand-over, run command by command as it stands there."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide" / "hand-over.md"
NEEDED = ("age", "age-keygen", "rsync", "ssh-keygen", "sha256sum")


def load_rerun() -> ModuleType:
    """docs/rerun.py as a module."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("rerun")
    finally:
        sys.path.remove(str(ROOT / "docs"))


def like(text: str) -> str:
    """``text`` without what differs from run to run: hashes, keys, times, ids."""
    text = re.sub(r"\b[0-9a-f]{64}\b|SHA256:\S+|age1[0-9a-z]+", "HASH", text)
    text = re.sub(r"\d{4}-\d{2}-\d{2}T[\d:.]+Z", "TIME", text)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "ID", text)


@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
def test_every_command_of_the_guide_says_what_the_guide_shows() -> None:
    pytest.importorskip("pyrage")
    rerun = load_rerun()
    with rerun.own_place() as place:
        follow(rerun, place)


def follow(rerun: ModuleType, place: Path) -> None:
    """Run every command of the guide in ``place``."""
    (place / "bin").mkdir(parents=True)
    program = place / "bin" / "excise"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m excise "$@"\n')
    program.chmod(0o755)
    (place / "fixtures").symlink_to(ROOT / "fixtures")
    environment = os.environ | {
        "PATH": f"{place}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "EXCISE_ACCESS_LOG": str(place / "access.jsonl"),
        "TZ": "UTC",
    }
    commands = 0
    for block in re.findall(r"(?ms)^```console\n(.*?)^```$", GUIDE.read_text()):
        found = ""
        for command in rerun.commands_of(block):
            found += f"$ {command}\n{rerun.run(rerun.typed(command), environment, place)}"
            commands += 1
        assert "(exit status" not in found, found
        # What is cut out of the custody record depends on the lengths of names of this machine.
        if "grep -E" not in block:
            assert like(found.replace(str(place), "/tmp/guide")) == like(block)
    assert commands >= 20
