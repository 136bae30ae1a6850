"""What a message says: its headers, bodies and attachments; and the MIME that a server makes of it at each fetch.

Exchange stores properties, not MIME: what it serves is made anew, with other boundaries, a rewritten Date and without
what it does not keep. The headers as they came stay in the transport headers alone (PR_TRANSPORT_MESSAGE_HEADERS).
"""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import Header, decode_header
from email.message import Message
from email.policy import compat32
from email.utils import format_datetime, getaddresses, parsedate_to_datetime
from functools import lru_cache


@dataclass(frozen=True)
class Address:
    """A person in a header."""

    name: str
    address: str


@dataclass(frozen=True)
class Attachment:
    """A part that counts as an attachment; `message` holds the bytes of an attached message, else b""."""

    name: str
    content_type: str
    content: bytes
    content_id: str
    inline: bool
    message: bytes = b""


@dataclass(frozen=True)
class View:
    """A message as a server sees it, parsed once."""

    subject: str
    sender: tuple[Address, ...]
    from_: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    message_id: str
    in_reply_to: str
    references: str
    sent: datetime | None
    importance: str
    sensitivity: str
    text: str
    html: str
    headers: tuple[tuple[str, str], ...]
    header_block: str
    attachments: tuple[Attachment, ...]
    read_receipt: bool
    topic: str


@lru_cache(maxsize=4096)
def view(mime: bytes) -> View:
    """Parse a message; anything is a message."""
    parsed = message_from_bytes(mime, policy=compat32)
    text, html, attachments = _contents(parsed)
    headers = tuple((name, _decoded(value)) for name, value in _raw(parsed))
    from_ = _addresses(parsed, "From")
    subject = _unfolded(_header(parsed, "Subject"))
    return View(
        subject=subject,
        sender=_addresses(parsed, "Sender") or from_,
        from_=from_,
        to=_addresses(parsed, "To"),
        cc=_addresses(parsed, "Cc"),
        bcc=_addresses(parsed, "Bcc"),
        reply_to=_addresses(parsed, "Reply-To"),
        message_id=_unfolded(_header(parsed, "Message-ID")).strip(),
        in_reply_to=_unfolded(_header(parsed, "In-Reply-To")).strip(),
        references=_unfolded(_header(parsed, "References")).strip(),
        sent=_date(parsed),
        importance=_importance(parsed),
        sensitivity=_sensitivity(parsed),
        text=text,
        html=html,
        headers=headers,
        header_block=header_block(mime),
        attachments=attachments,
        read_receipt=parsed.get("Disposition-Notification-To") is not None,
        topic=_topic(subject),
    )


def header_block(mime: bytes) -> str:
    """The headers as they came, with the empty line: what PR_TRANSPORT_MESSAGE_HEADERS holds."""
    ends = [(mime.find(mark), mark) for mark in (b"\r\n\r\n", b"\n\n")]
    found = min((end for end in ends if end[0] >= 0), default=None)
    raw = mime if found is None else mime[: found[0] + len(found[1])]
    return raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\n", "\r\n")


def made_anew(mime: bytes, subject: str | None = None) -> bytes:
    """The message as a server serves it today: other boundaries at each call, headers rewritten and reordered."""
    parsed = message_from_bytes(mime, policy=compat32)
    rewritten = _rewritten(view(mime), view(mime).subject if subject is None else subject)
    kept = [(name, value) for name, value in parsed.raw_items() if name.lower().startswith("content-")]
    for name in set(parsed.keys()):
        del parsed[name]
    for name, value in [*rewritten, *kept]:
        parsed[name] = value
    try:
        for part in parsed.walk():
            if part.is_multipart() and part.get_content_maintype() == "multipart":
                part.set_boundary(f"_{secrets.randbelow(900) + 100}_{secrets.token_hex(16)}_")
        return parsed.as_bytes(policy=compat32.clone(linesep="\r\n", max_line_length=0))
    except (UnicodeEncodeError, HeaderParseError):
        return _behind_other_headers(mime, rewritten)


def _behind_other_headers(mime: bytes, rewritten: list[tuple[str, str]]) -> bytes:
    """The message's content as it came, behind rewritten headers: for what cannot be put together anew."""
    block, _, body = mime.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = [line for line in _headers_of(block) if line.lower().startswith(b"content-")]
    head = [f"{name}: {_unfolded(value)}".encode() for name, value in rewritten]
    return b"\n".join([*head, *lines, b"", body]).replace(b"\n", b"\r\n")


def _headers_of(block: bytes) -> list[bytes]:
    """The headers of a block as they stand, each with its continuation lines; lines that are none are left out."""
    lines = re.split(rb"\n(?![ \t])", block.replace(b"\r", b" "))
    return [line for line in lines if re.match(rb"[!-9;-~]+:", line)]


def with_attachment(mime: bytes, name: str, content_type: str, content: bytes) -> bytes:
    """The message with one more file, or with one more message where the content type says so.

    What was the message becomes the first part as it stands, byte for byte.
    """
    block, _, body = mime.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = _headers_of(block)
    about_content = [line for line in lines if line.lower().startswith((b"content-", b"mime-version:"))]
    head = [line for line in lines if line not in about_content]
    boundary = f"_{secrets.token_hex(16)}_".encode()
    kind = b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="' + boundary + b'"'
    first = b"\n".join(line for line in about_content if not line.lower().startswith(b"mime-version:"))
    file = [b"Content-Type: " + (content_type or "application/octet-stream").encode()]
    if content_type == "message/rfc822":
        data = content.replace(b"\r\n", b"\n")
    else:
        shown = Header(name, "utf-8").encode(linesep="\n").encode() if not name.isascii() else name.encode()
        file.append(b'Content-Disposition: attachment; filename="' + shown.replace(b'"', b"'") + b'"')
        file.append(b"Content-Transfer-Encoding: base64")
        data = base64.encodebytes(content)
    mark = b"--" + boundary
    parts = [*head, kind, b"", mark, first + b"\n", body, mark, *file, b"", data, mark + b"--", b""]
    return b"\n".join(parts).replace(b"\n", b"\r\n")


def without_attachment(mime: bytes, place: int) -> bytes:
    """The message without the attachment at this place of `View.attachments`."""
    parsed = message_from_bytes(mime, policy=compat32)
    doomed = [leaf for leaf in _leaves(parsed) if leaf not in _bodies(parsed)][place]
    for part in parsed.walk():
        payload = part.get_payload() if part.is_multipart() else None
        if isinstance(payload, list) and doomed in payload:
            payload.remove(doomed)
    return parsed.as_bytes(policy=compat32.clone(linesep="\r\n"))


def _bodies(parsed: Message) -> list[Message]:
    """The parts that are bodies and no attachments."""
    found: dict[str, Message] = {}
    for part in _leaves(parsed):
        named = part.get_filename() is not None or part.get_content_disposition() == "attachment"
        if part.get_content_type() in ("text/plain", "text/html") and not named:
            found.setdefault(part.get_content_type(), part)
    return list(found.values())


def _rewritten(seen: View, subject: str) -> list[tuple[str, str]]:
    found = [
        ("From", _listed(seen.from_)),
        ("Sender", _listed(seen.sender) if seen.sender != seen.from_ else ""),
        ("To", _listed(seen.to)),
        ("Cc", _listed(seen.cc)),
        ("Bcc", _listed(seen.bcc)),
        ("Reply-To", _listed(seen.reply_to)),
        ("Subject", _encoded(subject)),
        ("Thread-Topic", _encoded(_topic(subject))),
        ("Date", format_datetime(seen.sent.astimezone(UTC)) if seen.sent else ""),
        ("Message-ID", seen.message_id),
        ("In-Reply-To", seen.in_reply_to),
        ("References", seen.references),
        ("X-MS-Has-Attach", "yes" if seen.attachments else ""),
        ("Importance", seen.importance if seen.importance != "Normal" else ""),
        ("MIME-Version", "1.0"),
    ]
    return [(name, value if value.isascii() else _encoded(value)) for name, value in found if value]


def _contents(parsed: Message) -> tuple[str, str, tuple[Attachment, ...]]:
    bodies = _bodies(parsed)
    texts = {part.get_content_type(): _text(part) for part in bodies}
    attachments = tuple(_attachment(part) for part in _leaves(parsed) if part not in bodies)
    return texts.get("text/plain", ""), texts.get("text/html", ""), attachments


def _leaves(part: Message) -> list[Message]:
    """The parts that hold content; an attached message is one part."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        return [leaf for child in part.get_payload() if isinstance(child, Message) for leaf in _leaves(child)]
    return [part]


def _attachment(part: Message) -> Attachment:
    for header, value in _raw(part):
        if header.lower() in ("content-type", "content-disposition") and not value.isascii():
            # The parser gives up on bytes beyond ASCII, of which file names consist in real mail.
            part.replace_header(header, value)
    kind = part.get_content_type()
    payload = part.get_payload() if part.is_multipart() else None
    name = _decoded(part.get_filename() or "")
    inner = b""
    if kind == "message/rfc822" and isinstance(payload, list) and payload and isinstance(payload[0], Message):
        inner = _bytes_of(payload[0])
        name = _decoded(str(payload[0].get("Subject", ""))) or name
        content = inner
    else:
        decoded = part.get_payload(decode=True)
        content = decoded if isinstance(decoded, bytes) else b""
    return Attachment(
        name=name,
        content_type=kind,
        content=content,
        content_id=str(part.get("Content-ID", "")).strip().strip("<>"),
        inline=part.get_content_disposition() == "inline",
        message=inner,
    )


def _bytes_of(message: Message) -> bytes:
    try:
        return message.as_bytes(policy=compat32.clone(linesep="\r\n"))
    except UnicodeEncodeError:
        return message.as_string().replace("\n", "\r\n").encode("utf-8", "replace")


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    try:
        return data.decode(part.get_content_charset() or "utf-8", "replace")
    except (LookupError, ValueError):
        return data.decode("latin-1")


def _raw(parsed: Message) -> list[tuple[str, str]]:
    """The headers as text; bytes beyond ASCII are UTF-8, else Latin-1."""
    found = []
    for name, value in parsed.raw_items():
        data = str(value).encode("utf-8", "surrogateescape")
        try:
            found.append((name, data.decode("utf-8")))
        except UnicodeDecodeError:
            found.append((name, data.decode("latin-1")))
    return found


def _header(parsed: Message, name: str) -> str:
    return next((_decoded(value) for header, value in _raw(parsed) if header.lower() == name.lower()), "")


def _decoded(value: str) -> str:
    try:
        parts = decode_header(value)
    except (ValueError, HeaderParseError):
        return value
    found = []
    for data, charset in parts:
        if isinstance(data, str):
            found.append(data)
            continue
        try:
            found.append(data.decode(charset or "utf-8", "replace"))
        except (LookupError, ValueError):
            found.append(data.decode("latin-1"))
    return "".join(found)


def _unfolded(value: str) -> str:
    return value.replace("\r\n", "").replace("\n", "").replace("\r", "")


def _addresses(parsed: Message, name: str) -> tuple[Address, ...]:
    values = [_unfolded(value) for header, value in _raw(parsed) if header.lower() == name.lower()]
    return tuple(
        Address(_unfolded(_decoded(person)), address.strip()) for person, address in getaddresses(values) if address
    )


def _listed(people: tuple[Address, ...]) -> str:
    return ", ".join(
        f"{_quoted(person.name)} <{person.address}>" if person.name else person.address for person in people
    )


def _quoted(name: str) -> str:
    if not name.isascii():
        return _encoded(name)
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _encoded(value: str) -> str:
    return value if value.isascii() else Header(value, "utf-8", maxlinelen=70).encode(linesep="\r\n")


def _date(parsed: Message) -> datetime | None:
    try:
        date = parsedate_to_datetime(str(parsed["Date"]))
    except (TypeError, ValueError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _importance(parsed: Message) -> str:
    said = str(parsed.get("Importance", "")).strip().lower()
    priority = str(parsed.get("X-Priority", "")).strip()[:1]
    if said in ("low", "high"):
        return said.title()
    return {"1": "High", "2": "High", "4": "Low", "5": "Low"}.get(priority, "Normal")


def _sensitivity(parsed: Message) -> str:
    said = str(parsed.get("Sensitivity", "")).strip().lower()
    found = {"personal": "Personal", "private": "Private", "company-confidential": "Confidential"}
    return found.get(said, "Normal")


def _topic(subject: str) -> str:
    """The subject without its prefix of up to three letters, as PR_NORMALIZED_SUBJECT has it."""
    head, colon, rest = subject.partition(": ")
    return rest if colon and 0 < len(head) <= 3 and head.isalpha() else subject
