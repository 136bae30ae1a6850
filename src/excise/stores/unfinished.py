"""Names of files that are still being written, so that what a killed process left can be told and taken away."""

from __future__ import annotations

import os
import re
import socket
from itertools import count

from excise.core.digests import sha256_hex

_HOST = sha256_hex(socket.gethostname().encode("utf-8", "replace"))[:8]
_PREFIX = ".excise-"
_OURS = re.compile(r"\.excise-(\d{1,10})-\d{1,10}-([0-9a-f]{8})\.unfinished\Z")
_serial = count(1)


def unfinished_name() -> str:
    """A new name, never given twice by this process."""
    return f"{_PREFIX}{os.getpid()}-{next(_serial)}-{_HOST}.unfinished"


def is_unfinished(name: str) -> bool:
    """True for a name of ours, whoever left it."""
    return _OURS.match(name) is not None


def is_left_over(name: str) -> bool:
    """True for a name of ours whose process, on this host, is no more (or is this one, which writes nothing now)."""
    match = _OURS.match(name)
    if match is None or match[2] != _HOST:
        return False
    pid = int(match[1])
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
