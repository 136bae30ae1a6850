"""No file in which a check finds an error is changed in place, wherever in it the error lies."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import excise.pst
from excise.pst import NewAttachment, NewMessage, NewProperty
from excise.pst.changes import SOUNDNESS, Checked, why_not_in_place
from excise.pst.file.append import append_pst
from excise.pst.ndb.edit import edit_nodes
from excise.pst.ndb.edit_survey import References
from excise.pst.ndb.source import Source, open_source
from pst.editing import Edited, put

Change = Callable[[Path, int], object]


def appended(path: Path, _: int) -> None:
    with excise.pst.append(path) as pst:
        pst.folder(("New",)).add(_message("new"))


def compacted(path: Path, nid: int) -> None:
    excise.pst.compact(path, io.BytesIO(), without={nid})


each_change = pytest.mark.parametrize(
    "change", [lambda path, nid: excise.pst.purge(path, [nid]), appended, compacted], ids=["purge", "append", "compact"]
)


def _message(subject: str) -> NewMessage:
    attachment = NewAttachment([NewProperty.of(0x3705, 3, 1), NewProperty.of(0x3701, 0x102, subject.encode() * 4000)])
    return NewMessage([NewProperty.of(0x37, 0x1F, subject)], attachments=[attachment])


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, int]:
    """A file with sound blocks, and a sound message in it; another folder has a row without a message."""
    path = tmp_path / "damaged.pst"
    with excise.pst.create(path) as pst:
        sound, other = (pst.folder((name,)).add(_message(name)) for name in ("Sound", "Other"))
    with edit_nodes(path) as editor:
        editor.remove(other)
        editor.commit()
    return path, sound


@each_change
def test_an_error_elsewhere_refuses(change: Change, damaged: tuple[Path, int]) -> None:
    path, nid = damaged
    before = path.read_bytes()
    errors = [finding for finding in excise.pst.check(path).findings if finding.grade == "error"]
    assert errors
    with pytest.raises(excise.pst.Unsound) as caught:
        change(path, nid)
    assert caught.value.damage == errors[0].damage
    assert errors[0].damage.text() in caught.value.message
    assert "--rewrite" in caught.value.hint
    assert caught.value.exit_code == 7
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_plan_to_rewrite_tells_it(damaged: tuple[Path, int]) -> None:
    path, nid = damaged
    assert "it is damaged" in why_not_in_place(path, {nid})


@each_change
def test_a_warning_does_not_refuse(change: Change, tmp_path: Path) -> None:
    path = tmp_path / "warned.pst"
    with excise.pst.create(path) as pst:
        nid = pst.folder(("Inbox",)).add(_message("one"))
    data = bytearray(path.read_bytes())
    data[0x4600 - 2] ^= 1
    path.write_bytes(data)
    change(path, nid)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A sound file, whose times are not those of a coarse file system."""
    path = tmp_path / "sound.pst"
    with excise.pst.create(path) as pst:
        pst.folder(("Inbox",)).add(_message("one"))
    set_time(path, 1_234_567)
    return path


def set_time(path: Path, ns: int) -> None:
    os.utime(path, ns=(10**18, 10**18 + ns))
    # Once in a million times the clock itself stands at a whole millisecond.
    while not path.stat().st_ctime_ns % 10**6:
        os.utime(path, ns=(10**18, 10**18 + ns))


def asked(checked: Checked, path: Path) -> bool:
    """True where the file had to be read."""
    source = open_source(path)
    try:
        return checked.require(source)
    finally:
        source.close()


def test_a_file_that_nobody_wrote_to_is_checked_once(sound: Path) -> None:
    checked = Checked()
    assert [asked(checked, sound) for _ in range(3)] == [True, False, False]
    assert asked(Checked(), sound)


def test_our_own_change_needs_no_check_after_it(sound: Path) -> None:
    appended(sound, 0)
    # One time in a thousand its time is that of a coarse file system.
    known = [sound.stat().st_mtime_ns % 10**6 > 0 and sound.stat().st_ctime_ns % 10**6 > 0]
    assert [not asked(SOUNDNESS, sound)] == known
    with excise.pst.open(sound) as pst:
        nid = next(nid for folder in pst.folders() for nid in folder.message_nids)
    excise.pst.purge(sound, [nid])
    assert excise.pst.check(sound).clean


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def behind_its_back(path: Path) -> None:
    """A byte is written, and the time of change is set back."""
    times = path.stat()
    with path.open("r+b") as stream:
        stream.seek(0x5000)
        byte = stream.read(1)
        stream.seek(0x5000)
        stream.write(byte)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def another_file(path: Path) -> None:
    times, data = path.stat(), path.read_bytes()
    path.rename(path.with_suffix(".old"))
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("write", [rewritten, behind_its_back, another_file])
def test_a_file_that_another_program_wrote_to_is_checked_again(write: Callable[[Path], None], sound: Path) -> None:
    checked = Checked()
    assert asked(checked, sound)
    assert not asked(checked, sound)
    write(sound)
    assert asked(checked, sound)


def test_a_file_that_another_program_damaged_between_two_changes_is_refused(sound: Path) -> None:
    appended(sound, 0)
    with excise.pst.open(sound) as pst:
        entry = next(pst.ndb.blocks.entries())
    with sound.open("r+b") as stream:
        stream.seek(entry.ib)
        byte = stream.read(1)
        stream.seek(entry.ib)
        stream.write(bytes([byte[0] ^ 1]))
    before = sound.read_bytes()
    with pytest.raises(excise.pst.Unsound, match="dwCRC"):
        appended(sound, 0)
    assert sound.read_bytes() == before


def test_coarse_times_tell_nothing(sound: Path) -> None:
    checked = Checked()
    set_time(sound, 0)
    assert [asked(checked, sound) for _ in range(2)] == [True, True]


def test_times_to_come_tell_nothing(sound: Path) -> None:
    checked = Checked()
    to_come = time.time_ns() + 10**11 + 1
    os.utime(sound, ns=(to_come, to_come | 1))
    assert [asked(checked, sound) for _ in range(2)] == [True, True]


def test_nothing_to_purge_asks_nothing(damaged: tuple[Path, int]) -> None:
    path, _ = damaged
    assert excise.pst.purge(path, []).removed == 0


def test_a_move_leaves_a_damaged_file_alone(damaged: tuple[Path, int], tmp_path: Path) -> None:
    path, _ = damaged
    before = path.read_bytes()
    command = [sys.executable, "-m", "excise", "move", str(path), "--subject-contains", "Sound", "--max-share", "100"]
    options = ["--case", str(tmp_path / "case"), "--yes", "--expect-matches", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    # Nor can all of it be searched, which has a status of its own.
    assert done.returncode == 9, done
    assert "it is damaged" in done.stderr and "--rewrite" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("valid", [2, 0])
def test_maps_that_lag_behind(valid: int, tmp_path: Path) -> None:
    """A file that Outlook did not close says that its maps do not hold: they are made anew, not taken for damage."""
    path = tmp_path / "lagging.pst"
    with excise.pst.create(path) as pst:
        folder = pst.folder(("Inbox",))
        nids = [folder.add(_message(name)) for name in ("one", "two")]
    edited = Edited(path.read_bytes())
    edited.page(0x4400, put(60, bytes(20)))
    edited.header(fAMapValid=valid)
    path.write_bytes(edited.data)
    found = {finding.grade for finding in excise.pst.check(path).findings if finding.damage.field == "rgbAMapBits"}
    if valid:
        assert found == {"error"}
        with pytest.raises(excise.pst.Unsound, match="rgbAMapBits"):
            excise.pst.purge(path, nids[:1])
    else:
        assert found == {"warning"}
        excise.pst.purge(path, nids[:1])
        assert excise.pst.check(path).clean
        with excise.pst.open(path) as left:
            assert left.message(nids[1]).subject == "two"


class Watching(Checked):
    """Notes how many open files and surveys of edits are in memory while it is asked."""

    def require(self, source: Source) -> bool:
        self.alive = alive()
        return super().require(source)


def alive() -> tuple[int, int]:
    kinds = [type(each) for each in gc.get_objects()]
    return kinds.count(excise.pst.PstFile), kinds.count(References)


def test_the_check_and_the_edit_are_never_in_memory_together(sound: Path) -> None:
    gc.collect()
    watching, (files, surveys) = Watching(), alive()
    with append_pst(sound, timeout=5.0, soundness=watching):
        assert watching.alive == (files, surveys)
        assert alive() == (files, surveys + 1)
