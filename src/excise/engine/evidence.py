"""Reading evidence back out of a case: the bag is checked first, and each item by its hash (S13, S14). Only reads."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from hashlib import blake2b
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

from excise.case.bag import is_encrypted, is_sealed, tag_manifest_sha256, validate
from excise.case.layout import Case
from excise.case.part_item import item_in_pst
from excise.case.parts import EML, ITEMS, MESSAGES, PROPERTIES, PST, STREAMS
from excise.case.pst_held import Unreadable
from excise.case.reread import walk_mboxrd
from excise.case.reread_pst import Records
from excise.core.age import SUFFIX, EvidenceEncrypted
from excise.core.bulk import map_path
from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify, UsageError
from excise.core.files import open_nofollow, os_error
from excise.mapi.item import MapiItem
from excise.pst import Damaged
from excise.pst.file.read import PstFile, open_pst
from excise.pst.messaging.names import PS_EXCISE
from excise.pst_mapi.content import joined


def check_bags(case: Case, records: Iterable[Mapping[str, Any]], plans: Iterable[int]) -> None:
    """DoesNotVerify unless the bags of ``plans`` are sealed, bound by the audit log (``records``), and BagIt's
    validator accepts them. EvidenceEncrypted where one is encrypted and was not opened."""
    records = list(records)
    for number in sorted(plans):
        bag = case.evidence_bag(number)
        check_seal(case, bag, records, number)
        if is_encrypted(bag):
            raise encrypted(bag)
        validate(bag)


def check_seal(case: Case, bag: Path, records: Iterable[Mapping[str, Any]], number: int) -> None:
    """DoesNotVerify unless ``bag`` is one of plan ``number`` that the audit log (``records``) knows: as it was sealed,
    or as it was encrypted."""
    seals = [
        (r.get("plan"), r.get("tagmanifest_sha256")) for r in records if r["type"] in ("bag-sealed", "bag-encrypted")
    ]
    if not is_sealed(bag) or (number, tag_manifest_sha256(bag)) not in seals:
        raise DoesNotVerify(f"{bag}: not the bag that the audit log recorded", hint=f"See: excise verify {case.root}")


def encrypted(place: Path) -> EvidenceEncrypted:
    """The error for evidence at ``place`` that cannot be read without a private key."""
    return EvidenceEncrypted(
        f"{place}: the evidence is encrypted",
        hint="Give a recipient's private key with --identity, where the command takes it; "
        "or: excise decrypt CASE --identity FILE --output DIR",
    )


class NotKept(UsageError):
    """The content of an item is asked for of which only the hash was kept."""


def read_content(part: Path, line: Mapping[str, Any], pst: PstFile | None = None) -> bytes:
    """The content of one evidence item, from the part's mbox, EML file or PST, checked against its hash.

    ``pst`` is the part's PST where it is open already.
    """
    if line.get("hashes_only"):
        raise NotKept(
            f"{part}: {line['evidence']}: its content was not kept (--no-evidence), only its hash and its envelope"
        )
    place = line.get("mbox")
    if isinstance(place, dict):
        content = _from_mbox(part / MESSAGES, place)
    elif line.get("eml") is not None:
        content = map_path(part / EML / f"{line['evidence']}.eml")
    elif pst is not None:
        content = _from_pst(pst, line["pst"])
    else:
        with _open_pst(part) as opened:
            content = _from_pst(opened, line["pst"])
    if sha256_hex(content) != line["sha256"]:
        raise DoesNotVerify(f"{part}: {line['evidence']}: its bytes are not those that were preserved (SHA-256)")
    return content


def _from_mbox(path: Path, place: Mapping[str, Any]) -> bytes:
    with os.fdopen(open_nofollow(path), "rb") as stream:
        stream.seek(place["offset"])
        _, found = next(walk_mboxrd(cast(BinaryIO, _Stretch(stream, place["length"]))))
    if place["newline_added"]:
        found.drop_last(1)
    return found.content()


class _Stretch(io.BufferedIOBase):
    """The next ``length`` bytes of ``stream``, as a file of lines."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream, self._left = stream, length

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line."""
        most = self._left if size is None or size < 0 else min(size, self._left)
        line = self._stream.readline(most)
        self._left -= len(line)
        return line


@contextmanager
def _open_pst(part: Path) -> Iterator[PstFile]:
    with os.fdopen(open_nofollow(part / PST), "rb") as stream, open_pst(stream) as pst:
        yield pst


def _from_pst(pst: PstFile, place: Mapping[str, Any]) -> bytes:
    try:
        properties = pst.message(place["nid"]).properties

        def read(key: str) -> bytes | None:
            prop_id = pst.names.id_of(PS_EXCISE, key)
            return properties.raw(prop_id) if prop_id is not None and prop_id in properties else None

        content = joined(read, place["content"])
    except Damaged as error:
        raise DoesNotVerify(f"{PST}: {error.damage.text()}") from error
    if content is None:
        raise DoesNotVerify(f"{PST}: message 0x{place['nid']:x}: its MIME is not there")
    return content


def read_stream(part: Path, line: Mapping[str, Any]) -> bytes:
    """The stream of one evidence item, checked against its hash; empty where it has none."""
    told = line.get("stream")
    if told is None:
        return b""
    content = map_path(part / STREAMS / f"{line['evidence']}.bin")
    if sha256_hex(content) != told["sha256"]:
        raise DoesNotVerify(f"{part}: {line['evidence']}: its stream is not the one that was preserved (SHA-256)")
    return content


def part_lines(part: Path, sha256: str = "") -> dict[int, dict[str, Any]]:
    """The lines of a committed part by item number; DoesNotVerify where their file has not ``sha256``."""
    return dict(PartLines(part, sha256))


class PartLines(Mapping[int, dict[str, Any]]):
    """The lines of a committed part by item number, read from its file when they are asked for.

    In memory are their places and digests: a line that was changed since is a DoesNotVerify.
    """

    def __init__(self, part: Path, sha256: str = "") -> None:
        """Read all once; DoesNotVerify where the file has not ``sha256``."""
        self._path = part / ITEMS
        self._places: dict[int, tuple[int, bytes]] = {}
        digest, place = new_sha256(), 0
        with os.fdopen(open_nofollow(self._path), "rb") as stream:
            for raw in stream:
                digest.update(raw)
                self._places[json.loads(raw)["item"]] = (place, _short(raw))
                place += len(raw)
        if sha256 not in ("", digest.hexdigest()):
            raise DoesNotVerify(f"{self._path}: not the lines that were written, by their SHA-256")

    def __getitem__(self, item: int) -> dict[str, Any]:
        place, digest = self._places[item]
        try:
            with os.fdopen(open_nofollow(self._path), "rb") as stream:
                stream.seek(place)
                raw = stream.readline()
        except OSError as error:
            raise os_error(error, self._path, "reading the evidence") from error
        if _short(raw) != digest:
            raise DoesNotVerify(f"{self._path}: item {item}: its line was changed while it was read")
        line: dict[str, Any] = json.loads(raw)
        return line

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _short(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=16).digest()


class PartReader:
    """One committed part, its lines read once. ``close`` it in the end."""

    def __init__(self, part: Path, items_sha256: str = "") -> None:
        """Nothing is read yet. ``items_sha256``: what ``items.jsonl`` must have, where it is known."""
        self.part = part
        self._items_sha256 = items_sha256
        self._lines: PartLines | None = None
        self._files = ExitStack()
        self._records = Records(part / PROPERTIES)

    def close(self) -> None:
        """Close what was opened."""
        self._files.close()

    @cached_property
    def _pst(self) -> PstFile | None:
        return self._files.enter_context(_open_pst(self.part)) if (self.part / PST).exists() else None

    def lines(self) -> Mapping[int, dict[str, Any]]:
        """The part's lines by item number. DoesNotVerify where they are none, SourceUnavailable for the disk's
        faults."""
        if self._lines is None:
            try:
                self._lines = PartLines(self.part, self._items_sha256)
            except OSError as error:
                if (self.part / f"{ITEMS}{SUFFIX}").exists():
                    raise encrypted(self.part) from error
                raise os_error(error, self.part, "reading the evidence") from error
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DoesNotVerify(f"{self.part}: the evidence cannot be read ({error})") from error
        return self._lines

    def read(self, item: int, name: str) -> tuple[dict[str, Any], bytes]:
        """The line and the content of ``item``, checked against its hash; ``name``: its evidence id, for messages."""
        try:
            line = self.lines()[item]
            return line, read_content(self.part, line, self._pst)
        except OSError as error:
            raise os_error(error, self.part, "reading the evidence") from error
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise DoesNotVerify(f"{self.part}: {name}: the evidence cannot be read ({error})") from error

    def read_stream(self, item: int, name: str) -> bytes:
        """The stream of ``item``, checked against its hash; empty where it has none."""
        try:
            return read_stream(self.part, self.lines()[item])
        except OSError as error:
            raise os_error(error, self.part, "reading the evidence") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DoesNotVerify(f"{self.part}: {name}: its stream cannot be read ({error})") from error

    def record(self, item: int, name: str) -> Mapping[str, Any] | None:
        """The record of all properties of ``item``, by the hash in its line; None where it has none."""
        line = self.lines()[item]
        try:
            return None if line.get("properties") is None else self._records.of(line)
        except (Unreadable, KeyError, TypeError) as error:
            raise DoesNotVerify(f"{self.part}: {name}: {error}") from error

    def read_item(self, item: int, name: str) -> MapiItem | None:
        """``item`` property for property, equal to the record that its line binds; None where the part has no PST that
        holds it so."""
        try:
            line = self.lines()[item]
            if self._pst is None or line.get("pst") is None or line["pst"]["form"] != "mapi":
                return None
            return item_in_pst(self._pst, line, self._records.of(line))
        except (Unreadable, KeyError, TypeError, ValueError, AttributeError) as error:
            raise DoesNotVerify(f"{self.part}: {name}: its item in {PST} cannot be read ({error})") from error
