"""Messages taken out of a Unicode PST in place, and with them all that names or mirrors them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from excise.pst.file.read import PstFile
from excise.pst.file.rewrite import CODEC, Soundness, judge, opened_again, refusing
from excise.pst.messaging.removal import Removal, plan_removal
from excise.pst.messaging.store import MessageStore
from excise.pst.ndb.edit import NodeEditor, edit_nodes
from excise.pst.ndb.read import Node
from excise.pst.ndb.write_types import SubnodeEntry


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge came to: messages removed, the NIDs of the nodes that got new content, and messages left."""

    removed: int
    rebuilt: tuple[int, ...]
    left: tuple[int, ...] = ()


def purge(
    path: str | os.PathLike[str],
    nids: Iterable[int],
    *,
    timeout: float,
    check: Callable[[PstFile, int], bool] | None,
    soundness: Soundness,
) -> Purged:
    """Remove the messages and associated items ``nids`` from the PST at ``path``, and erase what they leave behind.

    All of them or none: the file is changed at once, or stays as it was. ``timeout`` is how long to wait for a lock, in
    seconds. Nothing is written for no messages. ``check`` is asked for each message while the file is locked and before
    it is written to, with the file as it is then: only those for which it is true are removed, the others are ``left``.

    Errors as of ``excise.pst.ndb.edit.edit_nodes``; Unsound where anything in the file is damaged
    or what names a message cannot be read for certain; ValueError where one of ``nids`` is not the NID of a message.
    What ``check`` raises leaves the file as it was.
    """
    asked = frozenset(nids)
    ask = partial(judge, soundness) if asked else None
    with refusing(os.fspath(path)), edit_nodes(Path(path), timeout=timeout, judge=ask) as editor:
        wanted = asked
        if check is not None:
            locked = opened_again(editor.ndb)
            wanted = frozenset(nid for nid in sorted(asked) if check(locked, nid))
        removal = plan_removal(MessageStore(editor.ndb, CODEC), wanted)
        if wanted:
            _apply(editor, removal)
            editor.commit()
            soundness.changed(editor.ndb.source)
        return Purged(len(wanted), tuple(sorted(removal.rebuilt)), tuple(sorted(asked - wanted)))


def _apply(editor: NodeEditor, removal: Removal) -> None:
    def keep(node: Node) -> SubnodeEntry:
        return SubnodeEntry(node.nid, editor.existing(node.bid_data), editor.existing(node.bid_sub))

    for nid in sorted(removal.rebuilt):
        entry = editor.entry(nid)
        if entry is None:
            raise KeyError(nid)
        built = removal.rebuild(nid, editor, keep)
        editor.node(nid, built.data, editor.subnode_tree(built.subnodes), entry.nidParent)
    for nid in sorted(removal.gone):
        editor.remove(nid)
