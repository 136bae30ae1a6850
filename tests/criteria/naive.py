"""A second opinion on what matches: slow, plain, and written from the safety rules and the CLI's reference alone.

It shares nothing with ``excise.criteria`` and ``excise.model``: messages are taken apart by the standard library's
email package, headers decoded by the few lines below, and each term is tested in the most literal way (S07, S09, S10).
"""

from __future__ import annotations

import base64
import binascii
import email
import fnmatch
import hashlib
import io
import quopri
import re
import unicodedata
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote_to_bytes

_WORD = re.compile(rb"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?(.*?)\?=", re.DOTALL)


def compared(text: str) -> str:
    """NFKC, case-folded, white space collapsed, marks that nobody sees dropped (S09)."""
    seen = "".join(char for char in text if unicodedata.category(char) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join(folded.split())


def best_effort(data: bytes, charset: str) -> str:
    """As declared; else UTF-8, else Windows-1252, else Latin-1."""
    for name in (charset, "utf-8", "cp1252"):
        try:
            return data.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
    return data.decode("latin-1")


def decoded(raw: bytes) -> str:
    """A header field's value: unfolded, RFC 2047 words joined where they touch and decoded, raw bytes guessed (S09)."""
    raw = re.sub(rb"\r?\n(?=[ \t])", b"", raw)
    pieces: list[tuple[bytes, str]] = []
    at = 0
    for found in _WORD.finditer(raw):
        between = raw[at : found.start()]
        if between.strip(b" \t") or not pieces or not pieces[-1][1]:
            pieces.append((between, ""))
        charset = found[1].decode("latin-1").lower()
        data = _word_bytes(found[2], found[3])
        if pieces and pieces[-1][1] == charset:
            pieces[-1] = (pieces[-1][0] + data, charset)
        else:
            pieces.append((data, charset))
        at = found.end()
    pieces.append((raw[at:], ""))
    return "".join(best_effort(data, charset or "utf-8") for data, charset in pieces).strip()


def _word_bytes(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return quopri.decodestring(text.replace(b" ", b"_"), header=True)
    text = re.sub(rb"[^A-Za-z0-9+/]", b"", text)
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return b""


def raw_fields(message: Message, name: str) -> list[bytes]:
    """The values of each field ``name`` as they stand in the message."""
    wanted = name.lower()
    return [value.encode("ascii", "surrogateescape") for field, value in message.raw_items() if field.lower() == wanted]


def names(part: Message) -> list[str]:
    """Each name that a part bears, in each of its forms (S10)."""
    found: list[str] = []
    for field, parameter in (("Content-Disposition", "filename"), ("Content-Type", "name")):
        for raw in raw_fields(part, field):
            found += _parameter(re.sub(rb"\r?\n(?=[ \t])", b"", raw), parameter)
    return found


def _parameter(raw: bytes, wanted: str) -> list[str]:
    plain: list[str] = []
    pieces: dict[int, tuple[bytes, bool]] = {}
    for found in re.finditer(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;\s]*))', raw):
        name = found[1].decode("latin-1").lower()
        value = re.sub(rb"\\(.)", rb"\1", found[2]) if found[2] is not None else found[3]
        if name == wanted:
            plain.append(decoded(value))
        elif re.fullmatch(re.escape(wanted) + r"(\*\d+)?\*?", name):
            number = re.search(r"\*(\d+)", name)
            pieces[int(number[1]) if number else 0] = (value, name.endswith("*"))
    return plain + ([_extended(pieces)] if pieces else [])


def _extended(pieces: dict[int, tuple[bytes, bool]]) -> str:
    charset, data = "utf-8", b""
    for number in sorted(pieces):
        value, encoded = pieces[number]
        if number == 0 and encoded and value.count(b"'") >= 2:
            label, _, value = value.split(b"'", 2)
            charset = label.decode("latin-1") or charset
        data += unquote_to_bytes(value) if encoded else value
    return best_effort(data, charset)


def files(message: Message) -> Iterator[tuple[list[str], bytes | None]]:
    """Each file: its names and content; inside attached messages and, one level deep, inside zip files too."""
    for part in message.walk():
        own = names(part)
        if part.get_content_type() == "message/rfc822":
            yield own, None
        if part.is_multipart() or not (own or part.get_content_disposition() == "attachment"):
            continue
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        yield own, content
        if any(name.lower().endswith(".zip") for name in own):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for entry in archive.namelist():
                    yield [entry], archive.read(entry)
        if any(name.lower().endswith(".eml") for name in own):
            yield from files(email.message_from_bytes(content))


def own_parts(message: Message) -> Iterator[Message]:
    """The parts of the message itself, without those of attached messages."""
    if message.get_content_type() == "message/rfc822":
        return
    if message.is_multipart():
        for part in message.get_payload():
            assert isinstance(part, Message)
            yield from own_parts(part)
    else:
        yield message


class _Html(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name == "href"]


def texts_and_links(message: Message) -> tuple[list[str], list[str]]:
    """The texts that the message itself shows, and its links."""
    texts: list[str] = []
    links: list[str] = []
    for part in own_parts(message):
        if part.get_content_maintype() != "text" or part.get_content_disposition() == "attachment" or names(part):
            continue
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        text = best_effort(content, part.get_content_charset() or "utf-8")
        if part.get_content_subtype() == "html":
            html = _Html(text)
            texts.append("".join(html.texts))
            links += html.links
        else:
            texts.append(text)
            links += re.findall(r"https?://\S+", text)
    return texts, links


def addresses(message: Message, *fields: str) -> set[str]:
    """The addresses in these fields, in lower case."""
    raw = [value.decode("latin-1") for field in fields for value in raw_fields(message, field)]
    return {address.lower() for _, address in getaddresses(raw) if address}


def moment(raw: bytes) -> datetime:
    """The date at the end of a Date or Received field."""
    return parsedate_to_datetime(raw.decode("latin-1").rpartition(";")[2].strip()).astimezone(UTC)


class Naive:
    """Does a message match? ``options`` are those of the command line, as a dictionary of lists and strings."""

    def __init__(self, data: bytes, folder: str, delivered: datetime) -> None:
        self.message = email.message_from_bytes(data)
        self.size, self.folder, self.delivered = len(data), folder, delivered
        self.subjects = [compared(decoded(raw)) for raw in raw_fields(self.message, "Subject")[:1]]
        self.files = list(files(self.message))
        self.texts, self.links = texts_and_links(self.message)

    def matches(self, options: dict[str, Any]) -> bool:
        """Terms of one kind are alternatives, kinds must all hold; ``any`` joins subject and attachment terms."""
        given = dict(options)
        either = given.pop("any", False)
        results = {kind: self._holds(kind, value) for kind, value in given.items()}
        subject_kinds = {"subject", "subject_contains", "subject_prefix", "subject_regex"}
        attachment_kinds = {"attachment", "attachment_sha256"}
        groups: dict[str, list[bool]] = {}
        for kind, result in results.items():
            joined = "subject" if kind in subject_kinds else "attachment" if kind in attachment_kinds else kind
            if either and joined in ("subject", "attachment"):
                joined = "subject or attachment"
            groups.setdefault(joined, []).append(result)
        return all(any(group) for group in groups.values())

    def _holds(self, kind: str, value: Any) -> bool:
        if isinstance(value, str):
            return bool(getattr(self, f"_{kind}")(value))
        results = [bool(getattr(self, f"_{kind}")(one)) for one in value]
        # A message must lie in none of the excluded folders; of all other alternatives one is enough.
        return all(results) if kind == "exclude_folder" else any(results)

    def _subject(self, text: str) -> bool:
        return compared(text) in self.subjects

    def _subject_contains(self, text: str) -> bool:
        return any(compared(text) in subject for subject in self.subjects)

    def _subject_prefix(self, text: str) -> bool:
        return any(subject.startswith(compared(text)) for subject in self.subjects)

    def _subject_regex(self, pattern: str) -> bool:
        return any(re.search(pattern, subject, re.IGNORECASE) for subject in self.subjects)

    def _attachment(self, pattern: str) -> bool:
        wanted = compared(pattern).replace("[", "[[]")
        return any(fnmatch.fnmatchcase(compared(name), wanted) for found, _ in self.files for name in found)

    def _attachment_sha256(self, digest: str) -> bool:
        return any(data is not None and hashlib.sha256(data).hexdigest() == digest.lower() for _, data in self.files)

    def _from(self, address: str) -> bool:
        return _has_address(addresses(self.message, "From", "Sender"), address)

    def _recipient(self, address: str) -> bool:
        return _has_address(addresses(self.message, "To", "Cc", "Bcc"), address)

    def _message_id(self, wanted: str) -> bool:
        return any(
            raw.decode("latin-1").strip().strip("<>") == wanted.strip("<>")
            for raw in raw_fields(self.message, "Message-ID")
        )

    def _header(self, wanted: str) -> bool:
        name, _, text = wanted.partition("=")
        return any(compared(text) in compared(decoded(raw)) for raw in raw_fields(self.message, name))

    def _body_contains(self, text: str) -> bool:
        return any(compared(text) in compared(one) for one in self.texts)

    def _url(self, text: str) -> bool:
        return any(compared(text) in compared(link) for link in self.links)

    def _larger(self, size: str) -> bool:
        return self.size > int(size)

    def _smaller(self, size: str) -> bool:
        return self.size < int(size)

    def _received(self) -> datetime:
        fields = raw_fields(self.message, "Received")
        return moment(fields[0]) if fields else self.delivered

    def _received_since(self, when: str) -> bool:
        return self._received() >= datetime.fromisoformat(when)

    def _received_before(self, when: str) -> bool:
        return self._received() < datetime.fromisoformat(when)

    def _sent_since(self, when: str) -> bool:
        return any(moment(raw) >= datetime.fromisoformat(when) for raw in raw_fields(self.message, "Date"))

    def _sent_before(self, when: str) -> bool:
        return any(moment(raw) < datetime.fromisoformat(when) for raw in raw_fields(self.message, "Date"))

    def _folder(self, path: str) -> bool:
        return compared(self.folder) == compared(path) or compared(self.folder).startswith(compared(path) + "/")

    def _exclude_folder(self, path: str) -> bool:
        return not self._folder(path)


def _has_address(found: set[str], wanted: str) -> bool:
    wanted = wanted.lower()
    return any(address.endswith(wanted) if wanted.startswith("@") else address == wanted for address in found)
