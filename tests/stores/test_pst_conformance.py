"""The conformance suite's reading part over real PST files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from unittest import SkipTest

import pytest

from excise.store_api.conformance import ReadingConformance
from excise.stores.pst import STORE
from stores.pst_samples import DIRECTORY, needs_samples


class _PstConformance(ReadingConformance):
    store = STORE
    content_is_original = False
    sample = ""
    #: Bytes of an entry in a leaf of the node tree ([MS-PST] 2.2.2.7.7.4).
    entry_size: int | None = 32

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
        if self.entry_size is None:
            raise SkipTest("written for the Unicode format alone")
        data = bytearray(self.path.read_bytes())
        for page in range(0x4400, len(data), 512):
            leaf = data[page + 496 : page + 498] == b"\x81\x81" and data[page + 491] == 0
            for at in range(page, page + data[page + 488] * self.entry_size if leaf else page, self.entry_size):
                if int.from_bytes(data[at : at + 8], "little") == int(item_id, 16):
                    data[at + 8 : at + 16] = (0xFFFFF0).to_bytes(8, "little")
        self.path.write_bytes(data)


@needs_samples
class TestPstOfOutlook(_PstConformance):
    sample = "passworded.pst"


@needs_samples
class TestAnsiPst(_PstConformance):
    sample = "contacts97-2002.pst"
    entry_size = None


@needs_samples
class TestPstOfAnotherWriter(_PstConformance):
    sample = "enron.pst"
