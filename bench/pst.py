"""Measure the PST reader against pypff and readpst in one run, on a file that all three can read.

    python bench/pst.py [FILE]   the seconds, peak memory and ratios; FILE by default enron.pst of EXCISE_SAMPLES

The search is by subject and date over every folder. Each reader runs in a process of its own, which opens the file and
searches; the seconds are of that, without the start of Python, and the fastest of several runs. readpst has no search:
it exports everything, and its seconds are of the whole program. Exit status 1 where the readers do not find the same.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measure import best, clock, peak_mb

WORD = "re"
SINCE, UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2002, 1, 1, tzinfo=UTC)
_TIMES = 7


def matches(subject: object, when: object) -> bool:
    """The search: a word of the subject, and a time within two years (UTC)."""
    if not isinstance(subject, str) or not isinstance(when, datetime) or WORD not in subject.lower():
        return False
    return SINCE <= when.replace(tzinfo=UTC) < UNTIL


def search_excise(path: str) -> tuple[int, int]:
    """(messages, matches) by ``Folder.summaries``."""
    import excise.pst

    seen = found = 0
    with excise.pst.open(path) as pst:
        for folder in pst.folders():
            if folder.is_search:
                continue
            for row in folder.summaries(wanted=("subject", "delivery_time")):
                seen += 1
                found += matches(row.subject, row.delivery_time)
    return seen, found


def search_pypff(path: str) -> tuple[int, int]:
    """(messages, matches) by a loop over all messages."""
    import pypff

    def walk(folder: Any) -> Iterator[Any]:
        for number in range(folder.number_of_sub_messages):
            yield folder.get_sub_message(number)
        for number in range(folder.number_of_sub_folders):
            yield from walk(folder.get_sub_folder(number))

    file = pypff.file()
    file.open(path)
    seen = found = 0
    for message in walk(file.get_root_folder()):
        seen += 1
        found += matches(message.get_subject(), message.get_delivery_time())
    file.close()
    return seen, found


READERS: dict[str, Callable[[str], tuple[int, int]]] = {"excise": search_excise, "pypff": search_pypff}


def child(reader: str, path: str) -> None:
    """Search once and print what it took."""
    __import__({"excise": "excise.pst"}.get(reader, reader))
    passed = clock()
    seen, found = READERS[reader](path)
    print(json.dumps({**passed(), "peak_mb": peak_mb(), "seen": seen, "found": found}))


def measured(reader: str, path: Path, times: int = _TIMES) -> dict[str, Any]:
    """The fastest of several runs of a reader."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", reader, str(path)]
    runs = [json.loads(best(command, cwd=Path.cwd(), times=1).output) for _ in range(times)]
    return dict(min(runs, key=lambda run: run["seconds"]))


def exported(path: Path) -> dict[str, Any]:
    """What an export by readpst takes."""
    with tempfile.TemporaryDirectory() as place:
        run = best(["readpst", "-q", "-o", place, str(path)], cwd=Path.cwd())
    return {"seconds": run.seconds, "cpu": run.cpu}


def main() -> None:
    """Measure every reader that is there."""
    samples = os.environ.get("EXCISE_SAMPLES", "")
    path = Path(sys.argv[1] if len(sys.argv) > 1 else f"{samples}/pst-samples/enron.pst").resolve()
    if not path.is_file():
        print(f"{path}: not there; the PST reader is not measured")
        return
    rows = {name: measured(name, path) for name in READERS if name == "excise" or find_spec(name)}
    if len({(row["seen"], row["found"]) for row in rows.values()}) > 1:
        raise SystemExit(f"{path}: the readers do not find the same: {rows}")
    if shutil.which("readpst"):
        rows["readpst"] = exported(path)
    print(f"{path.name}, {path.stat().st_size / 1e6:,.1f} MB, {rows['excise']['seen']:,} messages")
    for name, row in rows.items():
        wall, cpu = (row[key] / rows["excise"][key] for key in ("seconds", "cpu"))
        print(f"{name:10} {row['seconds']:9.4f} s {row.get('peak_mb', '-'):>8} MB {wall:8.2f}x  {cpu:8.2f}x of cpu")
    print(json.dumps({"file": path.name, "rows": rows}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3])
    else:
        main()
