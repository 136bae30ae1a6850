"""How much of a file is read before it is known whether the rest is needed, and where the header ends in it."""

from __future__ import annotations

#: Bytes that are read at once from the start of a message; most headers lie in them whole.
WINDOW = 8192


def header_end(data: bytes) -> int:
    """Where the header of ``data`` ends: past its first empty line; -1 where there is none."""
    end = data.find(b"\n\n")
    other = data.find(b"\n\r\n", 0, end if end >= 0 else len(data))
    if other >= 0:
        return other + 3
    return end + 2 if end >= 0 else -1
