"""``excise import --replace``: other versions of what was imported go, once what takes their place is there."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import bytes_below
from engine.test_import import KINDS, contents_of, letter, write
from excise import api
from excise.case.plan import Caps, read_matches
from excise.engine.import_plan import ImportOrder
from excise.engine.import_run import ImportRun
from excise.engine.import_source import find_sources
from excise.model.item import INCOMPLETE, Deposit
from excise.store_api.discovery import Scope, find_mailboxes
from excise.store_api.errors import Unsupported
from excise.store_api.protocols import MailboxInfo, Unreadable
from policy.organisation import Organisation
from stores.pst_made import make_pst
from stores.pst_samples import DIRECTORY, needs_samples, opened, scan

_STORES = ("mbox", "maildir")


def other(number: int, mark: bytes = b"changed") -> bytes:
    """Another version of ``letter(number)``: the same Message-ID, another body."""
    return letter(number) + mark + b"\n"


def import_replacing(evidence: Path, into: str | Path, case: Path, *options: str) -> Done:
    """Import with --replace."""
    return excise_cli("import", evidence, "--into", into, "--case", case, "--replace", "--jobs", "1", *options)


def confirmed(replaced: int) -> tuple[str, ...]:
    """The options that confirm both plans."""
    return ("--yes", "--expect-replaced", str(replaced))


def outcomes(case: Path, plan: int) -> Counter[str]:
    """The outcomes of a plan, from its sealed bag."""
    path = case / f"bag-{plan:04}/data/records/outcome.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        return Counter(row["outcome"] for row in csv.DictReader(stream))


@pytest.fixture(params=_STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the target."""
    return str(request.param)


@pytest.fixture
def mine(kind: str, tmp_path: Path) -> Path:
    """A target with messages of its own, 1 as the evidence has it, and other versions of 2 and 3 (3 twice)."""
    own = [letter(100), letter(1), other(2), other(3), other(3, b"again"), letter(101)]
    return write(kind, tmp_path / "mine", own)


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """Evidence with 1 to 4."""
    return write("eml", tmp_path / "old", [letter(n) for n in range(1, 5)])


WANTED = Counter(letter(n) for n in (100, 101, 1, 2, 3, 4))


def test_other_versions_are_replaced_and_kept_in_the_evidence(
    kind: str, mine: Path, evidence: Path, tmp_path: Path
) -> None:
    case, before = tmp_path / "case", bytes_below(evidence)
    kept = contents_of(kind, mine)
    done = import_replacing(evidence, mine, case, *confirmed(3))
    assert done.code == 0, done.text
    assert "came after the plan" not in done.text
    assert contents_of(kind, mine) == WANTED
    assert outcomes(case, 1) == {"imported": 3, "already there": 1}
    assert outcomes(case, 2) == {"removed": 3}
    assert bytes_below(evidence) == before
    assert excise_cli("verify", case).code == 0
    assert excise_cli("restore", case, "--yes").code == 0
    assert contents_of(kind, mine) == kept | WANTED
    assert excise_cli("verify", case).code == 0


def test_s21_twice_changes_nothing(mine: Path, evidence: Path, tmp_path: Path) -> None:
    assert import_replacing(evidence, mine, tmp_path / "first", *confirmed(3)).code == 0
    before = bytes_below(tmp_path)
    done = import_replacing(evidence, mine, tmp_path / "second", *confirmed(0))
    assert done.code == 0, done.text
    after = bytes_below(tmp_path)
    assert {name: after[name] for name in before} == before
    assert outcomes(tmp_path / "second", 1) == {"already there": 4}
    assert not (tmp_path / "second/plan/0002").exists()


def test_s05_a_dry_run_tells_the_counts_and_run_goes_on_plan_by_plan(
    kind: str, mine: Path, evidence: Path, tmp_path: Path
) -> None:
    case, before = tmp_path / "case", contents_of(kind, mine)
    done = import_replacing(evidence, mine, case)
    assert done.code == 4, done.text
    assert "New: 3; there already: 1;" in done.out and "plan of their own: 3" in done.out
    assert contents_of(kind, mine) == before
    first = sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()
    done = excise_cli("run", case, "--confirm", first)
    assert done.code == 4 and "its other versions stay" in done.err, done.text
    assert contents_of(kind, mine) == before | WANTED
    assert excise_cli("resume", case).code == 2
    assert excise_cli("run", case, "--confirm", first).code == 4
    assert contents_of(kind, mine) == before | WANTED
    second = sha256((case / "plan/0002/header.json").read_bytes()).hexdigest()
    done = excise_cli("run", case, "--confirm", second)
    assert done.code == 0, done.text
    assert contents_of(kind, mine) == WANTED
    assert excise_cli("verify", case).code == 0


@pytest.mark.parametrize("options", [("--yes",), confirmed(2), ("--yes", "--expect-replaced", "4")])
def test_s05_a_number_that_nobody_expected_touches_nothing(
    mine: Path, evidence: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    before = bytes_below(mine) if mine.is_dir() else mine.read_bytes()
    done = import_replacing(evidence, mine, tmp_path / "case", *options)
    assert done.code == 4 and "nothing was touched" in done.err, done.text
    assert (bytes_below(mine) if mine.is_dir() else mine.read_bytes()) == before


@pytest.mark.parametrize("cap", [("--max-per-mailbox", "2"), ("--max-total", "2")])
def test_s04_more_than_a_cap_touches_nothing(mine: Path, evidence: Path, tmp_path: Path, cap: tuple[str, str]) -> None:
    before = bytes_below(mine) if mine.is_dir() else mine.read_bytes()
    done = import_replacing(evidence, mine, tmp_path / "case", *confirmed(3), *cap)
    assert done.code == 3 and "S04" in done.text, done.text
    assert (bytes_below(mine) if mine.is_dir() else mine.read_bytes()) == before


def test_s04_a_large_share_touches_nothing(kind: str, tmp_path: Path) -> None:
    mine = write(kind, tmp_path / "mine", [other(n) for n in range(20)] + [letter(n) for n in range(20, 45)])
    evidence = write("eml", tmp_path / "old", [letter(n) for n in range(20)])
    before = contents_of(kind, mine)
    done = import_replacing(evidence, mine, tmp_path / "case", *confirmed(20))
    assert done.code == 3 and "--max-share 25" in done.text, done.text
    assert contents_of(kind, mine) == before
    # The share is that of the mailbox before anything was put into it, even where the import was run all the same.
    first = sha256((tmp_path / "case/plan/0001/header.json").read_bytes()).hexdigest()
    copy = shutil.copytree(mine, tmp_path / "copy") if mine.is_dir() else shutil.copy(mine, tmp_path / "copy")
    done = excise_cli("run", tmp_path / "case", "--confirm", first)
    assert done.code == 3, done.text
    second = tmp_path / "case/plan/0002/header.json"
    assert json.loads(second.read_bytes())["units"][0]["refused"].startswith("20 matches in 45 messages")
    assert contents_of(kind, mine) == before + Counter(letter(n) for n in range(20))
    mine = Path(copy)
    done = import_replacing(evidence, mine, tmp_path / "again", *confirmed(20), "--max-share", "50")
    assert done.code == 0, done.text
    assert contents_of(kind, mine) == Counter(letter(n) for n in range(45))


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    mine = write("maildir", tmp_path / "mine", [other(1)])
    write("maildir", mine / ".Else", [other(1, b"elsewhere")])
    evidence = write("eml", tmp_path / "old", [letter(1)])
    done = import_replacing(evidence, mine, tmp_path / "case", *confirmed(1))
    assert done.code == 0, done.text
    assert contents_of("maildir", mine) == Counter([letter(1), other(1, b"elsewhere")])


def test_several_versions_in_the_evidence_stay_all(kind: str, tmp_path: Path) -> None:
    mine = write(kind, tmp_path / "mine", [other(1), other(1, b"third")])
    evidence = write("maildir", tmp_path / "old", [letter(1), other(1)])
    done = import_replacing(evidence, mine, tmp_path / "case", *confirmed(1))
    assert done.code == 0, done.text
    assert contents_of(kind, mine) == Counter([letter(1), other(1)])


def test_what_has_no_message_id_is_never_replaced(kind: str, tmp_path: Path) -> None:
    bare = [b"From: anna@example.net\nSubject: bare %d\n\nbody\n" % n for n in (1, 2)]
    mine = write(kind, tmp_path / "mine", [bare[0]])
    evidence = write("eml", tmp_path / "old", [bare[1]])
    done = import_replacing(evidence, mine, tmp_path / "case", *confirmed(0))
    assert done.code == 0, done.text
    assert contents_of(kind, mine) == Counter(bare)


def test_what_could_not_be_imported_replaces_nothing(kind: str, mine: Path, evidence: Path, tmp_path: Path) -> None:
    case, before = tmp_path / "case", contents_of(kind, mine)
    assert import_replacing(evidence, mine, case).code == 4
    changed = [path for path in evidence.rglob("*.eml") if path.read_bytes() == letter(3)]
    changed[0].write_bytes(other(3, b"something else"))
    first = sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()
    assert excise_cli("run", case, "--confirm", first).code in (4, 9)
    second = sha256((case / "plan/0002/header.json").read_bytes()).hexdigest()
    done = excise_cli("run", case, "--confirm", second)
    assert done.code == 0, done.text
    assert outcomes(case, 2) == {"removed": 1}
    kept = before.copy()
    del kept[other(2)]
    assert contents_of(kind, mine) == kept + Counter([letter(2), letter(4)])


def test_what_the_evidence_has_only_a_part_of_replaces_nothing(
    kind: str, mine: Path, evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = tmp_path / "case"
    found = find_mailboxes([str(mine)]).mailboxes
    order = ImportOrder(str(evidence), find_sources(str(evidence)), found[0], replacing=Caps())
    real = ImportRun.detail

    def detail(run: ImportRun, item: int) -> str:
        """What is said of an item, as if the evidence had only a part of 2."""
        lacks = run.lines[item]["envelope"]["message_id"] == "<2@example.net>"
        return f"{INCOMPLETE} an attachment" if lacks else real(run, item)

    monkeypatch.setattr(ImportRun, "detail", detail)
    with api.new_case(case, (str(mine),), api.Authorisation()) as work:
        plan = work.plan_import(order)
        work.confirm(plan, "a test")
        assert work.run(plan).exit_code == 9
        removal = work.plan_replacing(plan)
    assert removal is not None and removal.matches == 2
    ids = {match["envelope"]["message_id"] for match in read_matches(removal, removal.units[0])}
    assert len(ids) == 1 and "3" in ids.pop()


def test_a_version_that_changes_before_its_removal_stays(mine: Path, evidence: Path, kind: str, tmp_path: Path) -> None:
    case = tmp_path / "case"
    assert import_replacing(evidence, mine, case).code == 4
    first = sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()
    assert excise_cli("run", case, "--confirm", first).code == 4
    for path in [mine] if kind == "mbox" else [p for p in mine.rglob("*") if p.is_file()]:
        path.write_bytes(path.read_bytes().replace(b"again\n", b"agaim\n"))
    second = sha256((case / "plan/0002/header.json").read_bytes()).hexdigest()
    done = excise_cli("run", case, "--confirm", second)
    assert done.code == 9 or "already absent" in done.text, done.text
    assert contents_of(kind, mine) == WANTED + Counter([other(3, b"agaim")])


def test_a_sweep_does_not_search_again_for_what_was_replaced(mine: Path, evidence: Path, tmp_path: Path) -> None:
    assert import_replacing(evidence, mine, tmp_path / "case", *confirmed(3)).code == 0
    before = bytes_below(mine) if mine.is_dir() else mine.read_bytes()
    done = excise_cli("sweep", tmp_path / "case", "--yes", "--max-total", "100")
    assert done.code == 2 and "no search was made" in done.err, done.text
    assert (bytes_below(mine) if mine.is_dir() else mine.read_bytes()) == before


@pytest.mark.parametrize("into", [kind for kind in KINDS if kind not in _STORES])
def test_eml_files_are_replaced_too(into: str, tmp_path: Path) -> None:
    mine = write(into, tmp_path / "mine", [letter(100), other(1)])
    evidence = write("mbox", tmp_path / "old", [letter(1)])
    done = import_replacing(evidence, mine, tmp_path / "case", *confirmed(1))
    assert done.code == 0, done.text
    assert contents_of(into, mine) == Counter([letter(100), letter(1)])


def test_options_of_replace_are_for_it_alone(mine: Path, evidence: Path, tmp_path: Path) -> None:
    for options in (("--max-per-mailbox", "1"), ("--max-share", "1"), ("--expect-replaced", "1")):
        done = excise_cli("import", evidence, "--into", mine, "--case", tmp_path / "case", *options)
        assert done.code == 2 and not (tmp_path / "case").exists(), done.text
    assert import_replacing(evidence, mine, tmp_path / "case", "--merge").code == 2


# PST files


@pytest.mark.parametrize("source", ["maildir", "pst"])
def test_a_pst_gets_the_new_versions_and_loses_the_old_ones(source: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pst"
    make_pst(mine, [Deposit(content, "Inbox") for content in (letter(100), other(1), other(2))])
    if source == "pst":
        evidence = tmp_path / "old.pst"
        make_pst(evidence, [Deposit(letter(n), "Inbox") for n in (1, 2, 3)])
    else:
        evidence = write("maildir", tmp_path / "old", [letter(n) for n in (1, 2, 3)])
    into = () if source == "pst" else ("--folder-prefix", "Inbox")
    done = import_replacing(evidence, mine, tmp_path / "first", *confirmed(2), *into)
    assert done.code == 0, done.text
    assert outcomes(tmp_path / "first", 1) == {"imported": 3}
    assert outcomes(tmp_path / "first", 2) == {"removed": 2}
    with opened(mine) as box:
        found, _, _ = scan(box)
        contents = [box.fetch(one.id).content for one in found if not isinstance(one, Unreadable)]
    numbers = sorted(int(content.partition(b"body ")[2].split()[0]) for content in contents)
    assert numbers == [1, 2, 3, 100] and not any(b"changed" in content for content in contents)
    before = mine.read_bytes()
    done = import_replacing(evidence, mine, tmp_path / "second", *confirmed(0), *into)
    assert done.code == 0, done.text
    assert mine.read_bytes() == before
    assert excise_cli("verify", tmp_path / "first").code == 0


# What the policy says


@pytest.mark.parametrize("when", ["before the plan", "after the plan"])
def test_s24_nothing_of_a_held_mailbox_is_replaced(
    kind: str, mine: Path, evidence: Path, tmp_path: Path, when: str
) -> None:
    org = Organisation(tmp_path / "org")
    rule = '[[hold]]\ncase = "Smith v. Example"\nmailboxes = ["mine"]\n'
    org.rules(rule if when == "before the plan" else "reveal = false\n")
    before, case = contents_of(kind, mine), tmp_path / "case"
    line = ("import", evidence, "--into", mine, "--case", case, "--replace", "--jobs", "1")
    if when == "before the plan":
        done = org.excise(*line, *confirmed(3))
    else:
        assert org.excise(*line).code == 4
        first = sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()
        assert org.excise("run", case, "--confirm", first).code == 4
        org.rules("reveal = false\n" + rule)
        second = sha256((case / "plan/0002/header.json").read_bytes()).hexdigest()
        done = org.excise("run", case, "--confirm", second)
    assert done.code == 8, done.text
    assert contents_of(kind, mine) == before | WANTED


# What is refused


@needs_samples
def test_a_mailbox_that_nothing_can_be_removed_from_is_refused(evidence: Path, tmp_path: Path) -> None:
    place = tmp_path / "old.pst"
    shutil.copyfile(DIRECTORY / "test_ansi.pst", place)
    before = place.read_bytes()
    done = import_replacing(evidence, place, tmp_path / "case", *confirmed(0))
    assert done.code == 2 and "without --replace" in done.text, done.text
    assert not (tmp_path / "case").exists() and place.read_bytes() == before


def test_a_mailbox_on_a_server_is_refused() -> None:
    into = MailboxInfo("ews", "ews://localhost/anna@example.net", "anna@example.net", "x", 0)
    with pytest.raises(Unsupported, match="files alone"):
        ImportOrder("old", Scope(), into, replacing=Caps()).check()
