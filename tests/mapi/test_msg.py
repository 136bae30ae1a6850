"""Outlook .msg files written by a small compound file writer, read by olefile itself and by the reader."""

from __future__ import annotations

import email
import io
from datetime import UTC, datetime
from email import policy
from pathlib import Path
from typing import Any
from uuid import UUID

import olefile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.core.errors import DamagedInput
from excise.mapi.item import MAX_EMBEDDING, MapiItem, RecipientType
from excise.mapi.msg import is_msg, read_msg
from excise.mapi.tags import NamedProperty, PidNameKeywords, PidTagBody, PidTagImportance, PropertyTag
from excise.mapi.to_mime import to_mime

from .cfbf_writer import Tree, compound_file, embedded_attachment, file_attachment, message, storage

MOMENT = datetime(2024, 3, 1, 9, 30, tzinfo=UTC)
PUBLIC_STRINGS = UUID("00020329-0000-0000-c000-000000000046")
COMMON = UUID("00062008-0000-0000-c000-000000000046")
BIG = bytes(range(256)) * 40


def whole() -> bytes:
    inner = message({0x0037001F: "inner", 0x1000001F: "text"}, attachments=[file_attachment("deep", b"d")], top=False)
    values: dict[int, Any] = {
        0x001A001F: "IPM.Note",
        0x0037001F: "Grüße",
        0x1000001F: "body\r\n" * 2000,
        0x00390040: MOMENT,
        0x00170003: 2,
        0x0C1F001F: "anna@example.org",
        0x0C1E001F: "SMTP",
        0x8000101F: ["Red", "Blue", ""],
        0x80010003: 7,
        0x10131003: [1, 2],
        0x300B0048: COMMON,
    }
    row: dict[int, Any] = {0x3001001F: "Bo", 0x3002001F: "SMTP", 0x3003001F: "bo@example.org", 0x0C150003: 1}
    files = [file_attachment("big.bin", BIG, {0x370E001F: "image/png"}), file_attachment("empty.txt", b"")]
    return compound_file(
        message(
            values,
            [row, {**row, 0x0C150003: 2}],
            [*files, embedded_attachment("inner", inner)],
            names=[(PUBLIC_STRINGS, "Keywords"), (COMMON, 0x8514)],
        )
    )


def test_olefile_accepts_what_the_writer_writes() -> None:
    data = whole()
    ole = olefile.OleFileIO(io.BytesIO(data), raise_defects=olefile.DEFECT_INCORRECT)
    assert ole.openstream(["__attach_version1.0_#00000000", "__substg1.0_37010102"]).read() == BIG
    assert not ole.parsing_issues
    ole.close()


def test_everything_is_read(tmp_path: Path) -> None:
    data = whole()
    path = tmp_path / "a.msg"
    path.write_bytes(data)
    item = read_msg(path)
    bag = item.properties
    assert item.notes == ()
    assert (item.subject, item.message_class, item.submitted) == ("Grüße", "IPM.Note", MOMENT)
    assert bag.text(PidTagBody) == "body\r\n" * 2000
    assert bag.integer(PidTagImportance) == 2
    assert bag.texts(PidNameKeywords) == ["Red", "Blue", ""]
    assert bag.integer(NamedProperty(COMMON, 0x8514)) == 7
    assert bag.get(PropertyTag.parse(0x10131003)) == [1, 2]
    assert bag.get(PropertyTag.parse(0x300B0048)) == COMMON
    assert item.sender.smtp == "anna@example.org"
    assert [a.smtp for a in item.recipients_of(RecipientType.Cc)] == ["bo@example.org"]
    assert [(a.name, a.data) for a in item.attachments[:2]] == [("big.bin", BIG), ("empty.txt", b"")]
    assert [i.subject for i in item.walk()] == ["Grüße", "inner"]
    inner = item.attachments[2].embedded
    assert inner is not None
    assert inner.attachments[0].data == b"d"
    rebuilt = email.message_from_bytes(to_mime(item).data, policy=policy.default)
    assert rebuilt["subject"] == "Grüße"
    assert [p.get_filename() for p in rebuilt.iter_attachments()] == ["big.bin", "empty.txt", "inner"]
    assert read_msg(data) == item


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30).filter(lambda s: not s.endswith("\0"))
NAMES = TEXT.filter(lambda s: s.strip() != "")


@settings(max_examples=40, deadline=None)
@given(TEXT, TEXT, st.lists(st.tuples(NAMES, st.binary(max_size=6000)), max_size=9), st.lists(TEXT, max_size=3))
def test_a_message_comes_back(subject: str, body: str, files: list[tuple[str, bytes]], words: list[str]) -> None:
    values: dict[int, Any] = {0x0037001F: "\x01\x01" + subject, 0x1000001F: body, 0x8000101F: words}
    tree = message(values, attachments=[file_attachment(*f) for f in files], names=[(PUBLIC_STRINGS, "Keywords")])
    item = read_msg(compound_file(tree))
    assert item.notes == ()
    assert (item.subject, item.properties.text(PidTagBody)) == (subject, body)
    assert [(a.name, a.data) for a in item.attachments] == files
    assert item.properties.texts(PidNameKeywords) == words


def test_string8_uses_the_code_page() -> None:
    tree = message({0x3FFD0003: 1251}, [{0x3001001E: "x", 0x0C150003: 1}])
    tree["__substg1.0_0037001E"] = "Привет\0".encode("cp1251")
    row = tree["__recip_version1.0_#00000000"]
    assert isinstance(row, dict)
    row["__substg1.0_3001001E"] = "Боб\0".encode("cp1251")
    item = read_msg(compound_file(tree))
    assert item.subject == "Привет"
    assert item.recipients_of(RecipientType.To)[0].name == "Боб"


def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    assert not is_msg(b"MZ")
    for data in (b"", b"text", whole()[:512], compound_file({"WordDocument": b"x"}), whole()[:8] + bytes(2000)):
        with pytest.raises(DamagedInput):
            read_msg(data)


def test_an_ole_object_and_a_lost_stream_have_a_reason() -> None:
    ole = storage({0x3707001F: "sheet", 0x37050003: 6, 0x3701000D: None}, 8, {"__substg1.0_3701000D": {"Book": b"x"}})
    lost = file_attachment("lost.txt", b"gone")
    del lost["__substg1.0_37010102"]
    link = storage({0x3707001F: "link", 0x37050003: 4}, 8)
    item = read_msg(compound_file(message({0x0037001F: "s"}, attachments=[ole, lost, link])))
    assert [a.data for a in item.attachments] == [None, None, None]
    assert "OLE object" in (item.attachments[0].reason or "")
    assert "cannot be read" in (item.attachments[1].reason or "")
    assert "reference" in (item.attachments[2].reason or "")
    assert any("37010102" in note for note in item.notes)


def test_nesting_is_bounded() -> None:
    tree: Tree = message({0x0037001F: "deepest"}, top=False)
    for _ in range(MAX_EMBEDDING + 2):
        tree = message({0x0037001F: "x"}, attachments=[embedded_attachment("e", tree)], top=False)
    top = message({0x0037001F: "x"}, attachments=[embedded_attachment("e", tree)])
    item: MapiItem | None = read_msg(compound_file(top))
    depth = 0
    while item is not None and item.attachments[0].embedded is not None:
        item, depth = item.attachments[0].embedded, depth + 1
    assert depth == MAX_EMBEDDING


def test_streams_that_share_sectors_give_no_more_than_the_file() -> None:
    """Forty entries point at the same 40 kB: the reader stops at the size of the file and says so."""
    data = bytearray(
        compound_file(message({0x0037001F: "s"}, attachments=[file_attachment(str(n), BIG) for n in range(40)]))
    )
    at, first = 0, None
    name = "__substg1.0_37010102".encode("utf-16-le")
    while (at := data.find(name, at)) >= 0:
        start = data[at + 116 : at + 120]
        first = first or bytes(start)
        data[at + 116 : at + 120] = first
        # Each entry now claims most of the file; the chain is as long as the first stream alone.
        data[at + 120 : at + 124] = (len(data) // 2).to_bytes(4, "little")
        at += 128
    item = read_msg(bytes(data))
    assert sum(len(a.data or b"") for a in item.attachments) <= len(data)
    assert any("more than the file can hold" in note for note in item.notes)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutant_breaks_the_reader(data: st.DataObject) -> None:
    mutant = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(8, len(mutant) - 1))
        mutant[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, mutant[at] ^ 1]))
    try:
        item = read_msg(bytes(mutant[: data.draw(st.sampled_from([len(mutant), len(mutant) // 2, 1536]))]))
    except DamagedInput:
        return
    to_mime(item)


SMALL = compound_file(
    message({0x0037001F: "s", 0x8000101F: ["a", "b"]}, [{0x3001001F: "Bo", 0x0C150003: 1}],
            [file_attachment("f", b"data"), embedded_attachment("e", message({0x0037001F: "i"}, top=False))],
            names=[(PUBLIC_STRINGS, "Keywords")])
)  # fmt: skip
