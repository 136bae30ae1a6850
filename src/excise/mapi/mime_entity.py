"""MIME entities of rebuilt messages (RFC 2045, 2046).

Invariant: decoding a leaf gives back exactly the bytes that went in; line ends outside of leaves and of attached
messages are CRLF; the same parts give the same bytes, since a boundary is a digest of what it bounds.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from excise.mapi.mime_fields import Field, parameter

_BARE_NEWLINE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONG_LINE = re.compile(rb"[^\n]{999}")
_LINE_LIMIT = 998
_BINARY = Field("Content-Transfer-Encoding", "binary")
_NOT_ASCII = re.compile(rb"[\x80-\xff\0]")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z")


@dataclass(frozen=True)
class Entity:
    """Content header fields and an encoded body."""

    fields: tuple[Field, ...]
    body: bytes

    def data(self) -> bytes:
        """The entity as it stands in a multipart."""
        return b"".join(field.line() for field in self.fields) + b"\r\n" + self.body

    @property
    def content_type(self) -> str:
        """The type and subtype, lower case."""
        return self.fields[0].value.partition(";")[0].strip().lower()


def media_type(text: str) -> str | None:
    """``text`` where it is a plain type/subtype that a leaf can bear, else None."""
    text = text.partition(";")[0].strip().lower()
    return text if _TYPE.match(text) and not text.startswith(("multipart/", "message/")) else None


def text_entity(subtype: str, data: bytes, charset: str | None, parameters: str = "") -> Entity:
    """A text part of exactly these bytes; ``parameters`` are ready-made further ones."""
    encoding, body = _encode_text(data)
    label = "" if charset is None else f'; charset="{charset}"'
    return Entity(
        (Field("Content-Type", f"text/{subtype}{label}{parameters}"), Field("Content-Transfer-Encoding", encoding)),
        body,
    )


def crlf(text: str) -> bytes:
    """``text`` in UTF-8 with CRLF line ends."""
    return re.sub("\r\n|\r|\n", "\r\n", text).encode("utf-8", "replace")


def file_entity(data: bytes, content_type: str, name: str, extra: Sequence[Field] = (), inline: bool = False) -> Entity:
    """An attachment; ``content_type`` is a checked ``media_type`` or one with parameters."""
    named = parameter("name", name) if name else ""
    return Entity(
        (
            Field("Content-Type", content_type + named),
            Field("Content-Transfer-Encoding", "base64"),
            _disposition(name, inline),
            *extra,
        ),
        _base64(data),
    )


def message_entity(message: bytes, name: str, as_found: bool = False) -> Entity:
    """An embedded message; its bytes stay as they are. ``as_found``: its lines may be of any kind."""
    fields = [Field("Content-Type", "message/rfc822"), _disposition(name, inline=False)]
    encoding = [_BINARY] if as_found and _is_binary(message) else _eight_bit(message)
    return Entity((*fields, *encoding), message)


def multipart(subtype: str, children: Sequence[Entity], parameters: str = "") -> Entity:
    """A multipart of ``children``; one child alone is returned as it is."""
    if len(children) == 1:
        return children[0]
    pieces = [child.data() for child in children]
    digest = hashlib.sha256(subtype.encode("ascii"))
    for piece in pieces:
        digest.update(hashlib.sha256(piece).digest())
    boundary = f"=_{digest.hexdigest()[:40]}"
    while any(boundary.encode("ascii") in piece for piece in pieces):
        digest.update(b"again")
        boundary = f"=_{digest.hexdigest()[:40]}"
    line = b"--" + boundary.encode("ascii")
    body = b"".join(line + b"\r\n" + piece + b"\r\n" for piece in pieces) + line + b"--\r\n"
    fields = Field("Content-Type", f'multipart/{subtype};\r\n boundary="{boundary}"{parameters}')
    encoding = [_BINARY] if any(_BINARY in child.fields for child in children) else _eight_bit(body)
    return Entity((fields, *encoding), body)


def _is_binary(message: bytes) -> bool:
    """RFC 2045 2.9: lines that are too long, end in one character of CRLF, or hold NUL."""
    return (
        b"\0" in message
        or _BARE_NEWLINE.search(message) is not None
        or max(map(len, message.split(b"\r\n"))) > _LINE_LIMIT
    )


def _eight_bit(body: bytes) -> list[Field]:
    return [] if body.isascii() else [Field("Content-Transfer-Encoding", "8bit")]


def _disposition(name: str, inline: bool) -> Field:
    named = parameter("filename", name) if name else ""
    return Field("Content-Disposition", ("inline" if inline else "attachment") + named)


def _encode_text(data: bytes) -> tuple[str, bytes]:
    odd = len(_NOT_ASCII.findall(data))
    if _BARE_NEWLINE.search(data) or b"\0" in data or odd * 6 > len(data):
        return "base64", _base64(data)
    if not odd and not _LONG_LINE.search(data):
        return "7bit", data
    # binascii picks its soft line breaks after the first line end in the data, or a lone LF where there is none.
    body = binascii.b2a_qp(data, istext=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return "quoted-printable", body


def _base64(data: bytes) -> bytes:
    encoded = binascii.b2a_base64(data, newline=False)
    return b"".join(encoded[at : at + 76] + b"\r\n" for at in range(0, len(encoded), 76))
