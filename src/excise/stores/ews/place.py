"""Where a mailbox is: ``ews://HOST[:PORT]/ADDRESS?access=…&part=…``.

Nothing secret is part of it (S26). A place without an address is the server. ``ews://ADDRESS[:PORT]`` is a server that
is yet to be found, the one that has the mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from excise.core.errors import UsageError
from excise.core.text import shown

KIND = "ews"
ENDPOINT = "/EWS/Exchange.asmx"
_FORM = "Name it as in: ews://mail.example.com --mailbox ann@example.com"


class Part(StrEnum):
    """What a mailbox is searched in: each part is opened, searched and reported by itself."""

    PRIMARY = "primary"
    ARCHIVE = "archive"
    RECOVERABLE = "recoverable"
    PUBLIC = "public"


class Access(StrEnum):
    """How somebody else's mailbox is opened: in its owner's name, or as a delegate with rights on it."""

    IMPERSONATION = "impersonation"
    DELEGATE = "delegate"


@dataclass(frozen=True, slots=True)
class Place:
    """One part of one mailbox on one server; ``address`` is empty for the server, and for public folders.

    ``host`` is empty where the server is yet to be found; then ``port`` is where to look for it (``:8443``).
    """

    host: str
    address: str = ""
    part: Part = Part.PRIMARY
    access: Access | None = None
    endpoint: str = ENDPOINT
    plain: bool = False
    port: str = ""

    @classmethod
    def parse(cls, locator: str) -> Place:
        """The place that ``locator`` names; a UsageError where it names none."""
        split = urlsplit(locator)
        options = dict(parse_qsl(split.query, keep_blank_values=True))
        unknown = sorted(options.keys() - {"access", "part", "endpoint", "plain"})
        found = split.username is not None
        secret = split.password is not None or (found and bool(split.path.strip("/")))
        if split.scheme != KIND or not split.hostname or secret or split.fragment or unknown:
            # A password that stands there all the same is not said again (S26).
            told = f"{KIND}://…@{split.netloc.rpartition('@')[2]}" if split.password is not None else locator
            raise UsageError(f"{shown(told, 200)}: this is no address of an Exchange server", hint=_FORM)
        address = unquote(f"{split.username}@{split.hostname}" if found else split.path.strip("/"))
        if address and not is_address(address):
            raise UsageError(f"{shown(address, 200)}: expected the address of a mailbox", hint=_FORM)
        try:
            part = Part(options.get("part", Part.PRIMARY))
            access = Access(options["access"]) if "access" in options else None
        except ValueError as error:
            raise UsageError(f"{shown(locator, 200)}: {error}", hint=_CHOICES) from error
        plain = options.get("plain") == "1"
        if plain and (found or not _is_loopback(split.hostname)):
            raise UsageError(f"{split.hostname}: mail and passwords go without TLS to this machine alone")
        host, port = split.netloc.lower(), ""
        if found:
            host, port = "", host.rpartition("@")[2].removeprefix(split.hostname)
        return cls(host, address.lower(), part, access, options.get("endpoint", ENDPOINT), plain, port)

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"{'http' if self.plain else 'https'}://{self.host}/{self.endpoint.lstrip('/')}"

    @property
    def locator(self) -> str:
        """The place as ``parse`` reads it."""
        options = {
            "part": "" if self.part is Part.PRIMARY else self.part,
            "access": self.access or "",
            "endpoint": "" if self.endpoint == ENDPOINT else self.endpoint,
            "plain": "1" if self.plain else "",
        }
        query = urlencode({name: value for name, value in options.items() if value})
        if not self.host:
            return f"{KIND}://{quote(self.address, safe='@')}{self.port}" + (f"?{query}" if query else "")
        return f"{KIND}://{self.host}/{quote(self.address, safe='@')}" + (f"?{query}" if query else "")

    @property
    def name(self) -> str:
        """What people are shown."""
        if self.part is Part.PUBLIC:
            return f"public folders of {self.host}"
        return self.address if self.part is Part.PRIMARY else f"{self.address} ({self.part})"

    def on(self, url: str) -> Place:
        """The same on the server whose service is at ``url``, which was found."""
        split = urlsplit(url)
        endpoint = ENDPOINT if split.path.lower() == ENDPOINT.lower() else split.path
        return replace(self, host=split.netloc.lower(), endpoint=endpoint, port="")

    def of(self, address: str, part: Part) -> Place:
        """A part of the mailbox ``address`` on the same server."""
        return replace(self, address="" if part is Part.PUBLIC else address.lower(), part=part)


_CHOICES = f"part is one of {', '.join(Part)}; access is one of {', '.join(Access)}."


def is_address(text: str) -> bool:
    """True for what may be the SMTP address of a mailbox."""
    local, at, domain = text.rpartition("@")
    return bool(local and at and domain) and text.isprintable() and not set(text) & set(' <>"/\\?#')


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
