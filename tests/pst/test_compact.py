"""Copies of real files without one message: nothing of it is left, and all else is what it was."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from excise.core.errors import DamagedInput
from excise.pst.disk import ids
from excise.pst.disk.damage import Damaged
from excise.pst.messaging import tags
from programs import needs_program
from pst.purged import (
    SAMPLES,
    UNICODE_FILES,
    findings,
    found_in,
    is_context,
    is_table,
    libpff_items,
    markers,
    messages,
    nodes,
    pffexport_marks,
    readpst_items,
    rows,
)

real = pytest.mark.skipif(not UNICODE_FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")
# Tables of searches of an old kind name them, and Excise cannot read these.
REFUSED = {("dist-list.pst", nid) for nid in (0x200024, 0x200044, 0x200064)}
REFUSED |= {("passworded.pst", nid) for nid in (0x200024, 0x200044, 0x200064)}


def every_message() -> list[Any]:
    found = []
    for path in UNICODE_FILES:
        with excise.pst.open(path) as pst:
            nids = sorted(messages(pst))
        # Messages of one folder, all alike.
        nids = nids[:: 12 if path.name == "enron.pst" else 1]
        found += [pytest.param(path, nid, id=f"{path.stem}-{nid:x}") for nid in nids if (path.name, nid) not in REFUSED]
    return found


each_message = pytest.mark.parametrize(("path", "nid"), every_message() or [pytest.param(None, 0, marks=real)])


def compacted(path: Path, target: Path, *nids: int) -> Path:
    with target.open("w+b") as stream:
        excise.pst.compact(path, stream, without=set(nids))
    return target


@real
@pytest.mark.parametrize("path", UNICODE_FILES, ids=lambda each: each.name)
def test_a_compact_copy_has_the_same_nodes_and_the_marks_of_the_header(path: Path, tmp_path: Path) -> None:
    target = compacted(path, tmp_path / "copy.pst")
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        assert nodes(new) == nodes(old)
        assert new.header.bCryptMethod == old.header.bCryptMethod
        assert new.header.dwUnique >= old.header.dwUnique
        assert all(mine >= theirs for mine, theirs in zip(new.header.rgnid, old.header.rgnid, strict=True))
        assert new.header.rgbReserved2 == old.header.rgbReserved2
        assert (new.header.dwReserved1, new.header.bidUnused) == (old.header.dwReserved1, old.header.bidUnused)
    assert findings(target) <= findings(path)


@each_message
def test_nothing_of_a_removed_message_is_left_and_all_others_are_equal(path: Path, nid: int, tmp_path: Path) -> None:
    target = compacted(path, tmp_path / "copy.pst", nid)
    with excise.pst.open(path) as pst:
        marks, before = markers(pst, nid), messages(pst)
    del before[nid]
    # Each text is looked for in UTF-16 and in 8 bits, of which the file has one.
    assert len(found_in(marks, path.read_bytes())) >= 3
    assert not found_in(marks, target.read_bytes())
    with excise.pst.open(target) as pst:
        assert messages(pst) == before
        for folder in pst.folders():
            if folder.is_search or folder.properties is None:
                continue
            unread = sum(not each.flags & tags.FLAG_READ for each in folder.messages())
            assert folder.properties.integer(tags.CONTENT_COUNT) == len(folder.message_nids)
            assert folder.properties.integer(tags.CONTENT_UNREAD_COUNT) == unread
    assert findings(target) <= findings(path)


@each_message
def test_only_what_names_a_removed_message_is_changed(path: Path, nid: int, tmp_path: Path) -> None:
    target = compacted(path, tmp_path / "copy.pst", nid)
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        before, after = nodes(old), nodes(new)
        assert before.keys() - {nid} == after.keys()
        changed = [each for each in after if after[each] != before[each]]
        assert {ids.nid_type(each) for each in changed} <= {1, 2, 3, 0x0D, 0x0E, 0x0F, 0x10}
        versions: set[bytes] = set()
        for each in changed:
            assert after[each][0] == before[each][0]
            if is_table(before[each]):
                versions |= changed_rows(rows(old, each), rows(new, each), nid)
            elif is_context(before[each]):
                mine, theirs = ({p: v for p, _, v in one.items()} for one in contexts(each, old, new))
                assert {p for p in theirs if mine.get(p) != theirs[p]} <= {0x3602, 0x3603, 0x6635, 0x6636}
                assert mine.keys() == theirs.keys()
            else:
                assert each in (ids.NID_ID_MAP, ids.NID_MESSAGE_INDEX)
                assert nid.to_bytes(4, "little") not in b"".join(after[each][1][0])[64:]
        assert all(int.from_bytes(each, "little") >= old.header.dwUnique for each in versions)
        assert all(int.from_bytes(each, "little") < new.header.dwUnique for each in versions)


def contexts(nid: int, *files: excise.pst.PstFile) -> list[Any]:
    folders = [next(folder for folder in pst.folders() if folder.nid == nid) for pst in files]
    return [folder.properties for folder in folders]


def changed_rows(before: dict[int, Any], after: dict[int, Any], nid: int) -> set[bytes]:
    """The versions of the rows that changed; only counts may, and only with a version of their own."""
    assert before.keys() - {nid} == after.keys()
    versions = set()
    for row_id, row in after.items():
        changed = {prop for prop in row if row[prop] != before[row_id].get(prop)}
        assert row.keys() == before[row_id].keys()
        assert not changed or 0x67F3 in changed
        assert changed <= {0x3602, 0x3603, 0x6635, 0x6636, 0x67F3}
        if changed:
            versions.add(row[0x67F3])
    return versions


@each_message
def test_libpff_lists_all_others_and_a_removed_message_no_more(path: Path, nid: int, tmp_path: Path) -> None:
    pytest.importorskip("pypff")
    target = compacted(path, tmp_path / "copy.pst", nid)
    before, after = libpff_items(path), libpff_items(target)
    before.pop(nid, None)
    assert after == before


@needs_program("pffexport", "readpst")
@each_message
def test_pffexport_and_readpst_get_all_others_and_a_removed_message_no_more(
    path: Path, nid: int, tmp_path: Path
) -> None:
    target = compacted(path, tmp_path / "copy.pst", nid)
    with excise.pst.open(path) as pst:
        marks = markers(pst, nid)
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
def test_a_search_that_found_a_removed_message_has_no_row_of_it(tmp_path: Path) -> None:
    path = SAMPLES / "dist-list.pst"
    target = compacted(path, tmp_path / "copy.pst", 0x2000C4)
    with excise.pst.open(path) as old, excise.pst.open(target) as new:
        for pst, count in ((old, 1), (new, 0)):
            (search,) = [folder for folder in pst.folders() if folder.display_name == "Reminders"]
            assert len(search.found_nids) == count
            assert search.properties is not None
            assert search.properties.integer(tags.CONTENT_COUNT) == count
            assert rows(pst, 0x12D)[search.nid][tags.CONTENT_COUNT] == count.to_bytes(4, "little")


@real
@pytest.mark.parametrize(("name", "nid"), sorted(REFUSED))
def test_a_message_in_a_search_table_of_the_old_kind_is_refused(name: str, nid: int) -> None:
    with pytest.raises(Damaged, match=f"message 0x{nid:x} in what cannot be"):
        excise.pst.compact(SAMPLES / name, io.BytesIO(), without={nid})


@real
def test_all_messages_at_once(tmp_path: Path) -> None:
    path = SAMPLES / "enron.pst"
    with excise.pst.open(path) as pst:
        every = messages(pst)
    target = compacted(path, tmp_path / "copy.pst", *every)
    with excise.pst.open(target) as pst:
        assert not messages(pst)
        assert {folder.properties.integer(tags.CONTENT_COUNT) for folder in pst.folders() if folder.properties} == {0}
    assert findings(target) <= findings(path)
    assert target.stat().st_size == 271360


@real
def test_what_is_no_message_or_not_there_is_refused() -> None:
    path = SAMPLES / "sample1.pst"
    with pytest.raises(ValueError, match="not the NID of a message"):
        excise.pst.compact(path, io.BytesIO(), without={0x122})
    with pytest.raises(Damaged, match="message"):
        excise.pst.compact(path, io.BytesIO(), without={0x300024})


@real
@pytest.mark.parametrize("name", ["sample2.pst", "test_ansi.pst"])
def test_an_ansi_file_is_refused(name: str) -> None:
    with pytest.raises(DamagedInput, match="can only be read"):
        excise.pst.compact(SAMPLES / name, io.BytesIO())
