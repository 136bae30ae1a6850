"""One PST or OST file, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import IO

from excise.pst.disk.damage import Damage, DamageLog
from excise.pst.disk.header import CLIENT_OST, Header
from excise.pst.messaging.folder import Folder
from excise.pst.messaging.message import Message
from excise.pst.messaging.names import NamedProperties
from excise.pst.messaging.store import MessageStore
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import Source, open_source


class PstFile:
    """An open file. ``damage`` is all that was found wrong so far; reading more may find more.

    Use it as a context manager, or ``close`` it.
    """

    def __init__(self, source: Source, codec: str) -> None:
        self.log = DamageLog()
        self.source = source
        self.ndb = NodeDatabase(source, self.log)
        self.store = MessageStore(self.ndb, codec)

    @property
    def header(self) -> Header:
        """The header as it was when the file was opened."""
        return self.ndb.header

    @property
    def format_name(self) -> str:
        """ANSI, Unicode, or Unicode with 4-KB pages."""
        return self.ndb.format.name

    @property
    def is_ost(self) -> bool:
        """True for an offline copy of a server's mailbox."""
        return self.header.wMagicClient == CLIENT_OST

    @property
    def has_password(self) -> bool:
        """True where Outlook asks for a password, which reading does not need."""
        return self.store.has_password

    @property
    def record_key(self) -> bytes | None:
        """The 16 bytes that identify the store; None where they cannot be read."""
        return self.store.record_key

    @property
    def names(self) -> NamedProperties:
        """The named properties."""
        return self.store.names

    @property
    def root(self) -> Folder:
        """The root folder, above the top of the mailbox."""
        return self.store.root

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Everything found wrong so far."""
        return self.log.entries

    def folders(self) -> Iterator[Folder]:
        """Every folder, parents first, orphans last."""
        return self.store.folders()

    def message(self, nid: int) -> Message:
        """The message with the NID ``nid``. Damaged where it is not there or cannot be read."""
        return self.store.open(nid)

    def close(self) -> None:
        """Close what ``open`` opened; a file object of the caller's stays open."""
        self.source.close()

    def __enter__(self) -> PstFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_pst(path_or_file: str | os.PathLike[str] | IO[bytes], *, codec: str = "cp1252") -> PstFile:
    """Open a PST or OST file for reading, by its path or as a seekable binary file object.

    ``codec`` decodes strings of old (ANSI) items that do not name their code page. SourceUnavailable where the file
    cannot be opened; DamagedInput where it is none, is encrypted with a key of Windows, or has no readable node.
    """
    source = open_source(path_or_file)
    try:
        return PstFile(source, codec)
    except BaseException:
        source.close()
        raise
