"""S26 with every kind of login: whole runs, after which no secret is anywhere, nor was in what `ps` shows."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ews.worlds import mail, small_world
from ews_server import Server, World
from stores.ews_place import ANNA
from stores.test_ews_mistakes import certificate

_SUBJECT = "Salaries 2026"
_SECRET = "Tr0ub4dor-and-3"
_APPLICATION = "4f0d1c1e-app"


@dataclass
class Run:
    """A server that takes one kind of login, and a directory for the case."""

    world: World
    server: Server
    path: Path
    settings: dict[str, str]

    def excise(self, *arguments: str, meanwhile: Callable[[], None] = lambda: None, **more: str) -> tuple[int, str]:
        """Run a command: the exit status and what it said, which is looked through with the process's own lines."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EXCISE_EWS_")}
        given = {f"EXCISE_EWS_{name}": value for name, value in (self.settings | more).items() if value}
        environment = kept | given | {"EXCISE_ACCESS_LOG": str(self.path / "access.jsonl")}
        lines = b""
        with (self.path / "said").open("w+b") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "excise", *arguments],
                cwd=self.path, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
            while process.poll() is None:
                lines += b"".join(_lines_of(process.pid))
                meanwhile()
                time.sleep(0.02)
            said.seek(0)
            text = said.read()
        self.look_through("what was said", text)
        self.look_through("ps", lines)
        return process.returncode, text.decode()

    def move(self, case: str, meanwhile: Callable[[], None] = lambda: None, **more: str) -> tuple[int, str]:
        """Move the message out of Anna's and Bob's mailboxes."""
        source = (
            self.server.url.replace("https://", "ews://")
            .replace("http://", "ews://")
            .removesuffix("/EWS/Exchange.asmx")
        )
        return self.excise(
            "move", source, "--mailbox", ANNA, "--mailbox", "bob@example.test", "--subject", _SUBJECT,
            "--case", case, "--yes", "--expect-matches", "2", "--verbose", "--jobs", "1", "--evidence", "mbox",
            meanwhile=meanwhile, **more,
        )  # fmt: skip

    def look_through(self, what: str, data: bytes) -> None:
        """No secret is in ``data``, in any form that it went about in."""
        for secret in (_SECRET, f"ops:{_SECRET}", *self.world.tokens):
            raw = secret.encode()
            for form in (raw, base64.b64encode(raw), raw.hex().encode(), secret.encode("utf-16-le")):
                assert form not in data, what
        assert b"PRIVATE KEY" not in data, what

    def look_through_files(self) -> int:
        """The whole directory, file by file; how many there were."""
        files = [path for path in self.path.rglob("*") if path.is_file() and path.suffix != ".pem"]
        for path in files:
            self.look_through(str(path), path.read_bytes())
        return len(files)


def _lines_of(pid: int) -> Iterator[bytes]:
    """What `ps` shows of a process and of those below it."""
    try:
        yield Path(f"/proc/{pid}/cmdline").read_bytes()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                yield from _lines_of(int(child))
    except OSError:
        return


@pytest.fixture(params=["basic", "ntlm", "secret", "certificate"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    kind = request.param
    world, _ = small_world()
    for address in (ANNA, "bob@example.test"):
        world.deliver(world.mailboxes[address], "inbox", mail(90, _SUBJECT))
    pem, key = certificate(tmp_path, kind=rsa)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    login = {"basic": "ops", "ntlm": "EXAMPLE\\ops"}.get(kind, _APPLICATION)
    user = world.user("ops@example.test", "" if kind == "certificate" else _SECRET, login=login, impersonates=["*"])
    user.certificate = pem.read_text() if kind == "certificate" else ""
    scheme = kind if kind in ("basic", "ntlm") else "bearer"
    with Server(world, certificate=pem, key=key, authentication=(scheme,)) as server:
        settings = {"CA_BUNDLE": str(pem), "AUTH": scheme}
        if scheme == "bearer":
            authority = server.url.removesuffix("/EWS/Exchange.asmx")
            settings |= {"AUTH": "oauth2", "CLIENT_ID": login, "TENANT": "tenant-1", "AUTHORITY": authority}
            settings |= {"CLIENT_SECRET": _SECRET} if kind == "secret" else {"CERTIFICATE": str(both)}
        else:
            settings |= {"USER": login, "PASSWORD": _SECRET}
        yield Run(world, server, tmp_path, settings)
        assert not server.log.errors


def test_s26_no_secret_is_left_of_a_run(run: Run) -> None:
    """Neither in the case, the logs and what was said, nor on a command line while it ran."""
    status, said = run.move("case")
    assert status == 0, said
    assert run.excise("restore", "case", "--yes")[0] == 0
    assert run.excise("report", "case")[0] == 0
    assert run.excise("verify", "case")[0] == 0
    if run.settings["AUTH"] == "oauth2":
        assert run.world.tokens
    assert run.look_through_files() > 20


def test_s26_no_secret_is_left_of_a_refused_login(run: Run) -> None:
    """The login is tried once; what is said names the account and no secret, wrong or right."""
    wrong = "Not-the-secret-9"
    if "CERTIFICATE" in run.settings:
        (run.path / "another").mkdir()
        pem, key = certificate(run.path / "another", kind=rsa)
        other = run.path / "other.pem"
        other.write_bytes(key.read_bytes() + pem.read_bytes())
        changed = {"CERTIFICATE": str(other)}
    else:
        changed = {"CLIENT_SECRET" if "CLIENT_SECRET" in run.settings else "PASSWORD": wrong}
    status, said = run.move("case", **changed)
    assert status in (2, 6), said
    assert wrong not in said
    assert "tried once" in said
    if run.settings["AUTH"] == "oauth2":
        assert f"no token for the application {_APPLICATION}" in said
        assert not run.world.tokens
    assert not run.server.log.count
    for path in run.path.rglob("*"):
        assert not path.is_file() or path.suffix == ".pem" or wrong.encode() not in path.read_bytes()
    run.look_through_files()


@pytest.mark.parametrize("run", ["secret", "certificate"], indirect=True)
def test_a_token_that_expires_in_a_run_is_renewed(run: Run) -> None:
    """Between the evidence and the removal, and whenever: the run goes on, each message is removed once."""
    ended: list[str] = []

    def expire() -> None:
        for operation in ("FindItem", "ExportItems"):
            if run.server.log.count[operation] and operation not in ended:
                ended.append(operation)
                for token, (login, _) in list(run.world.tokens.items()):
                    run.world.tokens[token] = (login, "2000-01-01T00:00:00+00:00")

    status, said = run.move("case", meanwhile=expire)
    assert status == 0, said
    assert len(ended) == 2
    assert len(run.world.tokens) >= 2
    for address in (ANNA, "bob@example.test"):
        box = run.world.mailboxes[address]
        assert not [item for item in run.world.items_in(box, "inbox") if _SUBJECT.encode() in item.mime]
        assert len(run.world.items_in(box, "recoverableitemsdeletions")) == 1
    run.look_through_files()
