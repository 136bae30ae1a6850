"""Where the bytes come from: a path or a binary file object.

A file is read with ``pread`` and not mapped: a mapped file that another program cuts short kills the process, while a
short read is damage like any other.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO, Protocol

from excise.core.errors import SourceUnavailable


class Source(Protocol):
    """Random access to ``size`` bytes. ``read`` gives fewer bytes than asked where the file ends.

    ``fd`` is the descriptor of the file that it reads, -1 where that is not known to be one.
    """

    name: str
    size: int
    fd: int

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``."""

    def close(self) -> None:
        """Let go of what ``open_source`` opened."""


class FileSource:
    """A file opened by its path."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        self.size = os.fstat(self.fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See ``Source``."""
        try:
            data = os.pread(self.fd, length, offset)
            while len(data) < length and (more := os.pread(self.fd, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise SourceUnavailable(f"{self.name}: cannot be read at {offset}: {error.strerror or error}") from error
        return data

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class StreamSource:
    """A seekable binary file object, which stays the caller's: ``close`` leaves it open."""

    def __init__(self, stream: IO[bytes]) -> None:
        name = getattr(stream, "name", "")
        self.name = name if isinstance(name, str) and name else "<stream>"
        self.fd = -1
        self._stream = stream
        self._lock = threading.Lock()
        self.size = stream.seek(0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """See ``Source``."""
        with self._lock:
            self._stream.seek(offset)
            data = self._stream.read(length)
            while len(data) < length and (more := self._stream.read(length - len(data))):
                data += more
            return data

    def close(self) -> None:
        """Nothing: the stream is the caller's."""


def open_source(path_or_file: str | os.PathLike[str] | IO[bytes]) -> Source:
    """A source over ``path_or_file``. SourceUnavailable where it cannot be opened."""
    if not isinstance(path_or_file, (str, os.PathLike)):
        return StreamSource(path_or_file)
    path = Path(path_or_file)
    try:
        # pread is POSIX; elsewhere a stream with a lock does the same.
        return FileSource(path) if hasattr(os, "pread") else StreamSource(path.open("rb"))
    except OSError as error:
        raise SourceUnavailable(f"{path}: cannot be opened: {error.strerror or error}") from error
