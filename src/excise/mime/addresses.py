"""Addresses and dates of header fields, read tolerantly and in linear time (RFC 5322 3.3, 3.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from excise.mime.headers import decode_header, unfold

_QUOTED = r'"(?:\\.|[^"\\])*+"'
_TOKENS = (
    re.compile(_QUOTED + r"|<[^<>]*+>|\[[^\]]*+\]|[(),;:<>\"\[\]]|[^\s(),;:<>\"\[\]]++|\s++", re.DOTALL),
    # Without the alternatives that need a closing mark, for what follows one that was never closed.
    re.compile(r"<[^<>,;]*+>?|[(),;:>\"\[\]]|[^\s(),;:<>\"\[\]]++|\s++", re.DOTALL),
)
_COMMENT = re.compile(r"\([^()]*+\)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Address(NamedTuple):
    """A display name (decoded; may be empty) and an address as it is written, ``local@domain``."""

    name: str
    address: str


def parse_addresses(raw: bytes) -> tuple[Address, ...]:
    """The addresses of a raw field value: groups opened, comments dropped, names decoded.

    An unquoted comma inside a name is put back where the piece before it is no address. Where the whole list was packed
    into an encoded word (some mailers do), it is unpacked first.
    """
    if b"=?" in raw and b"@" not in raw and "@" in (decoded := decode_header(raw)):
        return tuple(_entries(decoded))
    return tuple(_entries(_text(raw)))


def _text(raw: bytes) -> str:
    # Latin-1 keeps each byte, so that names are decoded after the list is taken apart.
    return unfold(raw).decode("latin-1")


def _tokens(text: str) -> Iterator[str]:
    position, pieces = 0, _TOKENS[0]
    while match := pieces.match(text, position):
        piece = match[0]
        if piece in ('"', "<", "[") and pieces is _TOKENS[0]:
            # Never closed: from here on such a mark is a character like others.
            pieces = _TOKENS[1]
            if piece == "<":
                continue
        position = match.end()
        yield piece


def _entries(text: str) -> Iterator[Address]:
    words: list[str] = []
    comments: list[str] = []
    angle: str | None = None
    depth = checked = 0
    for piece in _tokens(text):
        if piece in ("(", ")") or depth:
            depth = max(0, depth + (piece == "(") - (piece == ")"))
            comments.append(" " if piece in ("(", ")") else piece)
        elif piece in (",", ";"):
            if angle is not None or any("@" in word for word in words[checked:]):
                yield _address(words, comments, angle)
                words, comments, angle = [], [], None
            elif words:
                words.append(piece)
            checked = len(words)
        elif piece == ":" and angle is None:
            words, checked = [], 0
        elif piece[0] == "<" and len(piece) > 1:
            angle = piece
        else:
            words.append(piece)
    if angle is not None or "".join(words).strip(" ,;"):
        yield _address(words, comments, angle)


def _address(words: list[str], comments: list[str], angle: str | None) -> Address:
    if angle is not None:
        spec = _without_space(angle.strip("<>"))
        if spec.startswith("@"):
            spec = spec.rpartition(":")[2]
        name = "".join(words)
    else:
        spec = _without_space("".join(words)).strip(",;")
        name = "".join(comments)
    spec = _decoded(spec.removeprefix("mailto:"))
    return Address(_decoded(_unquoted(name).strip(" ,;\t")), spec)


def _without_space(text: str) -> str:
    """``text`` without the white space that is not in quotes: ``"a b"@x`` and ``ab@x`` are two people."""
    return re.sub(_QUOTED + r"|\s++", lambda m: m[0] if m[0][0] == '"' else "", text, flags=re.DOTALL)


def _unquoted(text: str) -> str:
    return " ".join(re.sub(_QUOTED, lambda m: _ESCAPED.sub(r"\1", m[0][1:-1]), text, flags=re.DOTALL).split())


def _decoded(text: str) -> str:
    """Pieces of a raw value are Latin-1 for bytes; what was unpacked already may hold other characters, and is text."""
    try:
        return decode_header(text.encode("latin-1"))
    except UnicodeEncodeError:
        return text


def parse_date(raw: bytes | str | None) -> datetime | None:
    """The time in a Date field, aware; None where there is none that can be read. No zone counts as UTC (``-0000``)."""
    if raw is None:
        return None
    from email.utils import parsedate_tz

    text = (unfold(raw).decode("latin-1") if isinstance(raw, bytes) else raw)[:200]
    try:
        parts = parsedate_tz(_COMMENT.sub(" ", text))
        if parts is None:
            return None
        offset = timezone(timedelta(seconds=parts[9])) if parts[9] else UTC
        second = min(parts[5], 59)  # a leap second
        return datetime(*parts[:5], second, tzinfo=offset).astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def received_date(values: tuple[bytes, ...]) -> datetime | None:
    """The time of the topmost Received field whose time can be read: that of the last hop."""
    for raw in values:
        moment = parse_date(raw.rpartition(b";")[2])
        if moment is not None:
            return moment
    return None
