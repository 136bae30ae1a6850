"""Damaged and hostile PST files: no traceback, no crash, no hang, and nothing lost in silence (S08, S13, S27)."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import excise.pst
from excise.pst.disk.ids import NID_TYPE_HIERARCHY_TABLE
from excise.store_api.conformance.base import matcher
from excise.store_api.errors import ItemDamaged
from excise.stores.pst_embedded import read_embedded
from excise.stores.pst_file import PstFile, Unreachable
from excise.stores.pst_tree import ORPHANS
from excise.stores.pst_values import ItemValues
from stores.pst_samples import DIRECTORY, change_node, needs_samples, opened, scan

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
    """In a process of its own, so that a crash is seen as one and names its mutant."""
    code = _RUN.format(tests=str(Path(__file__).parent.parent), place=str(tmp_path), seed=20260101, count=MUTANTS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    begun = (tmp_path / "begun").read_text() if (tmp_path / "begun").exists() else "none"
    assert done.returncode == 0, f"mutant {begun}: exit {done.returncode}: {done.stderr[-2000:]}"
    assert int(done.stdout.split()[0]) > MUTANTS // 3


def _with_parent(path: Path, name: str, nid: int, parent: int) -> None:
    """A sample at ``path`` whose node ``nid`` names another parent."""
    data = bytearray((DIRECTORY / f"{name}.pst").read_bytes())
    change_node(data, nid, 24, parent.to_bytes(4, "little"))
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
def test_s08_a_folder_whose_parent_is_gone_is_where_a_hierarchy_table_lists_it(tmp_path: Path) -> None:
    path = tmp_path / "orphan.pst"
    _with_parent(path, "testPST_variousBodyTypes", 0x80A2, 0x9999E2)
    with opened(path) as mailbox:
        candidates, _, _ = scan(mailbox)
        assert [candidate.id for candidate in candidates] == ["0x200024", "0x200044", "0x200064", "0x200084"]
        assert {candidate.view.folder for candidate in candidates} == {"Inbox/tmp"}


@needs_samples
def test_s08_the_items_of_a_folder_that_nothing_places_are_found(tmp_path: Path) -> None:
    """Its parent is gone, and so is the hierarchy table that listed it."""
    path = tmp_path / "orphan.pst"
    _with_parent(path, "testPST_variousBodyTypes", 0x80A2, 0x9999E2)
    with excise.pst.open(path) as pst:
        (inbox,) = [folder.nid for folder in pst.folders() if folder.display_name == "Inbox"]
    data = bytearray(path.read_bytes())
    change_node(data, inbox & ~31 | NID_TYPE_HIERARCHY_TABLE, 8, (0xFFFFF0).to_bytes(8, "little"))
    path.write_bytes(data)
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
    holder = PstFile(DIRECTORY / "alpha-beta-gamma-delta.pst")
    try:
        message = holder.reader.message(0x200024)
        (attachment,) = [one for one in message.attachments if one.embedded is not None]
        (other,) = [one for one in message.attachments if one.embedded is None]
        values = ItemValues(holder)
        assert read_embedded(values, attachment, 1252).subject == "Beta"
        with pytest.raises(Unreachable, match="larger than the file"):
            for _ in range(10_000):
                read_embedded(values, attachment, 1252)
        with pytest.raises(Unreachable, match="is not there"):
            read_embedded(ItemValues(holder), other, 1252)
    finally:
        holder.close()
