"""Content of a MIME part with its transfer encoding undone (RFC 2045 6)."""

from __future__ import annotations

import binascii
import re
from functools import cached_property

from excise.core.digests import sha256_hex
from excise.mime.headers import decode_base64

_UU_BEGIN = re.compile(rb"(?:\A|\n)begin(?:-base64)? [0-7]{3,4} ([^\n]*)\n")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "7-bit", "8-bit", "7bits", "8bits"})
_UU = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})


class Content:
    """A stretch of a message, decoded when it is asked for and not kept.

    ``flaw``: why the decoded bytes are not the whole content, empty where they are.
    """

    def __init__(self, data: bytes, start: int, end: int, encoding: str) -> None:
        self._data, self._start, self._end = data, start, end
        self._encoding = encoding.strip().strip("\"'").lower()

    def decode(self) -> tuple[bytes, str]:
        """The bytes as far as they can be decoded, and the flaw."""
        raw = memoryview(self._data)[self._start : self._end]
        if self._encoding in _IDENTITY:
            return bytes(raw), ""
        if self._encoding in ("base64", "base-64"):
            decoded, whole = decode_base64(bytes(raw))
            return decoded, "" if whole else "the base64 text is not whole"
        if self._encoding in ("quoted-printable", "quotedprintable"):
            return binascii.a2b_qp(raw), ""
        if self._encoding in _UU:
            begin = _UU_BEGIN.search(raw)
            return decode_uu(bytes(raw), begin.end() if begin else 0)
        return bytes(raw), "unknown transfer encoding"

    @cached_property
    def _facts(self) -> tuple[int, str, str]:
        data, flaw = self.decode()
        return len(data), sha256_hex(data), flaw

    @property
    def size(self) -> int | None:
        """Length of the whole content in bytes, None where it is not whole."""
        return None if self._facts[2] else self._facts[0]

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the whole content, None where it is not whole."""
        return None if self._facts[2] else self._facts[1]


def decode_uu(data: bytes, start: int) -> tuple[bytes, str]:
    """The uuencoded lines from ``start`` to ``end``, and the flaw."""
    pieces: list[bytes] = []
    for line in data[start:].split(b"\n"):
        line = line.rstrip(b"\r")
        if line == b"end":
            return b"".join(pieces), ""
        try:
            pieces.append(binascii.a2b_uu(line))
        except binascii.Error:
            return b"".join(pieces), "the uuencoded text is damaged"
    return b"".join(pieces), "the uuencoded text has no end"


def uuencoded_files(data: bytes) -> list[tuple[bytes, int]]:
    """Files that stand uuencoded in a text: the raw name of each, and where its first line begins."""
    return [(match[1], match.end()) for match in _UU_BEGIN.finditer(data)]
