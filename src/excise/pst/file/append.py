"""Messages and folders put into a Unicode PST in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from excise.pst.file.rewrite import Soundness, judge, refusing
from excise.pst.messaging.append import Appender
from excise.pst.messaging.create_folder import FolderBuilder
from excise.pst.messaging.new_message import NewMessage
from excise.pst.ndb.edit import edit_nodes


class PstAppender:
    """A file that is being added to: a context manager, whose end puts in all of what was added, or nothing.

    An error inside, and none other than Unfinished at the end, leaves the file as it was.
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float, soundness: Soundness) -> None:
        self._name = os.fspath(path)
        self._soundness = soundness
        self._stack = ExitStack()
        editing = edit_nodes(Path(path), timeout=timeout, judge=partial(judge, soundness))
        with refusing(self._name):
            self._editor = self._stack.enter_context(editing)
        try:
            with refusing(self._name):
                self._appender = Appender(self._editor)
        except BaseException:
            self._stack.close()
            raise

    def folder(
        self, path: Sequence[str], *, below: int | None = None, container_class: str | None = None
    ) -> AppendedFolder:
        """The folder at ``path`` below the top of the mailbox, made with those above it where it is not there yet.

        ``below``: the NID of a folder to go from instead of the top. ``container_class`` is what a new folder is for,
        such as ``IPF.Contact``; one without is for mail. ValueError where a name is empty, longer than 255 characters
        or no text, where it differs from that of another in case alone, where the folder has another class already or
        is a search folder, and where ``below`` is no folder. Unsound where the folders cannot be read for certain.
        """
        with refusing(self._name):
            builder = self._appender.folder(path, below)
        if container_class is not None and builder.container_class != container_class:
            if builder.container_class is not None or not self._appender.is_new(builder):
                kind = builder.container_class or "folder without a class"
                raise ValueError(f"folder {'/'.join(path)!r} is a {kind}, not a {container_class}")
            builder.container_class = container_class
        return AppendedFolder(self, builder)

    def __enter__(self) -> PstAppender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                with refusing(self._name):
                    if self._appender.touched:
                        self._appender.finish()
                        self._editor.commit()
                        self._soundness.changed(self._editor.ndb.source)

    def _add(self, builder: FolderBuilder, message: NewMessage, associated: bool) -> int:
        with refusing(self._name):
            add = self._appender.add_associated if associated else self._appender.add
            return add(builder, message)


class AppendedFolder:
    """A folder of the file, or one that comes into it."""

    def __init__(self, pst: PstAppender, builder: FolderBuilder) -> None:
        self._pst = pst
        self._builder = builder

    @property
    def nid(self) -> int:
        """Its NID."""
        return self._builder.nid

    def add(self, message: NewMessage) -> int:
        """Put ``message`` here and give its NID.

        ValueError where it cannot be stored, OverflowError where it has a named property and the file no id left, and
        whatever the iterables of its values raise: it is then not put in, and others can be. Unsound where what would
        have to be written anew cannot be read for certain.
        """
        return self._pst._add(self._builder, message, False)

    def add_associated(self, message: NewMessage) -> int:
        """Put ``message`` here as a folder-associated item, as ``add``."""
        return self._pst._add(self._builder, message, True)


def append_pst(path: str | os.PathLike[str], *, timeout: float, soundness: Soundness) -> PstAppender:
    """Begin to add to the PST file at ``path``, which is locked until the end of the context manager.

    ``timeout`` is how long to wait for a lock, in seconds. Errors as of ``excise.pst.ndb.edit.edit_nodes``; Unsound
    where anything in the file is damaged.
    """
    return PstAppender(path, timeout, soundness)
