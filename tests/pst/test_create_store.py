"""A new, empty file has what Outlook puts into one, and every reader at hand opens it."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

import excise.pst
from excise.core.errors import DamagedInput, SourceUnavailable
from excise.pst.disk.header import Header
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import ROW_VERSION, TableContext
from excise.pst.messaging.create_index import index_key
from excise.pst.messaging.message import Message
from pst.oracles import libpff_folders, readpst

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
EMPTY = SAMPLES / "Empty.pst"
real = pytest.mark.skipif(not EMPTY.exists(), reason="EXCISE_SAMPLES is not set: no real PST files here")
FOLDERS = [
    (), ("SPAM Search Folder 2",), ("Top of Outlook data file",), ("Top of Outlook data file", "Deleted Items"),
    ("Search Root",), ("IPM_COMMON_VIEWS",),
]  # fmt: skip


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.pst"
    with excise.pst.create(path, display_name="Ablage"):
        pass
    return path


def test_our_reader_and_the_checker_find_nothing_wrong(empty: Path) -> None:
    assert excise.pst.check(empty).findings == []
    with excise.pst.open(empty) as pst:
        assert sorted(folder.path for folder in pst.folders()) == sorted(FOLDERS)
        assert pst.store.properties is not None
        assert pst.store.properties.text(0x3001) == "Ablage"
        assert pst.record_key is not None
        assert len(pst.record_key) == 16
        assert {type(name.key) for name in pst.names.by_name} == {int, str}
        assert not pst.damage
        assert pst.header.dwUnique > 7


def test_libpff_and_readpst_open_it(empty: Path, tmp_path: Path) -> None:
    assert libpff_folders(empty) == {place: [] for place in FOLDERS}
    assert readpst(empty, tmp_path / "out") == []


@real
def test_the_nodes_are_those_of_outlook(empty: Path) -> None:
    """Node by node what Outlook has, but for ids, columns that it added to its tables, and what it keeps for itself."""
    with excise.pst.open(EMPTY) as theirs, excise.pst.open(empty) as ours:
        expected = {each.nid: each for each in theirs.ndb.nodes.entries() if each.nid not in (0xEE1, 0xF01)}
        found = {each.nid: each for each in ours.ndb.nodes.entries()}
        assert {nid: each.nidParent for nid, each in found.items()} == {
            nid: each.nidParent for nid, each in expected.items()
        }
        for nid, entry in found.items():
            assert bool(entry.bidData) == bool(expected[nid].bidData)
            mine, other = ours.ndb.open(entry), theirs.ndb.open(expected[nid])
            first = mine.data.block(0) if entry.bidData else bytes(4)
            assert first[3] == (other.data.block(0) if entry.bidData else bytes(4))[3]
            if first[3] == 0xBC and nid != 0x61:
                compare_properties(PropertyContext(mine), PropertyContext(other))
            elif first[3] == 0x7C:
                compare_rows(TableContext(mine), TableContext(other))


def compare_properties(mine: PropertyContext, other: PropertyContext) -> None:
    own = {0x0E34, 0x0FF9, 0x3001, 0x35E0, 0x35E3, 0x35E6, 0x35E7, 0x66FC}
    assert sorted(mine.ids()) == sorted(other.ids())
    for prop_id in mine.ids():
        assert mine.type_of(prop_id) == other.type_of(prop_id)
        assert len(mine.raw(prop_id)) == len(other.raw(prop_id)) or prop_id == 0x3001
        if prop_id not in own:
            assert mine.raw(prop_id) == other.raw(prop_id)
        elif 0x35E0 <= prop_id <= 0x35E7:
            assert mine.raw(prop_id)[20:] == other.raw(prop_id)[20:]


def compare_rows(mine: TableContext, other: TableContext) -> None:
    assert [rows_of(mine)] == [rows_of(other)]


def rows_of(table: TableContext) -> dict[int, dict[int, object]]:
    return {row.row_id: {tag: row.get(tag) for tag in row.ids() if tag != ROW_VERSION} for row in table.rows()}


@real
@pytest.mark.parametrize("name", ["sample1.pst", "submessage.pst"])
def test_the_message_index_has_the_key_that_outlook_has(name: str) -> None:
    with excise.pst.open(SAMPLES / name) as pst:
        (message,) = (item for folder in pst.folders() for item in folder.messages() if isinstance(item, Message))
        node = pst.ndb.node(0xE01)
        assert node is not None
        key = index_key(message.properties.raw(0x0071)[6:22])
        assert key.to_bytes(4, "little") in node.data.read()


def test_a_file_object_is_written_and_stays_open() -> None:
    stream = io.BytesIO(b"what was here")
    excise.pst.create(stream).close()
    assert excise.pst.check(stream).findings == []
    assert not stream.closed


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mail.pst"
    path.write_bytes(b"precious")
    with pytest.raises(SourceUnavailable, match="exists"):
        excise.pst.create(path)
    assert path.read_bytes() == b"precious"
    with pytest.raises(ValueError, match="no value"):
        excise.pst.create(tmp_path / "other.pst", display_name="\ud800")
    assert not (tmp_path / "other.pst").exists()


def test_an_error_abandons_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mail.pst"
    with pytest.raises(KeyError), excise.pst.create(path):
        raise KeyError
    assert not path.exists()
    stream = io.BytesIO()
    with pytest.raises(KeyError), excise.pst.create(stream) as new:
        raise KeyError
    assert Header.unpack(stream.getvalue()).root.fAMapValid == 0
    with pytest.raises(DamagedInput):
        excise.pst.open(stream)
    with pytest.raises(ValueError, match="abandoned"):
        new.folder(("Inbox",))


class FullDisk(io.BytesIO):
    def write(self, data) -> int:
        if self.tell() > 600_000:
            raise OSError(errno.ENOSPC, "no space left")
        return super().write(data)


def test_a_full_disk_abandons_the_file() -> None:
    large = excise.pst.NewMessage([excise.pst.NewProperty(0x1000, 0x1F, bytes(1 << 20))])
    stream = FullDisk()
    new = excise.pst.create(stream)
    folder = new.folder(("Inbox",))
    with pytest.raises(OSError, match="no space"):
        folder.add(large)
    for call in (new.close, lambda: folder.add(large), lambda: new.folder(("Inbox",))):
        with pytest.raises(ValueError, match="abandoned"):
            call()
    with pytest.raises(DamagedInput):
        excise.pst.open(stream)


def test_a_disk_that_is_full_at_the_end_abandons_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    path = tmp_path / "mail.pst"
    new = excise.pst.create(path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        new.close()
    assert not path.exists()


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    path = tmp_path / "mail.pst"
    new = excise.pst.create(path)
    new.close()
    new.close()
    new.abandon()
    assert excise.pst.check(path).findings == []
    with pytest.raises(ValueError, match="is closed"):
        new.folder(("Inbox",))


def test_folders(tmp_path: Path) -> None:
    path = tmp_path / "mail.pst"
    long = "n" * 253 + "📨"
    with excise.pst.create(path) as new:
        inbox = new.folder(("Inbox", "2024"), container_class="IPF.Note")
        assert new.folder(("Inbox", "2024")).nid == inbox.nid
        assert new.folder(("Inbox",)).nid != inbox.nid
        assert new.folder(("Deleted Items",)).nid == 0x8062
        new.folder(("Contacts",), container_class="IPF.Contact")
        for name in ("إيميل", "Ändern/\\:*?", long, "📨"):
            new.folder((name, "below"))
        for wrong in ("INBOX", "", "n" * 256, long + "n", "a\0b", "\udc80"):
            with pytest.raises(ValueError, match=r"folder|no value"):
                new.folder((wrong,))
        with pytest.raises(ValueError, match=r"is a IPF\.Contact"):
            new.folder(("Contacts",), container_class="IPF.Note")
    assert excise.pst.check(path).findings == []
    with excise.pst.open(path) as pst:
        found = {folder.path[1:]: folder for folder in pst.folders() if folder.path[:1] == FOLDERS[2]}
        assert set(found) == {
            (), ("Deleted Items",), ("Inbox",), ("Inbox", "2024"), ("Contacts",), ("إيميل",), ("إيميل", "below"),
            ("Ändern/\\:*?",), ("Ändern/\\:*?", "below"), (long,), (long, "below"), ("📨",), ("📨", "below"),
        }  # fmt: skip
        properties = found["Contacts",].properties
        assert properties is not None
        assert properties.text(0x3613) == "IPF.Contact"
    assert set(libpff_folders(path)) >= {FOLDERS[2] + place for place in found}


def test_many_folders_beside_and_below_each_other(tmp_path: Path) -> None:
    path = tmp_path / "mail.pst"
    with excise.pst.create(path) as new:
        for number in range(1500):
            new.folder((f"Folder {number}",))
        new.folder(tuple(f"{depth}" for depth in range(100)))
    assert excise.pst.check(path).findings == []
    with excise.pst.open(path) as pst:
        assert len(list(pst.folders())) == len(FOLDERS) + 1600
