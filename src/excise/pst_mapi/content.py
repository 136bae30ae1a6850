"""The bytes of a message as MIME in named properties of the item that stands for it.

``OriginalMime`` has the bytes as their source held them, ``RebuiltMime`` those that were made of the item's properties.
A value has at most ``PIECE`` bytes, since libpff refuses values above 128 MiB; the second is ``OriginalMime2``, and so
on. ``…Sha256`` has the SHA-256 of them all, in hex.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from excise.core.bulk import Mapped, Pieces, Spool
from excise.core.digests import sha256_hex
from excise.pst.ltp.values import PT_BINARY, PT_UNICODE
from excise.pst.messaging.names import PS_EXCISE, PropertyName
from excise.pst.messaging.new_message import NewProperty

ORIGINAL, REBUILT = "OriginalMime", "RebuiltMime"
PIECE = 64 << 20


def content_properties(content: bytes, key: str) -> Iterator[NewProperty]:
    """``content`` as named properties that begin with ``key``."""
    for number, at in enumerate(range(0, max(1, len(content)), PIECE), 1):
        large = isinstance(content, Mapped)
        data = Pieces(content, at, at + PIECE) if large else content[at : at + PIECE]
        yield NewProperty(0, PT_BINARY, data, PropertyName(PS_EXCISE, piece_key(key, number)))
    digest = sha256_hex(content).encode("utf-16-le")
    yield NewProperty(0, PT_UNICODE, digest, PropertyName(PS_EXCISE, f"{key}Sha256"))


def piece_key(key: str, number: int) -> str:
    """The name of piece ``number``, from 1."""
    return key if number == 1 else f"{key}{number}"


def joined(read: Callable[[str], bytes | None], key: str) -> bytes | None:
    """The bytes in the properties that begin with ``key``, None where there are none.

    ``read`` gives the value of a name, None where it is absent.
    """
    found, count = Spool(), 0
    while (piece := read(piece_key(key, count + 1))) is not None:
        found.write(piece)
        count += 1
    return found.content() if count else None
