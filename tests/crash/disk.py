"""A disk that can lose its power: a model of files and names, fed with a recorded run's system calls (S15).

What counts as flushed: a file's bytes, once it was fsynced; a name (made, moved or taken away), once a directory that
it stands in was fsynced. A rename is one step, as on every file system with a journal. ``Disk.cut`` gives what a disk
may hold if the power goes now.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

IDENTITY = "user.excise.mailbox"
RECORDED = (
    *("openat", "write", "lseek", "ftruncate", "copy_file_range", "fsync", "rename", "renameat2", "unlink", "unlinkat"),
    *("mkdir", "rmdir", "link", "linkat", "pwrite64", "fdatasync", "mkdirat", "renameat", "sendfile", "dup", "dup2"),
)
_MEMORY = "".join(f"\\x{byte:02x}" for byte in b"memfd:").encode("ascii")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
_ARGUMENT = re.compile(r'"(?P<text>[^"]*)"(?:\.\.\.)?|(?P<word>[^,"<]+(?:<(?:[^>\\]|\\.)*>(?:\(deleted\))?)?)')
_FD = re.compile(r"(?P<fd>\d+|AT_FDCWD)(?:<(?P<path>.*)>(?:\(deleted\))?)?\Z")


class Cut(Enum):
    """What of the unflushed work is lost.

    ``ALL``: names and bytes. ``BYTES``: names are there, the bytes behind them are not. ``NOTHING``: none of it, as
    after a kill.
    """

    ALL = "all"
    BYTES = "bytes"
    NOTHING = "nothing"


@dataclass(eq=False, slots=True)
class Node:
    """A file or a directory; ``data`` is None for a directory."""

    data: bytearray | None
    flushed: bytes = b""
    inode: int = 0
    born: str = ""


Names = dict[str, Node]


@dataclass(slots=True)
class _Change:
    """One step of the name space: names that go and names that come."""

    gone: tuple[str, ...]
    come: tuple[tuple[str, Node], ...]

    @property
    def directories(self) -> set[str]:
        """The directories that it touches."""
        return {os.path.dirname(name) for name in (*self.gone, *(name for name, _ in self.come))}

    def apply(self, names: Names) -> None:
        """Take the step; what stands below a moved directory moves along."""
        moved = {}
        for name in self.gone:
            below = [path for path in names if path == name or path.startswith(name + "/")]
            moved[name] = {path[len(name) :]: names.pop(path) for path in below}
        for name, node in self.come:
            source = next((old for old in moved.values() if old.get("") is node), {"": node})
            names.update({name + rest: below for rest, below in source.items()})


@dataclass(slots=True)
class Disk:
    """Files and names below ``roots``, as programs see them and as they are on disk."""

    roots: tuple[str, ...]
    names: Names = field(default_factory=dict)
    on_disk: Names = field(default_factory=dict)
    _pending: list[_Change] = field(default_factory=list)
    _open: dict[int, tuple[Node, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, *roots: Path) -> Disk:
        """The disk as it is below ``roots``, all of it flushed."""
        disk = cls(tuple(map(str, roots)))
        for root in roots:
            for path in (root, *sorted(root.rglob("*"))):
                data = None if path.is_dir() else bytearray(path.read_bytes())
                disk.names[str(path)] = Node(data, bytes(data or b""), path.stat().st_ino)
        disk.on_disk = dict(disk.names)
        return disk

    def cut(self, kind: Cut) -> dict[str, tuple[Node, bytes | None]]:
        """What is on the disk if the power goes now: names with their nodes and bytes."""
        names = self.on_disk if kind is Cut.ALL else self.names
        return {
            name: (node, None if node.data is None else bytes(node.data) if kind is Cut.NOTHING else node.flushed)
            for name, node in names.items()
        }

    def start_process(self) -> None:
        """A new process has no file open."""
        self._open.clear()

    # System calls

    def feed(self, line: str) -> bool:
        """Take one line of a trace; True where it changed something that may be lost, or flushed it."""
        found = _CALL.match(line)
        if found is None or found["result"] == "?" or int(found["result"]) < 0:
            return False
        arguments = [
            _decoded(a["text"]) if a["text"] is not None else a["word"].strip().encode()
            for a in _ARGUMENT.finditer(found["arguments"])
        ]
        step: Callable[[list[bytes], int], bool] | None = getattr(self, f"_{found['name']}", None)
        if step is None:
            raise AssertionError(f"the model knows no {found['name']}: {line[:200]}")
        return step([a for a in arguments if a], int(found["result"]))

    def _inside(self, path: str) -> bool:
        return any(path == root or path.startswith(root + "/") for root in self.roots)

    def _path(self, directory: bytes, name: bytes) -> str:
        found = _FD.match(directory.decode("latin-1"))
        assert found is not None, directory
        base = _decoded((found["path"] or "").encode().decode()).decode()
        return os.path.normpath(os.path.join(base, os.fsdecode(name)))

    def _node(self, fd: bytes) -> tuple[int, Node, int] | None:
        found = _FD.match(fd.decode("latin-1"))
        assert found is not None, fd
        number = int(found["fd"])
        if _MEMORY in fd:
            # A file in memory (memfd_create) has taken the number of one that was closed; it is not on the disk.
            self._open.pop(number, None)
        return (number, *self._open[number]) if number in self._open else None

    def _change(self, gone: tuple[str, ...], come: tuple[tuple[str, Node], ...]) -> bool:
        change = _Change(gone, come)
        change.apply(self.names)
        self._pending.append(change)
        return True

    def _openat(self, a: list[bytes], result: int) -> bool:
        path, flags = self._path(a[0], a[1]), a[2].split(b"|")
        self._open.pop(result, None)
        if b"O_TMPFILE" in flags:
            if self._inside(path):
                self._open[result] = (Node(bytearray()), 0)
            return False
        node = self.names.get(path)
        made = node is None and b"O_CREAT" in flags and self._inside(path)
        if node is None and made:
            node = Node(bytearray(), born=path)
            self._change((), ((path, node),))
        if node is not None:
            if b"O_TRUNC" in flags and node.data is not None:
                del node.data[:]
            self._open[result] = (node, 0)
        return made

    def _write(self, a: list[bytes], result: int) -> bool:
        found = self._node(a[0])
        if found is None or found[1].data is None:
            return False
        fd, node, at = found
        data = a[1][:result]
        assert node.data is not None and len(data) == result, "the trace was cut"
        node.data[at : at + result] = data
        self._open[fd] = (node, at + result)
        return True

    def _pwrite64(self, a: list[bytes], result: int) -> bool:
        found = self._node(a[0])
        if found is None or found[1].data is None:
            return False
        data, at = found[1].data, int(a[3])
        assert len(a[1]) >= result, "the trace was cut"
        data.extend(bytes(max(0, at - len(data))))
        data[at : at + result] = a[1][:result]
        return True

    def _lseek(self, a: list[bytes], result: int) -> bool:
        found = self._node(a[0])
        if found is not None:
            self._open[found[0]] = (found[1], result)
        return False

    def _ftruncate(self, a: list[bytes], result: int) -> bool:
        found = self._node(a[0])
        if found is not None and found[1].data is not None:
            del found[1].data[int(a[1]) :]
            found[1].data.extend(bytes(int(a[1]) - len(found[1].data)))
        return found is not None

    def _copy_file_range(self, a: list[bytes], result: int) -> bool:
        source, target = self._node(a[0]), self._node(a[2])
        assert source is not None and target is not None
        assert source[1].data is not None and target[1].data is not None
        start, at = int(a[1].strip(b"[]")), int(a[3].strip(b"[]"))
        target[1].data[at : at + result] = source[1].data[start : start + result]
        return True

    def _fsync(self, a: list[bytes], result: int) -> bool:
        found = self._node(a[0])
        if found is None:
            return False
        node = found[1]
        if node.data is not None:
            node.flushed = bytes(node.data)
            return True
        path = next(name for name, there in self.names.items() if there is node)
        for change in [change for change in self._pending if path in change.directories]:
            change.apply(self.on_disk)
            self._pending.remove(change)
        return True

    _fdatasync = _fsync

    def _rename(self, a: list[bytes], result: int) -> bool:
        old, new = os.fsdecode(a[0]), os.fsdecode(a[1])
        if not self._inside(old):
            return False
        gone = (old, new) if new in self.names else (old,)
        return self._change(gone, ((new, self.names[old]),))

    def _renameat2(self, a: list[bytes], result: int) -> bool:
        assert a[4] == b"RENAME_EXCHANGE", a
        one, other = self._path(a[0], a[1]), self._path(a[2], a[3])
        return self._change((one, other), ((one, self.names[other]), (other, self.names[one])))

    def _unlink(self, a: list[bytes], result: int) -> bool:
        path = os.fsdecode(a[0])
        return self._inside(path) and self._change((path,), ())

    def _unlinkat(self, a: list[bytes], result: int) -> bool:
        path = self._path(a[0], a[1])
        return self._inside(path) and self._change((path,), ())

    def _rmdir(self, a: list[bytes], result: int) -> bool:
        return self._unlink(a, result)

    def _mkdir(self, a: list[bytes], result: int) -> bool:
        path = os.fsdecode(a[0])
        return self._inside(path) and self._change((), ((path, Node(None)),))

    def _linkat(self, a: list[bytes], result: int) -> bool:
        new = self._path(a[2], a[3])
        if not self._inside(new):
            return False
        # An unnamed file is named through /proc/self/fd: the name there is the number of its descriptor.
        unnamed = a[4] == b"AT_SYMLINK_FOLLOW"
        node = self._open[int(a[1])][0] if unnamed else self.names[self._path(a[0], a[1])]
        return self._change((), ((new, node),))

    def _link(self, a: list[bytes], result: int) -> bool:
        old, new = map(os.fsdecode, a[:2])
        return self._inside(new) and self._change((), ((new, self.names[old]),))


def _decoded(text: str) -> bytes:
    """A string as strace shows it."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def whole_calls(trace: Path) -> Iterator[str]:
    """The calls of a trace's main process, those that strace split put together."""
    main, begun = "", ""
    for line in trace.read_text(encoding="latin-1").splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.lstrip()
        main = main or pid
        if pid != main:
            continue
        if rest.endswith("<unfinished ...>"):
            begun = rest.removesuffix("<unfinished ...>")
        elif rest.startswith("<... "):
            yield begun + rest.partition(" resumed>")[2]
        else:
            yield rest


def lay_out(state: dict[str, tuple[Node, bytes | None]], disk: Disk, identity: str) -> None:
    """Make the files of ``state`` on the real disk, in place of what is below the roots.

    Directories that are there stay, since a Maildir's inode is its identity. A file of the mailbox itself gets the
    planned ``identity`` by the attribute with which Excise's own replacements hand it on, and the note of a
    replacement the inodes that the files have here.
    """
    for root in disk.roots:
        _clear(Path(root), {name for name, (node, _) in state.items() if node.data is None})
    inodes: dict[int, int] = {}
    for name, (node, data) in sorted(state.items()):
        path = Path(name)
        if data is None:
            path.mkdir(mode=0o700, exist_ok=True)
            continue
        assert path.parent.is_dir(), f"{name}: a name without its directory"
        path.touch(0o600)
        path.write_bytes(data)
        inodes[id(node)] = path.stat().st_ino
        if "excise" in path.name or path.name.endswith(".mbox"):
            own = path.stat()
            os.setxattr(path, IDENTITY, f"{identity} dev:{own.st_dev:x},ino:{own.st_ino}".encode())
    _mend_notes(state, inodes)


def _clear(root: Path, directories: set[str]) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_dir() or path.is_symlink():
            path.unlink()
        elif str(path) not in directories:
            path.rmdir()


def _mend_notes(state: dict[str, tuple[Node, bytes | None]], inodes: dict[int, int]) -> None:
    nodes = [node for node, _ in state.values() if id(node) in inodes]
    for name, (_, data) in state.items():
        if name.endswith("excise-note") and data:
            note = json.loads(data)
            old = [inodes[id(node)] for node in nodes if node.inode == note["old"]]
            new = [inodes[id(node)] for node in nodes if node.born == name.replace("-note", "-new")]
            note.update(old=(old or [1])[0], new=(new or [1])[0])
            Path(name).write_text(json.dumps(note))
