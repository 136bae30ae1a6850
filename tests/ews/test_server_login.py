"""The ways of logging in to the EWS server, as exchangelib takes them."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import timedelta

import pytest

from ews.worlds import PASSWORD, serving, small_world
from ews_server import Server

exchangelib = pytest.importorskip("exchangelib", reason="exchangelib is not installed")


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
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server.url, timeout=10)  # noqa: S310
        assert refused.value.headers.get_all("WWW-Authenticate") == ['Basic realm="127.0.0.1"', "NTLM"]
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

        def get(token: object) -> int:
            request = urllib.request.Request(server.url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return int(answer.status)

        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask("wrong")
        assert get(ask(PASSWORD)["access_token"]) == 200
        old = world.token("old", world.users["admin@example.test"], timedelta(seconds=-1))
        for token in (old, "none such"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(token)
            assert refused.value.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
