"""Who a request comes from: Basic, NTLM, Kerberos (Negotiate) and Bearer over HTTP.

NTLM is a dialogue that belongs to a connection, and so does the login that comes of it. It needs pyspnego, which
exchangelib brings along. Kerberos needs python-gssapi and a keytab (KRB5_KTNAME); a principal's name is the login, and
the channel must be bound where `binding` tells the server's end of it. Tokens are given out by `World.token`, or at the
endpoints /oauth2/token and /TENANT/oauth2/v2.0/token to accounts whose login and password are the client's id and
secret, or whose certificate has signed an assertion.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from .model import User

if TYPE_CHECKING:
    from .world import World

SCHEMES = ("basic", "ntlm", "negotiate", "bearer")
TOKEN_PATHS = ("/oauth2/token", "/oauth2/v2.0/token")
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


def give_token(world: World, data: bytes, url: str) -> tuple[int, bytes]:
    """Answer a request for a token at `url` (client credentials, by secret or by a signed assertion): HTTP status and
    JSON."""
    form = {name: values[0] for name, values in parse_qs(data.decode("ascii", "replace")).items()}
    user = world.users.get(form.get("client_id", "").lower())
    if user is None or form.get("grant_type") != "client_credentials":
        return _no_token("no such client")
    if "client_assertion" in form:
        if form.get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            return _no_token("another type of assertion")
        wrong = _assertion_flaw(form["client_assertion"], user, url)
        if wrong:
            return _no_token(wrong)
    elif not user.password or form.get("client_secret") != user.password:
        return _no_token("the secret is wrong")
    token = world.token(secrets.token_urlsafe(16), user, LIFETIME)
    answer = {"token_type": "Bearer", "expires_in": int(LIFETIME.total_seconds()), "access_token": token}
    return 200, json.dumps(answer).encode()


def _no_token(why: str) -> tuple[int, bytes]:
    return 401, json.dumps({"error": "invalid_client", "error_description": why}).encode()


def _assertion_flaw(text: str, user: User, url: str) -> str:
    """What is wrong with a client's assertion (RFC 7523, as Entra ID checks it); empty where nothing is."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    def raw(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    if not user.certificate:
        return "the client has no certificate"
    certificate = x509.load_pem_x509_certificate(user.certificate.encode())
    public = certificate.public_key()
    signed, _, signature = text.rpartition(".")
    try:
        head, claims = (json.loads(raw(part)) for part in signed.split("."))
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(raw(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return "the assertion's signature does not hold"
    if head.get("alg") != "RS256" or raw(head.get("x5t#S256", "")) != certificate.fingerprint(hashes.SHA256()):
        return "the assertion names another key"
    now = time.time()
    if claims.get("aud") != url or {claims.get("iss"), claims.get("sub")} != {user.login}:
        return "the assertion is for somebody else"
    return "" if claims["nbf"] <= now < claims["exp"] <= now + 3600 else "the assertion has expired"
