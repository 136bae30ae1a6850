"""What other readers find in a PST file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def libpff_folders(path: Path) -> dict[tuple[str, ...], list[Any]]:
    """The items of every folder, as libpff's objects."""
    pypff = pytest.importorskip("pypff")
    file = pypff.file()
    file.open(str(path))
    found: dict[tuple[str, ...], list[Any]] = {}
    stack = [((), file.get_root_folder())]
    while stack:
        place, folder = stack.pop()
        found[place] = list(folder.sub_messages)
        stack += [((*place, child.name or ""), child) for child in folder.sub_folders]
    return found


def readpst(path: Path, target: Path) -> list[bytes]:
    """The files that readpst makes of the items, sorted.

    Without what says nothing of an item: boundaries that it invents, the time of the export, block ids.
    """
    if shutil.which("readpst") is None:
        pytest.skip("readpst is not installed")
    target.mkdir()
    done = subprocess.run(
        ["readpst", "-e", "-D", "-q", "-j", "0", "-o", str(target), str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    found = [file.read_bytes() for file in target.rglob("*") if file.is_file()]
    return sorted(re.sub(rb"(?m)(?<=LibPST-iamunique)-\d+|^(UID:0x|DTSTAMP:).*$", b"", each) for each in found)
