"""All that can be read of real, built and damaged files, in a new one: property for property, under its NID."""

from __future__ import annotations

from pathlib import Path

import pytest

import excise.pst
from excise.mapi.from_mime import from_mime
from excise.pst.changes import why_not_in_place
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K, Format
from excise.pst.disk.header import CLIENT_OST
from excise.pst.file.salvage import as_written
from excise.pst_mapi.new_message import new_message
from excise.stores.pst_same import difference
from pst.builder import embedded, mailbox, message, nid_of
from pst.purged import SAMPLES, libpff_items, messages

FILES = sorted(SAMPLES.glob("*.pst"))
each_file = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem) for path in FILES]
    or [pytest.param(None, marks=pytest.mark.skip(reason="EXCISE_SAMPLES is not set: no real PST files here"))],
)


def salvaged(source: Path, target: Path, without: frozenset[int] = frozenset()) -> excise.pst.Salvage:
    """Salvage ``source``, and find all that was kept in ``target`` as it was."""
    with target.open("x+b") as stream:
        done = excise.pst.salvage(source, stream, without=without)
    assert excise.pst.salvage(source, None, without=without) == done
    report = excise.pst.check(target)
    assert not report.damaged, [each.text() for each in report.findings][:5]
    with excise.pst.open(source) as old, excise.pst.open(target) as new:
        assert messages(new).keys() == done.kept.keys()
        assert {nid: path for nid, (path, _) in messages(new).items()} == done.kept
        for nid in done.kept:
            assert not difference(as_written(old, nid), as_written(new, nid))
        assert old.record_key == new.record_key
    return done


@each_file
def test_everything_of_a_real_file(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.pst"
    done = salvaged(path, target)
    assert not done.lost
    with excise.pst.open(path) as old:
        assert {each.nid for each in done.search_folders} == {
            folder.nid for folder in old.folders() if folder.is_search and folder.nid != 0x2223
        }
        there = messages(old)
        assert done.kept.keys() == there.keys()
        normal = {nid: folder for nid, (folder, _) in there.items() if old.ndb.format is UNICODE}
    assert {nid: done.kept[nid] for nid in normal} == normal
    mine, theirs = libpff_items(target), libpff_items(path)
    # libpff takes text of ANSI files for text in its own code page.
    start = 1 if normal or not there else 4
    assert {nid: told[start:] for nid, told in mine.items()} == {nid: told[start:] for nid, told in theirs.items()}


@each_file
def test_what_is_left_out_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with excise.pst.open(path) as old:
        gone = frozenset(list(messages(old))[::2])
    done = salvaged(path, tmp_path / "new.pst", gone)
    assert not done.kept.keys() & gone
    if gone:
        assert not libpff_items(tmp_path / "new.pst").keys() & gone


@pytest.mark.parametrize("fmt", [ANSI, UNICODE, UNICODE_4K], ids=lambda fmt: fmt.name)
def test_each_format_and_an_ost(fmt: Format, tmp_path: Path) -> None:
    specs = {nid_of(n): message(fmt, f"Message {n}", "x" * 9000 * n) for n in range(4)}
    specs[nid_of(4)] = message(fmt, "Outer", attachments={0x8025: embedded(fmt, message(fmt, "Inner"))})
    data = bytearray(mailbox(fmt, messages=specs).build())
    path = tmp_path / "old.pst"
    path.write_bytes(data)
    done = salvaged(path, tmp_path / "new.pst")
    assert done.kept == dict.fromkeys(specs, ("Top", "Inbox")) and not done.lost
    assert why_not_in_place(path, done.kept.keys())
    data[8:10] = CLIENT_OST
    path.write_bytes(data)
    assert salvaged(path, tmp_path / "again.pst").kept == done.kept


def test_what_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "old.pst"
    with excise.pst.create(path) as pst:
        texts = [f"unique {n} " * 900 for n in range(5)]
        nids = [
            pst.folder(["Inbox"]).add(new_message(from_mime(f"Subject: {n}\n\n{texts[n]}".encode()))) for n in range(5)
        ]
    assert not why_not_in_place(path, set(nids))
    with excise.pst.open(path) as pst:
        damaged = [pst.ndb.block_entry(pst.message(nids[n]).node.bid_sub).ib for n in (1, 3)]
    data = bytearray(path.read_bytes())
    for at in damaged:
        data[at + 10] ^= 1
    path.write_bytes(data)
    done = salvaged(path, tmp_path / "new.pst")
    assert list(done.kept) == [nids[n] for n in (0, 2, 4)]
    told = [(each.nid, each.path) for each in done.lost]
    assert told == [(nids[n], ("Top of Outlook data file", "Inbox")) for n in (1, 3)]
    assert all(each.reason for each in done.lost)
    assert "it is damaged" in why_not_in_place(path, {nids[0]})
    with excise.pst.open(tmp_path / "new.pst") as pst:
        assert {pst.message(nid).subject for nid in done.kept} == set("024")
