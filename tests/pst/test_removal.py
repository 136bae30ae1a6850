"""Real files without one message, by a copy and in place: nothing of it is left, and all else is what it was."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from excise.core.errors import DamagedInput
from excise.pst.disk import ids
from excise.pst.messaging import tags
from excise.pst.messaging.removal import plan_removal
from excise.pst.ndb.edit import edit_nodes
from programs import needs_program
from pst.editing import Edited, put
from pst.purged import (
    OTHER_NIDS,
    SAMPLES,
    UNICODE_FILES,
    findings,
    findings_of,
    found_in,
    id_map,
    is_context,
    is_table,
    is_wide,
    libpff_items,
    markers,
    message_index,
    messages,
    messages_of,
    multiplied,
    nodes,
    nodes_of,
    pffexport_marks,
    readpst_items,
    rows,
)
from pst.wide import wide_rows

Remove = Callable[..., Path]

real = pytest.mark.skipif(not UNICODE_FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")
COUNTS = {tags.CONTENT_COUNT, tags.CONTENT_UNREAD_COUNT, tags.HIDDEN_COUNT, tags.HIDDEN_UNREAD}
ROW_VERSION = 0x67F3


def every_message() -> list[Any]:
    found = []
    for path in UNICODE_FILES:
        # Messages of few folders, all alike.
        nids = sorted(messages_of(path))[:: 12 if path.name == "enron.pst" else 1]
        found += [pytest.param(path, nid, id=f"{path.stem}-{nid:x}") for nid in nids]
    return found or [pytest.param(None, 0, marks=real)]


each_message = pytest.mark.parametrize(("path", "nid"), every_message())


def compacted(path: Path, target: Path, *nids: int) -> Path:
    with target.open("w+b") as stream:
        assert excise.pst.compact(path, stream, without=set(nids)).removed == len(nids)
    return target


def purged(path: Path, target: Path, *nids: int) -> Path:
    shutil.copyfile(path, target)
    target.chmod(0o600)
    assert excise.pst.purge(target, nids).removed == len(nids)
    return target


@pytest.fixture(params=[compacted, purged], ids=["compact", "purge"])
def remove(request: pytest.FixtureRequest) -> Remove:
    way: Remove = request.param
    return way


@real
@pytest.mark.parametrize("path", UNICODE_FILES, ids=lambda each: each.name)
def test_a_compact_copy_has_the_same_nodes_and_the_marks_of_the_header(path: Path, tmp_path: Path) -> None:
    target = compacted(path, tmp_path / "copy.pst")
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        assert nodes(new) == nodes_of(path)
        assert new.header.bCryptMethod == old.header.bCryptMethod
        assert new.header.dwUnique >= old.header.dwUnique
        assert all(mine >= theirs for mine, theirs in zip(new.header.rgnid, old.header.rgnid, strict=True))
        assert new.header.rgbReserved2 == old.header.rgbReserved2
        assert (new.header.dwReserved1, new.header.bidUnused) == (old.header.dwReserved1, old.header.bidUnused)
        assert len(new.ndb.blocks) <= len(old.ndb.blocks)
    assert findings(target) <= findings_of(path)


@each_message
def test_nothing_of_a_removed_message_is_left_and_all_others_are_equal(
    path: Path, nid: int, tmp_path: Path, remove: Remove
) -> None:
    target = remove(path, tmp_path / "copy.pst", nid)
    marks = markers(path, nid)
    # Each text is looked for in UTF-16 and in 8 bits, of which the file has one.
    assert len(found_in(marks, path.read_bytes())) >= 3
    assert not found_in(marks, target.read_bytes())
    with excise.pst.open(target) as pst:
        assert messages(pst) == {each: told for each, told in messages_of(path).items() if each != nid}
        assert_counts(pst)
    assert findings(target) <= findings_of(path)


def assert_counts(pst: excise.pst.PstFile) -> None:
    for folder in pst.folders():
        if not folder.is_search and folder.properties is not None:
            unread = sum(not each.flags & tags.FLAG_READ for each in folder.messages())
            assert folder.properties.integer(tags.CONTENT_COUNT) == len(folder.message_nids)
            assert folder.properties.integer(tags.CONTENT_UNREAD_COUNT) == unread


@each_message
def test_only_what_names_a_removed_message_is_changed(path: Path, nid: int, tmp_path: Path, remove: Remove) -> None:
    target = remove(path, tmp_path / "copy.pst", nid)
    before = nodes_of(path)
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        after = nodes(new)
        assert before.keys() - {nid} == after.keys()
        changed = [each for each in after if after[each] != before[each]]
        assert changed
        versions: set[bytes] = set()
        for each in changed:
            assert after[each][0] == before[each][0]
            if is_table(before[each]):
                versions |= changed_rows(rows(old, each), rows(new, each), nid)
            elif is_wide(before[each]):
                tables = [pst.ndb.node(each) for pst in (old, new)]
                mine, theirs = (wide_rows(table) for table in tables if table is not None)
                assert theirs == {row_id: cells for row_id, cells in mine.items() if row_id != nid}
            elif is_context(before[each]):
                mine, theirs = (folder_properties(pst, each) for pst in (old, new))
                assert mine.keys() == theirs.keys()
                assert {tag for tag in theirs if mine[tag] != theirs[tag]} <= COUNTS
            elif each == ids.NID_ID_MAP:
                assert id_map(new) == {key: 0 if value == nid else value for key, value in id_map(old).items()}
            else:
                assert each == ids.NID_MESSAGE_INDEX
                # Its root item remembers the highest NID, which is not given out again.
                assert nid.to_bytes(4, "little") not in b"".join(after[each][1][0])[68:]
        for version in versions:
            assert old.header.dwUnique <= int.from_bytes(version, "little") < new.header.dwUnique


def folder_properties(pst: excise.pst.PstFile, nid: int) -> dict[int, Any]:
    (folder,) = [folder for folder in pst.folders() if folder.nid == nid]
    assert folder.properties is not None
    return {tag: (ptype, value) for tag, ptype, value in folder.properties.items()}


def changed_rows(before: dict[int, Any], after: dict[int, Any], nid: int) -> set[bytes]:
    """The versions of the rows that changed; only counts may, and only with a version of their own."""
    assert before.keys() - {nid} == after.keys()
    versions = set()
    for row_id, row in after.items():
        changed = {prop for prop in row if row[prop] != before[row_id].get(prop)}
        assert row.keys() == before[row_id].keys()
        assert changed <= {*COUNTS, ROW_VERSION}
        assert not changed or ROW_VERSION in changed
        if changed:
            versions.add(row[ROW_VERSION])
    return versions


@each_message
def test_libpff_lists_all_others_and_a_removed_message_no_more(
    path: Path, nid: int, tmp_path: Path, remove: Remove
) -> None:
    pytest.importorskip("pypff")
    target = remove(path, tmp_path / "copy.pst", nid)
    before, after = libpff_items(path), libpff_items(target)
    before.pop(nid, None)
    assert after == before


@needs_program("pffexport", "readpst")
@each_message
def test_pffexport_and_readpst_get_all_others_and_a_removed_message_no_more(
    path: Path, nid: int, tmp_path: Path, remove: Remove
) -> None:
    target = remove(path, tmp_path / "copy.pst", nid)
    marks = markers(path, nid)
    with excise.pst.open(path) as pst:
        message = pst.message(nid)
        is_mail = message.message_class == "IPM.Note"
        # readpst writes attachments and an RTF body as files of their own.
        parts = 2 + len(message.attachments)
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    told = pffexport_marks(path, tmp_path / "before" / "x", marks)
    assert told or not is_mail
    assert not pffexport_marks(target, tmp_path / "after" / "x", marks)
    before, after = readpst_items(path, tmp_path / "r1"), readpst_items(target, tmp_path / "r2")
    gone = before - after
    assert after <= before
    assert is_mail <= gone.total() <= parts


@real
def test_a_search_that_found_a_removed_message_has_no_row_of_it(tmp_path: Path, remove: Remove) -> None:
    path = SAMPLES / "dist-list.pst"
    target = remove(path, tmp_path / "copy.pst", 0x2000C4)
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        for pst, count in ((old, 1), (new, 0)):
            (search,) = [folder for folder in pst.folders() if folder.display_name == "Reminders"]
            assert len(search.found_nids) == count
            assert search.properties is not None
            assert search.properties.integer(tags.CONTENT_COUNT) == count
            assert rows(pst, 0x12D)[search.nid][tags.CONTENT_COUNT] == count.to_bytes(4, "little")


@real
@pytest.mark.parametrize("name", ["dist-list.pst", "passworded.pst"])
def test_a_search_of_the_old_kind_has_no_row_of_removed_messages(name: str, tmp_path: Path, remove: Remove) -> None:
    target = remove(SAMPLES / name, tmp_path / "copy.pst", 0x200044, 0x200064)
    with excise.pst.open(SAMPLES / name) as old, excise.pst.open(target) as new:
        for pst, count in ((old, 3), (new, 1)):
            table = pst.ndb.node(0x730)
            assert table is not None
            assert len(wide_rows(table)) == count
            (search,) = [folder for folder in pst.folders() if folder.nid == 0x723]
            assert search.properties is not None
            assert search.properties.integer(tags.CONTENT_COUNT) == count
    assert findings(target) <= findings_of(SAMPLES / name)


@real
@pytest.mark.parametrize("nid", [0x200024, 0x200044, 0x200064])
def test_a_message_in_a_search_table_that_is_not_understood_is_refused(nid: int, tmp_path: Path) -> None:
    edited = Edited("dist-list.pst")
    edited.item(edited.node(0x730), 0x40, put(22, b"\x30"))  # a column fewer than there are
    path = tmp_path / "copy.pst"
    path.write_bytes(edited.data)
    refused = pytest.raises(excise.pst.Unsound, match=f"node 0x730.*message 0x{nid:x} in content that cannot be")
    with refused as raised:
        excise.pst.compact(path, io.BytesIO(), without={nid})
    assert raised.value.damage.place == "node 0x730"
    with refused:
        excise.pst.purge(path, {nid})
    assert [each.name for each in tmp_path.iterdir()] == ["copy.pst"]
    assert path.read_bytes() == edited.data
    assert ("note", "wide table", "rgib") in edited.new()


@real
def test_all_messages_at_once_and_the_same_file_twice(tmp_path: Path, remove: Remove) -> None:
    path = SAMPLES / "enron.pst"
    every = sorted(messages_of(path))
    first = remove(path, tmp_path / "first.pst", *every[::2])
    last = remove(first, tmp_path / "last.pst", *every[1::2])
    with excise.pst.open(first) as pst:
        assert sorted(messages(pst)) == every[1::2]
        assert_counts(pst)
    with excise.pst.open(last) as pst:
        assert not messages(pst)
        assert_counts(pst)
    assert findings(last) <= findings(first) <= findings_of(path)
    assert compacted(last, tmp_path / "small.pst").stat().st_size == 271360


@real
def test_what_is_no_message_or_not_there_is_refused(tmp_path: Path, remove: Remove) -> None:
    path = SAMPLES / "sample1.pst"
    with pytest.raises(ValueError, match="not the NID of a message"):
        remove(path, tmp_path / "copy.pst", 0x122)
    with pytest.raises(excise.pst.Unsound, match="expected a message, found none"):
        remove(path, tmp_path / "copy.pst", 0x200024, 0x300024)


@real
@pytest.mark.parametrize("name", ["sample2.pst", "test_ansi.pst"])
def test_an_ansi_file_is_refused(name: str, tmp_path: Path, remove: Remove) -> None:
    with pytest.raises(DamagedInput, match=r"can only be read|cannot be changed in place"):
        remove(SAMPLES / name, tmp_path / "copy.pst", 0x200024)


@real
def test_a_purge_of_nothing_writes_nothing(tmp_path: Path) -> None:
    target = purged(SAMPLES / "sample1.pst", tmp_path / "copy.pst")
    assert target.read_bytes() == (SAMPLES / "sample1.pst").read_bytes()


@real
def test_messages_that_share_blocks_in_a_folder_of_many(tmp_path: Path, remove: Remove) -> None:
    path = tmp_path / "many.pst"
    nids = multiplied(SAMPLES / "200_recipients.pst", path, 150)
    gone = nids[3:120:7]
    target = remove(path, tmp_path / "copy.pst", *gone)
    left = [nid for nid in nids if nid not in gone]
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        (folder,) = [each.nid for each in new.folders() if each.message_nids]
        table = ids.sibling_nid(folder, ids.NID_TYPE_CONTENTS_TABLE)
        before, after = nodes(old), nodes(new)
        assert {each: after[each] for each in left} == {each: before[each] for each in left}
        assert rows(new, table) == {row: cells for row, cells in rows(old, table).items() if row not in gone}
        # Large cells are subnodes; they stay what they were, those of the removed rows go.
        cells = {nid: content for nid, content in before[table][1][1].items() if content[0][0][:2] == b"T\0"}
        kept = {nid: content for nid, content in after[table][1][1].items() if content[0][0][:2] == b"T\0"}
        assert len(cells) == len(nids)
        assert len(kept) == len(left)
        assert kept.items() <= cells.items()
        lists = {0: left, 1: OTHER_NIDS, 2: [0x300024, 0x300044], 4: left + OTHER_NIDS}
        assert message_index(new) == {key.to_bytes(4, "little"): each for key, each in lists.items()}
        assert_counts(new)
    assert findings(target) <= findings(path)


@real
def test_the_id_map_keeps_the_record_of_a_removed_message_with_no_nid(tmp_path: Path, remove: Remove) -> None:
    path = tmp_path / "without-old-search.pst"
    shutil.copyfile(SAMPLES / "dist-list.pst", path)
    path.chmod(0o600)
    with edit_nodes(path) as editor:
        # The search table that cannot be read, with the rest of its folder.
        editor.remove(0x723)
        editor.remove(0x730)
        editor.commit()
    target = remove(path, tmp_path / "copy.pst", 0x200064, 0x200044)
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        gone = {key for key, nid in id_map(old).items() if nid in (0x200064, 0x200044)}
        assert len(gone) == 2
        assert id_map(new) == {key: 0 if key in gone else nid for key, nid in id_map(old).items()}
        assert_counts(new)
    assert findings(target) <= findings(path)


@real
@pytest.mark.parametrize("nid", [0x802E, 0x8022, 0x12D], ids=["contents table", "folder", "hierarchy table"])
def test_damage_in_what_must_be_written_again_is_refused(nid: int) -> None:
    sound = (SAMPLES / "testPST.pst").read_bytes()
    with excise.pst.open(io.BytesIO(sound)) as pst:
        entry = pst.ndb.nodes.find(nid)
        assert entry is not None
        block = pst.ndb.block_entry(entry.bidData)
    for at in range(0, block.cb, 17):
        data = bytearray(sound)
        data[block.ib + at] ^= 1
        with pytest.raises(excise.pst.Unsound):
            excise.pst.compact(io.BytesIO(data), io.BytesIO(), without={0x200024})
        with excise.pst.open(io.BytesIO(data)) as pst, pytest.raises(excise.pst.Damaged):
            plan_removal(pst.store, [0x200024])


@real
def test_a_file_with_a_row_without_a_message_is_refused(tmp_path: Path, remove: Remove) -> None:
    path = tmp_path / "ghost.pst"
    shutil.copyfile(SAMPLES / "testPST.pst", path)
    path.chmod(0o600)
    with edit_nodes(path) as editor:
        editor.remove(0x200024)
        editor.commit()
    with pytest.raises(excise.pst.Unsound, match="message 0x200024: expected a node, found none"):
        remove(path, tmp_path / "copy.pst", 0x200024)


@real
def test_a_table_that_has_the_subnodes_of_a_removed_message_too_is_refused(tmp_path: Path, remove: Remove) -> None:
    """A fuzzer made such a file; all of the message would have stayed in it, below the folder's table."""
    edited = Edited("submessage.pst")
    table, message = edited.node(0x808E), edited.node(0x200024)
    assert table.bid_sub == 0
    at = edited.data.index(struct.pack("<3Q", table.nid, table.bid_data, table.bid_sub))
    edited.page(at & ~0x1FF, put((at & 0x1FF) + 16, message.bid_sub.to_bytes(8, "little")))
    path = tmp_path / "shared.pst"
    path.write_bytes(edited.data)
    assert not excise.pst.check(path).damaged
    with pytest.raises(DamagedInput, match="expected rows and values, found subnode 0x671"):
        remove(path, tmp_path / "copy.pst", 0x200024)
    assert path.read_bytes() == edited.data
