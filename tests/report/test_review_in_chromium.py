"""``excise review --web``, used in a real Chromium as a person would, and attacked as others would."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser

from cli.command import command_line, environment, excise_cli
from engine.mail_files import WORM, ids_in_eml, ids_in_mbox, stores
from excise.case.chain import read_chain
from excise.case.layout import Case
from report.browser import chromium, needs_chromium, watch
from report.stage import plan_hash


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return stores(tmp_path / "mail")


@pytest.fixture
def case(mail: Path, tmp_path: Path) -> Path:
    place = tmp_path / "case"
    done = excise_cli("plan", "move", mail, "--subject", WORM, "--case", place, "--jobs", "1", "--evidence", "mbox")
    assert done.code == 0, done.text
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@dataclass
class Served:
    """A review that is being served."""

    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    @property
    def token(self) -> str:
        return urlsplit(self.address).query.removeprefix("token=")

    def ended(self) -> str:
        """What it said at its end."""
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        assert "Traceback" not in err
        return out + err


@contextmanager
def serving(case: Path) -> Iterator[Served]:
    # A test run in the background of a shell ignores Ctrl-C, and whatever it starts would too.
    process = subprocess.Popen(
        command_line("review", case, "--web"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", process.stderr.readline())
        assert found is not None
        yield Served(process, found[0])
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()


@needs_chromium
def test_s06_a_person_takes_a_group_out_writes_the_new_plan_and_runs_it(
    case: Path, mail: Path, browser: Browser
) -> None:
    old = plan_hash(case)
    with serving(case) as served:
        context = browser.new_context()
        page = context.new_page()
        watched = watch(page)
        page.goto(served.address)
        page.wait_for_selector("#left")
        assert page.locator("#left").text_content() == "6"
        page.get_by_role("link", name="anna.mbox").click()
        page.get_by_role("link", name="00001-000002").click()
        assert "body 4" in (page.locator("pre").text_content() or "")
        page.get_by_role("link", name="Back to the groups").click()
        row = page.locator("tr", has=page.get_by_role("link", name="anna.mbox"))
        row.get_by_role("checkbox").check()
        page.get_by_label("Why").fill("Anna is on <leave>")
        page.get_by_role("button", name="Take the chosen ones out").click()
        assert page.locator("#left").text_content() == "3"
        assert "anna.mbox" in page.locator("table.exclusions").inner_text()
        assert "Anna is on <leave>" in page.locator("table.exclusions").inner_text()
        page.get_by_role("button", name="Put back").click()
        assert page.locator("#left").text_content() == "6"
        row.get_by_role("checkbox").check()
        page.get_by_label("Why").fill("Anna is on leave")
        page.get_by_role("button", name="Take the chosen ones out").click()
        page.get_by_role("button", name="Write the new plan").click()
        shown = page.locator("#hash").text_content() or ""
        assert f"Plan hash: {shown}" in served.ended()
        own = (f"http://127.0.0.1:{served.port}/", "data:")
        assert [url for url in watched.requests if not url.startswith(own)] == []
        assert watched.complaints == []
        context.close()
    assert shown == plan_hash(case) != old
    assert excise_cli("run", case, "--confirm", old).code == 4
    assert excise_cli("run", case, "--confirm", shown, "--jobs", "1").code == 0
    assert ids_in_mbox(mail / "anna.mbox") == Counter("01234567")
    assert ids_in_eml(mail / "carla") == Counter(["40", "41", "43"])
    viewed = [r["item"] for r in read_chain(case / "audit.jsonl").records if r["type"] == "item-viewed"]
    assert viewed == [2]
    assert excise_cli("verify", case).code == 0


@needs_chromium
def test_another_page_in_the_same_browser_can_change_nothing(case: Path, browser: Browser, tmp_path: Path) -> None:
    with serving(case) as served:
        context = browser.new_context()
        page = context.new_page()
        page.goto(served.address)
        page.wait_for_selector("#left")
        base = page.url
        form = page.locator("input[name=form]").first.get_attribute("value")
        evil = tmp_path / "evil.html"
        evil.write_text(
            f"<form method=post action='{base}write'><input name=form value='{form}'><button>go</button></form>"
        )
        other = context.new_page()
        other.goto(evil.as_uri())
        with other.expect_navigation():
            other.get_by_role("button").click()
        assert "Refused" in other.content()
        again = context.new_page()
        again.goto(served.address)
        assert "good once" in again.content()
        stranger = browser.new_context().new_page()
        stranger.goto(base)
        assert "Refused" in stranger.content()
        page.get_by_role("button", name="Close without a new plan").click()
        assert "nothing was changed" in served.ended()
        context.close()
    assert Case(case).plan_numbers() == [1]


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    text: str


def ask(served: Served, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode() if body is not None else None)
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read().decode())
    finally:
        connection.close()


def enter(served: Served) -> tuple[str, str, str]:
    """Use the token as a browser does: path, cookie, form secret."""
    answer = ask(served, "GET", f"/?token={served.token}", {})
    assert answer.status == 200
    cookie = r"(excise_review=[\w-]+); HttpOnly; SameSite=Strict; Path=(/[\w-]+/)\Z"
    given = re.match(cookie, answer.headers["Set-Cookie"])
    assert given is not None
    page = ask(served, "GET", given[2], {"Cookie": given[1]})
    assert page.status == 200
    secret = re.search(r'name="form" value="([\w-]+)"', page.text)
    assert secret is not None
    return given[2], given[1], secret[1]


def test_without_both_secrets_and_a_loopback_name_nothing_is_shown(case: Path) -> None:
    with serving(case) as served:
        assert ask(served, "GET", f"/?token={served.token}", {"Host": f"evil.example:{served.port}"}).status == 403
        assert ask(served, "GET", f"/?token={served.token[:-1]}", {}).status == 403
        assert ask(served, "GET", "/", {}).status == 403
        base, cookie, _ = enter(served)
        assert ask(served, "GET", f"/?token={served.token}", {}).status == 403
        assert ask(served, "GET", base, {}).status == 403
        assert ask(served, "GET", base, {"Cookie": cookie[:-1]}).status == 403
        assert ask(served, "GET", "/x/", {"Cookie": cookie}).status == 403
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "127.0.0.2", "", "localhost:1:2"):
            assert ask(served, "GET", base, {"Cookie": cookie, "Host": host}).status == 403
        for host in ("localhost:9999", "127.0.0.1", "[::1]:8000"):  # as through an SSH tunnel
            answer = ask(served, "GET", base, {"Cookie": cookie, "Host": host})
            assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Python" not in answer.headers["Server"]
        assert ask(served, "GET", f"{base}nothing", {"Cookie": cookie}).status == 404
        for bad in ("item/../../x", "item/00009-000001", "group/s99", "item/%00", "item/%C3%A9%E2%80%AE"):
            assert ask(served, "GET", base + bad, {"Cookie": cookie}).status == 400


def test_a_change_needs_a_form_of_our_own(case: Path) -> None:
    with serving(case) as served:
        base, cookie, form = enter(served)
        host = f"127.0.0.1:{served.port}"
        good = {"Cookie": cookie, "Host": host, "Origin": f"http://{host}"}
        body = urlencode({"form": form, "group": "s1", "reason": "x"})

        def post(headers: dict[str, str], data: str, name: str = "exclude") -> int:
            return ask(served, "POST", base + name, headers, data).status

        assert post({**good, "Origin": "http://evil.example"}, body) == 403
        assert post({**good, "Origin": f"http://127.0.0.1:{served.port + 1}"}, body) == 403
        assert post({**good, "Origin": "null"}, body) == 403
        assert post({key: value for key, value in good.items() if key != "Origin"}, body) == 403
        assert post({**good, "Sec-Fetch-Site": "same-site"}, body) == 403
        assert post({**good, "Cookie": "excise_review=x"}, body) == 403
        assert post(good, urlencode({"form": form[:-1], "group": "s1", "reason": "x"})) == 403
        assert post(good, urlencode({"group": "s1", "reason": "x"})) == 403
        assert post({**good, "Content-Length": str(1 << 30)}, body) == 403
        assert post({**good, "Content-Length": "-1"}, body) == 403
        assert post(good, f"form={form}" + "&a=1" * 30_000) == 403
        assert post(good, body, "write") == 400  # nothing is out yet
        assert '<b id="out">0</b>' in ask(served, "GET", base, {"Cookie": cookie}).text
        assert post(good, urlencode({"form": form, "group": "s1", "reason": "  "})) == 400
        assert post(good, body) == 303
        assert '<b id="out">6</b>' in ask(served, "GET", base, {"Cookie": cookie}).text
        assert post(good, urlencode({"form": form, "number": "0"}), "undo") == 303
        assert post(good, urlencode({"form": form, "number": "7"}), "undo") == 303
        assert '<b id="out">0</b>' in ask(served, "GET", base, {"Cookie": cookie}).text
    assert Case(case).plan_numbers() == [1]


def test_a_connection_that_says_nothing_keeps_nobody_out_and_ctrl_c_ends_it(case: Path) -> None:
    with serving(case) as served:
        silent = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        silent.connect()
        base, cookie, _ = enter(served)
        half = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        half.putrequest("POST", f"{base}exclude")
        for name, value in {"Cookie": cookie, "Content-Length": "1000"}.items():
            half.putheader(name, value)
        half.endheaders()
        assert ask(served, "GET", base, {"Cookie": cookie}).status == 200
        os.kill(served.process.pid, signal.SIGINT)
        assert "nothing was changed" in served.ended()
        silent.close()
        half.close()
    assert excise_cli("verify", case).code == 0
