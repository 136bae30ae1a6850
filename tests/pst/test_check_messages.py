"""What a check says of the store, folders, messages, recipients and attachments: each rule broken in a sound file."""

from __future__ import annotations

import io
import time

import pytest

import excise.pst
from excise.pst.check.sizes import TreeSizes, value_size
from excise.pst.disk import blocks
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import TableContext
from pst.builder import PT_LONG, PT_OBJECT, NodeSpec, context, mailbox, message, nid_of
from pst.editing import FILES, Edited, put, real

MESSAGE, ATTACHMENT, STORE = 0x200024, 0x8025, 0x21
CONTENTS_TYPE, HIERARCHY_TYPE = 0x0E, 0x0D


def parent_of(edited: Edited, nid: int) -> int:
    entry = edited.node(nid).ndb.nodes.find(nid)
    assert entry is not None
    return entry.nidParent


def contents(edited: Edited) -> int:
    return parent_of(edited, MESSAGE) & ~0x1F | CONTENTS_TYPE


@real
@pytest.mark.parametrize("path", [each for each in FILES if each.name != "enron.pst"], ids=lambda each: each.name)
def test_outlooks_attachments_have_the_size_of_their_values(path) -> None:
    with excise.pst.open(path) as pst:
        items = [item for folder in pst.folders() for item in folder.messages()]
        for item in items:
            for attachment in item.attachments:
                assert attachment.properties.integer(0x0E20) == value_size(attachment.properties)
                items += [attachment.embedded] if attachment.embedded else []


@real
def test_a_message_with_all_kinds_of_subnodes_has_the_size_of_its_blocks() -> None:
    edited = Edited("sample1.pst")
    node = edited.node(MESSAGE)
    assert TreeSizes(node.ndb).of(node) == PropertyContext(node).integer(0x0E08) == 106_589


@real
def test_a_wrong_message_size_in_a_file_that_goes_by_blocks() -> None:
    edited = Edited("testPST.pst")
    edited.value(edited.node(MESSAGE), 0x0E08, (1234).to_bytes(4, "little"))
    assert edited.new() == {("warning", "message", "PidTagMessageSize"), ("warning", "contents table", "0x0e08")}
    assert edited.found("message", "PidTagMessageSize").damage.found == "1234"


@real
def test_a_wrong_message_size_in_a_file_that_goes_by_values() -> None:
    edited = Edited("test_ansi.pst")
    known = edited.before
    assert any("1 message with the bytes of their values" in each.damage.found for each in known.findings)
    edited.value(edited.node(MESSAGE), 0x0E08, (1234).to_bytes(4, "little"))
    assert ("note", "message", "PidTagMessageSize") in edited.new()
    assert "1 message with others" in edited.found("message", "PidTagMessageSize").damage.found


@real
def test_a_wrong_attachment_size() -> None:
    edited = Edited("sample1.pst")
    edited.value(edited.node(MESSAGE, ATTACHMENT), 0x0E20, (1234).to_bytes(4, "little"))
    assert edited.new() == {("warning", "attachment", "PidTagAttachSize"), ("warning", "attachment table", "0x0e20")}


@real
def test_a_wrong_size_of_an_embedded_message() -> None:
    edited = Edited("submessage.pst")
    node = edited.node(MESSAGE, ATTACHMENT)
    value = PropertyContext(node).raw(0x3701)
    edited.value(node, 0x3701, value[:4] + (1234).to_bytes(4, "little"))
    assert ("warning", "attachment", "PidTagAttachDataObject") in edited.new()


@real
@pytest.mark.parametrize(("text", "grade"), [("\x01\x7f", "warning"), ("\x01\x00", "warning"), ("XX", "note")])
def test_the_two_characters_before_a_subject(text: str, grade: str) -> None:
    edited = Edited("sample1.pst")
    node = edited.node(MESSAGE)
    value = PropertyContext(node).raw(0x0037)
    edited.value(node, 0x0037, text.encode("utf-16-le") + value[4:])
    assert (grade, "message", "PidTagSubject") in edited.new()


@real
@pytest.mark.parametrize(
    ("tag", "other", "name"),
    [
        (0x001A, 0x001B, "PidTagMessageClass"),
        (0x0E07, 0x0E09, "PidTagMessageFlags"),
        (0x0E08, 0x0E09, "PidTagMessageSize"),
        (0x300B, 0x300C, "PidTagSearchKey"),
        (0x3007, 0x3006, "PidTagCreationTime"),
        (0x3008, 0x3009, "PidTagLastModificationTime"),
    ],
)
def test_a_property_that_a_message_needs(tag: int, other: int, name: str) -> None:
    edited = Edited("sample1.pst")
    edited.rename(edited.node(MESSAGE), tag, other)
    assert ("warning", "message", name) in edited.new()
    edited = Edited("submessage.pst")
    edited.rename(edited.node(MESSAGE, ATTACHMENT, 0x200044), tag, other)
    finding = edited.found("message", name)
    assert finding.damage.place == "message 0x200044"


@real
@pytest.mark.parametrize(
    ("tag", "other", "name"),
    [
        (0x0E20, 0x0E1F, "PidTagAttachSize"),
        (0x3705, 0x3706, "PidTagAttachMethod"),
        (0x370B, 0x370C, "PidTagRenderingPosition"),
        (0x3701, 0x3700, "PidTagAttachData"),
    ],
)
def test_a_property_that_an_attachment_needs(tag: int, other: int, name: str) -> None:
    edited = Edited("sample1.pst")
    edited.rename(edited.node(MESSAGE, ATTACHMENT), tag, other)
    assert ("warning", "attachment", name) in edited.new()


@real
@pytest.mark.parametrize(("tag", "name"), [(0x0C15, "PidTagRecipientType"), (0x3001, "PidTagDisplayName")])
def test_a_property_that_a_recipient_needs(tag: int, name: str) -> None:
    edited = Edited("sample1.pst")
    node = edited.node(MESSAGE, 0x692)
    edited.flip_cell(node, TableContext(node).index[0][0], tag)
    assert edited.new() == {("warning", "recipient", name)}


@real
def test_the_tables_that_a_message_needs() -> None:
    edited = Edited("sample1.pst")
    edited.subnode(edited.node(MESSAGE), 0x692, 0x6B2)
    assert edited.new() == {("note", "message", "recipient table")}
    edited = Edited("sample1.pst")
    edited.subnode(edited.node(MESSAGE), 0x671, 0x691)
    assert edited.new() == {("warning", "message", "attachment table")}


@real
def test_an_attachment_without_a_row_and_one_with_another_value_there() -> None:
    edited = Edited("sample1.pst")
    table = edited.node(MESSAGE, 0x671)
    edited.cell(table, ATTACHMENT, 0x370B, put(0, bytes(4)))
    assert edited.new() == {("warning", "attachment table", "0x370b")}
    edited = Edited("sample1.pst")
    edited.subnode(edited.node(MESSAGE), ATTACHMENT, ATTACHMENT + 0x20)
    edited.header(rgnid=tuple(0x20000 for _ in range(32)))
    assert ("warning", "attachment table", "dwRowID") in edited.new()


@real
def test_an_empty_list_of_names() -> None:
    edited = Edited("sample1.pst")
    edited.record(edited.node(MESSAGE), 0x0E04, put(4, bytes(4)))
    assert ("warning", "message", "PidTagDisplayTo") in edited.new()


@real
def test_a_row_without_a_cell_that_the_message_has_and_the_reverse() -> None:
    edited = Edited("sample1.pst")
    edited.flip_cell(edited.node(contents(edited)), MESSAGE, 0x0E04)
    assert edited.new() == {("warning", "contents table", "rgbCEB")}
    assert edited.found("contents table", "rgbCEB").damage.found == "0x0e04 in the message alone"
    edited = Edited("sample1.pst")
    edited.rename(edited.node(MESSAGE), 0x0E04, 0x0E05)
    assert edited.found("contents table", "rgbCEB").damage.found == "0x0e04 in the row alone"


@real
def test_a_row_with_another_value() -> None:
    edited = Edited("sample1.pst")
    edited.cell(edited.node(contents(edited)), MESSAGE, 0x0017, put(0, b"\x02"))
    assert edited.new() == {("warning", "contents table", "0x0017")}


@real
@pytest.mark.parametrize(
    ("tag", "other", "name"),
    [
        (0x3001, 0x3002, "PidTagDisplayName"),
        (0x3602, 0x3601, "PidTagContentCount"),
        (0x3603, 0x3604, "PidTagContentUnreadCount"),
        (0x360A, 0x360B, "PidTagSubfolders"),
    ],
)
@pytest.mark.parametrize("nid", [0x8022, 0x2223], ids=["folder", "search"])
def test_a_property_that_a_folder_needs(nid: int, tag: int, other: int, name: str) -> None:
    edited = Edited("sample1.pst")
    edited.rename(edited.node(nid), tag, other)
    assert ("warning", "folder", name) in edited.new()


@real
@pytest.mark.parametrize("parent", [0, 0x8022, 0x2223, 0x200024])
def test_a_root_folder_that_is_not_its_own_parent(parent: int) -> None:
    edited = Edited("sample1.pst")
    before = edited.check().counts["warning"]
    edited.parent(0x122, parent)
    assert edited.found("NBTENTRY", "nidParent").damage.found == f"0x{parent:x}"
    assert edited.check().counts["warning"] == before + 1


@real
def test_counts_of_a_folder() -> None:
    edited = Edited("sample1.pst")
    nid = parent_of(edited, MESSAGE)
    edited.value(edited.node(nid), 0x3602, b"\x07")
    assert edited.new() == {("warning", "folder", "PidTagContentCount"), ("warning", "hierarchy table", "0x3602")}
    edited.value(edited.node(nid), 0x3603, b"\x07")
    edited.value(edited.node(nid), 0x360A, b"\x01")
    fields = {field for _, _, field in edited.new()}
    assert {"PidTagContentUnreadCount", "PidTagSubfolders", "0x3603", "0x360a"} <= fields


@real
def test_a_folders_row_with_another_class() -> None:
    edited = Edited("contacts.pst")
    table = edited.node(0x802D)
    row = next(each for each in TableContext(table).rows() if each.get(0x3613))
    edited.cell(table, row.row_id, 0x3613, put(0, bytes(4)))
    assert edited.new() == {("warning", "hierarchy table", "0x3613")}


@real
@pytest.mark.parametrize(
    ("tag", "other", "name"),
    [
        (0x3001, 0x3002, "PidTagDisplayName"),
        (0x0FF9, 0x0FFA, "PidTagRecordKey"),
        (0x35E0, 0x35E1, "PidTagIpmSubTreeEntryId"),
        (0x35E3, 0x35E4, "PidTagIpmWastebasketEntryId"),
        (0x35E7, 0x35E8, "PidTagFinderEntryId"),
    ],
)
def test_a_property_that_the_store_needs(tag: int, other: int, name: str) -> None:
    edited = Edited("sample1.pst")
    edited.rename(edited.node(STORE), tag, other)
    assert ("warning", "message store", name) in edited.new()


@real
def test_a_folder_that_the_store_names_and_that_is_not_there() -> None:
    edited = Edited("sample1.pst")
    node = edited.node(STORE)
    value = PropertyContext(node).raw(0x35E3)
    edited.value(node, 0x35E3, value[:20] + b"\x02\xff\0\0")
    assert edited.found("message store", "PidTagIpmWastebasketEntryId").damage.found == "0xff02, which is none"
    edited.value(node, 0x35E3, bytes(20) + value[20:])
    assert "not with that key" in edited.found("message store", "PidTagIpmWastebasketEntryId").damage.found


def nested(levels: int) -> bytes:
    """A message with two attachments, which are one: the same embedded message with two attachments, and so on."""
    spec = message(UNICODE, "many", "b", {0x25: NodeSpec(), 0x45: NodeSpec()})
    builder = mailbox(messages={nid_of(0): spec})
    inner = context(UNICODE, {(0x3705, PT_LONG): 5, (0x3701, PT_OBJECT): b"\x04\x00\x20\x00\x64\x00\x00\x00"})
    data, text = builder.tree(inner.data), builder.tree(spec.data)
    sub = 0
    for _ in range(levels):
        entry = builder.block(blocks.SLBlock((blocks.SLEntry(0x200004, text, sub),)).pack(UNICODE), True)
        twice = (blocks.SLEntry(0x25, data, entry), blocks.SLEntry(0x45, data, entry))
        sub = builder.block(blocks.SLBlock(twice).pack(UNICODE), True)
    builder.subtree = lambda subnodes, plain=builder.subtree: sub if 0x25 in subnodes else plain(subnodes)
    return builder.build()


def test_messages_that_share_what_is_embedded_are_read_once() -> None:
    """Two to the power of the levels, if each were read for itself."""
    data = nested(50)
    started = time.process_time()
    report = excise.pst.check(io.BytesIO(data))
    with excise.pst.open(io.BytesIO(data)) as pst:
        assert not pst.message(nid_of(0)).read_all()
    assert time.process_time() - started < 20
    assert report.checked["messages"] == 1


def test_sums_of_trees_that_share_their_parts_stay_small() -> None:
    """5,000 levels: neither the depth nor the size of the number stops a check."""
    data = nested(2500)
    node = excise.pst.open(io.BytesIO(data)).ndb.node(nid_of(0), DamageLog())
    assert node is not None
    assert TreeSizes(node.ndb).of(node) <= 2 << 63
    excise.pst.check(io.BytesIO(data))
