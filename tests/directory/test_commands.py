"""``--directory``, ``excise mailboxes ldaps://…`` and a profile's ``[directory]``, against Debian's slapd."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sys
from pathlib import Path

import pytest

from cli.command import Done, command_line, environment, excise_cli
from directory.server import BASE, PASSWORD, READER, SITE, USERS, Slapd, needs_slapd, slapd
from engine.mail_files import message, write_mbox
from ews.worlds import PASSWORD as SERVER_PASSWORD
from ews.worlds import mail as mail_of
from ews.worlds import small_world
from ews_server import Server
from excise.core.errors import UsageError

pytestmark = needs_slapd
__all__ = ["slapd"]


def run(server: Slapd, *args: str | Path, password: str | None = PASSWORD, url: bool = True) -> Done:
    """``excise args`` as the reader of the directory."""
    where = ["--directory", server.ldaps] if url else []
    login = ["--directory-user", READER, "--directory-ca", str(server.ca)]
    variables = {"EXCISE_LDAP_PASSWORD": password or "", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    done = excise_cli(*args, *where, *login, environment=variables)
    assert PASSWORD not in done.text
    return done


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """Mailboxes whose names are addresses, each with one message."""
    (tmp_path / "mail").mkdir()
    for number in range(1, 11):
        write_mbox(tmp_path / "mail" / f"u{number:04}@example.com", [message(number, "Report")])
    return tmp_path / "mail"


def searched(done: Done) -> list[str]:
    assert done.code == 0, done
    return sorted(Path(line["mailbox"]).name[:5] for line in done.lines()[:-1])


SUBJECT = ("--subject", "Report", "--json")


def test_a_directory_is_listed_with_types_and_marks(slapd: Slapd) -> None:
    done = run(slapd, "mailboxes", slapd.ldaps, "--json", url=False)
    assert done.code == 0, done
    found = {line["mailbox"]: line for line in done.lines()}
    assert len(found) == USERS + 4
    assert found["u0050@example.com"] | {"source": ""} == {
        "mailbox": "u0050@example.com", "kind": "room", "display": "Usér 50", "hidden": False, "disabled": True,
        "legacy_dn": f"{SITE}/cn=Recipients/cn=u0050", "database": f"cn=DB02,cn=EX01,cn=Configuration,{BASE}",
        "identity": "00000000-0000-0000-0000-000000000032", "source": "",
    }  # fmt: skip
    assert f"{slapd.ldaps}: 3,004 mailboxes (300 hidden, 330 disabled)" in done.err
    assert "Passed over: cn=Arbitration" in done.err


def test_s27_the_table_shows_nothing_that_a_terminal_obeys(slapd: Slapd) -> None:
    done = run(slapd, "mailboxes", slapd.ldaps, "--directory-base", f"ou=Odd (very),{BASE}", url=False)
    assert done.code == 0, done
    lines = [line.split("  ") for line in done.out.splitlines()]
    assert [cell.strip() for cell in lines[0] if cell.strip()] == ["mailbox", "kind", "name", "database", "marks"]
    assert "Star \\u{1b}[31m\\u{202e}" in done.out
    assert "\x1b" not in done.text and "\u202e" not in done.text


def test_a_list_of_exmerge_is_shown_as_what_it_comes_to(slapd: Slapd, tmp_path: Path) -> None:
    names = [f"{SITE}/cn=Recipients/cn=u{n:04}" for n in (7, 9, 7)]
    path = tmp_path / "MAILBOXES.TXT"
    path.write_bytes("\r\n".join(["# ExMerge", *names, ""]).encode("utf-16"))
    done = run(slapd, "mailboxes", slapd.ldaps, "--mailboxes", path, url=False)
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == ["u0007@example.com", "u0009@example.com"]
    assert [line.split()[-1] for line in done.out.splitlines()[1:]] == ["hidden", "disabled"]


def test_a_name_of_a_list_that_means_nothing_is_told_with_its_line(slapd: Slapd, tmp_path: Path) -> None:
    path = tmp_path / "MAILBOXES.TXT"
    path.write_text(f"# ExMerge\n{SITE}/cn=Recipients/cn=u0001\n{SITE}/cn=Recipients/cn=gone\n")
    done = run(slapd, "mailboxes", slapd.ldaps, "--mailboxes", path, url=False)
    assert done.code == 6
    assert f"{SITE}/cn=Recipients/cn=gone ({path}, line 3): not in the directory" in done.err


@pytest.mark.parametrize(
    ("options", "right"),
    [
        (["--mailbox", "outer@example.com"], ["u0001", "u0002", "u0003"]),
        (["--mailbox", f"{SITE}/cn=Recipients/cn=u0004", "--mailbox", "u0005"], ["u0004", "u0005"]),
        (
            ["--directory-filter", "(&(department=Sales)(|(mailNickname=u0003)(mailNickname=u0006)))"],
            ["u0003", "u0006"],
        ),
    ],
)
def test_what_the_directory_says_is_what_is_searched(
    slapd: Slapd, mail: Path, options: list[str], right: list[str]
) -> None:
    assert searched(run(slapd, "search", mail, *options, *SUBJECT)) == right


def test_s08_a_member_that_cannot_be_seen_is_not_searched_and_named(slapd: Slapd, mail: Path) -> None:
    """In a search and in a listing: the others are, and the status says that they are not all."""
    done = run(slapd, "search", mail, "--mailbox", "torn", *SUBJECT)
    assert done.code == 6, done
    assert [Path(line["mailbox"]).name for line in done.lines()[:-1]] == ["u0004@example.com"]
    assert done.lines()[-1]["summary"]["not_searched"] == 3
    assert f"cn=Chair,ou=Board,{BASE}" in done.err
    done = run(slapd, "mailboxes", slapd.ldaps, "--mailbox", "torn", url=False)
    assert done.code == 6, done
    assert "u0004@example.com" in done.out


def test_mailboxes_of_a_server_are_shown_with_what_the_directory_says_of_them(slapd: Slapd) -> None:
    """Type, hidden and disabled of the one, items and bytes of the other."""
    world, _ = small_world()
    box = world.mailbox("u0050@example.com")
    world.deliver(box, "inbox", mail_of(1))
    with Server(world) as server:
        login = {"USER": "admin@example.test", "PASSWORD": SERVER_PASSWORD, "AUTH": "basic"}
        variables = {f"EXCISE_EWS_{name}": value for name, value in login.items()}
        where = ("--directory", slapd.ldaps, "--directory-user", READER, "--directory-ca", str(slapd.ca))
        place = f"ews://127.0.0.1:{server.port}/?plain=1"
        arguments = ("mailboxes", place, "--mailbox", "u0050@example.com", *where)
        done = excise_cli(*arguments, "--json", environment=variables | {"EXCISE_LDAP_PASSWORD": PASSWORD})
        table = excise_cli(*arguments, environment=variables | {"EXCISE_LDAP_PASSWORD": PASSWORD})
    assert done.code == 0, done
    [line] = done.lines()
    assert (line["type"], line["hidden"], line["disabled"], line["items"]) == ("room", False, True, 1)
    assert table.out.splitlines()[0].split() == ["mailbox", "kind", "items", "bytes", "type", "marks"]
    assert table.out.splitlines()[1].split()[-2:] == ["room", "disabled"]


def test_a_mailbox_of_the_directory_that_the_source_lacks_is_an_error(slapd: Slapd, mail: Path) -> None:
    done = run(slapd, "search", mail, "--directory-database", "DB02", *SUBJECT)
    assert done.code == 6 and "no mailbox of these sources is called u0015@example.com" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "and not which of its mailboxes"),
        (["--mailbox", "u0001", "--directory-database", "DB01"], "are both given"),
        (["--mailbox", "u0001", "--all-mailboxes"], "are both given"),
        (["--directory-filter", "", "--directory-database", "DB01"], "--directory-filter is empty"),
        (["--directory-server", " ", "--all-mailboxes"], "--directory-server is empty"),
    ],
)
def test_s03_which_mailboxes_is_always_said(slapd: Slapd, mail: Path, options: list[str], said: str) -> None:
    done = run(slapd, "search", mail, *options, *SUBJECT)
    assert (done.code, done.out) == (2, "") and said in done.err, done


def test_s03_no_mailbox_never_means_all(slapd: Slapd, mail: Path) -> None:
    for options in (["--directory-filter", "(department=None)"], ["--directory-base", f"ou=Board,{BASE}"]):
        done = run(slapd, "search", mail, *options, *SUBJECT)
        assert done.out == "" and done.code in (2, 6), done
    done = run(slapd, "search", mail, "--directory-filter", "(department=None)", *SUBJECT)
    assert done.code == 6 and "no mailbox is meant" in done.err


def test_a_listing_without_a_directory_is_refused(slapd: Slapd, mail: Path) -> None:
    done = run(slapd, "search", mail, "--directory-database", "DB01", *SUBJECT, url=False)
    assert done.code == 2 and "Give --directory" in done.err


def test_a_directory_is_no_source_of_mail(slapd: Slapd) -> None:
    done = excise_cli("search", slapd.ldaps, *SUBJECT)
    assert done.code == 2 and "name it with --directory" in done.err
    assert run(slapd, "mailboxes", slapd.ldaps, slapd.ldaps, url=False).code == 2


# Passwords


def test_a_wrong_password_ends_with_what_to_do(slapd: Slapd, mail: Path) -> None:
    done = run(slapd, "search", mail, "--mailbox", "u0001", *SUBJECT, password="wrong")
    assert done.code == 6 and "the login was refused" in done.err and "[unauthorised]" in done.err


def test_s26_without_any_password_it_is_said_where_to_put_one(slapd: Slapd, mail: Path) -> None:
    done = run(slapd, "search", mail, "--mailbox", "u0001", *SUBJECT, password=None)
    assert done.code == 2 and "Set EXCISE_LDAP_PASSWORD" in done.err and f"keyring set excise:{slapd.ldaps}" in done.err


KEYRING = """
import json, pathlib, keyring.backend
class Keyring(keyring.backend.KeyringBackend):
    priority = 1
    def get_password(self, service, user):
        return json.loads(pathlib.Path(__file__).with_suffix(".json").read_text()).get(f"{service} {user}")
    def set_password(self, service, user, password):
        raise NotImplementedError
"""


def test_s26_the_password_comes_from_the_keyring(
    slapd: Slapd, mail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "filed_keyring.py").write_text(KEYRING)
    (tmp_path / "filed_keyring.json").write_text(json.dumps({f"excise:{slapd.ldaps} {READER}": PASSWORD}))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    variables = {"EXCISE_LDAP_PASSWORD": "", "PYTHON_KEYRING_BACKEND": "filed_keyring.Keyring"}
    login = ["--directory", slapd.ldaps, "--directory-user", READER, "--directory-ca", slapd.ca]
    done = excise_cli("search", mail, "--mailbox", "u0001", *login, *SUBJECT, environment=variables)
    assert searched(done) == ["u0001"]


def test_without_ldap3_it_is_said_what_to_install(mail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ldap3.py").write_text("raise ImportError('ldap3')")
    for name in [name for name in sys.modules if name.startswith(("ldap3", "excise.ldap"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "broken"), *sys.path])
    done = excise_cli("search", mail, "--mailbox", "u0001", "--directory", "ldaps://dc1", *SUBJECT)
    assert done.code == 2 and "pip install 'excise[ldap]'" in done.err


def test_s26_the_password_is_asked_for_at_a_terminal_and_not_shown(slapd: Slapd, mail: Path) -> None:
    login = ["--directory", slapd.ldaps, "--directory-user", READER, "--directory-ca", str(slapd.ca)]
    command = command_line("search", mail, "--mailbox", "u0001", *login, *SUBJECT)
    variables = environment() | {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "EXCISE_LDAP_PASSWORD": ""}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, variables)  # noqa: S606 - the program under test
    shown = b""
    try:
        while b"Password of" not in shown or not shown.rstrip().endswith(b":"):
            shown += os.read(terminal, 4096)
        os.write(terminal, PASSWORD.encode() + b"\n")
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while data := os.read(terminal, 4096):
                shown += data
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert b"u0001@example.com" in shown and PASSWORD.encode() not in shown


# Profiles


def profile(tmp_path: Path, server: Slapd, more: str, top: str = "") -> Path:
    path = tmp_path / "job.toml"
    where = f'url = "{server.ldaps}"\nuser = "{READER}"\nca = "{server.ca}"\n'
    path.write_text(f'{top}\n[directory]\n{where}{more}\n[criteria]\nsubject = "Report"\n')
    return path


def use(path: Path, mail: Path, *more: str) -> Done:
    return excise_cli(
        "search", mail, "--profile", path, "--json", *more, environment={"EXCISE_LDAP_PASSWORD": PASSWORD}
    )


def test_a_profile_lists_mailboxes_of_the_directory(slapd: Slapd, mail: Path, tmp_path: Path) -> None:
    path = profile(tmp_path, slapd, 'filter = "(|(mailNickname=u0001)(mailNickname=u0002))"\ndatabases = ["DB01"]')
    assert searched(use(path, mail)) == ["u0001", "u0002"]
    assert searched(use(path, mail, "--mailbox", "u0008")) == ["u0008"]
    assert searched(use(path, mail, "--directory-filter", "(mailNickname=u0003)")) == ["u0003"]


def test_a_profile_names_mailboxes_that_the_directory_knows(slapd: Slapd, mail: Path, tmp_path: Path) -> None:
    dn = f'mailboxes = ["{SITE}/cn=Recipients/cn=u0004"]'
    assert searched(use(profile(tmp_path, slapd, "", dn), mail)) == ["u0004"]
    done = use(profile(tmp_path, slapd, 'servers = ["EX01"]', dn), mail)
    assert done.code == 2 and "[directory] lists some" in done.err


@pytest.mark.parametrize("more", ['filter = ""', "databases = []", 'servers = [" "]', 'password = "x"', "base = 1"])
def test_what_is_wrong_in_a_profiles_directory_is_refused(slapd: Slapd, mail: Path, tmp_path: Path, more: str) -> None:
    done = use(profile(tmp_path, slapd, more), mail)
    assert done.code == UsageError.exit_code and "directory" in done.err
