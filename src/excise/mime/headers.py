"""Header blocks of RFC 5322, read as they are found: raw 8-bit, folded, CRLF, LF or a mixture, without an end.

Invariants: the time taken grows with the length alone, whatever the bytes; nothing here raises for bad input. A block
ends at the first empty line, or before the first line that is neither a field nor the continuation of one (as MTAs
and Python's email package have it); a line that begins with ``From `` or ``>From `` is passed over.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from excise.mime.charsets import codec_of, decode_text

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
_SKIPPED = re.compile(rb"(?:>?From |[ \t])[^\n]*+(?:\n|\Z)")
_EMPTY_LINE = re.compile(rb"\r?\n")
_WORD_START = re.compile(r"=\?([^?\s]{1,75})\?([BbQq])\?")
_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_BOM = b"\xef\xbb\xbf"


def with_line_feeds(data: bytes) -> bytes:
    """``data`` itself; where its lines end in CR alone (old Macintosh files), with LF instead."""
    if b"\n" not in data and b"\r" in data:
        return data.replace(b"\r", b"\n")
    return data


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """The fields of a header block in their order, and where the body begins.

    ``fields``: pairs of the name in lower case and the raw value, as it stands after the colon, folded.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    body_start: int

    @classmethod
    def parse(cls, data: bytes, start: int = 0, end: int | None = None) -> HeaderBlock:
        """Read the block that begins at ``start`` of ``data`` and ends by ``end``."""
        end = len(data) if end is None else end
        fields: list[tuple[bytes, bytes]] = []
        position = start + 3 if data.startswith(_BOM, start) else start
        while True:
            match = _FIELD.match(data, position, end)
            if match is not None:
                fields.append((match[1].lower(), match[2]))
            else:
                match = _SKIPPED.match(data, position, end)
                if match is None:
                    break
            position = match.end()
        empty_line = _EMPTY_LINE.match(data, position, end)
        return cls(tuple(fields), empty_line.end() if empty_line else position)

    def raw(self, name: bytes) -> tuple[bytes, ...]:
        """The raw values of every field ``name`` (lower case)."""
        return tuple(value for field, value in self.fields if field == name)

    def first(self, name: bytes) -> bytes | None:
        """The raw value of the first field ``name`` (lower case), or None."""
        return next((value for field, value in self.fields if field == name), None)

    def texts(self, name: bytes) -> tuple[str, ...]:
        """The decoded values of every field ``name`` (lower case)."""
        return tuple(decode_header(value) for value in self.raw(name))


def unfold(raw: bytes) -> bytes:
    """``raw`` without its line breaks and the white space around it (RFC 5322 2.2.3)."""
    if b"\n" in raw:
        raw = raw.replace(b"\r\n", b"").replace(b"\n", b"")
    return raw.strip(b" \t\r\n")


def decode_header(raw: bytes) -> str:
    """A raw field value as text: unfolded, RFC 2047 words joined and decoded, raw 8-bit by best effort (S09)."""
    raw = unfold(raw)
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")
        return decode_words(text) if "=?" in text else text
    if b"=?" not in raw:
        return decode_text(raw, None)[0]
    return decode_words(raw.decode("latin-1"))


def decode_words(text: str) -> str:
    """``text`` with its RFC 2047 words decoded. Characters up to U+00FF stand for raw bytes.

    Words with only white space between them are one: their bytes are joined before they are decoded, since senders
    split them inside a character. A word that is not whole stays as it is.
    """
    pieces: list[str] = []
    joined, charset, position = bytearray(), "", 0
    for start, end, label, content in _words(text):
        between = text[position:start]
        adjacent = bool(charset) and not between.strip(" \t\r\n")
        if not (adjacent and _same_charset(label, charset)):
            pieces.append(decode_text(bytes(joined), charset or None)[0])
            joined.clear()
        if not adjacent:
            pieces.append(_plain(between))
        joined += content
        charset, position = label, end
    pieces += (decode_text(bytes(joined), charset or None)[0], _plain(text[position:]))
    return "".join(pieces)


def _same_charset(one: str, other: str) -> bool:
    return one.lower() == other.lower() or codec_of(one) == codec_of(other) is not None


def _plain(text: str) -> str:
    return text if text.isascii() and "\x1b" not in text else decode_text(_octets(text), None)[0]


def _words(text: str) -> Iterator[tuple[int, int, str, bytes]]:
    """Start, end, charset label and bytes of each RFC 2047 word. A closing mark is looked for once: this is linear."""
    position, close = 0, -1
    for match in _WORD_START.finditer(text):
        if match.start() < position:
            continue
        if close < match.end():
            close = text.find("?=", match.end())
            if close < 0:
                return
        position = close + 2
        decode = decode_base64 if match[2] in "Bb" else _decode_q
        yield match.start(), position, match[1], decode(_octets(text[match.end() : close]))[0]


def _octets(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _decode_q(data: bytes) -> tuple[bytes, bool]:
    return binascii.a2b_qp(data, header=True), True


def decode_base64(data: bytes) -> tuple[bytes, bool]:
    """Bytes of a base64 text, and whether it was whole: foreign characters are passed over, missing padding is not."""
    try:
        return binascii.a2b_base64(data), True
    except binascii.Error:
        letters = _BASE64.sub(b"", data.partition(b"=")[0])
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)), False
