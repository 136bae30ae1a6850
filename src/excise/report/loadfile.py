"""A production for review: load files, each document's own file and its text, families and control numbers.

Two passes over the evidence: the first finds the copies of one mail in several mailboxes, so that the second can name
all custodians on the one that is produced. Only hashes are kept in memory, and each message is read in the second alone
unless another one has its Message-ID.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from sys import intern
from typing import Any, BinaryIO

from excise.case.layout import Case
from excise.case.parts import committed_parts
from excise.case.plan import Plan
from excise.case.records import csv_bytes
from excise.core.digests import sha256_hex, sha256_stream
from excise.core.errors import DoesNotVerify
from excise.core.files import PARTIAL, durable_file, fsync_directory, make_directories, os_error, write_durably
from excise.engine.evidence import PartReader
from excise.report.dat import LoadFile
from excise.report.families import Attached, Family
from excise.report.hits import Hits

COLUMNS = (
    *("BEGDOC", "ENDDOC", "BEGATTACH", "ENDATTACH", "PARENTID", "ATTCOUNT", "ATTNAMES", "DOCTYPE"),
    *("CUSTODIAN", "ALLCUSTODIANS", "FOLDER", "ALLPATHS"),
    *("FROM", "TO", "CC", "BCC", "SUBJECT", "DATESENT", "TIMESENT", "DATERCVD", "TIMERCVD", "TIMEZONE"),
    *("FILENAME", "FILEEXT", "FILESIZE", "ITEMCLASS", "FLAGS"),
    *("MESSAGEID", "INREPLYTO", "REFERENCES", "CONVERSATIONINDEX"),
    *("MIH", "SHA256", "MD5HASH", "HITS", "EVIDENCEID", "ALLEVIDENCEIDS", "NOTES", "NATIVELINK", "TEXTLINK"),
)
_IN_A_DIRECTORY = 1000
_MANIFEST = "manifest-sha256.txt"


@dataclass(frozen=True, slots=True)
class Production:
    """How to produce: the prefix of control numbers, MD5 beside SHA-256, copies of one mail once or each."""

    prefix: str = "EXC"
    md5: bool = False
    deduplicate: bool = True


@dataclass(slots=True)
class Produced:
    """What was produced: counts, and SHA-256 of loadfile.dat."""

    messages: int = 0
    duplicates: int = 0
    documents: int = 0
    sha256: str = ""


@dataclass(slots=True)
class _Copies:
    """The copies of one mail: mailbox, folder, evidence id of each, in the order of the evidence."""

    found: list[tuple[str, str, str]] = field(default_factory=list)


def write_production(case: Case, plan: Plan, place: Path, how: Production) -> Produced:
    """Write the evidence of ``plan`` into the new directory ``place``. The caller has checked its bag."""
    made = Produced()
    try:
        make_directories(place)
        copies = _copies(case, plan, how)
        unfinished = place / f"{_MANIFEST}{PARTIAL}"
        with durable_file(unfinished) as manifest:
            hits = Hits(plan.header.get("criteria"))
            writer = _Writer(place, how, made, manifest)
            with LoadFile(place, COLUMNS) as load_file:
                for family in families(case, plan):
                    made.messages += 1
                    group = copies[family.evidence_id]
                    first = group.found[0][2] == family.evidence_id
                    terms = hits.count(family, first=first)
                    made.duplicates += not first
                    for row in writer.family(family, group, terms) if first else ():
                        load_file.add(row)
            write_durably(place / "hits.csv", csv_bytes(hits.COLUMNS, hits.rows()))
            for name in ("loadfile.dat", "loadfile.csv", "hits.csv"):
                with (place / name).open("rb") as stream:
                    digest = sha256_stream(stream)[0]
                manifest.write(_line(digest, name))
                made.sha256 = made.sha256 or digest
        unfinished.rename(place / _MANIFEST)
        fsync_directory(place)
    except OSError as error:
        raise os_error(error, place, "writing the load files") from error
    return made


def families(case: Case, plan: Plan) -> Iterator[Family]:
    """Every message of the evidence of ``plan``, by unit, part and item, each checked against its hash."""
    for reader, item in _items(case, plan):
        line, content = reader.read(item, f"item {item}")
        yield Family(line, content)


def _items(case: Case, plan: Plan) -> Iterator[tuple[PartReader, int]]:
    """Every item of the evidence with the reader of its part, which is open until the next part."""
    for unit in plan.units:
        for _, part in committed_parts(case.evidence_dir(plan.number, unit.unit)):
            reader = PartReader(part)
            try:
                yield from ((reader, item) for item in reader.lines())
            except (KeyError, TypeError) as error:
                raise DoesNotVerify(f"{part}: the evidence cannot be read ({error})") from error
            finally:
                reader.close()


def _copies(case: Case, plan: Plan, how: Production) -> dict[str, _Copies]:
    """The copies of the mail that each evidence id has, itself among them."""
    several = _ids_of_several(case, plan) if how.deduplicate else frozenset[bytes]()
    alike: dict[bytes, _Copies] = {}
    found: dict[str, _Copies] = {}
    for reader, item in _items(case, plan):
        line = reader.lines()[item]
        evidence = key = str(line["evidence"])
        if how.deduplicate and (not line.get("message_id") or _short(line["message_id"]) in several):
            key = Family(*reader.read(item, f"item {item}")).likeness
        group = alike.setdefault(_short(key), _Copies())
        group.found.append((intern(str(line["mailbox"])), intern(str(line["folder"])), evidence))
        found[evidence] = group
    return found


def _ids_of_several(case: Case, plan: Plan) -> frozenset[bytes]:
    """Digests of the Message-IDs that more than one item has: only these can be copies of one mail."""
    seen: set[bytes] = set()
    several: set[bytes] = set()
    for reader, item in _items(case, plan):
        message_id = reader.lines()[item].get("message_id")
        if message_id:
            digest = _short(message_id)
            (several if digest in seen else seen).add(digest)
    return frozenset(several)


def _short(text: object) -> bytes:
    return sha256(str(text).encode("utf-8", "surrogatepass")).digest()


class _Writer:
    """Writes the files of one family and gives its rows."""

    def __init__(self, place: Path, how: Production, made: Produced, manifest: BinaryIO) -> None:
        self._place, self._how, self._made, self._manifest = place, how, made, manifest
        self._directories: set[str] = set()

    def family(self, family: Family, group: _Copies, terms: list[str]) -> Iterator[dict[str, Any]]:
        """The row of the message, then one for each attachment."""
        attached = list(family.attachments())
        first = self._made.documents + 1
        numbers = [self._number(first + index) for index in range(len(attached) + 1)]
        self._made.documents += len(numbers)
        shared = {
            "BEGATTACH": numbers[0] if attached else None,
            "ENDATTACH": numbers[-1] if attached else None,
            "CUSTODIAN": group.found[0][0],
            "ALLCUSTODIANS": list(dict.fromkeys(mailbox for mailbox, _, _ in group.found)),
            "FOLDER": group.found[0][1],
            "ALLPATHS": [f"{mailbox}/{folder}" if folder else mailbox for mailbox, folder, _ in group.found],
            "EVIDENCEID": family.evidence_id,
            "ALLEVIDENCEIDS": [evidence for _, _, evidence in group.found],
            "TIMEZONE": "UTC",
            **_dates(family),
        }
        names = [each.name for each in attached]
        about = {"DOCTYPE": "MESSAGE", "ATTCOUNT": len(attached), "ATTNAMES": names, "HITS": terms}
        native = self._file(first, "eml", family.content)
        text = self._text(first, family.text)
        yield {
            **shared,
            **about,
            **_envelope(family),
            **self._document(numbers[0], family.content, native, "eml", text),
        }
        for index, each in enumerate(attached, 1):
            yield {**shared, **self._attachment(first + index, numbers, each)}

    def _attachment(self, number: int, numbers: list[str], each: Attached) -> dict[str, Any]:
        native = self._file(number, each.extension, each.content)
        row = self._document(self._number(number), each.content, native, each.extension, None)
        notes = [f"incomplete: {each.flaw}"] if each.flaw else []
        return {**row, "DOCTYPE": "ATTACHMENT", "PARENTID": numbers[0], "FILENAME": each.name, "NOTES": notes}

    def _document(self, name: str, content: bytes, native: str, extension: str, text: str | None) -> dict[str, Any]:
        return {
            "BEGDOC": name,
            "ENDDOC": name,
            "FILEEXT": extension,
            "FILESIZE": len(content),
            "SHA256": sha256_hex(content),
            "MD5HASH": md5(content, usedforsecurity=False).hexdigest() if self._how.md5 else None,
            "NATIVELINK": native,
            "TEXTLINK": text,
        }

    def _number(self, number: int) -> str:
        return f"{self._how.prefix}{number:08}"

    def _file(self, number: int, extension: str, content: bytes) -> str:
        return self._write("natives", number, extension, content)

    def _text(self, number: int, text: str) -> str:
        data = text.encode("utf-8", "backslashreplace")
        return self._write("text", number, "txt", data)

    def _write(self, top: str, number: int, extension: str, content: bytes) -> str:
        """Write a file of the production. It is not flushed: it can be made again, and the manifest tells."""
        directory = f"{top}/{(number - 1) // _IN_A_DIRECTORY + 1:04}"
        name = f"{self._number(number)}.{extension}"
        place = self._place / directory
        if directory not in self._directories:
            make_directories(place)
            self._directories.add(directory)
        with (place / name).open("xb") as stream:
            stream.write(content)
        self._manifest.write(_line(sha256_hex(content), f"{directory}/{name}"))
        return f"{directory}/{name}"


def _dates(family: Family) -> dict[str, str]:
    row: dict[str, str] = {}
    for key, moment in (("SENT", family.view.sent), ("RCVD", family.view.received)):
        if moment is not None:
            row |= {f"DATE{key}": moment.strftime("%Y%m%d"), f"TIME{key}": moment.strftime("%H:%M:%S")}
    return row


def _envelope(family: Family) -> dict[str, Any]:
    view, line = family.view, family.line
    headers = {"TO": "to", "CC": "cc", "BCC": "bcc", "INREPLYTO": "in-reply-to", "REFERENCES": "references"}
    row: dict[str, Any] = {column: list(view.header(name)) for column, name in headers.items()}
    return {
        **row,
        "FROM": list(view.header("from")),
        "SUBJECT": view.subject,
        "CONVERSATIONINDEX": list(view.header("thread-index")),
        "MESSAGEID": line.get("message_id"),
        "MIH": line.get("mih"),
        "ITEMCLASS": view.item_class,
        "FLAGS": line.get("flags"),
        "NOTES": line.get("notes"),
    }


def _line(digest: str, name: str) -> bytes:
    """SHA-256 of a file, for ``sha256sum -c``."""
    return f"{digest}  {name}\n".encode()
