"""Which files are mboxes, and how one is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from excise.core.errors import DamagedInput, ExciseError
from excise.core.files import open_nofollow, os_error
from excise.core.marker import is_case
from excise.mbox import HEAD_SIZE, looks_like_mbox
from excise.model.item import Disposal
from excise.store_api.protocols import Capabilities, MailboxInfo, NotSearched, Store
from excise.stores.mbox.beside import is_private
from excise.stores.mbox.compressed import first_bytes, is_compressed
from excise.stores.mbox.mailbox import KIND, MboxMailbox

_DEPTH = 200


class MboxStore:
    """mbox files."""

    @property
    def capabilities(self) -> Capabilities:
        """An mbox has no trash; what is removed is gone."""
        return Capabilities(KIND, disposals=frozenset({Disposal.HARD}), can_put=True, rewrites=True, has_folders=False)

    def claims(self, path: Path, head: bytes) -> bool:
        """True where the file surely is an mbox, compressed or not (S03); never for locks and our own private files."""
        if is_private(path.name) or path.name.endswith(".lock"):
            return False
        return looks_like_mbox(first_bytes(head, HEAD_SIZE) if is_compressed(head) else head)

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The mailbox at ``mbox:FILE``, a symbolic link resolved; in ``mbox:DIRECTORY``, every file that is one."""
        path = Path(locator.partition(":")[2])
        try:
            path = path.resolve(strict=True)
            mode = path.stat().st_mode
        except (OSError, RuntimeError, ValueError) as error:
            yield NotSearched(locator, _text(error, path))
            return
        if stat.S_ISDIR(mode):
            yield from self._in_directory(path, 0)
        else:
            yield self._listed(path)

    def open(self, locator: str, *, writable: bool = False) -> MboxMailbox:
        """The mailbox at ``mbox:FILE``. With ``writable``, the file may be missing where its directory is there."""
        return MboxMailbox(Path(locator.partition(":")[2]), writable=writable)

    def _listed(self, path: Path) -> MailboxInfo | NotSearched:
        try:
            mailbox = self.open(f"{KIND}:{path}")
        except ExciseError as error:
            return NotSearched(str(path), error.text(), error.exit_code)
        try:
            return mailbox.info
        except ExciseError as error:
            return NotSearched(str(path), error.text(), error.exit_code)
        finally:
            mailbox.close()

    def _in_directory(self, directory: Path, depth: int) -> Iterator[MailboxInfo | NotSearched]:
        if is_case(directory):
            return
        if depth > _DEPTH:
            yield NotSearched(str(directory), f"more than {_DEPTH} directories deep", DamagedInput.exit_code)
            return
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield NotSearched(str(directory), _text(error, directory))
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from self._in_directory(path, depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield from self._if_mbox(path)

    def _if_mbox(self, path: Path) -> Iterator[MailboxInfo | NotSearched]:
        try:
            fd = open_nofollow(path)
            try:
                head = os.pread(fd, HEAD_SIZE, 0)
            finally:
                os.close(fd)
        except (OSError, ExciseError) as error:
            yield NotSearched(str(path), _text(error, path))
            return
        if self.claims(path, head):
            yield self._listed(path)


def _text(error: Exception, path: Path) -> str:
    if isinstance(error, ExciseError):
        return error.text()
    return os_error(error, path, "opening the mailbox").text() if isinstance(error, OSError) else f"{path!r}: {error}"


STORE: Store = MboxStore()
