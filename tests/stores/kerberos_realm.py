"""A Kerberos realm on this machine, made for one test: a KDC of MIT's, an account, and the service HTTP/localhost."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import PATH, find_program

REALM, ACCOUNT, PASSWORD = "EXAMPLE.TEST", "ops", "kerberos horse"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")


class Realm:
    """What programs need to use it is in ``environment``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keytab = path / "keytab"
        self.environment = {
            "PATH": PATH,
            "KRB5_CONFIG": str(path / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(path / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{path / 'tickets'}",
        }

    def run(self, *command: str, given: str = "") -> None:
        """Run a program of Kerberos."""
        done = subprocess.run(
            command, env=os.environ | self.environment, input=given, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def kinit(self, seconds: int = 3600) -> None:
        """Get the account a ticket that is good for so long."""
        self.run("kinit", "-l", f"{seconds}s", f"{ACCOUNT}@{REALM}", given=f"{PASSWORD}\n")


@contextmanager
def realm(path: Path) -> Iterator[Realm]:
    """The realm, while its KDC runs."""
    made = Realm(path)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    (path / "krb5.conf").write_text(
        f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n"
        " dns_canonicalize_hostname = false\n udp_preference_limit = 1\n"
        f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {REALM}\n"
        f" 127.0.0.1 = {REALM}\n"
    )
    (path / "kdc.conf").write_text(
        f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n"
        f"[realms]\n {REALM} = {{\n  database_name = {path}/principal\n  key_stash_file = {path}/stash\n"
        f"  acl_file = {path}/acl\n }}\n[logging]\n kdc = FILE:{path}/kdc.log\n"
    )
    made.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "of the master")
    made.run("kadmin.local", "-q", f'addprinc -pw "{PASSWORD}" {ACCOUNT}@{REALM}')
    made.run("kadmin.local", "-q", f"addprinc -randkey HTTP/localhost@{REALM}")
    made.run("kadmin.local", "-q", f"ktadd -k {made.keytab} HTTP/localhost@{REALM}")
    program = find_program("krb5kdc")
    assert program is not None
    with subprocess.Popen([program, "-n"], env=os.environ | made.environment, stderr=subprocess.DEVNULL) as kdc:
        try:
            _wait(port, kdc)
            yield made
        finally:
            kdc.terminate()


def _wait(port: int, kdc: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert kdc.poll() is None, "the KDC ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the KDC does not listen")
