"""Kerberos with a realm of its own: a ticket opens a mailbox, and where there is none it is said what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert

import pytest

from ews.worlds import small_world
from ews_server import Server
from excise.store_api.errors import Unauthorised
from excise.stores.ews.bodies import FolderRef, get_folder
from excise.stores.ews.server import Server as Client
from excise.stores.ews.settings import Auth, Settings
from excise.stores.ews.settings import Login as Credentials
from programs import needs_program
from stores.ews_place import ANNA
from stores.kerberos_realm import ACCOUNT, PROGRAMS, REALM, Realm, realm
from stores.test_ews_mistakes import certificate, excise

pytest.importorskip("gssapi", reason="gssapi is not installed (pip install 'excise[kerberos]')")
pytestmark = needs_program(*PROGRAMS)


@pytest.fixture(scope="module")
def kingdom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with realm(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture
def server(kingdom: Realm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("KRB5_CONFIG", kingdom.environment["KRB5_CONFIG"])
    monkeypatch.setenv("KRB5_KTNAME", f"FILE:{kingdom.keytab}")
    world, _ = small_world()
    world.user("ops@example.test", "", login=f"{ACCOUNT}@{REALM}".lower(), impersonates=["*"])
    with Server(world, authentication=("negotiate",)) as server:
        yield server


def _mailboxes(path: Path, kingdom: Realm, source: str, **more: str) -> tuple[int, str]:
    nobody = {"EXCISE_EWS_USER": "", "EXCISE_EWS_PASSWORD": "", "EXCISE_EWS_AUTH": "kerberos"}
    done = excise(path, source, "--mailbox", ANNA, **nobody, **kingdom.environment, **more)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_ticket_opens_a_mailbox(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """Without a password."""
    kingdom.kinit()
    status, said = _mailboxes(tmp_path, kingdom, f"ews://localhost:{server.port}/?plain=1")
    assert status == 0, said
    assert ANNA in said
    assert {request.user for request in server.log.requests} == {f"{ACCOUNT}@{REALM}".lower()}


def test_a_ticket_is_bound_to_the_tls_connection(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """As Extended Protection wants it: a server whose certificate is another one than the client saw refuses."""
    kingdom.kinit()
    pem, key = certificate(tmp_path, names=("localhost",))
    digest = sha256(PEM_cert_to_DER_cert(pem.read_text())).digest()
    for binding, status in ((digest, 0), (bytes(32), 6)):
        with Server(server.world, authentication=("negotiate",), certificate=pem, key=key) as secured:
            secured.binding = b"tls-server-end-point:" + binding
            source = f"ews://localhost:{secured.port}/"
            found, said = _mailboxes(tmp_path, kingdom, source, EXCISE_EWS_CA_BUNDLE=str(pem))
        assert found == status, said


def test_no_ticket(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """What to do is said; nothing is sent."""
    elsewhere = kingdom.environment | {"KRB5CCNAME": f"FILE:{tmp_path / 'none'}"}
    nobody = {"EXCISE_EWS_USER": "", "EXCISE_EWS_PASSWORD": "", "EXCISE_EWS_AUTH": "kerberos"}
    source = f"ews://localhost:{server.port}/?plain=1"
    done = excise(tmp_path, source, "--mailbox", ANNA, **nobody, **elsewhere)
    assert done.returncode == 6
    assert "there is no Kerberos ticket" in done.stderr
    assert "kinit ACCOUNT@REALM" in done.stderr
    assert not server.log.count
    assert not server.log.refused


def test_an_expired_ticket(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """It is told from none."""
    kingdom.kinit(1)
    time.sleep(2.5)
    status, said = _mailboxes(tmp_path, kingdom, f"ews://localhost:{server.port}/?plain=1")
    assert status == 6
    assert "the Kerberos ticket has expired" in said
    assert "kinit ACCOUNT@REALM" in said


def test_a_server_that_the_realm_does_not_know(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """A wrong name: the service is named, and where to look it up."""
    kingdom.kinit()
    status, said = _mailboxes(tmp_path, kingdom, f"ews://127.0.0.1:{server.port}/?plain=1")
    assert status == 6
    assert "gets no Kerberos ticket for the service HTTP/127.0.0.1" in said
    assert "setspn -Q" in said


def test_a_ticket_of_nobody_that_the_server_knows(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """Refused once, as a wrong password is."""
    kingdom.kinit()
    server.world.users.pop(f"{ACCOUNT}@{REALM}".lower())
    status, said = _mailboxes(tmp_path, kingdom, f"ews://localhost:{server.port}/?plain=1")
    assert status == 6
    assert "refused (HTTP 401)" in said


def test_the_library_is_not_installed(tmp_path: Path, kingdom: Realm, server: Server) -> None:
    """The extra is named."""
    (tmp_path / "requests_gssapi.py").write_text("raise ModuleNotFoundError('requests_gssapi')\n")
    status, said = _mailboxes(tmp_path, kingdom, f"ews://localhost:{server.port}/?plain=1")
    assert status == 2
    assert "pip install 'excise[kerberos]'" in said
    assert not server.log.count


def test_a_ticket_that_expires_in_a_run(kingdom: Realm, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next connection says so; with a new ticket the same run goes on."""
    monkeypatch.setenv("KRB5CCNAME", kingdom.environment["KRB5CCNAME"])
    url = server.url.replace("127.0.0.1", "localhost")
    client = Client(url, Credentials(auth=Auth.KERBEROS), Settings())
    body = get_folder([FolderRef(distinguished="inbox")], ())
    kingdom.kinit(8)
    assert client.call("GetFolder", body, owner=ANNA, expected=1).answers[0].ok
    client.close()
    time.sleep(9)
    with pytest.raises(Unauthorised, match="the Kerberos ticket has expired"):
        client.call("GetFolder", body, owner=ANNA, expected=1)
    kingdom.kinit()
    assert client.call("GetFolder", body, owner=ANNA, expected=1).answers[0].ok
    client.close()
