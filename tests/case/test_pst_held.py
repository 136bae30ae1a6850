"""A message of an evidence PST that would be larger in memory than its whole file."""

from __future__ import annotations

import io
import struct
import tracemalloc
from contextlib import ExitStack

import pypff
import pytest

import excise.pst
from excise.case.pst_held import Unreadable, held_by_libpff, held_by_us, reading
from excise.pst import NewMessage, NewProperty
from pst.editing import Edited

BINARY, UNICODE = 0x102, 0x1F
LARGE, SMALL = 0x6200, range(0x6000, 0x6060)


def one_value_named_often() -> tuple[bytes, int]:
    """A file with a message whose many properties all are one large value, and its NID."""
    stream = io.BytesIO()
    values = [NewProperty(each, BINARY, b"y" * 5000) for each in SMALL]
    with excise.pst.create(stream) as new:
        subject = NewProperty.of(0x37, UNICODE, "Once")
        new.folder(("Inbox",)).add(NewMessage([subject, *values, NewProperty(LARGE, BINARY, b"x" * 2_000_000)]))
    edited = Edited(stream.getvalue())
    with excise.pst.open(io.BytesIO(stream.getvalue())) as pst:
        nid = next(message.nid for folder in pst.folders() for message in folder.messages())
        properties = pst.message(nid).properties
        hnids = {each: properties.hnid(each) for each in (LARGE, *SMALL)}

    def change(raw: bytearray) -> None:
        for each in SMALL:
            at = bytes(raw).index(struct.pack("<HHI", each, BINARY, hnids[each]))
            raw[at + 4 : at + 8] = struct.pack("<I", hnids[LARGE])

    edited.leaf(edited.node(nid), change)
    return bytes(edited.data), nid


@pytest.mark.parametrize("reader", ["libpff", "ours"])
def test_a_value_that_is_named_often_is_not_kept_often(reader: str) -> None:
    data, nid = one_value_named_often()
    with ExitStack() as stack:
        own = stack.enter_context(excise.pst.open(io.BytesIO(data)))
        handle = pypff.file()
        handle.open_file_object(io.BytesIO(data))
        stack.callback(handle.close)
        message = own.message(nid)
        folders = list(handle.get_root_folder().sub_folders)
        nodes = []
        while folders:
            folder = folders.pop()
            folders += folder.sub_folders
            nodes += folder.sub_messages
        (node,) = nodes
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        with pytest.raises(Unreadable, match="larger than their file"), reading():
            held_by_libpff(node, own, {}) if reader == "libpff" else held_by_us(message, {})
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
