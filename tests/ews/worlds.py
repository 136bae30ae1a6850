"""Worlds that the tests of the EWS server share, and a bare SOAP client."""

from __future__ import annotations

import base64
import http.client
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree

from ews_server import Mailbox, Quirks, Server, ServerProcess, World
from ews_server.soap import SOAP, M, T

_SAMPLES = os.environ.get("EXCISE_SAMPLES")
SCHEMAS = Path(_SAMPLES) / "ews-schema" if _SAMPLES else None
SAMPLES = Path(_SAMPLES) / "ews-samples" if _SAMPLES else None
needs_schemas = pytest.mark.skipif(
    SCHEMAS is None or not SCHEMAS.is_dir(), reason="EXCISE_SAMPLES names no directory with ews-schema/"
)
NAMES = {"s": SOAP, "t": T, "m": M}
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
PASSWORD = "correct horse"


def mail(number: int, subject: str = "", *, attachment: str = "", sender: str = "Bob <bob@example.org>") -> bytes:
    """A message; with `attachment` it has a file of that name."""
    date = (START + timedelta(minutes=number)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    head = (
        f"Received: from mx.example.org by ews.example.test; {date}\r\nFrom: {sender}\r\nTo: anna@example.test\r\n"
        f"Subject: {subject or f'Message {number}'}\r\nDate: {date}\r\nMessage-ID: <m{number}@example.org>\r\n"
        "X-Odd: kept nowhere but in the headers\r\nMIME-Version: 1.0\r\n"
    )
    text = f"Body of {number}\r\n"
    if not attachment:
        return f"{head}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}".encode()
    data = base64.b64encode(bytes(range(256))).decode("ascii")
    return (
        f'{head}Content-Type: multipart/mixed; boundary="B"\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\n{text}\r\n'
        f'--B\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="{attachment}"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{data}\r\n--B--\r\n"
    ).encode()


def small_world(messages: int = 5) -> tuple[World, Mailbox]:
    """Anna with an archive and some messages, bob, and an administrator who may impersonate everyone."""
    world = World()
    world.user("admin@example.test", PASSWORD, impersonates=["*"])
    anna = world.mailbox("anna@example.test", PASSWORD, archive=True, aliases=["a.smith@example.test"])
    world.mailbox("bob@example.test", PASSWORD)
    for number in range(messages):
        world.deliver(anna, "inbox", mail(number), received=START + timedelta(minutes=number))
    return world, anna


@dataclass
class Client:
    """Requests as text, answers as elements."""

    server: Server | ServerProcess
    user: str = "anna@example.test"
    password: str = PASSWORD
    impersonated: str = ""
    anchor: str = ""

    def post(self, body: str) -> tuple[int, bytes]:
        """The HTTP status and the bytes of the answer to an operation's XML (prefixes t and m are declared)."""
        return self.raw(self.envelope(body))

    def envelope(self, body: str) -> bytes:
        """The request of an operation's XML."""
        sid = f"<t:ConnectingSID><t:PrimarySmtpAddress>{self.impersonated}</t:PrimarySmtpAddress></t:ConnectingSID>"
        header = f"<t:ExchangeImpersonation>{sid}</t:ExchangeImpersonation>" if self.impersonated else ""
        envelope = (
            f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}" xmlns:t="{T}" xmlns:m="{M}">'
            f'<s:Header><t:RequestServerVersion Version="Exchange2016"/>{header}</s:Header>'
            f"<s:Body>{body}</s:Body></s:Envelope>"
        )
        return envelope.encode()

    def request(self, body: str) -> tuple[bytes, dict[str, str]]:
        """The bytes and the headers of a request."""
        return self.envelope(body), self._headers()

    def _headers(self) -> dict[str, str]:
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        anchor = {"X-AnchorMailbox": self.anchor} if self.anchor else {}
        return {"Authorization": f"Basic {token}", "Content-Type": "text/xml; charset=utf-8", **anchor}

    def raw(self, data: bytes, method: str = "POST", path: str = "/EWS/Exchange.asmx") -> tuple[int, bytes]:
        """A request of bytes on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, data, self._headers())
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, body: str) -> etree._Element:
        """The element in the SOAP body of the answer."""
        return etree.fromstring(self.post(body)[1]).find(f"{{{SOAP}}}Body")[0]

    def codes(self, body: str) -> list[str]:
        """The response codes of the answer, in order."""
        return [code.text or "" for code in self.ask(body).iterfind(".//m:ResponseCode", NAMES)]


@contextmanager
def serving(
    world: World, quirks: Quirks | None = None, *, validated: bool = True, **options: object
) -> Iterator[Server]:
    """A server over a world, which validates against the schemas where there are any; nothing may have broken them."""
    schemas = SCHEMAS if validated and SCHEMAS and SCHEMAS.is_dir() else None
    with Server(world, quirks=quirks, schemas=schemas, **options) as server:  # type: ignore[arg-type]
        yield server
        assert not server.log.errors
        assert not [text for text in server.log.complaints if text.startswith("answer")]
