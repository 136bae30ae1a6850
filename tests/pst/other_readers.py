"""What other programs find in a PST file, and what Excise finds, in one small structure to compare.

readpst is Debian's; the two readers in JavaScript are named with their versions in tests/npm/package.json. Of an old
(ANSI) file, ``codec`` is the code page.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.message import Message as Mail
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import excise.pst
from excise.pst.messaging.message import Message as OurMessage
from programs import needs_program

NPM = Path(__file__).resolve().parents[1] / "npm"
PST_EXTRACTOR = "pst-extractor"
HIRAOKA = "@hiraokahypertools/pst-extractor"

#: What WHATWG, and so Node.js, calls a code page.
_ENCODINGS = {"cp1252": "windows-1252", "cp932": "shift_jis"}
RECIPIENT_FIELDS = {"to": 1, "cc": 2, "bcc": 3}


class Attachment(NamedTuple):
    """One attachment; of an embedded message ``size`` is 0, ``sha256`` empty and ``message`` the message."""

    name: str
    size: int
    sha256: str
    message: Message | None


class Message(NamedTuple):
    """One message. ``headers`` are the transport headers; a recipient is (1 To, 2 Cc, 3 Bcc; name; address)."""

    message_class: str
    subject: str
    headers: str
    display_to: str
    display_cc: str
    recipients: tuple[tuple[int, str, str], ...]
    attachments: tuple[Attachment, ...]


class Folder(NamedTuple):
    """One folder, by its path from the root; readpst tells no NID."""

    path: tuple[str, ...]
    nid: int
    messages: tuple[Message, ...]


class Told(NamedTuple):
    """All that a reader finds in one file, and what it cannot read.

    ``format`` and ``mailbox``, the path of the mailbox's top, are told by Excise alone.
    """

    folders: tuple[Folder, ...]
    errors: tuple[str, ...]
    format: str = ""
    mailbox: tuple[str, ...] = ()


def facts(told: Told) -> Counter[str]:
    """``told``, one line for each fact, whatever the order of folders, of messages and of attachments."""
    found = [f"could not be read: {error}" for error in told.errors]
    for folder in told.folders:
        place = "/".join(folder.path)
        found.append(f"folder {place}")
        for message in folder.messages:
            found += _facts(message, f"{place}: {message.subject!r}")
    return Counter(found)


def _facts(message: Message, place: str) -> Iterator[str]:
    # Two messages of one subject must not be able to exchange a part.
    whole = hashlib.sha256(repr(_sorted(message)).encode()).hexdigest()[:16]
    yield f"{place}: message of class {message.message_class}, whole SHA-256 {whole}"
    for name in ("headers", "display_to", "display_cc"):
        yield f"{place}: {name} {getattr(message, name)!r}"
    for at, recipient in enumerate(message.recipients):
        yield f"{place}: recipient {at} {recipient}"
    for one in message.attachments:
        yield f"{place}: attachment {one.name!r}, {one.size} bytes, SHA-256 {one.sha256!r}"
        if one.message is not None:
            yield from _facts(one.message, f"{place} > {one.message.subject!r}")


def _sorted(message: Message) -> Message:
    attachments = (one._replace(message=one.message and _sorted(one.message)) for one in message.attachments)
    return message._replace(attachments=tuple(sorted(attachments, key=repr)))


def needs_other_readers(test: Any) -> Any:
    """Skip ``test`` where one of the programs or packages is missing."""
    absent = [name for name in (PST_EXTRACTOR, HIRAOKA) if not (NPM / "node_modules" / name).is_dir()]
    reason = f"{', '.join(absent)} of npm is not installed (make test-programs)"
    return needs_program("node", "readpst")(pytest.mark.skipif(bool(absent), reason=reason)(test))


# Excise


def told_by_us(path: Path, codec: str = "cp1252") -> Told:
    """What excise.pst finds in the file at ``path``."""
    with excise.pst.open(path, codec=codec) as pst:
        folders, errors = [], []
        for folder in pst.folders():
            messages = []
            for item in folder.messages():
                if isinstance(item, OurMessage):
                    messages.append(_ours(item))
                    errors += [damage.text() for damage in item.log.entries]
                else:
                    errors.append(item.damage.text())
            folders.append(Folder(folder.path, folder.nid, tuple(messages)))
        format_name = pst.format_name
        # PidTagIpmSubTreeEntryId: flags, the store's id, the NID.
        entry_id = pst.store.properties and pst.store.properties.binary(0x35E0)
        assert entry_id
        mailbox = next(one.path for one in pst.folders() if one.nid == int.from_bytes(entry_id[20:24], "little"))
    return Told(tuple(folders), tuple(errors), format_name, mailbox)


def _ours(message: OurMessage) -> Message:
    recipients = tuple((one.kind, one.name or "", one.address or "") for one in message.recipients)
    attachments = []
    for one in message.attachments:
        embedded = one.embedded
        data = one.read()
        digest = hashlib.sha256(data).hexdigest() if embedded is None else ""
        inner = None if embedded is None else _ours(embedded)
        attachments.append(Attachment(one.filename or "", one.size, digest, inner))
    texts = (message.properties.text(tag) or "" for tag in (0x007D, 0x0E04, 0x0E03))
    return Message(message.message_class or "", message.subject or "", *texts, recipients, tuple(attachments))


# The readers of npm


def told_by_pst_extractor(path: Path, codec: str = "cp1252") -> Told:
    """What the npm package pst-extractor finds in the file at ``path``; it takes no code page."""
    return _told_by_node(PST_EXTRACTOR, path)


def told_by_hiraoka(path: Path, codec: str = "cp1252") -> Told:
    """What the npm package @hiraokahypertools/pst-extractor finds in the file at ``path``."""
    return _told_by_node(HIRAOKA, path, _ENCODINGS[codec])


def _told_by_node(reader: str, path: Path, *encoding: str) -> Told:
    command = ["node", str(NPM / "dump.mjs"), reader, str(path), *encoding]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    lines = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
    folders = [
        Folder(tuple(line["path"]), line["nid"], tuple(map(_of_node, line["messages"])))
        for line in lines
        if "path" in line
    ]
    return Told(tuple(folders), tuple(f"{line['place']}: {line['error']}" for line in lines if "error" in line))


def _of_node(line: dict[str, Any]) -> Message:
    attachments = [
        Attachment(one["name"], one["size"], one["sha256"], one["message"] and _of_node(one["message"]))
        for one in line["attachments"]
    ]
    texts = (line[name] for name in ("class", "subject", "headers", "display_to", "display_cc"))
    return Message(*texts, tuple(tuple(one) for one in line["recipients"]), tuple(attachments))


# readpst

_MBOX_FROM = re.compile(rb"(?m)^(Content-Type: message/rfc822\r?\n\r?\n)>?From [^\n]*\n")
_CLASSES = {".eml": "IPM.Note", ".vcf": "IPM.Contact", ".ics": "IPM.Appointment"}


def told_by_readpst(path: Path, codec: str = "cp1252") -> Told:
    """What readpst finds in the file at ``path``.

    Paths begin at the top of the mailbox. Recipients are as ``named_recipients`` finds them in the headers that it
    writes. Every mail is of the class IPM.Note.
    """
    with tempfile.TemporaryDirectory() as kept:
        # Without -j 0 it leaves children behind that still write.
        options = ["-e", "-D", "-b", "-8", "-j", "0", "-t", "eajc", "-C", codec, "-o", kept]
        done = subprocess.run(["readpst", *options, str(path)], capture_output=True, timeout=120, check=False)
        files: dict[tuple[str, ...], list[Message]] = {}
        for file in sorted(one for one in Path(kept).rglob("*") if one.is_file()):
            files.setdefault(file.relative_to(kept).parts[1:-1], []).append(_of_file(file))
    errors = [*done.stderr.decode("utf-8", "replace").splitlines()]
    if done.returncode:
        errors.append(f"exit status {done.returncode}")
    paths = _folder_paths([_decoded(line, codec) for line in done.stdout.splitlines()])
    folders = [Folder(place, 0, tuple(files.pop(place, []))) for place in paths]
    assert not files, f"readpst wrote to folders that it does not name: {sorted(files)}"
    return Told(tuple(folders), tuple(errors))


def _decoded(line: bytes, codec: str) -> str:
    """readpst writes the name of an ANSI file's folder as it is stored, and a few lines on in UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode(codec)


def _folder_paths(lines: list[str]) -> list[tuple[str, ...]]:
    """The tree of folders, from the lines that readpst writes as it goes into one and, unless it is empty, out of it.

    Read backwards, so that a folder's end, which says whether it is empty, comes first. The top has no beginning,
    and bears the name of the store, which is left out.
    """
    found: list[tuple[str, ...]] = []
    inside: list[str] = []
    for line in reversed(lines):
        if ended := re.fullmatch(r'\t"(.*)" - \d+ items done, \d+ items skipped\.', line):
            inside.append(ended[1])
            found.append(tuple(inside[1:]))
        elif begun := re.fullmatch(r'Processing Folder "(.*)"', line):
            if len(inside) > 1 and inside[-1] == begun[1]:
                inside.pop()
            else:
                found.append((*inside[1:], begun[1]))
    return found


def _of_file(file: Path) -> Message:
    content = file.read_bytes()
    if file.suffix == ".eml":
        return _of_mail(email.message_from_bytes(_MBOX_FROM.sub(rb"\1", content), policy=email.policy.default))
    summary = re.search(r"(?m)^SUMMARY:(.*?)\r?$", content.decode("utf-8", "replace"))
    return Message(_CLASSES[file.suffix], summary[1] if summary else "", "", "", "", (), ())


def _of_mail(mail: Mail) -> Message:
    return Message("IPM.Note", str(mail["subject"] or ""), "", "", "", named_recipients(mail), tuple(_files(mail)))


def named_recipients(mail: Mail) -> tuple[tuple[int, str, str], ...]:
    """The headers of ``mail`` that name recipients, each as one recipient whose address is its whole text."""
    found = []
    for name, raw in mail.raw_items():
        text = re.sub(r"\s+", " ", str(make_header(decode_header(_utf8(raw))))).strip()
        if name.lower() in RECIPIENT_FIELDS and text:
            found.append((RECIPIENT_FIELDS[name.lower()], "", text))
    return tuple(sorted(found))


def _utf8(raw: str) -> str:
    """``raw`` as email's parser gives it, with what is not ASCII, as readpst writes it."""
    return raw.encode("utf-8", "surrogateescape").decode("utf-8")


def _files(mail: Mail) -> Iterator[Attachment]:
    for part in mail.iter_parts() if mail.is_multipart() else ():  # type: ignore[attr-defined]
        if part.get_content_type() == "message/rfc822":
            yield Attachment("", 0, "", _of_mail(part.get_payload(0)))
        elif part.get_content_disposition() == "attachment":
            data = part.get_payload(decode=True)
            yield Attachment(_name(part), len(data), hashlib.sha256(data).hexdigest(), None)


def _name(part: Mail) -> str:
    """The name in quotes; readpst writes a second one, without, which parsers cut at its first space."""
    raw = next(value for name, value in part.raw_items() if name.lower() == "content-disposition")
    quoted = re.search(r'filename="(.*)"', _utf8(raw))
    return quoted[1] if quoted else ""
