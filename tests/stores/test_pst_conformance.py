"""The conformance suite's reading part over real PST files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from unittest import SkipTest

import pytest

from excise.store_api.conformance import ReadingConformance
from excise.stores.pst import STORE
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
