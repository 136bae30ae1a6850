"""PST files with faults and oddities that no sample has, from the PST reader's own builder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from excise.pst.disk.formats import UNICODE
from excise.store_api.conformance.base import matcher
from excise.store_api.errors import ItemDamaged
from excise.store_api.protocols import Candidate
from excise.stores.pst import INCOMPLETE, PstMailbox
from pst.builder import (
    INBOX,
    PT_BINARY,
    PT_LONG,
    PT_OBJECT,
    PT_UNICODE,
    FileBuilder,
    NodeSpec,
    attachment,
    context,
    mailbox,
    nid_of,
    table,
)
from stores.pst_libpff import versions
from stores.pst_samples import opened, scan

NID = nid_of(0)
ATTACHMENT = 0x8025
HAS_ATTACHMENTS = 0x10
TERMS = ("attachment", "attachment-sha256")


def _builder(spec: NodeSpec) -> FileBuilder:
    return mailbox(messages={NID: spec})


def _item(
    attachments: dict[int, NodeSpec] | None = None, *, flags: int = 1, rows: list[int] | None = None, **more: Any
) -> NodeSpec:
    """A message; ``rows`` are the NIDs in its attachment table, by default those of ``attachments``."""
    attachments = attachments or {}
    listed = list(attachments) if rows is None else rows
    recipients = table(UNICODE, [(0x0C15, PT_LONG), (0x3003, PT_UNICODE)], {1: {0x0C15: 1, 0x3003: "ada@example.org"}})
    subnodes = {0x692: more.get("recipients", recipients), **attachments}
    if listed:
        subnodes[0x671] = table(UNICODE, [(0x0E20, PT_LONG)], {nid: {0x0E20: 1} for nid in listed})
    properties = {
        (0x001A, PT_UNICODE): more.get("item_class", "IPM.Note"),
        (0x0037, PT_UNICODE): "Hello",
        (0x0E07, PT_LONG): flags,
        (0x1000, PT_UNICODE): more.get("body", "body"),
    }
    return context(UNICODE, properties, subnodes)


def _attached(data: bytes, declared: int | None, method: int = 1, kind: int = PT_BINARY) -> NodeSpec:
    properties: dict[tuple[int, int], object] = {(0x3705, PT_LONG): method}
    subnodes = {}
    if kind == PT_OBJECT:
        subnodes[0x3F] = NodeSpec([data])
        properties[0x3701, kind] = pack("<II", 0x3F, len(data))
    else:
        properties[0x3701, kind] = data
    if declared is not None:
        properties[0x0E20, PT_LONG] = declared
    return context(UNICODE, properties, subnodes)


@contextmanager
def _box(tmp_path: Path, builder: FileBuilder) -> Iterator[PstMailbox]:
    path = tmp_path / "built.pst"
    path.write_bytes(builder.build())
    with opened(path) as box:
        yield box


def _only(box: PstMailbox) -> Candidate:
    (candidate,), unreadable, tally = scan(box)
    assert (unreadable, tally.seen) == ([], 1)
    return candidate


def _damaged(box: PstMailbox, reason: str) -> None:
    """The one item is found, cannot be tested for attachments, and is not given out."""
    candidate = _only(box)
    for kind in TERMS:
        assert any(reason in one.reason for one in candidate.view.untestable(kind))
    with pytest.raises(ItemDamaged) as caught:
        box.fetch(candidate.id)
    assert reason in caught.value.message
    assert matcher(attachment=["nothing.exe"]).test(candidate.view).untestable


def _losing(builder: FileBuilder, marker: bytes) -> FileBuilder:
    """``builder`` without the block that begins with ``marker``."""
    plain = builder.block

    def block(data: bytes, internal: bool = False, bid: int | None = None) -> int:
        made = plain(data, internal, bid)
        if data.startswith(marker):
            builder.entries.pop()
        return made

    builder.block = block  # type: ignore[method-assign]
    return builder


def _flipping(builder: FileBuilder, marker: bytes) -> FileBuilder:
    """``builder`` with one bit changed in the block that holds ``marker``, whose trailer stays."""
    plain = builder.block

    def block(data: bytes, internal: bool = False, bid: int | None = None) -> int:
        made = plain(data, internal, bid)
        if marker in data:
            builder.out[builder.entries[-1].ib + data.index(marker)] ^= 1
        return made

    builder.block = block  # type: ignore[method-assign]
    return builder


def test_s13_an_attachment_shorter_than_the_store_says_is_damage(tmp_path: Path) -> None:
    with _box(tmp_path, _builder(_item({ATTACHMENT: _attached(b"x" * 1000, 1000 + 4 + 4)}))) as box:
        assert box.fetch(_only(box).id).version == _only(box).version
    with _box(tmp_path, _builder(_item({ATTACHMENT: _attached(b"x" * 900, 1000 + 4 + 4)}))) as box:
        _damaged(box, "attachment 1 has 908 bytes where PidTagAttachSize says 1,008")


def test_s13_content_of_which_a_block_is_gone_is_damage(tmp_path: Path) -> None:
    data = b"x" * 9000 + b"y" * 9000
    with _box(tmp_path, _losing(_builder(_item({ATTACHMENT: _attached(data, None)})), b"yyy")) as box:
        _damaged(box, "attachment 1 cannot be read")


def test_s13_content_whose_checksum_does_not_hold_is_damage(tmp_path: Path) -> None:
    spec = _item({ATTACHMENT: _attached(b"x" * 5000 + b"unique" + b"x" * 2000, None)})
    with _box(tmp_path, _flipping(_builder(spec), b"unique")) as box:
        _damaged(box, "dwCRC")


def test_s13_an_attachment_that_cannot_be_opened_is_damage_and_the_others_are_read(tmp_path: Path) -> None:
    spec = _item({ATTACHMENT: NodeSpec([b"no heap"]), ATTACHMENT + 32: attachment(UNICODE, "b.txt", b"data")})
    with _box(tmp_path, _builder(spec)) as box:
        _damaged(box, "the list of attachments cannot be read")
        assert matcher(attachment=["b.txt"]).test(_only(box).view).matched


def test_s13_a_row_of_the_attachment_table_without_an_attachment_is_damage(tmp_path: Path) -> None:
    with _box(tmp_path, _builder(_item({}, rows=[ATTACHMENT]))) as box:
        _damaged(box, "the list of attachments cannot be read")


def test_s13_an_item_that_says_attachments_and_has_none_is_damage(tmp_path: Path) -> None:
    with _box(tmp_path, _builder(_item(flags=HAS_ATTACHMENTS))) as box:
        _damaged(box, "the item says that it has attachments, and none is there")
    with _box(tmp_path, _builder(_item(flags=1))) as box:
        assert box.fetch(_only(box).id).flags == {"seen"}


def test_s27_attachments_that_share_their_blocks_are_not_read_beyond_the_size_of_the_file(tmp_path: Path) -> None:
    big = _attached(b"z" * 500_000, None)
    builder = _builder(_item({ATTACHMENT + 32 * number: big for number in range(8)}))
    made: dict[int, int] = {}
    plain = builder.tree

    def tree(data: list[bytes]) -> int:
        if id(data) not in made:
            made[id(data)] = plain(data)
        return made[id(data)]

    builder.tree = tree  # type: ignore[method-assign]
    with _box(tmp_path, builder) as box:
        assert box.info.size is not None
        assert box.info.size < 8 * 500_000
        _damaged(box, "larger than the file")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (_attached(b"xx\xec\xbc", None, method=6, kind=PT_OBJECT), "kept as properties"),
        (_attached(b"xx\xec\xbc", None, method=1, kind=PT_OBJECT), "attachment method 1"),
        (_attached(b"", None, method=2), "by reference"),
        (context(UNICODE, {(0x3705, PT_LONG): 1}), "no content"),
    ],
)
def test_s13_what_is_no_file_is_never_exported(tmp_path: Path, spec: NodeSpec, reason: str) -> None:
    with _box(tmp_path, _builder(_item({ATTACHMENT: spec}))) as box:
        item = box.fetch(_only(box).id)
    (kept,) = (item.properties or {})["attachments"]
    assert reason in kept["reason"]
    assert [reason in note for note in item.notes if note.startswith(INCOMPLETE)] == [True]


def test_an_ole_object_is_exported(tmp_path: Path) -> None:
    spec = _item({ATTACHMENT: _attached(b"\xd0\xcf\x11\xe0 document", None, method=6, kind=PT_OBJECT)})
    with _box(tmp_path, _builder(spec)) as box:
        (kept,) = (box.fetch(_only(box).id).properties or {})["attachments"]
    assert kept["size"] == 13


def test_s08_an_item_with_an_unreadable_property_is_unreadable(tmp_path: Path) -> None:
    spec = _item(body="mark" + "x" * 5000)
    with _box(tmp_path, _losing(_builder(spec), "mark".encode("utf-16-le"))) as box:
        candidates, (one,), tally = scan(box)
        assert (candidates, one.id, one.folder, tally.seen) == ([], f"{NID:#x}", "Inbox", 1)
        with pytest.raises(ItemDamaged, match="cannot be read"):
            box.fetch(f"{NID:#x}")


def test_s11_an_item_whose_properties_fail_their_checksum_is_untestable_for_every_term(tmp_path: Path) -> None:
    with _box(tmp_path, _flipping(_builder(_item(body="unique")), "unique".encode("utf-16-le"))) as box:
        candidate = _only(box)
        for wanted in (
            matcher(subject_contains=["other"]),
            matcher(recipient=["no@example.org"]),
            matcher(url=["x.org"]),
        ):
            verdict = wanted.test(candidate.view)
            assert (verdict.matched, bool(verdict.untestable)) == (False, True)
        assert matcher(subject_contains=["Hello"]).test(candidate.view).matched
        with pytest.raises(ItemDamaged, match="dwCRC"):
            box.fetch(candidate.id)


def test_s11_recipients_that_cannot_be_read_make_the_item_untestable_for_them(tmp_path: Path) -> None:
    with _box(tmp_path, _builder(_item(recipients=NodeSpec([b"no heap"])))) as box:
        candidate = _only(box)
        assert matcher(recipient=["ada@example.org"]).test(candidate.view).untestable
        assert not matcher(subject_contains=["other"]).test(candidate.view).untestable
        with pytest.raises(ItemDamaged, match="recipients cannot be read"):
            box.fetch(candidate.id)


def _without(nid: int) -> Callable[[FileBuilder], None]:
    return lambda builder: builder.nodes.pop(nid)  # type: ignore[return-value]


def _broken(nid: int) -> Callable[[FileBuilder], None]:
    def change(builder: FileBuilder) -> None:
        builder.nodes[nid].data = [b"no heap"]

    return change


@pytest.mark.parametrize(
    ("change", "where", "found"),
    [
        (_broken(INBOX), "the folder '(0x8082)'", 1),
        (_broken(INBOX & ~31 | 0x0E), "the rows of the contents table of the folder 'Inbox'", 1),
        (_without(NID), "row 1 of the contents table of the folder 'Inbox'", 0),
        (_broken(0x61), "the names of properties", 1),
        (_without(INBOX), "", 1),
        (_without(INBOX & ~31 | 0x0E), "", 1),
        (_without(0x61), "", 1),
    ],
)
def test_s08_what_of_a_folder_cannot_be_read_is_reported_and_its_items_are_searched(
    tmp_path: Path, change: Callable[[FileBuilder], None], where: str, found: int
) -> None:
    builder = _builder(_item())
    change(builder)
    with _box(tmp_path, builder) as box:
        candidates, unreadable, tally = scan(box)
        assert [one.where for one in unreadable] == ([where] if where else [])
        assert len(candidates) == found
        assert tally.seen == len(candidates) + tally.unreadable


def test_s08_damage_in_the_tree_of_nodes_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "built.pst"
    data = bytearray(_builder(_item()).build())
    for page in range(0x4600, len(data), 512):
        if data[page + 496 : page + 498] == b"\x81\x81":
            data[page + 500] ^= 1
    path.write_bytes(data)
    with opened(path) as box:
        candidates, (one,), tally = scan(box)
        assert (one.where, len(candidates), tally.seen) == ("the tree of nodes", 1, 2)
        assert "dwCRC" in one.reason


def test_a_value_above_128_mib_is_read(tmp_path: Path) -> None:
    """libpff refuses it."""
    data = bytes(range(256)) * (1 << 19) + b"end"
    with _box(tmp_path, _builder(_item({ATTACHMENT: _attached(data, len(data) + 8)}))) as box:
        (kept,) = _only(box).view.attachments()
        assert kept.size == len(data) > 128 << 20


CLASSES = [
    *("IPM", "IPM.Note", "ipm.note", "IPM.NOTE.Anything", "IPM.Note.Mobile.SMS", "IPM.Post", "IPM.Post.RSS", "IPM.Fax"),
    *("IPM.Task", "IPM.TaskRequest.Accept", "IPM.Contact", "IPM.Activity", "IPM.DistList", "IPM.StickyNote"),
    *("IPM.Appointment", "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", "IPM.Conflict.Message"),
    *("IPM.Sharing.x", "IPM.Document.Excel", "IPM.Configuration.OWA", "IPM.Schedule.Meeting.Request"),
    *("REPORT.IPM.Note.NDR", "REPORT.IPM.Schedule.Meeting.NDR", "IPM.Note.SMIME", "IPM.Note.Rules.OofTemplate"),
    *("", "IPM.", "IPM.Notes", "IPM.Post.Other", "IPM.Contact.Custom", "IPM.Appointment.Custom", "IPM.Task.Custom"),
    *("IPM.Conflict.Folder", "IPM.Microsoft.FolderDesign.NamedView", "REPORT.IPM.Task", "Anything", "IPM.Sharin"),
    *("IPM.Po\u017ft", "\u0130PM.Note", "IPM.Note\0"),
]


@pytest.mark.parametrize("item_class", CLASSES)
@pytest.mark.parametrize("attached", [False, True])
def test_s06_items_of_any_class_are_whole_and_have_the_version_that_libpff_gave(
    tmp_path: Path, item_class: str, attached: bool
) -> None:
    attachments = {ATTACHMENT: attachment(UNICODE, "a.txt", b"data")} if attached else {}
    spec = _item(attachments, flags=HAS_ATTACHMENTS if attached else 1, item_class=item_class)
    with _box(tmp_path, _builder(spec)) as box:
        candidate = _only(box)
        item = box.fetch(candidate.id)
        assert matcher(recipient=["ada@example.org"]).test(candidate.view).matched
        assert matcher(attachment=["a.txt"]).test(candidate.view).matched is attached
    assert not [note for note in item.notes if note.startswith(INCOMPLETE)]
    assert {candidate.id: item.version} == versions(tmp_path / "built.pst")


def _with_remnants(rows: int) -> NodeSpec:
    """A recipient table whose second row has no cell but its own, and remnants of the first in their place."""
    columns = [(0x0C15, PT_LONG), (0x3001, PT_UNICODE), (0x3003, PT_UNICODE), (0x3A40, 0x0B), (0x39FE, PT_UNICODE)]
    full = {0x0C15: 1, 0x3001: "Ada", 0x3003: "ada@example.org", 0x3A40: 1}
    return table(UNICODE, columns, {number: full if number == 1 else {} for number in range(1, rows + 1)})


@pytest.mark.parametrize("remnant", ["nothing", "the first row's", "a value that is not there"])
def test_s06_absent_cells_of_recipients_count_for_the_version_alone(tmp_path: Path, remnant: str) -> None:
    spec = _with_remnants(2)
    heap = spec.data[0]
    first = heap.index(b"\1\0\0\0\1\0\0\0")
    second = heap.index(b"\2\0\0\0\2\0\0\0")
    size, bitmap = second - first, 1
    if remnant == "the first row's":
        middle = heap[first + 8 : second - bitmap]
        spec.data[0] = heap[: second + 8] + middle + heap[second + size - bitmap :]
    elif remnant == "a value that is not there":
        spec.data[0] = heap[: second + 12] + b"\xe0\xff\0\0" + heap[second + 16 :]
    assert len(spec.data[0]) == len(heap)
    with _box(tmp_path, _builder(_item(recipients=spec))) as box:
        item = box.fetch(_only(box).id)
    assert {item.id: item.version} == versions(tmp_path / "built.pst")
    tags = [[entry["tag"] for entry in row] for row in (item.properties or {})["recipients"]]
    assert tags == [
        ["0x0C150003", "0x3001001F", "0x3003001F", "0x3A40000B", "0x67F20003", "0x67F30003"],
        ["0x67F20003", "0x67F30003"],
    ]


def test_s06_an_attachment_without_a_row_is_found_and_the_version_stays(tmp_path: Path) -> None:
    found = {ATTACHMENT: attachment(UNICODE, "a.txt", b"data"), ATTACHMENT + 32: attachment(UNICODE, "b.txt", b"more")}
    with _box(tmp_path, _builder(_item(found, rows=[ATTACHMENT]))) as box:
        item = box.fetch(_only(box).id)
    assert len((item.properties or {})["attachments"]) == 2
    assert {item.id: item.version} == versions(tmp_path / "built.pst")
