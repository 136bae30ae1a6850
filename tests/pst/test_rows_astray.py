"""Rows of contents tables that name what is no message, or whose values are not where they say."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import excise.pst
from excise.pst.messaging.folder import FailedItem
from pst.editing import Edited, put, real
from pst.fuzzing import made


def test_a_row_that_names_a_folder_is_an_item_that_cannot_be_read() -> None:
    edited = Edited(made())
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        folder = next(folder for folder in pst.folders() if folder.message_nids)
        named, nid = folder.nid, folder.message_nids[0]
        table = named & ~0x1F | 0x0E
    node = edited.node(table)
    row = nid.to_bytes(4, "little")
    for leaf in range(len(node.data.leaves)):

        def change(raw: bytearray) -> None:
            while (at := bytes(raw).find(row)) >= 0:
                put(at, named.to_bytes(4, "little"))(raw)

        edited.leaf(node, change, leaf)
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        folder = next(folder for folder in pst.folders() if folder.nid == named)
        items = list(folder.messages())
        (failed,) = (item for item in items if isinstance(item, FailedItem))
        assert (failed.nid, failed.damage.found) == (named, "type 0x2")
        assert (folder.counts.seen, folder.counts.failed) == (len(items), 1)
    assert edited.check().damaged


@real
def test_no_row_is_removed_whose_value_is_under_another_number(tmp_path: Path) -> None:
    edited = Edited("200_recipients.pst")
    edited.subnode(edited.node(0x802E), 0x809F, 0x23E)
    path = tmp_path / "changed.pst"
    path.write_bytes(edited.data)
    with pytest.raises(excise.pst.Unsound, match="expected subnode 0x809f, found none"):
        excise.pst.purge(path, [0x200024])
    with pytest.raises(excise.pst.Unsound, match="expected subnode 0x809f, found none"):
        excise.pst.compact(path, io.BytesIO(), without={0x200024})
