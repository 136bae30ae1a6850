"""How to log in, and how hard to press: from the environment, the keyring, or a person who is asked (S26).

Secrets live in this process alone; nothing here is written, logged or shown, and ``repr`` leaves them out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from excise.core.errors import UsageError
from excise.core.secrets import keyring_service, secret
from excise.stores.ews.place import Access

_PREFIX = "EXCISE_EWS_"


class Auth(StrEnum):
    """How the server is shown who asks."""

    BASIC = "basic"
    NTLM = "ntlm"
    KERBEROS = "kerberos"
    OAUTH2 = "oauth2"


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks. ``auth`` is None where the server is to say what it takes.

    For OAuth 2.0 ``user`` is the application's id and ``certificate`` the path of a PEM file with key and certificate.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    auth: Auth | None = None
    tenant: str = ""
    certificate: str = ""
    authority: str = "https://login.microsoftonline.com"
    scope: str = "https://outlook.office365.com/.default"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to speak with a server. ``timeout`` in seconds; ``connections`` at once.

    ``trusted``: hosts that Autodiscover may lead to beside those of the address's domain; ``nameserver``: who is asked
    for its SRV record.
    """

    access: Access = Access.IMPERSONATION
    ca_bundle: str = ""
    connections: int = 4
    timeout: float = 120.0
    trusted: frozenset[str] = frozenset()
    nameserver: str = ""


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment gives; a UsageError where one makes no sense."""
    given = {name: environment.get(_PREFIX + name.upper(), "") for name in ("access", "connections", "timeout")}
    try:
        return Settings(
            Access(given["access"] or Access.IMPERSONATION),
            environment.get(_PREFIX + "CA_BUNDLE", ""),
            _positive(int(given["connections"] or 4)),
            _positive(float(given["timeout"] or 120)),
            frozenset(environment.get(_PREFIX + "AUTODISCOVER_HOSTS", "").lower().replace(",", " ").split()),
            environment.get(_PREFIX + "NAMESERVER", ""),
        )
    except ValueError as error:
        raise UsageError(
            f"{_PREFIX}ACCESS, {_PREFIX}CONNECTIONS or {_PREFIX}TIMEOUT: {error}",
            hint=f"Access is {' or '.join(Access)}; the others are numbers above zero.",
        ) from error


def jobs_wanted() -> int:
    """How many mailboxes to work on at once: while one waits for its turn or the disk, another one's request goes."""
    try:
        return 2 * read_settings().connections
    except UsageError:
        return 0  # told when the server is asked for something


def _positive(number: float) -> int:
    if not 0 < number < 100_000:
        raise ValueError(f"{number} is not a number above zero")
    return int(number) or 1


@cache
def login(host: str) -> Login:
    """The login for the server ``host``, found once in a process; a UsageError where a part of it is missing."""
    return read_login(host, os.environ)


def read_login(host: str, environment: Mapping[str, str]) -> Login:
    """The login for ``host`` from ``environment``, the keyring, or a person."""
    given = environment.get(_PREFIX + "AUTH", "")
    try:
        auth = Auth(given) if given else None
    except ValueError as error:
        raise UsageError(f"{_PREFIX}AUTH: {error}", hint=f"Known: {', '.join(Auth)}.") from error
    if auth is Auth.KERBEROS:
        return Login(auth=auth)
    if auth is Auth.OAUTH2:
        return _application(host, environment)
    user = environment.get(_PREFIX + "USER", "")
    if not user:
        raise UsageError(
            f"{host}: there is no account to log in with",
            hint=f"Set {_PREFIX}USER, and {_PREFIX}PASSWORD or a password in the keyring "
            f"({keyring_service(_place(host))}).",
        )
    return Login(user, _secret(host, user, environment, "PASSWORD"), auth)


def _application(host: str, environment: Mapping[str, str]) -> Login:
    values = {name: environment.get(f"{_PREFIX}{name}", "") for name in ("CLIENT_ID", "TENANT", "CERTIFICATE")}
    if not (values["CLIENT_ID"] and values["TENANT"]):
        raise UsageError(f"{host}: OAuth 2.0 needs {_PREFIX}CLIENT_ID and {_PREFIX}TENANT")
    password = "" if values["CERTIFICATE"] else _secret(host, values["CLIENT_ID"], environment, "CLIENT_SECRET")
    plain = Login()
    return Login(
        values["CLIENT_ID"],
        password,
        Auth.OAUTH2,
        values["TENANT"],
        values["CERTIFICATE"],
        environment.get(_PREFIX + "AUTHORITY", plain.authority).rstrip("/"),
        environment.get(_PREFIX + "SCOPE", plain.scope),
    )


def _secret(host: str, user: str, environment: Mapping[str, str], name: str) -> str:
    return secret(_PREFIX + name, _place(host), user, environment)


def _place(host: str) -> str:
    return f"ews://{host}"
