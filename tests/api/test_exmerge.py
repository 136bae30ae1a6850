"""ExMerge's settings as profiles: each key accounted for, nothing widened, no input trusted."""

from __future__ import annotations

import contextlib
import importlib.util
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.command import excise_cli
from excise.api.exmerge import Choices, import_profile
from excise.api.exmerge.dates import parse_date
from excise.api.profile import read_profile
from excise.api.toml_text import to_toml
from excise.core.errors import ExciseError, Refused, UsageError

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures" / "exmerge"
WHOLE = ("--subjects", "whole", "--attachments", "whole")
SITE = "/o=Example/ou=First Administrative Group/cn=Recipients"
#: Enough for a profile: a server, and a subject.
LEAST = "SourceServerName=EX01\nFileContainingListOfMessageSubjects=subjects.txt\n"


def settings(tmp_path: Path, text: str, encoding: str = "utf-8", **lists: str) -> Path:
    """A settings file with lists beside it."""
    path = tmp_path / "ExMerge.ini"
    path.write_bytes(("[EXMERGE]\n" + text).replace("\n", "\r\n").encode(encoding))
    for name, content in {"subjects": "Worm of May\n", **lists}.items():
        (tmp_path / f"{name}.txt").write_bytes(content.replace("\n", "\r\n").encode("utf-8"))
    return path


def made(tmp_path: Path, text: str, choices: Choices | None = None, **lists: str) -> dict[str, object]:
    """The profile that settings come to."""
    return tomllib.loads(import_profile(settings(tmp_path, text, **lists), choices or Choices("whole")).text)


def criteria(tmp_path: Path, text: str, choices: Choices | None = None, **lists: str) -> dict[str, object]:
    found = made(tmp_path, LEAST + text, choices, **lists)["criteria"]
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key != "subject"}


# The fixture


def test_the_fixture_is_what_its_script_makes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_exmerge", ROOT / "fixtures" / "make_exmerge.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make(tmp_path)
    names = sorted(path.name for path in FIXTURE.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (FIXTURE / name).read_bytes() == (tmp_path / name).read_bytes()


def test_saved_settings_become_a_profile_that_says_the_same(tmp_path: Path) -> None:
    output = tmp_path / "worm.toml"
    done = excise_cli(
        "profile", "import", FIXTURE / "ExMerge.ini", *WHOLE, "--timezone", "Europe/Berlin", "--output", output
    )
    assert done.code == 0, done
    assert tomllib.loads(output.read_text(encoding="utf-8")) == {
        "description": "From ExMerge's settings in ExMerge.ini",
        "action": "move",
        "sources": ["ews://EX01"],
        "mailboxes": [f"{SITE}/cn=anna", f"{SITE}/cn=ben"],
        "expect_mailboxes": 2,
        "evidence": ["pst"],
        "directory": {"url": "ldaps://DC01"},
        "criteria": {
            "received_since": "2004-03-01T00:00:00",
            "received_before": "2004-04-01T00:00:00",
            "timezone": "Europe/Berlin",
            "subject": ["Salaries 2004 – confidential", "Fwd: Gehälter"],
            "attachment": ["Gehälter 2004.xls"],
        },
    }
    assert read_profile(str(output)).values["action"] == "move"
    assert output.stat().st_mode & 0o777 == 0o600
    assert "received on or after 2004-02-29T23:00:00Z AND received before 2004-03-31T22:00:00Z" in done.out


def test_every_setting_is_accounted_for_in_its_order() -> None:
    found = import_profile(FIXTURE / "ExMerge.ini", Choices("whole", "whole"))
    text = (FIXTURE / "ExMerge.ini").read_bytes().decode("utf-16")
    keys = [line.partition("=")[0] for line in text.splitlines() if "=" in line and not line.startswith(";")]
    assert [key.removeprefix("[Folder Name Mappings] ") for key, _, _ in found.became] == keys
    assert all(words for _, _, words in found.became)


def test_the_profile_is_printed_and_what_is_told_is_not_in_it() -> None:
    done = excise_cli("profile", "import", FIXTURE / "ExMerge.ini", *WHOLE)
    assert done.code == 0, done
    assert tomllib.loads(done.out)["action"] == "move"
    assert "no counterpart" in done.err and "Rule: " in done.err


# What each setting becomes


@pytest.mark.parametrize(
    ("text", "action"),
    [("", "copy"), ("DataImportMethod=0\n", "copy"), ("DataImportMethod=1\n", "copy"), ("DataImportMethod=2\n", "copy"),
     ("DataImportMethod=3\n", "move"), ("MergeAction=2\n", "copy")],
)  # fmt: skip
def test_the_procedure_becomes_the_action(tmp_path: Path, text: str, action: str) -> None:
    assert made(tmp_path, LEAST + text)["action"] == action


def test_the_dumpster_becomes_a_part_of_each_mailbox(tmp_path: Path) -> None:
    text = LEAST + "CopyDeletedItemsFromDumpster=1\nFileContainingListOfMailboxes=boxes.txt\n"
    profile = made(tmp_path, text, boxes=f"{SITE}/cn=anna\n{SITE}/cn=ben\n")
    assert profile["parts"] == ["primary", "recoverable"]
    assert profile["expect_mailboxes"] == 4
    (tmp_path / "worm.toml").write_text(to_toml(profile))
    assert read_profile(str(tmp_path / "worm.toml")).values["parts"] == ["primary", "recoverable"]


def test_without_the_dumpster_no_part_is_chosen(tmp_path: Path) -> None:
    assert "parts" not in made(tmp_path, LEAST + "CopyDeletedItemsFromDumpster=0\n")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("SelectMessageStartDate=1/1/98 00:00:00\n", {"received_since": "1998-01-01T00:00:00"}),
        ("SelectMessageEndDate=12/31/01   23:59:59\n", {"received_before": "2002-01-01T00:00:00"}),
        ("SelectMessageEndDate=2/29/2004\n", {"received_before": "2004-02-29T00:00:01"}),
        ("SelectMessageStartDate=6/5/2003 12:30 AM\nDateAttribute=0\n", {"received_since": "2003-06-05T00:30:00"}),
        ("SelectMessageStartDate=\nSelectMessageEndDate=  \nDateAttribute=1\n", {}),
    ],
)
def test_dates_are_month_day_year_and_the_end_is_included(tmp_path: Path, text: str, right: dict[str, str]) -> None:
    assert criteria(tmp_path, text) == right


@pytest.mark.parametrize(
    "text", ["31/12/2003", "2003-12-31", "12/31/2003 24:00:00", "2/29/2003", "1/1/03 13:00 PM", "x", "1/1/٣"]
)
def test_what_is_no_date_of_exmerge_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="month/day/year"):
        parse_date(text, "SelectMessageStartDate")


@pytest.mark.parametrize(
    ("how", "name"), [("whole", "subject"), ("part", "subject_contains"), ("start", "subject_prefix")]
)
def test_how_subjects_are_compared_is_what_is_said(tmp_path: Path, how: str, name: str) -> None:
    found = made(tmp_path, LEAST, Choices(how), subjects="Worm of May\n\n  Second worm  \nWorm of May\n#1 worm\n")
    assert found["criteria"] == {name: ["Worm of May", "Second worm", "#1 worm"]}


def test_attachments_and_folders(tmp_path: Path) -> None:
    text = "FileContainingListOfAttachmentNames=names.txt\nListOfFolders=\\Inbox\\Old, Sent Items\n"
    choices = Choices("whole", "part", "except")
    assert criteria(tmp_path, text, choices, names="worm.vbs\n") == {
        "attachment": ["*worm.vbs*"], "exclude_folder": ["Inbox/Old", "Sent Items"],
    }  # fmt: skip
    choices = Choices("whole", "whole", "only")
    text += "ApplyActionToSubFolders=1\n"
    assert criteria(tmp_path, text, choices, names="worm.vbs\n")["folder"] == ["Inbox/Old", "Sent Items"]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", {"servers": ["EX01"]}),
        (
            "DomainControllerForSourceServer=\\\\dc1.example.com\n",
            {"url": "ldaps://dc1.example.com", "servers": ["EX01"]},
        ),
        (
            "DomainControllerForSourceServer=dc1\nSrcServerLDAP-Port=389\n",
            {"url": "ldap://dc1:389", "servers": ["EX01"]},
        ),
        (
            "DomainControllerForSourceServer=dc1\nSrcServerLDAP-Port=3269\n",
            {"url": "ldaps://dc1:3269", "servers": ["EX01"]},
        ),
        (
            "FileContainingListOfDatabases=dbs.txt\nFileContainingListOfMailboxes=boxes.txt\n",
            {"databases": ["CN=DB01", "DB02"]},
        ),
    ],
)
def test_the_servers_mailboxes_are_spelt_out(tmp_path: Path, text: str, right: dict[str, object]) -> None:
    found = made(tmp_path, LEAST + text, dbs="CN=DB01\nDB02\n", boxes="anna@example.com\n")
    assert found["directory"] == right and "mailboxes" not in found


def test_a_list_in_another_code_page_is_read_as_is_said(tmp_path: Path) -> None:
    path = settings(tmp_path, LEAST, "cp1250")
    (tmp_path / "subjects.txt").write_bytes("Žádost o zvýšení".encode("cp1250"))
    found = import_profile(path, Choices("whole", encoding="cp1250"))
    assert "Žádost o zvýšení" in found.text
    (words,) = [words for key, _, words in import_profile(path, Choices("whole")).became if "Subjects" in key]
    assert "read as cp1252" in words


# Nothing is widened


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SourceServerName=EX01\n", "no dates, no subjects"),
        (
            "SourceServerName=EX01\nFileContainingListOfMessageSubjects=\nSelectMessageStartDate=\n",
            "no dates, no subjects",
        ),
        (LEAST.replace("subjects.txt", "empty.txt"), "expected subjects, found none"),
        (LEAST.replace("subjects.txt", "blank.txt"), "expected subjects, found none"),
        (LEAST + "FileContainingListOfAttachmentNames=empty.txt\n", "expected names of attachments, found none"),
        (LEAST + "FileContainingListOfDatabases=empty.txt\n", "expected databases, found none"),
        (LEAST + "CopyUserData=0\n", "leaves out all messages"),
        (LEAST + "DateAttribute=1\nSelectMessageStartDate=1/1/2003\n", "more than ExMerge did"),
        (LEAST + "ListOfFolders=Inbox\n", "would match more"),
        (LEAST + "ListOfFolders=Inbox\nApplyActionToSubFolders=0\n", "would match more"),
        ("SourceServerName=EX01\nDataImportMethod=3\nSelectMessageEndDate=1/1/2003\n", "not enough to move"),
    ],
)
def test_s01_what_would_match_more_or_all_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = settings(tmp_path, text, empty="", blank="\n \u200b\n\t\n")
    with pytest.raises(Refused, match=said):
        import_profile(path, Choices("whole", "whole", "only"))
    output = tmp_path / "out.toml"
    done = excise_cli("profile", "import", path, *WHOLE, "--folders", "only", "--output", output)
    assert (done.code, done.out, output.exists()) == (3, "", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST + "MergeAction=1\n", "excise import EVIDENCE"),
        (LEAST + "MergeAction=3\n", "expected one of 0, 1, 2"),
        (LEAST + "MergeAction=2\nDataImportMethod=3\n", "goes with MergeAction=0 alone"),
        (LEAST + "DataImportMethod=x\n", "expected one of 0, 1, 2, 3"),
        (LEAST + "CopyUserData=-1\n", "expected one of 0, 1"),
        (LEAST + "SomeNewLimit=7\n", "SomeNewLimit"),
        (LEAST + "\n[Other]\nlimit=7\n", "limit"),
        (LEAST + "DataImportMethod=0\ndataimportmethod=3\n", "given twice, in line"),
        (LEAST + "no equals sign\n", "line 4"),
        (LEAST + "FileContainingListOfAttachmentNames=stars.txt\n", "stood for themselves"),
        (LEAST.replace("EX01", "ex01/../x"), "expected the name of a server"),
        (LEAST.replace("SourceServerName=EX01\n", ""), "name no server, no databases and no mailboxes"),
        (LEAST + "FileContainingListOfMailboxes=empty.txt\n", "found none"),
        (LEAST + "FileContainingListOfMailboxes=C:\\gone.txt\n", "Copy C:"),
        ("", "no section"),
    ],
)
def test_what_is_not_understood_is_never_left_out_in_silence(tmp_path: Path, text: str, said: str) -> None:
    path = settings(tmp_path, text, stars="worm*.vbs\n", empty="")
    done = excise_cli("profile", "import", path, *WHOLE)
    assert (done.code, done.out) == (2, "") and said in done.err, done


def test_a_comparison_that_no_one_explained_is_asked_for(tmp_path: Path) -> None:
    text = LEAST + "FileContainingListOfAttachmentNames=subjects.txt\nListOfFolders=Inbox\nApplyActionToSubFolders=1\n"
    path = settings(tmp_path, text)
    options: list[str] = []
    for option, value in (("--subjects", "part"), ("--attachments", "whole"), ("--folders", "only")):
        done = excise_cli("profile", "import", path, *options)
        assert done.code == 2 and f"Say it with {option}" in done.err, done
        options += [option, value]
    assert excise_cli("profile", "import", path, *options).code == 0


def test_an_unknown_key_is_left_out_where_that_is_said(tmp_path: Path) -> None:
    path = settings(tmp_path, LEAST + "SomeNewLimit=7\n")
    done = excise_cli("profile", "import", path, *WHOLE, "--ignore", "somenewlimit")
    assert done.code == 0 and "ignored, as you said" in done.err


# Hostile input


@pytest.mark.parametrize(
    "name", ["..\\..\\secret.txt", "/etc/passwd", "C:\\x\\..", "\\\\host\\share\\secret.txt", "..", "\0"]
)
def test_s27_no_path_of_the_settings_leads_anywhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    path = settings(tmp_path / "in", LEAST.replace("subjects.txt", name))
    with pytest.raises(ExciseError):
        import_profile(path, Choices("whole"))


def test_s27_a_list_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    path = settings(tmp_path, LEAST)
    (tmp_path / "subjects.txt").unlink()
    (tmp_path / "subjects.txt").symlink_to("/etc/passwd")
    done = excise_cli("profile", "import", path, *WHOLE)
    assert done.code == 6 and "symbolic link" in done.err


def test_s27_nothing_in_the_settings_reaches_the_terminal_or_the_profile_as_it_is(tmp_path: Path) -> None:
    evil = 'Worm \x1b[2J \u202e" \\ # "]\x7f\u2028end'
    path = settings(tmp_path, LEAST + "LogFileName=C:\\\x1b[31m.log\n", subjects=evil + "\n")
    done = excise_cli("profile", "import", path, *WHOLE)
    assert done.code == 0, done
    assert tomllib.loads(done.out)["criteria"]["subject"] == [evil]
    assert not {"\x1b", "\u202e", "\x7f", "\u2028"} & {*done.text}


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    output = tmp_path / "old.toml"
    output.write_text("old")
    done = excise_cli("profile", "import", FIXTURE / "ExMerge.ini", *WHOLE, "--output", output)
    assert done.code == 2 and output.read_text() == "old"


@given(data=st.binary(max_size=300), head=st.booleans())
def test_s27_no_bytes_at_all_do_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = settings(folder, LEAST)
    if head:
        path.write_bytes(path.read_bytes() + data)
    else:
        (folder / "subjects.txt").write_bytes(data)
    with contextlib.suppress(ExciseError):
        assert "criteria" in tomllib.loads(import_profile(path, Choices("whole", "whole", "except")).text)


VALUES = st.one_of(st.text(), st.integers(-(2**60), 2**60), st.booleans(), st.lists(st.text(), max_size=4))
KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=3)), max_size=6))
def test_toml_that_is_written_is_read_back_as_it_was(table: dict[str, object]) -> None:
    text = to_toml(table)
    assert tomllib.loads(text) == table
    assert not [char for char in text if char != "\n" and not char.isprintable()]
