"""Ids as EWS gives them out: opaque base64, case-sensitive, with the mailbox in them.

The layout follows Exchange's (00 03 24, then the mailbox's GUID in ASCII), and an object's number stands last, so that
two ids of a mailbox may differ in the case of one letter alone: a client that folds case mixes messages up.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass

_MARK = b"\x00\x03\x24"
_KINDS = {"folder": 1, "item": 2, "attachment": 3}
_NAMES = {number: name for name, number in _KINDS.items()}


class MalformedId(ValueError):
    """The text is no id of this server."""


@dataclass(frozen=True)
class Id:
    """A decoded id: `kind` is folder, item or attachment; `part` an attachment's place in its item, from 0."""

    kind: str
    guid: str
    number: int
    part: int = 0


def encode(kind: str, guid: str, number: int, part: int = 0) -> str:
    """The id of an object of the mailbox with this GUID."""
    return base64.b64encode(raw(kind, guid, number, part)).decode("ascii")


def raw(kind: str, guid: str, number: int, part: int = 0) -> bytes:
    """The id's bytes, which also serve as the entry id."""
    data = _MARK + guid.encode("ascii") + struct.pack(">BQ", _KINDS[kind], number)
    return data + part.to_bytes(3, "big") if kind == "attachment" else data


def decode(text: str) -> Id:
    """The object that an id names; MalformedId where it is no id."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedId(text) from error
    return from_raw(data)


def from_raw(data: bytes) -> Id:
    """The object that an id's bytes name."""
    if data[:3] != _MARK or len(data) not in (48, 51) or data[39] not in _NAMES:
        raise MalformedId(data.hex())
    kind = _NAMES[data[39]]
    if (kind == "attachment") != (len(data) == 51):
        raise MalformedId(data.hex())
    number = struct.unpack(">Q", data[40:48])[0]
    part = int.from_bytes(data[48:51], "big") if kind == "attachment" else 0
    return Id(kind, data[3:39].decode("ascii", "replace"), number, part)


def change_key(kind: str, version: int) -> str:
    """An object's ChangeKey at this version; it says nothing that a client could read."""
    prefix = {"folder": b"\x01\x00\x00\x00\x14\x00\x00\x00", "item": b"\x09\x00\x00\x00\x16\x00\x00\x00"}[kind]
    return base64.b64encode(prefix + struct.pack(">Q", version)).decode("ascii")
