"""Every real file against libpff: folders, messages, subjects, recipients, attachments and their hashes."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

import excise.pst
from excise.core.errors import DamagedInput, SourceUnavailable
from excise.pst.messaging import tags
from excise.pst.messaging.folder import CUT, FailedItem
from excise.pst.messaging.message import Message

pypff = pytest.importorskip("pypff")

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(SAMPLES.glob("*.pst"))
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")

# name: folders, messages, attachments, embedded messages, as the samples' README counts them.
COUNTS = {
    "sample1.pst": (7, 1, 1, 0),
    "sample2.pst": (7, 1, 1, 0),
    "submessage.pst": (6, 1, 1, 1),
    "test_ansi.pst": (6, 1, 0, 0),
    "test_unicode.pst": (6, 2, 0, 0),
    "Empty.pst": (6, 0, 0, 0),
    "dist-list.pst": (24, 4, 2, 2),
    "passworded.pst": (24, 3, 0, 0),
    "testPST.pst": (7, 7, 1, 1),
    "testPST_variousBodyTypes.pst": (7, 4, 0, 0),
    "200_recipients.pst": (5, 1, 0, 0),
    "attachAndInline.pst": (5, 1, 2, 0),
    "msgInMsg.pst": (5, 1, 2, 1),
    "contacts.pst": (8, 1, 0, 0),
    "contacts97-2002.pst": (8, 1, 0, 0),
    "alpha-beta-gamma-delta.pst": (5, 1, 2, 1),
    "outlook2019.pst": (7, 2, 0, 0),
    "enron.pst": (11, 71, 70, 0),
}
# What is wrong in the files themselves: a search table that is not there.
KNOWN_DAMAGE = {"enron.pst": {"none"}}


def each_sample(test):
    return real(pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)(test))


def opened(folder) -> list[Message]:
    items = list(folder.messages())
    assert not [item for item in items if isinstance(item, FailedItem)]
    return items


@real
@pytest.mark.parametrize("name", ["dist-list.pst", "passworded.pst"])
def test_a_search_of_outlook_2003_tells_what_it_found(name: str) -> None:
    with excise.pst.open(SAMPLES / name) as pst:
        (search,) = [folder for folder in pst.folders() if folder.display_name == "All Messages"]
        assert search.found_nids == [0x200024, 0x200044, 0x200064]
        assert [each.nid for each in search.summaries()] == search.found_nids
        assert all(each.subject is None and each.doubts["subject"] for each in search.summaries(["subject"]))
        assert not search.log.entries and not pst.damage


@each_sample
def test_counts_and_no_damage_but_what_is_known(path: Path) -> None:
    with excise.pst.open(path) as pst:
        folders = list(pst.folders())
        messages = [message for folder in folders for message in opened(folder)]
        attachments = [attachment for message in messages for attachment in message.attachments]
        embedded = [attachment for attachment in attachments if attachment.embedded is not None]
        assert (len(folders), len(messages), len(attachments), len(embedded)) == COUNTS[path.name]
        assert not [damage for message in messages for damage in message.read_all()]
        for folder in folders:
            assert folder.counts.seen == folder.counts.read + folder.counts.failed == len(folder.message_nids)
            for item in folder.associated():
                assert isinstance(item, Message)
                assert not item.read_all()
        assert not list(pst.store.orphaned_items())
        assert not pst.store.orphans
        for damage in pst.damage:
            assert any(known in damage.found for known in KNOWN_DAMAGE.get(path.name, ())), damage.text()


def pff_folders(folder, path=()):
    for i in range(folder.number_of_sub_folders):
        child = folder.get_sub_folder(i)
        # libpff gives the identifier as the NID without its five bits of type where it has none of its own.
        yield (*path, child.name or ""), child
        yield from pff_folders(child, (*path, child.name or ""))


def pff_attachment(attachment) -> tuple[int, str]:
    data = attachment.read_buffer(attachment.get_size()) if attachment.get_size() else b""
    return len(data), hashlib.sha256(data).hexdigest()


def pff_message(message) -> tuple[object, ...]:
    # libpff has no call for embedded messages: their attachments are compared by count alone.
    found = []
    for i in range(message.number_of_attachments):
        try:
            found.append(pff_attachment(message.get_attachment(i)))
        except OSError:
            found.append(None)
    return (message.identifier, message.subject, message.sender_name, message.delivery_time, message.client_submit_time,
            message.transport_headers, len(found), found)  # fmt: skip


@each_sample
def test_folders_and_messages_are_those_of_libpff(path: Path) -> None:
    theirs = pypff.file()
    # An ANSI file of a Japanese Outlook, which libpff cannot know: it takes one code page for all files.
    codec = "cp932" if path.name == "contacts97-2002.pst" else "cp1252"
    theirs.set_ascii_codepage(codec)
    theirs.open(str(path))
    try:
        expected = dict(pff_folders(theirs.get_root_folder()))
        with excise.pst.open(path, codec=codec) as pst:
            ours = {folder.path: folder for folder in pst.folders() if folder.path}
            assert set(expected) == set(ours)
            for place, folder in expected.items():
                compare_messages(folder, ours[place])
    finally:
        theirs.close()


def compare_messages(theirs, ours) -> None:
    items = [theirs.get_sub_message(i) for i in range(theirs.number_of_sub_messages)]
    found = {message.nid: message for message in opened(ours)}
    assert {item.identifier for item in items} == set(found)
    # libpff knows some classes (free/busy data) as items without the calls of a message.
    expected = {item.identifier: pff_message(item) for item in items if isinstance(item, pypff.message)}
    for nid, message in found.items():
        if nid not in expected:
            continue
        _, subject, sender, delivered, submitted, headers, count, attachments = expected[nid]
        assert (message.subject or None) == (subject or None)
        assert message.properties.text(tags.SENDER_NAME) == sender
        assert (message.transport_headers or "").rstrip("\r\n\0") == (headers or "").rstrip("\r\n\0")
        for mine, other in ((message.delivery_time, delivered), (message.submit_time, submitted)):
            # libpff's times have no zone, and whole microseconds as ours.
            assert (mine and mine.replace(tzinfo=None)) == other
        assert len(message.attachments) == count
        for mine, other in zip(message.attachments, attachments, strict=True):
            if mine.embedded is None and other is not None:
                data = mine.read()
                assert (len(data), hashlib.sha256(data).hexdigest()) == other


def recipients_of_libpff(message) -> list[dict[int, str]]:
    found = []
    table = message.recipients
    for record_set in table.record_sets if table is not None else ():
        row = {}
        for entry in record_set.entries:
            if entry.value_type in (0x1E, 0x1F) and entry.data is not None:
                row[entry.entry_type] = entry.data_as_string
        found.append(row)
    return found


@each_sample
def test_recipients_are_those_of_libpff(path: Path) -> None:
    theirs = pypff.file()
    theirs.open(str(path))
    if not hasattr(pypff.message, "recipients"):
        pytest.skip("this pypff does not give recipients")
    with excise.pst.open(path) as pst:
        for _, folder in pff_folders(theirs.get_root_folder()):
            for i in range(folder.number_of_sub_messages):
                other = folder.get_sub_message(i)
                if not isinstance(other, pypff.message):
                    continue
                mine = pst.message(other.identifier)
                rows = recipients_of_libpff(other)
                assert len(mine.recipients) == len(rows)
                for recipient, row in zip(mine.recipients, rows, strict=True):
                    for tag in (tags.DISPLAY_NAME, tags.EMAIL_ADDRESS, tags.SMTP_ADDRESS):
                        assert (recipient.properties.text(tag) or "") == (row.get(tag) or "").rstrip("\0")
    theirs.close()


@each_sample
def test_summaries_say_what_the_messages_say_or_are_in_doubt(path: Path) -> None:
    """S07: what a summary does not mark as doubtful equals what the opened message has."""
    with excise.pst.open(path) as pst:
        for folder in pst.folders():
            summaries = {each.nid: each for each in folder.summaries()}
            if not folder.is_search:
                assert sorted(summaries) == folder.message_nids
            for nid, summary in summaries.items():
                message = pst.message(nid)
                actual = {
                    "subject": message.subject,
                    "delivery_time": message.delivery_time,
                    "submit_time": message.submit_time,
                    "flags": message.flags,
                    "size": message.properties.integer(tags.MESSAGE_SIZE),
                    "message_class": message.message_class,
                    "sender": message.properties.text(tags.SENT_REPRESENTING_NAME),
                    "display_to": message.properties.text(tags.DISPLAY_TO),
                }
                for name, value in actual.items():
                    assert name in summary.doubts or getattr(summary, name) == value, (nid, name)


@real
def test_a_cut_cell_is_in_doubt() -> None:
    with excise.pst.open(SAMPLES / "200_recipients.pst") as pst:
        doubts = [row.doubts for folder in pst.folders() for row in folder.summaries(["display_to", "subject"])]
    assert doubts == [{"display_to": CUT}]


@real
def test_an_embedded_message_is_read_with_its_own_attachments() -> None:
    with excise.pst.open(SAMPLES / "submessage.pst") as pst:
        (outer,) = [message for folder in pst.folders() for message in opened(folder)]
        (attachment,) = outer.attachments
        assert attachment.embedded is not None
        assert attachment.embedded.depth == 1
        assert attachment.embedded.subject
        assert attachment.size == 0
        assert list(attachment.chunks()) == []


@real
def test_named_properties_both_ways() -> None:
    with excise.pst.open(SAMPLES / "Empty.pst") as pst:
        assert len(pst.names) == 35
        for prop_id, name in pst.names.by_id.items():
            assert pst.names.id_of(name.guid, name.key) == prop_id
        assert {"DRMLicense", "IsMentioned"} <= {name.key for name in pst.names.by_id.values()}


@real
def test_a_password_does_not_matter_and_is_told() -> None:
    with excise.pst.open(SAMPLES / "test_unicode.pst") as pst:
        assert pst.has_password
    with excise.pst.open(SAMPLES / "sample1.pst") as pst:
        assert not pst.has_password


@real
def test_a_file_object_reads_like_a_path_and_stays_open() -> None:
    stream = io.BytesIO((SAMPLES / "testPST.pst").read_bytes())
    with excise.pst.open(stream) as pst, excise.pst.open(SAMPLES / "testPST.pst") as other:
        mine, theirs = (
            [row.subject for folder in each.folders() for row in folder.summaries()] for each in (pst, other)
        )
        assert mine == theirs
        assert len(mine) == 7
    assert not stream.closed


def test_what_is_no_pst_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"!BDN", b"From x\n" * 200, b"!BDN" + bytes(5000)):
        with pytest.raises(DamagedInput, match="header|begins" if data else r"it is empty \(0 bytes\)"):
            excise.pst.open(io.BytesIO(data))
    with pytest.raises(SourceUnavailable):
        excise.pst.open(tmp_path / "missing.pst")
    with pytest.raises(SourceUnavailable):
        excise.pst.open(tmp_path)


@real
def test_an_item_that_does_not_name_its_code_page_is_decoded_by_its_locale_or_internet_form() -> None:
    with excise.pst.open(SAMPLES / "contacts97-2002.pst") as pst:
        (contact,) = [message for folder in pst.folders() for message in opened(folder)]
        assert contact.properties.codec == "cp932"
        assert contact.subject == "コム ドット イグザンプル 殿"
