"""``excise import``: what evidence holds and a mailbox lacks goes in once, whole, and nothing else changes."""

from __future__ import annotations

import csv
import json
import mailbox
import re
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.command import Done, excise_cli
from engine.mail_files import (
    WORM,
    bytes_below,
    ids_in_eml,
    ids_in_maildir,
    ids_in_mbox,
    message,
    write_eml,
    write_maildir,
    write_mbox,
)
from excise import api
from excise.core.errors import DoesNotVerify, Refused
from excise.criteria import Criteria
from excise.engine.import_source import EveryItem, PartSource
from excise.store_api.protocols import Tally

KINDS = ("mbox", "maildir", "eml")
_READ = {"mbox": ids_in_mbox, "maildir": ids_in_maildir, "eml": ids_in_eml}


def write(kind: str, path: Path, contents: list[bytes]) -> Path:
    """A store of ``kind`` with ``contents``."""
    if kind == "mbox":
        write_mbox(path, contents)
    elif kind == "maildir":
        write_maildir(path, [(content, "S") for content in contents])
    else:
        write_eml(path, contents)
    return path


def target(kind: str, place: Path) -> Path:
    """A mailbox with two messages of its own and one, 3, that evidence has too."""
    return write(kind, place / f"target-{kind}", [letter(n) for n in (100, 3, 101)])


def run_import(evidence: str | Path, into: str | Path, case: Path, *options: str | Path) -> Done:
    """Import without a question."""
    return excise_cli("import", evidence, "--into", into, "--case", case, "--yes", "--jobs", "1", *options)


def outcomes(case: Path) -> Counter[str]:
    """The outcomes of the newest run."""
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        return Counter(row["outcome"] for row in csv.DictReader(stream))


def letter(number: int) -> bytes:
    """A message that an mbox need not quote: its bytes are the same in every kind of store."""
    return message(number, f"Mine {number}").replace(b">From here on\n", b"")


def contents_of(kind: str, path: Path) -> Counter[bytes]:
    """The messages in a store, byte for byte."""
    if kind == "mbox":
        box = mailbox.mbox(str(path), create=False)
        try:
            found = (re.sub(rb"(?m)^>(>*From )", rb"\1", box.get_bytes(key)) for key in box.iterkeys())
            return Counter(re.sub(rb"(?m)^(X-)?Status: .*\n", b"", content) for content in found)
        finally:
            box.close()
    if kind == "maildir":
        return Counter(p.read_bytes() for p in path.rglob("*") if p.is_file() and p.parent.name in ("cur", "new"))
    return Counter(p.read_bytes() for p in path.rglob("*.eml"))


@pytest.fixture(scope="module")
def worm_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case whose run removed 1, 3, 5 from a Maildir and 7 from an mbox."""
    place = tmp_path_factory.mktemp("worm")
    write_maildir(place / "mail/ben", [(message(n, WORM if n % 2 else "no"), "FS") for n in range(6)])
    write_mbox(place / "mail/anna.mbox", [message(7, WORM), message(8, "no")])
    done = excise_cli(
        *("move", place / "mail", "--subject", WORM, "--case", place / "case", "--max-share", "100"),
        *("--yes", "--expect-matches", "4"),
    )
    assert done.code == 0, done.text
    return place / "case"


# What goes in


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_mailbox_lacks_goes_in_and_the_rest_stays(kind: str, into: str, tmp_path: Path) -> None:
    mine = target(into, tmp_path)
    evidence = write(kind, tmp_path / f"evidence-{kind}", [letter(n) for n in range(5)])
    before, kept = bytes_below(tmp_path), contents_of(into, mine)
    done = run_import(evidence, mine, tmp_path / "case")
    assert done.code == 0, done.text
    new = Counter(letter(n) for n in range(5))
    del new[letter(3)]
    assert outcomes(tmp_path / "case") == {"imported": 4, "already there": 1}
    assert contents_of(into, mine) == kept + new
    after = bytes_below(tmp_path)
    assert {n: after[n] for n in before if n.startswith("evidence")} == {
        n: data for n, data in before.items() if n.startswith("evidence")
    }
    if into == "mbox":
        assert mine.read_bytes().startswith(before[mine.name])
    else:
        assert all(after[name] == data for name, data in before.items())
    assert excise_cli("verify", tmp_path / "case").code == 0


@pytest.mark.parametrize("into", KINDS)
def test_s21_twice_doubles_nothing(into: str, tmp_path: Path) -> None:
    mine = target(into, tmp_path)
    twin = message(9, "twin")
    evidence = write("maildir", tmp_path / "ben", [message(1, "a"), twin, twin])
    assert run_import(evidence, mine, tmp_path / "first").code == 0
    first = bytes_below(mine) if mine.is_dir() else mine.read_bytes()
    assert contents_of(into, mine)[twin] == 2
    done = run_import(evidence, mine, tmp_path / "second")
    assert done.code == 0, done.text
    assert outcomes(tmp_path / "second") == {"already there": 3}
    assert (bytes_below(mine) if mine.is_dir() else mine.read_bytes()) == first


def test_folders_flags_and_dates_are_kept_and_put_below_a_prefix(tmp_path: Path) -> None:
    mine = write("maildir", tmp_path / "mine", [])
    write("maildir", tmp_path / "ben", [message(1, "in the inbox")])
    for name, number in ((".Lists.Worms", 2), (".Entw&APw-rfe", 3)):
        write_maildir(tmp_path / "ben" / name, [(message(number, "x"), "FRS")])
    assert run_import(tmp_path / "ben", mine, tmp_path / "first").code == 0
    assert len(list((mine / ".Entw&APw-rfe" / "cur").iterdir())) == 1
    [worm] = (mine / ".Lists.Worms" / "cur").iterdir()
    [old] = (tmp_path / "ben" / ".Lists.Worms" / "cur").iterdir()
    assert (worm.name, worm.stat().st_mtime) == (old.name, old.stat().st_mtime)
    done = run_import(tmp_path / "ben", mine, tmp_path / "second", "--folder-prefix", "Found/Again")
    assert done.code == 0, done.text
    assert outcomes(tmp_path / "second") == {"imported": 3}
    assert len(list((mine / ".Found.Again.Lists.Worms" / "cur").iterdir())) == 1
    assert len(list((mine / ".Found.Again" / "cur").iterdir())) == 1
    assert run_import(tmp_path / "ben", mine, tmp_path / "bad", "--folder-prefix", "/x").code == 2
    box = target("mbox", tmp_path)
    assert run_import(tmp_path / "ben", box, tmp_path / "bad", "--folder-prefix", "x").code == 2


def test_criteria_narrow(tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    evidence = write("eml", tmp_path / "eml", [message(n, WORM if n == 2 else "no") for n in range(4)])
    done = run_import(evidence, mine, tmp_path / "case", "--subject", WORM)
    assert done.code == 0, done.text
    assert ids_in_mbox(mine) == Counter(["100", "3", "101", "2"])
    assert run_import(evidence, mine, tmp_path / "none", "--subject", "nobody wrote this").code == 0
    assert ids_in_mbox(mine) == Counter(["100", "3", "101", "2"])


def test_many_stores_at_once_and_what_could_not_be_read_is_listed(tmp_path: Path) -> None:
    old = tmp_path / "old"
    write("maildir", old / "ben", [message(1, "a")])
    write("mbox", old / "anna.mbox", [message(2, "b")])
    (old / "broken.pst").write_bytes(b"!BDN" + bytes(600))
    mine = target("maildir", tmp_path)
    done = run_import(old, mine, tmp_path / "case")
    assert done.code in (6, 7), done.text
    assert ids_in_maildir(mine) == Counter(["100", "3", "101", "1", "2"])
    with (tmp_path / "case/scope.csv").open(encoding="utf-8", newline="") as stream:
        rows = {Path(row["mailbox"]).name: row for row in csv.DictReader(stream)}
    assert rows.keys() == {mine.name, "ben", "anna.mbox", "broken.pst"}
    assert (rows["broken.pst"]["searched"], rows["ben"]["seen"], rows[mine.name]["matches"]) == ("no", "1", "2")
    assert excise_cli("verify", tmp_path / "case").code == 0


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 4), max_size=6), st.lists(st.integers(0, 4), max_size=6))
def test_each_message_ends_with_as_many_copies_as_either_had(
    tmp_path_factory: pytest.TempPathFactory, mine: list[int], theirs: list[int]
) -> None:
    place = tmp_path_factory.mktemp("property")
    box = write("mbox", place / "mine.mbox", [letter(9), *map(letter, mine)])
    write("maildir", place / "theirs", [letter(n) for n in theirs])
    before = box.read_bytes()
    wanted = Counter(mine) | Counter(theirs)
    for case in ("first", "second"):
        done = run_import(place / "theirs", box, place / case)
        assert done.code == 0, done.text
        assert contents_of("mbox", box) == Counter({letter(9): 1} | {letter(n): c for n, c in wanted.items()})
        assert box.read_bytes().startswith(before)


def test_json_tells_where_each_message_comes_from(tmp_path: Path) -> None:
    mine, evidence = target("mbox", tmp_path), write("maildir", tmp_path / "ben", [letter(1)])
    done = run_import(evidence, mine, tmp_path / "case", "--json")
    first, plan, last = done.lines()
    assert (first["mailbox"], first["folder"], first["subject"]) == (str(evidence), "INBOX", "Mine 1")
    assert (plan["plan"]["matches"], last["summary"]["outcomes"]) == (1, {"imported": 1})


# From a case


def test_a_case_its_bag_and_its_part(worm_case: Path, tmp_path: Path) -> None:
    part = worm_case / "bag-0001/data/evidence/00001/part-001"
    before = bytes_below(worm_case)
    for place, ids in ((worm_case, "1357"), (worm_case / "bag-0001", "1357"), (part, None)):
        mine = tmp_path / f"mine-{place.name}"
        write_maildir(mine, [])
        done = run_import(place, mine, tmp_path / f"case-{place.name}")
        assert done.code == 0, done.text
        found = ids_in_maildir(mine)
        assert found == Counter(ids) if ids else found in (Counter("7"), Counter("135"))
        assert excise_cli("verify", tmp_path / f"case-{place.name}").code == 0
    assert bytes_below(worm_case) == before


def test_a_case_after_a_restore_gives_the_evidence_of_the_removal(worm_case: Path, tmp_path: Path) -> None:
    case = tmp_path / "case"
    shutil.copytree(worm_case, case)
    write_maildir(tmp_path / "elsewhere", [])
    assert excise_cli("restore", case, "--into", tmp_path / "elsewhere", "--yes").code == 0
    mine = target("mbox", tmp_path)
    done = run_import(case, mine, tmp_path / "import")
    assert done.code == 0, done.text
    assert ids_in_mbox(mine) == Counter(["100", "3", "101", "1", "3", "5", "7"])


def test_criteria_narrow_evidence_of_a_case(worm_case: Path, tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    done = run_import(worm_case, mine, tmp_path / "import", "--message-id", "<5@example.net>")
    assert done.code == 0, done.text
    assert ids_in_mbox(mine) == Counter(["100", "3", "101", "5"])


def test_s13_a_bag_that_does_not_verify_is_not_imported(worm_case: Path, tmp_path: Path) -> None:
    case, mine = tmp_path / "case", target("mbox", tmp_path)
    shutil.copytree(worm_case, case)
    for path in case.glob("bag-0001/data/evidence/*/part-001/messages.mbox"):
        path.write_bytes(path.read_bytes().replace(b"body", b"bodY"))
    before = mine.read_bytes()
    for place in (case, case / "bag-0001"):
        assert run_import(place, mine, tmp_path / "import").code == 5
    assert mine.read_bytes() == before


def test_a_case_that_has_not_come_to_its_end_is_not_imported(tmp_path: Path) -> None:
    box, mine = write("mbox", tmp_path / "a.mbox", [message(1, WORM), message(2, "b")]), target("maildir", tmp_path)
    assert excise_cli("plan", "move", box, "--subject", WORM, "--case", tmp_path / "case").code == 0
    assert run_import(tmp_path / "case", mine, tmp_path / "import").code == 2
    assert run_import(tmp_path / "case/plan", mine, tmp_path / "import").code == 3
    assert ids_in_maildir(mine) == Counter(["100", "3", "101"])


def test_evidence_out_of_its_case_is_told_from_a_store(worm_case: Path, tmp_path: Path) -> None:
    shutil.copytree(worm_case / "bag-0001", tmp_path / "bag")
    mine = target("maildir", tmp_path)
    done = run_import(tmp_path / "bag", mine, tmp_path / "import")
    assert done.code == 2 and "taken out of its case" in done.err, done.text


@pytest.mark.parametrize(
    ("key", "value"), [("flags", None), ("flags", [1]), ("evidence", "../x"), ("delivered", "noon"), ("attributes", [])]
)
def test_s27_a_line_of_evidence_that_is_none_is_told(worm_case: Path, tmp_path: Path, key: str, value: object) -> None:
    part = tmp_path / "part-001"
    shutil.copytree(worm_case / "bag-0001/data/evidence/00001/part-001", part)
    lines = [json.loads(line) for line in (part / "items.jsonl").read_bytes().splitlines()]
    lines[0][key] = value
    (part / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DoesNotVerify, match=r"items\.jsonl"):
        list(PartSource(part).find(EveryItem(), Tally()))


# What is refused


def test_s28_a_target_in_a_case_is_refused(worm_case: Path, tmp_path: Path) -> None:
    evidence = write("mbox", tmp_path / "a.mbox", [message(1, "a")])
    before = bytes_below(worm_case)
    part = worm_case / "bag-0001/data/evidence/00001/part-001"
    for place in (
        part / "messages.mbox",
        f"mbox:{part / 'messages.mbox'}",
        part / "messages.pst",
        f"pst:{part / 'messages.pst'}",
    ):
        done = run_import(evidence, place, tmp_path / "import")
        assert done.code == 3 and "S28" in done.text, done.text
    assert bytes_below(worm_case) == before


def test_s28_a_store_in_a_case_is_no_source_here_either(worm_case: Path, tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    part = worm_case / "bag-0001/data/evidence/00001/part-001"
    for place in (
        part / "messages.mbox",
        f"mbox:{part / 'messages.mbox'}",
        f"pst:{part / 'messages.pst'}",
        worm_case / "units",
    ):
        done = run_import(place, mine, tmp_path / "import")
        assert done.code == 3 and "S28" in done.text, done.text


def test_s28_evidence_and_target_are_apart(tmp_path: Path) -> None:
    box = write("mbox", tmp_path / "old/a.mbox", []) if (tmp_path / "old").mkdir() else tmp_path / "old/a.mbox"
    write("mbox", box, [message(1, "a")])
    write("eml", tmp_path / "old/eml", [message(2, "b")])
    (tmp_path / "link.mbox").symlink_to(box)
    (tmp_path / "hard.mbox").hardlink_to(box)
    before = bytes_below(tmp_path)
    pairs = [
        *((box, box), (tmp_path / "old", box), (box, tmp_path / "link.mbox"), (tmp_path / "link.mbox", box)),
        *((box, tmp_path / "hard.mbox"), (tmp_path / "old/eml/inbox/000.eml", tmp_path / "old/eml")),
    ]
    for evidence, into in pairs:
        done = run_import(evidence, into, tmp_path / "case")
        assert done.code == 3 and "S28" in done.text, (evidence, into, done.text)
        assert not (tmp_path / "case").exists()
    assert run_import(box, tmp_path / "old/eml", tmp_path / "old/eml/case").code == 3
    assert bytes_below(tmp_path) == before


def test_s04_more_than_the_cap_refuses(tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    evidence = write("eml", tmp_path / "eml", [message(n, "x") for n in range(4)])
    before = mine.read_bytes()
    done = run_import(evidence, mine, tmp_path / "case", "--max-total", "3")
    assert done.code == 3 and "S04" in done.text, done.text
    assert excise_cli("run", tmp_path / "case").code in (3, 4)
    assert mine.read_bytes() == before
    assert run_import(evidence, mine, tmp_path / "again", "--max-total", "4").code == 0


def test_s05_without_confirmation_nothing_goes_in_and_run_does_it_later(tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    evidence = write("eml", tmp_path / "eml", [message(n, "x") for n in range(4)])
    before = mine.read_bytes()
    done = excise_cli("import", evidence, "--into", mine, "--case", tmp_path / "case")
    assert done.code == 4 and "4 messages" in done.out, done.text
    assert run_import(evidence, mine, tmp_path / "other", "--expect-matches", "3").code == 4
    assert mine.read_bytes() == before
    assert excise_cli("resume", tmp_path / "case").code == 2
    digest = sha256((tmp_path / "case/plan/0001/header.json").read_bytes()).hexdigest()
    done = excise_cli("run", tmp_path / "case", "--confirm", digest)
    assert done.code == 0, done.text
    assert ids_in_mbox(mine) == Counter(["100", "3", "101", "0", "1", "2", "3"])
    assert excise_cli("resume", tmp_path / "case").code == 2


def test_s01_what_takes_every_item_cannot_plan_a_removal(tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    before = mine.read_bytes()
    order = api.Order(api.Action.MOVE, cast("Criteria", EveryItem()), sources=(str(mine),))
    with api.new_case(tmp_path / "case", order.sources, api.Authorisation()) as work, pytest.raises(AttributeError):
        work.plan(order)
    assert not list((tmp_path / "case").glob("plan/*/header.json"))
    with pytest.raises(Refused, match="no criteria"):
        Criteria.from_options()
    assert mine.read_bytes() == before


def planned(evidence: str | Path, mine: Path, case: Path) -> str:
    """Plan an import; the plan's hash."""
    assert excise_cli("import", evidence, "--into", mine, "--case", case).code == 4
    return sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_s06_a_byte_that_was_changed_since_the_plan_keeps_only_that_message_out(kind: str, tmp_path: Path) -> None:
    mine = write("maildir", tmp_path / "mine", [])
    evidence = write(kind, tmp_path / "evidence", [message(n, "x") for n in range(4)])
    digest = planned(evidence, mine, tmp_path / "case")
    for path in [evidence] if kind == "mbox" else [p for p in evidence.rglob("*") if p.is_file()]:
        path.write_bytes(path.read_bytes().replace(b"body 2", b"bodz 2"))
    done = excise_cli("run", tmp_path / "case", "--confirm", digest)
    assert done.code == 9, done.text
    assert ids_in_maildir(mine) == Counter("013")
    assert outcomes(tmp_path / "case")["imported"] == 3
    assert excise_cli("verify", tmp_path / "case").code == 0
    assert excise_cli("resume", tmp_path / "case").code == 2


def test_s06_a_byte_that_was_changed_in_a_case_since_the_plan(worm_case: Path, tmp_path: Path) -> None:
    case, mine = tmp_path / "worm", target("mbox", tmp_path)
    shutil.copytree(worm_case, case)
    digest = planned(case, mine, tmp_path / "case")
    for path in case.glob("bag-0001/data/evidence/*/part-001/messages.mbox"):
        path.write_bytes(path.read_bytes().replace(b"body 5", b"bodz 5"))
    done = excise_cli("run", tmp_path / "case", "--confirm", digest)
    assert done.code == 9, done.text
    assert outcomes(tmp_path / "case") == {"imported": 3, "changed": 1}
    assert ids_in_mbox(mine) == Counter(["100", "3", "101", "1", "3", "7"])


def test_evidence_that_is_away_leaves_its_messages_open_until_it_is_back(tmp_path: Path) -> None:
    mine = target("maildir", tmp_path)
    evidence = write("mbox", tmp_path / "a.mbox", [message(n, "x") for n in range(3)])
    digest = planned(evidence, mine, tmp_path / "case")
    evidence.rename(tmp_path / "away")
    assert excise_cli("run", tmp_path / "case", "--confirm", digest).code == 6
    assert ids_in_maildir(mine) == Counter(["100", "3", "101"])
    (tmp_path / "away").rename(evidence)
    done = excise_cli("resume", tmp_path / "case")
    assert done.code == 0, done.text
    assert ids_in_maildir(mine) == Counter(["100", "3", "101", "0", "1", "2"])


def test_s30_another_mailbox_gets_nothing(tmp_path: Path) -> None:
    mine = target("mbox", tmp_path)
    digest = planned(write("eml", tmp_path / "eml", [message(1, "x")]), mine, tmp_path / "case")
    write_mbox(tmp_path / "new", [message(900, "somebody else's")])
    (tmp_path / "new").replace(mine)
    before = mine.read_bytes()
    done = excise_cli("run", tmp_path / "case", "--confirm", digest)
    assert done.code == 6, done.text
    assert mine.read_bytes() == before


def test_a_store_that_takes_nothing_is_refused(tmp_path: Path) -> None:
    evidence = write("mbox", tmp_path / "a.mbox", [message(1, "x")])
    pst = tmp_path / "x.pst"
    pst.write_bytes(b"!BDN" + bytes(600))
    assert run_import(evidence, f"pst:{pst}", tmp_path / "case").code == 2
    assert not (tmp_path / "case").exists()
