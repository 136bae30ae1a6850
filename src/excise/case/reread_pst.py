"""Reading the ``messages.pst`` of a part again, by code that shares nothing with what wrote it (S13).

Excise's own reader checks the structure with the checksum of every page and block, so that a byte which went wrong on
its way to the disk is found wherever it is used. libpff, a reader by others, then walks the file: every item must be in
its folder, nothing else may be there, and the bytes of its MIME, or each of its properties, recipients and
attachments, must equal what was taken as the item was fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from excise.case.pst_held import Held, Names, Unreadable, held_by_libpff, names_of, reading, record_sets
from excise.case.reread_mapi import differences
from excise.core.bulk import Spool
from excise.core.files import open_nofollow
from excise.mapi.properties import PropertyBag
from excise.pst.check.database import check_database
from excise.pst.check.report import NOTE, Report
from excise.pst.file.read import PstFile, open_pst

Line = Mapping[str, Any]
_SET = "6f0f6c1e-5a51-4c0e-9b0b-2f1d6a3e8c47"
_KEYS = ("OriginalMime", "RebuiltMime")
_ITEM_TYPES, _FOLDER = (4, 8), 2
_IPM_SUBTREE, _ENTRY_ID_SIZE = 0x35E0, 24
_DEPTH = 300


def compare_pst(path: Path, lines: Sequence[Line], compare: Callable[[str, bytes, Line], None]) -> Iterator[str]:
    """What does not hold in the PST file at ``path`` of the items in ``lines``.

    ``compare`` is told the place, the MIME that was found, and the line that it must fit. An OSError passes where the
    file itself cannot be opened.
    """
    with ExitStack() as stack:
        first, second = (stack.enter_context(os.fdopen(open_nofollow(path), "rb")) for _ in range(2))
        try:
            with reading():
                own = stack.enter_context(open_pst(first))
                report = Report(str(path), own.format_name)
                check_database(own.ndb, report)
                # libpff reads the names of properties as it opens the file, whatever they take.
                _ = own.names
            # Nothing here is as a source had it, so that a warning too means that something went wrong.
            problems = [f"{path}: {each.text()}" for each in report.findings if each.grade != NOTE]
            problems += [f"{path}: {each.text()}" for each in own.damage]
            if problems or not report.clean:
                yield from problems or (f"{path}: its structure is damaged",)
                return
            yield from _Comparison(path, own, lines, compare).run(second)
        except Unreadable as error:
            yield f"{path}: {error}"


class _Comparison:
    """One file while it is compared."""

    def __init__(
        self, path: Path, own: PstFile, lines: Sequence[Line], compare: Callable[[str, bytes, Line], None]
    ) -> None:
        self._path, self._own, self._compare = path, own, compare
        self._left: dict[int, Line] = {}
        self._lines = lines
        self._names: Names = {}
        self._records = Records(path.parent / "properties.jsonl")

    def run(self, stream: BinaryIO) -> Iterator[str]:
        """Everything that differs."""
        import pypff

        for line in self._lines:
            place = line.get("pst")
            if not isinstance(place, dict) or not isinstance(place.get("nid"), int) or place["nid"] in self._left:
                yield f"{self._path.parent}/items.jsonl: {line['evidence']}: expected its place in the PST"
            else:
                self._left[place["nid"]] = line
        handle = pypff.file()
        with reading():
            handle.open_file_object(stream)
        try:
            with reading():
                self._names = names_of(handle)
                orphans = handle.number_of_orphan_items
            if orphans:
                yield f"{self._path}: {orphans} items are in no folder"
            yield from self._walk(handle)
        finally:
            with reading():
                handle.close()
        yield from (f"{self._path}: {line['evidence']} is not there" for line in self._left.values())

    def _walk(self, handle: Any) -> Iterator[str]:
        import pypff

        with reading():
            subtree = _subtree_nid(handle)
            root = handle.get_root_folder()
            if root is None:
                raise ValueError("there is no root folder")
            stack: list[tuple[Any, tuple[str, ...] | None]] = [(root, None)]
        while stack:
            folder, place = stack.pop()
            with reading():
                children = [folder.get_sub_item(at) for at in range(folder.number_of_sub_items)]
            for node in children:
                with reading():
                    nid = node.identifier
                if nid & 31 == _FOLDER:
                    if not isinstance(node, pypff.folder):
                        # By its content libpff takes it for something else; what was in it will be missed by name.
                        yield f"{self._path}: folder 0x{nid:x}: libpff finds no folder in it"
                        continue
                    with reading():
                        inner = () if nid == subtree else None if place is None else (*place, node.name or "")
                    if inner is not None and len(inner) > _DEPTH:
                        yield f"{self._path}: folders are nested too deep"
                        return
                    stack.append((node, inner))
                elif nid & 31 in _ITEM_TYPES:
                    yield from self._item(node, nid, place)

    def _item(self, node: Any, nid: int, place: tuple[str, ...] | None) -> Iterator[str]:
        line = self._left.pop(nid, None)
        if line is None:
            yield f"{self._path}: message 0x{nid:x}: no line of items.jsonl names it"
            return
        where = f"{self._path}: message 0x{nid:x}"
        try:
            told = line["pst"]
            if place is None or list(place) != told["folder"]:
                yield f"{where}: {line['evidence']} is not in its folder, but in {place}"
            with reading():
                held = held_by_libpff(node, self._own, self._names)
            yield from self._differences(where, held, line)
        # Records are a case's own words: they may be anything that JSON can say.
        except (Unreadable, KeyError, TypeError, ValueError, AttributeError) as error:
            yield f"{where}: {line['evidence']}: {error}"

    def _differences(self, where: str, held: Held, line: Line) -> Iterator[str]:
        form, key = line["pst"]["form"], line["pst"]["content"]
        if form == "mapi":
            record = self._records.of(line)
            yield from (f"{where}: {line['evidence']}: {each}" for each in differences(record, held, key))
        elif form not in ("mime", "bare") or key is None:
            yield f"{where}: {line['evidence']}: has no content in the PST"
        if key is not None:
            content = _content(held.properties, key) if key in _KEYS else None
            if content is None:
                yield f"{where}: {line['evidence']}: its MIME is not there"
            else:
                self._compare(where, content, line)


def _subtree_nid(handle: Any) -> int:
    """The NID of the top of the mailbox, which the message store names; a ValueError where it does not."""
    store = handle.get_message_store()
    if store is None:
        raise ValueError("there is no message store")
    entry_id = next((raw for tag, raw in record_sets(store, 0) if tag >> 16 == _IPM_SUBTREE), b"")
    if len(entry_id) != _ENTRY_ID_SIZE:
        raise ValueError(f"the message store names no top folder (PidTagIpmSubtreeEntryId has {len(entry_id)} bytes)")
    return int.from_bytes(entry_id[20:], "little")


def _content(bag: PropertyBag, key: str) -> bytes | None:
    """The MIME in an item: the pieces ``key``, ``key2``, … one after the other."""
    found = {str(entry.name): entry.raw for entry in bag if entry.name is not None}
    content, count = Spool(), 0
    while (piece := found.get(f"{{{_SET}}}/{key}{count + 1 if count else ''}")) is not None:
        content.write(piece)
        count += 1
    return content.content() if count else None


class Records:
    """The records of ``properties.jsonl``, read one at a time."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self._path = path
        self._places: dict[str, tuple[int, int]] | None = None

    def of(self, line: Line) -> Mapping[str, Any]:
        """The record of an item; Unreadable where it is not the one that its line of ``items.jsonl`` binds."""
        try:
            with os.fdopen(open_nofollow(self._path), "rb") as stream:
                if self._places is None:
                    self._places = _index(stream)
                at, size = self._places[str(line.get("properties"))]
                stream.seek(at)
                record = json.loads(stream.read(size))
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise Unreadable(f"its record in {self._path.name} cannot be read") from error
        if record["evidence"] != line["evidence"]:
            raise Unreadable(f"its record in {self._path.name} is another item's")
        properties: Mapping[str, Any] = record["properties"]
        return properties


def _index(stream: BinaryIO) -> dict[str, tuple[int, int]]:
    """Where the line of each SHA-256 is, and its length."""
    found: dict[str, tuple[int, int]] = {}
    at = 0
    for raw in stream:
        found[hashlib.sha256(raw).hexdigest()] = (at, len(raw))
        at += len(raw)
    return found
