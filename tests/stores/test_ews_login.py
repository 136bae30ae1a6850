"""Logins: where they come from, and how an application proves itself (S26)."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import keyring
import keyring.backend
import keyring.errors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ews.worlds import PASSWORD, mail, small_world
from ews_server import Server as EwsTestServer
from excise.core.errors import UsageError
from excise.core.secrets import ask_with
from excise.store_api.errors import Unauthorised
from excise.stores.ews.bodies import FolderRef, create_item, get_folder, new_item
from excise.stores.ews.server import Server
from excise.stores.ews.settings import Auth, Login, Settings, read_login
from excise.stores.ews.soap import MESSAGES, SOAP, find
from stores.ews_place import ANNA
from stores.test_ews_mistakes import certificate

_ANSWER = (
    f'<s:Envelope xmlns:s="{SOAP}" xmlns:m="{MESSAGES}"><s:Body><m:GetFolderResponse><m:ResponseMessages>'
    '<m:GetFolderResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
    "</m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse></s:Body></s:Envelope>"
)


class _Cloud:
    """A token service and an EWS that takes its tokens, the newest of them."""

    def __init__(self, moved: str = "") -> None:
        self.moved = moved
        self.tokens: list[dict[str, list[str]]] = []
        self.shown: list[str] = []
        self.expired = False
        self.lasts = 3599


@contextmanager
def serving(cloud: _Cloud, pem: Path, key: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_POST(self) -> None:
            given = self.rfile.read(int(self.headers["Content-Length"]))
            if cloud.moved:
                self.send_response(307)
                self.send_header("Location", cloud.moved)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path == "/tenant-1/oauth2/v2.0/token":
                cloud.tokens.append(parse_qs(given.decode()))
                made = {"access_token": f"token-{len(cloud.tokens)}", "token_type": "Bearer", "expires_in": cloud.lasts}
                self._answer(200, json.dumps(made).encode(), "application/json")
                return
            cloud.shown.append(self.headers.get("Authorization", ""))
            if cloud.expired and cloud.shown[-1] == "Bearer token-1":
                self._answer(401, b"", "text/plain")
            else:
                self._answer(200, _ANSWER.encode(), "text/xml; charset=utf-8")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"https://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


def _ask(server: Server) -> bool:
    body = get_folder([FolderRef(distinguished="inbox")], ())
    return server.call("GetFolder", body, expected=1).answers[0].ok


def test_an_application_logs_in_by_its_certificate_and_renews_its_token(tmp_path: Path) -> None:
    """The assertion is signed with the key; a token that has expired is replaced once, without an error."""
    pem, key = certificate(tmp_path, kind=rsa)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    cloud = _Cloud()
    with serving(cloud, pem, key) as url:
        login = Login("app-1", auth=Auth.OAUTH2, tenant="tenant-1", certificate=str(both), authority=url)
        server = Server(f"{url}/EWS/Exchange.asmx", login, Settings(ca_bundle=str(pem)))
        assert _ask(server)
        cloud.expired = True
        assert _ask(server)
        server.close()
    assert cloud.shown == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    [asked, _] = cloud.tokens
    assert asked["grant_type"] == ["client_credentials"]
    assert asked["scope"] == ["https://outlook.office365.com/.default"]
    assert "client_secret" not in asked
    signed, _, signature = asked["client_assertion"][0].rpartition(".")
    public = x509.load_pem_x509_certificate(pem.read_bytes()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(_bytes(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    claims = json.loads(_bytes(signed.partition(".")[2]))
    assert claims["iss"] == claims["sub"] == "app-1"
    assert claims["aud"] == f"{url}/tenant-1/oauth2/v2.0/token"


def test_an_application_logs_in_by_its_secret(tmp_path: Path) -> None:
    """The secret goes to the token service, and only there."""
    pem, key = certificate(tmp_path)
    cloud = _Cloud()
    with serving(cloud, pem, key) as url:
        login = Login("app-1", "hush", Auth.OAUTH2, "tenant-1", authority=url)
        server = Server(f"{url}/EWS/Exchange.asmx", login, Settings(ca_bundle=str(pem)))
        assert _ask(server)
        server.close()
    assert len(cloud.tokens) == 1
    assert "hush" not in repr(login)


def test_a_token_that_has_run_out_by_the_clock_is_renewed(tmp_path: Path) -> None:
    """Before a request is sent with it."""
    pem, key = certificate(tmp_path)
    cloud = _Cloud()
    cloud.lasts = 1
    with serving(cloud, pem, key) as url:
        login = Login("app-1", "hush", Auth.OAUTH2, "tenant-1", authority=url)
        server = Server(f"{url}/EWS/Exchange.asmx", login, Settings(ca_bundle=str(pem)))
        assert _ask(server)
        cloud.lasts = 3599
        time.sleep(2.2)
        assert _ask(server)
        server.close()
    assert cloud.shown == ["Bearer token-1", "Bearer token-2"]


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_token_service_that_refuses_is_asked_once(tmp_path: Path) -> None:
    """Whoever asks after that hears of it without a request."""
    pem, key = certificate(tmp_path)
    cloud = _Cloud()
    with serving(cloud, pem, key) as url:
        login = Login("app-1", "hush", Auth.OAUTH2, "another-tenant", authority=url)
        server = Server(f"{url}/EWS/Exchange.asmx", login, Settings(ca_bundle=str(pem)))
        for _ in range(2):
            with pytest.raises(Unauthorised, match="no token"):
                _ask(server)
    assert len(cloud.shown) == 1


def test_s26_a_secret_is_not_sent_on(tmp_path: Path) -> None:
    """A token service that points elsewhere gets nobody's secret sent there."""
    pem, key = certificate(tmp_path)
    cloud = _Cloud()
    with (
        serving(cloud, pem, key) as other,
        serving(_Cloud(moved=f"{other}/tenant-1/oauth2/v2.0/token"), pem, key) as url,
    ):
        login = Login("app-1", "hush", Auth.OAUTH2, "tenant-1", authority=url)
        server = Server(f"{url}/EWS/Exchange.asmx", login, Settings(ca_bundle=str(pem)))
        with pytest.raises(Unauthorised, match="no token"):
            _ask(server)
    assert not cloud.tokens
    assert not cloud.shown


def test_where_a_password_comes_from() -> None:
    """The environment first, then a person; where nobody can be asked, the message says what to set."""
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "typed"

    with pytest.raises(UsageError, match="no password for anna"):
        read_login("mail.example.test", {"EXCISE_EWS_USER": "anna"})
    ask_with(answer)
    try:
        assert read_login("mail.example.test", {"EXCISE_EWS_USER": "anna"}).password == "typed"
        given = {"EXCISE_EWS_USER": "anna", "EXCISE_EWS_PASSWORD": "set"}
        assert read_login("mail.example.test", given).password == "set"
    finally:
        ask_with(None)
    assert asked == ["Password of anna at ews://mail.example.test"]


class _Keyring(keyring.backend.KeyringBackend):
    """A keyring in memory, or a locked one."""

    priority = 1

    def __init__(self, *, locked: bool = False) -> None:
        super().__init__()
        self._locked, self._kept = locked, {("excise:ews://mail.example.test", "EXAMPLE\\anna"): "kept"}

    def get_password(self, service: str, username: str) -> str | None:
        if self._locked:
            raise keyring.errors.KeyringLocked("it is locked")
        return self._kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._kept[service, username] = password


@pytest.fixture
def with_keyring() -> Iterator[Callable[[_Keyring], None]]:
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def test_s26_a_password_comes_from_the_keyring(with_keyring: Callable[[_Keyring], None]) -> None:
    """By host and account, before anybody is asked; the environment goes first; ``repr`` does not show it."""
    with_keyring(_Keyring())
    found = read_login("mail.example.test", {"EXCISE_EWS_USER": "EXAMPLE\\anna"})
    assert found.password == "kept"
    assert "kept" not in repr(found)
    given = {"EXCISE_EWS_USER": "EXAMPLE\\anna", "EXCISE_EWS_PASSWORD": "set"}
    assert read_login("mail.example.test", given).password == "set"
    with pytest.raises(UsageError, match="no password"):
        read_login("other.example.test", {"EXCISE_EWS_USER": "EXAMPLE\\anna"})


def test_s26_a_locked_keyring_is_as_none(with_keyring: Callable[[_Keyring], None]) -> None:
    """The message says what to set."""
    with_keyring(_Keyring(locked=True))
    with pytest.raises(UsageError, match="no password") as caught:
        read_login("mail.example.test", {"EXCISE_EWS_USER": "EXAMPLE\\anna"})
    assert "keyring set excise:ews://mail.example.test" in (caught.value.hint or "")


@pytest.mark.parametrize("auth", [Auth.NTLM, None], ids=["given", "offered"])
def test_ntlm(auth: Auth | None) -> None:
    """A domain's account logs in, whether NTLM was asked for or offered."""
    pytest.importorskip("spnego", reason="pyspnego is not installed")
    world, _ = small_world()
    world.user("ops@example.test", PASSWORD, login="EXAMPLE\\ops", impersonates=["*"])
    with EwsTestServer(world, authentication=("ntlm",)) as http:
        server = Server(http.url, Login("EXAMPLE\\ops", PASSWORD, auth), Settings())
        assert _ask_for(server, ANNA)
        assert _ask_for(server, ANNA)
        server.close()
        assert {request.user for request in http.log.requests} == {"EXAMPLE\\ops"}


def test_s26_a_wrong_password_is_shown_once_by_ntlm() -> None:
    """Workers that wait hear of it without another try: one failed login counts, and no account is locked."""
    pytest.importorskip("spnego", reason="pyspnego is not installed")
    world, _ = small_world()
    world.user("ops@example.test", PASSWORD, login="EXAMPLE\\ops", impersonates=["*"])
    with EwsTestServer(world, authentication=("ntlm",)) as http, ThreadPoolExecutor(8) as pool:
        server = Server(http.url, Login("EXAMPLE\\ops", "not-this-one", Auth.NTLM), Settings())
        errors = list(pool.map(lambda _: _refused(server), range(8)))
        assert all("HTTP 401" in error and "not-this-one" not in error for error in errors)
        assert server.requests.total() == 1
        # The dialogue's own first 401s are no failed logins: no header, the challenge, and the refusal.
        assert http.log.refused <= 3


def _ask_for(server: Server, owner: str) -> bool:
    body = get_folder([FolderRef(distinguished="inbox")], ())
    return server.call("GetFolder", body, owner=owner, expected=1).answers[0].ok


def _refused(server: Server) -> str:
    with pytest.raises(Unauthorised) as caught:
        _ask_for(server, ANNA)
    return str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)


def test_a_large_request_goes_through_the_dialogue_of_ntlm() -> None:
    """Which sends it three times: whole each time, though it is made anew."""
    pytest.importorskip("spnego", reason="pyspnego is not installed")
    world, anna = small_world(0)
    world.user("ops@example.test", PASSWORD, login="EXAMPLE\\ops", impersonates=["*"])
    content = mail(1, "Large") + b"x" * 76 + b"\r\n" * 3_000_000
    with EwsTestServer(world, authentication=("ntlm",)) as http:
        server = Server(http.url, Login("EXAMPLE\\ops", PASSWORD, Auth.NTLM), Settings())
        body = get_folder([FolderRef(distinguished="inbox")], ())
        reply = server.call("GetFolder", body, owner=ANNA, expected=1)
        found = find(reply.answers[0].element, "m:Folders/Folder/FolderId")
        server.close()
        assert found is not None
        made = create_item(found.get("Id"), new_item("Message", "", content, (), ()))
        assert server.call("CreateItem", made, owner=ANNA, expected=1, acts=True).answers[0].ok
        server.close()
    [item] = world.items_in(anna, "inbox")
    assert item.mime == content
