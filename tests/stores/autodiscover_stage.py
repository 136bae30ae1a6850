"""A host of many names on one port, which answers as a test says, in the clear and with TLS; and the names for it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from ews.worlds import PASSWORD
from stores.ews_place import ADMIN

WRAPPER = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
needs_names = pytest.mark.skipif(WRAPPER is None, reason="libnss-wrapper is not installed (make test-programs)")
XML, JSON = "text/xml; charset=utf-8", "application/json"
NAMES = ("example.test", "autodiscover.example.test", "mail.example.test", "mail.other.test", "evil.test")


@dataclass
class Reply:
    """What is answered to a request; with ``asks`` only to one that shows a login."""

    status: int = 200
    body: str = ""
    to: str = ""
    kind: str = XML
    asks: bool = False


@dataclass
class Stage:
    """``replies`` by scheme, host and path; ``asked``: scheme, host and path of what came, and the login shown."""

    replies: dict[tuple[str, str, str], Reply] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    port: int = 0

    def on(self, host: str, path: str, reply: Reply, scheme: str = "https") -> None:
        """Answer so at ``path`` of ``host``."""
        self.replies[scheme, host, path] = reply

    @property
    def shown(self) -> list[str]:
        """The hosts that were shown a login, each time."""
        return [host for _, host, _, login in self.asked if login]


@contextmanager
def staged(stage: Stage, pem: Path, key: Path) -> Iterator[Stage]:
    """Serve ``stage``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
            host, path = self.headers["Host"].partition(":")[0], self.path.partition("?")[0].lower()
            login = self.headers.get("Authorization", "")
            stage.asked.append((scheme, host, path, login))
            reply = stage.replies.get((scheme, host, path), Reply(404))
            if reply.asks and not login:
                reply = Reply(401)
            body = reply.body.replace("PORT", str(stage.port)).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(body)))
            if reply.to:
                self.send_header("Location", reply.to.replace("PORT", str(stage.port)))
            if reply.status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

    class Http(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.settimeout(30)
            # The first byte of a TLS handshake.
            if request.recv(1, socket.MSG_PEEK) != b"\x16":
                Handler(request, client_address, self)
                return
            with suppress(OSError), context.wrap_socket(request, server_side=True) as secured:
                Handler(secured, client_address, self)

    with Http(("127.0.0.1", 0), Handler) as http:
        stage.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield stage
        finally:
            http.shutdown()
            thread.join()


@contextmanager
def name_server(records: dict[str, str]) -> Iterator[str]:
    """A name server that knows the SRV ``records`` ("0 0 443 host.") and nothing else; its HOST:PORT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        ended = threading.Event()
        listening.settimeout(0.05)

        def serve() -> None:
            while not ended.is_set():
                try:
                    data, sender = listening.recvfrom(4096)
                except TimeoutError:
                    continue
                question = dns.message.from_wire(data)
                answer = dns.message.make_response(question)
                name = question.question[0].name.to_text()
                told = records.get(name.rstrip("."))
                if told:
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", dns.rdatatype.SRV, told))
                else:
                    answer.set_rcode(3)
                listening.sendto(answer.to_wire(), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def find(path: Path, source: str, pem: Path, *more: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``excise mailboxes source`` where the names of the stage are this machine, and no others are known."""
    hosts = path / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in settings.pop("names", " ".join(NAMES)).split()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXCISE_EWS_")}
    given = {
        "USER": ADMIN, "PASSWORD": PASSWORD, "AUTH": "basic", "CA_BUNDLE": str(pem), "NAMESERVER": "127.0.0.1:9",
        "TIMEOUT": "20", **settings,
    }  # fmt: skip
    environment = kept | {f"EXCISE_EWS_{name}": value for name, value in given.items() if value}
    environment |= {"LD_PRELOAD": str(WRAPPER), "NSS_WRAPPER_HOSTS": str(hosts)}
    environment["EXCISE_ACCESS_LOG"] = str(path / "access.jsonl")
    return subprocess.run(
        [sys.executable, "-m", "excise", "mailboxes", source, *more],
        capture_output=True, text=True, timeout=120, cwd=path, stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
