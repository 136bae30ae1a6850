"""Taking messages out of a PST file in place, with ``excise.pst.purge``.

Rules (S13, S18, S19): all that go go in one change of the file; each is read again in the file as it is locked, right
before that, and only what is whole and has the planned fingerprint goes. Folder-associated items never go.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import excise.pst
from excise.core.files import flush_names
from excise.model.item import Outcome, Removal, Target
from excise.pst import PstFile as Reader
from excise.pst.disk.ids import NID_TYPE_ASSOC_MESSAGE, NID_TYPE_NORMAL_MESSAGE, nid_type
from excise.pst.ndb import edit_recover
from excise.pst.ndb.edit_recover import Recovery
from excise.pst.ndb.edit_storage import JOURNAL_SUFFIX, PathStorage
from excise.store_api.errors import MailboxChanged
from excise.stores.pst_compact import drop_unfinished, unfinished_copy
from excise.stores.pst_file import PstFile, Unreachable
from excise.stores.pst_item import PstItem
from excise.stores.pst_version import is_version

_LONGEST_ID = len("0xffffffff")
_WORDS = {
    Recovery.UNDONE: "a change that was broken off was undone: the file is as it was before",
    Recovery.FINISHED: "a change that was broken off was finished",
}


class PstRemoval:
    """One removal from the file at ``path``, whose identity must be ``identity`` (S30)."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._file: PstFile | None = None
        self._versions: dict[int, str] = {}
        self._left: dict[int, Removal] = {}

    def remove(self, targets: Sequence[Target]) -> list[Removal]:
        """One answer for each of ``targets``; what it raises was raised before anything was removed, but Unfinished.

        Errors as of ``excise.pst.purge``; MailboxChanged where another file stands at the path.
        """
        self._ask_for(targets)
        recover(self._path)
        if self._versions:
            excise.pst.purge(self._path, self._versions, check=self._is_as_planned)
            # Or a dead lock stood there after a power cut.
            flush_names(self._path.parent, self._path.parent)
        return self.answers(targets)

    def going(self, reader: Reader, targets: Sequence[Target]) -> frozenset[int]:
        """The NIDs of those of ``targets`` that are as planned in the file, which is locked and ``reader`` reads."""
        self._ask_for(targets)
        return frozenset(nid for nid in sorted(self._versions) if self._is_as_planned(reader, nid))

    def answers(self, targets: Sequence[Target]) -> list[Removal]:
        """The answers, once what goes is gone."""
        return [self._answer(target.id, message_nid(target.id)) for target in targets]

    def _ask_for(self, targets: Sequence[Target]) -> None:
        asked = ((message_nid(target.id), target.version) for target in targets)
        self._versions = {nid: version for nid, version in asked if nid is not None}

    def _answer(self, item_id: str, nid: int | None) -> Removal:
        if nid is None:
            return Removal(item_id, Outcome.ALREADY_ABSENT, "the file has no such item")
        return self._left.get(nid) or Removal(item_id, Outcome.REMOVED)

    def _is_as_planned(self, reader: Reader, nid: int) -> bool:
        """Asked while the file is locked; what does not go is noted with its reason."""
        if self._file is None:
            self._file = PstFile.of_reader(reader, self._path)
            found = self._file.identity()
            if found != self._identity:
                raise MailboxChanged(
                    f"{self._path}: expected the mailbox that was opened ({self._identity}), found another ({found})",
                    hint="It was replaced meanwhile: make a new plan. Nothing was removed from it.",
                )
        left = self._why_it_stays(self._file, nid)
        if left is not None:
            self._left[nid] = Removal(f"{nid:#x}", *left)
        return left is None

    def _why_it_stays(self, file: PstFile, nid: int) -> tuple[Outcome, str] | None:
        if file.reader.ndb.nodes.find(nid) is None:
            return Outcome.ALREADY_ABSENT, ""
        if nid_type(nid) == NID_TYPE_ASSOC_MESSAGE:
            return Outcome.REFUSED, "an associated item, which belongs to its folder's settings"
        try:
            item = PstItem(file, nid)
        except Unreachable as error:
            return Outcome.FAILED, f"it cannot be read again: {error}"
        if not is_version(self._versions[nid], item.version):
            return Outcome.CHANGED, "its fingerprint is not the planned one"
        damage = item.read_whole()
        return (Outcome.FAILED, f"it is not whole any more: {'; '.join(damage)}") if damage else None


def recoverable(path: Path) -> bool:
    """True where a change of the file at ``path`` was broken off."""
    return os.path.lexists(path.with_name(path.name + JOURNAL_SUFFIX))


def recover(path: Path) -> Sequence[str]:
    """Finish or undo what was broken off, and say so in words; empty where there was nothing.

    A lock that a dead process left is taken away too. Errors as of ``excise.pst.ndb.edit_recover.recover``; the file is
    then as it was.
    """
    if not recoverable(path):
        left = [path.with_name(path.name + ".lock"), unfinished_copy(path)]
        if not any(map(os.path.lexists, left)):
            return ()
        # Whoever takes and releases the lock takes away a dead one.
        with PathStorage(path):
            dropped = drop_unfinished(path)
        return (f"{path}: a compacted copy that was not finished was thrown away",) if dropped else ()
    done = edit_recover.recover(path)
    return () if done is Recovery.NOTHING else (f"{path}: {_WORDS[done]}",)


def message_nid(item_id: str) -> int | None:
    """The NID that ``item_id`` names, where it is one as this store writes it, and of a message."""
    if len(item_id) > _LONGEST_ID:
        return None
    try:
        nid = int(item_id, 16)
    except ValueError:
        return None
    is_item = nid >= 0 and nid_type(nid) in (NID_TYPE_NORMAL_MESSAGE, NID_TYPE_ASSOC_MESSAGE)
    return nid if is_item and f"{nid:#x}" == item_id else None
