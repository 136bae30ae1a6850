"""All formats and encodings from files of the tests' own builder, which shares only ``disk`` with the reader."""

from __future__ import annotations

import hashlib
import io
import os
from datetime import UTC, datetime

import pytest

import excise.pst
from excise.pst.check.report import ERROR
from excise.pst.disk import crypt
from excise.pst.disk.damage import Damaged
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K, Format
from excise.pst.ltp.table import TableContext
from excise.pst.ltp.values import decode_value
from excise.pst.messaging.folder import CUT, NO_CELL, NO_COLUMN, NO_ROW, FailedItem
from excise.pst.messaging.message import MAX_DEPTH, Message
from pst.builder import (
    INBOX,
    PT_UNICODE,
    FileBuilder,
    HeapBuilder,
    NodeSpec,
    attachment,
    context,
    embedded,
    mailbox,
    message,
    nid_of,
    row,
    split,
    table,
)

FORMATS = [(ANSI, 14), (ANSI, 15), (UNICODE, 21), (UNICODE, 23), (UNICODE_4K, 36), (UNICODE_4K, 37)]
METHODS = [crypt.CRYPT_NONE, crypt.CRYPT_PERMUTE, crypt.CRYPT_CYCLIC]


def read(data: bytes) -> excise.pst.PstFile:
    return excise.pst.open(io.BytesIO(data))


def inbox(pst: excise.pst.PstFile):
    return next(folder for folder in pst.folders() if folder.nid == INBOX)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("fmt", "version"), FORMATS, ids=lambda v: getattr(v, "name", v))
def test_every_format_and_encoding(fmt: Format, version: int, method: int) -> None:
    big = os.urandom(150_000)
    spec = message(fmt, "Grüße", "x" * 50_000, {0x25: attachment(fmt, "big.bin", big), 0x45: attachment(fmt, "e", b"")})
    data = mailbox(fmt, method, {nid_of(0): spec}, {nid_of(0): row(nid_of(0), "Grüße")}, version).build()
    with read(data) as pst:
        assert pst.format_name == fmt.name
        assert pst.is_ost == (fmt is UNICODE_4K)
        assert [folder.path for folder in pst.folders()] == [(), ("Top",), ("Top", "Inbox")]
        (summary,) = inbox(pst).summaries()
        assert summary.subject == "Grüße"
        assert summary.delivery_time == datetime(2020, 1, 1, tzinfo=UTC)
        (item,) = inbox(pst).messages()
        assert isinstance(item, Message)
        assert item.properties.text(0x1000) == "x" * 50_000
        assert [recipient.address for recipient in item.recipients] == ["ada@example.org"]
        first, second = item.attachments
        assert first.size == len(big)
        assert first.read() == big
        assert second.read() == b""
        assert item.read_all() == ()
        assert pst.damage == ()
        assert {name.key for name in pst.names.by_id.values()} == {0x8005, "exampleName"}


@pytest.mark.parametrize("fmt", [UNICODE, UNICODE_4K, ANSI], ids=lambda f: f.name)
def test_libpff_reads_the_builders_files_alike(fmt: Format, tmp_path) -> None:
    """So a format that both sides of these tests had wrong in the same way would show."""
    pypff = pytest.importorskip("pypff")
    messages = {nid_of(i): message(fmt, f"Message {nid_of(i):x}", "y" * 20_000) for i in range(300)}
    path = tmp_path / "built.pst"
    path.write_bytes(mailbox(fmt, crypt.CRYPT_PERMUTE if fmt is not UNICODE_4K else crypt.CRYPT_NONE, messages).build())
    theirs = pypff.file()
    theirs.open(str(path))
    folder = theirs.get_root_folder().get_sub_folder(0).get_sub_folder(0)
    assert folder.name == "Inbox"
    found = {
        (m.identifier, m.subject) for m in (folder.get_sub_message(i) for i in range(folder.number_of_sub_messages))
    }
    with excise.pst.open(path) as pst:
        assert {(each.nid, each.subject) for each in inbox(pst).summaries(["subject"])} == found
        assert len(found) == 300
        assert {(each.nid, each.subject) for each in inbox(pst).messages()} == found
    theirs.close()


def test_a_contents_table_over_many_blocks_and_a_two_level_index() -> None:
    count = 3000
    messages = {nid_of(i): NodeSpec() for i in range(count)}
    rows = {nid: row(nid) for nid in messages}
    with read(mailbox(messages=messages, rows=rows).build()) as pst:
        found = list(inbox(pst).summaries())
        assert [each.nid for each in found] == sorted(messages)
        assert all(each.subject == f"Message {each.nid:x}" for each in found)
        assert pst.damage == ()


def test_five_hundred_attachments_need_a_siblock() -> None:
    attachments = {i << 5 | 5: attachment(UNICODE, f"{i}.txt", str(i).encode()) for i in range(1, 501)}
    with read(mailbox(messages={nid_of(0): message(UNICODE, "many", "b", attachments)}).build()) as pst:
        (item,) = inbox(pst).messages()
        assert [(each.filename, each.read()) for each in item.attachments] == [
            (f"{i}.txt", str(i).encode()) for i in range(1, 501)
        ]


def test_an_attachment_of_two_xblock_levels() -> None:
    data = b"0123456789abcdef" * 550_000
    spec = message(UNICODE, "large", "b", {0x25: attachment(UNICODE, "large", data)})
    with read(mailbox(messages={nid_of(0): spec}).build()) as pst:
        (item,) = inbox(pst).messages()
        digest = hashlib.sha256()
        for chunk in item.attachments[0].chunks():
            assert len(chunk) <= 8176
            digest.update(chunk)
        assert digest.digest() == hashlib.sha256(data).digest()
        assert pst.damage == ()


def nest(depth: int) -> NodeSpec:
    spec = message(UNICODE, f"level {depth}")
    for level in range(depth - 1, -1, -1):
        spec = message(UNICODE, f"level {level}", "b", {0x25: embedded(UNICODE, spec)})
    return spec


def test_messages_embedded_five_deep() -> None:
    with read(mailbox(messages={nid_of(0): nest(5)}).build()) as pst:
        (item,) = inbox(pst).messages()
        seen = []
        while item is not None:
            seen.append(item.subject)
            item = item.attachments[0].embedded if item.attachments else None
        assert seen == [f"level {i}" for i in range(6)]


def test_embedding_beyond_the_limit_is_damage_and_not_a_crash() -> None:
    with read(mailbox(messages={nid_of(0): nest(MAX_DEPTH + 3)}).build()) as pst:
        (item,) = inbox(pst).messages()
        assert any(damage.field == "depth" for damage in item.read_all())


def test_ole_and_reference_attachments() -> None:
    ole = context(UNICODE, {(0x3705, 3): 6, (0x3701, 0x0D): b"\x1f\x10\x00\x00\x05\x00\x00\x00"})
    ole.subnodes[0x101F] = NodeSpec([b"\xd0\xcf\x11\xe0" + b"storage"])
    linked = context(UNICODE, {(0x3705, 3): 2, (0x370D, 0x1F): r"\\server\share\a.doc"})
    with read(mailbox(messages={nid_of(0): message(UNICODE, "s", "b", {0x25: ole, 0x45: linked})}).build()) as pst:
        (item,) = inbox(pst).messages()
        first, second = item.attachments
        assert first.read() == b"\xd0\xcf\x11\xe0storage"
        assert first.reference is None
        assert second.reference == r"\\server\share\a.doc"
        assert second.read() == b""
        assert item.read_all() == ()


def test_s07_rows_that_cannot_be_trusted_say_so() -> None:
    nids = [nid_of(i) for i in range(4)]
    long = "s" * 300
    messages = {nids[0]: message(UNICODE, long), nids[1]: message(UNICODE, "one"), nids[2]: message(UNICODE, "two")}
    rows = {nids[0]: row(nids[0], long[:255]), nids[2]: {0x0037: "two", 0x0E07: 1}, nids[3]: row(nids[3])}
    with read(mailbox(messages=messages, rows=rows).build()) as pst:
        folder = inbox(pst)
        found = {each.nid: each for each in folder.summaries(["subject", "delivery_time", "modified_time"])}
        assert found[nids[0]].doubts == {"subject": CUT, "modified_time": NO_COLUMN}
        assert set(found[nids[1]].doubts.values()) == {NO_ROW}
        assert found[nids[2]].doubts == {"delivery_time": NO_CELL, "modified_time": NO_COLUMN}
        items = list(folder.messages())
        assert [item.nid for item in items if isinstance(item, FailedItem)] == [nids[3]]
        assert (folder.counts.seen, folder.counts.read, folder.counts.failed) == (4, 3, 1)


def test_summaries_take_only_fields_that_there_are() -> None:
    with read(mailbox().build()) as pst, pytest.raises(KeyError):
        list(inbox(pst).summaries(["colour"]))


def test_orphans_are_listed() -> None:
    builder = mailbox(messages={nid_of(0): message(UNICODE, "here"), nid_of(1): message(UNICODE, "nowhere")}, rows={})
    builder.nodes[nid_of(1)].parent = 0x9999
    builder.nodes[0x8102] = context(UNICODE, {(0x3001, 0x1F): "lost"})
    builder.nodes[0x8102].parent = 0x7777 << 5 | 2
    for a, b in ((0x8142, 0x8162), (0x8162, 0x8142)):
        builder.nodes[a] = context(UNICODE, {(0x3001, 0x1F): f"loop {a:x}"})
        builder.nodes[a].parent = b
    with read(builder.build()) as pst:
        names = [folder.display_name for folder in pst.folders()]
        assert names == ["", "Top", "Inbox", "lost", "loop 8142", "loop 8162"]
        assert [item.subject for item in pst.store.orphaned_items()] == ["nowhere"]
        assert len(pst.store.orphans) == 2


def test_check_finds_what_is_planted() -> None:
    nids = [nid_of(i) for i in range(2)]
    messages = {nid: message(UNICODE, f"Message {nid:x}") for nid in nids}
    builder = mailbox(messages=messages, rows={nids[0]: row(nids[0], "another subject")})
    report = excise.pst.check(io.BytesIO(builder.build()))
    found = {(each.damage.layer, each.damage.field) for each in report.findings}
    assert {("messaging", "0x0037"), ("messaging", "dwRowID"), ("messaging", "PidTagContentCount")} <= found
    assert ("disk", "rgbAMapBits") in found  # the builder writes no maps
    assert "have not been asked" in report.text()
    assert report.damaged


def test_check_of_the_4k_format_leaves_the_unpublished_maps_out() -> None:
    data = mailbox(UNICODE_4K, crypt.CRYPT_NONE, {nid_of(0): message(UNICODE_4K, f"Message {nid_of(0):x}")}).build()
    report = excise.pst.check(io.BytesIO(data))
    assert not [each.text() for each in report.findings if each.grade == ERROR]


@pytest.mark.parametrize(
    ("ptype", "data", "value"),
    [
        (0x0002, b"\xfe\xff", -2),
        (0x0005, b"\0\0\0\0\0\0\xf0?", 1.0),
        (0x000B, b"\1", True),
        (0x0014, b"\xff" * 8, -1),
        (0x001E, b"a\xe4\0", "aä"),
        (0x001F, "a𝄞".encode("utf-16-le"), "a𝄞"),
        (0x0040, (132_223_104_000_000_000).to_bytes(8, "little"), datetime(2020, 1, 1, tzinfo=UTC)),
        (0x0040, b"\xff" * 8, 2**64 - 1),
        (0x1003, b"\1\0\0\0\2\0\0\0", (1, 2)),
        (0x101F, b"\2\0\0\0\x0c\0\0\0\x0e\0\0\0a\0b\0c\0", ("a", "bc")),
        (0x1102, b"\1\0\0\0\x08\0\0\0xyz", (b"xyz",)),
        (0x0777, b"raw", b"raw"),
        (0x1777, b"raw", b"raw"),
    ],
)
def test_values(ptype: int, data: bytes, value: object) -> None:
    assert decode_value(ptype, data, "cp1252") == value


@pytest.mark.parametrize(
    ("ptype", "data"),
    [
        (0x0014, b"1234"),
        (0x101F, b"\xff\xff\xff\x7f"),
        (0x101F, b"\1\0\0\0\x99\0\0\0"),
        (0x1014, b"123"),
    ],
)
def test_values_that_are_none(ptype: int, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"bytes|offsets|type"):
        decode_value(ptype, data, "cp1252")


def test_a_heap_of_many_blocks_round_trips() -> None:
    heap = HeapBuilder(UNICODE, 0xBC)
    items = {heap.add(bytes([i % 256]) * 3000): i for i in range(400)}
    builder = mailbox()
    builder.nodes[0x2001] = NodeSpec(heap.blocks())
    from excise.pst.ltp.heap import Heap

    with read(builder.build()) as pst:
        found = Heap(pst.ndb.node(0x2001), 0xBC)
        for hid, i in items.items():
            assert found.item(hid) == bytes([i % 256]) * 3000
        with pytest.raises(Damaged):
            found.item(max(items) + 0x20 * 3000)


def test_split_and_table_of_the_builder_agree_with_the_reader() -> None:
    from excise.pst.ltp.table import TableContext

    builder = mailbox()
    builder.nodes[0x2001] = table(
        UNICODE, [(0x3001, 0x1F), (0x0E0F, 0x0B)], {7: {0x3001: "z" * 5000, 0x0E0F: 1}, 9: {}}
    )
    with read(builder.build()) as pst:
        first, second = TableContext(pst.ndb.node(0x2001)).rows()
        assert {i: v for i, _, v in first.items()} == {0x3001: "z" * 5000, 0x0E0F: True, 0x67F2: 7, 0x67F3: 1}
        assert 0x3001 not in second
    assert b"".join(split(UNICODE, b"q" * 20_000)) == b"q" * 20_000


def test_texts_of_a_table_are_those_of_its_values() -> None:
    """Strings out of order, empty ones, half a character, and one that is too large for the heap."""
    texts = {at: {0x0037: f"Subject {at} " + "x" * (at % 7)} for at in range(1, 3000)}
    texts[5], texts[9] = {0x0037: ""}, {0x0037: "long " * 1000}
    spec = table(UNICODE, [(0x0037, PT_UNICODE)], texts)
    builder = FileBuilder()
    builder.nodes[0x21] = spec
    with excise.pst.open(io.BytesIO(builder.build())) as pst:
        node = pst.ndb.node(0x21)
        assert node is not None
        found = TableContext(node)
        for codec in ("utf-16-le", "cp1252", "utf-8"):
            read = found.heap.text_reader(codec)
            for row in reversed(list(found.rows())):
                hnid = int.from_bytes(row.data[found.columns[0x0037].ibData :][:4], "little")
                assert read(hnid) == found.heap.value(hnid).decode(codec, "replace").rstrip("\0")
        with pytest.raises(Damaged):
            found.heap.text_reader("utf-16-le")(0xFFE0)
