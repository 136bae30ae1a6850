"""Hash-chained logs in JSON lines: the audit logs and the journals of a case (docs/reference/case-format.md, "Chained
logs").

A record is one line of canonical JSON with ``seq`` (from 0), ``time``, ``type`` and ``prev``: the SHA-256 of the line
before, without its line end (64 zeros for the first). The head of a log is the SHA-256 of its last line. Invariants:
lines are only ever appended, each batch in one write that is flushed before ``append`` returns. A last line without
its line end was never flushed, so it never happened: it is cut off when the log is next opened for writing, and that is
recorded.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError, SourceUnavailable
from excise.core.files import fsync_directory, open_nofollow, os_error

GENESIS = "0" * 64
_LINE_LIMIT = 64 << 20
#: What a reader keeps of a record once it has looked at it.
Keep = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(slots=True)
class ChainReading:
    """What a log holds: its whole records, its head, and the bytes of a torn last line."""

    records: list[dict[str, Any]] = field(default_factory=list)
    head: str = GENESIS
    whole: int = 0
    torn: int = 0


def read_chain(path: Path, keep: Keep | None = None) -> ChainReading:
    """Read and check the log at ``path``; a missing file is an empty log.

    ``keep`` is given each record once it was checked, and says what is kept of it: that of a journal of very many items
    is large. A line that does not fit is a DoesNotVerify naming it, what was expected and what was found.
    """
    reading = ChainReading()
    try:
        stream = os.fdopen(open_nofollow(path), "rb")
    except FileNotFoundError:
        return reading
    except OSError as error:
        raise os_error(error, path, "reading the log") from error
    with stream:
        while line := stream.readline(_LINE_LIMIT):
            if not line.endswith(b"\n"):
                reading.torn = len(line) + len(stream.read())
                break
            record = _checked(path, line[:-1], len(reading.records), reading.head)
            reading.records.append(record if keep is None else keep(record))
            reading.head = sha256_hex(line[:-1])
            reading.whole += len(line)
    return reading


def _checked(path: Path, line: bytes, seq: int, head: str) -> dict[str, Any]:
    place = f"{path}: line {seq + 1}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DoesNotVerify(f"{place}: expected a JSON record, found something else") from error
    if not isinstance(record, dict):
        raise DoesNotVerify(f"{place}: expected a JSON object, found {type(record).__name__}")
    if record.get("prev") != head:
        raise DoesNotVerify(
            f"{place}: expected prev {head[:12]}…, found {str(record.get('prev'))[:12]}: the chain is broken"
        )
    if record.get("seq") != seq:
        raise DoesNotVerify(f"{place}: expected seq {seq}, found {str(record.get('seq'))[:20]}")
    try:
        same = canonical_json(record) == line
    except (ValueError, RecursionError):
        same = False
    if not same or not isinstance(record.get("type"), str) or not isinstance(record.get("time"), str):
        raise DoesNotVerify(f"{place}: the record is not in canonical form")
    return record


class ChainedLog:
    """A chained log open for appending."""

    def __init__(self, path: Path, *, exclusive: bool = False, keep: Keep | None = None) -> None:
        """Open the log at ``path``, made if it is missing; a torn last line is cut off and that recorded.

        ``exclusive``: hold it, so that no other process has it open so; LogHeld where one has. ``keep``: as in
        ``read_chain``, for what is appended too.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise os_error(error, path, "opening the log") from error
        if exclusive:
            self._hold(path)
        reading = read_chain(path, keep)
        self._keep = keep
        self._count = len(reading.records)
        self.path = path
        self._size = reading.whole
        self._broken = False
        self.records = reading.records
        self.head = reading.head
        #: Told of each record once it is on disk: its line, the record, the head that it makes.
        self.listener: Callable[[bytes, Mapping[str, Any], str], None] | None = None
        try:
            if reading.torn:
                os.ftruncate(self._fd, reading.whole)
            os.lseek(self._fd, 0, os.SEEK_END)
            fsync_directory(path.parent)
        except OSError as error:
            raise os_error(error, path, "opening the log") from error
        if reading.torn:
            self.append({"type": "torn-line-dropped", "bytes": reading.torn})

    def _hold(self, path: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise LogHeld(
                f"{path}: another process still works on this mailbox for the same case",
                hint="Wait until it has ended (a killed run's workers end within a second), then: excise resume CASE",
            ) from None

    def append(self, *records: Mapping[str, Any]) -> str:
        """Append ``records`` and flush them to disk; the new head. A log that cannot be written stops the run.

        What was written of them is taken back then. Where that fails too, nothing more is appended: it would not fit.
        """
        if self._broken:
            raise SourceUnavailable(
                f"{self.path}: writing the log failed before", hint="Look at the disk, then: excise resume CASE"
            )
        lines: list[bytes] = []
        made: list[dict[str, Any]] = []
        head = self.head
        for record in records:
            full = {**record, "seq": self._count + len(made), "time": iso(now()), "prev": head}
            line = canonical_json(full)
            if len(line) >= _LINE_LIMIT:
                raise ExciseError(f"{self.path}: a record of {len(line):,} bytes is too large for the log")
            head = sha256_hex(line)
            lines.append(line + b"\n")
            made.append(full)
        try:
            data = memoryview(b"".join(lines))
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as error:
            self._take_back()
            raise os_error(error, self.path, "writing the log") from error
        self._size += sum(map(len, lines))
        self.head = head
        self._count += len(made)
        self.records.extend(made if self._keep is None else map(self._keep, made))
        if self.listener is not None:
            for line, full in zip(lines, made, strict=True):
                self.listener(line[:-1], full, sha256_hex(line[:-1]))
        return head

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self._broken = True

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> ChainedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LogHeld(ExciseError):
    """Another process has the log open for writing (S29)."""

    exit_code = 3
    error_id = "log-held"
