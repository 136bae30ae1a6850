"""Trees of .eml files, single files, zip and tar archives under the conformance suite."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from excise.model.item import Deposit
from excise.store_api.conformance import ReadingConformance, StoreConformance, seeds
from excise.stores.eml import EmlStore
from excise.stores.zip_rewrite import new_member

_NUMBERS = itertools.count(1)


def file_name(deposit: Deposit) -> str:
    return f"{deposit.folder}/{next(_NUMBERS)}.eml".lstrip("/")


class TestEmlTree(StoreConformance):
    store = EmlStore()
    main_folder = ""
    kept_flags = frozenset()

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        root = self.place / f"box{next(_NUMBERS)}" / "mail"
        root.mkdir(parents=True)
        (root.parent / "canary").write_text("sings\n")
        (root.parent / "canary.eml").write_text("Subject: Conformance canary\n\nIt sings.\n")
        (root / "readme.txt").write_text("From: nobody\n\nThis is no message.\n")
        for message in messages:
            self.write(root / file_name(message), message)
        return f"eml:{root}"

    def write(self, path: Path, message: Deposit) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(message.content)
        if message.delivered is not None:
            os.utime(path, (message.delivered.timestamp(),) * 2)

    def root(self, locator: str) -> Path:
        return Path(locator.partition(":")[2])

    def deliver(self, locator: str, content: bytes) -> None:
        self.write(self.root(locator) / file_name(Deposit(b"")), Deposit(content))

    def tamper(self, locator: str, item_id: str) -> None:
        with (self.root(locator) / item_id).open("ab") as stream:
            stream.write(b"More.\n")

    def damage(self, locator: str, item_id: str) -> None:
        path = self.root(locator) / item_id
        path.unlink()
        path.symlink_to("/etc/hostname")

    def drop_folder(self, locator: str, folder: str) -> None:
        shutil.rmtree(self.root(locator) / folder)

    def replace_mailbox(self, locator: str) -> None:
        root, other = self.root(locator), self.root(self.make_mailbox(seeds("", self.other_folder)))
        root.rename(root.with_name("old"))
        other.rename(root)


class TestEmlZip(StoreConformance):
    store = EmlStore()
    main_folder = ""
    kept_flags = frozenset()

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path

    def make_mailbox(self, messages: Sequence[Deposit]) -> str:
        path = self.place / f"box{next(_NUMBERS)}" / "mail.zip"
        path.parent.mkdir(parents=True)
        (path.parent / "canary").write_text("sings\n")
        self.write(path, messages)
        return f"eml:{path}"

    def write(self, path: Path, messages: Sequence[Deposit]) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = b"made by a test"
            archive.writestr("readme.txt", "This is no message.\n")
            for message in messages:
                self.add(archive, file_name(message), message)

    def add(self, archive: zipfile.ZipFile, name: str, message: Deposit) -> None:
        info = zipfile.ZipInfo(name)
        if message.delivered is not None:
            info.extra = b"UT\x05\x00\x01" + int(message.delivered.timestamp()).to_bytes(4, "little")
        archive.writestr(info, message.content, zipfile.ZIP_DEFLATED)

    def rewrite(self, locator: str, change) -> None:
        path = Path(locator.partition(":")[2])
        with zipfile.ZipFile(path) as old:
            members = [(info, old.read(info)) for info in old.infolist()]
        with zipfile.ZipFile(path, "w") as new:
            for info, data in members:
                changed = change(info.filename, data)
                if changed is not None:
                    new.writestr(info, changed)

    def deliver(self, locator: str, content: bytes) -> None:
        with zipfile.ZipFile(locator.partition(":")[2], "a") as archive:
            self.add(archive, file_name(Deposit(b"")), Deposit(content))

    def tamper(self, locator: str, item_id: str) -> None:
        self.rewrite(locator, lambda name, data: data + b"More.\n" if name == item_id else data)

    def damage(self, locator: str, item_id: str) -> None:
        path = Path(locator.partition(":")[2])
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(item_id)
        data = bytearray(path.read_bytes())
        at = data.index(info.filename.encode(), info.header_offset) + len(info.filename) + len(info.extra)
        data[at + 5] ^= 0xFF
        path.write_bytes(data)

    def drop_folder(self, locator: str, folder: str) -> None:
        self.rewrite(locator, lambda name, data: None if name.startswith(folder + "/") else data)


class TestEmlZipWithDescriptors(TestEmlZip):
    """As a program writes it that cannot seek: sizes behind the data."""

    def write(self, path: Path, messages: Sequence[Deposit]) -> None:
        class Unseekable(io.BytesIO):
            def seekable(self) -> bool:
                return False

            def seek(self, *_: object) -> int:
                raise io.UnsupportedOperation

            def tell(self) -> int:
                raise io.UnsupportedOperation

        stream = Unseekable()
        with zipfile.ZipFile(stream, "w") as archive:
            for message in messages:
                self.add(archive, file_name(message), message)
        assert archive.infolist()[0].flag_bits & 8
        path.write_bytes(stream.getvalue())


class TestEmlZipWithOneNameForAll(TestEmlZip):
    """Members that share their names: ids are told apart by CRC and size, twins by their order alone."""

    twins_keep_ids = False

    @pytest.fixture(autouse=True)
    def _quiet(self) -> None:
        self.names: dict[str, None] = {}

    def write(self, path: Path, messages: Sequence[Deposit]) -> None:
        with path.open("wb") as stream:
            records = b""
            for message in messages:
                member = new_member(f"{message.folder}/same.eml".lstrip("/"), message.content, 0o644, message.delivered)
                record = bytearray(member.record)
                record[42:46] = stream.tell().to_bytes(4, "little")
                records += record
                stream.write(member.data)
            count = len(messages).to_bytes(2, "little") * 2
            start = stream.tell()
            stream.write(records + b"PK\x05\x06\0\0\0\0" + count)
            stream.write(len(records).to_bytes(4, "little") + start.to_bytes(4, "little") + b"\0\0")

    def tamper(self, locator: str, item_id: str) -> None:
        pytest.skip("ids here are not names")

    damage = tamper


class TestEmlSingleFile(ReadingConformance):
    store = EmlStore()
    main_folder = ""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path

    def some_mailbox(self) -> str:
        path = self.place / "box" / "one.eml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(seeds("", None)[0].content)
        return f"eml:{path}"


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
class TestEmlTar(ReadingConformance):
    store = EmlStore()
    main_folder = ""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, packing: str) -> None:
        self.place, self.packing = tmp_path, packing

    def some_mailbox(self) -> str:
        path = self.place / "box" / f"mail.tar.{self.packing}"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, f"w:{self.packing}") as archive:
            for message in seeds("", self.other_folder):
                info = tarfile.TarInfo(file_name(message))
                info.size, info.mtime = len(message.content), int(message.delivered.timestamp())
                archive.addfile(info, io.BytesIO(message.content))
        return f"eml:{path}"
