"""The directory against Debian's slapd: listing, paging, names, groups, and every mistake of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from directory.server import (
    BASE,
    DATABASES,
    PASSWORD,
    READER,
    SITE,
    USERS,
    Slapd,
    needs_slapd,
    running,
    slapd,
    user_dn,
)
from excise.core.errors import ExciseError, SourceUnavailable, UsageError
from excise.ldap.client import Client, Login, connect, parse_url
from excise.ldap.directory import Directory, Wanted
from excise.ldap.entries import Entry
from excise.model.recipient import RecipientType
from excise.store_api.errors import Unauthorised

pytestmark = needs_slapd
__all__ = ["slapd"]
LOGIN = Login(READER, PASSWORD)
#: Mailboxes beside the 3,000 that the reader may see: star, old2003, twin1, twin2.
MORE = 4


@pytest.fixture
def directory(slapd: Slapd) -> Iterator[Directory]:
    with connect(parse_url(slapd.ldaps), LOGIN, slapd.ca) as client:
        yield Directory(client)


# Listing


def test_every_mailbox_is_listed_though_the_server_gives_few_at_once(directory: Directory) -> None:
    unpaged = directory.client._connection
    unpaged.search(BASE, "(homeMDB=*)")
    assert (unpaged.result["description"], len(unpaged.response)) == ("sizeLimitExceeded", 200)
    before = directory.client.requests
    found = directory.mailboxes(Wanted())
    assert len(found.mailboxes) == USERS + MORE
    assert directory.client.requests - before == 7  # pages of 500
    assert {one.address for one in found.mailboxes} >= {f"u{n:04}@example.com" for n in range(1, USERS + 1)}
    assert sorted(found.addresses, key=str.casefold) == list(found.addresses)
    assert [line.partition(":")[0] for line in found.passed_over] == [
        f"cn=Arbitration,ou=Odd (very),{BASE}",
        f"cn=No mail,ou=Odd (very),{BASE}",
    ]


def test_hidden_and_disabled_ones_are_listed_and_marked(directory: Directory) -> None:
    found = {one.address: one for one in directory.mailboxes(Wanted()).mailboxes}
    numbers = range(1, USERS + 1)
    for mark, right in (
        ("hidden", [n for n in numbers if n % 10 == 7]),
        ("disabled", [n for n in numbers if n % 10 == 9 or n % 100 == 50]),
    ):
        assert sorted(a for a, one in found.items() if mark in one.marks) == [f"u{n:04}@example.com" for n in right]
    room, anna = found["u0050@example.com"], found["u0001@example.com"]
    assert (room.type, room.disabled) == (RecipientType.ROOM, True)
    assert (anna.type, anna.hidden, anna.disabled, anna.display) == (RecipientType.USER, False, False, "Usér 1")
    assert anna.legacy_dn == f"{SITE}/cn=Recipients/cn=u0001"
    assert anna.guid == "00000000-0000-0000-0000-000000000001"
    assert user_dn(1) in anna.source
    assert found["star@example.com"].disabled is None


@pytest.mark.parametrize(
    ("wanted", "right"),
    [
        (Wanted(databases=("DB02",)), [n for n in range(1, USERS + 1) if n % 5 == 0]),
        (Wanted(databases=(DATABASES["DB02"],)), [n for n in range(1, USERS + 1) if n % 5 == 0]),
        (
            Wanted(databases=(f"{SITE}/cn=Configuration/cn=Servers/cn=EX01/cn=DB02",)),
            [n for n in range(1, USERS + 1) if n % 5 == 0],
        ),
        (Wanted(servers=("ex02",)), [n for n in range(1, USERS + 1) if n % 5 == 0]),
        (Wanted(servers=(f"{SITE}/cn=Configuration/cn=Servers/cn=EX01", "EX02")), list(range(1, USERS + 1))),
        (Wanted(base=f"ou=Sales,{BASE}"), [n for n in range(1, USERS + 1) if n % 3 == 0]),
        (Wanted(filter="department=Sales"), [n for n in range(1, USERS + 1) if n % 3 == 0]),
        (
            Wanted(f"ou=Sales,{BASE}", "(userAccountControl=514)", ("DB02",), ("EX02",)),
            [n for n in range(1, USERS + 1) if n % 3 == 0 and n % 5 == 0 and n % 100 == 50],
        ),
    ],
)
def test_base_filter_databases_and_servers_all_narrow(directory: Directory, wanted: Wanted, right: list[int]) -> None:
    assert wanted.limits
    assert list(directory.mailboxes(wanted).addresses) == [f"u{n:04}@example.com" for n in right]


def test_a_database_of_no_or_of_two_servers_is_an_error_that_lists_them(directory: Directory) -> None:
    with pytest.raises(SourceUnavailable, match="no databases are called 'DB09'") as error:
        directory.mailboxes(Wanted(databases=("DB09",)))
    assert "DB01, DB02, Twin, Twin" in error.value.text()
    with pytest.raises(SourceUnavailable, match="2 databases are called 'Twin'") as error:
        directory.mailboxes(Wanted(databases=("Twin",)))
    assert f"cn=Twin,cn=EX02,cn=Configuration,{BASE}" in error.value.text()


@pytest.mark.parametrize("name", ["*", "EX0*", "EX02)(objectClass=*", "\\", "\0"])
def test_s27_a_name_with_the_signs_of_filters_means_itself(directory: Directory, name: str) -> None:
    assert directory.mailboxes(Wanted(servers=(name,))).mailboxes == []
    with pytest.raises(SourceUnavailable, match="not in the directory"):
        directory.resolve([name])


# Names


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("u0001@example.com", "u0001@example.com"),
        ("U0001@OLD.example.com", "u0001@example.com"),
        (f"{SITE}/cn=Recipients/cn=U0002", "u0002@example.com"),
        (f"{SITE}/cn=Recipients/cn=former", "old2003@example.com"),
        ("u0003", "u0003@example.com"),
        (user_dn(4), "u0004@example.com"),
        (user_dn(5).replace(",", " ,  ").upper(), "u0005@example.com"),
        ("a*b(c)", "star@example.com"),
    ],
)
def test_a_name_of_any_kind_becomes_its_primary_address(directory: Directory, name: str, address: str) -> None:
    found = directory.resolve([name])
    assert found.addresses == (address,)
    assert found.mailboxes[0].source.endswith(f", {name}")
    assert found.passed_over == []


def test_a_long_list_takes_a_request_for_fifty_names_and_names_none_twice(directory: Directory) -> None:
    before = directory.client.requests
    names = [f"{SITE}/cn=Recipients/cn=u{n:04}" for n in range(1, 1001)]
    found = directory.resolve([*names, "u0001@example.com"])
    assert found.addresses == tuple(f"u{n:04}@example.com" for n in range(1, 1001))
    assert directory.client.requests - before == 21


def test_names_that_mean_no_mailbox_are_all_told(directory: Directory) -> None:
    names = ["u0001@example.com", "nobody@example.com", "partner@other.example.net", "cloud@example.com", "twin"]
    with pytest.raises(SourceUnavailable) as error:
        directory.resolve([*names, *(f"x{n}" for n in range(20))])
    text = error.value.text()
    assert "24 of 25 names mean no mailbox" in text
    assert "nobody@example.com: not in the directory" in text
    assert "partner@other.example.net: a mailbox of type contact" in text
    assert "cloud@example.com: a mailbox of type remote" in text
    assert "twin: means 2 entries" in text
    assert "and 14 more" in text


# Groups


def test_groups_are_expanded_to_the_bottom_though_they_form_a_circle(directory: Directory) -> None:
    found = directory.resolve(["outer@example.com"])
    assert sorted(found.addresses) == ["u0001@example.com", "u0002@example.com", "u0003@example.com"]
    assert found.passed_over == [f"cn=Partner,ou=Odd (very),{BASE}: contact, no mailbox of these servers"]


def test_a_large_group_is_whole(directory: Directory) -> None:
    assert len(directory.resolve(["large"]).mailboxes) == 1800


def test_members_that_cannot_be_seen_are_told_and_the_others_found(directory: Directory) -> None:
    found = directory.resolve(["torn"])
    assert found.addresses == ("u0004@example.com",)
    assert {name for name, _ in found.unread} == {
        f"cn=Chair,ou=Board,{BASE}", f"cn=gone,{BASE}", "cn=x,dc=elsewhere,dc=net",
    }  # fmt: skip
    assert all("does not show" in why for _, why in found.unread)


def test_a_dynamic_group_is_what_its_filter_says(directory: Directory) -> None:
    right = {f"u{n:04}@example.com" for n in range(1, USERS + 1) if n % 3 == 0 and (n % 10 == 9 or n % 100 == 50)}
    assert set(directory.resolve(["dynamic"]).addresses) == right


class Ranges(Client):
    """A directory that gives members as Active Directory does: 1,500 at once, under a name that tells which."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(parse_url("ldaps://dc1"), None)
        self.names = names

    def search(self, base: str, search_filter: str, attributes: object, *, scope: str = "") -> Iterator[Entry]:
        wanted = attributes[0] if isinstance(attributes, tuple) else ""
        if not str(wanted).startswith("member"):
            yield Entry("", {"defaultnamingcontext": [BASE.encode()]})
            return
        start = int(str(wanted).partition("=")[2].partition("-")[0] or 0)
        end = "*" if start + 1500 >= len(self.names) else str(start + 1499)
        some = [name.encode() for name in self.names[start : start + 1500]]
        yield Entry(base, {"member": [], f"member;range={start}-{end}": some})


@pytest.mark.parametrize("count", [0, 1, 1500, 1501, 4000])
def test_members_in_ranges_are_put_together(count: int) -> None:
    names = [f"cn={n}" for n in range(count)]
    assert Directory(Ranges(names))._member_names("cn=group") == names


def test_an_answer_that_a_limit_cut_short_is_an_error(tmp_path: Path) -> None:
    with running(tmp_path, pages="size.pr=500 size.prtotal=600") as server:
        error = refused(server.ldaps, ca=server.ca)
    assert "stopped at its own limit" in error.text()


def test_a_server_without_pages_is_told(tmp_path: Path) -> None:
    with running(tmp_path, pages="size.prtotal=disabled") as server:
        assert "limit" in refused(server.ldaps, ca=server.ca).text()


# Connecting


def test_starttls_gives_the_same_as_ldaps(slapd: Slapd) -> None:
    with connect(parse_url(slapd.ldap), LOGIN, slapd.ca) as client:
        assert len(Directory(client).mailboxes(Wanted(databases=("DB02",))).mailboxes) == USERS // 5


def refused(url: str, login: Login = LOGIN, ca: Path | None = None, wanted: Wanted = Wanted()) -> ExciseError:  # noqa: B008
    with pytest.raises(ExciseError) as error, connect(parse_url(url), login, ca) as client:
        Directory(client).mailboxes(wanted)
    assert PASSWORD not in error.value.text()
    return error.value


def test_a_wrong_password_is_tried_once_and_told(slapd: Slapd) -> None:
    error = refused(slapd.ldaps, Login(READER, "wrong"), slapd.ca)
    assert isinstance(error, Unauthorised)
    assert "the name or the password is wrong" in error.text() and "tried once" in error.text()
    assert "wrong" not in repr(Login(READER, "wrong"))


def test_s26_a_name_without_a_password_is_never_sent(slapd: Slapd) -> None:
    assert isinstance(refused(slapd.ldaps, Login(READER, ""), slapd.ca), UsageError)


def test_an_anonymous_login_that_may_see_nothing_is_told_so(slapd: Slapd) -> None:
    error = refused(slapd.ldaps, Login(), slapd.ca)
    assert "--directory-user" in error.text()


@pytest.mark.parametrize("base", ["ou=Nowhere,dc=example,dc=com", "no name"])
def test_a_wrong_base_is_told(slapd: Slapd, base: str) -> None:
    error = refused(slapd.ldaps, ca=slapd.ca, wanted=Wanted(base=base))
    assert f"there is no entry '{base}'" in error.text() and "--directory-base" in error.text()


@pytest.mark.parametrize("text", ["(department=", "department", "(&)(x", "(a=b))"])
def test_a_wrong_filter_is_told(slapd: Slapd, text: str) -> None:
    error = refused(slapd.ldaps, ca=slapd.ca, wanted=Wanted(filter=text))
    assert isinstance(error, UsageError) and "filter" in error.text()


def test_a_ca_that_is_not_trusted_is_told(slapd: Slapd) -> None:
    for url in (slapd.ldaps, slapd.ldap):
        assert "--directory-ca" in refused(url).text()


def test_a_file_that_holds_no_ca_is_told(slapd: Slapd, tmp_path: Path) -> None:
    assert "--directory-ca" in refused(slapd.ldaps, ca=tmp_path / "none.pem").text()
    (tmp_path / "empty.pem").write_text("nothing")
    assert "--directory-ca" in refused(slapd.ldaps, ca=tmp_path / "empty.pem").text()


def test_an_expired_certificate_is_told(tmp_path: Path) -> None:
    with running(tmp_path, days=-1, entries=False) as server:
        for url in (server.ldaps, server.ldap):
            assert "its certificate has expired" in refused(url, ca=server.ca).text()


def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    with running(tmp_path, host="dc1.example.com", entries=False) as server:
        for url in (server.ldaps, server.ldap):
            assert "its certificate is for another name" in refused(url, ca=server.ca).text()


def test_tls_on_the_port_without_it_and_no_server_at_all_are_told(slapd: Slapd) -> None:
    assert "does not speak TLS" in refused(slapd.ldap.replace("ldap:", "ldaps:"), ca=slapd.ca).text()
    assert "nothing listens" in refused("ldaps://127.0.0.1:1", ca=slapd.ca).text()
    assert "no host of this name" in refused("ldaps://no-such-host.invalid", ca=slapd.ca).text()


def test_a_server_that_stops_in_the_middle_is_an_error_and_no_short_list(tmp_path: Path) -> None:
    import os
    import signal

    with running(tmp_path) as server:
        pid = int((tmp_path / "slapd.pid").read_text())
        with connect(parse_url(server.ldaps), LOGIN, server.ca) as client:
            entries = client.search(BASE, "(homeMDB=*)", ("mail",))
            assert next(entries).dn
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(SourceUnavailable, match="connection failed"):
                list(entries)


@pytest.mark.parametrize("url", ["http://dc1", "ldaps://", "ldaps://dc1:x", "ldaps://dc1/?sub", "dc1", "ldaps://[::1"])
def test_what_is_no_directory_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_url(url)


def test_s26_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as error:
        parse_url("ldaps://reader:geheim@dc1")
    assert "geheim" not in error.value.text()


def test_an_address_may_name_port_and_base() -> None:
    place = parse_url("ldaps://[::1]:3269/ou=Sales%20,dc=example")
    assert (place.host, place.port, place.base, place.url) == (
        "::1",
        3269,
        "ou=Sales ,dc=example",
        "ldaps://[::1]:3269",
    )
