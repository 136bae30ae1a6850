"""Outside sinks of the coordinator's audit log: where it stands too, out of reach of whoever can write the case (S22).

Each record is sent after it is on disk in the case, with the head that it makes. What a sink did not take is kept and
sent again with the next record, in order; ``Sinks.require`` refuses to go on while anything is left, and is asked
before the first removal. A UDP datagram has no receipt: ``sent`` is all that can be known of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from excise.core.digests import canonical_json
from excise.core.errors import SourceUnavailable, UsageError

_TIMEOUT = 10.0
#: Facility 13 (log audit), severity 5 (notice): RFC 5424, section 6.2.1.
_PRIORITY = 13 * 8 + 5
#: What a datagram may surely hold; a longer record is sent without its text, and its hash tells that it was.
_DATAGRAM = 8000


class Sink(Protocol):
    """One destination. ``send`` raises OSError where the record was not taken."""

    name: str

    def send(self, line: bytes, record: Mapping[str, Any], head: str) -> None:
        """Send one record: its line in the log, and the head that it makes."""

    def close(self) -> None:
        """Let go."""


class FileSink:
    """A file of JSON lines: ``{"case", "head", "record"}``, flushed one by one; several cases may share it."""

    def __init__(self, path: Path, case: str) -> None:
        """Nothing is opened yet."""
        self.name, self._path, self._case = f"file:{path}", path, case

    def send(self, _line: bytes, record: Mapping[str, Any], head: str) -> None:
        """Append one line."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            data = canonical_json({"case": self._case, "head": head, "record": record}) + b"\n"
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is open."""


class SyslogSink:
    """Syslog, RFC 5424: datagrams (RFC 5426 or a local socket) or a stream with counted octets (RFC 6587)."""

    def __init__(self, name: str, kind: str, address: Any, case: str) -> None:
        """``kind``: ``udp``, ``tcp`` or ``unix``. Nothing is opened yet."""
        self.name, self._kind, self._address, self._case = name, kind, address, case
        self._socket: socket.socket | None = None
        self._stream = kind == "tcp"

    def send(self, line: bytes, record: Mapping[str, Any], head: str) -> None:
        """Send one message; a connection that was closed is opened anew."""
        if self._socket is None or (self._stream and _is_closed(self._socket)):
            self.close()
            self._open()
        assert self._socket is not None  # noqa: S101 - for the type checker
        message = syslog_message(line, record, head, self._case)
        if not self._stream and len(message) > _DATAGRAM:
            message = syslog_message(b"", record, head, self._case)
        try:
            self._socket.sendall(b"%d %b" % (len(message), message) if self._stream else message)
        except OSError:
            self.close()
            raise

    def _open(self) -> None:
        if self._kind == "tcp":
            self._socket = socket.create_connection(self._address, _TIMEOUT)
        elif self._kind == "udp":
            host, port = self._address
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
            self._socket = _connected(socket.socket(family, kind, protocol), address)
        else:
            try:
                self._socket = _connected(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), self._address)
            except ProtocolError:
                self._socket = _connected(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), self._address)
                self._stream = True

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class ProtocolError(OSError):
    """The local socket is of the other kind."""


def _connected(made: socket.socket, address: Any) -> socket.socket:
    made.settimeout(_TIMEOUT)
    try:
        made.connect(address)
    except OSError as error:
        made.close()
        if error.errno == errno.EPROTOTYPE:
            raise ProtocolError(*error.args) from error
        raise
    return made


def _is_closed(connection: socket.socket) -> bool:
    """True where the other side has closed: a receiver of syslog never sends."""
    return bool(select.select([connection], [], [], 0)[0])


def syslog_message(line: bytes, record: Mapping[str, Any], head: str, case: str) -> bytes:
    """One message; its structured data has case, seq and head, its text is the record's line.

    32473 is the number that RFC 5612 keeps for examples: Excise has none of its own.
    """
    host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
    kind = "".join(c for c in str(record["type"]) if "!" <= c <= "~")[:32] or "-"
    data = f'[excise@32473 case="{_value(case)}" seq="{record["seq"]}" head="{head}"]'
    start = f"<{_PRIORITY}>1 {record['time']} {host} excise {os.getpid()} {kind} {data}"
    return start.encode("ascii") + (b" " + line if line else b"")


def _value(text: str) -> str:
    return "".join("\\" + c if c in '"\\]' else c for c in text if " " <= c <= "~")


def open_sink(destination: str, case: str) -> Sink:
    """The sink at ``destination``; a UsageError where it is none.

    ``file:PATH``, ``syslog+udp://HOST[:PORT]``, ``syslog+tcp://HOST[:PORT]``, ``syslog+unix:PATH``.
    """
    kind, _, rest = destination.partition(":")
    if kind == "file" and rest:
        return FileSink(Path(rest), case)
    if kind == "syslog+unix" and rest:
        return SyslogSink(destination, "unix", rest, case)
    if kind in ("syslog+udp", "syslog+tcp"):
        parts = urlsplit(destination)
        try:
            port = parts.port or {"syslog+udp": 514, "syslog+tcp": 601}[kind]
        except ValueError:
            port = 0
        if parts.hostname and port and not parts.username:
            return SyslogSink(destination, kind[7:], (parts.hostname, port), case)
    raise UsageError(
        f"expected file:PATH, syslog+udp://HOST, syslog+tcp://HOST or syslog+unix:PATH, found {destination[:100]!r}",
        hint="Say where the audit log goes, as in --audit-sink syslog+tcp://loghost:601",
    )


class Sinks:
    """All sinks of a command, each with what it has not taken yet."""

    def __init__(self, destinations: tuple[str, ...], case: str) -> None:
        """A UsageError for what is no destination; nothing is opened yet."""
        self._sinks = [open_sink(destination, case) for destination in destinations]
        self._left: list[list[tuple[bytes, Mapping[str, Any], str]]] = [[] for _ in self._sinks]
        self.errors: dict[str, str] = {}

    def deliver(self, line: bytes, record: Mapping[str, Any], head: str) -> None:
        """Send a record everywhere, after what is left of those before it."""
        for sink, left in zip(self._sinks, self._left, strict=True):
            left.append((line, record, head))
            try:
                while left:
                    sink.send(*left[0])
                    del left[0]
                self.errors.pop(sink.name, None)
            except OSError as error:
                self.errors[sink.name] = error.strerror or str(error)

    def undelivered(self) -> dict[str, int]:
        """How many records each sink has not taken; without those that took all."""
        return {sink.name: len(left) for sink, left in zip(self._sinks, self._left, strict=True) if left}

    def require(self) -> None:
        """SourceUnavailable unless every sink has taken every record (S22)."""
        for name in self.undelivered():
            raise SourceUnavailable(
                f"{name}: the audit log could not be sent there: {self.errors[name]}: nothing was removed",
                hint="Mend the sink, then: excise resume CASE",
            )

    def close(self) -> None:
        """Close all."""
        for sink in self._sinks:
            sink.close()
