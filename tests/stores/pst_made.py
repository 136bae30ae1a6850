"""PST files that Excise makes for tests of removal, and changes of them as another program would make them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import excise.pst
from excise.mapi.from_mime import from_mime
from excise.model.item import Deposit
from excise.pst.ltp.rebuild import rebuild_properties
from excise.pst.ndb.edit import edit_nodes
from excise.pst.ndb.read import Node
from excise.pst.ndb.write_types import SubnodeEntry
from excise.pst_mapi.new_message import new_message

FLAGS, SUBMITTED = 0x0E07, 0x0039


def make_pst(path: Path, messages: Iterable[Deposit]) -> list[int]:
    """A new PST file with ``messages`` in their folders; their NIDs."""
    with excise.pst.create(path) as pst:
        return [pst.folder(each.folder.split("/")).add(new_message(from_mime(each.content))) for each in messages]


def change_property(path: Path, nid: int, prop_id: int, value: bytes) -> None:
    """Give the message ``nid`` another value of a property that it has; all else stays."""
    with edit_nodes(path) as editor:
        entry = editor.entry(nid)
        assert entry is not None
        node = editor.ndb.open(entry)

        def keep(child: Node) -> SubnodeEntry:
            return SubnodeEntry(child.nid, editor.existing(child.bid_data), editor.existing(child.bid_sub))

        built = rebuild_properties(editor, keep, node, {prop_id: value})
        editor.node(nid, built.data, editor.subnode_tree(built.subnodes), entry.nidParent)
        editor.commit()
