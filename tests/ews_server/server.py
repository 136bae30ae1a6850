"""The HTTP side: a server on the loopback interface that speaks EWS over a `World`."""

from __future__ import annotations

import gzip
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

from lxml import etree

from . import answers
from .autodiscover import JSON_PATH, PATHS, autodiscover, without_login
from .call import Call
from .control import PREFIX, control
from .faults import Fault, FaultScript
from .log import Log, Request
from .login import TOKEN_PATHS, Login, give_token
from .model import User
from .operations import OPERATIONS
from .quirks import Quirks
from .rights import actor_of
from .schema import load
from .soap import Element, Envelope, EwsError, SoapFault, envelope, fault_element, parse_envelope, server_version
from .world import World

PATH = "/EWS/Exchange.asmx"


class Server:
    """An EWS server over a world; `with Server(world) as server` starts and stops it.

    `schemas` is the directory of Microsoft's XSDs: each request and each answer is then validated and complaints stand
    in `log.complaints`. Each answer takes `latency` (seconds) at least. With `certificate` (PEM file) and `key` it
    speaks TLS.
    `commit` is called after each request that changed the world, before it is answered. A `controlled` server also
    takes faults and tells of itself over HTTP, see `control`. `authentication` are the schemes it takes, see `login`.
    `name` is the host that it calls itself.
    """

    def __init__(
        self,
        world: World,
        *,
        quirks: Quirks | None = None,
        schemas: Path | None = None,
        latency: float = 0.0,
        port: int = 0,
        certificate: Path | None = None,
        key: Path | None = None,
        commit: Callable[[], None] | None = None,
        controlled: bool = False,
        authentication: tuple[str, ...] = ("basic",),
        name: str = "127.0.0.1",
    ) -> None:
        self.world = world
        self.quirks = quirks or Quirks()
        self.schemas = load(schemas) if schemas else None
        self.latency = latency
        self.log = Log()
        self.controlled = controlled
        self.authentication = authentication
        # What a Kerberos login must be bound to (RFC 5929), where that is asked for.
        self.binding = b""
        self.commit = commit or world.changed.clear
        self.faults = FaultScript(self.commit)
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.ews = self
        self._scheme, self._name = "http", name
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The EWS endpoint."""
        return f"{self._scheme}://{self._name}:{self.port}{PATH}"

    def start(self) -> Server:
        """Serve in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and close all."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # A request

    def answer(self, user: User, data: bytes, anchor: str) -> tuple[int, Element | None, Element, list[Fault]]:
        """Act on a request: the HTTP status, the header, the body and the faults that befall the answer."""
        befall: list[Fault] = []
        try:
            request = parse_envelope(data)
            actor = self._actor(user, request)
            self._refuse_invalid(self._note(request, user, actor, anchor, len(data)))
            call = Call(self.world, request, user, actor, anchor.lower(), self.quirks, self.faults)
            self._refuse_many()
            for fault in self.faults.before(request.operation, call.mailboxes):
                self._strike(fault)
            befall = self.faults.after(request.operation, call.mailboxes)
            return 200, *self._acted(call), befall
        except EwsError as error:
            return self.quirks.fault_status, None, fault_element(error, self.quirks.fault_detail), befall
        except Dropped:
            raise
        except Exception:  # noqa: BLE001 (written down, and a test that looks at the log fails)
            self.log.errors.append(traceback.format_exc())
            internal = EwsError("ErrorInternalServerError", "An internal server error occurred.")
            return 500, None, fault_element(internal), []

    def _refuse_many(self) -> None:
        if 0 < self.quirks.most_connections < self.log.working:
            raise SoapFault("ErrorExceededConnectionCount", "Too many concurrent connections are open.")

    def _refuse_invalid(self, complaints: tuple[str, ...]) -> None:
        if complaints and self.quirks.validate_requests:
            raise SoapFault("ErrorSchemaValidation", f"The request failed schema validation: {complaints[0]}")

    def _actor(self, user: User, request: Envelope) -> str:
        try:
            return actor_of(self.world, user, request, self.quirks)
        except EwsError:
            self._note(request, user, "", "", 0)
            raise

    def _acted(self, call: Call) -> tuple[Element, Element]:
        operation = OPERATIONS.get(call.operation)
        if operation is None or (call.operation in ("ExportItems", "UploadItems") and not self.quirks.export_items):
            raise SoapFault("ErrorInvalidRequest", f"Unknown request '{call.operation}'.")
        with self.world.lock:
            body = operation(call)
            if self.world.changed:
                self.commit()
        return server_version(self.quirks.version, self.quirks.schema_version), body

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind == "die_before":
            self.faults.die()
        elif fault.kind == "error":
            raise SoapFault(fault.code, fault.error().text, fault.values)
        else:
            raise Dropped(fault)

    def _note(self, request: Envelope, user: User, actor: str, anchor: str, size: int) -> tuple[str, ...]:
        complaints = tuple(self.schemas.complaints(request.tree)) if self.schemas else ()
        with self.log.lock:
            self.log.requests.append(Request(request.operation, user.login, actor, anchor, size, complaints))
            self.log.count[request.operation] += 1
        return complaints


class Dropped(Exception):
    """A request that is not answered as EWS would: the connection ends, or HTTP itself says no."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    ews: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request, client_address
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | ssl.SSLError | TimeoutError):
            self.ews.log.errors.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    # Small answers wait for nothing.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `Log` remembers."""

    def do_GET(self) -> None:
        """Clients look whether there is an endpoint: 401 first, then a page."""
        ews = self.server.ews
        if ews.quirks.autodiscover_json and self.path.lower().startswith(JSON_PATH):
            self._send(*without_login(ews.url, self.path), "application/json")
        elif self._user() is None:
            self._unauthorized()
        else:
            self._send(200, b"<html><body>Exchange Web Services</body></html>", "text/html; charset=utf-8")

    def do_HEAD(self) -> None:
        """As GET, without the page."""
        self.do_GET()

    def do_POST(self) -> None:
        """A SOAP request."""
        ews = self.server.ews
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._began = time.monotonic()
        if self._owing:
            # The client takes it for the answer to this request, whose own answer comes one request late.
            self._send(200, envelope([], answers.stray(), ews.quirks.prefix), ews.quirks.content_type)
        if ews.controlled and self.path.startswith(PREFIX):
            self._send(*control(ews, self.path, data), "application/json")
            return
        if self.path.endswith(TOKEN_PATHS) and "bearer" in ews.authentication:
            here = ews.url.removesuffix(PATH) + self.path
            self._send(*give_token(ews.world, data, here), "application/json")
            return
        path = self.path.split("?")[0].lower()
        if path not in (PATH.lower(), *PATHS):
            self._send(404, b"Not Found", "text/plain")
            return
        user = self._user()
        if user is None:
            self._unauthorized()
            return
        self._busy = True
        ews.log.begin()
        try:
            self._act(user, path, data)
        finally:
            self._end()

    def _end(self) -> None:
        """Work on a request is over: called before its answer leaves, or when it has none."""
        if self._busy:
            self._busy = False
            self.server.ews.log.end()

    def _act(self, user: User, path: str, data: bytes) -> None:
        """Answer a request of a user's."""
        ews = self.server.ews
        if path in PATHS:
            self._send(*autodiscover(ews.world, ews.url, path, data), "text/xml; charset=utf-8")
            return
        try:
            answered = ews.answer(user, data, self.headers.get("X-AnchorMailbox", ""))
            self._answer(*answered)
        except Dropped as dropped:
            self._drop(dropped.fault)

    def _answer(self, status: int, header: Element | None, body: Element, faults: list[Fault]) -> None:
        ews = self.server.ews
        self._check(header, body)
        body = answers.spoil(body, faults)
        data = envelope([] if header is None else [header], body, ews.quirks.prefix)
        kinds = {fault.kind: fault for fault in faults}
        if "undeclared" in kinds or (header is None and not ews.quirks.fault_detail):
            data = data.split(b"?>", 1)[1].lstrip()
        if "cut_quietly" in kinds:
            data = answers.cut(data, kinds["cut_quietly"])
        if "die_after" in kinds:
            ews.faults.die()
        if "drop_after" in kinds:
            self._hang_up()
            return
        time.sleep(max(0.0, self._began + ews.latency - time.monotonic()))
        self._send(status, data, ews.quirks.content_type, cut=kinds.get("cut"))
        self._owing = "desync" in kinds

    def _check(self, header: Element | None, body: Element) -> None:
        ews = self.server.ews
        if ews.schemas is None or header is None:
            return
        tree = etree.fromstring(envelope([header], body))
        found = ews.schemas.complaints(tree)
        if found:
            with ews.log.lock:
                ews.log.answers += [f"answer of {etree.QName(body).localname}: {text}" for text in found]

    def _drop(self, fault: Fault) -> None:
        if fault.kind == "unauthorized":
            self._unauthorized()
        elif fault.kind == "http":
            self._send(fault.status, (fault.text or "Service Unavailable").encode(), "text/plain")
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(SHUT_RDWR)

    def _send(self, status: int, data: bytes, content_type: str, cut: Fault | None = None) -> None:
        """Send an answer; with `cut` its beginning, and the connection ends."""
        self._end()
        quirks = self.server.ews.quirks
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if quirks.gzip and "gzip" in self.headers.get("Accept-Encoding", ""):
            data = gzip.compress(data, 1)
            self.send_header("Content-Encoding", "gzip")
        sent = data if cut is None else answers.cut(data, cut)
        if quirks.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            # A cut answer has no last chunk, which is how a client can tell.
            sent = b"%x\r\n%b\r\n" % (len(sent), sent) + (b"0\r\n\r\n" if cut is None else b"")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
        self.wfile.flush()
        if cut is not None:
            self._hang_up()

    def _unauthorized(self) -> None:
        with self.server.ews.log.lock:
            self.server.ews.log.refused += not self._login.challenge
        self.send_response(401)
        for offer in self._login.offers():
            self.send_header("WWW-Authenticate", offer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def setup(self) -> None:
        """Start a connection: nobody is logged in."""
        super().setup()
        self._owing = self._busy = False
        self._login = Login(self.server.ews.world, self.server.ews.authentication, self.server.ews.binding)

    def _user(self) -> User | None:
        return self._login.user(self.headers.get("Authorization", ""))
