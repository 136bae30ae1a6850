"""Who gets what from the EWS server: owners, delegates, impersonation, public folders, the address book, TLS."""

from __future__ import annotations

import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ews.test_server_operations import delete, ids_of
from ews.worlds import NAMES, PASSWORD, Client, mail, serving, small_world
from ews_server import Mailbox, Server, World, gromox
from programs import needs_program


@pytest.fixture
def served() -> Iterator[tuple[Server, World, Mailbox]]:
    """Anna's mailbox, bob beside it."""
    world, mailbox = small_world()
    with serving(world) as server:
        yield server, world, mailbox
        assert not server.log.complaints


def folder(name: str, address: str = "") -> str:
    """A DistinguishedFolderId, of a mailbox where there is an address."""
    owner = f"<t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>" if address else ""
    return f'<t:DistinguishedFolderId Id="{name}">{owner}</t:DistinguishedFolderId>'


def get(*folders: str) -> str:
    """A GetFolder."""
    return (
        "<m:GetFolder><m:FolderShape><t:BaseShape>AllProperties</t:BaseShape></m:FolderShape>"
        f"<m:FolderIds>{''.join(folders)}</m:FolderIds></m:GetFolder>"
    )


ANNA = "anna@example.test"


def test_a_delegate_gets_what_each_folder_grants(served: tuple[Server, World, Mailbox]) -> None:
    server, world, mailbox = served
    bob = Client(server, "bob@example.test")
    wanted = get(folder("root", ANNA), folder("inbox", ANNA), folder("drafts", ANNA))
    assert bob.codes(wanted) == ["ErrorAccessDenied"] * 3
    world.find_folder(mailbox, "inbox").permissions["bob@example.test"] = "Reviewer"
    assert bob.codes(wanted) == ["ErrorAccessDenied", "NoError", "ErrorAccessDenied"]
    rights = bob.ask(wanted).find(".//t:EffectiveRights", NAMES)
    assert {right.tag.split("}")[1]: right.text for right in rights} == {
        "CreateAssociated": "false", "CreateContents": "false", "CreateHierarchy": "false",
        "Delete": "false", "Modify": "false", "Read": "true",
    }  # fmt: skip
    assert bob.codes(delete(ids_of(world, mailbox)[:1])) == ["ErrorAccessDenied"]


def test_a_batch_is_denied_in_its_midst(served: tuple[Server, World, Mailbox]) -> None:
    server, world, mailbox = served
    world.deliver(mailbox, "drafts", mail(60))
    world.find_folder(mailbox, "inbox").permissions["bob@example.test"] = "Editor"
    first, second = ids_of(world, mailbox)[:2]
    batch = [first, ids_of(world, mailbox, "drafts")[0], second]
    assert Client(server, "bob@example.test").codes(delete(batch)) == ["NoError", "ErrorAccessDenied", "NoError"]


def test_a_delegate_moves_to_deleted_items_with_moveitem(served: tuple[Server, World, Mailbox]) -> None:
    server, world, mailbox = served
    mailbox.full_access.append("bob@example.test")
    bob = Client(server, "bob@example.test")
    ids = ids_of(world, mailbox)[:1]
    assert bob.codes(delete(ids, "MoveToDeletedItems")) == ["ErrorCannotDeleteObject"]
    target = f"<m:ToFolderId>{folder('deleteditems', ANNA)}</m:ToFolderId>"
    assert bob.codes(f"<m:MoveItem>{target}<m:ItemIds>{ids[0]}</m:ItemIds></m:MoveItem>") == ["NoError"]
    assert len(world.items_in(mailbox, "deleteditems")) == 1


def test_impersonation_needs_its_right_and_a_mailbox(served: tuple[Server, World, Mailbox]) -> None:
    server, world, _ = served
    admin = Client(server, "admin@example.test", impersonated=ANNA)
    assert admin.codes(get(folder("inbox"))) == ["NoError"]
    assert Client(server, "admin@example.test").codes(get(folder("inbox"))) == ["ErrorNonExistentMailbox"]
    admin.impersonated = "nobody@example.test"
    assert (admin.post(get(folder("inbox")))[0], b"ErrorNonExistentMailbox" in admin.post(get(folder("inbox")))[1]) == (
        500,
        True,
    )
    bob = Client(server, "bob@example.test", impersonated=ANNA)
    assert b"ErrorImpersonateUserDenied" in bob.post(get(folder("inbox")))[1]
    world.users["bob@example.test"].impersonates.append(ANNA)
    assert bob.codes(get(folder("inbox"))) == ["NoError"]
    assert {request.actor for request in server.log.requests} == {ANNA, "admin@example.test", ""}


def test_an_alias_opens_nothing_and_its_error_names_the_primary_address(served: tuple[Server, World, Mailbox]) -> None:
    server, _, mailbox = served
    alias = mailbox.aliases[0]
    mailbox.full_access.append("bob@example.test")
    answer = Client(server, "bob@example.test").ask(get(folder("inbox", alias)))
    assert answer.findtext(".//t:Value[@Name='Primary']", namespaces=NAMES) == ANNA
    admin = Client(server, "admin@example.test", impersonated=alias)
    assert b"ErrorNonPrimarySmtpAddress" in admin.post(get(folder("inbox")))[1]
    server.quirks.aliases_open = True
    assert admin.codes(get(folder("inbox"))) == ["NoError"]


def test_an_address_may_have_a_new_owner(served: tuple[Server, World, Mailbox]) -> None:
    server, world, mailbox = served
    client = Client(server)
    key = '<t:ExtendedFieldURI PropertyTag="0x0FFA" PropertyType="Binary"/>'
    shape = f"<t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>{key}</t:AdditionalProperties>"
    wanted = (
        f"<m:GetFolder><m:FolderShape>{shape}</m:FolderShape><m:FolderIds>{folder('root')}</m:FolderIds></m:GetFolder>"
    )
    before = client.ask(wanted).findtext(".//t:Value", namespaces=NAMES)
    old = ids_of(world, mailbox)
    world.remove_mailbox(mailbox)
    world.mailbox(ANNA, guid="00000000-0000-4000-8000-000000000001")
    assert client.ask(wanted).findtext(".//t:Value", namespaces=NAMES) != before
    assert client.codes(delete(old[:1])) == ["ErrorNonExistentMailbox"]


def test_missing_folders_and_mailboxes_are_errors_of_their_own(served: tuple[Server, World, Mailbox]) -> None:
    server, _, _ = served
    client = Client(server)
    wanted = get(
        folder("inbox"), folder("voicemail"), folder("archiveroot", "bob@example.test"), folder("inbox", "x@y")
    )
    assert client.codes(wanted) == [
        "NoError",
        "ErrorFolderNotFound",
        "ErrorFolderNotFound",
        "ErrorNonExistentMailbox",
    ]
    server.quirks = gromox()
    assert client.codes(get(folder("inbox", "x@y"))) == ["ErrorCannotFindUser"]


def test_audits_are_seen_and_never_opened(served: tuple[Server, World, Mailbox]) -> None:
    server, world, mailbox = served
    client = Client(server)
    below = (
        '<m:FindFolder Traversal="Deep"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>'
        f"<m:ParentFolderIds>{folder('recoverableitemsroot')}</m:ParentFolderIds></m:FindFolder>"
    )
    assert "Audits" in [name.text for name in client.ask(below).iterfind(".//t:DisplayName", NAMES)]
    from ews_server.shapes import folder_id

    audits = folder_id(world, world.folders[mailbox.distinguished["audits"]])
    assert client.codes(get(f'<t:FolderId Id="{audits.get("Id")}"/>')) == ["ErrorAccessDenied"]


def test_public_folders_are_read_by_all_and_walked_level_by_level(served: tuple[Server, World, Mailbox]) -> None:
    server, world, _ = served
    client = Client(server)
    assert client.codes(get(folder("publicfoldersroot"))) == ["ErrorPublicFolderServerNotFound"]
    public = world.public_folders()
    notices = world.folder(public, "publicfoldersroot", "Notices")
    world.deliver(public, notices, mail(70))
    search = (
        '<m:FindFolder Traversal="{}"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>'
        f"<m:ParentFolderIds>{folder('publicfoldersroot')}</m:ParentFolderIds></m:FindFolder>"
    )
    assert client.codes(search.format("Deep")) == ["ErrorInvalidOperation"]
    assert client.ask(search.format("Shallow")).findtext(".//t:DisplayName", namespaces=NAMES) == "Notices"
    item = world.items_in(public, notices)[0]
    from ews_server.shapes import item_id

    identity = f'<t:ItemId Id="{item_id(world, item).get("Id")}"/>'
    assert client.codes(delete([identity])) == ["ErrorAccessDenied"]
    notices.permissions[ANNA] = "Editor"
    assert client.codes(delete([identity], "MoveToDeletedItems")) == ["ErrorCannotDeleteObject"]
    assert client.codes(delete([identity], "SoftDelete")) == ["NoError"]


def test_names_resolve_as_in_an_address_book(served: tuple[Server, World, Mailbox]) -> None:
    server, world, mailbox = served
    world.mailbox("andrew@example.test", hidden=True)
    world.mailbox("anton@example.test")
    client = Client(server)

    def resolve(text: str) -> tuple[str, list[str]]:
        entry = f"<m:UnresolvedEntry>{text}</m:UnresolvedEntry>"
        answer = client.ask(f'<m:ResolveNames ReturnFullContactData="true">{entry}</m:ResolveNames>')
        addresses = [found.text for found in answer.iterfind(".//t:Mailbox/t:EmailAddress", NAMES)]
        return answer.findtext(".//m:ResponseCode", namespaces=NAMES), addresses

    assert resolve("an") == ("ErrorNameResolutionMultipleResults", [ANNA, "anton@example.test"])
    assert resolve("zz") == ("ErrorNameResolutionNoResults", [])
    assert resolve(mailbox.legacy_dn) == ("NoError", [ANNA])
    assert resolve("smtp:a.smith@example.test") == ("NoError", [ANNA])
    assert resolve("andrew@example.test") == ("NoError", ["andrew@example.test"])


def test_lists_expand_one_level_and_may_hold_themselves(served: tuple[Server, World, Mailbox]) -> None:
    server, world, _ = served
    world.distribution_list("all@example.test", [ANNA, "team@example.test", "guest@example.org"])
    world.distribution_list("team@example.test", ["all@example.test", "bob@example.test"])
    world.distribution_list("secret@example.test", [ANNA], hidden=True)
    client = Client(server)

    def expand(address: str) -> list[tuple[str, str]]:
        mailbox = f"<m:Mailbox><t:EmailAddress>{address}</t:EmailAddress></m:Mailbox>"
        answer = client.ask(f"<m:ExpandDL>{mailbox}</m:ExpandDL>")
        return [
            (found.findtext("t:EmailAddress", namespaces=NAMES), found.findtext("t:MailboxType", namespaces=NAMES))
            for found in answer.iterfind(".//t:Mailbox", NAMES)
        ]

    assert expand("all@example.test") == [
        (ANNA, "Mailbox"),
        ("team@example.test", "PublicDL"),
        ("guest@example.org", "OneOff"),
    ]
    assert expand("team@example.test")[0] == ("all@example.test", "PublicDL")
    assert expand("secret@example.test") == expand("none@example.test") == []


def test_the_address_list_comes_in_pages(served: tuple[Server, World, Mailbox]) -> None:
    server, world, _ = served
    world.mailbox("hidden@example.test", hidden=True)

    def people(offset: int, words: str = "") -> list[str]:
        answer = Client(server).ask(
            f'<m:FindPeople><m:IndexedPageItemView MaxEntriesReturned="1" Offset="{offset}" BasePoint="Beginning"/>'
            f"<m:ParentFolderId>{folder('directory')}</m:ParentFolderId><m:QueryString>{words}</m:QueryString>"
            "</m:FindPeople>"
        )
        assert answer.findtext("m:TotalNumberOfPeopleInView", namespaces=NAMES) == ("1" if words else "2")
        return [name.text for name in answer.iterfind(".//t:Persona/t:DisplayName", NAMES)]

    assert [people(0), people(1), people(2), people(0, "bo")] == [["Anna"], ["Bob"], [], ["Bob"]]


@needs_program("openssl")
def test_tls_is_spoken_with_a_given_certificate(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    world, _ = small_world()
    with serving(world, certificate=certificate, key=key) as server:
        assert server.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(certificate))
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(server.url, context=trusting, timeout=10)  # noqa: S310
        refused.value.close()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(server.url, timeout=10)  # noqa: S310


def test_a_login_with_a_domain_is_another_name_of_its_address() -> None:
    world, _ = small_world()
    world.user("ops@example.test", PASSWORD, login="EXAMPLE\\ops", impersonates=["*"])
    with serving(world) as server:
        for login in ("EXAMPLE\\OPS", "ops@example.test"):
            assert Client(server, login, impersonated=ANNA).codes(get(folder("inbox"))) == ["NoError"]
