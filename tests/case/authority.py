"""A time-stamp authority on loopback, made by ``openssl``: a root, an authority below it, and ``openssl ts -reply``."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

_CONFIG = """
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical,CA:TRUE
[stamping]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = one
[one]
serial = {0}/serial
crypto_device = builtin
signer_cert = {0}/tsa.pem
{1}
signer_key = {0}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ordering = yes
ess_cert_id_chain = no
"""


@dataclass(slots=True)
class Authority:
    """A running authority. ``down``: it answers with 503. ``replay``: the answer it gives to everything."""

    url: str
    root: Path
    requests: list[bytes] = field(default_factory=list)
    down: bool = False
    replay: bytes | None = None


def openssl(*arguments: str | Path) -> str:
    """Run ``openssl``; what it says."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _make(place: Path, chain: bool) -> None:
    config = place / "openssl.cnf"
    config.write_text(_CONFIG.format(place, f"certs = {place}/root.pem" if chain else ""))
    (place / "serial").write_text("01\n")
    new = ("-newkey", "rsa:2048", "-nodes", "-config", config)
    root = ("-x509", "-days", "3650", "-subj", "/CN=Test Root", "-extensions", "root")
    openssl("req", *new, *root, "-keyout", place / "root.key", "-out", place / "root.pem")
    openssl("req", *new, "-subj", "/CN=Test Authority", "-keyout", place / "tsa.key", "-out", place / "tsa.csr")
    by = ("-CA", place / "root.pem", "-CAkey", place / "root.key", "-CAcreateserial", "-days", "3650")
    how = ("-extfile", config, "-extensions", "stamping")
    openssl("x509", "-req", "-in", place / "tsa.csr", *by, *how, "-out", place / "tsa.pem")


@contextmanager
def authority(place: Path, *, chain: bool = False) -> Iterator[Authority]:
    """An authority with keys in ``place``, on a free port of loopback. ``chain``: it sends its root too."""
    place.mkdir()
    _make(place, chain)
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            with turn:
                made.requests.append(query)
                if made.down:
                    self.send_error(503)
                    return
                answer = made.replay if made.replay is not None else _reply(place, query)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Authority(f"http://127.0.0.1:{server.server_address[1]}/tsr", place / "root.pem")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _reply(place: Path, query: bytes) -> bytes:
    (place / "query").write_bytes(query)
    config = ("-config", place / "openssl.cnf")
    openssl("ts", "-reply", *config, "-queryfile", place / "query", "-out", place / "answer")
    return (place / "answer").read_bytes()
