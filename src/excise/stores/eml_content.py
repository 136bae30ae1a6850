"""A file that holds one message: RFC 5322 text or Outlook's .msg, told apart by what is in it.

Invariant: the version is SHA-256 of the file as it lies there. A .msg file is matched by its properties and given as
MIME rebuilt from them; the file itself goes into ``attributes["original"]`` and is what is put back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, TypeGuard

from excise.core.digests import sha256_hex
from excise.core.errors import DamagedInput
from excise.mapi.item import MapiItem
from excise.mapi.msg import is_msg, read_msg
from excise.mapi.to_mime import to_mime
from excise.model.item import Deposit, Fetched
from excise.model.message import MapiView, MessageView, MimeView
from excise.store_api.errors import ItemDamaged
from excise.stores.directory import is_component
from excise.stores.original import attributes_for, original_of
from excise.stores.pst_record import flags_of_item, record_of_item

SUFFIXES = (".eml", ".msg")
MSG = "msg"
_START = re.compile(rb"(?:\xef\xbb\xbf)?(?:>?From |[!-9;-~]{1,200}[ \t]*:)")


def is_named(name: str) -> bool:
    """True where ``name`` is that of a message's file (it only narrows: the content decides)."""
    return name.lower().endswith(SUFFIXES)


def is_message(head: bytes) -> bool:
    """True where a file that begins with ``head`` is a message: a header field, a From_ line, or a compound file."""
    return is_msg(head) or _START.match(head) is not None


def is_text(head: bytes) -> bool:
    """True where a file that begins with ``head`` is a message in RFC 5322 text."""
    return not is_msg(head) and _START.match(head) is not None


@dataclass(frozen=True)
class EmlFile:
    """One message's file, read. ``delivered``: the file's time, where it is known."""

    id: str
    folder: str
    data: bytes
    delivered: datetime | None
    doubt: str = ""

    def __post_init__(self) -> None:
        """ItemDamaged where the data are no message."""
        if not self.data:
            raise ItemDamaged(f"{self.id}: expected a message, found an empty file")
        if not is_message(self.data[:4096]):
            raise ItemDamaged(f"{self.id}: expected a message, found something that begins with no header field")
        if is_msg(self.data):
            _ = self.item

    @cached_property
    def version(self) -> str:
        """SHA-256 of the file."""
        return sha256_hex(self.data)

    @cached_property
    def item(self) -> MapiItem:
        """The item in a .msg file."""
        try:
            return read_msg(self.data)
        except DamagedInput as error:
            raise ItemDamaged(f"{self.id}: {error.message}", hint=error.hint) from error

    @cached_property
    def view(self) -> MessageView:
        """The message as the matcher sees it."""
        size = len(self.data)
        if is_msg(self.data):
            return MapiView(self.item, folder=self.folder, flags=flags_of_item(self.item), size=size)
        source = "file time" if self.delivered is not None else ""
        return MimeView(self.data, delivered=self.delivered, delivered_from=source, folder=self.folder, size=size)

    def fetched(self, attributes: dict[str, Any]) -> Fetched:
        """The message as ``fetch`` gives it; ``attributes`` are those of its place."""
        if not is_msg(self.data):
            return Fetched(self.id, self.version, self.data, self.folder, frozenset(), self.delivered, attributes)
        rebuilt = to_mime(self.item)
        return Fetched(
            self.id,
            self.version,
            rebuilt.data,
            self.folder,
            flags_of_item(self.item),
            self.delivered,
            attributes_for(attributes, MSG, self.data),
            properties=record_of_item(self.item),
            headers=None if rebuilt.is_original else tuple(rebuilt.headers),
            notes=tuple(rebuilt.notes),
            item=self.item,
        )


def file_of(deposit: Deposit) -> tuple[bytes, str]:
    """The bytes to write for ``deposit`` and the suffix of their name: the original .msg file where it carries one.

    ItemDamaged where what it carries would not be recognised as a message again.
    """
    original = original_of(deposit.attributes)
    if original is not None and original[0] == MSG and is_msg(original[1]):
        return original[1], ".msg"
    if not deposit.content or not is_message(deposit.content[:4096]):
        raise ItemDamaged("the message begins with no header field; a file with it would not be recognised again")
    return deposit.content, ".eml"


def version_of_deposit(deposit: Deposit) -> str:
    """The version that ``deposit`` will have."""
    try:
        return sha256_hex(file_of(deposit)[0])
    except ItemDamaged:
        return sha256_hex(deposit.content)


def name_for(attributes: Mapping[str, Any], data: bytes, suffix: str, is_free: Callable[[str], bool]) -> str:
    """A free name for a message's file: the one that it had, else one of its digest; numbered where it is taken."""
    name = attributes.get("name")
    if not _is_file_name(name):
        name = f"{sha256_hex(data)[:16]}{suffix}"
    path = PurePosixPath(name)
    for number in range(1, 10_000):
        if is_free(name):
            return name
        name = f"{path.stem} ({number}){path.suffix}"
    raise ItemDamaged(f"no name like {path.name!r} is free")


def _is_file_name(name: object) -> TypeGuard[str]:
    return is_component(name, 240) and is_named(name) and name.isprintable() and name[0] != "." and "\\" not in name
