"""Measure Excise against the standard library's ``mailbox``, grepmail and ``cat``, on mail from a seed, in one run.

    python bench/run.py          a table of ratios, then the same as one line of JSON

BENCH_SCALE (default 1) scales the mail: 1 is an mbox of 1 GB with messages of 100 kB on average, and a Maildir of
50,000 messages. BENCH_DIR (default build/bench) is where the mail is made, once a scale; at scale 1 it needs 3 GB.
Everything is read from the page cache: each file is read once before it is measured. Programs that are not there are
left out, and the table says so. Exit status 1 where Excise and the standard library do not find the same.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from make_mail import NEEDLE, make_maildir, make_mbox, make_mbox_of_one_line
from measure import Measured, best, timed

HERE = Path(__file__).resolve().parent
EXCISE = [sys.executable, "-m", "excise"]
STDLIB = [sys.executable, str(HERE / "stdlib_mail.py")]


@dataclass
class Bench:
    """The mail, and the rows measured so far."""

    place: Path
    scale: float
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def mbox(self) -> Path:
        """The big mbox."""
        return self.place / "big.mbox"

    @property
    def maildir(self) -> Path:
        """The big Maildir."""
        return self.place / "maildir"

    def prepare(self) -> dict[str, int]:
        """Make the mail unless it is there; how many messages of each must be found."""
        truth = self.place / "truth.json"
        if not truth.exists():
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir(parents=True)
            made = {"mbox": make_mbox(self.mbox, round(1e9 * self.scale)),
                    "maildir": make_maildir(self.maildir, round(50_000 * self.scale))}  # fmt: skip
            truth.write_text(json.dumps(made), encoding="ascii")
        return dict(json.loads(truth.read_text(encoding="ascii")))

    def add(self, what: str, excise: Measured, other: str, seconds: float, aim: str, met: bool) -> None:
        """Add a row: Excise against another."""
        self.rows.append(
            {"what": what, "excise_s": round(excise.seconds, 3), "other": other, "other_s": round(seconds, 3),
             "times_faster": round(seconds / excise.seconds, 2), "aim": aim, "met": met}
        )  # fmt: skip

    def search(self, kind: str, path: Path, matches: int, faster: float) -> None:
        """Subject search, by the full matcher."""
        every = f"cat {path}" if kind == "mbox" else f"find {path}/cur -type f -print0 | xargs -0 cat"
        timed(f"{every} | wc -c", cwd=self.place)
        command = [*EXCISE, "search", str(path), "--subject", NEEDLE, "--json", "--no-progress"]
        excise = best(command, cwd=self.place)
        found = json.loads(excise.output.splitlines()[-1])["summary"]["matches"]
        stdlib = best([*STDLIB, "search", kind, str(path), NEEDLE], cwd=self.place, times=1)
        if not found == int(stdlib.output) == matches:
            raise SystemExit(f"{path}: {matches} were made, excise finds {found}, mailbox {stdlib.output.strip()}")
        ratio = stdlib.seconds / excise.seconds
        self.add(f"search {kind}", excise, "mailbox", stdlib.seconds, f">= {faster:g}x", ratio >= faster)
        cat = best(f"{every} | wc -c", cwd=self.place)
        limit = 0.5 if kind == "mbox" else 0.0
        self.add(f"search {kind}", excise, "cat | wc -c", cat.seconds, f">= {limit:g}x" if limit else "",
                 cat.seconds / excise.seconds >= limit)  # fmt: skip
        if kind == "mbox" and shutil.which("grepmail"):
            # It does not decode subjects, so it finds fewer; and it remembers where messages begin, from run to run.
            command_line = f"HOME={self.place} grepmail -h -q zebra {path} > /dev/null"
            (self.place / ".grepmail-cache").unlink(missing_ok=True)
            for name in ("grepmail", "grepmail again"):
                self.add(f"search {kind}", excise, name, timed(command_line, cwd=self.place).seconds, "", met=True)
        elif kind == "mbox":
            self.rows.append({"what": f"search {kind}", "other": "grepmail", "skipped": "not installed"})
        self.memory(f"search {kind}", timed(command, cwd=self.place, memory=True))

    def move(self, kind: str, path: Path, matches: int) -> None:
        """A move of one message in a hundred, evidence, verification and proof included."""
        excise = self._moved(kind, path, matches, memory=False)
        copy = self._copy(path)
        stdlib = timed([*STDLIB, "move", kind, str(copy), NEEDLE, str(self.place / "moved.mbox")], cwd=self.place)
        (self.place / "moved.mbox").unlink()
        self.add(f"move 1 % of {kind}", excise, "mailbox", stdlib.seconds, "", met=True)
        self.memory(f"move 1 % of {kind}", self._moved(kind, path, matches, memory=True))
        self._drop(copy)

    def growth(self) -> None:
        """A move out of an mbox whose messages all have one From_ line, against one out of a quarter of it."""
        seconds = []
        for count in (round(2000 * self.scale), round(8000 * self.scale)):
            path = self.place / "one-line.mbox"
            matches = make_mbox_of_one_line(path, count)
            seconds.append(min((self._moved("mbox", path, matches, memory=False) for _ in range(2)),
                               key=lambda run: run.seconds))  # fmt: skip
            self._drop(path)
        quarter, whole = seconds
        ratio = quarter.seconds / whole.seconds
        self.add("move, one From_ line", whole, "a quarter", quarter.seconds, ">= 0.2x", ratio >= 0.2)

    def _moved(self, kind: str, path: Path, matches: int, *, memory: bool) -> Measured:
        copy, case = self._copy(path), self.place / "case"
        shutil.rmtree(case, ignore_errors=True)
        command = [*EXCISE, "move", str(copy), "--subject", NEEDLE, "--case", str(case), "--yes", "--expect-matches",
                   str(matches), "--no-progress", "--json"]  # fmt: skip
        done = timed(command, cwd=self.place, memory=memory)
        removed = json.loads(done.output.splitlines()[-1])["summary"]["outcomes"].get("removed")
        if removed != matches:
            raise SystemExit(f"{kind}: {matches} were to be moved, {removed} were")
        shutil.rmtree(case)
        return done

    def _copy(self, path: Path) -> Path:
        copy = self.place / f"copy-of-{path.name}"
        self._drop(copy)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy2(path, copy)
        os.sync()  # so that what is measured does not also write out the copy
        return copy

    def _drop(self, copy: Path) -> None:
        if copy.is_dir():
            shutil.rmtree(copy)
        else:
            copy.unlink(missing_ok=True)

    def memory(self, what: str, measured: Measured) -> None:
        """Add the peak of anonymous memory."""
        peak = measured.anonymous / 1e6
        self.rows.append({"what": what, "anonymous_mb": round(peak, 1), "aim": "< 150 MB", "met": peak < 150})

    def help(self) -> None:
        """How long ``excise --help`` takes."""
        shown = best([*EXCISE, "--help"], cwd=self.place, times=7)
        self.rows.append(
            {"what": "excise --help", "excise_s": round(shown.seconds, 3), "aim": "< 0.2 s", "met": shown.seconds < 0.2}
        )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [f"{'what':20} {'excise':>9} {'against':14} {'takes':>9} {'ratio':>8}  aim"]
    for row in rows:
        if "skipped" in row:
            lines.append(f"{row['what']:20} {'':9} {row['other']:14} {row['skipped']}")
            continue
        value = f"{row['excise_s']:.2f} s" if "excise_s" in row else f"{row['anonymous_mb']:.0f} MB"
        other = f"{row['other_s']:.2f} s" if "other_s" in row else ""
        ratio = f"{row['times_faster']:.2f}x" if "times_faster" in row else ""
        aim = f"{row['aim']}: {'met' if row['met'] else 'MISSED'}" if row["aim"] else ""
        against = row.get("other", "" if "excise_s" in row else "anonymous")
        lines.append(f"{row['what']:20} {value:>9} {against:14} {other:>9} {ratio:>8}  {aim}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Measure everything."""
    scale = float(os.environ.get("BENCH_SCALE") or 1)
    place = Path(os.environ.get("BENCH_DIR") or HERE.parent / "build" / "bench").resolve() / f"{scale:g}"
    os.environ["EXCISE_ACCESS_LOG"] = str(place / "access.jsonl")
    bench = Bench(place, scale)
    truth = bench.prepare()
    bench.help()
    bench.search("mbox", bench.mbox, truth["mbox"], 20)
    bench.search("maildir", bench.maildir, truth["maildir"], 12)
    bench.move("mbox", bench.mbox, truth["mbox"])
    bench.growth()
    bench.move("maildir", bench.maildir, truth["maildir"])
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} processors, Python {platform.python_version()}"
    megabytes = bench.mbox.stat().st_size / 1e6
    print(f"{machine}; mbox of {megabytes:,.0f} MB, Maildir of {round(50_000 * scale):,} messages")
    print(table(bench.rows))
    print(json.dumps({"scale": scale, "python": platform.python_version(), "rows": bench.rows}))


if __name__ == "__main__":
    main()
