"""Measure a case of 100,000 matches in one mailbox: planned, copied, verified, reported, made into load files.

    python bench/many_matches.py    a row a step as lines of JSON: seconds, and the peak of anonymous memory

BENCH_MATCHES (default 100,000) is how many messages match; BENCH_DIR (default build/bench) is where all is made. What
is measured is the whole process tree; a step that takes 250 MB or more at the default size ends with exit status 1.

The load files, on two processors at 2 GHz or so that a dozen other programs shared: 10,000 matches took 7.5 s of
processor time and 38 MB, 100,000 took 64 s and 107 MB. What is left of the time is that of making two files a message.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from measure import timed

from report import EXCISE, make

MOST_MB = 250


def main() -> None:
    """Every step, in its order."""
    matches = int(os.environ.get("BENCH_MATCHES", "100000"))
    place = Path(os.environ.get("BENCH_DIR", "build/bench")).resolve() / "case"
    os.environ["EXCISE_ACCESS_LOG"] = str(place / "access.jsonl")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    make(place / "mail.mbox", matches)
    search = ["mail.mbox", "--subject", "zebra", "--case", "case", "--evidence", "mbox", "--quiet"]
    steps = {
        "plan": [*EXCISE, "plan", "copy", *search],
        "copy": [*EXCISE, "run", "case", "--quiet"],
        "verify": [*EXCISE, "verify", "case"],
        "verify_case.py": [sys.executable, "-I", "case/verify_case.py", "case"],
        "report": [*EXCISE, "report", "case"],
        "loadfile": [*EXCISE, "loadfile", "case", "--output", "production"],
    }
    over = False
    for what, command in steps.items():
        done = timed(command, cwd=place, memory=True)
        peak = round(done.anonymous / 1e6, 1)
        over |= peak >= MOST_MB
        row = {"what": f"case of {matches:,} matches: {what}", "seconds": round(done.seconds, 1), "anonymous_mb": peak}
        print(json.dumps(row | {"aim": f"< {MOST_MB} MB", "met": peak < MOST_MB}), flush=True)
    shutil.rmtree(place)
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
