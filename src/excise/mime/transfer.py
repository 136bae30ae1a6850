"""Content of a MIME part with its transfer encoding undone (RFC 2045 6)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from hashlib import sha256

from excise.core.bulk import Spool
from excise.core.digests import sha256_hex
from excise.mime.headers import decode_base64

_UU_BEGIN = re.compile(rb"(?:\A|\n)begin(?:-base64)? [0-7]{3,4} ([^\n]*)\n")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "7-bit", "8-bit", "7bits", "8bits"})
#: What is decoded at a time where only size and digest are asked for.
_PIECE = 1 << 20
#: Bytes above which what is decoded goes to disk.
_LARGE = 8 << 20
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
        if self._end - self._start > _LARGE:
            with suppress(ValueError):  # the whole says what is wrong
                spool = Spool()
                for piece in self._in_pieces():
                    spool.write(piece)
                return spool.content(), ""
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

    def _in_pieces(self) -> Iterator[bytes]:
        """What ``decode`` gives, a piece at a time; a ValueError where that has to be seen whole."""
        places = range(self._start, self._end, _PIECE)
        raw = (self._data[at : min(at + _PIECE, self._end)] for at in places)
        if self._encoding in _IDENTITY:
            yield from raw
            return
        if self._encoding not in ("base64", "base-64"):
            raise ValueError(self._encoding)
        rest, ended = b"", False
        for piece in raw:
            letters = rest + piece.translate(None, b" \t\r\n")
            if ended and letters:
                raise ValueError("more follows the end of the base64")
            whole = len(letters) - len(letters) % 4
            yield binascii.a2b_base64(letters[:whole], strict_mode=True)
            rest, ended = letters[whole:], letters[:whole].endswith(b"=")
        if rest:
            raise ValueError("the base64 is not whole")

    @cached_property
    def _facts(self) -> tuple[int, str, str]:
        if self._end - self._start > _PIECE:
            try:
                size, digest = 0, sha256()
                for piece in self._in_pieces():
                    size += len(piece)
                    digest.update(piece)
            except ValueError:
                pass  # the whole says what is wrong
            else:
                return size, digest.hexdigest(), ""
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
