"""Running the command line in tests: a forked process (fast), or a new one (as a user's shell starts it)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import excise.cli

SOURCE = Path(excise.cli.__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that was shown."""
        return self.out + self.err

    def lines(self) -> list[Any]:
        """The objects of ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]


def excise_cli(*args: str | Path, environment: dict[str, str] | None = None) -> Done:
    """Run ``excise args`` in a forked process, without a terminal; no traceback may show."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _child([str(arg) for arg in args], environment or {}, out.fileno(), err.fileno())
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        done = Done(os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode())
    assert "Traceback" not in done.text and "unexpected error" not in done.text, (args, done.text)
    return done


def _child(args: list[str], environment: dict[str, str], out: int, err: int) -> None:
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(environment)
        sys.argv = ["excise", *args]
        excise.cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 98
    except BaseException:  # noqa: BLE001 - shown, and the caller looks for it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def environment() -> dict[str, str]:
    """The environment of a new process that runs this checkout."""
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def command_line(*args: str | Path) -> list[str]:
    """The command line of a new process."""
    return [sys.executable, "-m", "excise", *(str(arg) for arg in args)]


def excise_process(*args: str | Path) -> Done:
    """Run ``excise args`` in a new process."""
    done = subprocess.run(
        command_line(*args), capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)
