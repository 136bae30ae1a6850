"""One connection to a directory: verified TLS, one login, paged searches; ldap3 and its exceptions stay in here.

Nothing is retried: a wrong password is tried once, so that no account is locked. A search ends whole or with an error,
never with the part that a limit of the server left.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from excise.core.errors import SourceUnavailable, UsageError
from excise.core.text import shown
from excise.ldap.entries import Entry
from excise.ldap.failures import told
from excise.ldap.imported import exceptions, ldap3

#: Entries a page: Active Directory gives no more than 1,000 (MaxPageSize).
PAGE = 500
BASE, SUBTREE = ldap3.BASE, ldap3.SUBTREE
_CONNECT_SECONDS = 15
_ANSWER_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where a directory is. ``verified``: TLS from the first byte (ldaps), else StartTLS before anything is said."""

    host: str
    port: int
    ldaps: bool
    base: str = ""

    @property
    def url(self) -> str:
        """How it is shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.ldaps else 'ldap'}://{host}:{self.port}"


def parse_url(url: str) -> Place:
    """``ldaps://HOST[:PORT][/BASE]`` or ``ldap://…``; ``UsageError`` for anything else, and for a login in it (S26)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{shown(url)}: expected a directory", hint="As in ldaps://dc1.example.com or ldap://dc1.")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "a directory's address cannot hold a name or a password (safety rule S26)",
            hint="Give the name with --directory-user; the password is asked for, or comes from EXCISE_LDAP_PASSWORD.",
        )
    ldaps = parts.scheme == "ldaps"
    return Place(parts.hostname, port or (636 if ldaps else 389), ldaps, unquote(parts.path.strip("/")))


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """Who logs in: a distinguished name or, with Active Directory, ``user@domain`` or ``DOMAIN\\user``; without a name
    the login is anonymous. It has no ``repr`` that shows the password (S26)."""

    user: str = ""
    password: str = ""


class _VerifiedTls(ldap3.Tls):  # type: ignore[misc]
    """TLS as the standard library verifies it: chain, dates and host name."""

    def __init__(self, ca: Path | None) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        try:
            self.context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise UsageError(
                f"{ca}: expected a file of CA certificates in PEM, found none", hint="Check --directory-ca."
            ) from error

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: ARG002
        connection.socket = self.context.wrap_socket(connection.socket, server_hostname=connection.server.host)


class Client:
    """An open connection; ``connect`` makes it."""

    def __init__(self, place: Place, connection: Any) -> None:
        self.place, self._connection = place, connection
        self.requests = 0
        self.referrals: list[str] = []

    def root(self) -> Entry:
        """The entry that tells what the server holds."""
        attributes = ("defaultNamingContext", "configurationNamingContext", "namingContexts")
        return next(iter(self.search("", "(objectClass=*)", attributes, scope=BASE)), Entry("", {}))

    def search(
        self, base: str, search_filter: str, attributes: Sequence[str], *, scope: str = SUBTREE
    ) -> Iterator[Entry]:
        """The entries below ``base`` (that one alone with ``scope`` BASE) that ``search_filter`` admits, all of them;
        references to other servers go to ``referrals``."""
        paged = None if scope == BASE else PAGE
        cookie: bytes | None = None
        while True:
            with told(self.place.url, base):
                self._connection.search(
                    base,
                    search_filter,
                    search_scope=scope,
                    dereference_aliases=ldap3.DEREF_NEVER,
                    attributes=list(attributes),
                    paged_size=paged,
                    paged_criticality=True,
                    paged_cookie=cookie,
                )
                self.requests += 1
                _demand_whole(self._connection.result)
            for found in self._connection.response:
                if found["type"] == "searchResEntry":
                    raw = {name.lower(): list(values) for name, values in found["raw_attributes"].items()}
                    yield Entry(found["dn"], raw)
                elif found["type"] == "searchResRef":
                    self.referrals += map(str, found["uri"])
            controls = self._connection.result.get("controls", {})
            cookie = controls.get("1.2.840.113556.1.4.319", {}).get("value", {}).get("cookie")
            if not cookie:
                return


def _demand_whole(result: dict[str, Any]) -> None:
    """Raise for each result but success: ldap3 lets pass what a limit of the server cut short, and referrals."""
    if result["result"] != 0:
        raise exceptions.LDAPOperationResult(
            result["result"], result["description"], result["dn"], result["message"], result["type"]
        )


@contextmanager
def connect(place: Place, login: Login, ca: Path | None = None) -> Iterator[Client]:
    """A connection with verified TLS, logged in; ``ca``: a file of the certificates to trust instead of the system's.

    Raises ``SourceUnavailable`` or ``Unauthorised``, each of which says what to do.
    """
    if login.user and not login.password:
        # A name without a password is an anonymous login to LDAP, which looks like a success (RFC 4513, 5.1.2).
        raise UsageError("the password of the directory is empty", hint="Set EXCISE_LDAP_PASSWORD, or use a terminal.")
    connection = _unopened(place, login, _VerifiedTls(ca))
    try:
        with told(place.url, place.base):
            connection.open()
            if not place.ldaps and not connection.start_tls():
                raise SourceUnavailable(f"{place.url}: the server did not start TLS", hint="Use ldaps://.")
            connection.bind()
        yield Client(place, connection)
    finally:
        _close(connection)


def _unopened(place: Place, login: Login, tls: _VerifiedTls) -> Any:
    server = ldap3.Server(
        place.host, place.port, place.ldaps, get_info=ldap3.NONE, tls=tls, connect_timeout=_CONNECT_SECONDS
    )
    return ldap3.Connection(
        server,
        login.user or None,
        login.password or None,
        authentication=ldap3.SIMPLE if login.user else ldap3.ANONYMOUS,
        auto_range=False,
        auto_referrals=False,
        check_names=False,
        raise_exceptions=True,
        receive_timeout=_ANSWER_SECONDS,
        read_only=True,
    )


def _close(connection: Any) -> None:
    # What was read is whole already: a server that is gone cannot spoil it by not taking leave.
    with suppress(exceptions.LDAPException, OSError):
        connection.unbind()
    if connection.socket is not None:
        connection.socket.close()
