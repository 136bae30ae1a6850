"""A file to edit in memory, with every operation recorded, and what a file holds, told by the reader."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from excise.pst.check.database import check_database
from excise.pst.check.report import Report
from excise.pst.disk import crypt
from excise.pst.disk.damage import DamageLog
from excise.pst.ndb.edit_storage import Storage
from excise.pst.ndb.read import Node, NodeDatabase
from excise.pst.ndb.source import StreamSource
from excise.pst.ndb.write import NO_TREE, NodeWriter, SubnodeEntry

MESSAGES = [0x200024 + 32 * number for number in range(12)]
FOLDER = 0x8022
Contents = dict[int, object]


@dataclass(frozen=True)
class Operation:
    """One call of ``Storage`` that changes something; ``journal`` None takes the journal away."""

    name: str
    offset: int = 0
    data: bytes = b""
    journal: bytes | None = None


@dataclass
class MemoryStorage:
    """A ``Storage`` in memory; ``operations`` is everything that was done to it."""

    data: bytearray
    journal: bytes | None = None
    name: str = "memory.pst"
    operations: list[Operation] = field(default_factory=list)

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.do(Operation("write", offset, bytes(data)))

    def resize(self, size: int) -> None:
        self.do(Operation("resize", size))

    def sync(self) -> None:
        self.do(Operation("sync"))

    def read_journal(self) -> bytes | None:
        return self.journal

    def write_journal(self, data: bytes) -> None:
        self.do(Operation("journal", journal=data))

    def remove_journal(self) -> None:
        self.do(Operation("journal"))

    def do(self, operation: Operation) -> None:
        self.operations.append(operation)
        if operation.name == "journal":
            self.journal = operation.journal
        else:
            apply(self.data, operation)


def apply(data: bytearray, operation: Operation) -> None:
    """What ``operation`` does to the bytes of a file."""
    if operation.name == "write":
        data.extend(bytes(max(0, operation.offset - len(data))))
        data[operation.offset : operation.offset + len(operation.data)] = operation.data
    elif operation.name == "resize":
        del data[operation.offset :]
        data.extend(bytes(operation.offset - len(data)))


def marker(number: int) -> bytes:
    """Bytes that stand in one node alone."""
    return hashlib.sha256(b"%d" % number).digest()


def new_file(crypt_method: int = crypt.CRYPT_PERMUTE) -> bytes:
    """A file with a folder and messages: of one block, of many, with subnodes, two of them sharing theirs."""
    stream = io.BytesIO()
    writer = NodeWriter(stream, crypt_method=crypt_method)
    writer.node(FOLDER, writer.bytes_tree(b"folder"), parent=0x122)
    shared = writer.bytes_tree(b"shared by many " * 50)
    for number, nid in enumerate(MESSAGES):
        data = writer.bytes_tree(marker(number) * (1 + 300 * (number % 3)))
        big = writer.bytes_tree(b"attachment" + marker(number) * (200 * number))
        deep = writer.subnode_tree([SubnodeEntry(0x3F, writer.bytes_tree(b"deep" + marker(number)), NO_TREE)])
        attachments = [SubnodeEntry(writer.next_nid(5), big, deep), SubnodeEntry(writer.next_nid(5), shared, NO_TREE)]
        writer.node(nid, data, writer.subnode_tree(attachments), parent=FOLDER)
    for _ in range(100):
        writer.next_unique()
    writer.close()
    return stream.getvalue()


def open_bytes(data: bytes | bytearray) -> NodeDatabase:
    """The node database of a file in memory."""
    return NodeDatabase(StreamSource(io.BytesIO(data)), DamageLog())


def findings(data: bytes | bytearray) -> set[str]:
    """What the checker finds, notes included."""
    ndb = open_bytes(data)
    report = Report("file", ndb.format.name)
    check_database(ndb, report)
    return {each.text() for each in (*report.findings, *ndb.log.entries)}


def contents(data: bytes | bytearray) -> Contents:
    """Every node with its parent, data and subnodes, as the reader has them."""
    ndb = open_bytes(data)
    return {entry.nid: (entry.nidParent, *_node(ndb.open(entry))) for entry in ndb.nodes.entries()}


def _node(node: Node) -> tuple[object, ...]:
    digest = hashlib.sha256(node.data.read() if node.bid_data else b"").hexdigest()
    return digest, {nid: _node(child) for nid in node.subnodes if (child := node.child(nid)) is not None}


def readings(data: bytes | bytearray) -> Iterator[bytes]:
    """The raw bytes, and as if all of them were encoded by permutation."""
    yield bytes(data)
    yield crypt.decode(bytes(data), crypt.CRYPT_PERMUTE, 0)


_: type[Storage] = MemoryStorage
