"""What must hold of a file from which messages were removed, asked of our reader and checker, libpff and readpst."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import excise.pst
from excise.pst.disk.crypt import CRYPT_PERMUTE, decode
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.heaps import CLIENT_ID_MAP, CLIENT_MESSAGE_INDEX, CLIENT_PC, CLIENT_TC, HN_SIGNATURE
from excise.pst.ltp.build_heap import Built, HeapBuilder
from excise.pst.ltp.build_table import ROW_ID_TAG, ROW_VERSION_TAG, Column, Schema, build_table
from excise.pst.ltp.rebuild import HeapMap
from excise.pst.ltp.table import TableContext
from excise.pst.messaging.message import Message
from excise.pst.ndb.edit import NodeEditor, edit_nodes
from excise.pst.ndb.read import Node

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
UNICODE_FILES = [path for path in sorted(SAMPLES.glob("*.pst")) if path.read_bytes()[10] >= 23]

#: Enough of them for a subnode of their own in a list of the message index; there are no such messages.
OTHER_NIDS = [0x400024 + 32 * number for number in range(1000)]

_WINDOW = 32
_CONTENTS = {0x0E, 0x0F, 0x10}
# What readpst draws by chance, takes from the clock, or from the number of a block.
_READPST_OWN = re.compile(rb"--boundary-LibPST-iamunique-\d+_-_-|(?m:^(?:UID|DTSTAMP):.*$)")


def digest(message: Message) -> Any:
    """Everything that a message has, embedded messages included."""
    return (
        list(message.properties.items()),
        [list(each.properties.items()) for each in message.recipients],
        [
            (each.nid, list(each.properties.items()), each.read(), each.embedded and digest(each.embedded))
            for each in message.attachments
        ],
    )


def messages(pst: excise.pst.PstFile) -> dict[int, Any]:
    """Every message and associated item by NID: where it is and what it is."""
    return {
        item.nid: (folder.path, digest(item))
        for folder in pst.folders()
        for item in (*folder.messages(), *folder.associated())
        if isinstance(item, Message)
    }


@cache
def findings_of(path: Path) -> Counter[Any]:
    """``findings`` of a file that does not change."""
    return findings(path)


def findings(path: Path) -> Counter[Any]:
    """What the checker finds and where, without the values, which name other rows and offsets."""
    damage = [(each.grade, each.damage) for each in excise.pst.check(path).findings]
    return Counter((grade, each.structure, each.field, each.place) for grade, each in damage)


def tree(node: Node) -> Any:
    """All bytes of a node and of those below it, in blocks."""
    blocks = list(node.data.chunks()) if node.bid_data else []
    below = {nid: tree(child) for nid in node.subnodes if (child := node.child(nid)) is not None}
    assert not node.log
    return blocks, below


def nodes(pst: excise.pst.PstFile) -> dict[int, Any]:
    """Every node of the NBT: its parent and its bytes."""
    entries = pst.ndb.nodes.entries()
    return {each.nid: (each.nidParent, tree(pst.ndb.open(each, DamageLog()))) for each in entries}


def rows(pst: excise.pst.PstFile, nid: int) -> dict[int, dict[int, bytes]]:
    """The cells of a table, by row and property id, as they are stored."""
    node = pst.ndb.node(nid)
    assert node is not None
    return {row.row_id: {prop: row.raw(prop) for prop in row.ids()} for row in TableContext(node).rows()}


def is_table(node: Any) -> bool:
    """True for a table among ``nodes``."""
    return _client(node) == CLIENT_TC


def is_wide(node: Any) -> bool:
    """True for a wide table among ``nodes``."""
    return _client(node) == 0xAC


def is_context(node: Any) -> bool:
    """True for a Property Context among ``nodes``."""
    return _client(node) == CLIENT_PC


def _client(node: Any) -> int | None:
    blocks = node[1][0]
    return blocks[0][3] if blocks and blocks[0][2:3] == bytes([HN_SIGNATURE]) else None


def _leaves(content: Any) -> Iterator[bytes]:
    yield from content[0]
    for below in content[1].values():
        yield from _leaves(below)


def _texts(message: Message) -> Iterator[str]:
    sets = [message.properties, *(each.properties for each in (*message.recipients, *message.attachments))]
    for properties in sets:
        yield from (line for _, _, value in properties.items() if isinstance(value, str) for line in value.split("\n"))
    for attachment in message.attachments:
        if attachment.embedded is not None:
            yield from _texts(attachment.embedded)


@cache
def nodes_of(path: Path) -> dict[int, Any]:
    """``nodes`` of a file that does not change."""
    with excise.pst.open(path) as pst:
        return nodes(pst)


@cache
def messages_of(path: Path) -> dict[int, Any]:
    """``messages`` of a file that does not change."""
    with excise.pst.open(path) as pst:
        return messages(pst)


@cache
def markers(path: Path, nid: int, limit: int = 24) -> frozenset[bytes]:
    """What only the message ``nid`` and the rows that mirror it have: lines of its texts, pieces of its blocks."""
    every = nodes_of(path)
    rest = b"\0".join(
        leaf
        for other, (_, content) in every.items()
        if other != nid and other & 0x1F not in _CONTENTS
        for leaf in _leaves(content)
    )
    pieces = [leaf[at : at + _WINDOW] for leaf in _leaves(every[nid][1]) for at in range(0, len(leaf) - 40, 32)]
    own = (piece for piece in _spread(pieces) if len(set(piece)) > 8 and piece not in rest)
    with excise.pst.open(path) as pst:
        lines = sorted({line.strip() for line in _texts(pst.message(nid)) if 8 <= len(line.strip()) <= 200})
    # A text of other messages may stand there in the other form.
    forms = ([line.encode(codec, "replace") for codec in ("utf-16-le", "utf-8", "cp1252")] for line in _spread(lines))
    own_lines = (each for each in forms if not any(form in rest for form in each))
    return frozenset({*islice(own, limit), *(form for each in islice(own_lines, limit) for form in each)})


def _spread(values: list[Any]) -> list[Any]:
    """``values``, neighbours far apart."""
    return [value for start in range(16) for value in values[start::16]]


def found_in(marks: Iterable[bytes], data: bytes) -> set[bytes]:
    """The marks that stand in the bytes of a file, as they are or permuted."""
    decoded = decode(data, CRYPT_PERMUTE, 0)
    return {mark for mark in marks if mark in data or mark in decoded}


def libpff_items(path: Path) -> dict[int, Any]:
    """The items that libpff lists, by NID."""
    import pypff

    found = {}
    file = pypff.file()
    file.open(str(path))
    try:
        stack = [file.get_root_folder()]
        while stack:
            folder = stack.pop()
            stack += folder.sub_folders
            for each in folder.sub_messages:
                texts = [getattr(each, name, None) for name in ("subject", "transport_headers", "sender_name")]
                found[each.identifier] = (folder.name, *texts, getattr(each, "number_of_attachments", None))
    finally:
        file.close()
    return found


def pffexport_marks(path: Path, target: Path, marks: Iterable[bytes]) -> set[bytes]:
    """The marks in what pffexport makes of the items and of all that it recovers."""
    command = ["pffexport", "-m", "all", "-q", "-t", str(target), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    written = [each for each in target.parent.rglob("*") if each.name != path.name]
    data = b"\0".join(each.read_bytes() for each in written if each.is_file())
    data += b"\0".join(os.fsencode(each.name) for each in written)
    return {mark for mark in marks if mark in data}


def readpst_items(path: Path, target: Path) -> Counter[bytes]:
    """The files that readpst makes of the items. Its workers (-j) share a file offset and mix up what they read."""
    target.mkdir()
    subprocess.run(["readpst", "-j", "0", "-q", "-S", "-D", "-o", str(target), str(path)], check=True, timeout=120)
    return Counter(_READPST_OWN.sub(b"", each.read_bytes()) for each in target.rglob("*") if each.is_file())


def message_index(pst: excise.pst.PstFile) -> dict[bytes, list[int]]:
    """The lists of the message index by their keys."""
    node = pst.ndb.node(0xE01)
    assert node is not None
    index = HeapMap.read(node, CLIENT_MESSAGE_INDEX, 4)
    lists = {key: index.heap.value(hnid) for key, hnid in index.records}
    return {
        key: [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        for key, data in lists.items()
    }


def id_map(pst: excise.pst.PstFile) -> dict[bytes, int]:
    """The records of the ID map."""
    node = pst.ndb.node(0xC01)
    assert node is not None
    return dict(HeapMap.read(node, CLIENT_ID_MAP, 16).records)


def multiplied(path: Path, target: Path, count: int) -> list[int]:
    """A copy of ``path`` in which its only message is there ``count`` times, sharing its blocks; their NIDs.

    The contents table has rows in many blocks with a large cell each, and the message index lists of all sizes.
    """
    shutil.copyfile(path, target)
    target.chmod(0o600)
    with excise.pst.open(path) as pst:
        (nid,) = messages(pst)
        (folder,) = [folder.nid for folder in pst.folders() if folder.message_nids]
    with edit_nodes(target) as editor:
        nids = [nid, *(editor.next_nid(0x04) for _ in range(count - 1))]
        entry = editor.entry(nid)
        assert entry is not None
        for each in nids[1:]:
            editor.node(each, editor.existing(entry.bidData), editor.existing(entry.bidSub), entry.nidParent)
        large = editor.bytes_tree("To everyone; ".encode("utf-16-le") * 400)
        table_node = editor.ndb.node(folder & ~0x1F | 0x0E)
        assert table_node is not None
        table = TableContext(table_node)
        (row,) = table.rows()
        schema = Schema(
            tuple(Column(c.tag, c.ibData, c.cbData, c.iBit) for c in table.info.rgTCOLDESC), table.info.rgib
        )
        common = {table.columns[prop].tag: row.raw(prop) for prop in row.ids()}
        cells = [
            common | {ROW_ID_TAG: _dword(each), ROW_VERSION_TAG: _dword(editor.next_unique()), 0x0E04001F: large}
            for each in nids
        ]
        _enter(editor, table_node.nid, build_table(editor, schema, cells))
        heap = HeapBuilder(editor, CLIENT_MESSAGE_INDEX)
        root, header = heap.add(_dword(0x40) + bytes(52)), heap.add(bytes(8))
        lists = [nids, OTHER_NIDS, [0x300024, 0x300044], nids[3:4], nids + OTHER_NIDS]
        records = [_dword(key) + _dword(heap.value(b"".join(map(_dword, each)))) for key, each in enumerate(lists)]
        heap.replace(header, heap.tree(4, 4, records).header.pack())
        _enter(editor, 0xE01, heap.finish(root))
        editor.commit()
    return nids


def _enter(editor: NodeEditor, nid: int, built: Built) -> None:
    editor.node(nid, built.data, editor.subnode_tree(built.subnodes))


def _dword(value: int) -> bytes:
    return value.to_bytes(4, "little")
