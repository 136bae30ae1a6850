"""Every mistake that a user makes with a server, by the command line: each message says what to do (S26)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ews.worlds import PASSWORD, small_world
from ews_server import Fault, Server
from stores.ews_place import ADMIN, ANNA

_LOGIN = {"EXCISE_EWS_USER": ADMIN, "EXCISE_EWS_PASSWORD": PASSWORD, "EXCISE_EWS_AUTH": "basic"}


def excise(path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXCISE_EWS_")}
    settings = {"EXCISE_ACCESS_LOG": str(path / "access.jsonl"), **_LOGIN, **environment}
    return subprocess.run(
        [sys.executable, "-m", "excise", "mailboxes", *arguments],
        capture_output=True, text=True, timeout=120, cwd=path, stdin=subprocess.DEVNULL,
        env=kept | {name: value for name, value in settings.items() if value},
    )  # fmt: skip


def certificate(
    path: Path, *, address: str = "127.0.0.1", days: int = 30, kind: Any = ec, names: tuple[str, ...] = ()
) -> tuple[Path, Path]:
    """A certificate that nobody else has signed, and its key; with ``days`` below zero it has expired."""
    key = rsa.generate_private_key(65537, 2048) if kind is rsa else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.test")])
    now = datetime.now(UTC)
    hosts = [x509.IPAddress(ip_address(address)), *map(x509.DNSName, names)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = path / "certificate.pem", path / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


@pytest.fixture
def server() -> Iterator[Server]:
    world, _ = small_world()
    with Server(world) as server:
        yield server


def test_s26_a_wrong_password(tmp_path: Path, server: Server) -> None:
    """It is tried once, and stands nowhere in what is said."""
    source = f"ews://127.0.0.1:{server.port}/?plain=1"
    done = excise(tmp_path, source, "--mailbox", ANNA, "--mailbox", "b@x.test", EXCISE_EWS_PASSWORD="not-this-one")
    assert done.returncode == 6
    assert "HTTP 401" in done.stderr
    assert "EXCISE_EWS_AUTH" in done.stderr
    assert "not-this-one" not in done.stderr + done.stdout
    assert server.log.refused == 1


def test_no_login_and_no_mailbox_and_a_wrong_setting(tmp_path: Path, server: Server) -> None:
    """Wrong usage, before anything is sent."""
    source = f"ews://127.0.0.1:{server.port}/?plain=1"
    for arguments, environment, words in (
        ((source, "--mailbox", ANNA), {"EXCISE_EWS_USER": ""}, "EXCISE_EWS_USER"),
        ((source, "--mailbox", ANNA), {"EXCISE_EWS_PASSWORD": ""}, "keyring set excise:ews://"),
        ((source,), {}, "--mailbox"),
        ((source, "--mailbox", ANNA, "--parts", "attic"), {}, "primary, archive, recoverable, public"),
        ((source, "--mailbox", ANNA), {"EXCISE_EWS_AUTH": "magic"}, "kerberos"),
        ((source, "--mailbox", ANNA), {"EXCISE_EWS_ACCESS": "magic"}, "delegate"),
        (("ews://user:secret@127.0.0.1/",), {}, "no address of an Exchange server"),
        (("ews://anna@example.test/bob@example.test",), {}, "no address of an Exchange server"),
        (("ews://anna@localhost?plain=1",), {}, "without TLS to this machine alone"),
        (("ews://anna@localhost", "--mailbox", ANNA), {"EXCISE_EWS_CONNECTIONS": "none"}, "EXCISE_EWS_CONNECTIONS"),
        (("ews://mail.example.test/?plain=1", "--mailbox", ANNA), {}, "without TLS to this machine alone"),
    ):
        done = excise(tmp_path, *arguments, **environment)
        assert done.returncode == 2, (arguments, done.stderr)
        assert words in done.stderr
        assert "secret" not in done.stderr
    assert not server.log.count


def test_an_unknown_mailbox_beside_a_known_one(tmp_path: Path, server: Server) -> None:
    """The known one is listed."""
    source = f"ews://127.0.0.1:{server.port}/?plain=1"
    done = excise(tmp_path, source, "--mailbox", "nobody@example.test", "--mailbox", ANNA)
    assert done.returncode == 6
    assert "Check the address" in done.stderr
    assert ANNA in done.stdout


def test_no_rights(tmp_path: Path, server: Server) -> None:
    """What to grant is named."""
    done = excise(
        tmp_path, f"ews://127.0.0.1:{server.port}/?plain=1", "--mailbox", ANNA, EXCISE_EWS_USER="bob@example.test"
    )
    assert done.returncode == 6
    assert "ApplicationImpersonation" in done.stderr


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("http", status=403, times=0), "EWS must be allowed for the tenant"),
        (Fault("http", status=404, times=0), "name the path"),
    ],
)
def test_a_server_without_ews(tmp_path: Path, server: Server, fault: Fault, words: str) -> None:
    """Closed to us, or another server."""
    server.faults.add(fault)
    done = excise(tmp_path, f"ews://127.0.0.1:{server.port}/?plain=1", "--mailbox", ANNA)
    assert done.returncode == 6
    assert words in done.stderr


def test_nobody_listens(tmp_path: Path) -> None:
    """A wrong host."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        done = excise(tmp_path, f"ews://127.0.0.1:{held.getsockname()[1]}/", "--mailbox", ANNA)
    assert done.returncode == 6
    assert "Check the name of the server" in done.stderr


def test_certificates(tmp_path: Path) -> None:
    """One that is not trusted, has expired or names another server is refused before the password is sent; with the
    CA bundle the good one is accepted."""
    world, _ = small_world()
    for address, days, bundle, status in (
        ("127.0.0.1", 30, False, 6),
        ("127.0.0.1", -1, True, 6),
        ("127.0.0.2", 30, True, 6),
        ("127.0.0.1", 30, True, 0),
    ):
        pem, key = certificate(tmp_path, address=address, days=days)
        with Server(world, certificate=pem, key=key) as server:
            source = f"ews://127.0.0.1:{server.port}/"
            done = excise(tmp_path, source, "--mailbox", ANNA, EXCISE_EWS_CA_BUNDLE=str(pem) if bundle else "")
            assert done.returncode == status, done.stderr
            if status:
                assert "cannot be trusted" in done.stderr
                assert "EXCISE_EWS_CA_BUNDLE" in done.stderr
                assert not server.log.count
