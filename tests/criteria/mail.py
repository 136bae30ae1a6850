"""Messages as real mail has them, made so that what a person wrote in them is known (hypothesis strategies)."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

WORDS = (
    *("Invoice", "overdue", "virus", "ILOVEYOU", "re", "x=1", "100%", "a_b", "O'Neil", "it's", "(paid)", "[list]"),
    *("grüße", "Straße", "façade", "Ünïcode", "e\u0301te\u0301", "ﬁnance", "ＦＵＬＬ", "émoji🎉", "İstanbul"),
    *("счёт", "Оплата", "請求書", "領収証"),
)
CHARSETS = (
    "utf-8",
    "UTF-8",
    "iso-8859-1",
    "windows-1252",
    "koi8-r",
    "iso-2022-jp",
    "shift_jis",
    "gb2312",
    "windows-1251",
)
INVISIBLE = ("\u200b", "\u200d", "\u202e", "\u2060", "\ufeff", "\u00ad")
FOLDERS = ("INBOX", "Archive", "Archive/2026", "Archives", "Sent Items")
PEOPLE = ("ann@example.com", "bob@example.net", "Carl.Q@Mail.Example.org", "dora@example.com")
DELIVERED = datetime(2026, 3, 1, 12, tzinfo=UTC)

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


@dataclass
class Mail:
    """A message, its folder, and what stands in it: the text of its subject, the names and contents of its files …"""

    data: bytes
    folder: str
    subject: str
    names: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    message_id: str = ""


@dataclass
class File:
    """A part of a multipart: its bytes, with the names and digests that can be found in it."""

    part: bytes
    names: list[str]
    digests: list[str]


def encoded_bytes(draw: Any, text: str) -> tuple[str, bytes]:
    """A charset that can write ``text``, and ``text`` in it; the label is wrong now and then, as in real mail."""
    charset = draw(st.sampled_from(CHARSETS))
    try:
        data = text.encode(charset)
    except UnicodeEncodeError:
        charset, data = "utf-8", text.encode()
    if charset.lower() == "utf-8":
        # Labels that cannot be true: nothing but UTF-8 is left to try.
        charset = draw(st.sampled_from(["utf-8", "utf-8", "UTF-8", "unknown-8bit", "x-unknown", "us-ascii"]))
    return charset, data


def _q(data: bytes, draw: Any) -> bytes:
    plain = draw(st.booleans())
    spaces = draw(st.sampled_from([b"_", b"_", b"=20"]))
    safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"
    return b"".join(
        spaces if byte == 0x20 else bytes([byte]) if plain and byte in safe else b"=%02X" % byte for byte in data
    )


def _word(draw: Any, charset: str, data: bytes) -> bytes:
    kind = draw(st.sampled_from(["Q", "q", "B", "b"]))
    text = _q(data, draw) if kind in "Qq" else base64.b64encode(data)
    if kind in "Bb" and draw(st.integers(0, 5)) == 0:
        text = text.rstrip(b"=")
    return f"=?{charset}?{kind}?".encode() + text + b"?="


_STATEFUL = ("iso-2022-jp",)


@st.composite
def header_values(draw: Any, text: str) -> bytes:
    """``text`` as the value of a header field: plain, raw 8-bit, or encoded in one of the many ways that there are."""
    if text.isascii() and draw(st.booleans()):
        return text.replace(" ", draw(st.sampled_from([" ", "\r\n "]))).encode()
    if draw(st.integers(0, 3)) == 0:
        return text.encode()
    if draw(st.integers(0, 3)) == 0 and " " in text:
        return _mixed_words(draw, text)
    charset, data = encoded_bytes(draw, text)
    cuts: list[int] = []
    if charset not in _STATEFUL:
        # Anywhere: many programs cut in the middle of a character.
        cuts = sorted(draw(st.lists(st.integers(1, max(1, len(data) - 1)), max_size=3, unique=True)))
    bounds = [0, *[cut for cut in cuts if cut < len(data)], len(data)]
    charset += draw(st.sampled_from(["", "", "", "*en"]))
    words = [_word(draw, charset, data[a:b]) for a, b in pairwise(bounds)]
    return draw(st.sampled_from([b" ", b"\r\n ", b"\r\n\t", b"", b"  "])).join(words)


def _mixed_words(draw: Any, text: str) -> bytes:
    """Some words encoded, others plain; a space between two encoded words belongs inside one of them."""
    out, encoded_before = b"", False
    for number, word in enumerate(text.split(" ")):
        encode = not word.isascii() or draw(st.booleans())
        if number:
            if encode and encoded_before:
                word = " " + word
            out += draw(st.sampled_from([b" ", b"\r\n "]))
        if encode:
            charset, data = encoded_bytes(draw, word)
            out += _word(draw, charset, data)
        else:
            out += word.encode()
        encoded_before = encode
    return out


def _quoted(data: bytes) -> bytes:
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _percent(data: bytes) -> bytes:
    return b"".join(bytes([b]) if chr(b).isalnum() and b < 128 else b"%%%02X" % b for b in data)


@st.composite
def parameters(draw: Any, name: str, parameter: str) -> bytes:
    """``; parameter=name`` in one of its forms: quoted, RFC 2047 in quotes, raw 8-bit, RFC 2231 whole or in pieces."""
    key, fold = parameter.encode(), draw(st.sampled_from([b"; ", b";\r\n\t", b";\r\n "]))
    form = draw(st.sampled_from(["plain", "2047", "2231", "pieces", "encoded pieces"]))
    if form == "plain":
        return fold + key + b"=" + _quoted(name.encode())
    if form == "2047":
        value = draw(header_values(name)).replace(b"\r\n", b"")
        return fold + key + b"=" + _quoted(value)
    if form == "pieces" and name.isascii():
        middle = draw(st.integers(0, len(name)))
        first, second = name[:middle].encode(), name[middle:].encode()
        return fold + key + b"*0=" + _quoted(first) + fold + key + b"*1=" + _quoted(second)
    charset = draw(st.sampled_from(["utf-8", "UTF-8", "iso-8859-1"]))
    try:
        data = name.encode(charset)
    except UnicodeEncodeError:
        charset, data = "utf-8", name.encode()
    if form == "2231":
        return fold + key + f"*={charset}'en'".encode() + _percent(data)
    middle = draw(st.integers(0, len(data)))
    first, second = data[:middle], data[middle:]
    return fold + key + f"*0*={charset}''".encode() + _percent(first) + fold + key + b"*1*=" + _percent(second)


_SUFFIXES = (".exe", ".pdf", ".docx", ".TXT")


@st.composite
def files(draw: Any, depth: int = 0) -> File:
    """A file, a zip of files, or (outermost) an attached message with a file of its own."""
    name = draw(texts).replace("/", "") + draw(st.sampled_from(_SUFFIXES))
    content = draw(st.binary(min_size=1, max_size=40))
    kind = draw(st.sampled_from(["file", "file", "file", "zip", "message", "eml"] if depth == 0 else ["file"]))
    if kind == "message":
        inner = draw(files(depth=1))
        head = b"Content-Type: message/rfc822" + draw(parameters(name, "name")) + b"\r\n\r\n"
        body = b"Subject: inner text\r\nMIME-Version: 1.0\r\n" + _multipart("inner", [b"\r\ninner token", inner.part])
        return File(head + body, [name, *inner.names], inner.digests)
    names, digests = [name], []
    if kind == "zip":
        packed = io.BytesIO()
        inside = draw(texts).replace("/", "") + ".exe"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(inside, (2026, 1, 1, 0, 0, 0)), content)
        names, digests = [name + ".zip", inside], [hashlib.sha256(content).hexdigest()]
        content = packed.getvalue()
    elif kind == "eml":
        inner = draw(files(depth=1))
        content = b"Subject: inner text\r\nMIME-Version: 1.0\r\n" + _multipart("eml", [b"\r\ninner token", inner.part])
        names, digests = [name + ".eml", *inner.names], list(inner.digests)
    digests.append(hashlib.sha256(content).hexdigest())
    return File(_file_part(draw, names[0], content), names, digests)


def _file_part(draw: Any, name: str, content: bytes) -> bytes:
    where = draw(st.sampled_from(["disposition", "type", "both"]))
    head = b"Content-Type: application/octet-stream"
    if where != "disposition":
        head += draw(parameters(name, "name"))
    head += b"\r\nContent-Disposition: attachment"
    if where != "type":
        head += draw(parameters(name, "filename"))
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return head + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded


def _multipart(boundary: str, parts: list[bytes]) -> bytes:
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return (
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'.encode() + body + f"--{boundary}--\r\n".encode()
    )


@st.composite
def bodies(draw: Any) -> tuple[bytes, list[str], list[str]]:
    """A text part: its bytes, the words that stand in it, and its links."""
    tokens = draw(st.lists(st.sampled_from([word for word in WORDS if len(word) > 4]), min_size=1, max_size=4))
    links = draw(st.lists(st.sampled_from(["https://evil.example/pay?id=7", "http://good.example/"]), max_size=2))
    html = draw(st.booleans())
    text = " ".join([*tokens, *(f'<a href="{link}">see</a>' if html else link for link in links)])
    charset, data = encoded_bytes(draw, f"<html><body><p>{text}</p></body></html>" if html else text)
    kind = f"Content-Type: text/{'html' if html else 'plain'}; charset={charset}\r\nContent-Transfer-Encoding: "
    if draw(st.booleans()):
        return kind.encode() + b"base64\r\n\r\n" + base64.encodebytes(data), tokens, links
    return kind.encode() + b"quoted-printable\r\n\r\n" + _soft_lines(data), tokens, links


def _soft_lines(data: bytes) -> bytes:
    """Quoted-printable with a soft line break after each 40 bytes."""
    pieces = [b"".join(b"=%02X" % byte for byte in data[at : at + 20]) for at in range(0, len(data), 20)]
    return b"=\r\n".join(pieces)


_NAME_WORDS = tuple(word for word in WORDS if not set(word) & set("()[]'=%"))


@st.composite
def mails(draw: Any) -> Mail:
    """A message with its envelope, a text, and up to three files."""
    subject = draw(texts)
    raw_subject = draw(header_values(_with_marks(draw, subject)))
    sent = DELIVERED + timedelta(hours=draw(st.integers(-2000, 0)))
    zone = timezone(timedelta(hours=draw(st.integers(-11, 13))))
    sender, recipient, copied = (draw(st.sampled_from(PEOPLE)) for _ in range(3))
    message_id = f"{draw(st.integers(0, 3))}.x@example.com"
    body, tokens, links = draw(bodies())
    attached = draw(st.lists(files(), max_size=3))
    display = draw(header_values(draw(st.lists(st.sampled_from(_NAME_WORDS), min_size=1, max_size=3)).pop()))
    space = draw(st.sampled_from([b" ", b"", b"\r\n "]))
    head = [
        b"Received: from a.example by b.example;\r\n\t" + format_datetime(sent + timedelta(minutes=5)).encode(),
        b"From: " + display.replace(b"\r\n", b"") + f" <{sender}>".encode(),
        b"To: " + recipient.encode(),
        draw(st.sampled_from([b"Cc", b"Bcc", b"CC"])) + f": <{copied}>".encode(),
        draw(st.sampled_from([b"Subject", b"subject", b"SUBJECT"])) + b":" + space + raw_subject,
        b"Date: " + format_datetime(sent.astimezone(zone)).encode(),
        f"Message-ID: <{message_id}>".encode(),
        b"X-Tag: " + draw(header_values("spam score high")),
        b"MIME-Version: 1.0",
    ]
    if draw(st.integers(0, 4)) == 0:
        head.pop(0)
    head = draw(st.permutations(head))
    data = b"\r\n".join([*head, _multipart("outer", [body, *(one.part for one in attached)])])
    if draw(st.booleans()):
        data = data.replace(b"\r\n", b"\n")
    names = [name for one in attached for name in one.names]
    digests = [digest for one in attached for digest in one.digests]
    folder = draw(st.sampled_from(FOLDERS))
    return Mail(data, folder, subject, names, digests, tokens, links, message_id)


def _with_marks(draw: Any, text: str) -> str:
    """``text`` with a mark in it that nobody sees, now and then."""
    if draw(st.integers(0, 3)):
        return text
    at = draw(st.integers(1, len(text)))
    return text[:at] + draw(st.sampled_from(INVISIBLE)) + text[at:]
