"""The ways of logging in to the EWS server, as exchangelib takes them."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import timedelta
from email.message import Message

import pytest
from lxml import etree

from ews.worlds import PASSWORD, serving, small_world
from ews_server import Server

exchangelib = pytest.importorskip("exchangelib", reason="exchangelib is not installed")
AutodiscoverProtocol = pytest.importorskip("exchangelib.autodiscover.protocol").AutodiscoverProtocol


def inbox_count(server: Server, user: str, password: str, auth_type: str) -> int:
    """How many items exchangelib sees in Anna's inbox."""
    configuration = exchangelib.Configuration(
        service_endpoint=server.url,
        credentials=exchangelib.Credentials(user, password),
        auth_type=auth_type,
        retry_policy=exchangelib.FailFast(),
    )
    account = exchangelib.Account(
        "anna@example.test", config=configuration, access_type=exchangelib.IMPERSONATION, autodiscover=False
    )
    return int(account.inbox.total_count)


def refused(request: urllib.request.Request | str) -> Message:
    """The headers of the 401 that a request gets."""
    with pytest.raises(urllib.error.HTTPError, match="401") as answer:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310
    answer.value.close()
    return answer.value.headers


def test_ntlm_takes_a_domain_login_and_refuses_a_wrong_password() -> None:
    pytest.importorskip("spnego", reason="pyspnego is not installed")
    world, _ = small_world()
    world.user("ops@example.test", PASSWORD, login="EXAMPLE\\ops", impersonates=["*"])
    with serving(world, authentication=("ntlm",)) as server:
        assert inbox_count(server, "EXAMPLE\\ops", PASSWORD, exchangelib.NTLM) == 5
        assert {request.user for request in server.log.requests} == {"EXAMPLE\\ops"}
        with pytest.raises(exchangelib.errors.UnauthorizedError):
            inbox_count(server, "EXAMPLE\\ops", "wrong", exchangelib.NTLM)


def test_the_scheme_is_found_by_asking() -> None:
    world, _ = small_world()
    with serving(world, authentication=("basic", "ntlm")) as server:
        assert refused(server.url).get_all("WWW-Authenticate") == ['Basic realm="127.0.0.1"', "NTLM"]
        with pytest.raises(exchangelib.errors.UnauthorizedError):
            inbox_count(server, "admin@example.test", "wrong", exchangelib.BASIC)


def test_tokens_are_given_to_clients_and_end() -> None:
    world, _ = small_world()
    with serving(world, authentication=("bearer",)) as server:
        url = server.url.replace("/EWS/Exchange.asmx", "/oauth2/token")

        def ask(secret: str) -> dict[str, object]:
            form = {"grant_type": "client_credentials", "client_id": "admin@example.test", "client_secret": secret}
            data = urllib.parse.urlencode(form).encode()
            with urllib.request.urlopen(url, data, timeout=10) as answer:  # noqa: S310
                return dict(json.load(answer))

        def with_token(token: object) -> urllib.request.Request:
            return urllib.request.Request(server.url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310

        with pytest.raises(urllib.error.HTTPError, match="401") as wrong:
            ask("wrong")
        wrong.value.close()
        with urllib.request.urlopen(with_token(ask(PASSWORD)["access_token"]), timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        old = world.token("old", world.users["admin@example.test"], timedelta(seconds=-1))
        for token in (old, "none such"):
            assert refused(with_token(token))["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("path", ["svc", "xml"])
def test_autodiscover_tells_the_endpoint_of_known_mailboxes_alone(path: str) -> None:
    world, _ = small_world()
    with serving(world) as server:
        url = server.url.replace("/EWS/Exchange.asmx", f"/autodiscover/autodiscover.{path}")
        found = [_discover(url, path, address) for address in ("a.smith@example.test", "nobody@example.test")]
        assert found == [server.url, None]
        refused(url)


def _discover(url: str, path: str, address: str) -> str | None:
    """The EWS endpoint that a mailbox's autodiscover tells."""
    if path == "svc":
        configuration = exchangelib.Configuration(
            service_endpoint=url, credentials=exchangelib.Credentials("admin@example.test", PASSWORD), auth_type="basic"
        )
        answer = AutodiscoverProtocol(config=configuration).get_user_settings(user=address)
        assert answer.error_code == (None if "smith" in address else "InvalidUser")
        return answer.ews_url if answer.user_settings else None
    schema = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
    body = f'<Autodiscover xmlns="{schema}"><Request><EMailAddress>{address}</EMailAddress></Request></Autodiscover>'
    token = base64.b64encode(f"admin@example.test:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(url, body.encode(), {"Authorization": f"Basic {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        tree = etree.fromstring(answer.read())
    return next((str(found.text) for found in tree.iter("{*}EwsUrl")), None)
