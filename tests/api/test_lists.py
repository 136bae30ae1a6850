"""Lists of mailboxes and Message-IDs as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.command import excise_cli
from engine.mail_files import message, write_mbox
from excise.api.lists import Listed, has_message_ids, is_address, is_legacy_dn, read_mailboxes, read_message_ids
from excise.core.errors import ExciseError, UsageError

DN = "/o=First Organization/ou=First Administrative Group/cn=Recipients/cn=anna"
TRACE = (
    '#TYPE Deserialized.MessageTrace\r\n"Organization","MessageId","RecipientAddress","Subject"\r\n'
    '"example","<1@example.com>","anna@example.com","one, two"\r\n'
    '"example","<1@example.com>","ben@example.com","a ""quoted""\r\n# subject of two lines"\r\n'
    '"example","<1@example.com>","","nobody"\r\n"example","<1@example.com>","ANNA@example.com","again"\r\n'
)


def listed(tmp_path: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_of_windows_gives_the_same_mailboxes(tmp_path: Path, encoding: str) -> None:
    path = listed(tmp_path, f"# made by ExMerge\r\n{DN}\r\n\r\nanna@example.com\r\nBoîte d'Émile\r\n", encoding)
    found = read_mailboxes(path)
    assert found.entries == (Listed(DN, 2), Listed("anna@example.com", 4), Listed("Boîte d'Émile", 5))


def test_a_list_in_a_windows_code_page_is_read_and_its_encoding_said(tmp_path: Path) -> None:
    found = read_mailboxes(listed(tmp_path, "Émile\r\n", "cp1252"))
    assert (found.values, found.encoding) == (("Émile",), "cp1252")


def test_a_message_trace_is_a_list_of_mailboxes_and_of_ids(tmp_path: Path) -> None:
    path = listed(tmp_path, TRACE)
    found = read_mailboxes(path)
    assert found.entries == (Listed("anna@example.com", 3), Listed("ben@example.com", 4))
    assert (found.repeated, found.empty) == (1, (6,))
    assert "1 named more than once" in str(found) and "line 6" in str(found)
    assert has_message_ids(path)
    assert set(read_message_ids(path)) == {"<1@example.com>"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_may_be_separated_in_any_usual_way(tmp_path: Path, delimiter: str) -> None:
    path = listed(tmp_path, f"Name{delimiter}Primary-SMTP_Address\nAnna{delimiter}anna@example.com\n")
    assert read_mailboxes(path).values == ("anna@example.com",)


def test_recipients_of_a_tracking_log_are_taken_apart(tmp_path: Path) -> None:
    path = listed(tmp_path, "recipients,message-id\na@example.com;b@example.com,<1@x>\nweird;name,<2@x>\n")
    assert read_mailboxes(path).values == ("a@example.com", "b@example.com", "weird;name")


def test_a_directory_export_of_exchange_5_5_gives_its_distinguished_names(tmp_path: Path) -> None:
    path = listed(tmp_path, f"Obj-Class,Obj-Dist-Name\r\nMailbox,{DN}\r\nMailbox,{DN.upper()}\r\n")
    found = read_mailboxes(path)
    assert (found.values, found.repeated) == ((DN,), 1)


@pytest.mark.parametrize("first", ["mail", "address", '"anna', "anna, the second", "a;b"])
def test_what_may_be_the_name_of_a_mailbox_is_no_heading(tmp_path: Path, first: str) -> None:
    assert read_mailboxes(listed(tmp_path, f"{first}\nben\n")).values == (first, "ben")


def test_a_row_that_is_no_csv_is_refused_with_its_line(tmp_path: Path) -> None:
    path = listed(tmp_path, 'mailbox,x\nanna@example.com,1\n"ben@example.com,2\ncarla@example.com,3\n')
    with pytest.raises(UsageError, match="line 3: not a row"):
        read_mailboxes(path)


@pytest.mark.parametrize("text", ["", "\r\n# only a comment\r\n", "mailbox,x\n,1\n"])
def test_s03_a_list_without_mailboxes_is_refused_and_never_means_all(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="found none"):
        read_mailboxes(listed(tmp_path, text))


def test_s27_a_list_that_is_a_link_a_pipe_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(listed(tmp_path, "anna\n"))
    for path in (tmp_path / "link", Path("/dev/zero"), tmp_path, listed(tmp_path, b"\x81\x8d\n")):
        with pytest.raises(ExciseError):
            read_mailboxes(path)


def test_addresses_and_distinguished_names_are_told_apart() -> None:
    assert is_legacy_dn(DN) and not is_legacy_dn("/var/mail/anna") and not is_legacy_dn(DN + "\n")
    assert is_address("anna@example.com") and not is_address("Anna <anna@example.com>") and not is_address(DN)


def test_a_trace_is_scope_and_criteria_at_once(tmp_path: Path) -> None:
    for name in ("anna", "ben", "carla"):
        write_mbox(tmp_path / name, [message(n, "Report") for n in range(3)])
    ids = read_ids(tmp_path / "anna")
    path = listed(tmp_path, f"mailbox;message-id\nanna;{ids[1]}\nben;{ids[1]}\nANNA;{ids[1]}\nanna;{ids[1]}\n")
    done = excise_cli("search", tmp_path, "--mailboxes", path, "--json")
    assert done.code == 6 and "ANNA" in done.err, done
    path.write_text(path.read_text().replace("ANNA", "ben"))
    done = excise_cli("search", tmp_path, "--mailboxes", path, "--json")
    assert done.code == 0, done
    assert done.lines()[-1]["summary"]["mailboxes_searched"] == 2
    assert sorted(Path(line["mailbox"]).name for line in done.lines()[:-1]) == ["anna", "ben"]
    assert "2 mailboxes, 2 named more than once" in done.err


def read_ids(path: Path) -> list[str]:
    return [line.split(": ")[1] for line in path.read_text().splitlines() if line.lower().startswith("message-id: ")]
