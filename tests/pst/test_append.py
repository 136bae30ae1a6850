"""Messages put into real files and own ones in place: they are there, and all else is what it was."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import excise.pst
from excise.core.errors import DamagedInput
from excise.mapi.from_mime import from_mime
from excise.pst import NewMessage, NewProperty, PropertyName
from excise.pst.disk import ids
from excise.pst.ltp.values import PT_BINARY, PT_LONG, PT_UNICODE
from excise.pst.messaging import tags
from excise.pst.messaging.message import Message
from excise.pst_mapi.new_message import new_message
from programs import needs_program
from pst.purged import (
    SAMPLES,
    UNICODE_FILES,
    id_map,
    libpff_items,
    message_index,
    messages,
    messages_of,
    nodes,
    readpst_items,
    rows,
)

RAW = (
    b"From: Ada <ada@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: Appended %d\r\n"
    b"Date: Mon, 3 Nov 2025 10:00:00 +0000\r\nMessage-ID: <a%d@example.org>\r\n\r\nHello\r\n"
)
REPORT = UUID("12345678-1234-5678-1234-567812345678")
NAMES = (PropertyName(REPORT, 0x8123), PropertyName(REPORT, "Excise-Appended"), PropertyName(REPORT, "éß"))

each_file = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem) for path in UNICODE_FILES]
    or [pytest.param(None, marks=pytest.mark.skip(reason="EXCISE_SAMPLES is not set: no real PST files here"))],
)


def mail(number: int, *, unread: bool = False) -> NewMessage:
    message = new_message(from_mime(RAW % (number, number), keep_original=True))
    more = [NewProperty.of(0, PT_UNICODE if i else PT_LONG, "x" if i else 7, name) for i, name in enumerate(NAMES)]
    more.append(NewProperty.of(tags.MESSAGE_FLAGS, PT_LONG, 0 if unread else tags.FLAG_READ))
    more.append(NewProperty.of(tags.CONVERSATION_INDEX, PT_BINARY, bytes(6) + bytes(range(16))))
    own = [each for each in message.properties if each.prop_id not in (tags.MESSAGE_FLAGS, tags.CONVERSATION_INDEX)]
    return NewMessage((*own, *more), message.recipients, message.attachments)


def own_file(path: Path, count: int = 3) -> Path:
    with excise.pst.create(path) as pst:
        for number in range(count):
            pst.folder(("Inbox",)).add(mail(number))
    return path


def appended(source: Path, target: Path) -> dict[int, tuple[str, ...]]:
    """Put messages into a copy of ``source``, into folders that are there and new ones; NIDs and where they are."""
    shutil.copyfile(source, target)
    target.chmod(0o600)
    with excise.pst.open(source) as pst:
        names = [folder.path[1:] for folder in pst.folders() if not folder.is_search and len(folder.path) == 2]
        tops = [folder.path[0] for folder in pst.folders() if folder.path and folder.nid == top_of(pst)]
    new: dict[int, tuple[str, ...]] = {}
    with excise.pst.append(target) as pst:
        for number, path in enumerate([(), ("Brand new",), ("Brand new", "Below it"), *names[:2]]):
            try:
                folder = pst.folder(path)
            except ValueError:
                continue  # a folder of that name outside of the top of the mailbox alone
            new[folder.add(mail(number, unread=True))] = (*tops, *path)
            new[folder.add(mail(number + 100))] = (*tops, *path)
        new[folder.add_associated(mail(7))] = (*tops, *path)
    return new


def top_of(pst: excise.pst.PstFile) -> int:
    assert pst.store.properties is not None
    return int.from_bytes(pst.store.properties.raw(0x35E0)[20:], "little")


def findings(path: Path) -> Counter[Any]:
    """What a check finds, but what it says of subjects that MIME made, and of the size rule of the file."""
    kept = (
        (each.grade, each.damage.structure, each.damage.field, each.damage.place)
        for each in excise.pst.check(path).findings
    )
    return Counter(each for each in kept if each[2] not in ("PidTagSubject", "PidTagMessageSize"))


@each_file
def test_all_is_there_and_all_else_is_what_it_was(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.pst"
    new = appended(path, target)
    with excise.pst.open(target) as pst:
        after = messages(pst)
        names = pst.names
        found = {nid: after.pop(nid)[0] for nid in new}
        assert found == new
        assert after == messages_of(path)
        for nid in new:
            message = pst.message(nid)
            ids_of = [names.id_of(name.guid, name.key) for name in NAMES]
            assert [message.properties.get(each or 0) for each in ids_of] == [7, "x", "x"]
        assert not pst.damage or path.name in {"enron.pst"}
    with excise.pst.open(path) as old, excise.pst.open(target) as pst:
        assert {prop_id: name for prop_id, name in pst.names.by_id.items() if prop_id in old.names.by_id} == (
            old.names.by_id
        )
    assert not findings(target) - findings(path)


@each_file
def test_rows_counts_and_maps_name_the_new_messages(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.pst"
    new = appended(path, target)
    with excise.pst.open(target) as pst:
        for folder in pst.folders():
            mine = [nid for nid, where in new.items() if where == folder.path]
            if folder.is_search or not mine or folder.properties is None:
                continue
            listed = rows(pst, ids.sibling_nid(folder.nid, ids.NID_TYPE_CONTENTS_TABLE))
            assert folder.properties.integer(tags.CONTENT_COUNT) == len(listed)
            unread = sum(not int.from_bytes(row[tags.MESSAGE_FLAGS][:4], "little") & 1 for row in listed.values())
            assert folder.properties.integer(tags.CONTENT_UNREAD_COUNT) == unread
            assert folder.parent is not None
            above = rows(pst, ids.sibling_nid(folder.parent.nid, ids.NID_TYPE_HIERARCHY_TABLE))[folder.nid]
            assert above[tags.CONTENT_COUNT] == len(listed).to_bytes(4, "little")
            assert above[tags.CONTENT_UNREAD_COUNT] == unread.to_bytes(4, "little")
            for nid in mine:
                if ids.nid_type(nid) == ids.NID_TYPE_NORMAL_MESSAGE:
                    row_is_whole(pst, folder, nid)


def row_is_whole(pst: excise.pst.PstFile, folder: Any, nid: int) -> None:
    """The row has a cell with the message's value for each column that the message has a value for."""
    table, message = folder.contents, pst.message(nid)
    row = table.row(nid)
    assert row is not None
    for prop_id, column in table.columns.items():
        if message.properties.type_of(prop_id) == column.tag & 0xFFFF and message.properties.raw(prop_id):
            assert row.raw(prop_id) == message.properties.raw(prop_id), hex(prop_id)


@needs_program("readpst")
@each_file
def test_libpff_and_readpst_show_the_new_messages(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.pst"
    new = appended(path, target)
    normal = {nid for nid in new if ids.nid_type(nid) == ids.NID_TYPE_NORMAL_MESSAGE}
    assert set(libpff_items(target)) == set(libpff_items(path)) | normal
    before, after = readpst_items(path, tmp_path / "old"), readpst_items(target, tmp_path / "new")
    assert not before - after
    assert (after - before).total() == len(new)  # readpst shows associated items too


def test_a_message_goes_into_the_lists_of_conversations_and_ids(tmp_path: Path) -> None:
    path = own_file(tmp_path / "own.pst")
    with excise.pst.append(path) as pst:
        nid = pst.folder(("Inbox",)).add(mail(9))
    with excise.pst.open(path) as pst:
        (nids,) = message_index(pst).values()
        assert nids[-1] == nid
        assert len(nids) == 4
        assert id_map(pst) == {}


@pytest.mark.skipif(not UNICODE_FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")
def test_a_file_that_has_given_ids_gives_them_on(tmp_path: Path) -> None:
    source, target = SAMPLES / "dist-list.pst", tmp_path / "target.pst"
    new = appended(source, target)
    with excise.pst.open(source) as old, excise.pst.open(target) as pst:
        before, after = id_map(old), id_map(pst)
        assert before.items() < after.items()
        named = {nid for key, nid in after.items() if key not in before}
        folders = {each.nid for each in pst.folders() if "Brand new" in each.path}
        assert named == folders | {nid for nid in new if 0x0E30 in row_of(pst, nid)}
        assert folders <= named
        keys = {nid: key for key, nid in after.items()}
        for folder in folders:
            parent = next(each for each in pst.folders() if each.nid == folder).parent
            assert parent is not None
            assert rows(pst, ids.sibling_nid(parent.nid, 0x0D))[folder][0x0E30] == keys[folder]


def row_of(pst: excise.pst.PstFile, nid: int) -> dict[int, bytes]:
    entry = pst.ndb.nodes.find(nid)
    assert entry is not None
    kind = 0x0F if ids.nid_type(nid) == ids.NID_TYPE_ASSOC_MESSAGE else 0x0E
    return rows(pst, ids.sibling_nid(entry.nidParent, kind))[nid]


def test_an_error_inside_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = own_file(tmp_path / "own.pst")
    with excise.pst.open(path) as old:
        before = nodes(old)
    with pytest.raises(KeyError), excise.pst.append(path) as pst:
        pst.folder(("Inbox",)).add(mail(1))
        pst.folder(("New",)).add(mail(1))
        raise KeyError
    with excise.pst.open(path) as again:
        assert nodes(again) == before
    assert excise.pst.check(path).clean
    assert [each.name for each in tmp_path.iterdir()] == ["own.pst"]
    data = path.read_bytes()
    with excise.pst.append(path) as pst:
        pst.folder(("Inbox",))
    assert path.read_bytes() == data


def test_a_message_that_cannot_be_stored_is_not_there_and_others_are(tmp_path: Path) -> None:
    path = own_file(tmp_path / "own.pst")
    twice = NewMessage([NewProperty.of(tags.SUBJECT, PT_UNICODE, "x")] * 2)
    with excise.pst.append(path) as pst:
        inbox = pst.folder(("Inbox",))
        with pytest.raises(ValueError, match="twice"):
            inbox.add(twice)
        inbox.add(mail(1))
    with excise.pst.open(path) as pst:
        assert sum(1 for folder in pst.folders() for _ in folder.messages()) == 4
    assert not excise.pst.check(path).damaged


@pytest.mark.parametrize("path", [("INBOX",), ("",), ("a\0b",), ("x" * 256,)])
def test_names_that_outlook_cannot_tell_or_have_are_refused(path: tuple[str, ...], tmp_path: Path) -> None:
    file = own_file(tmp_path / "own.pst")
    with excise.pst.append(file) as pst, pytest.raises(ValueError, match="folder"):
        pst.folder(path)


@pytest.mark.skipif(not UNICODE_FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")
def test_a_file_of_the_old_format_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "old.pst"
    shutil.copyfile(SAMPLES / "test_ansi.pst", target)
    with pytest.raises(DamagedInput, match="cannot be changed in place"), excise.pst.append(target):
        pass
    assert target.read_bytes() == (SAMPLES / "test_ansi.pst").read_bytes()


def test_a_message_of_another_file_stays_what_it_is(tmp_path: Path) -> None:
    source, target = own_file(tmp_path / "source.pst"), own_file(tmp_path / "target.pst", 1)
    with excise.pst.open(source) as old, excise.pst.append(target) as pst:
        (nid,) = [each.nid for folder in old.folders() for each in folder.messages()][:1]
        new = pst.folder(("Inbox", "Copies"), container_class="IPF.Note").add(
            NewMessage.of(old.message(nid), old.names)
        )
    with excise.pst.open(source) as old, excise.pst.open(target) as pst:
        message = pst.message(new)
        assert isinstance(message, Message)
        theirs = old.message(nid)
        assert list(message.properties.items()) == list(theirs.properties.items())
        assert [cells(each) for each in message.recipients] == [cells(each) for each in theirs.recipients]


def cells(recipient: Any) -> list[Any]:
    return [each for each in recipient.properties.items() if each[0] != 0x67F3]


def test_many_messages_in_a_few_calls(tmp_path: Path) -> None:
    path = own_file(tmp_path / "own.pst", 0)
    for call in range(5):
        with excise.pst.append(path) as pst:
            for number in range(200):
                pst.folder((f"Folder {number % 3}",)).add(mail(call * 200 + number))
    with excise.pst.open(path) as pst:
        subjects = Counter(each.subject for folder in pst.folders() for each in folder.summaries(("subject",)))
    assert subjects == Counter(f"Appended {number}" for number in range(1000))
    assert not excise.pst.check(path).damaged
