"""A new PST file, written from front to back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, cast

from excise.core.errors import SourceUnavailable
from excise.pst.messaging.create_folder import FolderBuilder
from excise.pst.messaging.create_store import StoreBuilder
from excise.pst.messaging.new_message import NewMessage


class NewPst:
    """A new file. Until ``close`` it is none that a reader would open.

    Use it as a context manager: an error inside abandons the file, and one that ``create`` made is removed. Memory
    does not grow with the size of messages, and by some 150 bytes with each.
    """

    def __init__(self, stream: BinaryIO, path: Path | None, display_name: str) -> None:
        self._stream = stream
        self._path = path
        self._store = StoreBuilder(stream, display_name)
        self._closed = self._abandoned = False

    def folder(self, path: Sequence[str], *, container_class: str | None = None) -> NewFolder:
        """The folder at ``path`` below the top of the mailbox, made with those above it where it is not there yet.

        ``container_class`` is what it is for, such as ``IPF.Contact``; a folder without one is for mail. ValueError
        where a name is empty, longer than 255 characters or no text, where it differs from that of another in case
        alone, or where the folder has another class already.
        """
        self._check_open()
        builder = self._store.folder(path)
        if container_class is not None:
            if builder.container_class not in (None, container_class):
                raise ValueError(f"folder {'/'.join(path)!r} is a {builder.container_class}, not a {container_class}")
            builder.container_class = container_class
        return NewFolder(self, self._store, builder)

    @property
    def size(self) -> int:
        """Bytes of the file so far; ``close`` adds the tables of folders and the trees of nodes and blocks."""
        return self._store.size

    def close(self) -> None:
        """Complete the file; a path's file is then on the disk. Nothing can be added afterwards.

        ValueError where the file was abandoned. After any error it is.
        """
        if self._closed and not self._abandoned:
            return
        self._check_open()
        try:
            self._store.close()
            self._stream.flush()
            if self._path is not None:
                os.fsync(self._stream.fileno())
                self._stream.close()
        except BaseException:
            self.abandon()
            raise
        self._closed = True

    def abandon(self) -> None:
        """Stop here. A file that ``create`` made is removed; a file object of the caller's holds no PST file."""
        if self._closed:
            return
        self._closed = self._abandoned = True
        if self._path is not None:
            with suppress(OSError):  # what cannot be written any more is not wanted either
                self._stream.close()
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> NewPst:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _written(self, write: Callable[[], int]) -> int:
        self._check_open()
        try:
            return write()
        except OSError:
            self.abandon()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the new PST file was abandoned" if self._abandoned else "the new PST file is closed")


class NewFolder:
    """A folder of a new file."""

    def __init__(self, pst: NewPst, store: StoreBuilder, builder: FolderBuilder) -> None:
        self._pst = pst
        self._store = store
        self._builder = builder

    @property
    def nid(self) -> int:
        """Its NID."""
        return self._builder.nid

    def add(self, message: NewMessage) -> int:
        """Write ``message`` here and give its NID.

        ValueError where it cannot be stored, OverflowError where it has a named property and the file no id left, and
        whatever the iterables of its values raise. The message is then not in the file, which can go on. After an
        OSError it cannot, and is abandoned.
        """
        return self._pst._written(lambda: self._store.add(self._builder, message))

    def add_associated(self, message: NewMessage) -> int:
        """Write ``message`` here as a folder-associated item, as ``add``."""
        return self._pst._written(lambda: self._store.add_associated(self._builder, message))


def create_pst(path_or_file: str | os.PathLike[str] | IO[bytes], *, display_name: str = "Outlook data file") -> NewPst:
    """Start a new Unicode PST file: at a path where nothing is yet, or in a seekable binary file object for updating.

    What was in a file object is lost, and it stays open. ``display_name`` is what Outlook shows for the file.
    SourceUnavailable where the path cannot be created; ValueError for a name that is no text.
    """
    if not isinstance(path_or_file, (str, os.PathLike)):
        return NewPst(cast(BinaryIO, path_or_file), None, display_name)
    path = Path(path_or_file)
    try:
        stream = path.open("x+b")
    except OSError as error:
        raise SourceUnavailable(f"{path}: cannot be created: {error.strerror or error}") from error
    try:
        return NewPst(stream, path, display_name)
    except BaseException:
        stream.close()
        path.unlink(missing_ok=True)
        raise
