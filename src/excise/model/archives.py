"""Members of a zip file from mail, read within bounds: a zip bomb costs no more than the budget (S27)."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from excise.mime.charsets import decode_text
from excise.mime.parameters import distinct_names

#: The central directory of a zip may be this long, and a member that is looked into (an attached message) this large.
MAX_DIRECTORY = 2 << 20
MAX_MEMBER = 64 << 20
_CHUNK = 1 << 18
_END_RECORD = b"PK\x05\x06"
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    OverflowError,
    struct.error,
)


class ZipDamagedError(ValueError):
    """The zip file cannot be listed; the text says why."""


@dataclass
class Budget:
    """Bytes that may still be unpacked from one message."""

    left: int

    def spend(self, amount: int) -> bool:
        """Take ``amount``; False where it is not there."""
        self.left -= amount
        return self.left >= 0


class ZipMember:
    """One file in a zip: its names (whole path and last part), and its content on demand."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> None:
        self._archive, self._info, self._budget = archive, info, budget
        self._sha256: str | None = None
        self._hashed = self._complete = False
        self.names = distinct_names(_readings(info))
        self.size = info.file_size
        self.encrypted = bool(info.flag_bits & 1)

    def sha256(self) -> str | None:
        """SHA-256 of the content; None where it is encrypted, damaged or beyond the budget."""
        if not self._hashed:
            digest = hashlib.sha256()
            for chunk in self._chunks():
                digest.update(chunk)
            self._sha256 = digest.hexdigest() if self._complete else None
            self._hashed = True
        return self._sha256

    def read(self) -> bytes | None:
        """The content; None where it cannot be read or is larger than ``MAX_MEMBER``."""
        if self.size > MAX_MEMBER:
            return None
        data = b"".join(self._chunks())
        return data if self._complete else None

    def _chunks(self) -> Iterator[bytes]:
        self._complete = False
        if self.encrypted:
            return
        try:
            with self._archive.open(self._info) as stream:
                while chunk := stream.read(_CHUNK):
                    if not self._budget.spend(len(chunk)):
                        return
                    yield chunk
        except _DAMAGE:
            return
        self._complete = True


def open_zip(data: bytes, budget: Budget) -> list[ZipMember]:
    """The files in a zip; ``ZipDamagedError`` for what is none, or has a longer directory than ``MAX_DIRECTORY``."""
    if _directory_size(data) > MAX_DIRECTORY:
        raise ZipDamagedError("its directory is too long")
    try:
        archive = zipfile.ZipFile(BytesIO(data))
        return [ZipMember(archive, info, budget) for info in archive.infolist() if not info.is_dir()]
    except _DAMAGE as error:
        raise ZipDamagedError(str(error) or type(error).__name__) from error


def _directory_size(data: bytes) -> int:
    """The largest size that any end record names: zipfile reads the directory at once, and may pick any of them."""
    tail = data[-(1 << 16) - 22 :]
    largest, position = 0, tail.find(_END_RECORD)
    while 0 <= position <= len(tail) - 22:
        largest = max(largest, struct.unpack_from("<L", tail, position + 12)[0])
        position = tail.find(_END_RECORD, position + 4)
    return largest


def _readings(info: zipfile.ZipInfo) -> list[str]:
    names = [info.filename, info.orig_filename]
    if not info.flag_bits & 0x800:
        # Without the UTF-8 flag zipfile takes the bytes for code page 437; most writers meant another.
        names.insert(0, decode_text(info.orig_filename.encode("cp437", "replace"), None)[0])
    return names
