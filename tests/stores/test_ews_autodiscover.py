"""Finding the server of a mailbox: over real HTTPS, with real names, and never at the price of a password (S26)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ews.worlds import PASSWORD, small_world
from ews_server import Quirks, Server
from stores.autodiscover_stage import JSON, NAMES, Reply, Stage, find, name_server, needs_names, staged
from stores.ews_place import ANNA
from stores.test_ews_mistakes import certificate

pytestmark = needs_names
_JSON, _PLAIN, _SOAP = (f"/autodiscover/autodiscover.{kind}" for kind in ("json", "xml", "svc"))
_AUTO, _MAIL = "autodiscover.example.test", "mail.example.test"
_SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover"


def _settings(url: str) -> str:
    return (
        f'<Autodiscover xmlns="{_SCHEMA}/responseschema/2006"><Response '
        f'xmlns="{_SCHEMA}/outlook/responseschema/2006a"><Account><Action>settings</Action>'
        f"<Protocol><Type>EXCH</Type><EwsUrl>{url}</EwsUrl></Protocol></Account></Response></Autodiscover>"
    )


def _redirect(what: str, to: str) -> str:
    return (
        f'<Autodiscover xmlns="{_SCHEMA}/responseschema/2006"><Response '
        f'xmlns="{_SCHEMA}/outlook/responseschema/2006a"><Account><Action>{what}</Action>'
        f"<{what[0].upper()}{what[1:]}>{to}</{what[0].upper()}{what[1:]}></Account></Response></Autodiscover>"
    )


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path, names=NAMES)


@pytest.fixture
def stage(keys: tuple[Path, Path]) -> Iterator[Stage]:
    with staged(Stage(), *keys) as stage:
        yield stage


Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(tmp_path: Path, stage: Stage, keys: tuple[Path, Path]) -> Ask:
    """Run the command; the exit status and all that it says, which never is the password."""

    def run(address: str = ANNA, **settings: str) -> tuple[int, str]:
        done = find(tmp_path, f"ews://{address}:{stage.port}", keys[0], **settings)
        said = done.stdout + done.stderr
        assert PASSWORD not in said
        assert "Traceback" not in said
        return done.returncode, said

    return run


@pytest.mark.parametrize("json_first", [True, False], ids=["json", "plain"])
@pytest.mark.parametrize("authentication", ["basic", "ntlm"])
def test_a_server_is_found_by_an_address(
    tmp_path: Path, keys: tuple[Path, Path], json_first: bool, authentication: str
) -> None:
    """The address alone names the server and the mailbox; with --mailbox it names the server of those."""
    world, _ = small_world()
    quirks = Quirks(autodiscover_json=json_first)
    served = Server(
        world, quirks=quirks, certificate=keys[0], key=keys[1], name=_MAIL, authentication=(authentication,)
    )
    with served as server:
        given = {"AUTH": authentication}
        done = find(tmp_path, f"ews://{ANNA}:{server.port}", keys[0], "--json", **given)
        assert done.returncode == 0, done.stderr
        [told] = [one for one in map(json.loads, done.stdout.splitlines()) if "summary" not in one]
        assert told["locator"] == f"ews://{_MAIL}:{server.port}/{ANNA}"
        done = find(tmp_path, f"ews://{ANNA}:{server.port}", keys[0], "--mailbox", "bob@example.test", **given)
        assert done.returncode == 0, done.stderr
        assert "bob@example.test" in done.stdout
        assert ANNA not in done.stdout


def test_soap_where_there_is_no_plain_xml(ask: Ask, stage: Stage) -> None:
    """The older form of the service is missing; what it names does not answer as Exchange does, and is said to."""
    answer = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetUserSettingsResponseMessage '
        'xmlns="http://schemas.microsoft.com/exchange/2010/Autodiscover"><Response><ErrorCode>NoError</ErrorCode>'
        "<UserResponses><UserResponse><ErrorCode>NoError</ErrorCode><UserSettings><UserSetting>"
        "<Name>ExternalEwsUrl</Name><Value>https://mail.example.test:PORT/EWS/Exchange.asmx</Value></UserSetting>"
        "</UserSettings></UserResponse></UserResponses></Response></GetUserSettingsResponseMessage></s:Body></s:Envelope>"
    )
    stage.on(_AUTO, _SOAP, Reply(body=answer, asks=True))
    status, said = ask()
    assert status == 6
    assert f"https://{_MAIL}:{stage.port}/EWS/Exchange.asmx: there are no Exchange Web Services (HTTP 404)" in said
    assert stage.shown[0] == _AUTO


def test_s26_a_refused_login_is_shown_to_nobody_else(ask: Ask, stage: Stage) -> None:
    """Whatever other places there are; and nobody who did not ask for a login saw one."""
    for host in (_AUTO, "example.test"):
        stage.on(host, _PLAIN, Reply(401))
    status, said = ask()
    assert status == 6
    assert "refuses the login" in said
    assert "tried once" in said
    assert stage.shown == [_AUTO]


@pytest.mark.parametrize("way", ["http", "url", "json", "settings"])
def test_s26_another_domain_gets_nothing_without_consent(ask: Ask, stage: Stage, way: str) -> None:
    """A forged pointer leads nowhere; with consent, that host and no other is asked."""
    there = f"https://evil.test:PORT{_PLAIN}"
    ews = "https://evil.test:PORT/EWS/Exchange.asmx"
    if way == "http":
        stage.on(_AUTO, _PLAIN, Reply(302, to=there), "http")
    elif way == "url":
        stage.on(_AUTO, _PLAIN, Reply(body=_redirect("redirectUrl", there), asks=True))
    elif way == "json":
        stage.on(_AUTO, _JSON, Reply(body=json.dumps({"Protocol": "EWS", "Url": ews}), kind=JSON))
    else:
        stage.on(_AUTO, _PLAIN, Reply(body=_settings(ews), asks=True))
    stage.on("evil.test", _PLAIN, Reply(body=_settings(ews), asks=True))
    status, said = ask()
    assert status == 6
    assert "'evil.test', which is not of example.test" in said
    assert "EXCISE_EWS_AUTODISCOVER_HOSTS=evil.test" in said
    assert "evil.test" not in [host for _, host, _, _ in stage.asked]
    status, said = ask(AUTODISCOVER_HOSTS="other.test, evil.test")
    assert f"https://evil.test:{stage.port}/EWS/Exchange.asmx: there are no Exchange Web Services" in said


def test_s26_no_password_goes_without_tls(ask: Ask, stage: Stage) -> None:
    """What asks for one in the clear gets none, nor is plain HTTP taken as a server."""
    stage.on(_AUTO, _PLAIN, Reply(401), "http")
    stage.on(
        "example.test", _PLAIN, Reply(body=_settings("http://mail.example.test:PORT/EWS/Exchange.asmx"), asks=True)
    )
    status, said = ask()
    assert status == 6
    assert "names 'http://mail.example.test" in said
    assert all(scheme == "https" for scheme, _, _, login in stage.asked if login)


@pytest.mark.parametrize("kind", ["json", "http", "plain", "address"])
def test_a_circle_ends(ask: Ask, stage: Stage, kind: str) -> None:
    """Pointers that lead back are followed once."""
    if kind == "json":
        stage.on(_AUTO, _JSON, Reply(302, to=f"https://{_AUTO}:PORT{_JSON}"))
    elif kind == "http":
        stage.on(_AUTO, _PLAIN, Reply(302, to=f"https://{_AUTO}:PORT{_PLAIN}"))
    elif kind == "plain":
        stage.on(_AUTO, _PLAIN, Reply(body=_redirect("redirectUrl", f"https://{_AUTO}:PORT{_PLAIN}"), asks=True))
    else:
        stage.on(_AUTO, _PLAIN, Reply(body=_redirect("redirectAddr", ANNA), asks=True))
    status, said = ask()
    assert status == 6
    assert "in a circle" in said
    assert len(stage.asked) < 20


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<Autodiscover", "not XML"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><Autodiscover>&b;</Autodiscover>", "document type"),
        ("<html/>", "another XML (html)"),
        (_settings(""), "names no Exchange Web Services"),
        ("x" * (2 << 20), "more than 1,048,576 bytes"),
    ],
)
def test_bad_answers(ask: Ask, stage: Stage, body: str, words: str) -> None:
    """Each is said to be what it is."""
    stage.on(_AUTO, _PLAIN, Reply(body=body, asks=True))
    status, said = ask()
    assert status == 6
    assert words in said


def test_no_such_domain(ask: Ask) -> None:
    """The message says what was tried, and what to do."""
    status, said = ask(names="localhost")
    assert status == 6
    assert f"{_AUTO}" in said
    assert "no such name" in said
    assert "no SRV record" in said
    assert f"ews://HOST --mailbox {ANNA}" in said


def test_a_certificate_that_does_not_hold(ask: Ask, stage: Stage, tmp_path: Path) -> None:
    """Nothing is asked behind it."""
    (tmp_path / "another").mkdir()
    other, _ = certificate(tmp_path / "another", names=NAMES)
    stage.on(_AUTO, _PLAIN, Reply(401))
    status, said = ask(CA_BUNDLE=str(other))
    assert status == 6
    assert "certificate cannot be trusted" in said
    assert "EXCISE_EWS_CA_BUNDLE" in said
    assert [scheme for scheme, _, _, _ in stage.asked if scheme == "https"] == []


def test_by_the_record_in_dns(ask: Ask, stage: Stage) -> None:
    """The SRV record names the host; one of another domain needs consent."""
    stage.on("mail.other.test", _PLAIN, Reply(body=_settings("https://mail.other.test:PORT/x.asmx"), asks=True))
    with name_server({"_autodiscover._tcp.example.test": f"0 0 {stage.port} mail.other.test."}) as server:
        status, said = ask(NAMESERVER=server)
        assert status == 6
        assert "'mail.other.test', which is not of example.test" in said
        status, said = ask(NAMESERVER=server, AUTODISCOVER_HOSTS="mail.other.test")
    assert f"https://mail.other.test:{stage.port}/x.asmx: there are no Exchange Web Services" in said


def test_another_address_of_the_mailbox(ask: Ask, stage: Stage) -> None:
    """It is asked about that one, in the same domain."""
    stage.on(_AUTO, _PLAIN, Reply(body=_redirect("redirectAddr", "anna@mail.example.test"), asks=True))
    stage.on(_MAIL, _PLAIN, Reply(body=_settings(f"https://{_MAIL}:PORT/y.asmx"), asks=True))
    _, said = ask()
    assert f"https://{_MAIL}:{stage.port}/y.asmx: there are no Exchange Web Services" in said
