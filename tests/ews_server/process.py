"""A server in another process, for tests that kill it and start it again on the same port with the same state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from .faults import Fault
from .state import State
from .world import World

_ABOVE = Path(__file__).resolve().parents[len(__package__.split("."))]


class ServerProcess:
    """`python -m ews_server` over a state file. `options` are its command line's."""

    def __init__(self, state: Path, world: World | None = None, options: list[str] | None = None) -> None:
        self.state = state
        self._options = options or []
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.url = ""
        if world is not None:
            made = State(state)
            made.commit(world)
            made.close()

    def start(self) -> ServerProcess:
        """Start it, on the former port if it had one; it answers when this returns."""
        command = [sys.executable, "-m", __package__, "--state", str(self.state), "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ABOVE), os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen([*command, *self._options], env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready, _, self.url = self._process.stdout.readline().strip().partition(" ")
        if ready != "READY":
            raise RuntimeError(f"The server did not start; it ended with {self._process.wait()}.")
        self.port = int(self.url.rsplit(":", 1)[1].split("/")[0])
        return self

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def cpu(self) -> float:
        """Seconds of processor time that it has taken."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def wait(self, seconds: float = 30) -> int:
        """Wait until it has ended; its exit status."""
        assert self._process is not None
        status = self._process.wait(seconds)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def stop(self) -> None:
        """End it in order."""
        if self.alive and self._process is not None:
            self._process.terminate()
            self.wait()

    def world(self) -> World:
        """The world as it was last committed; while the server runs, too."""
        state = State(self.state)
        try:
            return state.load()
        finally:
            state.close()

    def add_faults(self, *faults: Fault) -> None:
        """Switch faults on."""
        self.ask("faults", [vars(fault) for fault in faults])

    def ask(self, what: str, given: object = None) -> Any:
        """What the server answers below /control/: faults, log, sent, quirks."""
        data = b"" if given is None else json.dumps(given).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/control/{what}", data=data)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
