"""What people are told where a server cannot be reached, or is none of Exchange's."""

from __future__ import annotations

from excise.core.errors import ExciseError, SourceUnavailable
from excise.store_api.errors import Unauthorised


def untrusted(url: str, error: Exception) -> ExciseError:
    """The error for a certificate that does not hold."""
    return SourceUnavailable(
        f"{url}: the server's certificate cannot be trusted: {reason_of(error)}",
        hint="Have it renewed, name the server as the certificate does, or set EXCISE_EWS_CA_BUNDLE to a PEM file "
        "with the certificates of your own authority.",
    )


def unreachable(url: str, error: Exception) -> ExciseError:
    """The error for a server that does not answer."""
    return SourceUnavailable(
        f"{url}: no answer: {reason_of(error)}", hint="Check the name of the server, and that it is up."
    )


def reason_of(error: Exception) -> str:
    """What the library says of ``error``, without its wrapping."""
    words = str(error)
    return words.rpartition("Caused by ")[2].strip("()") if "Caused by " in words else words[:300]


def http_error(url: str, status: int, head: dict[str, str]) -> ExciseError:
    """The error for an HTTP status."""
    if status == 403:
        return Unauthorised(
            f"{url}: Exchange Web Services are closed to this account or application (HTTP 403)",
            hint="In Exchange Online, EWS must be allowed for the tenant and the application (until 2027-04-01); on a "
            "server, look at EwsEnabled and EwsApplicationAccessPolicy (docs/guide/exchange.md).",
        )
    if 300 <= status < 400:
        return SourceUnavailable(
            f"{url}: the server sends us on to {head.get('location', 'another place')!r}",
            hint="Passwords are not sent after it. Name that server if it is the right one.",
        )
    if status in (404, 405):
        return SourceUnavailable(
            f"{url}: there are no Exchange Web Services (HTTP {status})",
            hint="Check the host, or name the path: ews://HOST/?endpoint=/EWS/Exchange.asmx",
        )
    return SourceUnavailable(f"{url}: the server answers HTTP {status}")
