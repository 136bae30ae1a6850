"""Large contents, which lie in a file on disk while the program has them in hand.

What is written to a ``Spool`` stays in memory as long as it is small. Above that it goes to a file without a name in
the directory for temporary files, and is seen through a map of that file: memory holds what was just looked at, and
the kernel takes it back when it wants to.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from excise.core.errors import ExciseError
from excise.core.files import open_nofollow, os_error

#: Bytes that stay in memory.
SMALL = 4 << 20
_PIECE = 1 << 20


class Mapped(mmap.mmap):
    """The bytes of a file, for whoever takes ``bytes``: it has all their methods.

    Those that ``mmap`` lacks work on a copy in memory: right, and dear. It is made by ``map_file``.
    """

    def startswith(self, prefix: bytes, start: int = 0, end: int | None = None) -> bool:
        """As ``bytes.startswith``."""
        end = len(self) if end is None else min(end, len(self))
        return start + len(prefix) <= end and self[start : start + len(prefix)] == prefix

    def endswith(self, suffix: bytes) -> bool:
        """As ``bytes.endswith``."""
        return self[max(0, len(self) - len(suffix)) :] == suffix

    def __contains__(self, part: object) -> bool:
        return self.find(cast(bytes, part), 0) >= 0

    def __iter__(self) -> Iterator[int]:
        return iter(memoryview(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes | Mapped) and memoryview(self) == memoryview(other)

    def __hash__(self) -> int:
        return hash(bytes(self))

    def __getattr__(self, name: str) -> Any:
        # Only for what mmap has not: split, decode, replace …
        return getattr(bytes(self), name)


def map_file(stream: IO[bytes]) -> bytes:
    """What is in ``stream``, a file that nobody changes any more; it may be closed."""
    if os.fstat(stream.fileno()).st_size == 0:
        return b""
    # mmap has no type that says that it can stand in for bytes.
    return cast(bytes, Mapped(stream.fileno(), 0, access=mmap.ACCESS_READ))


def map_path(path: Path) -> bytes:
    """What is in the regular file at ``path``, through no link of that name; an OSError passes."""
    with os.fdopen(open_nofollow(path), "rb") as stream:
        return map_file(stream) if os.fstat(stream.fileno()).st_size > SMALL else stream.read()


class Spool:
    """Bytes on their way to ``content``."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    def __del__(self) -> None:
        # One that was given up.
        if self._file is not None:
            self._file.close()

    def write(self, data: bytes) -> None:
        """Add ``data``; an ExciseError where the disk takes no more."""
        self.size += len(data)
        if self._file is None and self.size <= SMALL:
            self._pieces.append(data)
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by ``content``)
                self._file.writelines(self._pieces)
                self._pieces = []
            self._file.write(data)
        except OSError as error:
            raise _no_room(error) from error

    def drop_last(self, count: int) -> None:
        """Take back the last ``count`` bytes; no more than were written."""
        self.size -= count
        if self._file is not None:
            self._file.seek(self.size)
            self._file.truncate()
        else:
            self._pieces = [b"".join(self._pieces)[: self.size]]

    def content(self) -> bytes:
        """All that was written; nothing can be added after that."""
        if self._file is None:
            return b"".join(self._pieces)
        try:
            with self._file as stream:
                stream.flush()
                return map_file(stream)
        except OSError as error:
            raise _no_room(error) from error


def pieces(data: bytes, size: int = _PIECE) -> Iterator[bytes]:
    """``data`` in pieces of ``size`` bytes, the last one shorter."""
    return (data[at : at + size] for at in range(0, len(data), size))


class Pieces:
    """``data`` in pieces, as often as it is asked for."""

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        """Of ``data`` the bytes from ``start`` to ``end``."""
        self._data, self._start, self._end = data, start, len(data) if end is None else min(end, len(data))

    def __iter__(self) -> Iterator[bytes]:
        places = range(self._start, self._end, _PIECE)
        return (self._data[at : min(at + _PIECE, self._end)] for at in places)


def whole_or_pieces(data: bytes) -> bytes | Pieces:
    """``data``; in pieces where it lies on disk."""
    return Pieces(data) if isinstance(data, Mapped) else data


def _no_room(error: OSError) -> ExciseError:
    return os_error(error, tempfile.gettempdir(), "keeping a large message aside (TMPDIR names another place)")
