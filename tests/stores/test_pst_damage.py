"""Damaged and hostile PST files: no traceback, no crash, no hang, and nothing lost in silence (S08, S13, S27)."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import excise.pst
from excise.mapi.item import MapiAttachment
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import PidTagAttachMethod, PidTagAttachSize, PidTagMessageFlags
from excise.store_api.conformance.base import matcher
from excise.store_api.errors import ItemDamaged
from excise.stores.pst_embedded import EmbeddedReader
from excise.stores.pst_file import PstFile, Unreachable
from excise.stores.pst_item import PstItem
from excise.stores.pst_tree import ORPHANS
from stores.pst_samples import DIRECTORY, needs_samples, opened, scan

MUTANTS = 150
SAMPLES = ("dist-list", "sample1", "submessage", "contacts97-2002", "testPST_variousBodyTypes", "200_recipients")


def mutants(seed: int, count: int) -> list[bytes]:
    """Samples with a few bytes changed where there is content, some cut short."""
    chosen = random.Random(seed)
    files = [(DIRECTORY / f"{name}.pst").read_bytes() for name in SAMPLES]
    places = [[at for at in range(564, len(data)) if data[at]] for data in files]
    made = []
    for _ in range(count):
        which = chosen.randrange(len(files))
        data = bytearray(files[which])
        for _ in range(chosen.choice((1, 1, 2, 4, 10, 40))):
            at = chosen.choice(places[which])
            data[at] = chosen.choice((0, 255, 1, chosen.randrange(256), data[at] ^ 1 << chosen.randrange(8)))
        if chosen.random() < 0.05:
            del data[chosen.randrange(len(data)) :]
        made.append(bytes(data))
    return made


_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from stores import test_pst_damage
test_pst_damage.read_mutants(Path({place!r}), {seed}, {count})
"""


def read_mutants(place: Path, seed: int, count: int) -> None:
    """Search and fetch all of each mutant; the file says which was the last one begun. Run in a process of its own."""
    from excise.core.errors import ExciseError
    from excise.store_api.errors import ItemDamaged

    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    path = place / "mutant.pst"
    opens = damaged = 0
    for number, data in enumerate(mutants(seed, count)):
        (place / "begun").write_text(str(number))
        path.write_bytes(data)
        signal.alarm(20)
        try:
            with opened(path) as mailbox:
                opens += 1
                candidates, unreadable, tally = scan(mailbox)
                assert tally.seen == len(candidates) + tally.unreadable
                assert all(one.where and one.reason for one in unreadable)
                for candidate in candidates:
                    for _ in candidate.view.problems():
                        pass
                    try:
                        assert mailbox.fetch(candidate.id).version == candidate.version
                    except ItemDamaged as error:
                        damaged += 1
                        assert error.hint or "cannot be read" in error.message
        except ExciseError as error:
            assert str(path) in error.message
    print(f"{opens} opened, {damaged} items damaged")


@needs_samples
def test_s27_mutated_files_are_read_or_reported(tmp_path: Path) -> None:
    """In a process of its own, so that a crash inside libpff is seen as one and names its mutant."""
    code = _RUN.format(tests=str(Path(__file__).parent.parent), place=str(tmp_path), seed=20260101, count=MUTANTS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    begun = (tmp_path / "begun").read_text() if (tmp_path / "begun").exists() else "none"
    assert done.returncode == 0, f"mutant {begun}: exit {done.returncode}: {done.stderr[-2000:]}"
    assert int(done.stdout.split()[0]) > MUTANTS // 3


def _with_parent(path: Path, name: str, nid: int, parent: int) -> None:
    """A sample at ``path`` whose node ``nid`` names another parent, in its entry of the node tree's leaf."""
    data = bytearray((DIRECTORY / f"{name}.pst").read_bytes())
    for page in range(0x4400, len(data), 512):
        if data[page + 496 : page + 498] == b"\x81\x81" and data[page + 491] == 0:
            for at in range(page, page + data[page + 488] * 32, 32):
                if int.from_bytes(data[at : at + 8], "little") == nid:
                    data[at + 24 : at + 28] = parent.to_bytes(4, "little")
    path.write_bytes(data)


@needs_samples
@pytest.mark.parametrize("parent", [0x9999E2, 0], ids=["parent is gone", "no parent"])
def test_s08_an_orphan_is_found_and_its_empty_row_is_reported(tmp_path: Path, parent: int) -> None:
    path = tmp_path / "orphan.pst"
    _with_parent(path, "sample1", 0x200024, parent)
    with opened(path) as mailbox:
        (candidate,), (row,), tally = scan(mailbox)
        assert candidate.view.folder == ORPHANS
        assert candidate.view.subject == "Here is a sample message"
        assert mailbox.fetch(candidate.id).folder == ORPHANS
        assert (row.folder, row.where) == ("Sample1", "row 1 of the contents table of the folder 'Sample1'")
        assert (tally.seen, tally.unreadable) == (2, 1)


@needs_samples
def test_s08_the_items_of_a_folder_whose_parent_is_gone_are_found(tmp_path: Path) -> None:
    path = tmp_path / "orphan.pst"
    _with_parent(path, "testPST_variousBodyTypes", 0x80A2, 0x9999E2)
    with opened(path) as mailbox:
        candidates, _, _ = scan(mailbox)
        assert [candidate.id for candidate in candidates] == ["0x200024", "0x200044", "0x200064", "0x200084"]
        assert {candidate.view.folder for candidate in candidates} == {ORPHANS}


def _damage_embedded(path: Path, name: str, text: str) -> None:
    """A sample at ``path`` with one byte changed in the block that holds ``text`` as an embedded message's subject."""
    with excise.pst.open(DIRECTORY / f"{name}.pst") as pst:
        message = next(
            embedded
            for folder in pst.folders()
            for nid in folder.message_nids
            for attachment in pst.message(nid).attachments
            if (embedded := attachment.embedded) is not None and embedded.subject == text
        )
        entry = pst.ndb.block_entry(message.node.bid_data)
    data = bytearray((DIRECTORY / f"{name}.pst").read_bytes())
    data[entry.ib + entry.cb // 2] ^= 0x40
    path.write_bytes(data)


@needs_samples
@pytest.mark.parametrize(
    ("name", "subject"), [("submessage", "This is an embedded message"), ("testPST", "First email")]
)
def test_s13_a_damaged_embedded_message_makes_the_item_damaged_and_untestable(
    tmp_path: Path, name: str, subject: str
) -> None:
    path = tmp_path / "damaged.pst"
    _damage_embedded(path, name, subject)
    with opened(path) as mailbox:
        candidates, unreadable, _ = scan(mailbox)
        assert unreadable == []
        (hit,) = [one for one in candidates if one.view.untestable("attachment")]
        assert "embedded message" in hit.view.untestable("attachment-sha256")[0].reason
        assert matcher(subject_contains=["e"]).test(hit.view).matched
        assert matcher(attachment=["invoice.exe"]).test(hit.view).untestable
        with pytest.raises(ItemDamaged, match="embedded message"):
            mailbox.fetch(hit.id)
        for other in candidates:
            if other is not hit:
                assert mailbox.fetch(other.id).version == other.version


@needs_samples
def test_s27_embedded_messages_larger_than_the_file_are_not_read() -> None:
    with excise.pst.open(DIRECTORY / "alpha-beta-gamma-delta.pst") as pst:
        (attachment,) = [one for one in pst.message(0x200024).attachments if one.embedded is not None]
    holder = PstFile(DIRECTORY / "alpha-beta-gamma-delta.pst")
    try:
        reader = EmbeddedReader(holder, 0x200024, {}, 1252)
        assert reader.read(attachment.nid).subject == "Beta"
        with pytest.raises(Unreachable, match="larger than the file"):
            for _ in range(10_000):
                reader.read(attachment.nid)
        with pytest.raises(Unreachable, match="is not there"):
            EmbeddedReader(holder, 0x200024, {}, 1252).read(0x9985)
    finally:
        holder.close()


class Entry:
    """One property as pypff gives it."""

    def __init__(self, tag: int, raw: bytes | None) -> None:
        self.entry_type, self.value_type, self._raw = tag >> 16, tag & 0xFFFF, raw

    def get_data(self) -> bytes | None:
        """The value; None where libpff fails."""
        if self._raw == b"FAIL":
            raise OSError("pypff_record_entry_get_data: unable to read. libpff_table_read: a block is missing.")
        return self._raw


class Node:
    """A node of a file as pypff gives it, with faults that no sample has."""

    def __init__(
        self, entries: dict[int, bytes | None], attachments: list[Any] | None = None, content: bytes = b""
    ) -> None:
        self._entries = [Entry(tag, raw) for tag, raw in entries.items()]
        self._attachments, self._content, self._at = attachments or [], content, 0
        self.number_of_entries = len(self._entries)
        self.size = len(content)
        self.recipients = None
        self.number_of_attachments = len(self._attachments)

    def get_record_set(self, index: int) -> Node:
        """The node itself stands for its one record set."""
        assert index == 0
        return self

    def get_entry(self, number: int) -> Entry:
        """One property."""
        return self._entries[number]

    def get_number_of_attachments(self) -> int:
        """As the class that libpff has for messages."""
        return self.number_of_attachments

    def get_attachment(self, number: int) -> Any:
        """One attachment; an exception in its place is raised."""
        one = self._attachments[number]
        if isinstance(one, Exception):
            raise one
        return one

    def read_buffer(self, size: int) -> bytes:
        """The next bytes of the content."""
        piece = self._content[self._at : self._at + size]
        self._at += len(piece)
        return piece


@pytest.fixture
def file() -> Any:
    """An open file that the nodes are said to belong to."""
    if not DIRECTORY.is_dir():
        pytest.skip("EXCISE_SAMPLES names no directory with pst-samples/")
    opened_file = PstFile(DIRECTORY / "sample1.pst")
    yield opened_file
    opened_file.close()


def _attachment(content: bytes, declared: int | None, method: int = 1, kind: int = 0x102) -> Node:
    tags: dict[int, bytes | None] = {PidTagAttachMethod.value: method.to_bytes(4, "little"), 0x37010000 | kind: b""}
    if declared is not None:
        tags[PidTagAttachSize.value] = declared.to_bytes(4, "little")
    return Node(tags, content=content)


def _item(file: PstFile, attachments: list[Any], flags: int = 0x10) -> PstItem:
    return PstItem(file, Node({PidTagMessageFlags.value: flags.to_bytes(4, "little")}, attachments), {})


def test_s13_an_attachment_shorter_than_the_store_says_is_damage(file: PstFile) -> None:
    whole = _item(file, [_attachment(b"x" * 1000, 1000 + 4 + 4)])
    assert whole.read_whole() == []
    cut = _item(file, [_attachment(b"x" * 900, 1000 + 4 + 4)])
    assert cut.read_whole() == ["attachment 1 has 908 bytes where PidTagAttachSize says 1,008"]


def test_s13_content_that_ends_early_is_damage(file: PstFile) -> None:
    node = _attachment(b"x" * 1000, None)
    node.size = 2000
    item = _item(file, [node])
    assert item.read_whole() == ["attachment 1 cannot be read: content of 2,000 bytes ends 1,000 bytes early"]
    assert item.attachments[0].data is None
    assert item.damage.keys() == {"attachment", "attachment-sha256"}


def test_s13_an_attachment_that_libpff_cannot_open_is_damage_and_the_others_are_read(file: PstFile) -> None:
    item = _item(file, [OSError("pypff: no. libpff_x: a block is missing."), _attachment(b"data", None)])
    assert item.read_whole() == ["attachment 1 cannot be read: libpff: libpff_x: a block is missing."]
    assert [one.data for one in item.attachments] == [None, b"data"]


def test_s13_an_item_that_says_attachments_and_has_none_is_damage(file: PstFile) -> None:
    assert _item(file, []).read_whole() == ["the item says that it has attachments, and none is there"]
    assert _item(file, [], flags=1).read_whole() == []


def test_s27_content_larger_than_the_file_is_not_read(file: PstFile) -> None:
    node = _attachment(b"", None)
    node.size = file.status.st_size + 1
    assert "in a file of" in _item(file, [node]).read_whole()[0]


@pytest.mark.parametrize(
    ("attachment", "reason"),
    [
        (_attachment(b"xx\xec\xbc", None, method=6, kind=0x0D), "raw heap"),
        (_attachment(b"xx\xec\xbc", None, method=1, kind=0x0D), "attachment method 1"),
        (_attachment(b"", None, method=2), "by reference"),
        (Node({PidTagAttachMethod.value: bytes([1, 0, 0, 0])}), "no content"),
    ],
)
def test_s13_what_libpff_cannot_reach_is_never_exported(file: PstFile, attachment: Node, reason: str) -> None:
    item = _item(file, [attachment])
    assert item.read_whole() == []
    (found,) = item.attachments
    assert found.data is None
    assert reason in str(found.reason)


def test_an_ole_object_is_exported(file: PstFile) -> None:
    item = _item(file, [_attachment(b"\xd0\xcf\x11\xe0 document", None, method=6, kind=0x0D)])
    assert item.attachments[0].data == b"\xd0\xcf\x11\xe0 document"


def test_s08_an_item_with_an_unreadable_property_is_unreadable(file: PstFile) -> None:
    with pytest.raises(Unreachable, match="a block is missing"):
        PstItem(file, Node({0x0037001F: b"FAIL"}), {})


def test_s11_attachments_of_a_class_that_libpff_does_not_know_are_out_of_reach(file: PstFile) -> None:
    class Plain:
        """A node of an unknown class: properties alone."""

        def __init__(self, flags: int) -> None:
            self._node = Node({PidTagMessageFlags.value: flags.to_bytes(4, "little"), 0x0E04001F: b"B\0"})

        def get_record_set(self, index: int) -> Node:
            """The properties."""
            return self._node.get_record_set(index)

    item = PstItem(file, Plain(0x10), {})
    assert item.attachments == (MapiAttachment(PropertyBag(), reason=item.attachments[0].reason),)
    assert item.recipients == ()
    assert "libpff reaches no recipients" in item.out_of_reach["recipient"]
    assert item.read_whole() == []
    assert len(item.remarks) == 1
    assert item.out_of_reach.keys() == {"recipient", "attachment", "attachment-sha256"}
    assert PstItem(file, Plain(1), {}).attachments == ()
