"""What those who write nodes share: trees, subnodes, and where they are written ([MS-PST] 2.2.2.8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tree:
    """A data or subnode tree in the file: its root block and the data bytes of all leaves below, subnodes' included."""

    bid: int
    size: int


@dataclass(frozen=True, slots=True)
class SubnodeEntry:
    """A subnode to be: its data and its own subnodes."""

    nid: int
    data: Tree
    sub: Tree


NO_TREE = Tree(0, 0)


class Sink(Protocol):
    """A file that trees are written to: a new one, or one that is being changed."""

    def data_tree(self, blocks: Iterable[bytes]) -> Tree:
        """The tree of ``blocks``: at most 8,176 bytes each, and all but the last exactly that."""

    def bytes_tree(self, data: bytes | Iterable[bytes]) -> Tree:
        """The tree of ``data``, cut into blocks."""

    def subnode_tree(self, entries: Sequence[SubnodeEntry]) -> Tree:
        """The tree of the subnodes ``entries``, in any order."""

    def next_nid(self, nid_type: int) -> int:
        """A NID of ``nid_type`` that the file does not have."""

    def next_unique(self) -> int:
        """The next PidTagLtpRowVer."""


class NodeSink(Sink, Protocol):
    """A file that nodes are entered into as well."""

    def node(self, nid: int, data: Tree, sub: Tree = NO_TREE, parent: int = 0) -> None:
        """Enter the node ``nid``."""
