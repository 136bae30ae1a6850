"""What a check says of the name-to-id map, the message index, the ID map and the list of searches."""

from __future__ import annotations

from itertools import pairwise

import pytest

import excise.pst
from excise.pst.check.indexes import message_index_key
from excise.pst.disk.heaps import BTHHeader, NameId
from excise.pst.ltp.heap import Heap
from excise.pst.ltp.properties import PropertyContext
from pst.builder import PT_BINARY, PT_LONG, UNICODE, context, mailbox
from pst.editing import SAMPLES, Edited, put, real

NAMES, INDEX, ID_MAP, SEARCHES = 0x61, 0xE01, 0xC01, 0x201


def entries(edited: Edited) -> list[NameId]:
    return NameId.unpack_all(PropertyContext(edited.node(NAMES)).raw(3))


def change_entry(edited: Edited, old: NameId, new: NameId) -> None:
    """Change a name both in the entry stream and, where it is there as it is, in its bucket."""

    def inside(raw: bytearray) -> None:
        raw[:] = raw.replace(old.pack(), new.pack())

    edited.leaf(edited.node(NAMES), inside)


@real
def test_a_string_name_that_is_missing_from_its_bucket() -> None:
    edited = Edited("Empty.pst")
    node = edited.node(NAMES)
    context = PropertyContext(node)
    texts = [each for each in entries(edited) if each.wGuid & 1]
    assert texts
    wanted = texts[0]
    tag = next(
        tag
        for tag in context.ids()
        if tag >= 0x1000 and any(each.wPropIdx == wanted.wPropIdx for each in NameId.unpack_all(context.raw(tag)))
    )
    edited.value(node, tag, bytes(len(context.raw(tag))))
    assert {("warning", "NAMEID", "bucket"), ("warning", "NAMEID", "record")} == edited.new()


@real
def test_an_id_that_two_names_have() -> None:
    edited = Edited("Empty.pst")
    one, other = [each for each in entries(edited) if not each.wGuid & 1][:2]
    change_entry(edited, other, NameId(other.dwPropertyID, other.wGuid, one.wPropIdx))
    assert edited.new() == {("warning", "NAMEID", "wPropIdx"), ("note", "NAMEID", "wPropIdx")}


@real
def test_a_name_that_has_two_ids() -> None:
    edited = Edited("Empty.pst")
    node = edited.node(NAMES)
    one, other = [each for each in entries(edited) if each.wGuid & 1][:2]
    stream = PropertyContext(node).raw(3)
    twin = NameId(one.dwPropertyID, one.wGuid, other.wPropIdx)
    edited.value(node, 3, stream.replace(other.pack(), twin.pack()))
    assert ("warning", "NAMEID", "dwPropertyID") in edited.new()


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_a_stream_that_is_empty(tag: int) -> None:
    builder = mailbox()
    before = Edited(builder.build()).before
    streams = {2: bytes(16), 3: NameId(0x8005, 6, 0).pack(), 4: bytes(4), tag: b""}
    builder = mailbox()
    properties = {(each, PT_BINARY): data for each, data in streams.items()}
    builder.nodes[NAMES] = context(UNICODE, {(1, PT_LONG): 251, **properties})
    after = Edited(builder.build()).before
    new = {(each.grade, each.damage.field) for each in set(after.findings) - set(before.findings)}
    assert ("warning", {2: "GUID stream", 3: "entry stream", 4: "string stream"}[tag]) in new


@real
def test_a_map_without_a_bucket_count() -> None:
    edited = Edited("Empty.pst")
    edited.value(edited.node(NAMES), 1, bytes(4))
    assert ("warning", "NAMEID", "bucket count") in edited.new()


def indexed(edited: Edited) -> tuple[Heap, int, bytes]:
    """The heap of the message index, the HID of its leaf and the leaf."""
    node = edited.node(INDEX)
    heap = Heap(node, 0xCC)
    header = BTHHeader.unpack(heap.item(int.from_bytes(heap.item(heap.root)[:4], "little")))
    return heap, header.hidRoot, heap.item(header.hidRoot)


@real
def test_the_key_of_a_message_goes_by_the_conversation_id_of_its_row() -> None:
    """Outlook's own key in this file; from the conversation index of the message another one would follow."""
    with excise.pst.open(SAMPLES / "200_recipients.pst") as pst:
        rows = [folder.contents.row(0x200024) for folder in pst.folders() if folder.contents and not folder.is_search]
        (row,) = [each for each in rows if each is not None]
        assert message_index_key(row.binary(0x3013) or b"") == 0xFFCB7C38
        assert message_index_key((pst.message(0x200024).properties.binary(0x71) or b"")[6:22]) != 0xFFCB7C38


@real
def test_a_message_in_a_wrong_bucket_of_the_index() -> None:
    edited = Edited("testPST.pst")
    heap, hid, leaf = indexed(edited)
    keys = [int.from_bytes(leaf[at : at + 4], "little") for at in range(0, len(leaf), 8)]
    assert len(keys) == 6 and all(one < other for one, other in pairwise(keys))
    edited.item(heap.node, hid, put(0, (keys[0] + 1).to_bytes(4, "little")))
    assert edited.new() == {("warning", "message index", "key")}


@real
def test_a_message_in_the_index_twice_and_another_not_at_all() -> None:
    edited = Edited("testPST.pst")
    heap, _, leaf = indexed(edited)
    lists = [int.from_bytes(leaf[at + 4 : at + 8], "little") for at in range(0, len(leaf), 8)]
    edited.item(heap.node, lists[0], put(0, heap.item(lists[1])[:4]))
    assert edited.new() == {("warning", "message index", "nid"), ("warning", "message index", "key")}
    found = {each.damage.found for each in edited.check().findings if each.damage.field == "nid"}
    assert "in none" in found


@real
def test_a_message_in_the_index_that_has_no_node() -> None:
    edited = Edited("testPST.pst")
    heap, _, leaf = indexed(edited)
    edited.item(heap.node, int.from_bytes(leaf[4:8], "little"), put(0, b"\xe4\x0f\x20\0"))
    found = {each.damage.found for each in edited.check().findings if each.damage.structure == "message index"}
    assert any("without a node" in each for each in found)


@real
def test_an_index_that_goes_by_something_else_is_not_held_to_the_rule() -> None:
    edited = Edited("test_unicode.pst")
    heap, hid, leaf = indexed(edited)
    edited.item(heap.node, hid, put(0, (int.from_bytes(leaf[:4], "little") + 1).to_bytes(4, "little")))
    assert not edited.new()


@real
def test_an_object_of_the_id_map_that_has_no_node() -> None:
    edited = Edited("dist-list.pst")
    heap = Heap(edited.node(ID_MAP), 0x9C)
    header = BTHHeader.unpack(heap.item(int.from_bytes(heap.item(heap.root)[:4], "little")))
    edited.item(heap.node, header.hidRoot, put(16, b"\x02\xff\0\0"))
    assert edited.new() == {("warning", "ID map", "nid")}
    edited.item(heap.node, header.hidRoot, put(16, bytes(4)))
    assert not edited.new()


@real
def test_an_id_map_out_of_order() -> None:
    edited = Edited("dist-list.pst")
    heap = Heap(edited.node(ID_MAP), 0x9C)
    header = BTHHeader.unpack(heap.item(int.from_bytes(heap.item(heap.root)[:4], "little")))
    edited.item(heap.node, header.hidRoot, lambda part: part.__setitem__(slice(0, 40), part[20:40] + part[:20]))
    assert edited.new() == {("warning", "BTH", "key")}


@real
def test_a_search_in_the_list_that_is_none() -> None:
    edited = Edited("sample1.pst")
    edited.leaf(edited.node(SEARCHES), put(4, b"\x43\0\x08\0"))
    assert edited.new() == {("warning", "search activity list", "nid")}
