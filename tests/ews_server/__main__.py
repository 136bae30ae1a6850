"""A server in a process of its own: `python -m ews_server --state FILE`.

It prints READY and its URL, and serves until it is told to end (SIGTERM) or killed. The state file holds the world;
`State(path).commit(world)` makes one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from .login import SCHEMES
from .quirks import Quirks, gromox
from .server import Server
from .state import State


def main() -> int:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m ews_server", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the world's file")
    parser.add_argument("--port", type=int, default=0, help="a port; without one a free one is taken")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--schemas", type=Path, metavar="DIRECTORY", help="Microsoft's XSDs")
    parser.add_argument("--certificate", type=Path, metavar="PEM")
    parser.add_argument("--key", type=Path, metavar="PEM")
    parser.add_argument("--gromox", action="store_true", help="behave as gromox does instead of Exchange")
    parser.add_argument("--authentication", nargs="+", default=["basic"], choices=SCHEMES)
    given = parser.parse_args()
    state = State(given.state)
    world = state.load()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Server(
        world,
        quirks=gromox() if given.gromox else Quirks(),
        schemas=given.schemas,
        latency=given.latency,
        port=given.port,
        certificate=given.certificate,
        key=given.key,
        commit=lambda: state.commit(world),
        controlled=True,
        authentication=tuple(given.authentication),
    ) as server:
        print("READY", server.url, flush=True)
        ended.wait()
    state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
