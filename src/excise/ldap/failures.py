"""What goes wrong with a directory, in words that say what to do; ldap3's exceptions end here."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from excise.core.errors import ExciseError, SourceUnavailable, UsageError
from excise.core.text import shown
from excise.ldap.imported import exceptions
from excise.store_api.errors import Unauthorised

#: What follows ``data`` in Active Directory's refusal of a login.
_LOGIN = {
    "525": "there is no such user",
    "52e": "the name or the password is wrong",
    "530": "the account may not log in at this time",
    "531": "the account may not log in from this computer",
    "532": "the password has expired",
    "533": "the account is disabled",
    "701": "the account has expired",
    "773": "the password has to be changed first",
    "775": "the account is locked",
}
_CA = "Name the file of your CA's certificate with --directory-ca, or add it to the system's."
#: Words of a TLS failure -> what they mean, what to do.
_TLS = (
    ("certificate has expired", "its certificate has expired", "Ask whoever runs the server to renew it."),
    ("certificate is not yet valid", "its certificate is not valid yet", "Check the clocks of both machines."),
    (
        "not valid for",
        "its certificate is for another name",
        "Use the name that the certificate is made for, as the server's administrators know it.",
    ),
    ("self-signed certificate", "its certificate is from a CA that is not trusted here", _CA),
    ("unable to get local issuer", "its certificate is from a CA that is not trusted here", _CA),
    ("certificate verify failed", "its certificate does not verify", _CA),
    ("EOF occurred", "it does not speak TLS on this port", "Use ldap:// (StartTLS), or the port of LDAPS."),
    ("wrong version number", "it does not speak TLS on this port", "Use ldap:// (StartTLS), or the port of LDAPS."),
)
_NETWORK = (
    ("refused", "nothing listens on this port", "Check host and port (LDAPS 636, LDAP 389)."),
    ("timed out", "it does not answer", "Check the host, and the firewall between."),
    ("unreachable", "there is no way to it", "Check the host, and the network."),
    ("not known", "there is no host of this name", "Check the name."),
    ("invalid server address", "there is no host of this name", "Check the name."),
    ("name resolution", "the name cannot be looked up", "Check the name, and the name server."),
)


class NoSuchEntry(UsageError):
    """The server has no entry of that distinguished name, or does not show it."""


@contextmanager
def told(url: str, base: str) -> Iterator[None]:
    """Turn what ldap3 raises inside the block into an ``ExciseError`` about the directory ``url``."""
    try:
        yield
    except (exceptions.LDAPException, ssl.SSLError, OSError) as error:
        raise _error(error, url, base) from error


def _error(error: Exception, url: str, base: str) -> ExciseError:
    if isinstance(error, exceptions.LDAPOperationResult):
        return _result(error, url, base)
    if isinstance(error, exceptions.LDAPInvalidFilterError):
        return UsageError(
            f"the directory's filter is not one: {shown(str(error), 200)}",
            hint="As in: (department=Sales), (&(c=DE)(title=*manager*)).",
        )
    if isinstance(error, exceptions.LDAPInvalidDnError):
        return _bad_base(url, base)
    if isinstance(error, exceptions.LDAPResponseTimeoutError):
        return SourceUnavailable(f"{url}: the server did not answer in time", hint="Run the command again.")
    text = f"{error} {error.args!r}"
    for word, meaning, hint in (*_TLS, *_NETWORK):
        if word in text:
            return SourceUnavailable(f"{url}: cannot connect: {meaning}", hint=hint)
    return SourceUnavailable(
        f"{url}: the connection failed: {shown(str(error), 300)}", hint="Run the command again; nothing was changed."
    )


def _result(error: exceptions.LDAPOperationResult, url: str, base: str) -> ExciseError:
    message = shown(str(error.message or ""), 200)
    found = next((made for made in (_login(error, url, message), _search(error, url, base)) if made is not None), None)
    if found is not None:
        return found
    said = f"{error.description}: {message}" if message else str(error.description)
    return SourceUnavailable(f"{url}: the server refused: {said}", hint="Ask whoever runs the directory.")


def _login(error: exceptions.LDAPOperationResult, url: str, message: str) -> ExciseError | None:
    if isinstance(error, exceptions.LDAPInvalidCredentialsResult):
        code = re.search(r"data ([0-9a-f]{3})\b", message)
        meaning = _LOGIN.get(code[1], f"code {code[1]}") if code else _LOGIN["52e"]
        return Unauthorised(
            f"{url}: the login was refused: {meaning}",
            hint="It was tried once. Check --directory-user (a distinguished name, user@domain or DOMAIN\\user) and "
            "the password in EXCISE_LDAP_PASSWORD or the keyring.",
        )
    needs_login = (
        exceptions.LDAPInsufficientAccessRightsResult,
        exceptions.LDAPInappropriateAuthenticationResult,
        exceptions.LDAPStrongerAuthRequiredResult,
        exceptions.LDAPAuthMethodNotSupportedResult,
    )
    if isinstance(error, needs_login) or "bind must be completed" in message:
        return Unauthorised(
            f"{url}: not allowed to read this without another login ({error.description})",
            hint="Log in with --directory-user, as a user who may read the directory.",
        )
    return None


def _search(error: exceptions.LDAPOperationResult, url: str, base: str) -> ExciseError | None:
    elsewhere = (exceptions.LDAPNoSuchObjectResult, exceptions.LDAPInvalidDNSyntaxResult, exceptions.LDAPReferralResult)
    if isinstance(error, elsewhere):
        return _bad_base(url, base)
    limits = (
        exceptions.LDAPSizeLimitExceededResult,
        exceptions.LDAPTimeLimitExceededResult,
        exceptions.LDAPAdminLimitExceededResult,
    )
    if isinstance(error, limits):
        return SourceUnavailable(
            f"{url}: the server stopped at its own limit ({error.description}); a part of the answer is no answer",
            hint="Ask for less at once (--directory-base, --directory-filter), or have the limit raised.",
        )
    if isinstance(error, exceptions.LDAPUnavailableCriticalExtensionResult):
        return SourceUnavailable(
            f"{url}: the server does not give answers in pages (RFC 2696)", hint="Use a domain controller."
        )
    if isinstance(error, exceptions.LDAPBusyResult | exceptions.LDAPUnavailableResult):
        return SourceUnavailable(f"{url}: the server is busy", hint="Run the command again later.")
    return None


def _bad_base(url: str, base: str) -> ExciseError:
    return NoSuchEntry(
        f"{url}: there is no entry {shown(base)!r} to search below",
        hint="Check --directory-base, as in OU=Sales,DC=example,DC=com (without it the server's own is taken), and "
        "that the login may see it (--directory-user).",
    )
