"""What is there twice where it may be once: the second is not dropped in silence, and its item is not whole."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

import excise.pst
from excise.pst.disk import ids
from excise.pst.disk.heaps import TCInfo
from pst.editing import Edited, put
from pst.fuzzing import made

SEARCH_KEY, LAST_MODIFICATION_TIME = 0x300B, 0x3008


def message_with_attachments(edited: Edited) -> tuple[int, list[int]]:
    """A message of two attachments, and their NIDs."""
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        for message in (message for folder in pst.folders() for message in folder.messages()):
            found = [nid for nid in message.node.subnodes if ids.nid_type(nid) == ids.NID_TYPE_ATTACHMENT]
            if len(found) == 2:
                return message.nid, found
    raise AssertionError("none")


def property_twice(edited: Edited, nid: int, _: list[int]) -> None:
    edited.rename(edited.node(nid), SEARCH_KEY, LAST_MODIFICATION_TIME)


def attachment_twice(edited: Edited, nid: int, attachments: list[int]) -> None:
    # Without the table's rows nothing else tells that there was another.
    edited.subnode(edited.node(nid), ids.NID_ATTACHMENT_TABLE, ids.NID_ATTACHMENT_TABLE - 0x20)
    edited.subnode(edited.node(nid), attachments[1], attachments[0])


def column_twice(edited: Edited, nid: int, _: list[int]) -> None:
    node = edited.node(nid, ids.NID_RECIPIENT_TABLE)

    def change(info: bytearray) -> None:
        first, second = TCInfo.unpack(bytes(info)).rgTCOLDESC[2:4]
        at = bytes(info).index(second.tag.to_bytes(4, "little"))
        put(at + 2, (first.tag >> 16).to_bytes(2, "little"))(info)

    edited.info(node, change)


@pytest.mark.parametrize(
    ("change", "field"),
    [(property_twice, "wPropId"), (attachment_twice, "SLENTRY.nid"), (column_twice, "rgTCOLDESC")],
)
def test_an_item_with_something_twice_is_not_whole(
    change: Callable[[Edited, int, list[int]], None], field: str
) -> None:
    edited = Edited(made())
    nid, attachments = message_with_attachments(edited)
    change(edited, nid, attachments)
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        message = pst.message(nid)
        assert field in {damage.field for damage in message.read_all()}
        with pytest.raises(excise.pst.Damaged, match="once"):
            excise.pst.NewMessage.of(message, pst.names)
    assert edited.check().damaged
