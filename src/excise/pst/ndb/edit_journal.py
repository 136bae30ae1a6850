"""The journal of an edit: how far it is, and what the header says at each step, so that a crash can be mended.

A JSON line, then the header images of 1,024 bytes each. Format 1:

    {"excise-journal": 1, "state": …, "size": …, "limit": …, "images": n, "sha256": …}

``sha256`` is of the line's other values and the images. An image takes two sectors of the disk, each of which is
written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from excise.pst.disk.header import Header

SECTOR = 512
IMAGE = 2 * SECTOR
_VERSION = 1
_MAX_LINE = 400


class State(Enum):
    """``WRITING``: the old trees stand, and the edit is to be undone. ``COMMITTED``: it is to be finished."""

    WRITING = "writing"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Journal:
    """``size`` is that of the file before the edit, ``limit`` the most that it may have (once committed: exactly).

    ``images`` are the header's images in the order in which they are written. While writing: as it was, and marked as
    being written to. Once committed: marked, with the new trees, and finished.
    """

    state: State
    size: int
    limit: int
    images: tuple[bytes, ...]

    def pack(self) -> bytes:
        """The journal's bytes."""
        return self._line({"sha256": self._digest()}) + b"\n" + b"".join(self.images)

    @classmethod
    def unpack(cls, data: bytes) -> Journal:
        """The reverse of ``pack``. ValueError where ``data`` is no whole journal."""
        line, _, images = data.partition(b"\n")
        if len(line) > _MAX_LINE:
            raise ValueError("its first line is too long")
        values = json.loads(line)
        if not isinstance(values, dict) or values.get("excise-journal") != _VERSION:
            raise ValueError("it is no journal of format 1")
        sizes = values.get("size"), values.get("limit")
        if not all(isinstance(each, int) and each >= 0 for each in sizes):
            raise ValueError("it has no sizes")
        pieces = tuple(images[at : at + IMAGE] for at in range(0, len(images), IMAGE))
        journal = cls(State(values.get("state")), values["size"], values["limit"], pieces)
        wanted = 2 if journal.state is State.WRITING else 3
        if len(pieces) != wanted or len(images) != wanted * IMAGE or values.get("sha256") != journal._digest():
            raise ValueError("its checksum is wrong")
        return journal

    def explains(self, current: bytes, size: int) -> bool:
        """True where ``current``, the file's first 1,024 bytes, and its ``size`` are what this edit can have left.

        One of the images, or a sector each of two that follow one another.
        """
        if (
            len(current) != IMAGE
            or not (self.size if self.state is State.WRITING else self.limit) <= size <= self.limit
        ):
            return False
        return any(_mixed(current, one, other) for one, other in pairwise(self.images))

    def _line(self, more: dict[str, str]) -> bytes:
        values = {
            "excise-journal": _VERSION, "state": self.state.value, "size": self.size, "limit": self.limit,
            "images": len(self.images), **more,
        }  # fmt: skip
        return json.dumps(values).encode("ascii")

    def _digest(self) -> str:
        return hashlib.sha256(self._line({}) + b"".join(self.images)).hexdigest()


def image(header: Header, rest: bytes = b"") -> bytes:
    """The image of ``header``, sealed here, followed by ``rest``."""
    return (header.sealed().pack() + rest).ljust(IMAGE, b"\0")


def _mixed(current: bytes, one: bytes, other: bytes) -> bool:
    sectors: Sequence[slice] = (slice(0, SECTOR), slice(SECTOR, IMAGE))
    return all(current[at] in (one[at], other[at]) for at in sectors)
