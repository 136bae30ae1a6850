"""A production for review: load files, each document's own file and its text, families and control numbers.

Two passes over the evidence: the first finds the copies of one mail in several mailboxes, so that the second can name
all custodians on the one that is produced. Only hashes are kept in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from sys import intern
from typing import Any

from excise.case.layout import Case
from excise.case.parts import committed_parts
from excise.case.plan import Plan
from excise.case.records import csv_bytes
from excise.core.digests import sha256_hex, sha256_stream
from excise.core.errors import DoesNotVerify
from excise.core.files import fail, make_directories, os_error, write_durably
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
        hits = Hits(plan.header.get("criteria"))
        with LoadFile(place, COLUMNS) as load_file:
            for family in families(case, plan):
                made.messages += 1
                group = copies[family.evidence_id]
                first = group.found[0][2] == family.evidence_id
                terms = hits.count(family, first=first)
                if first:
                    for row in _Writer(place, how, made).family(family, group, terms):
                        load_file.add(row)
                else:
                    made.duplicates += 1
        write_durably(place / "hits.csv", csv_bytes(hits.COLUMNS, hits.rows()))
        with (place / "loadfile.dat").open("rb") as stream:
            made.sha256 = sha256_stream(stream)[0]
        write_durably(place / "manifest-sha256.txt", _manifest(place))
    except OSError as error:
        raise os_error(error, place, "writing the load files") from error
    return made


def families(case: Case, plan: Plan) -> Iterator[Family]:
    """Every message of the evidence of ``plan``, by unit, part and item, each checked against its hash."""
    for unit in plan.units:
        for _, part in committed_parts(case.evidence_dir(plan.number, unit.unit)):
            reader = PartReader(part)
            try:
                for item in reader.lines():
                    line, content = reader.read(item, f"item {item}")
                    yield Family(line, content)
            except (KeyError, TypeError) as error:
                raise DoesNotVerify(f"{part}: the evidence cannot be read ({error})") from error
            finally:
                reader.close()


def _key(family: Family, how: Production) -> str:
    return family.likeness if how.deduplicate else family.evidence_id


def _copies(case: Case, plan: Plan, how: Production) -> dict[str, _Copies]:
    """The copies of the mail that each evidence id has, itself among them."""
    alike: dict[bytes, _Copies] = {}
    found: dict[str, _Copies] = {}
    for family in families(case, plan):
        line, evidence = family.line, family.evidence_id
        group = alike.setdefault(sha256(_key(family, how).encode()).digest(), _Copies())
        group.found.append((intern(str(line["mailbox"])), intern(str(line["folder"])), evidence))
        found[evidence] = group
    return found


class _Writer:
    """Writes the files of one family and gives its rows."""

    def __init__(self, place: Path, how: Production, made: Produced) -> None:
        self._place, self._how, self._made = place, how, made

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
        if not place.is_dir():
            make_directories(place)
        with (place / name).open("xb") as stream:
            stream.write(content)
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


def _manifest(place: Path) -> Iterator[bytes]:
    """SHA-256 of every file, for ``sha256sum -c``."""
    for root, directories, files in os.walk(place, onerror=fail):
        directories.sort()
        if Path(root) != place:
            yield from (_line(place, Path(root, name)) for name in sorted(files))
    for name in ("loadfile.dat", "loadfile.csv", "hits.csv"):
        yield _line(place, place / name)


def _line(place: Path, path: Path) -> bytes:
    with path.open("rb") as stream:
        return f"{sha256_stream(stream)[0]}  {path.relative_to(place).as_posix()}\n".encode()
