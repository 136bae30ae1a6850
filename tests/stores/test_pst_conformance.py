"""The conformance suite over PST files: reading real ones, and removing from those that Excise makes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import SkipTest

import pytest

from excise.model.item import Deposit
from excise.store_api.conformance import ReadingConformance, RemovingConformance
from excise.stores.pst import STORE
from stores.pst_made import FLAGS, SUBMITTED, change_property, make_pst
from stores.pst_samples import DIRECTORY, change_node, needs_samples


class _PstConformance(ReadingConformance):
    store = STORE
    content_is_original = False
    sample = ""
    unicode = True

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "box" / self.sample

    def some_mailbox(self) -> str:
        self.path.parent.mkdir(exist_ok=True)
        if not self.path.exists():
            shutil.copyfile(DIRECTORY / self.sample, self.path)
        return f"pst:{self.path}"

    def snapshot(self, locator: str) -> Mapping[str, object]:
        status = Path(locator.removeprefix("pst:")).stat()
        return {"file": self.path.read_bytes(), "status": (status.st_ino, status.st_size, status.st_mtime_ns)}

    def damage(self, locator: str, item_id: str) -> None:
        if not self.unicode:
            raise SkipTest("written for the Unicode format alone")
        data = bytearray(self.path.read_bytes())
        change_node(data, int(item_id, 16), 8, (0xFFFFF0).to_bytes(8, "little"))
        self.path.write_bytes(data)


@needs_samples
class TestPstOfOutlook(_PstConformance):
    sample = "passworded.pst"


@needs_samples
class TestAnsiPst(_PstConformance):
    sample = "contacts97-2002.pst"
    unicode = False


@needs_samples
class TestPstOfAnotherWriter(_PstConformance):
    sample = "enron.pst"


class TestPstOfExcise(ReadingConformance, RemovingConformance):
    """All of reading and removing but what needs mail to arrive: nothing but Outlook delivers into a PST."""

    store = STORE
    content_is_original = False
    main_folder = "Inbox"
    serial = 0

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.root = tmp_path

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        self.serial += 1
        path = self.root / f"box-{self.serial}" / "made.pst"
        path.parent.mkdir()
        make_pst(path, messages)
        return f"pst:{path}"

    def _path(self, locator: str) -> Path:
        return Path(locator.removeprefix("pst:"))

    def tamper(self, locator: str, item_id: str) -> None:
        change_property(self._path(locator), int(item_id, 16), SUBMITTED, (1 << 56).to_bytes(8, "little"))

    def change_flags(self, locator: str, item_id: str) -> None:
        change_property(self._path(locator), int(item_id, 16), FLAGS, (3).to_bytes(4, "little"))

    def damage(self, locator: str, item_id: str) -> None:
        path = self._path(locator)
        data = bytearray(path.read_bytes())
        change_node(data, int(item_id, 16), 8, (0xFFFFF0).to_bytes(8, "little"))
        path.write_bytes(data)

    def replace_mailbox(self, locator: str) -> None:
        path = self._path(locator)
        other = path.with_name("other")
        shutil.copyfile(path, other)
        other.replace(path)
