"""PST files as a source to search and to copy from."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from excise.core.digests import sha256_hex
from excise.core.errors import DamagedInput, ExciseError, SourceUnavailable
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import (
    NamedProperty,
    PidTagClientSubmitTime,
    PidTagMessageFlags,
    PidTagSubject,
    PropertyTag,
    PSETID_Common,
)
from excise.model.item import Deposit, Disposal, Target, Whereabouts
from excise.store_api.conformance.base import matcher
from excise.store_api.errors import ItemNotFound, MailboxChanged, Unsupported
from excise.store_api.protocols import Candidate, NotSearched, Tally
from excise.stores.pst import INCOMPLETE, STORE, PstMailbox
from excise.stores.pst_file import parse_names
from excise.stores.pst_record import record_of_item, version_of_item
from excise.stores.pst_version import bears_original
from project.checkout import excise
from stores.pst_libpff import versions
from stores.pst_samples import DIRECTORY, FILES, every_sample, fetched, needs_samples, opened, scan

#: The counts of the samples' own README: messages (libpff's, without associated items), attachments, embedded messages.
COUNTS = {
    "sample1": (1, 1, 0),
    "sample2": (1, 1, 0),
    "submessage": (1, 1, 1),
    "test_ansi": (1, 0, 0),
    "test_unicode": (2, 0, 0),
    "Empty": (0, 0, 0),
    "dist-list": (4, 2, 2),
    "passworded": (3, 0, 0),
    "testPST": (7, 1, 1),
    "testPST_variousBodyTypes": (4, 0, 0),
    "200_recipients": (1, 0, 0),
    "attachAndInline": (1, 2, 0),
    "msgInMsg": (1, 2, 1),
    "contacts": (1, 0, 0),
    "contacts97-2002": (1, 0, 0),
    "alpha-beta-gamma-delta": (1, 2, 1),
    "outlook2019": (2, 0, 0),
    "enron": (71, 70, 0),
}


def _sample(name: str) -> Path:
    return DIRECTORY / f"{name}.pst"


def _parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@needs_samples
@every_sample
def test_s07_every_item_is_found_and_counted(path: Path) -> None:
    with opened(path) as mailbox:
        candidates, unreadable, tally = scan(mailbox)
        items = [mailbox.fetch(candidate.id) for candidate in candidates]
    assert unreadable == []
    assert tally.seen == len(candidates)
    assert tally.bytes > 0 or not candidates
    attachments = [one for item in items for one in (item.properties or {})["attachments"]]
    embedded = [one for one in attachments if "embedded" in one]
    assert not [note for item in items for note in item.notes if note.startswith(INCOMPLETE)]
    messages = [candidate for candidate in candidates if not candidate.doubt]
    assert (len(messages), len(attachments), len(embedded)) == COUNTS[path.stem]


@needs_samples
@every_sample
def test_s13_the_record_holds_every_property_with_its_raw_value(path: Path) -> None:
    """Read with pypff alone: the same tags, and for each the value or the raw bytes that the record gives back."""
    import pypff

    from excise.mapi.properties import encode_value

    raw: dict[str, dict[int, bytes]] = {}
    handle = pypff.file()
    handle.open(str(path))

    def walk(node: object) -> None:
        for position in range(node.number_of_sub_items):  # type: ignore[attr-defined]
            child = node.get_sub_item(position)  # type: ignore[attr-defined]
            if child.identifier & 31 in (4, 8):
                records = child.get_record_set(0)
                rows = (records.get_entry(n) for n in range(records.number_of_entries))
                raw[f"{child.identifier:#x}"] = {e.entry_type << 16 | e.value_type: e.data or b"" for e in rows}
            walk(child)

    walk(handle.get_root_folder())
    items = fetched(path)
    assert {item.id for item in items} == raw.keys()
    for item in items:
        record = json.loads(json.dumps(item.properties))["properties"]
        assert {int(entry["tag"], 16) for entry in record} == raw[item.id].keys()
        for entry in record:
            tag, value = int(entry["tag"], 16), entry.get("value")
            expected = raw[item.id][tag]
            if "base64" in entry:
                assert base64.b64decode(entry["base64"]) == expected
            elif isinstance(value, str) and tag & 0xFFFF == 0x1F:
                assert encode_value(0x1F, value) == expected
            else:
                assert value is not None


@needs_samples
@every_sample
def test_s13_attachments_in_the_mime_are_those_of_the_record(path: Path) -> None:
    for item in fetched(path):
        held = [sha256_hex(part.get_payload(decode=True) or b"") for part in _parsed(item.content).walk()]
        attachments = _attachments(item.properties or {})
        for attachment in attachments:
            assert len({"sha256", "embedded", "reason"} & attachment.keys()) == 1
            assert attachment.get("sha256") in (None, *held)
        assert sum("embedded" in one for one in attachments) == sum(
            part.get_content_type() == "message/rfc822" for part in _parsed(item.content).walk()
        )


def _attachments(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The attachments in the record of an item and of the messages in it."""
    own: list[dict[str, Any]] = record["attachments"]
    return own + [inner for one in own if "embedded" in one for inner in _attachments(one["embedded"])]


#: Subjects of the messages in an item, outermost first, and the names of the files in them.
EMBEDDED = {
    "submessage": (["This is an embedded message"], []),
    "msgInMsg": (["Microsoft Outlook テスト メッセージ"], []),
    "alpha-beta-gamma-delta": (["Beta", "Gamma", "Delta"], ["beta.png", "gamma.png", "delta.png"]),
    "testPST": (["First email"], ["attachment.docx"]),
}


def _holder(mailbox: PstMailbox) -> Candidate:
    """The one item of ``mailbox`` that holds a message."""
    (found,) = [one for one in scan(mailbox)[0] if any("embedded" in a for a in _record(mailbox, one)["attachments"])]
    return found


def _record(mailbox: PstMailbox, candidate: Candidate) -> dict[str, Any]:
    return mailbox.fetch(candidate.id).properties or {}


@needs_samples
@pytest.mark.parametrize("name", EMBEDDED)
def test_s13_embedded_messages_are_in_the_copy_to_any_depth(name: str) -> None:
    subjects, files = EMBEDDED[name]
    with opened(_sample(name)) as mailbox:
        item = mailbox.fetch(_holder(mailbox).id)
    parts = [part for part in _parsed(item.content).walk() if part.get_content_type() == "message/rfc822"]
    assert [part.get_content()["Subject"] for part in parts] == subjects
    inside = [part.get_filename() for one in parts[:1] for part in one.walk() if not part.is_multipart()]
    assert sorted(filter(None, inside)) == sorted(files)


@needs_samples
@pytest.mark.parametrize("name", EMBEDDED)
def test_s10_names_and_digests_inside_embedded_messages_are_found(name: str) -> None:
    subjects, files = EMBEDDED[name]
    with opened(_sample(name)) as mailbox:
        candidate = _holder(mailbox)
        view, record = candidate.view, _record(mailbox, candidate)
        assert view.untestable("attachment") == view.untestable("attachment-sha256") == ()
        for wanted in (*subjects, *files):
            assert matcher(attachment=[wanted]).test(view).matched, wanted
        for digest in (one["sha256"] for one in _attachments(record) if "sha256" in one):
            assert matcher(attachment_sha256=[digest]).test(view).matched
        missed = matcher(attachment=["invoice.exe"]).test(view)
        assert not missed.matched
        assert not missed.untestable


@needs_samples
@pytest.mark.parametrize(
    ("name", "wanted"), [("submessage", "This is an embedded message"), ("alpha-beta-gamma-delta", "delta.png")]
)
def test_s10_an_item_is_copied_whole_for_what_an_embedded_message_in_it_holds(
    tmp_path: Path, name: str, wanted: str
) -> None:
    shutil.copy(_sample(name), tmp_path / "mail.pst")
    run = excise(
        *("copy", "mail.pst", "--attachment", wanted, "--evidence", "mbox"),
        *("--expect-mailboxes", "1", "--reason", "Test", "--case", "case"),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stdout
    assert "incomplete" not in run.stdout
    (outcome,) = csv.DictReader((tmp_path / "case" / "outcome.csv").read_text(encoding="utf-8").splitlines())
    assert (outcome["outcome"], outcome["detail"]) == ("copied", "")
    assert excise("verify", "case", cwd=tmp_path).returncode == 0


@needs_samples
def test_s07_a_folder_that_the_criteria_leave_out_is_counted_all_the_same() -> None:
    with opened(_sample("enron")) as mailbox:
        tally = Tally()
        wanted = matcher(larger="1", folder=["lokay-m/MLOKAY (Non-Privileged)/TW-Commercial Group"])
        found = list(mailbox.find(wanted, tally))
        assert (tally.seen, len(found)) == (71, 14)


@needs_samples
def test_folders_have_the_paths_that_outlook_shows() -> None:
    with opened(_sample("testPST_variousBodyTypes")) as mailbox:
        counts = {folder.path: folder.count for folder in mailbox.folders()}
    assert counts["Inbox/tmp"] == 4
    assert counts["Inbox"] == 0
    assert counts["(root)/Search Root"] == 0
    with opened(_sample("testPST")) as mailbox:
        assert {folder.path: folder.count for folder in mailbox.folders()}[""] == 7


@needs_samples
def test_the_folder_names_of_an_ansi_file_are_read_in_its_code_page() -> None:
    with opened(_sample("contacts97-2002")) as mailbox:
        paths = {folder.path for folder in mailbox.folders()}
    assert {"連絡先 (Contact dedicated)", "削除済みアイテム"} <= paths


@needs_samples
def test_flags_and_dates_are_those_of_the_item() -> None:
    (item,) = fetched(_sample("sample1"))
    assert item.flags == {"seen", "flagged", "Green Category", "Blue Category"}
    assert item.delivered is not None
    assert item.delivered.isoformat() == "2010-03-15T17:12:07.951519+00:00"
    forwarded = [one for one in fetched(_sample("testPST_variousBodyTypes")) if "forwarded" in one.flags]
    assert [one.id for one in forwarded] == ["0x200024"]


@needs_samples
def test_headers_are_told_original_from_synthesised() -> None:
    (item,) = fetched(_sample("sample1"))
    assert item.headers is not None
    origins = {name.lower(): origin for name, origin in item.headers}
    assert origins["received"] == "original"
    assert origins["content-type"] == "synthesised"
    assert [name for name, _ in item.headers] == list(_parsed(item.content).keys())


@needs_samples
def test_s10_named_properties_have_their_names() -> None:
    (item,) = fetched(_sample("sample1"))
    names = {entry.get("name") for entry in (item.properties or {})["properties"]}
    assert "{00020329-0000-0000-c000-000000000046}/Keywords" in names


@needs_samples
def test_a_password_mark_and_the_ansi_format_are_read_and_noted() -> None:
    (info,) = STORE.mailboxes(f"pst:{_sample('test_ansi')}")
    assert not isinstance(info, NotSearched)
    assert info.details["version"] == "ANSI"
    assert "does not encrypt" in info.details["password mark"]
    assert info.size == _sample("test_ansi").stat().st_size


@needs_samples
def test_s30_the_identity_is_the_record_key_and_the_inode(tmp_path: Path) -> None:
    copy = tmp_path / "a.pst"
    shutil.copy(_sample("sample1"), copy)
    with opened(copy) as mailbox:
        before = mailbox.info.identity
        assert before.startswith("key:6a552b813c43f94384f18b7da2393e95,dev:")
        shutil.copy(_sample("sample1"), tmp_path / "b.pst")
        (tmp_path / "b.pst").replace(copy)
        assert mailbox.info.identity != before


@needs_samples
@pytest.mark.parametrize("change", ["append", "replace", "touch"])
def test_s30_a_file_that_changes_while_it_is_read_is_said(tmp_path: Path, change: str) -> None:
    copy = tmp_path / "a.pst"
    shutil.copy(_sample("enron"), copy)
    with opened(copy) as mailbox:
        found = mailbox.find(matcher(subject_contains=["bullets"]), Tally())
        first = next(found)
        if change == "append":
            with copy.open("ab") as stream:
                stream.write(b"x")
        elif change == "replace":
            shutil.copy(_sample("enron"), tmp_path / "b.pst")
            (tmp_path / "b.pst").replace(copy)
        else:
            os.utime(copy, (1, 1))
        with pytest.raises(MailboxChanged, match="changed while it was read"):
            list(found)
        with pytest.raises(MailboxChanged):
            mailbox.fetch(str(getattr(first, "id", "")))


@needs_samples
def test_a_mailbox_opened_for_reading_refuses_every_change(tmp_path: Path) -> None:
    # Whatever becomes of a refusal, it is a copy that is at stake.
    path = tmp_path / "copy.pst"
    path.write_bytes(_sample("sample1").read_bytes())
    before = path.read_bytes()
    with opened(path) as mailbox:
        with pytest.raises(Unsupported, match="for reading only"):
            list(mailbox.remove([Target("0x200024", "0")], Disposal.HARD))
        with pytest.raises(Unsupported, match="for reading only"):
            mailbox.put([Deposit(b"")])
    assert path.read_bytes() == before


@needs_samples
def test_a_pst_has_no_place_for_removed_items(tmp_path: Path) -> None:
    shutil.copyfile(_sample("sample1"), tmp_path / "copy.pst")
    mailbox = STORE.open(f"pst:{tmp_path / 'copy.pst'}", writable=True)
    try:
        with pytest.raises(Unsupported, match="no trash removal"):
            list(mailbox.remove([Target("0x200024", "0")], Disposal.TRASH))
    finally:
        mailbox.close()
    assert STORE.capabilities.default_disposal is Disposal.HARD


@needs_samples
def test_count_and_look_agree_with_fetch() -> None:
    with opened(_sample("test_unicode")) as mailbox:
        items = [mailbox.fetch(candidate.id) for candidate in scan(mailbox)[0]]
        assert mailbox.count({item.version for item in items}) == {(i.folder, i.version): 1 for i in items}
        places = mailbox.look([Target("0x200024", items[0].version), Target("0x999", "0")])
        assert places["0x999"] is Whereabouts.ABSENT
        assert set(places) == {"0x200024", "0x999"}


@needs_samples
def test_an_id_that_names_nothing_is_not_found() -> None:
    with opened(_sample("sample1")) as mailbox:
        for item_id in ("0x200025", "2097188", "0X200024", "", "0x122", "\x1b[2J"):
            with pytest.raises(ItemNotFound) as caught:
                mailbox.fetch(item_id)
            assert "\x1b" not in caught.value.text()


def test_what_is_no_pst_file_is_one_clear_error(tmp_path: Path) -> None:
    text = tmp_path / "mail.pst"
    text.write_bytes(b"From nobody\n\nHello\n")
    with pytest.raises(DamagedInput, match="expected a PST file"):
        STORE.open(f"pst:{text}")
    text.write_bytes(b"!BDN" + bytes(600))
    with pytest.raises(DamagedInput, match="cannot be opened"):
        STORE.open(f"pst:{text}")
    os.mkfifo(tmp_path / "fifo.pst")
    for locator in (f"pst:{tmp_path}/none.pst", f"pst:{tmp_path}", f"pst:{tmp_path}/fifo.pst", "pst:a\0b", "pst:"):
        with pytest.raises(ExciseError):
            STORE.open(locator)
        (listed,) = STORE.mailboxes(locator)
        assert isinstance(listed, NotSearched)
        assert listed.exit_code == SourceUnavailable.exit_code


def test_s03_claims_only_by_content() -> None:
    assert STORE.claims(Path("letter.txt"), b"!BDN\0\0\0\0SM")
    assert not STORE.claims(Path("mail.pst"), b"From nobody")
    assert not STORE.claims(Path("mail.pst"), b"")


def _item(**changes: object) -> MapiItem:
    values = {PidTagSubject: "Hello", PidTagMessageFlags: 1, PidTagClientSubmitTime: None}
    named = {(NamedProperty(PSETID_Common, lid=0x8530), 0x1F): changes.get("request", "Follow up")}
    extra = changes.get("properties", {})
    assert isinstance(extra, dict)
    content = changes.get("content", b"data")
    assert isinstance(content, bytes)
    bag = PropertyBag.of({**values, **extra}, named)  # type: ignore[arg-type]
    return MapiItem(bag, (), (MapiAttachment(PropertyBag(), data=content),))


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {PidTagMessageFlags: 0x11}},
        {"properties": {PropertyTag(0x1090, 3): 2, PropertyTag(0x1081, 3): 102}},
        {"properties": {PropertyTag(0x65E2, 0x102): b"changed"}},
        {"request": "Call"},
    ],
)
def test_s06_the_version_ignores_flags_and_read_state(changes: dict[str, object]) -> None:
    assert version_of_item(_item(**changes)) == version_of_item(_item())


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {PidTagSubject: "Hello!"}},
        {"properties": {PropertyTag(0x1000, 0x1F): "A body"}},
        {"content": b"other"},
    ],
)
def test_s06_the_version_changes_with_the_content(changes: dict[str, object]) -> None:
    assert version_of_item(_item(**changes)) != version_of_item(_item())


def test_the_record_gives_back_what_json_cannot_hold() -> None:
    ticks = (12345678901234567).to_bytes(8, "little")
    bag = PropertyBag.from_raw(
        [(0x00390040, ticks), (0x0037001F, b"\x00\xd8"), (0x10050005, b"\xff" * 8), (0x00170003, b"\1\0\0\0")]
    )
    entries = {entry["tag"]: entry for entry in record_of_item(MapiItem(bag))["properties"]}
    assert base64.b64decode(entries["0x00390040"]["base64"]) == ticks
    assert entries["0x00390040"]["value"].endswith("Z")
    assert base64.b64decode(entries["0x0037001F"]["base64"]) == b"\x00\xd8"
    assert base64.b64decode(entries["0x10050005"]["base64"]) == b"\xff" * 8
    assert entries["0x00170003"] == {"tag": "0x00170003", "value": 1}
    json.dumps(entries, allow_nan=False)


@needs_samples
@every_sample
def test_s06_versions_are_those_of_the_first_release_which_read_with_libpff(path: Path) -> None:
    with opened(path) as mailbox:
        candidates, _, _ = scan(mailbox)
        found = {candidate.id: candidate.version for candidate in candidates}
        # What they lacked follows behind a tag: a digest of the messages in an item.
        assert {each: version.partition("+")[0] for each, version in found.items()} == versions(path)
        for each, version in found.items():
            fetched = mailbox.fetch(each)
            assert fetched.item is not None
            holds = any(one.embedded is not None for one in fetched.item.attachments)
            assert ("+embedded:" in version) == (holds and not bears_original(fetched.item))
            assert fetched.is_version(version) and fetched.is_version(version.partition("+")[0])
            assert not fetched.is_version(version + "0") and not fetched.is_version(version[1:])


def test_names_that_point_nowhere_are_left_out() -> None:
    def entry(number: int, kind: int, index: int) -> bytes:
        return number.to_bytes(4, "little") + kind.to_bytes(2, "little") + index.to_bytes(2, "little")

    guid = PSETID_Common.bytes_le
    strings = (8).to_bytes(4, "little") + "Name".encode("utf-16-le")
    entries = (
        entry(0, 3 << 1 | 1, 0) + entry(0x8530, 3 << 1, 1) + entry(0, 9 << 1, 2) + entry(999, 3 << 1 | 1, 3) + b"abc"
    )
    assert parse_names(guid, entries, strings) == {
        0x8000: NamedProperty(PSETID_Common, name="Name"),
        0x8001: NamedProperty(PSETID_Common, lid=0x8530),
    }


def test_the_samples_are_all_listed_here() -> None:
    assert {path.stem for path in FILES} <= COUNTS.keys()
