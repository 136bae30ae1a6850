"""Maildir++ and Dovecot's fs layout under the conformance suite."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from excise.model.item import Deposit
from excise.store_api.conformance import StoreConformance, seeds
from excise.stores.maildir import MaildirStore

_NUMBERS = itertools.count(1)
_LETTERS = {"seen": "S", "answered": "R", "flagged": "F", "draft": "D", "deleted": "T"}


def make_folder(path: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    return path


def write_message(folder: Path, deposit: Deposit) -> Path:
    """A message as Dovecot writes it: in cur where it has flags, else in new."""
    base = f"{1770000000 + next(_NUMBERS)}.M1P2.host,S={len(deposit.content)}"
    letters = "".join(sorted(_LETTERS[flag] for flag in deposit.flags))
    path = folder / "cur" / f"{base}:2,{letters}" if letters else folder / "new" / base
    path.write_bytes(deposit.content)
    if deposit.delivered is not None:
        os.utime(path, (deposit.delivered.timestamp(),) * 2)
    return path


class MaildirHooks:
    """How the suite changes a Maildir behind the store's back."""

    place: Path

    def directory(self, root: Path, folder: str) -> Path:
        return root if folder == "INBOX" else root / ("." + folder.replace("/", "."))

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        root = make_folder(self.place / f"box{next(_NUMBERS)}" / "Maildir")
        (root.parent / "canary").write_text("sings\n")
        for message in messages:
            folder = self.directory(root, message.folder)
            if not folder.is_dir():
                make_folder(folder)
            write_message(folder, message)
        return f"maildir:{root}"

    def file_of(self, locator: str, item_id: str) -> Path:
        key, _, base = item_id.rpartition("/")
        [path] = (Path(locator.partition(":")[2]) / key).glob(f"*/{base}*")
        return path

    def deliver(self, locator: str, content: bytes) -> None:
        write_message(Path(locator.partition(":")[2]), Deposit(content))

    def tamper(self, locator: str, item_id: str) -> None:
        path = self.file_of(locator, item_id)
        path.write_bytes(path.read_bytes() + b"More.\n")

    def change_flags(self, locator: str, item_id: str) -> None:
        path = self.file_of(locator, item_id)
        path.rename(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,FRS")

    def damage(self, locator: str, item_id: str) -> None:
        path = self.file_of(locator, item_id)
        path.unlink()
        path.symlink_to("/etc/hostname")

    def drop_folder(self, locator: str, folder: str) -> None:
        shutil.rmtree(self.directory(Path(locator.partition(":")[2]), folder))

    def replace_mailbox(self, locator: str) -> None:
        root = Path(locator.partition(":")[2])
        other = Path(self.make_mailbox(seeds("INBOX", "Archive/Year 2026")).partition(":")[2])
        root.rename(root.with_name("old"))
        other.rename(root)


class TestMaildirPlusPlus(MaildirHooks, StoreConformance):
    store = MaildirStore()

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path


class TestMaildirNested(MaildirHooks, StoreConformance):
    """Dovecot's LAYOUT=fs: folders in directories."""

    store = MaildirStore()

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path

    def directory(self, root: Path, folder: str) -> Path:
        return root if folder == "INBOX" else root / folder

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        locator = super().make_mailbox(messages)
        make_folder(Path(locator.partition(":")[2]) / "Kept")  # an fs layout, also when another folder is dropped
        return locator
