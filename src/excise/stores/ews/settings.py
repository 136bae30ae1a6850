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
from excise.core.secrets import is_stored, keyring_service, secret
from excise.stores.ews.place import Access

_PREFIX = "EXCISE_EWS_"
#: Before the settings of the account that removes and puts back, where it is another than the one that finds.
REMOVER = "EXCISE_EWS_REMOVER_"


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


def read_settings(environment: Mapping[str, str] = os.environ, *, writes: bool = False) -> Settings:
    """The settings that the environment gives; a UsageError where one makes no sense. ``writes``: those of the account
    that removes, which may have its own access."""
    given = {name: environment.get(_PREFIX + name.upper(), "") for name in ("access", "connections", "timeout")}
    if writes and has_remover(environment):
        given["access"] = environment.get(REMOVER + "ACCESS", "") or given["access"]
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
def login(host: str, *, writes: bool = False) -> Login:
    """The login for the server ``host``, found once in a process; a UsageError where a part of it is missing.

    ``writes``: the one that removes and puts back, where that is another.
    """
    return read_login(host, os.environ, writes=writes)


def has_remover(environment: Mapping[str, str] = os.environ) -> bool:
    """True where anything of a second account is given: then nothing is ever removed or put back by the first."""
    return any(value for name, value in environment.items() if name.startswith(REMOVER))


def account_name(environment: Mapping[str, str] = os.environ, *, writes: bool = False) -> str:
    """As whom the server is asked, without any secret. A UsageError where a second account is given in part, or is
    the first one again."""
    first = _name_in(environment, "", _auth(environment, ""))
    if not writes or not has_remover(environment):
        return first
    auth = _auth(environment, REMOVER)
    if auth is Auth.KERBEROS:
        raise UsageError(
            "the account that removes cannot log in by Kerberos: this process has one ticket, for both",
            hint=f"Set {REMOVER}AUTH to basic, ntlm or oauth2.",
        )
    second = _name_in(environment, REMOVER, auth)
    if not second:
        name = "CLIENT_ID" if auth is Auth.OAUTH2 else "USER"
        raise UsageError(
            f"something of a second account is given ({REMOVER}…), and not {REMOVER}{name}",
            hint="Name it, or take all of it away. The account that finds does not stand in for it.",
        )
    if second.casefold() == first.casefold():
        raise UsageError(
            f"the account that removes is the account that finds: {second}",
            hint=f"Name another one in {REMOVER}USER ({REMOVER}CLIENT_ID), or take all of {REMOVER}… away.",
        )
    return second


def remover_is_ready(host: str, environment: Mapping[str, str] = os.environ) -> bool:
    """True where the second account can log in without a person being asked."""
    names = ("PASSWORD", "CLIENT_SECRET", "CERTIFICATE")
    user = account_name(environment, writes=True)
    return any(environment.get(REMOVER + name) for name in names) or is_stored(_place(host), user)


def _auth(environment: Mapping[str, str], prefix: str) -> Auth | None:
    """The way to log in; a second account's is that of the first unless it has its own."""
    name = (prefix or _PREFIX) + "AUTH"
    given = environment.get(name, "") or environment.get(_PREFIX + "AUTH", "")
    try:
        return Auth(given) if given else None
    except ValueError as error:
        raise UsageError(f"{name}: {error}", hint=f"Known: {', '.join(Auth)}.") from error


def _name_in(environment: Mapping[str, str], prefix: str, auth: Auth | None) -> str:
    if auth is Auth.KERBEROS:
        return "whoever has the Kerberos ticket"
    return environment.get((prefix or _PREFIX) + ("CLIENT_ID" if auth is Auth.OAUTH2 else "USER"), "")


def read_login(host: str, environment: Mapping[str, str], *, writes: bool = False) -> Login:
    """The login for ``host`` from ``environment``, the keyring, or a person."""
    second = writes and has_remover(environment)
    prefix = REMOVER if second else _PREFIX
    user = account_name(environment, writes=writes)
    auth = _auth(environment, REMOVER if second else "")
    if auth is Auth.KERBEROS:
        return Login(auth=auth)
    if auth is Auth.OAUTH2:
        return _application(host, environment, prefix)
    if not user:
        raise UsageError(
            f"{host}: there is no account to log in with",
            hint=f"Set {prefix}USER, and {prefix}PASSWORD or a password in the keyring "
            f"({keyring_service(_place(host))}).",
        )
    return Login(user, _secret(host, user, environment, prefix + "PASSWORD"), auth)


def _application(host: str, environment: Mapping[str, str], prefix: str) -> Login:
    """An application's login. Where the tokens come from is the same for both accounts, unless it is said apart."""

    def shared(name: str, otherwise: str = "") -> str:
        return environment.get(prefix + name, "") or environment.get(_PREFIX + name, "") or otherwise

    client, certificate = environment.get(prefix + "CLIENT_ID", ""), environment.get(prefix + "CERTIFICATE", "")
    if not (client and shared("TENANT")):
        raise UsageError(f"{host}: OAuth 2.0 needs {prefix}CLIENT_ID and {_PREFIX}TENANT")
    password = "" if certificate else _secret(host, client, environment, prefix + "CLIENT_SECRET")
    plain = Login()
    authority, scope = shared("AUTHORITY", plain.authority).rstrip("/"), shared("SCOPE", plain.scope)
    return Login(client, password, Auth.OAUTH2, shared("TENANT"), certificate, authority, scope)


def _secret(host: str, user: str, environment: Mapping[str, str], name: str) -> str:
    return secret(name, _place(host), user, environment)


def _place(host: str) -> str:
    return f"ews://{host}"
