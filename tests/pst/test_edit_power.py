"""S15, S19: an edit stopped at every operation, by a cut of the power, a kill or a failing disk.

The model of the disk: what was written since the last flush may be there or not, each sector of 512 bytes for itself,
and the file may have its new size without it; the journal is replaced whole. Whatever is left: the file reads as
before the edit or as after it, and ``recover`` brings it to exactly one of both.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from excise.core.errors import DamagedInput, ExciseError, Refused, SourceUnavailable, Unfinished
from excise.pst.disk.header import Header
from excise.pst.ndb.edit import NodeEditor
from excise.pst.ndb.edit_journal import IMAGE, SECTOR, Journal, State
from excise.pst.ndb.edit_recover import Recovery, recover, recover_storage
from excise.pst.ndb.edit_storage import JOURNAL_SUFFIX
from pst.edit_stage import FOLDER, MESSAGES, MemoryStorage, Operation, apply, contents, findings, new_file, open_bytes
from pst.test_raw_copy import SAMPLES, real

Change = Callable[[NodeEditor], object]


def small_change(editor: NodeEditor) -> None:
    editor.set_data(MESSAGES[1], editor.bytes_tree(b"new data" * 500))
    editor.remove(MESSAGES[3])
    editor.commit()


def growing_change(editor: NodeEditor) -> None:
    editor.remove(MESSAGES[5])
    editor.node(FOLDER, editor.bytes_tree(os.urandom(400_000)), parent=0x122)
    editor.commit()


def given_up(editor: NodeEditor) -> None:
    editor.remove(MESSAGES[5])
    editor.node(FOLDER, editor.bytes_tree(os.urandom(300_000)), parent=0x122)
    editor.close()


def all_messages_removed(editor: NodeEditor) -> None:
    for nid in editor.ndb.nodes.nids:
        if nid & 0x1F == 4:
            editor.remove(nid)
    editor.commit()


@dataclass
class Run:
    """An undisturbed edit: the file before and after, and all that was done to the disk."""

    old: bytes
    change: Change
    new: bytes = b""
    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        storage = MemoryStorage(bytearray(self.old))
        self.change(NodeEditor(storage))
        self.new, self.operations = bytes(storage.data), storage.operations
        self.before, self.after = contents(self.old), contents(self.new)
        self.known = findings(self.old)


def torn(operation: Operation, chance: random.Random) -> Iterator[Operation]:
    """Some of the sectors of a write."""
    at = 0
    while at < len(operation.data):
        end = min(len(operation.data), at + SECTOR - (operation.offset + at) % SECTOR)
        if chance.random() < 0.5:
            yield Operation("write", operation.offset + at, operation.data[at:end])
        at = end


def losses(pending: Sequence[Operation], chance: random.Random) -> Iterator[list[Operation]]:
    """What of the unflushed operations may have reached the disk."""
    yield []
    if not pending:
        return
    yield list(pending)
    yield [pending[-1]]
    if pending[-1].name == "write":
        first = SECTOR - pending[-1].offset % SECTOR
        last = pending[-1]
        yield [*pending[:-1], replace(last, data=last.data[:first])]
        yield [*pending[:-1], replace(last, offset=last.offset + first, data=last.data[first:])]
    for _ in range(3):
        kept = [each for each in pending if chance.random() < 0.7]
        yield [part for each in kept for part in (torn(each, chance) if each.name == "write" else [each])]
    end = max(each.offset + len(each.data) for each in pending)
    yield [Operation("write", end - 1, b"\0")] if end > IMAGE else []


def cuts(
    old: bytes, operations: Sequence[Operation], journal: bytes | None = None, *, seed: int = 1, stride: int = 1
) -> Iterator[MemoryStorage]:
    """Every disk that a cut can leave; those that are the same only once. ``stride`` leaves out cuts between writes."""
    chance, seen = random.Random(seed), set()
    durable, pending = bytearray(old), list[Operation]()
    for step in range(len(operations) + 1):
        near = operations[max(0, step - 1) : step + 1]
        if all(each.name == "write" and each.offset for each in near) and step % stride:
            pending.append(operations[step])
            continue
        for kept in losses(pending, chance):
            data = bytearray(durable)
            for each in kept:
                if each.name != "write" or each.offset + len(each.data) <= len(data) or each in operations:
                    apply(data, each)
                else:
                    apply(data, Operation("resize", each.offset + len(each.data)))
                    apply(data, each)
            key = hash((bytes(data), journal))
            if key not in seen:
                seen.add(key)
                yield MemoryStorage(data, journal, name=f"cut at step {step}")
        if step < len(operations):
            operation = operations[step]
            if operation.name == "journal":
                journal = operation.journal
            elif operation.name == "sync":
                for each in pending:
                    apply(durable, each)
                pending.clear()
            else:
                pending.append(operation)


def check_recovered(run: Run, disk: MemoryStorage) -> Recovery:
    """Recover, and hold the outcome against the edit."""
    outcome = recover_storage(disk)
    assert disk.journal is None
    if outcome is Recovery.FINISHED or bytes(disk.data) == run.new:
        assert disk.data == run.new, disk.name
    else:
        assert disk.data[:IMAGE] == run.old[:IMAGE], disk.name
        assert len(disk.data) == len(run.old), disk.name
        assert contents(disk.data) == run.before, disk.name
        assert findings(disk.data) <= run.known, disk.name
    done = len(disk.operations)
    assert recover_storage(disk) is Recovery.NOTHING
    assert len(disk.operations) == done
    return outcome


def check_all(run: Run, wanted: set[Recovery], stride: int = 5) -> None:
    outcomes = set()
    for disk in cuts(run.old, run.operations, stride=stride):
        assert contents(disk.data) in (run.before, run.after), disk.name
        outcomes.add(check_recovered(run, disk))
    assert outcomes == wanted


RUNS = {"small": small_change, "growing": growing_change}


@pytest.mark.parametrize("name", RUNS)
def test_s15_the_power_fails_at_a_write(name: str) -> None:
    check_all(Run(new_file(), RUNS[name]), set(Recovery))


@pytest.mark.soak
@pytest.mark.parametrize("name", RUNS)
def test_s15_the_power_fails_at_any_write(name: str) -> None:
    check_all(Run(new_file(), RUNS[name]), set(Recovery), stride=1)


def test_s15_the_power_fails_while_an_edit_is_given_up() -> None:
    check_all(Run(new_file(), given_up), {Recovery.NOTHING, Recovery.UNDONE})


@real
@pytest.mark.parametrize("name", ["sample1.pst", "dist-list.pst", "Empty.pst"])
def test_s15_the_power_fails_at_a_write_to_a_real_file(name: str) -> None:
    check_all(Run((SAMPLES / name).read_bytes(), all_messages_removed), set(Recovery))


def test_s15_the_power_fails_again_while_recovering() -> None:
    run = Run(new_file(), growing_change)
    chance, tried = random.Random(3), 0
    for disk in cuts(run.old, run.operations, stride=7):
        if disk.journal is None or chance.random() < 0.5:
            continue
        data, journal = bytes(disk.data), disk.journal
        recover_storage(disk)
        for again in cuts(data, disk.operations, journal, seed=tried, stride=3):
            if chance.random() < 0.5:
                check_recovered(run, again)
                tried += 1
    assert tried > 60


def test_the_steps_come_in_order() -> None:
    told = []
    for each in Run(new_file(), small_change).operations:
        if each.name == "journal":
            told.append("no journal" if each.journal is None else Journal.unpack(each.journal).state.value)
        elif each.name == "write" and not each.offset:
            told.append(f"header, maps {Header.unpack(each.data).root.fAMapValid}")
        elif told[-1] != each.name:
            told.append(each.name)
    assert told == [
        *("writing", "header, maps 0", "sync", "write", "sync"),
        *("committed", "header, maps 0", "sync", "write", "sync", "header, maps 2", "sync", "no journal"),
    ]


# Another program


def disks_with_journal(run: Run) -> Iterator[tuple[MemoryStorage, Journal]]:
    """One disk for each state of the journal, with everything that was written."""
    data, journal = bytearray(run.old), None
    seen: set[tuple[State, bytes]] = set()
    for each in run.operations:
        if each.name == "journal":
            journal = each.journal
        apply(data, each)
        if journal is not None and each.name == "sync":
            parsed = Journal.unpack(journal)
            if (parsed.state, bytes(data[:IMAGE])) not in seen:
                seen.add((parsed.state, bytes(data[:IMAGE])))
                yield MemoryStorage(bytearray(data), journal), parsed


def outlook_wrote(data: bytearray) -> None:
    header = Header.unpack(bytes(data))
    data[:564] = replace(header, dwUnique=header.dwUnique + 1).sealed().pack()


FOREIGN: dict[str, Callable[[bytearray], object]] = {
    "header": outlook_wrote,
    "longer": lambda data: data.extend(bytes(1 << 26)),
    "shorter": lambda data: data.__delitem__(slice(len(data) - 300_000, None)),
    "other": lambda data: data.__setitem__(slice(0, 1024), bytes(1024)),
}


@pytest.mark.parametrize("how", FOREIGN)
def test_a_file_that_another_program_wrote_to_is_left_alone(how: str) -> None:
    count = 0
    for disk, _ in disks_with_journal(Run(new_file(), growing_change)):
        FOREIGN[how](disk.data)
        before = bytes(disk.data), disk.journal
        with pytest.raises(Refused, match="another program"):
            recover_storage(disk)
        assert (bytes(disk.data), disk.journal, disk.operations) == (*before, [])
        count += 1
    assert count >= 3


def test_a_change_that_was_damaged_meanwhile_is_not_erased_around() -> None:
    for disk, journal in disks_with_journal(Run(new_file(), growing_change)):
        if journal.state is State.COMMITTED:
            entry = next(open_bytes(disk.data).blocks.entries())
            disk.data[entry.ib] ^= 1
            before = bytes(disk.data)
            with pytest.raises(DamagedInput, match="damaged now"):
                recover_storage(disk)
            assert (bytes(disk.data), disk.operations) == (before, [])


@pytest.mark.parametrize("at", [0, 10, 60, 120, 300, 500, -1])
def test_a_journal_with_a_fault_is_not_followed(at: int) -> None:
    for disk, journal in disks_with_journal(Run(new_file(), small_change)):
        packed = bytearray(journal.pack())
        assert Journal.unpack(bytes(packed)) == journal
        packed[at] ^= 4
        with pytest.raises(ValueError):
            Journal.unpack(bytes(packed))
        disk.journal = bytes(packed)
        with pytest.raises(Refused, match="cannot be read"):
            recover_storage(disk)
    for short in (b"", b"[]", b"null\n", b"[" * 5000, packed[:-1], packed + b"\0"):
        with pytest.raises(ValueError):
            Journal.unpack(bytes(short))


# A failing disk


@dataclass
class FailingStorage(MemoryStorage):
    """Fails at operation ``fails_at``, and from then on too where it is ``broken``."""

    fails_at: int = 0
    broken: bool = False

    def do(self, operation: Operation) -> None:
        if len(self.operations) == self.fails_at and (self.broken or self.fails_at >= 0):
            if not self.broken:
                self.fails_at = -1
            raise SourceUnavailable("the disk is full")
        super().do(operation)


@pytest.mark.parametrize("broken", [False, True])
def test_s15_the_disk_fails_at_any_operation(broken: bool) -> None:
    run = Run(new_file(), small_change)
    commit = next(
        at for at, each in enumerate(run.operations)
        if each.journal is not None and Journal.unpack(each.journal).state is State.COMMITTED
    )  # fmt: skip
    for at in range(len(run.operations)):
        disk = FailingStorage(bytearray(run.old), fails_at=at, broken=broken)
        editor = NodeEditor(disk)
        with pytest.raises(ExciseError) as raised:
            small_change(editor)
        assert isinstance(raised.value, Unfinished) == (at >= commit)
        if broken and 0 < at < commit:
            with pytest.raises(SourceUnavailable):
                editor.close()
        else:
            editor.close()
        assert (disk.journal is None) == (at == 0 or (not broken and at < commit)) or at == len(run.operations) - 1
        check_recovered(run, MemoryStorage(disk.data, disk.journal))


@dataclass
class LyingStorage(MemoryStorage):
    """Writes something else than it was told, once."""

    lies_at: int = 0

    def do(self, operation: Operation) -> None:
        if len(self.operations) == self.lies_at and operation.name == "write" and operation.offset:
            operation = replace(operation, data=operation.data[:-1] + bytes([operation.data[-1] ^ 1]))
        super().do(operation)


def test_what_does_not_read_back_is_not_committed() -> None:
    run = Run(new_file(), small_change)
    commit = next(at for at, each in enumerate(run.operations) if at and each.journal is not None)
    lies = [at for at in range(commit) if run.operations[at].name == "write" and run.operations[at].offset]
    assert len(lies) > 5
    for at in lies:
        disk = LyingStorage(bytearray(run.old), lies_at=at)
        editor = NodeEditor(disk)
        with pytest.raises(DamagedInput, match="does not read back"):
            small_change(editor)
        editor.close()
        assert disk.journal is None
        assert contents(disk.data) == run.before
        assert disk.data[:IMAGE] == run.old[:IMAGE]


# A kill

PROGRAM = """
import os, signal, sys
from excise.pst.ndb.edit import NodeEditor
from excise.pst.ndb.edit_storage import PathStorage
from pst.test_edit_power import small_change

left = int(sys.argv[2])

class Killed(PathStorage):
    def write(self, offset, data):
        super().write(offset, data[: len(data) // 2])
        step()
        super().write(offset, data)
        step()

    def resize(self, size):
        step()
        super().resize(size)

    def sync(self):
        step()
        super().sync()

    def write_journal(self, data):
        super().write_journal(data)
        step()

    def remove_journal(self):
        step()
        super().remove_journal()

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

with Killed(sys.argv[1]) as storage:
    small_change(NodeEditor(storage))
print(left)
"""


def edit_in_a_process(path: Path, left: int) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(left)], env=env, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def test_s15_a_process_is_killed_at_a_write(tmp_path: Path) -> None:
    run = Run(new_file(), small_change)
    path = tmp_path / "a.pst"
    path.write_bytes(run.old)
    whole = edit_in_a_process(path, 1_000_000)
    assert whole.returncode == 0, whole.stderr
    assert path.read_bytes() == run.new
    steps = 1_000_000 - int(whole.stdout)
    outcomes = set()
    for left in [*random.Random(5).sample(range(1, steps), 6), steps]:
        path.write_bytes(run.old)
        assert edit_in_a_process(path, left).returncode == -signal.SIGKILL
        assert path.with_name(path.name + JOURNAL_SUFFIX).exists()
        outcomes.add(recover(path))
        assert os.listdir(tmp_path) == [path.name]
        check_recovered(run, MemoryStorage(bytearray(path.read_bytes())))
    assert outcomes == {Recovery.UNDONE, Recovery.FINISHED}
