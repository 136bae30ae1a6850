"""Debian's slapd with a made organisation of 3,000 mailboxes, on loopback ports, over LDAPS and StartTLS.

Its entries have the attributes of Active Directory with Exchange; the server refuses more than 200 entries at once to
everybody who does not ask for pages, as Active Directory does beyond 1,000.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from live.servers import await_port, end, free_port
from programs import find_program, needs_program

needs_slapd = needs_program("slapd", "slapadd")
BASE = "dc=example,dc=com"
READER = f"cn=reader,{BASE}"
PASSWORD = "correct horse"
USERS = 3000
#: A display name that would paint a terminal red and turn the rest of the line round.
EVIL = "Star \x1b[31m\u202e"
SITE = "/o=Example/ou=First Administrative Group"
#: Database -> its distinguished name.
DATABASES = {name: f"cn={name},cn=EX01,cn=Configuration,{BASE}" for name in ("DB01", "DB02")}
_SCHEMA = Path(__file__).with_name("exchange.schema")
_CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include {schema}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {base}/slapd.pid
argsfile {base}/slapd.args
rootDSE {base}/root.ldif
TLSCertificateFile {base}/server.pem
TLSCertificateKeyFile {base}/server.key
allow bind_anon_cred
database mdb
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
directory {base}/data
maxsize 268435456
index objectClass,cn,homeMDB,legacyExchangeDN,proxyAddresses,mail,mailNickname eq
limits * size.soft=200 size.hard=200 {pages}
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=Board,{suffix}" by dn.exact="cn=admin,{suffix}" read by * none
access to * by users read by * none
"""


@dataclass(frozen=True)
class Certificates:
    """A test CA's certificate, and a server's with its key, as files."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(base: Path, host: str = "127.0.0.1", *, days: int = 30) -> Certificates:
    """A CA, and a certificate for ``host`` that is valid for ``days`` (less than none: it has expired)."""
    now = datetime.datetime.now(datetime.UTC)
    begin, end = now - datetime.timedelta(days=60), now + datetime.timedelta(days=days)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Excise test CA")])
    ca_end = now + datetime.timedelta(days=90)
    ca = _builder(ca_name, ca_name, ca_key, begin, ca_end).add_extension(x509.BasicConstraints(True, None), True)
    ca = ca.add_extension(
        x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    alternative: x509.GeneralName
    if host[0].isdigit():
        import ipaddress

        alternative = x509.IPAddress(ipaddress.ip_address(host))
    else:
        alternative = x509.DNSName(host)
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    server = _builder(server_name, ca_name, key, begin, end)
    server = server.add_extension(x509.SubjectAlternativeName([alternative]), critical=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    files = Certificates(base / "ca.pem", base / "server.pem", base / "server.key")
    pem = serialization.Encoding.PEM
    files.ca.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    files.certificate.write_bytes(server.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files.key.write_bytes(key.private_bytes(pem, *private))
    return files


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return made.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)


def entry(dn: str, *attributes: tuple[str, str | bytes]) -> str:
    """An entry in LDIF, every value in base64, so that it may hold anything."""
    lines = [f"dn:: {_b64(dn)}", *(f"{name}:: {_b64(value)}" for name, value in attributes)]
    return "\n".join(lines) + "\n\n"


def _b64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def recipient(dn: str, kind: str, address: str, *more: tuple[str, str | bytes]) -> str:
    """An entry with a mail address."""
    alias = address.partition("@")[0]
    return entry(
        dn,
        ("objectClass", kind),
        ("objectClass", "mailRecipient"),
        ("mail", address),
        ("mailNickname", alias),
        ("legacyExchangeDN", f"{SITE}/cn=Recipients/cn={alias}"),
        ("proxyAddresses", f"smtp:{alias}@old.example.com"),
        ("proxyAddresses", f"SMTP:{address}"),
        *more,
    )


def user(number: int) -> str:
    """Mailbox ``number``: hidden where it ends with 7, disabled where it ends with 9, a room where it ends with 50."""
    alias = f"u{number:04}"
    unit = "Sales" if number % 3 == 0 else "Staff"
    server, database = ("EX02", "DB02") if number % 5 == 0 else ("EX01", "DB01")
    more = [
        ("displayName", f"Usér {number}"),
        ("sAMAccountName", alias),
        ("department", unit),
        ("homeMDB", DATABASES[database]),
        ("msExchHomeServerName", f"{SITE}/cn=Configuration/cn=Servers/cn={server}"),
        ("userAccountControl", "514" if number % 10 == 9 or number % 100 == 50 else "512"),
        ("msExchRecipientTypeDetails", "16" if number % 100 == 50 else "1"),
        ("msExchMailboxGuid", number.to_bytes(16, "big")),
    ]
    if number % 10 == 7:
        more.append(("msExchHideFromAddressLists", "TRUE"))
    return recipient(f"cn=User {number},ou={unit},{BASE}", "user", f"{alias}@example.com", *more)


def user_dn(number: int) -> str:
    """The distinguished name of mailbox ``number``."""
    return f"cn=User {number},ou={'Sales' if number % 3 == 0 else 'Staff'},{BASE}"


def group(name: str, members: Sequence[str]) -> str:
    """A group; slapd's schema wants no member."""
    more = [("member", member) for member in members]
    return recipient(f"cn={name},ou=Groups,{BASE}", "group", f"{name}@example.com", ("displayName", name), *more)


def organisation() -> Iterator[str]:
    """All entries, in LDIF."""
    yield entry(BASE, ("objectClass", "domain"), ("dc", "example"))
    yield entry(READER, ("objectClass", "user"), ("userPassword", PASSWORD))
    for unit in ("Sales", "Staff", "Groups", "Board", "Odd (very)"):
        yield entry(f"ou={unit},{BASE}", ("objectClass", "organizationalUnit"))
    yield entry(f"cn=Configuration,{BASE}", ("objectClass", "container"))
    for server in ("EX01", "EX02"):
        yield entry(f"cn={server},cn=Configuration,{BASE}", ("objectClass", "container"))
    for name, dn in DATABASES.items():
        legacy = f"{SITE}/cn=Configuration/cn=Servers/cn=EX01/cn={name}"
        yield entry(dn, ("objectClass", "msExchPrivateMDB"), ("legacyExchangeDN", legacy))
    for server in ("EX01", "EX02"):
        yield entry(f"cn=Twin,cn={server},cn=Configuration,{BASE}", ("objectClass", "msExchPrivateMDB"))
    yield from map(user, range(1, USERS + 1))
    yield from _odd_ones()
    yield from _groups()


def _odd_ones() -> Iterator[str]:
    database = ("homeMDB", DATABASES["DB01"])
    odd = f"ou=Odd (very),{BASE}"
    yield recipient(
        f"cn=Arbitration,{odd}", "user", "arb@example.com", database, ("msExchRecipientTypeDetails", "8388608")
    )
    yield recipient(f"cn=Partner,{odd}", "contact", "partner@other.example.net")
    yield recipient(f"cn=Cloud,{odd}", "user", "cloud@example.com", ("msExchRecipientTypeDetails", "2147483648"))
    yield recipient(
        f"cn=Star * (\\5c),{odd}",
        "user",
        "star@example.com",
        database,
        ("sAMAccountName", "a*b(c)"),
        ("displayName", EVIL),
    )
    former = ("proxyAddresses", f"X500:{SITE}/cn=Recipients/cn=former")
    yield recipient(f"cn=Old,{odd}", "user", "old2003@example.com", database, former)
    for number in (1, 2):
        yield recipient(
            f"cn=Twin {number},{odd}", "user", f"twin{number}@example.com", database, ("sAMAccountName", "twin")
        )
    yield entry(f"cn=No mail,{odd}", ("objectClass", "user"), ("objectClass", "mailRecipient"), database)
    yield recipient(f"cn=Chair,ou=Board,{BASE}", "user", "chair@example.com", database)


def _groups() -> Iterator[str]:
    groups = f"ou=Groups,{BASE}"
    yield group("inner", [user_dn(1), user_dn(2), f"cn=outer,{groups}"])
    yield group("outer", [user_dn(2), user_dn(3), f"cn=inner,{groups}", f"cn=Partner,ou=Odd (very),{BASE}"])
    yield group("large", [user_dn(number) for number in range(1, 1801)])
    yield group("torn", [user_dn(4), f"cn=Chair,ou=Board,{BASE}", f"cn=gone,{BASE}", "cn=x,dc=elsewhere,dc=net"])
    yield recipient(
        f"cn=dynamic,{groups}", "msExchDynamicDistributionList", "dynamic@example.com",
        ("msExchDynamicDLFilter", "(&(department=Sales)(userAccountControl=514))"), ("msExchDynamicDLBaseDN", BASE),
    )  # fmt: skip


@dataclass(frozen=True)
class Slapd:
    """A running server."""

    ldaps: str
    ldap: str
    ca: Path
    log: Path


@contextlib.contextmanager
def running(
    base: Path,
    *,
    host: str = "127.0.0.1",
    days: int = 30,
    entries: bool = True,
    pages: str = "size.pr=1000 size.prtotal=unlimited",
) -> Iterator[Slapd]:
    """slapd with its files in ``base``, to the end of the block; its certificate is for ``host``."""
    files = make_certificates(base, host, days=days)
    (base / "data").mkdir()
    contexts = f"defaultNamingContext: {BASE}\nconfigurationNamingContext: cn=Configuration,{BASE}\n"
    (base / "root.ldif").write_text(f"dn:\n{contexts}")
    conf = base / "slapd.conf"
    conf.write_text(_CONF.format(base=base, suffix=BASE, pages=pages, schema=_SCHEMA))
    if entries:
        (base / "entries.ldif").write_text("".join(organisation()))
        add = [str(find_program("slapadd")), "-q", "-f", str(conf), "-l", str(base / "entries.ldif")]
        done = subprocess.run(add, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    ports = free_port(), free_port()
    urls = f"ldaps://127.0.0.1:{ports[0]}", f"ldap://127.0.0.1:{ports[1]}"
    command = [str(find_program("slapd")), "-h", " ".join(urls), "-f", str(conf), "-d", "0"]
    log = base / "log"
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        try:
            for port in ports:
                await_port(port, process, log)
            yield Slapd(*urls, files.ca, log)
        finally:
            end(process)


@pytest.fixture(scope="session")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """The organisation's directory."""
    with running(tmp_path_factory.mktemp("slapd")) as server:
        yield server
