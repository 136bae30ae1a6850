"""Kerberos: is there a ticket, and one for this server? Asked before a request is sent, so that the reason is known.

What logs in (requests-gssapi) says nothing but "refused" where it could not even ask.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from excise.core.errors import UsageError
from excise.core.text import shown
from excise.store_api.errors import Unauthorised

_SPNEGO = "1.3.6.1.5.5.2"
_GET = "Get one: kinit ACCOUNT@REALM (klist shows what there is; KRB5CCNAME says where it is)."


def login(url: str) -> Any:
    """What logs in at ``url`` by Kerberos, bound to the TLS connection (Extended Protection) where there is one.

    An Unauthorised where there is no ticket for it; a UsageError where the library is not installed.
    """
    try:
        import requests_gssapi
    except (ImportError, OSError) as error:
        raise UsageError(
            "Kerberos needs a library that is not installed", hint="pip install 'excise[kerberos]'"
        ) from error
    # It writes its failures, with all of their stack, to the terminal.
    logging.getLogger("requests_gssapi").propagate = False
    require_ticket(url)
    bound = "tls-server-end-point" if url.startswith("https:") else None
    return requests_gssapi.HTTPSPNEGOAuth(channel_bindings=bound)


def require_ticket(url: str) -> None:
    """An Unauthorised, in plain words, where there is no ticket for the service at ``url``."""
    import gssapi
    from gssapi.raw.exceptions import ExpiredCredentialsError
    from gssapi.raw.misc import GSSError

    host = urlsplit(url).hostname or ""
    try:
        credentials = gssapi.Credentials(usage="initiate")
        left = credentials.lifetime
        who = str(credentials.name)
    except ExpiredCredentialsError as error:
        raise _expired(url) from error
    except GSSError as error:
        raise Unauthorised(f"{url}: there is no Kerberos ticket: {_words(error)}", hint=_GET) from error
    if left is not None and left <= 0:
        raise _expired(url)
    try:
        name = gssapi.Name(f"HTTP@{host}", gssapi.NameType.hostbased_service)
        mechanism = gssapi.OID.from_int_seq(_SPNEGO)
        gssapi.SecurityContext(usage="initiate", name=name, creds=credentials, mech=mechanism).step()
    except ExpiredCredentialsError as error:
        raise _expired(url) from error
    except GSSError as error:
        raise Unauthorised(
            f"{url}: {who} gets no Kerberos ticket for the service HTTP/{host}: {_words(error)}",
            hint="Name the server as its service principal does (on a domain controller: setspn -Q HTTP/HOST), and "
            "check that its realm is reached.",
        ) from error


def _expired(url: str) -> Unauthorised:
    return Unauthorised(f"{url}: the Kerberos ticket has expired", hint=_GET)


def _words(error: Any) -> str:
    return shown(error.gen_message(), 300)
