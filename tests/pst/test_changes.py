"""No file in which a check finds an error is changed in place, wherever in it the error lies."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import excise.pst
from excise.pst import NewAttachment, NewMessage, NewProperty
from excise.pst.changes import why_not_in_place
from excise.pst.ndb.edit import edit_nodes
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
