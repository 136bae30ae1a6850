"""The ``messages.pst`` of a part: nothing is lost in it, other readers show it, and what is wrong in it is found."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

import excise.pst
from engine.mail_files import message
from excise.case.part_pst import PartFull
from excise.case.parts import EvidenceKind, PartWriter, Provenance
from excise.case.reread import reread_part
from excise.core.digests import canonical_json, sha256_hex
from excise.engine.evidence import part_lines, read_content
from excise.mapi import tags as t
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag, RawProperty
from excise.mapi.tags import NamedProperty, PropertyTag
from excise.mapi.to_mime import to_mime
from excise.model.item import Fetched
from excise.pst.disk import ids
from excise.pst_mapi import content
from excise.stores.pst_record import record_of_item
from pst.editing import Edited, put
from pst.oracles import libpff_folders, readpst
from stores.pst_samples import fetched as fetched_from

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
PST = (EvidenceKind.PST,)
SET = UUID("00062008-0000-0000-c000-000000000046")


def mime(number: int, subject: str = "Report", folder: str = "") -> Fetched:
    return Fetched(str(number), f"v{number}", message(number, subject), folder)


def mapi(item: MapiItem, folder: str = "Inbox") -> Fetched:
    return Fetched("1", "v1", to_mime(item).data, folder, properties=record_of_item(item), item=item)


def write(part: Path, items: Iterable[Fetched], kinds: tuple[EvidenceKind, ...] = PST) -> dict[str, str]:
    """A committed part; the digests of its files."""
    writer = PartWriter(part.with_name("partial"), kinds, 10**12, "anna@example.org")
    for number, item in enumerate(items, 1):
        digest = sha256_hex(item.content)
        ids = Provenance(f"00001-{number:06}", number, "pst:x", "x", digest, None, ("subject",), None)
        writer.add(item, ids)
    digests = writer.complete()
    writer.commit(part)
    return digests


def problems(part: Path, digests: dict[str, str] | None = None) -> list[str]:
    """What reading it again finds wrong."""
    return reread_part(part, digests or {}).problems


def rich_item(**changes: object) -> MapiItem:
    """An item with what an item can have; ``changes`` replace its parts."""
    bag = PropertyBag(
        [
            RawProperty(t.PidTagMessageClass, "IPM.Task".encode("utf-16-le")),
            RawProperty(t.PidTagSubject, "Straße 7".encode("utf-16-le")),
            RawProperty(PropertyTag(t.PidTagBody.id, 0x001E), "größe".encode("cp1250")),
            RawProperty(t.PidTagMessageCodepage, struct.pack("<i", 1250)),
            RawProperty(t.PidTagClientSubmitTime, struct.pack("<Q", 134_000_000_000_000_003)),
            RawProperty(PropertyTag(0x3FFA, 0x0102), bytes(range(256)) * 40),
            RawProperty(PropertyTag(0x8005, 0x000B), b"\1\0", NamedProperty(SET, 0x8502)),
            RawProperty(PropertyTag(0x8006, 0x101F), multiple("rot", "blau"), NamedProperty(SET, name="Farben")),
            RawProperty(PropertyTag(0x8007, 0x0003), b"\x07\0\0\0", NamedProperty(SET, 0x8502)),
            RawProperty(PropertyTag(0x8123, 0x0102), b"no name"),
        ]
    )
    rows = tuple(
        PropertyBag.of({t.PidTagDisplayName: name, t.PidTagRecipientType: 1, t.PidTagSmtpAddress: f"{name}@x.org"})
        for name in ("bea", "carl")
    )
    inner = MapiItem(PropertyBag.of({t.PidTagSubject: "within", t.PidTagBody: "deep"}), rows[:1], (file(b"z"),))
    parts: dict[str, object] = {
        "properties": bag,
        "recipients": rows,
        "attachments": (file(b"x" * 9000), MapiAttachment(PropertyBag.of({t.PidTagAttachMethod: 5}), embedded=inner)),
    }
    return MapiItem(**(parts | changes))  # type: ignore[arg-type]


def complaints(path: Path) -> set[tuple[str, str, str]]:
    """What the check of a PST file finds but for notes, wherever it is."""
    found = (each.damage for each in excise.pst.check(path).findings if each.grade != "note")
    return {(damage.structure, damage.field, damage.found) for damage in found}


def file(data: bytes) -> MapiAttachment:
    return MapiAttachment(PropertyBag.of({t.PidTagAttachMethod: 1, t.PidTagAttachLongFilename: "a.bin"}), data)


def multiple(*texts: str) -> bytes:
    pieces = [text.encode("utf-16-le") for text in texts]
    offsets = [4 + 4 * len(pieces) + sum(map(len, pieces[:at])) for at in range(len(pieces))]
    return struct.pack(f"<{len(pieces) + 1}I", len(pieces), *offsets) + b"".join(pieces)


def with_property(bag: PropertyBag, tag: PropertyTag, raw: bytes | None) -> PropertyBag:
    kept = [entry for entry in bag if entry.tag.id != tag.id]
    return PropertyBag([*kept, *([RawProperty(tag, raw)] if raw is not None else [])])


class TestMime:
    @pytest.mark.parametrize("flags", [frozenset(), frozenset({"flagged"}), frozenset({"seen"})])
    def test_a_message_is_shown_as_read_only_if_its_source_says_so(self, flags: frozenset[str], tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        write(part, [replace(mime(number), flags=flags) for number in (1, 2)])
        assert not problems(part)
        with excise.pst.open(part / "messages.pst") as pst:
            (folder,) = [each for each in pst.folders() if each.message_nids]
            marks = [each.flags & 1 for each in folder.messages()]  # type: ignore[union-attr]
            assert folder.properties.integer(0x3603) == marks.count(0)  # type: ignore[union-attr]
        assert marks == [int("seen" in flags)] * 2

    def test_other_programs_show_the_messages(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        write(part, [mime(1, "One"), mime(2, "Two", "Archive/2026")])
        assert not excise.pst.check(part / "messages.pst").findings
        folders = libpff_folders(part / "messages.pst")
        top = ("Top of Outlook data file",)
        assert [m.subject for m in folders[*top, "Messages"]] == ["One"]
        assert [m.subject for m in folders[*top, "Archive", "2026"]] == ["Two"]
        shown = readpst(part / "messages.pst", tmp_path / "out")
        assert {b"body 1" in mail for mail in shown} == {True, False}

    def test_its_own_bytes_are_in_it(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        odd = [b"", b"\r\n\0\xff", b"no header", b"Subject: x\r\n\r\n" + bytes(range(256)) * 500]
        items = [mime(1), *(Fetched(str(n), "v", data) for n, data in enumerate(odd, 2))]
        assert problems(part, write(part, items)) == []
        lines = part_lines(part)
        assert [read_content(part, lines[n]) for n in sorted(lines)] == [item.content for item in items]

    def test_large_ones_are_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(content, "PIECE", 1000)
        part = tmp_path / "part-001"
        data = b"Subject: large\n\n" + random.Random(1).randbytes(4500)
        assert problems(part, write(part, [Fetched("1", "v", data)])) == []
        assert read_content(part, part_lines(part)[1]) == data
        with excise.pst.open(part / "messages.pst") as pst:
            names = {name.key for name in pst.names.by_name}
        assert {"OriginalMime", "OriginalMime5"} <= names

    def test_folders_whose_names_outlook_refuses(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        names = [
            "Inbox",
            "INBOX",
            "inbox",
            "a//b",
            "\0",
            "x" * 400,
            "x" * 300,
            "Deleted items",
            "a%2Fb",
            "\ud800",
            "\ufeff",
            "\ufeffA",
            "\ufffe\u4100",
        ]
        items = [mime(number, folder=name) for number, name in enumerate(names)]
        assert problems(part, write(part, items)) == []
        lines = part_lines(part).values()
        assert [line["folder"] for line in lines] == names
        assert len({tuple(line["pst"]["folder"]) for line in lines}) == len(names)


class TestMapi:
    def test_nothing_of_an_item_is_lost(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        assert problems(part, write(part, [mapi(rich_item())])) == []
        assert part_lines(part)[1]["pst"]["form"] == "mapi"
        assert excise.pst.check(part / "messages.pst").clean
        with excise.pst.open(part / "messages.pst") as pst:
            keys = {name.key for name in pst.names.by_name}
        assert {0x8502, "Farben", "Unnamed8007", "Unnamed8123"} <= keys

    def test_its_mime_is_in_it_where_nothing_else_holds_it(self, tmp_path: Path) -> None:
        item = mapi(rich_item())
        write(tmp_path / "part-001", [item])
        write(tmp_path / "part-002", [item], (EvidenceKind.MBOX, EvidenceKind.PST))
        alone, beside = part_lines(tmp_path / "part-001")[1], part_lines(tmp_path / "part-002")[1]
        assert (alone["pst"]["content"], beside["pst"]["content"]) == ("RebuiltMime", None)
        assert read_content(tmp_path / "part-001", alone) == item.content
        assert read_content(tmp_path / "part-002", beside) == item.content

    @pytest.mark.parametrize(
        ("what", "changed"),
        [
            ("0x0037 is not what", {"properties": with_property(rich_item().properties, t.PidTagSubject, b"x\0")}),
            ("0x0037 is missing", {"properties": with_property(rich_item().properties, t.PidTagSubject, None)}),
            ("0x1000 is not", {"properties": with_property(rich_item().properties, PropertyTag(0x1000, 0x1E), b"gr")}),
            ("0x0039 is not", {"properties": with_property(rich_item().properties, PropertyTag(0x39, 0x40), bytes(8))}),
            ("0x3FFA is not", {"properties": with_property(rich_item().properties, PropertyTag(0x3FFA, 0x102), b"?")}),
            ("0x5D01 was not", {"properties": with_property(rich_item().properties, PropertyTag(0x5D01, 3), bytes(4))}),
            ("/Farben is missing", {"properties": with_property(rich_item().properties, PropertyTag(0x8006, 3), None)}),
            ("expected 2 recipients", {"recipients": rich_item().recipients[:1]}),
            ("recipient 1: ", {"recipients": rich_item().recipients[::-1]}),
            ("expected 2 attachments", {"attachments": rich_item().attachments[:1]}),
            ("attachment 1: expected 9000", {"attachments": (file(b"x" * 8999 + b"y"), rich_item().attachments[1])}),
            ("attachment 2: there is no message", {"attachments": (rich_item().attachments[0], file(b""))}),
            ("attachment 2: property 0x0037", {"attachments": (rich_item().attachments[0], MapiAttachment(
                PropertyBag.of({t.PidTagAttachMethod: 5}), embedded=rich_item(attachments=())))}),
        ],
    )  # fmt: skip
    def test_s13_another_item_than_the_record_tells_of_is_found(
        self, tmp_path: Path, what: str, changed: dict[str, object]
    ) -> None:
        part = tmp_path / "part-001"
        write(part, [replace(mapi(rich_item()), item=rich_item(**changed))])
        found = problems(part)
        assert any(what in problem for problem in found), found

    def test_what_cannot_be_stored_is_kept_as_its_mime(self, tmp_path: Path) -> None:
        bag = with_property(rich_item().properties, PropertyTag(0x0017, 3), b"\1\0")
        odd = mapi(rich_item(properties=bag))
        part = tmp_path / "part-001"
        assert problems(part, write(part, [odd, mime(2)])) == []
        line = part_lines(part)[1]
        assert line["pst"]["form"] == "bare"
        assert "00170003" in line["pst"]["why"]
        assert read_content(part, line) == odd.content
        top = ("Top of Outlook data file", "Inbox")
        assert [m.subject for m in libpff_folders(part / "messages.pst")[top]] == ["Straße 7"]

    @pytest.mark.skipif(not SAMPLES.exists(), reason="EXCISE_SAMPLES is not set: no real PST files here")
    @pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.pst")), ids=lambda path: path.stem)
    def test_items_of_outlook_are_kept_property_for_property(self, tmp_path: Path, path: Path) -> None:
        part = tmp_path / "part-001"
        items = fetched_from(path)
        assert problems(part, write(part, items)) == []
        assert {line["pst"]["form"] for line in part_lines(part).values()} <= {"mapi"}
        assert complaints(part / "messages.pst") <= complaints(path)


class TestDamage:
    def test_s14_any_byte_that_is_not_what_was_closed_is_found(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        digests = write(part, [mime(n) for n in range(3)])
        path = part / "messages.pst"
        whole = path.read_bytes()
        dice = random.Random(3)
        for at in [0, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(30))]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :])
            assert any("messages.pst" in each for each in problems(part, digests)), at
        path.write_bytes(whole)
        assert problems(part, digests) == []

    def test_a_message_too_many_too_few_or_in_another_folder(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        write(part, [mime(1), mime(2, folder="B")])
        path = part / "items.jsonl"
        first, second = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(first)
        assert any("no line of items.jsonl names it" in each for each in problems(part))
        path.write_bytes(first + second + second.replace(b'"item":2', b'"item":3').replace(b'"nid":', b'"nid":1'))
        assert any("is not there" in each for each in problems(part))
        path.write_bytes(first + second.replace(b'["B"]', b'["A"]'))
        assert any("is not in its folder" in each for each in problems(part))
        path.write_bytes(first.replace(b'"content":"OriginalMime"', b'"content":null') + second)
        assert any("has no content" in each for each in problems(part))
        path.write_bytes(first + second)
        assert problems(part) == []
        (part / "messages.pst").unlink()
        assert any("messages.pst: cannot be read" in each for each in problems(part))

    def test_a_folder_that_libpff_takes_for_something_else(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        write(part, [mime(1), mime(2, folder="B")])
        path = part / "messages.pst"
        edited = Edited(path.read_bytes())
        with excise.pst.open(path) as pst:
            folder = next(each.nid for each in pst.folders() if each.display_name == "B")
        # Its properties change places with its table of contents, whose references stay right.
        nodes = [edited.node(folder), edited.node(ids.sibling_nid(folder, ids.NID_TYPE_CONTENTS_TABLE))]
        places = [edited.data.index(struct.pack("<2Q", each.nid, each.bid_data)) for each in nodes]
        for at, other in zip(places, reversed(nodes), strict=True):
            edited.page(at & ~0x1FF, put((at & 0x1FF) + 8, other.bid_data.to_bytes(8, "little")))
        path.write_bytes(edited.data)
        found = problems(part)
        assert any(f"folder 0x{folder:x}: libpff finds no folder in it" in each for each in found)
        assert any("00001-000002 is not there" in each for each in found)

    @pytest.mark.parametrize("changes", [{"tag": "zz"}, {"base64": "!!!!x"}, {"tag": None}, {"name": []}], ids=str)
    def test_a_record_that_says_nothing_of_sense(self, tmp_path: Path, changes: dict[str, object]) -> None:
        part = tmp_path / "part-001"
        write(part, [mapi(rich_item())])
        lines, records = part / "items.jsonl", part / "properties.jsonl"
        old, record = records.read_bytes(), json.loads(records.read_bytes())
        record["properties"]["properties"][0].update(changes)
        records.write_bytes(canonical_json(record) + b"\n")
        bound = sha256_hex(records.read_bytes()).encode()
        lines.write_bytes(lines.read_bytes().replace(sha256_hex(old).encode(), bound))
        assert [each for each in problems(part) if "messages.pst: message 0x200044: 00001-000001: " in each]

    def test_a_record_that_is_another_items(self, tmp_path: Path) -> None:
        part = tmp_path / "part-001"
        write(part, [mapi(rich_item())])
        (part / "properties.jsonl").unlink()
        assert any("its record in properties.jsonl cannot be read" in each for each in problems(part))


class TestSize:
    def test_a_part_takes_items_up_to_its_limit_the_pst_counted(self, tmp_path: Path) -> None:
        limit = 600_000
        writer = PartWriter(tmp_path / "partial", PST, limit)
        item = Fetched("1", "v", b"Subject: x\n\n" + b"word " * 2000)
        count = 0
        while writer.takes(item):
            count += 1
            writer.add(item, Provenance(f"00001-{count:06}", count, "s", "m", sha256_hex(item.content), None, (), None))
        writer.complete()
        assert count > 3
        assert (tmp_path / "partial/messages.pst").stat().st_size <= limit

    def test_a_file_without_room_for_one_more_name_ends_its_part(self, tmp_path: Path) -> None:
        """An id for a named property is there 32,767 times; the item that finds none left goes into the next part."""
        bags = [
            PropertyBag(
                RawProperty(PropertyTag(0x8000 + n, 3), bytes(4), NamedProperty(SET, lid * n)) for n in range(20_000)
            )
            for lid in (3, 5)
        ]
        first, second = (mapi(MapiItem(bag)) for bag in bags)
        ids = Provenance("00001-000001", 1, "s", "m", sha256_hex(first.content), None, (), None)
        writer = PartWriter(tmp_path / "partial", PST, 10**12)
        writer.add(first, ids)
        with pytest.raises(PartFull):
            writer.add(second, ids)
        writer.complete()
        writer.commit(tmp_path / "part-001")
        assert problems(tmp_path / "part-001") == []
        write(tmp_path / "part-002", [second])
        assert part_lines(tmp_path / "part-002")[1]["pst"]["form"] == "mapi"
