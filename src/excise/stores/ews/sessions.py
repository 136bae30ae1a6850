"""The one place that knows exchangelib: sessions over HTTP that are logged in.

exchangelib makes the logins (Basic, NTLM, Kerberos, OAuth 2.0 with its tokens). What is sent through a session and
how its answer is judged is not left to it: it loses outcomes, accepts cut answers, and repeats what must not be
repeated (docs/adr/0006-ews-service-layer.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import requests
import requests.adapters
from exchangelib import BASIC, NTLM, OAUTH2, Configuration, Credentials, FailFast, OAuth2Credentials
from exchangelib.protocol import BaseProtocol
from requests.hooks import default_hooks

from excise.core.errors import UsageError
from excise.stores.ews import kerberos
from excise.stores.ews.settings import Auth, Login, Settings

#: A session of requests; the library has no types of its own.
Session = Any

_TYPES = {Auth.BASIC: BASIC, Auth.NTLM: NTLM, Auth.OAUTH2: OAUTH2, Auth.KERBEROS: "gssapi"}
_AGENT = "Excise"


class Sessions(BaseProtocol):  # type: ignore[misc]
    """Makes logged-in sessions for one server; they are not pooled here."""

    USERAGENT = _AGENT

    def __init__(self, url: str, login: Login, settings: Settings) -> None:
        """For the service at ``url``; a UsageError where a way to log in is not installed."""
        self._bundle = settings.ca_bundle
        auth = login.auth or _offered(url, settings)
        self._kerberos = auth is Auth.KERBEROS
        if self._kerberos:
            kerberos.login(url)
        super().__init__(
            Configuration(
                service_endpoint=url,
                credentials=_credentials(login, auth),
                auth_type=_TYPES[auth],
                retry_policy=FailFast(),
                max_connections=1,
            )
        )

    def get_auth_type(self) -> str:
        """Never asked: the type is always given."""
        return str(self.config.auth_type)

    def open(self) -> Session:
        """A new session, logged in with its first request (OAuth 2.0: a token is fetched now)."""
        session = self.create_session()
        if self._kerberos:
            session.auth = kerberos.login(str(self.config.service_endpoint))
        session.endpoint = self.service_endpoint
        if not hasattr(session, "token"):
            # Making a request anew takes requests as long as sending it does: what is the same in all is made once.
            plain = requests.Request("POST", session.endpoint, auth=_unsigned)
            session.prepared = session.prepare_request(plain)
            session.prepared._cookies = session.cookies
        return session

    def forget_token(self) -> None:
        """Have the next session fetch a new token (OAuth 2.0)."""
        with self.credentials.lock:
            self.credentials.access_token = None

    def post(self, session: Session, data: bytes | Iterable[bytes], headers: Mapping[str, str], timeout: float) -> Any:
        """Send ``data`` through ``session``: its answer, of which the head was read. No redirection is followed."""
        if hasattr(session, "token"):
            # It puts its token into each request as it is made.
            return session.post(
                session.endpoint, data=data, headers=headers, timeout=timeout, stream=True, allow_redirects=False
            )
        request = session.prepared.copy()
        # A copy shares its hooks, to which a login adds its own each time.
        request.hooks = default_hooks()
        request.headers.update(headers)
        if session.cookies:
            request.prepare_cookies(session.cookies)
        request.prepare_body(data, None)
        request.prepare_auth(session.auth)
        return session.send(request, timeout=timeout, stream=True, allow_redirects=False, proxies=session.proxies)

    def raw_session(self, prefix: str, **more: Any) -> Session:
        """A session that trusts what the settings say, and asks neither .netrc nor the environment."""
        session = super().raw_session(prefix, **more)
        session.verify = self._bundle or True
        session.trust_env = False
        # Nor is a secret sent on to where a token service points.
        session.get_redirect_target = lambda _: None
        return session


def _unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The login is added to each request when it is sent."""
    return request


def bare_session(settings: Settings) -> Session:
    """A session without a login, that trusts what the settings say and asks neither .netrc nor the environment."""
    session = requests.Session()
    session.trust_env = False
    session.verify = settings.ca_bundle or True
    session.headers["User-Agent"] = _AGENT
    return session


def _offered(url: str, settings: Settings) -> Auth:
    """What the server takes, best first: asked without a login, so that none can be refused."""
    with bare_session(settings) as session:
        answer = session.post(
            url,
            data=b"",
            timeout=settings.timeout,
            allow_redirects=False,
            headers={"Content-Type": "text/xml; charset=utf-8"},
        )
    offers = answer.headers.get("WWW-Authenticate", "").lower()
    if "ntlm" in offers:
        return Auth.NTLM
    if "basic" in offers:
        return Auth.BASIC
    raise UsageError(
        f"{url}: expected an offer of NTLM or Basic, found {offers[:80]!r} (HTTP {answer.status_code})",
        hint="Set EXCISE_EWS_AUTH to basic, ntlm, kerberos or oauth2, and check that this is an Exchange server.",
    )


def _credentials(login: Login, auth: Auth) -> Any:
    if auth is Auth.KERBEROS:
        return None
    if auth is Auth.OAUTH2:
        return _Application(login)
    return Credentials(login.user, login.password)


class _Application(OAuth2Credentials):  # type: ignore[misc]
    """An application's own login: by its secret, or by a certificate (a signed assertion)."""

    def __init__(self, login: Login) -> None:
        super().__init__(client_id=login.user, client_secret=login.password or None, tenant_id=login.tenant)
        self.login = login

    @property
    def token_url(self) -> str:
        return f"{self.login.authority}/{self.login.tenant}/oauth2/v2.0/token"

    @property
    def scope(self) -> list[str]:
        return [self.login.scope]

    def token_params(self) -> dict[str, Any]:
        params: dict[str, Any] = dict(super().token_params())
        if self.login.certificate:
            params["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            params["client_assertion"] = assertion(self.login, self.token_url, time.time())
        return params


def assertion(login: Login, audience: str, now: float) -> str:
    """A JWT that proves possession of the key in ``login.certificate`` (RFC 7523), good for ten minutes."""
    import base64
    import json
    import secrets
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    try:
        pem = Path(login.certificate).read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{login.certificate}: expected a PEM file with a key and its certificate: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UsageError(f"{login.certificate}: expected an RSA key")
    thumbprint = encoded(certificate.fingerprint(hashes.SHA256()))
    head = {"alg": "RS256", "typ": "JWT", "x5t#S256": thumbprint}
    claims = {
        "aud": audience,
        "iss": login.user,
        "sub": login.user,
        "jti": secrets.token_hex(16),
        "nbf": int(now) - 60,
        "exp": int(now) + 600,
    }
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    return f"{signed}.{encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
