"""New files so large that other rules begin to hold: the first FPMap at 2.08 GB, offsets beyond 32 bits at 4.29 GB."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

import excise.pst
from excise.pst import NewMessage
from excise.pst.disk import maps
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.pages import PTYPE_FPMAP, PageTrailer, page_body
from excise.pst.messaging.message import Message
from pst.oracles import libpff_folders
from pst.test_create_messages import TOP, attached, recipient, text

FIRST_FPMAP = 8192  # the region
_PIECE = random.Random(7).randbytes(1 << 20)
_PER_FOLDER = 100


def content(number: int) -> bytes:
    """1 MiB that no other message has."""
    return number.to_bytes(8, "big") + _PIECE[number:] + _PIECE[: number - 8]


def made(number: int) -> NewMessage:
    given = [text(0x0037, f"\x01\x01Message {number}"), text(0x0E04, "Anna")]
    return NewMessage(given, [recipient("Anna", "anna@example.org")], [attached(f"{number}.bin", content(number))])


@pytest.mark.soak
@pytest.mark.parametrize("megabytes", [2300, 4500], ids=lambda size: f"{size} MB")
def test_a_very_large_file(megabytes: int, tmp_path: Path) -> None:
    path = tmp_path / "large.pst"
    count = megabytes * 1_000_000 // (1 << 20)
    with excise.pst.create(path) as new:
        for number in range(8, count + 8):
            new.folder((f"Folder {number // _PER_FOLDER}",)).add(made(number))
    assert path.stat().st_size > maps.amap_offset(FIRST_FPMAP)
    _look_at_the_fpmap(path)
    assert excise.pst.check(path).findings == []
    numbers = iter(range(8, count + 8))
    with excise.pst.open(path) as pst:
        for message in _messages(pst):
            number = next(numbers)
            (attachment,) = message.attachments
            assert (message.subject, attachment.filename) == (f"Message {number}", f"{number}.bin")
            assert hashlib.sha256(attachment.read()).digest() == hashlib.sha256(content(number)).digest()
            assert not message.log
    assert next(numbers, None) is None
    _compare_with_libpff(path, count)
    if megabytes < 3000:  # three times the space
        _compare_with_readpst(path, count, tmp_path / "out")
    path.unlink()


def _messages(pst: excise.pst.PstFile) -> Iterator[Message]:
    ours = [folder for folder in pst.folders() if folder.display_name.startswith("Folder ")]
    for folder in sorted(ours, key=lambda each: each.nid):
        for item in folder.messages():
            assert isinstance(item, Message)
            yield item


def _look_at_the_fpmap(path: Path) -> None:
    ib = next(ib for ib, ptype in maps.map_pages(FIRST_FPMAP).items() if ptype == PTYPE_FPMAP)
    with path.open("rb") as stream:
        stream.seek(ib)
        page = stream.read(maps.PAGE)
    assert PageTrailer.unpack(UNICODE, page).ptype == PTYPE_FPMAP
    assert page_body(UNICODE, page) == b"\xff" * maps.MAP_BITS


def _compare_with_libpff(path: Path, count: int) -> None:
    folders = {place: items for place, items in libpff_folders(path).items() if place[:1] == (TOP,) and items}
    numbers = {int(item.subject.split()[1]): item for items in folders.values() for item in items}
    assert sorted(numbers) == list(range(8, count + 8))
    # One before the first FPMap, one behind it, and the last, which a file of the larger size has beyond 32 bits.
    for number in (8, FIRST_FPMAP * maps.REGION // (1 << 20) + 20, count + 7):
        (attachment,) = numbers[number].attachments
        assert attachment.read_buffer(attachment.size) == content(number)


def _compare_with_readpst(path: Path, count: int, target: Path) -> None:
    """Every message and its whole attachment, one at a time: together they are larger than the memory."""
    if shutil.which("readpst") is None:
        pytest.skip("readpst is not installed; all else was compared")
    target.mkdir()
    command = ["readpst", "-e", "-D", "-q", "-j", "0", "-o", str(target), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    numbers = []
    for file in target.rglob("*.eml"):
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        file.unlink()
        numbers.append(int(str(mail["Subject"]).split()[1]))
        (attachment,) = mail.iter_attachments()
        assert attachment.get_content() == content(numbers[-1])
    assert sorted(numbers) == list(range(8, count + 8))
