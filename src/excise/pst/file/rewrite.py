"""What a copy without messages and a purge in place have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from excise.core.errors import DamagedInput
from excise.pst.disk.damage import Damage, Damaged


class Unsound(DamagedInput):
    """Something that would have to be written again cannot be read for certain: ``damage``. Nothing was changed."""

    def __init__(self, name: str, damage: Damage) -> None:
        super().__init__(
            f"{name}: {damage.text()}",
            hint="Nothing was changed. See what excise check finds; Outlook, or its scanpst on a copy, may help.",
        )
        self.damage = damage


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Unsound for what is Damaged inside, in the file ``name``."""
    try:
        yield
    except Damaged as error:
        raise Unsound(name, error.damage) from error
