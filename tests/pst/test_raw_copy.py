"""Every node of Outlook's own files, copied block by block through the NDB writer: our reader, our checker and libpff
find in the copy what they find in the original.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from excise.pst.disk.formats import UNICODE
from excise.pst.messaging.message import Message
from excise.pst.ndb.read import Node
from excise.pst.ndb.write import NO_TREE, NodeWriter, SubnodeEntry, Tree

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(SAMPLES.glob("*.pst"))
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")


def copied(writer: NodeWriter, node: Node) -> tuple[Tree, Tree]:
    data = writer.data_tree(node.data.chunks()) if node.bid_data else NO_TREE
    entries = []
    for nid in node.subnodes:
        child = node.child(nid)
        assert child is not None
        entries.append(SubnodeEntry(nid, *copied(writer, child)))
    return data, writer.subnode_tree(entries)


def copy(path: Path, target: Path) -> bool:
    """A raw copy of ``path`` in ``target``; False where it is no Unicode file."""
    with excise.pst.open(path) as pst, target.open("w+b") as stream:
        if pst.ndb.format is not UNICODE:
            return False
        writer = NodeWriter(stream)
        for _ in range(pst.header.dwUnique):
            writer.next_unique()
        for entry in pst.ndb.nodes.entries():
            node = pst.ndb.node(entry.nid)
            assert node is not None
            writer.node(entry.nid, *copied(writer, node), parent=entry.nidParent)
        writer.close()
    return True


def told_by_us(path: Path) -> list[Any]:
    with excise.pst.open(path) as pst:
        return [
            (folder.path, item.nid, list(item.properties.items()), [one.read() for one in item.attachments])
            for folder in pst.folders()
            for item in (*folder.messages(), *folder.associated())
            if isinstance(item, Message)
        ]


def told_by_libpff(path: Path) -> list[Any]:
    import pypff

    found: list[Any] = []
    file = pypff.file()
    file.open(str(path))
    stack = [file.get_root_folder()]
    while stack:
        folder = stack.pop()
        found.append(folder.name)
        for message in folder.sub_messages:
            # libpff gives contacts, lists and the like as items without these.
            sizes = [one.size for one in getattr(message, "attachments", ())]
            texts = [getattr(message, name, None) for name in ("subject", "transport_headers")]
            found.append((message.identifier, message.number_of_sub_items, texts, sizes))
        stack += folder.sub_folders
    file.close()
    return found


@real
@pytest.mark.parametrize("path", FILES, ids=lambda each: each.name)
def test_a_raw_copy_of_a_real_file(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.pst"
    if not copy(path, target):
        pytest.skip("ANSI: only Unicode files are written")
    found = told_by_us(path)
    assert found or path.name == "Empty.pst"
    assert told_by_us(target) == found
    assert told_by_libpff(target) == told_by_libpff(path)
    report, before = excise.pst.check(io.BytesIO(target.read_bytes())), excise.pst.check(path)
    assert {each.damage.text() for each in report.findings} <= {each.damage.text() for each in before.findings}
