"""What a test tells a server in another process, and asks of it: plain JSON beside the EWS endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .faults import Fault

if TYPE_CHECKING:
    from .server import Server

PREFIX = "/control/"


def control(server: Server, path: str, data: bytes) -> tuple[int, bytes]:
    """Answer a request below /control/: the HTTP status and JSON."""
    known: dict[str, Callable[[Server, Any], object]] = {
        "faults": _faults,
        "log": _log,
        "sent": lambda server, _: [asdict(sent) for sent in server.world.sent],
        "quirks": _quirks,
    }
    found = known.get(path.removeprefix(PREFIX))
    if found is None:
        return 404, b"{}"
    return 200, json.dumps(found(server, json.loads(data) if data else None)).encode()


def _faults(server: Server, given: list[dict[str, Any]] | None) -> object:
    """Add faults; without any only tell of them."""
    server.faults.add(*(Fault(**fault) for fault in given or []))
    return server.faults.dump()


def _quirks(server: Server, given: dict[str, Any] | None) -> object:
    for name, value in (given or {}).items():
        if not hasattr(server.quirks, name):
            raise ValueError(f"no such quirk: {name}")
        setattr(server.quirks, name, value)
    return asdict(server.quirks)


def _log(server: Server, _: object) -> object:
    return {
        "count": dict(server.log.count),
        "refused": server.log.refused,
        "peak": server.log.peak,
        "complaints": server.log.complaints,
        "errors": server.log.errors,
    }
