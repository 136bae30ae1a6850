"""Messages that a mail server keeps compressed (Dovecot's zlib plugin), told by their first bytes.

Invariant: what cannot be expanded whole is an ItemDamaged, never taken for the message itself; no more is expanded than
the limit, whatever the stream claims.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from excise.store_api.errors import ItemDamaged


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


_READABLE: dict[bytes, tuple[str, Callable[[], _Decompressor]]] = {
    b"\x1f\x8b": ("gzip", lambda: zlib.decompressobj(31)),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", lzma.LZMADecompressor),
}
_UNREADABLE = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"Dovecot-LZ4\x0d\x2a\x9b\xc5": "compressed with LZ4",
    b"CRYPTED\x03\x07": "encrypted by Dovecot's mail-crypt plugin",
}
#: What the content of a compressed or encrypted message begins with.
MAGICS = (*_READABLE, *_UNREADABLE)


def form_of(data: bytes) -> str:
    """``gzip``, ``bzip2`` or ``xz``; empty for a message kept as it is. ItemDamaged for a form that is not read."""
    for magic, what in _UNREADABLE.items():
        if data.startswith(magic):
            raise ItemDamaged(f"the message is {what}, which is not read here", hint="Search this mailbox over IMAP.")
    return next((name for magic, (name, _) in _READABLE.items() if data.startswith(magic)), "")


def expand(data: bytes, limit: int) -> bytes:
    """The message in ``data``: expanded where it is compressed, else ``data`` itself."""
    form = form_of(data)
    if not form:
        return data
    make = next(make for name, make in _READABLE.values() if name == form)
    pieces, size = [], 0
    rest = data
    while rest:
        stream = make()
        try:
            piece = stream.decompress(rest, limit + 1 - size)
        except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
            raise ItemDamaged(f"the message cannot be expanded ({form}): {error}") from error
        size += len(piece)
        pieces.append(piece)
        if size > limit:
            raise ItemDamaged(f"the message expands to more than the {limit} bytes that one may have")
        if not stream.eof:
            raise ItemDamaged(f"the message is cut short inside its {form} stream")
        rest = stream.unused_data
    return b"".join(pieces)
