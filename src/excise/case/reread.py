"""Reading evidence back, by code that shares nothing with what wrote it (S13).

This module imports neither the writer nor the mbox library: it walks an mbox line by line as RFC 4155 and the mboxrd
rule describe it, parses each message with the standard library, and takes its own hashes. What it finds must equal the
hashes that were taken as the items were fetched. PST files are read by ``reread_pst``.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import errno
import hashlib
import io
import json
import os
import re
import stat
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from excise.case.reread_pst import compare_pst
from excise.core.bulk import Spool, map_file

_QUOTED = re.compile(rb">+From ")
_LINE = 64 << 20


class Told(NamedTuple):
    """What the line of an item says of it, once its content was found to be so."""

    sha256: str
    size: int
    id: str
    version: str


@dataclass(frozen=True, slots=True)
class Reread:
    """What reading a part again gave: items by number, and everything that does not hold."""

    items: dict[int, Told] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


#: What the line of an item may hold beside its hash, and where its content would be.
_CONTENT = ("mbox", "eml", "pst", "stream", "properties", "attributes", "headers")


def reread_part(part: Path, files: Mapping[str, str], *, hashes_only: bool = False) -> Reread:
    """Read the part at ``part`` again and compare every item with the hash in its line of ``items.jsonl``.

    ``files``: SHA-256 of files of the part by name, as the journal has them: they bind the lines and the From_ lines.
    ``hashes_only``: of a plan without evidence, in whose parts nothing may be but the lines. Problems name the file and
    the place. Nothing is raised for damage; an OSError passes.
    """
    found = Reread()
    for name, digest in files.items():
        _compare_file(part / name, digest, found.problems)
    path = part / "items.jsonl"
    try:
        stream = _open(path)
    except OSError as error:
        found.problems.append(f"{path}: cannot be read: {error.strerror}")
        stream = io.BytesIO()
    with stream:
        lines = _Lines(path, stream, found.problems)
        if hashes_only:
            _check_hashes(part, lines, found)
        else:
            _compare_part(part, lines, found)
    expected = {"items.jsonl", "messages.mbox", "messages.pst", "eml", "streams", "properties.jsonl"}
    expected = {"items.jsonl"} if hashes_only else expected
    found.problems.extend(
        f"{part}/{name}: does not belong to a part"
        for name in sorted({path.name for path in part.iterdir()} - expected)
    )
    return found


def _check_hashes(part: Path, lines: _Lines, found: Reread) -> None:
    """Each item once, and of none any content."""
    for line in lines:
        if line["item"] in found.items:
            found.problems.append(f"{part}/items.jsonl: item {line['item']} stands there twice")
        if line.get("hashes_only") is not True or any(line.get(key) for key in _CONTENT):
            found.problems.append(f"{part}/items.jsonl: item {line['item']}: content of it was kept, which may not be")
        found.items[line["item"]] = Told(line["sha256"], line["size"], line["id"], line["version"])


def _compare_part(part: Path, lines: _Lines, found: Reread) -> None:
    for line in lines:
        if line["item"] in found.items:
            found.problems.append(f"{part}/items.jsonl: item {line['item']} stands there twice")
        place = line.get("pst")
        in_pst = isinstance(place, dict) and place.get("content") is not None
        if line.get("mbox") is None and line.get("eml") is None and not in_pst:
            found.problems.append(f"{part}/items.jsonl: item {line['item']} has no content in this part")
        found.items[line["item"]] = Told(line["sha256"], line["size"], line["id"], line["version"])
    if any(line.get("mbox") is not None for line in lines) or (part / "messages.mbox").exists():
        _compare_mbox(part / "messages.mbox", lines, found.problems)
    _compare_eml(part, lines, found.problems)
    _compare_streams(part, lines, found.problems)
    _compare_properties(part, lines, found.problems)
    if any(line.get("pst") is not None for line in lines) or (part / "messages.pst").exists():
        _compare_pst(part / "messages.pst", lines, found.problems)


class _Lines(Sequence[dict[str, Any]]):
    """The lines of ``items.jsonl`` that are records of items. In memory are only their places in the file."""

    _WANTED: ClassVar = {"item": int, "sha256": str, "size": int, "evidence": str, "id": str, "version": str}
    _WANTED |= {"folder": str}
    _KEPT = (*_WANTED, "message_id", "mbox", "eml", "pst", "stream", "properties", "attributes", "headers")
    _KEPT += ("hashes_only",)

    def __init__(self, path: Path, stream: BinaryIO, problems: list[str]) -> None:
        """Read all; ``problems`` is told of lines that are something else."""
        self._stream, self._path = stream, path
        self._places = array("Q")
        place = 0
        for number, raw in enumerate(iter(lambda: stream.readline(_LINE), b""), 1):
            if self._fits(raw):
                self._places.append(place)
            else:
                problems.append(f"{path}: line {number}: expected the record of an item, found something else")
            place += len(raw)

    def _fits(self, raw: bytes) -> bool:
        try:
            line = json.loads(raw)
            return raw.endswith(b"\n") and all(isinstance(line[key], kind) for key, kind in self._WANTED.items())
        except (ValueError, KeyError, TypeError, RecursionError):
            return False

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        self._stream.seek(self._places[index])
        raw = self._stream.readline(_LINE)
        if not self._fits(raw):
            raise OSError(errno.EIO, "it changed while it was read", str(self._path))
        line = json.loads(raw)
        return {key: line.get(key) for key in self._KEPT}


def _compare_file(path: Path, expected: str, problems: list[str]) -> None:
    digest = hashlib.sha256()
    try:
        with _open(path) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return
    if digest.hexdigest() != expected:
        problems.append(f"{path}: expected SHA-256 {expected[:16]}…, found {digest.hexdigest()[:16]}…")


def _open(path: Path) -> BinaryIO:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a regular file", str(path))
    return os.fdopen(fd, "rb", buffering=1 << 20)


def walk_mboxrd(stream: BinaryIO) -> Iterator[tuple[int, Spool]]:
    """The messages of an mboxrd file: offset of the From_ line, and the content with its quoting undone.

    A message ends at an empty line before the next From_ line or the end; that empty line is not part of it.
    """
    body: Spool | None = None
    start = offset = 0
    held = b""  # the last line, which may be the empty one at the end
    while line := stream.readline():
        if line.startswith(b"From ") and (body is None or held == b"\n"):
            if body is not None:
                yield start, body
            body, start, held = Spool(), offset, b""
        elif body is None:
            raise ValueError(f"byte {offset}: expected a From_ line")
        else:
            body.write(held)
            held = line[1:] if _QUOTED.match(line) else line
        offset += len(line)
    if body is not None:
        if held != b"\n":
            raise ValueError(f"byte {offset}: expected an empty line at the end")
        yield start, body


def _compare_mbox(path: Path, lines: _Lines, problems: list[str]) -> None:
    try:
        with _open(path) as stream:
            number = 0
            for number, (offset, found) in enumerate(walk_mboxrd(stream), 1):
                if number > len(lines):
                    problems.append(f"{path}: byte {offset}: a message that no line of items.jsonl names")
                    return
                line = lines[number - 1]
                place = line.get("mbox")
                if not isinstance(place, dict) or place.get("offset") != offset:
                    problems.append(f"{path}: byte {offset}: not where items.jsonl says that {line['evidence']} is")
                    continue
                if place.get("newline_added") is True:
                    found.drop_last(1)
                _compare(f"{path}: byte {offset}", found.content(), line, problems)
            if number < len(lines):
                problems.append(f"{path}: expected {len(lines)} messages, found {number}")
    except (OSError, ValueError) as error:
        problems.append(f"{path}: {error}")


def _compare_pst(path: Path, lines: _Lines, problems: list[str]) -> None:
    def compare(place: str, content: bytes, line: Mapping[str, Any]) -> None:
        _compare(place, content, line, problems)

    try:
        problems.extend(compare_pst(path, lines, compare))
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")


def _compare_eml(part: Path, lines: _Lines, problems: list[str]) -> None:
    named = set()
    for line in lines:
        if line.get("eml") is None:
            continue
        path = part / "eml" / f"{line['evidence']}.eml"
        named.add(path.name)
        if line["eml"] != f"eml/{line['evidence']}.eml" or "/" in line["evidence"]:
            problems.append(f"{part}/items.jsonl: {line['evidence']!r}: not the name of an EML file")
            continue
        try:
            with _open(path) as stream:
                content = map_file(stream)
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
            continue
        _compare(str(path), content, line, problems)
    there = {path.name for path in (part / "eml").iterdir()} if (part / "eml").is_dir() else set()
    problems.extend(f"{part}/eml/{name}: a file that no line of items.jsonl names" for name in sorted(there - named))


def _compare_streams(part: Path, lines: _Lines, problems: list[str]) -> None:
    named = set()
    for line in lines:
        told = line.get("stream")
        if told is None:
            continue
        name = f"streams/{line['evidence']}.bin"
        if not isinstance(told, dict) or told.get("file") != name or "/" in line["evidence"]:
            problems.append(f"{part}/items.jsonl: {line['evidence']!r}: not the name of a stream's file")
            continue
        named.add(f"{line['evidence']}.bin")
        _compare_file(part / name, str(told.get("sha256")), problems)
    there = {path.name for path in (part / "streams").iterdir()} if (part / "streams").is_dir() else set()
    problems.extend(
        f"{part}/streams/{name}: a file that no line of items.jsonl names" for name in sorted(there - named)
    )


def _compare(place: str, content: bytes, line: Mapping[str, Any], problems: list[str]) -> None:
    if hashlib.sha256(content).hexdigest() != line["sha256"] or len(content) != line["size"]:
        problems.append(
            f"{place}: {line['evidence']}: expected {line['size']} bytes with SHA-256 {line['sha256'][:16]}…, "
            f"found {len(content)} bytes with {hashlib.sha256(content).hexdigest()[:16]}…"
        )
        return
    if not _names_itself(content, line.get("message_id")):
        problems.append(f"{place}: {line['evidence']}: the standard library does not find its Message-ID in it")


def _names_itself(content: bytes, message_id: object) -> bool:
    """True where the standard library finds ``message_id`` in the message, or in one that it carries (journal
    reports)."""
    if not isinstance(message_id, str) or not message_id.isascii() or re.search(r"\s", message_id):
        return True
    end = re.search(rb"\r?\n\r?\n", content)
    head = content[: end.start()] if end else content
    if _has_id(email.message_from_bytes(head + b"\n\n", policy=email.policy.compat32), message_id):
        return True
    try:
        message = email.message_from_bytes(content, policy=email.policy.compat32)
        return any(_has_id(part, message_id) for part in message.walk()) or message_id.encode() in content
    except RecursionError:
        return message_id.encode() in content


def _has_id(message: email.message.Message, message_id: str) -> bool:
    return any(message_id in str(value) for name, value in message.items() if name.lower() == "message-id")


def _compare_properties(part: Path, lines: _Lines, problems: list[str]) -> None:
    expected = {line["evidence"]: line["properties"] for line in lines if line.get("properties")}
    path = part / "properties.jsonl"
    if not expected and not path.exists():
        return
    try:
        with _open(path) as stream:
            for raw in iter(stream.readline, b""):
                evidence = json.loads(raw)["evidence"]
                if expected.pop(evidence, None) != hashlib.sha256(raw).hexdigest():
                    problems.append(f"{path}: {evidence}: not the properties that were written, by their SHA-256")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problems.append(f"{path}: {error}")
        return
    problems.extend(f"{path}: the properties of {evidence} are missing" for evidence in expected)
