"""Measure ``excise report`` on a case of very many matches in one mailbox: planned, copied and reported, in one run.

    python bench/report.py          the rows as lines of JSON

BENCH_MATCHES (default 100,000) is how many messages match; BENCH_DIR (default build/bench) is where all is made.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from measure import Measured, timed

EXCISE = [sys.executable, "-m", "excise"]
START = datetime(2026, 1, 13, 8, 0, tzinfo=UTC)


def make(path: Path, matches: int) -> None:
    """An mbox of so many messages with one subject from many senders."""
    with path.open("w", encoding="ascii") as file:
        for number in range(matches):
            when = START + timedelta(seconds=number * 7 % 500_000)
            file.write(
                f"From s{number % 997}@example.net {when:%a %b %d %H:%M:%S %Y}\nFrom: s{number % 997}@example.net\n"
                f"Subject: zebra\nMessage-ID: <{number}@example.net>\nDate: {when:%a, %d %b %Y %H:%M:%S} +0000\n"
                f"Status: {'RO' if number % 3 else 'O'}\n\nbody {number}\n\n"
            )


def tell(what: str, measured: Measured) -> None:
    """One row."""
    row = {"what": what, "seconds": round(measured.seconds, 1), "anonymous_mb": round(measured.anonymous / 1e6, 1)}
    print(json.dumps(row))


def main() -> None:
    """Plan, copy, report."""
    matches = int(os.environ.get("BENCH_MATCHES", "100000"))
    place = Path(os.environ.get("BENCH_DIR", "build/bench")).resolve() / "report"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    make(place / "mail.mbox", matches)
    search = ["mail.mbox", "--subject", "zebra", "--case", "case", "--evidence", "mbox", "--quiet"]
    tell("copy", timed([*EXCISE, "copy", *search], cwd=place, memory=True))
    tell("report", timed([*EXCISE, "report", "case", "--out", "out"], cwd=place, memory=True))
    page = (place / "out" / "report.html").read_text()
    if f"<b>{matches:,}</b>preserved" not in page:
        raise SystemExit("the report does not tell of all matches")
    print(json.dumps({"page_kb": len(page) // 1000, "matches": matches}))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
