"""Random access to the bytes of a mailbox file without mapping it.

A file that another program may cut short must not be memory-mapped: touching a page past its end kills the process. A
``FileView`` reads with ``pread`` in windows and reports such a change as an error. It offers what the scanner asks of a
buffer (length, slices, ``find``), as ``bytes`` and ``mmap`` do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, overload

from excise.core.errors import SourceUnavailable

WINDOW = 1 << 20
_SLACK = 16  # a window begins a little before what is asked for: the scanner looks back at the line before


class Buffer(Protocol):
    """What the scanner needs: ``bytes``, ``mmap`` and ``FileView`` have it."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...

    def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int: ...


class FileShrank(SourceUnavailable):
    """A file became shorter, or was changed, while it was read."""

    error_id = "file-shrank"


class FileView:
    """The first ``size`` bytes of an open file, as a buffer.

    The view does not own ``fd``. ``size`` is fixed when the view is made: what is appended later is not seen. Bytes
    that are gone when they are asked for raise ``FileShrank``. Memory: one window of ``WINDOW`` bytes, and what is
    asked for.
    """

    def __init__(self, fd: int, name: str | Path, size: int | None = None) -> None:
        self._fd = fd
        self._name = str(name)
        self._size = os.fstat(fd).st_size if size is None else size
        self._window = b""
        self._window_start = 0

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __getitem__(self, key: int | slice, /) -> int | bytes:
        if isinstance(key, slice):
            start, stop, step = key.indices(self._size)
            data = self._read(start, stop)
            return data if step == 1 else data[::step]
        if key < 0:
            key += self._size
        if not 0 <= key < self._size:
            raise IndexError(key)
        return self._read(key, key + 1)[0]

    def find(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        """The first offset of ``sub`` in ``[start, end)``, or -1."""
        end = self._size if end is None else min(end, self._size)
        while start + len(sub) <= end:
            offset = start - self._window_start
            if not 0 <= offset <= len(self._window) - len(sub):
                self._fill(start)
                offset = start - self._window_start
            limit = min(end - self._window_start, len(self._window))
            found = self._window.find(sub, offset, limit)
            if found >= 0:
                return self._window_start + found
            start = self._window_start + limit - len(sub) + 1
        return -1

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of ``[start, stop)`` in pieces of ``WINDOW`` bytes at most."""
        while start < stop:
            piece = self._read(start, min(stop, start + WINDOW))
            yield piece
            start += len(piece)

    def _read(self, start: int, stop: int) -> bytes:
        if stop <= start:
            return b""
        offset = start - self._window_start
        if offset >= 0 and stop - self._window_start <= len(self._window):
            return self._window[offset : offset + stop - start]
        if stop - start <= WINDOW // 4:
            self._fill(start)
            offset = start - self._window_start
            return self._window[offset : offset + stop - start]
        return self._pread(start, stop - start)

    def _fill(self, start: int) -> None:
        start = max(0, start - _SLACK)
        self._window = self._pread(start, min(WINDOW, self._size - start))
        self._window_start = start

    def _pread(self, start: int, count: int) -> bytes:
        data = os.pread(self._fd, count, start)
        while len(data) < count:
            more = os.pread(self._fd, count - len(data), start + len(data))
            if not more:
                raise FileShrank(
                    f"{self._name}: became shorter while it was read: expected {self._size} bytes, "
                    f"found its end at {start + len(data)}",
                    hint="Another program rewrote it. Run the command again.",
                )
            data += more
        return data
