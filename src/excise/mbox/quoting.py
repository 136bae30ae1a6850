r"""Quoting of body lines that would look like a From_ line, in the reversible manner of mboxrd.

A body line that matches ``^>*From `` gets one more ``>`` in front; reading takes one away. Both work on any bytes,
with LF or CRLF, and are exact inverses: ``unquote_mboxrd(quote_mboxrd(data)) == data``. The forms for chunks hold back
only the bytes that could still become such a line, at most a few thousand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

_FROM = b"From "
_MAYBE_QUOTED = re.compile(rb">*(?:F(?:r(?:o(?:m)?)?)?)?\Z")
# A held run of ">" longer than this is let go but for its end: one sign more or less may be put anywhere in the run.
_HELD_MAX = 4096
_HELD_KEPT = 8


def quote_mboxrd(data: bytes) -> bytes:
    """``data`` with a ``>`` before each line that matches ``^>*From ``."""
    return _rewrite(data, quote=True)


def unquote_mboxrd(data: bytes) -> bytes:
    """``data`` with one ``>`` less before each line that matches ``^>+From ``."""
    return _rewrite(data, quote=False)


def quote_mboxrd_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """``quote_mboxrd`` of the bytes that ``chunks`` make together."""
    return _in_chunks(chunks, quote_mboxrd)


def unquote_mboxrd_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """``unquote_mboxrd`` of the bytes that ``chunks`` make together."""
    return _in_chunks(chunks, unquote_mboxrd)


def _rewrite(data: bytes, *, quote: bool) -> bytes:
    # Looking for the rare "From " with bytes.find and then back to the start of its line is several times faster than
    # a multi-line pattern, which stops at every line.
    pieces: list[bytes] = []
    done = 0
    at = data.find(_FROM)
    while at >= 0:
        line = at
        while line > 0 and data[line - 1] == 0x3E:
            line -= 1
        if line == 0 or data[line - 1] == 0x0A:
            if quote:
                pieces += (data[done:at], b">")
                done = at
            elif line < at:
                pieces.append(data[done:line])
                done = line + 1
        at = data.find(_FROM, at + len(_FROM))
    pieces.append(data[done:])
    return b"".join(pieces) if len(pieces) > 1 else data


def _in_chunks(chunks: Iterable[bytes], rewrite: Callable[[bytes], bytes]) -> Iterator[bytes]:
    held = b""  # the beginning of a line that may yet match
    inside = False  # the bytes before ``held`` end within a line that cannot match any more
    for chunk in chunks:
        data = held + chunk
        if inside:
            line_end = data.find(b"\n") + 1
            if not line_end:
                yield data
                held = b""
                continue
            yield data[:line_end]
            data = data[line_end:]
        start = data.rfind(b"\n") + 1
        tail = data[start:]
        inside = not _MAYBE_QUOTED.match(tail)
        if inside:
            held, ready = b"", data
        else:
            cut = len(data) - (_HELD_KEPT if len(tail) > _HELD_MAX else len(tail))
            held, ready = data[cut:], data[:cut]
        if ready:
            yield rewrite(ready)
    if held:
        yield rewrite(held)
