"""A message that shares blocks with itself is not copied out into more than its file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import excise.pst
from excise.pst import NewAttachment, NewMessage, NewProperty
from excise.pst.disk import ids
from excise.pst.ndb.edit import NodeEditor, edit_nodes
from excise.pst.ndb.read import Node
from excise.pst.ndb.write_types import SubnodeEntry, Tree
from pst.fuzzing import bounded

PT_LONG, PT_UNICODE = 0x03, 0x1F


def nested(levels: int) -> NewMessage:
    message = NewMessage([NewProperty.of(0x37, PT_UNICODE, "Innermost")])
    for _ in range(levels):
        message = NewMessage([], (), [NewAttachment([NewProperty.of(0x3705, PT_LONG, 5)], message)])
    return message


def doubled(editor: NodeEditor, node: Node) -> tuple[Tree, Tree]:
    """The trees of ``node``, in which each attachment is there twice."""
    subnodes = []
    for nid in node.subnodes:
        child = node.child(nid)
        assert child is not None
        kind = ids.nid_type(nid)
        below = kind in (ids.NID_TYPE_ATTACHMENT, ids.NID_TYPE_NORMAL_MESSAGE)
        trees = doubled(editor, child) if below else (editor.existing(child.bid_data), editor.existing(child.bid_sub))
        subnodes.append(SubnodeEntry(nid, *trees))
        if kind == ids.NID_TYPE_ATTACHMENT:
            subnodes.append(SubnodeEntry(ids.nid(kind, 0x9000), *trees))
    return editor.existing(node.bid_data), editor.subnode_tree(subnodes)


@pytest.mark.parametrize("copies", [False, True])
def test_a_message_of_thirty_levels_with_everything_twice(copies: bool, tmp_path: Path) -> None:
    path = tmp_path / "nested.pst"
    with excise.pst.create(path) as new:
        nid = new.folder(("Inbox",)).add(nested(30))
    if copies:
        with edit_nodes(path) as editor:
            node, entry = editor.ndb.node(nid), editor.entry(nid)
            assert node is not None
            assert entry is not None
            editor.node(nid, *doubled(editor, node), entry.nidParent)
            editor.commit()
    with bounded(), excise.pst.open(path) as pst, excise.pst.create(io.BytesIO()) as new:
        message = pst.message(nid)
        assert not message.read_all()
        if not copies:
            new.folder(("Copy",)).add(NewMessage.of(message, pst.names))
            return
        with pytest.raises(excise.pst.Damaged, match="more than the"):
            NewMessage.of(message, pst.names)
