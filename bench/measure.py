"""Time and memory of a command."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE = 0.05


@dataclass(frozen=True)
class Measured:
    """What a command took: wall seconds, peak of anonymous memory over its whole process tree in bytes, its output, and
    seconds of processor time, those of the programs that it started and the kernel's included."""

    seconds: float
    anonymous: int
    output: str
    cpu: float


def timed(command: Sequence[str] | str, *, cwd: Path, memory: bool = False) -> Measured:
    """Run ``command`` (a string goes through the shell); any exit status but 0 is an error.

    With ``memory`` its tree is looked at every 50 ms, which slows it down: take the time from another run. Pages that
    are shared between processes count in shares (Pss), so that a fork does not count twice.
    """
    with tempfile.TemporaryFile() as output:
        started, busy = time.perf_counter(), _busy_children()
        process = subprocess.Popen(command, cwd=cwd, shell=isinstance(command, str), stdout=output, stderr=output)
        peak = 0
        while memory and process.poll() is None:
            peak = max(peak, sum(map(_anonymous, _tree(process.pid))))
            time.sleep(_SAMPLE)
        status = process.wait()
        seconds, busy = time.perf_counter() - started, _busy_children() - busy
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    if status:
        raise SystemExit(f"{command} ended with {status}:\n{text[-4000:]}")
    return Measured(seconds, peak, text, busy)


def best(command: Sequence[str] | str, *, cwd: Path, times: int = 3) -> Measured:
    """The fastest of several runs."""
    return min((timed(command, cwd=cwd) for _ in range(times)), key=lambda run: run.seconds)


def _busy_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clock() -> Callable[[], dict[str, float]]:
    """A function that says how many seconds of the wall clock and of this process's processor time it is since."""
    started, busy = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}


def peak_mb() -> float:
    """The peak of resident memory of this process in MB. Unlike ru_maxrss it leaves out who started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6, 1)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            threads = os.listdir(f"/proc/{parent}/task")
            for thread in threads:
                found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return found


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))
