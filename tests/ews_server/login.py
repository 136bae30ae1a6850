"""Who a request comes from: Basic, NTLM, Kerberos (Negotiate) and Bearer over HTTP.

NTLM is a dialogue that belongs to a connection, and so does the login that comes of it. It needs pyspnego, which
exchangelib brings along. Kerberos needs python-gssapi and a keytab (KRB5_KTNAME); a principal's name is the login, and
the channel must be bound where `binding` tells the server's end of it. Tokens are given out by `World.token`, or at the
endpoint /oauth2/token to accounts whose
login and password are the client's id and secret.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from .model import User

if TYPE_CHECKING:
    from .world import World

SCHEMES = ("basic", "ntlm", "negotiate", "bearer")
TOKEN_PATH = "/oauth2/token"
LIFETIME = timedelta(hours=1)
_NTLM_LOCK = threading.Lock()


class Login:
    """The logins of one connection. `challenge` is what a 401 must say to go on."""

    def __init__(self, world: World, schemes: tuple[str, ...], binding: bytes = b"") -> None:
        self._world = world
        self._schemes = schemes
        self._dialogue: Any = None
        self._known: User | None = None
        self.challenge = ""
        self._binding = binding

    def user(self, header: str) -> User | None:
        """The account that a request's Authorization header proves, or that the connection is known to be."""
        scheme, _, rest = header.partition(" ")
        scheme = scheme.lower()
        self.challenge = ""
        if not header:
            return self._known
        if scheme not in self._schemes:
            return None
        if scheme == "basic":
            return self._basic(rest)
        if scheme == "negotiate":
            return self._negotiate(rest)
        return self._bearer(rest) if scheme == "bearer" else self._ntlm(rest)

    def offers(self) -> list[str]:
        """The WWW-Authenticate headers of a 401."""
        if self.challenge:
            return [self.challenge]
        texts = {
            "basic": 'Basic realm="127.0.0.1"',
            "ntlm": "NTLM",
            "negotiate": "Negotiate",
            "bearer": 'Bearer error="invalid_token"',
        }
        return [texts[scheme] for scheme in self._schemes]

    def _basic(self, rest: str) -> User | None:
        try:
            login, _, password = base64.b64decode(rest).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        user = self._world.users.get(login.lower())
        return user if user and user.password == password else None

    def _bearer(self, rest: str) -> User | None:
        login, expires = self._world.tokens.get(rest.strip(), ("", ""))
        if not login or datetime.fromisoformat(expires) <= self._world.clock():
            return None
        return self._world.users.get(login)

    def _negotiate(self, rest: str) -> User | None:
        import gssapi

        binding = gssapi.raw.ChannelBindings(application_data=self._binding) if self._binding else None
        try:
            context = gssapi.SecurityContext(
                creds=gssapi.Credentials(usage="accept"), usage="accept", channel_bindings=binding
            )
            context.step(base64.b64decode(rest))
            name = str(context.initiator_name) if context.complete else ""
        except gssapi.exceptions.GSSError:
            return None
        self._known = self._world.users.get(name.lower())
        return self._known

    def _ntlm(self, rest: str) -> User | None:
        import spnego
        from spnego.exceptions import SpnegoError

        token = base64.b64decode(rest)
        try:
            with _NTLM_LOCK, _password_file(self._world):
                if self._dialogue is None or token[8:9] == b"\x01":
                    self._dialogue = spnego.server(hostname="127.0.0.1", service="http", protocol="ntlm")
                answer = self._dialogue.step(token)
        except SpnegoError:
            self._dialogue = None
            return None
        if not self._dialogue.complete:
            self.challenge = "NTLM " + base64.b64encode(answer).decode("ascii")
            return None
        login = self._dialogue.client_principal.lower().removeprefix("\\")
        self._known = self._world.users.get(login)
        return self._known


class _password_file:  # noqa: N801 (a context manager)
    """The passwords as pyspnego reads them: from a file that an environment variable names."""

    def __init__(self, world: World) -> None:
        self._lines = []
        for user in world.users.values():
            domain, _, name = user.login.rpartition("\\")
            self._lines.append(f"{domain}:{name}:{user.password}\n")

    def __enter__(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix="ntlm-")
        with os.fdopen(handle, "w") as file:
            file.writelines(self._lines)
        os.environ["NTLM_USER_FILE"] = self._path

    def __exit__(self, *_: object) -> None:
        del os.environ["NTLM_USER_FILE"]
        Path(self._path).unlink()


def give_token(world: World, data: bytes) -> tuple[int, bytes]:
    """Answer a request for a token (client credentials, by secret or by a signed assertion): HTTP status and JSON."""
    form = {name: values[0] for name, values in parse_qs(data.decode("ascii", "replace")).items()}
    user = world.users.get(form.get("client_id", "").lower())
    secret = form.get("client_secret")
    if user is None or form.get("grant_type") != "client_credentials":
        return 401, json.dumps({"error": "invalid_client", "error_description": "no such client"}).encode()
    if secret != user.password and not form.get("client_assertion"):
        return 401, json.dumps({"error": "invalid_client", "error_description": "the secret is wrong"}).encode()
    token = world.token(secrets.token_urlsafe(16), user, LIFETIME)
    answer = {"token_type": "Bearer", "expires_in": int(LIFETIME.total_seconds()), "access_token": token}
    return 200, json.dumps(answer).encode()
