"""Measure reading, writing, export and purge of PSTs that ``excise.pst.create`` made, as ratios in one run.

    python bench/pst_made.py [--small] [PART…]   PART is search, export, write or purge; by default all of them

The files have 5,000 and 100,000 messages (the larger about 1 GB); with ``--small`` 500 and 5,000. BENCH_DIR (default
build/bench) is where they are made, once, and where the rest is written: 5 GB are needed. Against pypff, readpst and a
copy of the same bytes with fsync, by the wall clock and by processor time. Programs that are not there are left out.
Exit status 1 where results differ.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from make_pst import make_pst
from measure import Measured, timed

from pst import READERS, measured

HERE = Path(__file__).resolve().parent
MEMORY = 200
Row = dict[str, Any]


def job(*arguments: object) -> Row:
    """One run of a job of pst_jobs.py."""
    command = [sys.executable, str(HERE / "pst_jobs.py"), *map(str, arguments)]
    return dict(json.loads(timed(command, cwd=Path.cwd()).output.splitlines()[-1]))


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


class Bench:
    """The files in ``place``, and the rows measured so far."""

    def __init__(self, place: Path, small: bool) -> None:
        self.place = place
        self.small = small
        self.times = 1 if small else 3
        self.rows: list[Row] = []

    def file(self, count: int) -> Path:
        """The file of ``count`` messages, made where it is not there yet."""
        path = self.place / f"made-{count}.pst"
        if not path.exists():
            make_pst(unfinished := path.with_suffix(".unfinished"), count)
            unfinished.rename(path)
        subprocess.run(["cat", str(path)], stdout=subprocess.DEVNULL, check=True)  # into the page cache
        return path

    def add(self, what: str, excise: Row, other: str, found: Row, least: float = 0) -> None:
        """Enter the ratios by the wall clock and by processor time; ``least`` is the aim of the first."""
        wall, cpu = (found[key] / excise[key] for key in ("seconds", "cpu"))
        self.rows.append({
            "what": what, "excise_s": round(excise["seconds"], 3), "excise_cpu": round(excise["cpu"], 3),
            "peak_mb": excise["peak_mb"], "other": other, "other_s": round(found["seconds"], 3),
            "other_cpu": round(found["cpu"], 3), "times_faster": round(wall, 2), "times_less_cpu": round(cpu, 2),
            "aim": least and f">= {least:g}x", "met": wall >= least and excise["peak_mb"] < MEMORY,
        })  # fmt: skip
        print(line(self.rows[-1]), flush=True)

    def readpst(self, path: Path) -> Row | None:
        """What readpst -e of everything takes."""
        if not shutil.which("readpst"):
            return None
        with scratch(self.place) as target:
            return took(timed(["readpst", "-q", "-e", "-D", "-o", str(target), str(path)], cwd=self.place))

    def search(self, count: int) -> None:
        """By subject and date over all folders."""
        path, what = self.file(count), f"search {count:,}"
        found = {name: measured(name, path, self.times) for name in READERS if name == "excise" or find_spec(name)}
        if len({(row["seen"], row["found"]) for row in found.values()}) > 1:
            raise SystemExit(f"{path}: the readers do not find the same: {found}")
        for name, row in found.items():
            if name != "excise":
                self.add(what, found["excise"], name, row, 50)
        if (row := self.readpst(path)) is not None:
            self.add(what, found["excise"], "readpst -e", row, 10)

    def export(self, count: int) -> None:
        """Everything to files."""
        path, what = self.file(count), f"export {count:,}"
        found = {}
        for name in ("excise", "pypff"):
            if name == "excise" or find_spec(name):
                runs = []
                for _ in range(self.times if count < 50_000 else 1):
                    with scratch(self.place) as target:
                        runs.append(job(f"export_{name}", path, target))
                found[name] = min(runs, key=lambda run: run["seconds"])
        if len({row["count"] for row in found.values()}) > 1:
            raise SystemExit(f"{path}: not as many messages: {found}")
        if "pypff" in found:
            self.add(what, found["excise"], "pypff texts", found["pypff"])
        if (row := self.readpst(path)) is not None:
            self.add(what, found["excise"], "readpst -e", row)

    def write(self, what: str, count: int, attached: int) -> None:
        """A new file."""
        with scratch(self.place) as target:
            paths = [target / f"{number}.pst" for number in range(self.times)]
            row = min((job("write", path, count, attached) for path in paths), key=lambda run: run["seconds"])
            copied = self.copied(paths[0])
        self.add(f"{what} {count:,}", row, "cp, fsync", copied)
        amount, unit, aim = (count * attached / 1e6, "MB/s", 100) if attached else (count, "msg/s", 2500)
        # The aim is of one core: what else the machine has to do counts in the wall clock alone.
        for key, of in (("cpu", "of processor time"), ("seconds", "by the wall clock")):
            rate = amount / row[key]
            found = {"what": f"{what} {count:,}", "rate": round(rate, 1), "unit": f"{unit} {of}"}
            self.rows.append({**found, "aim": f">= {aim:,}" if key == "cpu" else "", "met": rate >= aim})
            print(line(self.rows[-1]), flush=True)

    def purge(self, count: int) -> None:
        """One message in a hundred removed in place."""
        path, runs = self.file(count), []
        for _ in range(self.times):
            with scratch(self.place) as target:
                copy = target / "copy.pst"
                shutil.copyfile(path, copy)
                runs.append(job("purge", copy, 100))
                if self.small and excise_check(copy):
                    raise SystemExit(f"{copy}: not clean after the purge")
        row = min(runs, key=lambda run: run["seconds"])
        self.add(f"purge 1 % of {count:,}", row, "cp, fsync", self.copied(path), 1)

    def copied(self, path: Path) -> Row:
        """What is taken by a plain copy that is then on the disk, as what Excise writes is."""
        runs = []
        for _ in range(self.times):
            with scratch(self.place) as target:
                os.sync()
                runs.append(timed(f"cp {path} {target}/copy && sync {target}/copy", cwd=self.place))
        return took(min(runs, key=lambda run: run.seconds))


def took(run: Measured) -> Row:
    """The seconds of ``run`` by the wall clock and of processor time."""
    return {"seconds": run.seconds, "cpu": run.cpu}


def excise_check(path: Path) -> bool:
    """True where the checker finds something."""
    import excise.pst

    return bool(excise.pst.check(path).findings)


def line(row: Row) -> str:
    """A row for people."""
    met = f"{row['aim']}: {'met' if row['met'] else 'MISSED'}" if row["aim"] else ""
    if "rate" in row:
        return f"{row['what']:22} {row['rate']:9,.0f} {row['unit']:44} {met}".rstrip()
    start = f"{row['what']:22} {row['excise_s']:9.3f} s {row['peak_mb']:6.0f} MB  {row['other']:12}"
    ratios = f"{row['times_faster']:8.2f}x {row['times_less_cpu']:8.2f}x of cpu"
    return f"{start} {row['other_s']:9.3f} s {ratios}  {met}".rstrip()


def main() -> None:
    """Measure everything that was asked for."""
    parts = [each for each in sys.argv[1:] if each != "--small"] or ["search", "export", "write", "purge"]
    small = "--small" in sys.argv
    place = Path(os.environ.get("BENCH_DIR") or HERE.parent / "build" / "bench").resolve()
    place.mkdir(parents=True, exist_ok=True)
    bench, counts = Bench(place, small), (500, 5000) if small else (5000, 100_000)
    for count in counts:
        if "search" in parts:
            bench.search(count)
        if "export" in parts:
            bench.export(count)
    if "write" in parts:
        bench.write("write small", counts[0], 0)
        bench.write("write 100 kB", counts[0] // (1 if small else 2), 100_000)
    if "purge" in parts:
        bench.purge(counts[1])
    print(json.dumps({"small": small, "rows": bench.rows}))


if __name__ == "__main__":
    main()
