"""Header fields of rebuilt MIME (RFC 5322, 2047, 2231).

Invariant: whatever a property holds, a field made here is printable ASCII with tabs, is folded by CRLF and a space,
and ends where it should: no value can start another field or the body.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from email.utils import getaddresses
from typing import NamedTuple
from urllib.parse import quote

from excise.mapi.addresses import Address
from excise.mime.headers import decode_header

#: The domain of addresses that are no Internet addresses; RFC 2606 keeps ``.invalid`` free of real hosts.
NO_DOMAIN = "excise.invalid"
_LINE = 76
_WORD_LIMIT = 900
_NAME_LIMIT = 1000
_PARSE_LIMIT = 10_000
_ADDRESSES_LIMIT = 256 << 10
# The standard library's parser calls itself for each comment within a comment.
_COMMENTS_LIMIT = 100
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SIMPLE = re.compile(r"[!-~]+(?: [!-~]+)*\Z")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_INTERNET = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,256}@(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f.:IPv]{1,64}\])\Z")
_FIELD = re.compile(r"([!-9;-~]{1,200})[ \t]*:(.*)\Z", re.DOTALL)
_NEWLINE = re.compile(r"\r\n|\r|\n")
_WORDS = re.compile(r"(\s+)")
_ADDRESS_FIELDS = frozenset(
    [
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "resent-from",
        "resent-sender",
        "resent-to",
        "resent-cc",
        "resent-bcc",
        "return-path",
        "disposition-notification-to",
        "errors-to",
        "delivered-to",
    ]
)


class Field(NamedTuple):
    """A header field: its name and its folded value without the last line break."""

    name: str
    value: str

    def line(self) -> bytes:
        """The field as it stands in a message."""
        return f"{self.name}: {self.value}".rstrip(" ").encode("ascii") + b"\r\n"


def clean(text: str) -> str:
    """``text`` on one line: control characters and line separators become spaces, lone surrogates U+FFFD."""
    return _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", text))


def unfold(value: str) -> str:
    """A folded field value on one line."""
    return _NEWLINE.sub("", value).strip(" \t")


def unstructured(name: str, text: str) -> Field:
    """A field of free text, such as Subject."""
    text = clean(text)
    if _SIMPLE.match(text) and "=?" not in text and max(map(len, text.split(" "))) <= _WORD_LIMIT:
        return Field(name, fold(text.split(" "), len(name) + 2))
    return Field(name, encoded_words(text))


def encoded_words(text: str) -> str:
    """``text`` as RFC 2047 words of UTF-8 in base64, one a line, cut between characters."""
    words, piece = [], bytearray()
    for char in text:
        raw = char.encode("utf-8", "replace")
        if len(piece) + len(raw) > 42:
            words.append(bytes(piece))
            piece.clear()
        piece += raw
    if piece:
        words.append(bytes(piece))
    return "\r\n ".join(f"=?utf-8?B?{base64.b64encode(word).decode('ascii')}?=" for word in words)


def fold(words: Iterable[str], used: int) -> str:
    """``words`` joined by single spaces, a line break before the space where a line would grow too long."""
    parts: list[str] = []
    for word in words:
        if parts and used + 1 + len(word) > _LINE:
            parts.append("\r\n ")
            used = 1
        elif parts:
            parts.append(" ")
            used += 1
        parts.append(word)
        used += len(word)
    return "".join(parts)


def mailbox(address: Address) -> str:
    """One address with its name. An address that is none on the Internet is encapsulated ([MS-OXCMAIL] 2.1.1.1)."""
    phrase = _phrase(address.name)
    spec = addr_spec(address)
    return f"{phrase} <{spec}>" if phrase else f"<{spec}>" if "invalid" in spec else spec


def addr_spec(address: Address) -> str:
    """The address itself: as it is where it can stand in a header, else encapsulated under ``NO_DOMAIN``."""
    if _INTERNET.match(address.smtp):
        return address.smtp
    stored = address.smtp or address.stored
    if not stored:
        return f"no-address@{NO_DOMAIN}"
    kind = re.sub("[^A-Z0-9]", "", address.address_type.upper())[:20] or "UNKNOWN"
    raw = stored.encode("utf-8", "replace")[:200]
    safe = "".join(
        "_" if b == 0x2F else chr(b) if (chr(b).isalnum() and b < 128) or b in b"=.-" else f"+{b:02X}" for b in raw
    )
    return f"IMCEA{kind}-{safe}@{NO_DOMAIN}"


def is_internet(address: Address) -> bool:
    """True where the address has an SMTP form that can stand in a header."""
    return bool(_INTERNET.match(address.smtp))


def address_list(name: str, addresses: Iterable[Address]) -> Field:
    """A field of addresses, one a line."""
    return Field(name, ",\r\n ".join(mailbox(address) for address in addresses))


def _phrase(name: str) -> str:
    name = " ".join(clean(name).split())
    if not name:
        return ""
    if not name.isascii() or "=?" in name or len(name) > _WORD_LIMIT:
        return encoded_words(name)
    if _ATOMS.match(name) and len(name) < 60:
        return name
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return fold(f'"{quoted}"'.split(" "), 10)


def parameter(name: str, value: str) -> str:
    """A parameter of Content-Type or Content-Disposition with its leading ``;``; RFC 2231 where it is needed."""
    value = _SURROGATE.sub("\ufffd", value)[:_NAME_LIMIT]
    if value.isascii() and value.isprintable() and len(value) <= 60 and not set(value) & set('"\\'):
        return f';\r\n {name}="{value}"'
    text = quote(value, safe="")
    if len(text) <= 60:
        return f";\r\n {name}*=utf-8''{text}"
    pieces = re.findall(r"(?:%[0-9A-F]{2}|[^%]){1,20}", text)
    return "".join(f";\r\n {name}*{i}*={'' if i else chr(117) + 'tf-8' + chr(39) * 2}{p}" for i, p in enumerate(pieces))


def parse_block(block: str) -> tuple[list[Field], list[str]]:
    """The fields of a stored header block in their order, and notes on lines that are no part of one.

    The block ends at the first empty line; what follows (old servers stored the headers of parts too) is not used.
    """
    found: list[tuple[str, list[str]]] = []
    notes: list[str] = []
    lines = _NEWLINE.split(block)
    for number, line in enumerate(lines):
        if not line:
            if any(rest.strip() for rest in lines[number:]):
                notes.append("lines after the end of the transport headers are not used")
            break
        if line[0] in " \t":
            if found and line.strip():
                found[-1][1].append(line)
            continue
        match = _FIELD.match(line)
        if match is not None:
            found.append((match[1], [match[2].strip(" \t")]))
        elif not line.startswith("Microsoft Mail Internet Headers"):
            notes.append(f"line {number + 1} of the transport headers is no header field and is not used")
    return [Field(name, "\r\n".join(value)) for name, value in found], notes[:20]


def parse_addresses(text: str) -> list[Address]:
    """The addresses in an unfolded field value; none where it is too long, or nests comments too deep, to be parsed."""
    if len(text) > _ADDRESSES_LIMIT or text.count("(") > _COMMENTS_LIMIT:
        return []
    return [Address(name, spec, spec, "SMTP") for name, spec in getaddresses([text]) if name or spec]


def original(field: Field) -> tuple[Field, bool]:
    """A stored field fit to be written, and whether it had to be recoded (raw 8-bit text, control characters)."""
    value = "\r\n".join(part for part in field.value.split("\r\n") if part.strip() or part is field.value)
    bare = value.replace("\r\n", "").replace("\t", "")
    if bare.isascii() and not _CONTROL.search(bare):
        return Field(field.name, value), False
    text = clean(unfold(value))
    if field.name.lower() in _ADDRESS_FIELDS:
        people = parse_addresses(text)
        if people:
            return address_list(field.name, people), True
    return Field(field.name, _recode(text)), True


def decoded(value: str) -> str:
    """A field value with its RFC 2047 words decoded; one above ``_PARSE_LIMIT`` is returned as it is."""
    value = unfold(value)
    return decode_header(value.encode("utf-8", "replace")) if len(value) <= _PARSE_LIMIT else value


def _recode(text: str) -> str:
    """``text`` with its words that are not ASCII encoded. Beside words that are encoded already, all of it is encoded
    anew: the space between two encoded words would not count."""
    if "=?" in text:
        return encoded_words(clean(decoded(text)))
    words = _WORDS.split(text)
    odd = [index for index, word in enumerate(words) if not word.isascii()]
    if not odd:
        return text
    first, last = odd[0], odd[-1] + 1
    return "".join([*words[:first], encoded_words("".join(words[first:last])), *words[last:]])
