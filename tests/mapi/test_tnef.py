"""TNEF, compared with Debian's tnef and ytnef on streams that a builder of its own writes."""

from __future__ import annotations

import shutil
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.core.errors import DamagedInput
from excise.mapi.item import MAX_EMBEDDING, MapiItem, RecipientType
from excise.mapi.properties import filetime
from excise.mapi.tags import (
    NamedProperty,
    PidNameKeywords,
    PidTagAttachContentId,
    PidTagBody,
    PidTagClientSubmitTime,
    PidTagImportance,
    PidTagInternetMessageId,
    PidTagReadReceiptRequested,
    PidTagSenderName,
    PidTagSensitivity,
)
from excise.mapi.tnef import is_tnef, read_tnef
from excise.mapi.to_mime import to_mime

from .tnef_builder import IID_MESSAGE, IID_STORAGE, attachment, attribute, message_class, properties, stream

MOMENT = datetime(2024, 3, 1, 9, 30, tzinfo=UTC)
PUBLIC_STRINGS = UUID("00020329-0000-0000-c000-000000000046")
COMMON = UUID("00062008-0000-0000-c000-000000000046")
FILES = {"report.pdf": b"%PDF-1.4" + bytes(range(256)), "empty.txt": b"", "Übersicht.txt": b"abc"}


def embedded(inner: bytes, name: str = "inner") -> bytes:
    return attachment(name, None, [(0x37050003, 5), (0x3701000D, IID_MESSAGE + inner)])


def whole() -> bytes:
    """A stream with everything that Outlook writes into one."""
    message = properties(
        [
            (0x0037001F, "Grüße aus Köln"),
            (0x1000001F, "body\r\n"),
            (0x00390040, filetime(MOMENT)),
            (0x0029000B, 1),
            (0x00360003, 2),
            (0x1035001F, "<t@example.org>"),
            (0x0E081003, [1, 2, 3]),
        ],
        [(PUBLIC_STRINGS, "Keywords", 0x101F, ["Red", "Blue"]), (COMMON, 0x8514, 0x0003, 7)],
    )
    row = [(0x3001001F, "Bo"), (0x3002001F, "SMTP"), (0x3003001F, "bo@example.org"), (0x0C150003, 1)]
    table = struct.pack("<I", 2) + properties(row) + properties([*row[:-1], (0x0C150003, 2)])
    inner = stream(message_class(), attribute(1, 0x00018004, b"inner\0"), attachment("deep.txt", b"deep"))
    return stream(
        message_class(),
        attribute(1, 0x0004800D, struct.pack("<H", 1)),
        attribute(1, 0x00069003, message),
        attribute(1, 0x00069004, table),
        *(attachment(n, d, [(0x3712001F, "id@x")]) for n, d in FILES.items()),
        embedded(inner),
        attachment("ole", None, [(0x37050003, 6), (0x3701000D, IID_STORAGE + b"storage")]),
    )


def test_everything_is_read() -> None:
    item = read_tnef(whole())
    bag = item.properties
    assert item.notes == ()
    assert item.message_class == "IPM.Note"
    assert item.subject == "Grüße aus Köln"
    assert bag.text(PidTagBody) == "body\r\n"
    assert bag.time(PidTagClientSubmitTime) == MOMENT
    assert bag.boolean(PidTagReadReceiptRequested) is True
    assert bag.integer(PidTagSensitivity) == 2
    assert bag.integer(PidTagImportance) == 2
    assert bag.text(PidTagInternetMessageId) == "<t@example.org>"
    assert bag.texts(PidNameKeywords) == ["Red", "Blue"]
    assert bag.integer(NamedProperty(COMMON, 0x8514)) == 7
    assert [a.smtp for a in item.recipients_of(RecipientType.To)] == ["bo@example.org"]
    assert [a.smtp for a in item.recipients_of(RecipientType.Cc)] == ["bo@example.org"]
    assert {a.name: a.data for a in item.attachments[:3]} == FILES
    assert item.attachments[0].properties.text(PidTagAttachContentId) == "id@x"
    inner = item.attachments[3].embedded
    assert inner is not None
    assert inner.subject == "inner"
    assert inner.attachments[0].data == b"deep"
    assert item.attachments[4].data == b"storage"
    assert [i.subject for i in item.walk()] == ["Grüße aus Köln", "inner"]
    assert b"Subject: inner\r\n" in to_mime(item).data


def test_old_attributes_alone() -> None:
    name, address = b"Anna\0", b"SMTP:anna@example.org\0"
    trp = struct.pack("<4H", 4, 8 + len(name) + len(address), len(name), len(address)) + name + address
    data = stream(
        message_class("IPM.Microsoft Schedule.MtgReq"),
        attribute(1, 0x00008000, trp),
        attribute(1, 0x00018004, b"caf\xe9\0"),
        attribute(1, 0x0002800C, b"old body\0"),
        attribute(1, 0x00038005, struct.pack("<7H", 2024, 3, 1, 9, 30, 0, 5)),
    )
    item = read_tnef(data)
    assert (item.subject, item.sender.smtp, item.submitted) == ("café", "anna@example.org", MOMENT)
    assert item.properties.text(PidTagSenderName) == "Anna"
    assert item.properties.text(PidTagBody) == "old body"
    assert item.message_class == "IPM.Schedule.Meeting.Request"


@pytest.mark.parametrize("program", ["tnef", "ytnef"])
def test_the_same_attachments_as_other_readers(program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    files = {"report.pdf": b"%PDF-1.4" + bytes(range(256)), "two.txt": b"abc", "big.bin": bytes(range(251)) * 4000}
    data = stream(
        message_class(),
        attribute(1, 0x00018004, b"subject\0"),
        attribute(1, 0x00069003, properties([(0x0037001F, "subject"), (0x1000001F, "body")])),
        *(attachment(name, content) for name, content in files.items()),
    )
    (tmp_path / "winmail.dat").write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    option = ["-C", str(out), "--overwrite", "-f"] if program == "tnef" else ["-F", "-f", str(out)]
    done = subprocess.run(
        [program, *option, str(tmp_path / "winmail.dat")], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    theirs = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".rtf"}
    ours = {a.name: a.data for a in read_tnef(data).attachments}
    assert ours == files
    assert theirs == files


# -- damage


def test_what_is_no_tnef_is_refused() -> None:
    assert not is_tnef(b"")
    for data in (b"", b"%PDF-1.4", b"\x78\x9f\x3e"):
        with pytest.raises(DamagedInput):
            read_tnef(data)


def test_a_cut_stream_keeps_what_was_read() -> None:
    data = whole()
    for cut in range(6, len(data), 7):
        item = read_tnef(data[:cut])
        assert len(item.attachments) <= 5
        if cut > 700:
            assert item.subject == "Grüße aus Köln"
    assert "cannot be read beyond" in read_tnef(data[:-3]).notes[-1]


def test_a_wrong_check_sum_is_noted() -> None:
    data = bytearray(stream(attribute(1, 0x00018004, b"hello\0")))
    data[-4] ^= 1
    item = read_tnef(bytes(data))
    assert "check sum" in item.notes[0]


def test_a_reference_and_a_missing_body_have_a_reason() -> None:
    data = stream(attachment("a", None, [(0x37050003, 4)]), attachment("b", None))
    first, second = read_tnef(data).attachments
    assert "reference" in (first.reason or "")
    assert "not in the stream" in (second.reason or "")


def test_nesting_is_bounded() -> None:
    data = stream(attribute(1, 0x00018004, b"deepest\0"))
    for _ in range(MAX_EMBEDDING + 3):
        data = stream(embedded(data))
    item: MapiItem | None = read_tnef(data)
    depth = 0
    while item is not None and item.attachments[0].embedded is not None:
        item, depth = item.attachments[0].embedded, depth + 1
    assert depth == MAX_EMBEDDING
    assert item is not None
    assert "nested deeper" in (item.attachments[0].reason or "")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutant_breaks_the_reader(data: st.DataObject) -> None:
    mutant = bytearray(whole())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(4, len(mutant) - 1))
        mutant[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, mutant[at] ^ 1]))
    item = read_tnef(bytes(mutant))
    assert sum(a.size for a in item.attachments if a.data is not None) <= len(mutant)
    to_mime(item)
