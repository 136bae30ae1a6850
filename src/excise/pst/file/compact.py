"""A Unicode PST copied node by node into a new file, without what nothing refers to and without chosen messages."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import IO, BinaryIO

from excise.core.errors import DamagedInput
from excise.pst.disk import ids
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import CLIENT_PST
from excise.pst.file.read import PstFile, open_pst
from excise.pst.file.rewrite import Soundness, judge, refusing
from excise.pst.ltp.rebuild import require_sound
from excise.pst.messaging.removal import Removal, plan_removal
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.write import NO_TREE, NodeWriter, SubnodeEntry, Tree

_MAX_DEPTH = 256
# A block with this many references or more is used twice: the BBT counts itself too.
_SHARED = 3
# What is written anew ends above the counter of its source, which has four bytes.
_MAX_UNIQUE = 0xFFFF0000


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a copy came to. ``size`` is of the new file in bytes; ``rebuilt`` the NIDs of nodes with new content."""

    nodes: int
    removed: int
    rebuilt: tuple[int, ...]
    size: int


def compact(
    source: str | os.PathLike[str] | IO[bytes],
    target: BinaryIO,
    *,
    without: AbstractSet[int],
    soundness: Soundness,
) -> Compaction:
    """Copy the Unicode PST ``source`` into ``target`` without the messages and associated items ``without`` (NIDs).

    ``target`` is an open file to write and read, which loses what was in it; until this returns it holds no PST that
    opens. All nodes keep their NIDs and their data, known or not; blocks that nothing refers to are left out.

    Errors as of ``excise.pst.open``; DamagedInput for a file of another kind; Unsound where anything in it is
    damaged, or what names a message cannot be read for certain; ValueError where one of ``without`` is not the
    NID of a message.
    """
    with open_pst(source) as pst, refusing(pst.source.name):
        _require_writable(pst)
        judge(soundness, pst.source)
        removal = plan_removal(pst.store, without)
        writer = NodeWriter(target, like=pst.header)
        copier = _Copier(pst.ndb, writer)
        for entry in pst.ndb.nodes.entries():
            if entry.nid not in removal.gone | removal.rebuilt:
                copier.copy(entry.nid)
        # Last, when every NID that is taken is known.
        for nid in sorted(removal.rebuilt):
            copier.rebuild(nid, removal)
        writer.close()
        target.flush()
        size = target.seek(0, os.SEEK_END)
        return Compaction(len(pst.ndb.nodes) - len(removal.gone), len(without), tuple(sorted(removal.rebuilt)), size)


def _require_writable(pst: PstFile) -> None:
    """DamagedInput where ``pst`` is not of the one kind that is written; Damaged where its trees are not sound."""
    if pst.ndb.format is not UNICODE or pst.header.wMagicClient != CLIENT_PST:
        kind = "an OST" if pst.is_ost else f"a {pst.format_name} file"
        hint = "Only Unicode PST files of 512-byte pages are written; import it into a new PST in Outlook."
        raise DamagedInput(f"{pst.source.name}: {kind}, which can only be read", hint=hint)
    if pst.header.dwUnique > _MAX_UNIQUE:
        hint = "Export it from Outlook into a new PST file."
        raise DamagedInput(f"{pst.source.name}: its change counter is used up (0x{pst.header.dwUnique:x})", hint=hint)
    _ = pst.ndb.blocks
    for damage in pst.damage:
        if damage.layer in ("disk", "ndb"):
            raise Damaged(damage)


class _Copier:
    """Copies nodes; a tree that the source uses more than once is written once."""

    def __init__(self, ndb: NodeDatabase, writer: NodeWriter) -> None:
        self._ndb = ndb
        self._writer = writer
        self._shared: dict[int, Tree] = {}
        self._depth = 0

    def copy(self, nid: int) -> None:
        """Write the node ``nid`` as it is."""
        node, parent = self._open(nid)
        self._writer.node(nid, self._data(node), self._subnodes(node), parent)

    def rebuild(self, nid: int, removal: Removal) -> None:
        """Write the node ``nid`` with its new content."""
        node, parent = self._open(nid)
        for each in node.subnodes:
            self._writer.reserve_nid(each)
        built = removal.rebuild(nid, self._writer, self._keep)
        self._writer.node(nid, built.data, self._writer.subnode_tree(built.subnodes), parent)

    def _open(self, nid: int) -> tuple[Node, int]:
        entry = self._ndb.nodes.find(nid)
        if entry is None:
            raise KeyError(nid)
        return self._ndb.open(entry, DamageLog()), entry.nidParent

    def _keep(self, node: Node) -> SubnodeEntry:
        return SubnodeEntry(node.nid, self._data(node), self._subnodes(node))

    def _data(self, node: Node) -> Tree:
        known = self._shared.get(ids.bid_key(node.bid_data))
        if known is None:
            known = self._remember(node.bid_data, self._write_data(node))
        return known

    def _write_data(self, node: Node) -> Tree:
        try:
            tree = self._writer.data_tree(node.data.chunks()) if node.bid_data else NO_TREE
        except ValueError as error:
            raise Damaged(_damage(node, "full blocks before the last", str(error))) from error
        require_sound(node)
        return tree

    def _subnodes(self, node: Node) -> Tree:
        known = self._shared.get(ids.bid_key(node.bid_sub))
        if known is not None:
            return known
        if self._depth == _MAX_DEPTH:
            raise Damaged(_damage(node, f"at most {_MAX_DEPTH} subnodes in each other", "more"))
        self._depth += 1
        entries = []
        for nid in node.subnodes:
            child = node.child(nid)
            if child is not None:
                entries.append(SubnodeEntry(nid, self._data(child), self._subnodes(child)))
        require_sound(node)
        self._depth -= 1
        return self._remember(node.bid_sub, self._writer.subnode_tree(entries))

    def _remember(self, bid: int, tree: Tree) -> Tree:
        if bid and self._ndb.block_entry(bid).cRef >= _SHARED:
            self._shared[ids.bid_key(bid)] = tree
        # Blocks that are used more often than their counts say could make a small file a huge one.
        elif self._writer.size > 2 * self._ndb.source.size:
            found = f"more than {self._writer.size} bytes"
            raise Damaged(Damage("ndb", "BBTENTRY", "cRef", "the BBT", -1, "counts of the references", found))
        return tree


def _damage(node: Node, expected: str, found: str) -> Damage:
    return Damage("ndb", "node", "data", f"node 0x{node.nid:x}", -1, expected, found)
