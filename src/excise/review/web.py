"""The review as a local page: a small server of plain forms, without any script. Who may use it is in ``gate``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.plan import Plan
from excise.core.errors import ExciseError, SourceUnavailable
from excise.review.gate import Gate, is_loopback
from excise.review.groups import Review
from excise.review.pages import Pages

_LARGEST = 1 << 20
_MOST_FIELDS = 20_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    # Not no-referrer, which would take the Origin from our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Server(ThreadingHTTPServer):
    """One review; requests are answered one after the other."""

    daemon_threads = True

    def __init__(self, port: int, pages: Pages) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.pages, self.gate = pages, pages.gate
        self.turn = threading.Lock()
        self.failure: BaseException | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's names
        """An error that nobody foresaw ends the review, and is the command's; a browser that went away does not."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.failure = error
            threading.Thread(target=self.shutdown).start()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "excise", ""
    timeout = 30

    def do_GET(self) -> None:
        """Show a page."""
        with self.server.turn:
            self._get()

    def do_POST(self) -> None:
        """Change something."""
        form = self._form()
        if isinstance(form, str):
            self._refuse(form)
            return
        with self.server.turn:
            self._change(form)

    def _get(self) -> None:
        address, gate = urlsplit(self.path), self.server.gate
        if not is_loopback(self.headers.get("Host", "")):
            self._refuse("the page is served under a loopback name alone")
        elif address.path == "/" and gate.opens(parse_qs(address.query).get("token", [""])[0]):
            # Not a redirection: where the address was clicked on another page, the cookie would not go with it.
            self._answer(200, self.server.pages.entrance(), {"Set-Cookie": gate.set_cookie})
        elif gate.knows(address.path, self.headers):
            self._show(unquote(address.path[len(gate.base) :]), parse_qs(address.query))
        else:
            self._refuse("the address is good once, in one browser; start the review again for another one")

    def _show(self, name: str, query: dict[str, list[str]]) -> None:
        try:
            page = self.server.pages.show(name, query.get("page", ["1"])[0])
        except ExciseError as error:
            self._answer(400, self.server.pages.problem(error.text()))
            return
        if page is None:
            self._answer(404, self.server.pages.problem("There is no such page."))
        else:
            self._answer(200, page)

    def _form(self) -> dict[str, list[str]] | str:
        """The fields of a form that may change something; else why it may not."""
        gate, length = self.server.gate, self.headers.get("Content-Length", "")
        if not is_loopback(self.headers.get("Host", "")) or not gate.knows(self.path, self.headers):
            return "only a form of this page may do that"
        if not length.isdecimal() or int(length) > _LARGEST:
            return "the form is too large"
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        try:
            form = parse_qs(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return "the form has too many fields"
        if not gate.may_change(self.headers, form.get("form", [""])[0]):
            return "only a form of this page may do that"
        return form

    def _change(self, form: dict[str, list[str]]) -> None:
        pages, base = self.server.pages, self.server.gate.base
        try:
            page = pages.change(self.path[len(base) :], form)
        except ExciseError as error:
            self._answer(400, pages.problem(error.text()))
            return
        if page is not None:
            self._answer(200, page)
        else:
            self._answer(303, "", {"Location": base})
        if pages.ended:
            threading.Thread(target=self.server.shutdown).start()

    def _refuse(self, why: str) -> None:
        """Say no, without a word of what is behind the gate."""
        self._answer(403, self.server.pages.problem(f"Refused: {why}."))

    def _answer(self, status: int, page: str, more: dict[str, str] | None = None) -> None:
        data = page.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for name, value in {**_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: addresses hold secrets; what was looked at is in the audit log."""


def serve(
    case: Case,
    review: Review,
    audit: ChainedLog,
    write: Callable[[Review], Plan],
    port: int,
    tell: Callable[[str], None],
) -> Plan | None:
    """Serve the review until it is written or closed; the new plan, or None.

    ``write`` makes the plan, ``tell`` says to the person at the terminal where the page is.
    """
    pages = Pages(case, review, audit, write, Gate())
    try:
        server = _Server(port, pages)
    except OSError as error:
        raise SourceUnavailable(
            f"port {port} of 127.0.0.1: the page cannot be served there: {error.strerror}", hint="Give another --port."
        ) from error
    with server:
        port = server.server_address[1]
        tell(f"The review is at http://127.0.0.1:{port}/?token={pages.gate.token}")
        tell(f"The address is good once. From another machine first: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE")
        tell("Ctrl-C closes the review without a new plan.")
        server.serve_forever(poll_interval=0.2)
    if server.failure is not None:
        raise server.failure
    return pages.made
