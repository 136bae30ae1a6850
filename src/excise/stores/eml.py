"""Messages as files (``eml:PATH``): a directory tree of .eml and .msg files, one such file, a zip or a tar of them.

Journal reports are matched by the message that they carry; what is preserved and removed is the report. A directory is
one mailbox; the archives in it are mailboxes of their own.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from excise.core.errors import DamagedInput, ExciseError
from excise.core.files import open_nofollow, os_error
from excise.model.item import Disposal
from excise.store_api.protocols import Capabilities, Mailbox, MailboxInfo, NotSearched, Store
from excise.stores.directory import opened_directory
from excise.stores.eml_content import is_message, is_named, is_text
from excise.stores.eml_tar import EmlTar
from excise.stores.eml_tree import EmlTree
from excise.stores.eml_zip import EmlZip

KIND = "eml"
_HEAD = 4096
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
#: How many files of a directory, or members of an archive, are looked at to know it for a store of messages.
_LOOKED_AT = 1000


class EmlStore:
    """Files of one message each, in directories and archives."""

    @property
    def capabilities(self) -> Capabilities:
        """Removal for good (not from tar archives); putting back."""
        return Capabilities(KIND, disposals=frozenset((Disposal.HARD,)), can_put=True)

    def claims(self, path: Path, head: bytes) -> bool:
        """True for a .eml or .msg file with a message in it, and for a directory or an archive that has one at once."""
        try:
            if head:
                if is_named(path.name):
                    return is_message(head)
                return (head.startswith(_ZIP) and _zip_has_mail(path)) or (_may_be_tar(head) and _tar_has_mail(path))
            return path.is_dir() and _directory_has_mail(path)
        except (OSError, ExciseError):
            return False

    def mailboxes(self, locator: str) -> Iterator[MailboxInfo | NotSearched]:
        """The one mailbox at ``locator``."""
        try:
            mailbox = self.open(locator)
        except ExciseError as error:
            yield NotSearched(locator, error.text(), error.exit_code)
            return
        try:
            yield mailbox.info
        finally:
            mailbox.close()

    def open(self, locator: str, *, writable: bool = False) -> Mailbox:
        """Open the mailbox at ``locator``. A file that was a mailbox may be gone: it can be put back."""
        rest = locator.removeprefix(f"{KIND}:")
        try:
            path = Path(rest).resolve(strict=True)
        except FileNotFoundError as error:
            place = Path(rest)
            if is_named(place.name) and place.parent.is_dir():
                return EmlTree(KIND, place.parent.resolve(), only=place.name, writable=writable)
            raise os_error(error, rest, "opening it") from error
        except (OSError, ValueError, RuntimeError) as error:
            problem = error if isinstance(error, OSError) else OSError(0, str(error))
            raise os_error(problem, rest, "opening it") from error
        if path.is_dir():
            return EmlTree(KIND, path, only=None, writable=writable)
        return self._open_file(path, writable=writable)

    def _open_file(self, path: Path, *, writable: bool) -> Mailbox:
        try:
            head = _head(path)
        except OSError as error:
            raise os_error(error, path, "opening it") from error
        if head.startswith(_ZIP):
            return EmlZip(KIND, path, writable=writable)
        if _may_be_tar(head):
            return EmlTar(KIND, path)
        if is_message(head):
            return EmlTree(KIND, path.parent, only=path.name, writable=writable)
        raise DamagedInput(
            f"{path}: expected a message (.eml or .msg), or a zip or tar of them, found something else",
            hint="Is it a mailbox of another kind? Name the path without eml: in front.",
        )


def _head(path: Path) -> bytes:
    fd = open_nofollow(path)
    try:
        return os.pread(fd, _HEAD, 0)
    finally:
        os.close(fd)


def _may_be_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" or (head.startswith(_PACKED) and not is_text(head))


def _directory_has_mail(path: Path) -> bool:
    """True where a file of the directory itself is a message."""
    with opened_directory(path) as directory, os.scandir(directory) as listing:
        named = (e.name for e in listing if is_named(e.name) and e.is_file(follow_symlinks=False))
        return any(is_message(_head(path / name)) for name in islice(named, _LOOKED_AT))


def _zip_has_mail(path: Path) -> bool:
    archive = EmlZip(KIND, path, writable=False)
    try:
        return archive.has_messages
    finally:
        archive.close()


def _tar_has_mail(path: Path) -> bool:
    with suppress(tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError):
        archive = EmlTar(KIND, path)
        try:
            return archive.has_messages(_LOOKED_AT)
        finally:
            archive.close()
    return False


STORE: Store = EmlStore()
