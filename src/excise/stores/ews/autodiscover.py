"""Autodiscover: which server has a mailbox, found from its address ([MS-OXDISCO]).

Rules:
- HTTPS with a certificate that holds, but for one question without a login whose answer is only a pointer.
- A login is shown to nobody who has not asked for one at the address of an Autodiscover service; once it is refused it
  is shown to nobody else (no lock-outs).
- A pointer, or a server, outside the domain of the address is taken only where the user named that host
  (``EXCISE_EWS_AUTODISCOVER_HOSTS``).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from excise.core.errors import ExciseError, SourceUnavailable, UsageError
from excise.core.text import shown
from excise.store_api.errors import Unauthorised
from excise.stores.ews.autodiscover_wire import (
    PLAIN,
    SOAP,
    NoAnswer,
    Told,
    json_path,
    plain_request,
    read_json,
    read_plain,
    read_soap,
    soap_request,
)
from excise.stores.ews.place import is_address
from excise.stores.ews.sessions import Sessions, bare_session
from excise.stores.ews.settings import Login, Settings
from excise.stores.ews.unreachable import reason_of

_HOPS = 10
#: Bytes that an answer may have.
_MOST = 1 << 20
_TIMEOUT = 20.0
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"Content-Type": "text/xml; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class _Got:
    status: int
    head: dict[str, str]
    content: bytes


class Search:
    """One search for the server of ``address``; ``port`` is where the services are asked, as in ``:8443``."""

    def __init__(self, address: str, port: str, login: Callable[[], Login], settings: Settings) -> None:
        """Nothing is sent yet. ``login`` is asked for where a service wants one."""
        self._address, self._port, self._login, self._settings = address, port, login, settings
        self._why: list[str] = []
        self._seen: set[tuple[str, str]] = set()
        self._hops = 0
        self._strange: list[str] = []

    def run(self) -> str:
        """The address of the server's Exchange Web Services; an ExciseError where there is none."""
        for ask in self._ways():
            try:
                return ask()
            except NoAnswer as error:
                self._why.append(str(error))
        if self._strange:
            host = self._strange[0]
            raise SourceUnavailable(
                f"{self._address}: Autodiscover names the server {host!r}, which is not of {self._domain}",
                hint=f"If that is right: EXCISE_EWS_AUTODISCOVER_HOSTS={host}, or name the server itself: ews://HOST",
            )
        raise SourceUnavailable(
            f"{self._address}: Autodiscover finds no server: {'; '.join(self._why)}",
            hint=f"Name the server: ews://HOST --mailbox {self._address}",
        )

    @property
    def _domain(self) -> str:
        return self._address.rpartition("@")[2]

    def _ways(self) -> Iterator[Callable[[], str]]:
        """The places where a service may be, in their order ([MS-OXDISCO] 3.1.5)."""
        for host in (f"autodiscover.{self._domain}", self._domain):
            yield partial(self._at, f"https://{host}{self._port}")
        yield self._by_pointer
        yield self._by_srv

    def _by_pointer(self) -> str:
        """By the one question that may go without TLS: only where to ask is taken from it, and nothing is told."""
        url = f"http://autodiscover.{self._domain}{self._port}{PLAIN}"
        got = self._get(url)
        if got.status not in _REDIRECTS:
            raise NoAnswer(f"{url}: no pointer (HTTP {got.status})")
        return self._with_login(self._pointed(url, got.head.get("location", "")))

    def _by_srv(self) -> str:
        from excise.stores.ews.srv import service_at

        host = service_at(f"_autodiscover._tcp.{self._domain}", self._settings.nameserver)
        return self._at(self._pointed("DNS", f"https://{host}").rstrip("/"))

    def _at(self, base: str) -> str:
        """Ask the host at ``base``: first what needs no login."""
        try:
            return self._without_login(base + json_path(self._address, self._hops))
        except _Unreachable:
            raise
        except NoAnswer as error:
            self._why.append(str(error))
        return self._with_login(base + PLAIN)

    def _without_login(self, url: str) -> str:
        got = self._get(url)
        if got.status in _REDIRECTS:
            return self._without_login(self._pointed(url, got.head.get("location", "")))
        try:
            told = read_json(got.content)
        except NoAnswer as error:
            raise NoAnswer(f"{_host(url)}: no Autodiscover without a login (HTTP {got.status})") from error
        return self._taken(url, told)

    def _with_login(self, url: str) -> str:
        """Ask the service at ``url``, in plain XML or, where it has none, in SOAP."""
        got = self._post(url)
        if got.status in _REDIRECTS:
            return self._with_login(self._pointed(url, got.head.get("location", "")))
        if got.status == 404 and url.lower().endswith(PLAIN):
            return self._with_login(url[: -len(PLAIN)] + SOAP)
        if got.status != 401:
            raise NoAnswer(f"{_host(url)}: no Autodiscover (HTTP {got.status})")
        in_soap = urlsplit(url).path.lower().endswith(".svc")
        data = soap_request(self._address, url) if in_soap else plain_request(self._address)
        got = self._logged_in(url, data)
        if got.status in _REDIRECTS:
            return self._with_login(self._pointed(url, got.head.get("location", "")))
        if got.status != 200:
            raise NoAnswer(f"{_host(url)}: Autodiscover answers HTTP {got.status}")
        try:
            told = read_soap(got.content) if in_soap else read_plain(got.content)
        except NoAnswer as error:
            raise NoAnswer(f"{_host(url)}: {error}") from error
        return self._taken(url, told)

    def _taken(self, url: str, told: Told) -> str:
        """What an answer leads to."""
        if told.service:
            return self._with_login(self._pointed(url, told.service))
        if told.address:
            return self._again(url, told.address)
        if not told.urls:
            raise NoAnswer(f"{_host(url)}: {told.problem}")
        trusted = [one for one in told.urls if self._trusts(one)]
        if not trusted:
            raise NoAnswer(f"{_host(url)}: it names {shown(told.urls[0], 200)!r}")
        return next(filter(_has_name, trusted), trusted[0])

    def _again(self, url: str, address: str) -> str:
        """The mailbox has another address: begin anew with that one."""
        self._hop(url, address.lower())
        if not is_address(address):
            raise NoAnswer(f"{_host(url)}: it names another mailbox, {shown(address, 100)!r}")
        domain = address.rpartition("@")[2]
        if not self._trusts(f"https://{domain}/"):
            raise NoAnswer(f"{_host(url)}: it names another mailbox, {shown(address, 100)!r}")
        other = Search(address.lower(), self._port, self._login, self._settings)
        other._seen, other._hops = self._seen, self._hops
        return other.run()

    def _pointed(self, url: str, to: str) -> str:
        """Where ``url`` points to; NoAnswer where we do not go."""
        target = urljoin(url, to) if url.startswith("http") else to
        if not self._trusts(target):
            raise NoAnswer(f"{_host(url)}: it points to {shown(target, 200)!r}")
        self._hop(url, target)
        return target

    def _hop(self, url: str, to: str) -> None:
        self._hops += 1
        if self._hops > _HOPS or (self._address, to) in self._seen:
            raise NoAnswer(f"{_host(url)}: it points in a circle ({shown(to, 200)!r})")
        self._seen.add((self._address, to))

    def _trusts(self, url: str) -> bool:
        """True for HTTPS at a host of the domain, or at one that the user named; another one is remembered."""
        try:
            split = urlsplit(url)
            host = split.hostname or ""
        except ValueError:
            return False
        if split.scheme != "https" or not host or split.username is not None:
            return False
        if host == self._domain or host.endswith(f".{self._domain}") or host in self._settings.trusted:
            return True
        self._strange.append(shown(host, 100))
        return False

    # Asking

    def _get(self, url: str) -> _Got:
        with bare_session(self._settings) as session:
            return self._asked(url, lambda: session.get(url, **self._options()))

    def _post(self, url: str) -> _Got:
        """Ask without a login, and so without the address: who wants one says so."""
        with bare_session(self._settings) as session:
            return self._asked(url, lambda: session.post(url, data=b"", headers=_HEADERS, **self._options()))

    def _logged_in(self, url: str, data: bytes) -> _Got:
        login = self._login()
        try:
            session = Sessions(url, login, self._settings).open()
        except UsageError as error:
            if login.auth is not None:
                raise
            raise NoAnswer(f"{_host(url)}: it takes neither NTLM nor Basic") from error
        except requests.exceptions.RequestException as error:
            raise _Unreachable(f"{_host(url)}: {reason_of(error)}") from error
        try:
            got = self._asked(url, lambda: session.post(url, data=data, headers=_HEADERS, **self._options()))
        finally:
            session.close()
        if got.status == 401:
            raise Unauthorised(
                f"{_host(url)}: Autodiscover refuses the login of {login.user or 'this user'} (HTTP 401)",
                hint="It was tried once and not again. Check the account and its password, or EXCISE_EWS_AUTH.",
            )
        return got

    def _options(self) -> dict[str, Any]:
        return {"timeout": min(_TIMEOUT, self._settings.timeout), "allow_redirects": False, "stream": True}

    def _asked(self, url: str, ask: Callable[[], Any]) -> _Got:
        try:
            with ask() as answer:
                content = b""
                for piece in answer.iter_content(1 << 16):
                    content += piece
                    if len(content) > _MOST:
                        raise NoAnswer(f"{_host(url)}: an answer has more than {_MOST:,} bytes")
                return _Got(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, content)
        except requests.exceptions.SSLError as error:
            raise _Unreachable(
                f"{_host(url)}: its certificate cannot be trusted ({reason_of(error)}; see EXCISE_EWS_CA_BUNDLE)"
            ) from error
        except requests.exceptions.RequestException as error:
            unknown = "NameResolution" in repr(error) or "getaddrinfo" in repr(error)
            raise _Unreachable(f"{_host(url)}: {'no such name' if unknown else reason_of(error)}") from error


class _Unreachable(NoAnswer):
    """Nobody is there, or nobody who is to be trusted: nothing more is asked there."""


def _host(url: str) -> str:
    return urlsplit(url).netloc or url


def _has_name(url: str) -> bool:
    try:
        socket.getaddrinfo(urlsplit(url).hostname, 443)
    except OSError:
        return False
    return True


def discover(address: str, port: str, login: Callable[[], Login], settings: Settings) -> str:
    """The address of the Exchange Web Services that have the mailbox ``address``; an ExciseError that says why not."""
    try:
        return Search(address, port, login, settings).run()
    except ExciseError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "oauthlib":
            raise
        raise Unauthorised(f"{address}: Autodiscover: no token for the application: {error}") from error
