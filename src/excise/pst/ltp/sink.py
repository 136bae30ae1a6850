"""What the builders of heaps write to, and what they give back ([MS-PST] 2.2.2.8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

#: The NID type of subnodes that hold large values and row matrices.
NID_TYPE_LTP = 0x1F


class Tree(Protocol):
    """A written data tree."""

    @property
    def bid(self) -> int:
        """BID of its root; 0 where it has no data."""

    @property
    def size(self) -> int:
        """Bytes of data."""


class Sink(Protocol):
    """Where data trees are written. NIDs and row versions are those of the file."""

    def data_tree(self, blocks: Iterable[bytes]) -> Tree:
        """The tree of ``blocks``: at most 8,176 bytes each, and all but the last exactly that."""

    def bytes_tree(self, data: bytes | Iterable[bytes]) -> Tree:
        """The tree of ``data``, cut into blocks."""

    def next_nid(self, nid_type: int) -> int:
        """A NID of ``nid_type`` that the file does not have."""

    def next_unique(self) -> int:
        """The next PidTagLtpRowVer."""


@dataclass(frozen=True, slots=True)
class Subnode:
    """An entry for a subnode tree; ``sub`` None where it has no subnodes itself."""

    nid: int
    data: Tree
    sub: Tree | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A heap that was written, and the subnodes that its node must have."""

    data: Tree
    subnodes: tuple[Subnode, ...]
