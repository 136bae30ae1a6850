"""Compressed mboxes (gzip, bzip2, xz): read through a temporary file that has no name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tempfile
import zlib
from typing import IO

from excise.core.errors import DamagedInput, SourceUnavailable
from excise.core.files import os_error

_PIECE = 1 << 20
#: No compressed mailbox may grow more than this, in bytes and as a multiple of its own size (S27).
SIZE_MAX = 1 << 40
RATIO_MAX = 1100

_MAGIC = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0")


def is_compressed(head: bytes) -> bool:
    """True where a file that begins with ``head`` is of a kind that is read here."""
    return head.startswith(_MAGIC)


def first_bytes(head: bytes, count: int) -> bytes:
    """At most ``count`` bytes of what ``head``, the beginning of a compressed file, decompresses to."""
    try:
        if head.startswith(b"\x1f\x8b\x08"):
            return zlib.decompressobj(31).decompress(head, count)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, count)
        return lzma.LZMADecompressor(memlimit=1 << 28).decompress(head, count)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, MemoryError):
        return b""


def decompress(fd: int, name: str) -> int:
    """A descriptor of an unnamed file with what the compressed file ``fd`` holds; a DamagedInput where it is
    damaged."""
    with os.fdopen(os.dup(fd), "rb") as stream, tempfile.TemporaryFile() as target:
        stream.seek(0)
        limit = min(SIZE_MAX, max(1 << 26, os.fstat(fd).st_size * RATIO_MAX))
        try:
            with _opened(stream) as source:
                while piece := source.read(_PIECE):
                    target.write(piece)
                    if target.tell() > limit:
                        raise DamagedInput(
                            f"{name}: grows to more than {limit} bytes when it is decompressed; it was not read",
                            hint="Decompress it yourself if you trust it, and name the result.",
                        )
            target.flush()
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise DamagedInput(
                f"{name}: the compressed mailbox is damaged or cut short: {error}",
                hint="Decompress what can be read with another program, and name the result.",
            ) from error
        except OSError as error:
            if error.errno is None:
                raise DamagedInput(f"{name}: the compressed mailbox is damaged: {error}") from error
            raise _no_room(error) from error
        return os.dup(target.fileno())


def _no_room(error: OSError) -> SourceUnavailable:
    found = os_error(error, tempfile.gettempdir(), "decompressing a mailbox into a temporary file")
    return SourceUnavailable(found.message, hint="Set TMPDIR to a directory with more room.")


def _opened(stream: IO[bytes]) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    magic = stream.read(8)
    stream.seek(0)
    if magic.startswith(b"\x1f\x8b\x08"):
        return gzip.GzipFile(fileobj=stream)
    return bz2.BZ2File(stream) if magic.startswith(b"BZh") else lzma.LZMAFile(stream)
