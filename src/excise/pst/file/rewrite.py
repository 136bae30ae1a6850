"""What a copy without messages, an append and a purge in place have in common."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from excise.core.errors import DamagedInput
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.file.read import PstFile
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import Source

#: For old items that do not name their code page; what is removed does not depend on it.
CODEC = "cp1252"


class Soundness(Protocol):
    """Whether files are sound. The layer above gives it, for a check is not known here."""

    def require(self, source: Source) -> bool:
        """Unsound where the file is damaged anywhere; False where it was known to be sound, and was not read."""

    def changed(self, source: Source) -> None:
        """Take note that a change of a sound file was just made, which is open in ``source`` and still locked."""


class Unsound(DamagedInput):
    """The file is damaged: ``damage`` is the first that was found of ``count``. Nothing was changed."""

    def __init__(self, name: str, damage: Damage, count: int = 1) -> None:
        more = f", and {count - 1} more errors" if count > 1 else ""
        super().__init__(
            f"{name}: it is damaged, so nothing was changed: {damage.text()}{more}",
            hint="See excise check. Restore it from a backup; or write what can be read, without the messages, into a"
            " new PST file (--rewrite).",
        )
        self.damage = damage


def opened_again(ndb: NodeDatabase) -> PstFile:
    """The file that ``ndb`` reads, as one that was just opened. It is not to be closed."""
    return PstFile(ndb.source, CODEC)


def judge(soundness: Soundness, source: Source) -> bool:
    """``soundness.require`` of the file in ``source``; nothing is kept of what it read."""
    whole = soundness.require(source)
    # A file and its folders know each other, and would wait for the collector while the next thing grows.
    gc.collect()
    return whole


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Unsound for what is Damaged inside, in the file ``name``."""
    try:
        yield
    except Damaged as error:
        raise Unsound(name, error.damage) from error
