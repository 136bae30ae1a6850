"""A file object that keeps nothing: to find out what a writer would come to."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Nowhere(io.BytesIO):
    """Takes everything and has nothing to read."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def write(self, data: ReadableBuffer, /) -> int:
        """Take ``data``."""
        size = memoryview(data).nbytes
        self._at += size
        return size

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to ``offset`` from the start; everything else is a ValueError."""
        if whence:
            raise ValueError("only places from the start")
        self._at = offset
        return offset

    def tell(self) -> int:
        """Where the next bytes would go."""
        return self._at

    def truncate(self, size: int | None = None, /) -> int:
        """Nothing: there is nothing."""
        return self._at if size is None else size
