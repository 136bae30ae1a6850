"""Writing evidence: parts of one mailbox, each a directory that appears whole or not at all (S13, S14).

A part holds ``messages.mbox`` (mboxrd), ``messages.pst`` and/or ``eml/`` (a file a message), ``properties.jsonl`` where
the source has MAPI properties, ``streams/`` (a file an item) for items that their store gave in a large form of its own
too, and ``items.jsonl``: for each item where it came from, where it stands in the part, and the hash that was taken of
its bytes as fetched, before this module saw them. A part without any kind of container has ``items.jsonl`` alone:
hashes, and nothing of the content, be it in properties or attributes. The part is written under another name, every
file flushed and closed, and gets its own name by one rename: that is the commit. It is never opened for writing again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from hashlib import file_digest, md5, sha256
from pathlib import Path
from typing import Any, BinaryIO

from excise.case.part_pst import PstPart
from excise.core.bulk import pieces
from excise.core.digests import canonical_json, sha256_hex
from excise.core.files import (
    PARTIAL,
    commit_directory,
    durable_file,
    make_directories,
    make_directory,
    open_nofollow,
)
from excise.mbox import quote_mboxrd_chunks
from excise.model.item import Fetched

MESSAGES, PST, EML, STREAMS = "messages.mbox", "messages.pst", "eml", "streams"
ITEMS, PROPERTIES = "items.jsonl", "properties.jsonl"
_FROM_LINE = re.compile(rb"From [^\r\n]*[0-9]{2}:[0-9]{2}[^\r\n]*[0-9]{4}\Z")


class EvidenceKind(StrEnum):
    """The kinds of container that evidence is written to."""

    MBOX = "mbox"
    EML = "eml"
    PST = "pst"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an item came from and what it was, for the item's line in the part."""

    evidence_id: str
    item: int
    source: str
    mailbox: str
    sha256: str
    message_id: str | None
    matched: tuple[str, ...]
    fetched_at: str | None


def mih(message_id: str | None) -> str | None:
    """MIH of a Message-ID as vendors describe it: MD5, in hex, of the value with its brackets, up to the first ``>``.

    None where there is no Message-ID. It links copies across mailboxes; it is not a hash of the message.
    """
    if not message_id:
        return None
    found = re.match(r".*?>", message_id, re.DOTALL)
    value = found[0] if found else message_id
    return md5(value.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


class PartWriter:
    """A part that is being written; ``complete`` closes its files, ``commit`` gives it its name."""

    def __init__(self, partial: Path, kinds: tuple[EvidenceKind, ...], limit: int, name: str = "") -> None:
        """Start a part in the new directory ``partial``, of ``limit`` bytes or one item; ``name`` is its mailbox's."""
        make_directories(partial)
        self.partial = partial
        self.count = 0
        self._size = 0
        self._limit = limit
        self._kinds = kinds
        self._digests = {ITEMS: sha256(), **({MESSAGES: sha256()} if EvidenceKind.MBOX in kinds else {})}
        self._files = ExitStack()
        self._items = self._open(ITEMS)
        self._mbox = self._open(MESSAGES) if EvidenceKind.MBOX in kinds else None
        self._properties: BinaryIO | None = None
        self._pst = PstPart(self._open(PST, readable=True), name) if EvidenceKind.PST in kinds else None
        if EvidenceKind.EML in kinds:
            make_directory(partial / EML)

    def _open(self, name: str, *, readable: bool = False) -> BinaryIO:
        return self._files.enter_context(durable_file(self.partial / name, readable=readable))

    def takes(self, item: Fetched) -> bool:
        """True where the part stays below its limit with ``item``, or has none yet."""
        plain = (EvidenceKind.MBOX in self._kinds) + (EvidenceKind.EML in self._kinds)
        size = plain * (self._size + len(item.content) + len(item.stream))
        if self._pst is not None:
            size += self._pst.size_with(item)
        return self.count == 0 or size <= self._limit

    def _put(self, stream: BinaryIO, name: str, data: bytes) -> None:
        self._digests[name].update(data)
        stream.write(data)

    def add(self, item: Fetched, provenance: Provenance, *, under: str = "") -> None:
        """Write one item. PartFull, and nothing of it is written, where it has to go into another part.

        ``under``: the folder that holds its mailbox's folders in a PST of several mailboxes.
        """
        if not self._kinds:
            self._add_hashes(item, provenance)
            return
        alone = self._kinds == (EvidenceKind.PST,)
        # First, since it alone can refuse.
        pst = self._pst.add(item, alone=alone, under=under) if self._pst is not None else None
        line = _line(item, provenance) | {
            "attributes": item.attributes,
            "headers": item.headers,
            "mbox": self._add_mbox(item),
            "eml": self._add_eml(item, provenance.evidence_id),
            **({"pst": pst} if pst is not None else {}),
            **({"stream": self._add_stream(item, provenance.evidence_id)} if item.stream else {}),
            "properties": self._add_properties(item, provenance.evidence_id),
        }
        self._put(self._items, ITEMS, canonical_json(line) + b"\n")
        self.count += 1
        self._size += len(item.content) + len(item.stream)

    def _add_hashes(self, item: Fetched, provenance: Provenance) -> None:
        """Write what is kept of an item whose content may not be."""
        nothing: dict[str, Any] = {"attributes": {}, "headers": None, "mbox": None, "eml": None, "properties": None}
        line = _line(item, provenance) | nothing | {"hashes_only": True}
        self._put(self._items, ITEMS, canonical_json(line) + b"\n")
        self.count += 1

    def _add_mbox(self, item: Fetched) -> Mapping[str, Any] | None:
        if self._mbox is None:
            return None
        offset = self._mbox.tell()
        self._put(self._mbox, MESSAGES, from_line(item) + b"\n")
        for piece in quote_mboxrd_chunks(pieces(item.content)):
            self._put(self._mbox, MESSAGES, piece)
        newline_added = not item.content.endswith(b"\n")
        self._put(self._mbox, MESSAGES, b"\n\n" if newline_added else b"\n")
        return {"offset": offset, "length": self._mbox.tell() - offset, "newline_added": newline_added}

    def _add_eml(self, item: Fetched, evidence_id: str) -> str | None:
        if EvidenceKind.EML not in self._kinds:
            return None
        name = f"{EML}/{evidence_id}.eml"
        with durable_file(self.partial / name) as stream:
            stream.write(item.content)
        return name

    def _add_stream(self, item: Fetched, evidence_id: str) -> dict[str, Any]:
        """Write the item in its store's own form; what its line says of that."""
        make_directory(self.partial / STREAMS)
        name = f"{STREAMS}/{evidence_id}.bin"
        digest = sha256_hex(item.stream)
        with durable_file(self.partial / name) as stream:
            stream.write(item.stream)
        return {"file": name, "sha256": digest, "size": len(item.stream)}

    def _add_properties(self, item: Fetched, evidence_id: str) -> str | None:
        """Write the item's properties; the SHA-256 of their line."""
        if item.properties is None:
            return None
        if self._properties is None:
            self._properties = self._open(PROPERTIES)
        line = canonical_json({"evidence": evidence_id, "properties": item.properties}) + b"\n"
        self._properties.write(line)
        return sha256_hex(line)

    def complete(self) -> dict[str, str]:
        """Flush and close all files; SHA-256 by name of what they must hold.

        Those of ``items.jsonl`` and ``messages.mbox`` were taken before the bytes went to the disk. A PST file is not
        written from front to back, so its digest is of the closed file: it proves that the file is the same ever after,
        not that it is what was meant. That is for the reading again to prove, by the checksums that each page and block
        was given in memory, and by comparing all content with what was fetched.
        """
        if self._pst is not None:
            self._pst.close()
        self._files.close()
        found = {name: digest.hexdigest() for name, digest in self._digests.items()}
        if self._pst is not None:
            with os.fdopen(open_nofollow(self.partial / PST), "rb") as stream:
                found[PST] = file_digest(stream, "sha256").hexdigest()
        return found

    def commit(self, final: Path) -> None:
        """Give the completed part its lasting name; a name that is taken is an error (S14)."""
        commit_directory(self.partial, final)

    def abandon(self) -> None:
        """Close the files and leave the unfinished part as it is."""
        with ExitStack() as stack:
            stack.push(self._files.pop_all())


def _line(item: Fetched, provenance: Provenance) -> dict[str, Any]:
    """What the line of an item says of it, wherever its content is."""
    return {
        "evidence": provenance.evidence_id,
        "item": provenance.item,
        "source": provenance.source,
        "mailbox": provenance.mailbox,
        "folder": item.folder,
        "id": item.id,
        "version": item.version,
        "message_id": provenance.message_id,
        "mih": mih(provenance.message_id),
        "sha256": provenance.sha256,
        "size": len(item.content),
        "flags": sorted(item.flags),
        "delivered": None if item.delivered is None else item.delivered.isoformat(),
        "notes": item.notes,
        "matched": provenance.matched,
        "fetched_at": provenance.fetched_at,
    }


def from_line(item: Fetched) -> bytes:
    """The From_ line of an item in an evidence mbox: the source's own where it had one, else one made from its date."""
    own = item.attributes.get("from_line")
    if isinstance(own, str):
        line = own.encode("utf-8", "surrogateescape").rstrip(b"\r\n")
        if _FROM_LINE.match(line):
            return line
    when = "Thu Jan  1 00:00:00 1970"
    if item.delivered is not None:
        when = item.delivered.strftime("%a %b %e %H:%M:%S %Y")
    return f"From MAILER-DAEMON {when}".encode("ascii", "replace")


def partial_name(part: int) -> str:
    """The name of an unfinished part in its unit's directory."""
    return f"{part_name(part)}{PARTIAL}"


def part_files(records: Iterable[Mapping[str, Any]], part: int) -> Mapping[str, str]:
    """The digests of a part's files, as the journal's last ``fetched`` record of that part has them."""
    files = [record.get("files") for record in records if record["type"] == "fetched" and record.get("part") == part]
    return files[-1] if files and isinstance(files[-1], dict) else {}


def committed_parts(directory: Path) -> list[tuple[int, Path]]:
    """The committed parts in a unit's evidence directory, by number."""
    found = [(int(path.name[5:]), path) for path in directory.glob("part-*") if path.name[5:].isdecimal()]
    return sorted(found)


def part_name(part: int) -> str:
    """The name of a committed part."""
    return f"part-{part:03}"
