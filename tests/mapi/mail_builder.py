"""Mail for tests: a description of what it says, and the bytes that say it, in one of the ways that mailers have."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

from hypothesis import strategies as st

_LETTERS = {
    "us-ascii": "ab z<&>=.\n",
    "utf-8": "aé\u65e5\U0001f600\u200b =\n",
    "iso-8859-1": "a\u00fc\u00ff =\n",
    "iso-8859-15": "a\u20ac =\n",
    "windows-1252": "a\u201c\u20ac=\n",
    "koi8-r": "\u041f\u0440 =\n",
    "iso-2022-jp": "a\u65e5\u672c =\n",
    "gb18030": "a\u4e2d\u6587\U0001f600 =\n",
    "big5": "a\u4e2d\u6587 =\n",
    "utf-16le": "a\u4e2d =\n",
}
HTML_END = "<img src='cid:a@x'>"


@dataclass(frozen=True)
class Text:
    """A body: CRLF line ends; ``charset`` holds it."""

    text: str
    charset: str
    encoding: str


@dataclass(frozen=True)
class File:
    """An attachment; ``form``: how its name is written."""

    name: str
    kind: str
    data: bytes
    form: str = "2231"
    encoding: str = "base64"


@dataclass(frozen=True)
class Mail:
    """``image`` is shown by the HTML; ``encoding`` is that of attached messages."""

    subject: str
    author: tuple[str, str]
    to: tuple[tuple[str, str], ...]
    cc: tuple[tuple[str, str], ...]
    message_id: str
    text: Text | None
    html: Text | None
    image: File | None
    files: tuple[File, ...]
    messages: tuple[Mail, ...]
    encoding: str = "7bit"

    def walk(self) -> Iterator[Mail]:
        """This mail and those in it."""
        yield self
        for inner in self.messages:
            yield from inner.walk()


def render(mail: Mail, level: int = 0) -> bytes:
    """The bytes of ``mail``, with CRLF."""
    fields = [b"From: " + _person(mail.author), b"Subject: " + _word(mail.subject)]
    for name, people in ((b"To: ", mail.to), (b"Cc: ", mail.cc)):
        fields += [name + b",\r\n ".join(map(_person, people))] if people else []
    fields += [b"Date: Fri, 1 Mar 2024 10:30:00 +0100", f"Message-ID: {mail.message_id}".encode(), b"MIME-Version: 1.0"]
    parts = [
        _body(mail, level),
        *map(_file, mail.files),
        *(_attached(m, mail.encoding, level + 1) for m in mail.messages),
    ]
    return b"\r\n".join(fields) + b"\r\n" + _multipart("mixed", parts, f"m{level}")


def _body(mail: Mail, level: int) -> bytes:
    page = None if mail.html is None else _text(mail.html, "html")
    if page is not None and mail.image is not None:
        page = _multipart("related", [page, _file(mail.image, b"Content-ID: <a@x>\r\n", b"inline")], f"r{level}")
    views = [] if mail.text is None else [_text(mail.text, "plain")]
    return _multipart("alternative", [*views, *([] if page is None else [page])], f"a{level}")


def _multipart(kind: str, parts: list[bytes], boundary: str) -> bytes:
    if len(parts) == 1:
        return parts[0]
    line = f"--={boundary}=".encode()
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"
    return f'Content-Type: multipart/{kind}; boundary="={boundary}="\r\n\r\n'.encode() + body


def _text(body: Text, subtype: str) -> bytes:
    head = f"Content-Type: text/{subtype}; charset={body.charset}\r\nContent-Transfer-Encoding: {body.encoding}\r\n\r\n"
    return head.encode() + _encoded(body.text.encode(body.charset), body.encoding)


def _file(file: File, more: bytes = b"", disposition: bytes = b"attachment") -> bytes:
    head = f"Content-Type: {file.kind}\r\nContent-Transfer-Encoding: {file.encoding}\r\n".encode() + more
    return (
        head + b"Content-Disposition: " + disposition + _name(file) + b"\r\n\r\n" + _encoded(file.data, file.encoding)
    )


def _attached(mail: Mail, encoding: str, level: int) -> bytes:
    head = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n"
    return head + _encoded(render(mail, level), encoding)


def _name(file: File) -> bytes:
    quoted = file.name.replace("\\", "\\\\").replace('"', '\\"').encode()
    match file.form if file.name else "none":
        case "2231":
            return b";\r\n filename*=utf-8''" + quote(file.name, safe="").encode()
        case "pieces":
            first, second = quote(file.name[:2], safe=""), quote(file.name[2:], safe="")
            return f";\r\n filename*0*=utf-8''{first};\r\n filename*1*={second}".encode()
        case "2047":
            return b';\r\n filename="' + _word(file.name, always=True) + b'"'
        case "raw":
            return b';\r\n filename="' + quoted + b'"'
    return b""


def _encoded(data: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(data).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return data


def _person(person: tuple[str, str]) -> bytes:
    return (_word(person[0], always=True) + b" " if person[0] else b"") + b"<" + person[1].encode() + b">"


def _word(text: str, always: bool = False) -> bytes:
    if text.isascii() and not always and "=?" not in text:
        return text.encode()
    pieces = [text[at : at + 9] for at in range(0, len(text), 9)]
    return b"\r\n ".join(b"=?utf-8?B?" + base64.b64encode(p.encode()) + b"?=" for p in pieces)


# -- strategies

_LINE = st.text('abc RE:,;é\u65e5\u041f\U0001f600=?_<>@"\\', max_size=80).map(lambda s: " ".join(s.split()))
_FILE_NAME = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=40).map(
    lambda s: s.strip().replace("/", "").replace("\\", "").strip("'\"")
)
_PERSON = st.tuples(
    _LINE.map(lambda s: s.strip(' ,;"\\')), st.from_regex(r"[a-z]{1,9}@[a-z]{1,9}\.example", fullmatch=True)
)
_STRAY = [b"\r\n--", b"\n\n", b"=?utf-8?B?", b'"', b"\0"]
_BINARY = st.sampled_from(["base64", "binary"])
_FILES = st.builds(
    File,
    _FILE_NAME,
    st.sampled_from(["application/pdf", "image/png", "application/octet-stream", "text/csv", "audio/mpeg"]),
    st.binary(max_size=40),
    st.sampled_from(["2231", "pieces", "2047", "raw"]),
    _BINARY,
)


@st.composite
def _texts(draw: st.DrawFn, end: str = "") -> Text:
    charset = draw(st.sampled_from(sorted(_LETTERS)))
    text = draw(st.text(_LETTERS[charset], max_size=60)).replace("\n", "\r\n") + end
    wide = charset == "utf-16le"
    return Text(text, charset, "base64" if wide else draw(st.sampled_from(["base64", "quoted-printable", "8bit"])))


@st.composite
def mails(draw: st.DrawFn, depth: int = 0) -> Mail:
    """A well-formed mail; messages inside it to ``depth`` more."""
    shape = draw(st.sampled_from(["text", "html", "both", "related"]))
    return Mail(
        draw(_LINE),
        draw(_PERSON),
        tuple(draw(st.lists(_PERSON, max_size=3))),
        tuple(draw(st.lists(_PERSON, max_size=2))),
        draw(st.from_regex(r"<[a-z0-9]{1,9}@[a-z]{1,9}>", fullmatch=True)),
        None if shape == "html" else draw(_texts()),
        None if shape == "text" else draw(_texts(HTML_END)),
        replace(draw(_FILES), kind="image/png") if shape == "related" else None,
        tuple(draw(st.lists(_FILES, max_size=3))),
        tuple(draw(st.lists(mails(depth - 1), max_size=2 if depth < 3 else 1))) if depth else (),
        draw(st.sampled_from(["7bit", "8bit", "base64"])),
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A mail that was cut, whose bytes were changed, whose lines end otherwise, or that was glued to another."""
    data = bytearray(render(draw(mails(1))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["cut", "change", "insert", "lf", "cr", "glue", "drop"])):
            case "cut":
                del data[at:]
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                data[at:at] = draw(
                    st.binary(max_size=8) | st.sampled_from([b"\r\n--", b"\n\n", b"=?utf-8?B?", b'"', b"\0"])
                )
            case "lf":
                data = bytearray(bytes(data).replace(b"\r\n", b"\n"))
            case "cr":
                data = bytearray(bytes(data).replace(b"\n", b""))
            case "glue":
                data += b"\r\n" + data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 80))]
    return bytes(data)
