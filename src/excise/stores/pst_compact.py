"""A PST file written anew without its free space, in its own place.

Rules (S18, S19): the copy is made beside the file under a private name while the file is locked; it takes the file's
name by one rename, and only where every item has the same fingerprint in both, a check finds nothing new in it, it has
the owner, mode and attributes of the file, and nobody wrote to the file meanwhile.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import excise.pst
from excise.core.errors import DamagedInput, Refused, Unfinished
from excise.core.files import durable_file, flush_names, fsync_directory, os_error
from excise.pst.disk.ids import NID_TYPE_ASSOC_MESSAGE, NID_TYPE_NORMAL_MESSAGE, nid_type
from excise.pst.ndb.edit_storage import PathStorage
from excise.store_api.errors import MailboxChanged
from excise.stores.mbox.beside import Beside
from excise.stores.mbox.replace import IDENTITY, identity_of, keep_metadata
from excise.stores.pst_file import PstFile, Unreachable
from excise.stores.pst_item import PstItem

_ITEMS = (NID_TYPE_NORMAL_MESSAGE, NID_TYPE_ASSOC_MESSAGE)


def unfinished_copy(path: Path) -> Path:
    """Where a copy of the file at ``path`` stands until it is whole."""
    return Beside(path).new


def compact(path: Path, identity: str) -> str:
    """Write the file at ``path`` anew, whose identity must be ``identity``; what was done, in words.

    Errors as of ``excise.pst.compact`` and ``PathStorage``; Refused where the new file would not be the same mailbox.
    But for Unfinished, the file is then as it was.
    """
    with PathStorage(path) as storage:
        make = partial(_make, path, identity)
        before, after = replace_file(path, storage, make, "compacting")
    # Or a dead lock stood there after a power cut.
    flush_names(path.parent, path.parent)
    return f"{path}: compacted from {before:,} to {after:,} bytes"


def replace_file(
    path: Path, storage: PathStorage, make: Callable[[Path, os.stat_result], None], doing: str
) -> tuple[int, int]:
    """Put the file that ``make`` makes, whole and compared, in the place of the locked one at ``path``; both sizes.

    ``make`` is given where to make it, and the old file's status. On an error, but for one of the last flush, the old
    file is as it was and nothing is left beside it.
    """
    if storage.read_journal() is not None:
        raise Unfinished(f"{path}: an earlier change was broken off", hint="Let excise resume finish it first.")
    drop_unfinished(path)
    new = unfinished_copy(path)
    before = path.stat()
    try:
        make(new, before)
        _require_unchanged(path, before)
        size = new.stat().st_size
        new.rename(path)
    except BaseException as error:
        new.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise os_error(error, path, f"{doing} (the file is as it was)") from error
        raise
    try:
        fsync_directory(path.parent)
    except OSError as error:
        raise os_error(error, path, "flushing the name of the new file") from error
    return before.st_size, size


def _require_unchanged(path: Path, before: os.stat_result) -> None:
    after = path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise MailboxChanged(
            f"{path}: another program wrote to the file while it was locked; it stays as that left it",
            hint="Find out which program does not keep to the locks, then run the command again.",
        )


def drop_unfinished(path: Path) -> bool:
    """Remove a copy that was not finished, while the file is locked; True where there was one."""
    new = unfinished_copy(path)
    found = os.path.lexists(new)
    if found:
        new.unlink()
        fsync_directory(path.parent)
    return found


def _make(path: Path, identity: str, new: Path, before: os.stat_result) -> None:
    """The copy, whole, compared, checked and flushed."""
    with durable_file(new, readable=True) as stream:
        excise.pst.compact(path, stream)
        hand_on(path, stream.fileno(), before)
    _compare(path, new, identity)


def hand_on(path: Path, new: int, before: os.stat_result) -> None:
    """Give the file ``new`` owner, mode, attributes and identity of the one at ``path``; Refused where that cannot
    be."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        keep_metadata(path, source, new, before, identity_of(source, before))
    finally:
        os.close(source)
    if IDENTITY not in os.listxattr(new):
        raise Refused(
            "S30",
            f"{path}: its file system keeps no extended attributes: the new file would be another mailbox",
            hint="It is as it was. Leave --compact or --rewrite out.",
        )


def _compare(path: Path, new: Path, identity: str) -> None:
    mine, theirs = PstFile(path), PstFile(new)
    try:
        for told, found in (("the file", mine.identity()), ("its copy", theirs.identity())):
            if found != identity:
                raise MailboxChanged(
                    f"{path}: expected the mailbox that was opened ({identity}), found {told} to be another ({found})",
                    hint="It was not compacted. Make a new plan.",
                )
        nids = [nid for nid in mine.reader.ndb.nodes.nids if nid_type(nid) in _ITEMS]
        other = [nid for nid in theirs.reader.ndb.nodes.nids if nid_type(nid) in _ITEMS]
        differs = next((nid for nid in nids if _version(mine, nid) != _version(theirs, nid)), None)
    finally:
        mine.close()
        theirs.close()
    if list(nids) != list(other) or differs is not None:
        raise _wrong(path, "other items" if differs is None else f"another item {differs:#x}")
    if worse := _findings(new) - _findings(path):
        raise _wrong(path, f"{worse.total()} findings that the file has not: {next(iter(worse))}")


def _version(file: PstFile, nid: int) -> str | None:
    """The fingerprint; None where the item cannot be read."""
    try:
        return PstItem(file, nid).version
    except Unreachable:
        return None


def _findings(path: Path) -> Counter[tuple[str, str, str, str]]:
    """What a check finds, without places and values, which name blocks and offsets."""
    report = excise.pst.check(path)
    return Counter((one.grade, one.damage.layer, one.damage.structure, one.damage.field) for one in report.findings)


def _wrong(path: Path, found: str) -> DamagedInput:
    return DamagedInput(
        f"{path}: its compacted copy has {found}; the file is as it was",
        hint="Run excise check on it. What was planned is removed; leave --compact out.",
    )
