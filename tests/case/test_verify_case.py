"""``verify_case.py`` against golden and fresh cases: one file, the standard library alone, the same verdicts."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from case.other_verifier import PROGRAM, Verdict, alone, as_a_program, excise
from case.test_damage import MUTATIONS
from cli.command import excise_cli
from engine.mail_files import WORM, stores
from excise.case import verify_case
from excise.core.digests import canonical_json, sha256_hex

GOLDEN = Path(__file__).resolve().parent / "golden"
HEADS = {name: told["head"] for name, told in json.loads((GOLDEN / "expected.json").read_text()).items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case with every kind of evidence that was run, and restored in part."""
    root = tmp_path_factory.mktemp("finished")
    mail, case = stores(root / "mail"), root / "case"
    kinds = ("--evidence", "mbox", "--evidence", "eml", "--evidence", "pst")
    words = ("move", mail, "--subject", WORM, "--case", case, "--jobs", "1", "--yes", "--expect-matches", "6")
    assert excise_cli(*words, *kinds).code == 0
    assert excise_cli("restore", case, "--only", "00001-000001", "--yes", "--jobs", "1").code == 0
    return case


@pytest.fixture
def case(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "case"))


# One file, the standard library alone


def test_it_imports_nothing_but_the_standard_library_and_parses_as_python_3_9() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} - {"__future__"} <= sys.stdlib_module_names


def test_its_constants_are_those_of_the_engine() -> None:
    from excise.engine.states import TRANSITIONS, Event, State
    from excise.model.item import Action, Outcome

    follows = {s.value: {e.value for state, e in TRANSITIONS if state is s} for s in State}
    assert {state: set(events) for state, events in verify_case.FOLLOWS.items()} == follows
    assert set(verify_case.EVENTS) == {event.value for event in Event}
    assert {outcome.value for outcome in Outcome} == verify_case.KNOWN_OUTCOMES
    assert set(verify_case.PRESERVING) == {action.value for action in Action if action.preserves}


def test_the_copy_in_a_case_checks_that_case_with_no_package_in_reach(finished: Path) -> None:
    head = (finished / "audit.head").read_text().strip()
    done = as_a_program(finished / "verify_case.py", "--expect-head", head)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DOES NOT HOLD" not in done.stdout
    assert "holds: verify_case.py" in done.stdout
    assert "not checked" in done.stdout and "messages.pst" in done.stdout


def test_the_copy_in_a_bag_checks_that_bag_where_it_is_alone(finished: Path, tmp_path: Path) -> None:
    bag = Path(shutil.copytree(finished / "bag-0001", tmp_path / "handed over"))
    done = as_a_program(bag / "data" / "records" / "verify_case.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "holds: bag-0001" in done.stdout
    assert sha256_hex((bag / "tagmanifest-sha256.txt").read_bytes()) in done.stdout
    spoilt = bag / "data" / "evidence" / "00001" / "part-001" / "messages.mbox"
    spoilt.write_bytes(spoilt.read_bytes().replace(b"body 4", b"body 5"))
    done = as_a_program(PROGRAM, bag)
    assert done.returncode == 5
    assert str(spoilt) in done.stdout


def test_what_is_no_case_is_told(tmp_path: Path) -> None:
    done = as_a_program(PROGRAM, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a case" in done.stderr


def test_nothing_is_written(case: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in case.rglob("*")}
    assert alone(case).code == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in case.rglob("*")} == before


# The same verdicts


@pytest.mark.parametrize("name", sorted(HEADS))
def test_the_golden_cases_hold(name: str) -> None:
    found = alone(GOLDEN / name, "--expect-head", HEADS[name])
    assert (found.code, found.wrong) == (0, [])
    assert alone(GOLDEN / name, "--expect-head", "0" * 64).code == 5


def test_what_holds_for_one_holds_for_the_other(finished: Path) -> None:
    head = (finished / "audit.head").read_text().strip()
    ours, theirs = excise(finished, head), alone(finished, "--expect-head", head)
    assert (ours.wrong, ours.unchecked, theirs.wrong) == ([], [], [])
    assert all("messages.pst" in line for line in theirs.unchecked)
    what = {line.partition(":")[0] for line in ours.holds}
    assert what == {line.partition(":")[0] for line in theirs.holds}


def both(case: Path, head: str | None = None) -> tuple[Verdict, Verdict]:
    return excise(case, head), alone(case, *(("--expect-head", head) if head else ()))


@pytest.mark.parametrize("name", ["finished", "fresh"])
def test_one_bit_flipped_in_any_file_is_named_by_both(name: str, case: Path, tmp_path: Path) -> None:
    root = case if name == "fresh" else Path(shutil.copytree(GOLDEN / name, tmp_path / name))
    missed = []
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock"):
        whole = path.read_bytes()
        at = len(whole) - 5 if path.name == "messages.mbox" else len(whole) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        for who, found in zip(("excise verify", "verify_case.py"), both(root), strict=True):
            if found.code != 5 or not found.names(path.name):
                missed.append(f"{who}: {path.relative_to(root)}: {found.code} {found.wrong}")
        path.write_bytes(whole)
    assert not missed, "\n".join(missed)
    assert [found.code for found in both(root)] == [0, 0]


@pytest.mark.parametrize("kind", sorted(MUTATIONS))
def test_both_agree_on_every_kind_of_damage(kind: str, case: Path) -> None:
    import random

    dice = random.Random(f"agree {kind}")
    files = [path for path in sorted(case.rglob("*")) if path.is_file() and path.name != "lock"]
    differ = []
    for path in dice.sample(files, 12):
        whole = path.read_bytes()
        path.write_bytes(MUTATIONS[kind](whole, dice))
        ours, theirs = both(case)
        if ours.code != theirs.code:
            differ.append(
                f"{path.relative_to(case)}: excise {ours.code} {ours.wrong}, alone {theirs.code} {theirs.wrong}"
            )
        path.write_bytes(whole)
    assert not differ, "\n".join(differ)


# Ways to cheat: what somebody does who knows the format and computes the hashes anew


def rechained(path: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> None:
    """Change the records of a chained log, and make a whole chain of them again."""
    head, lines = "0" * 64, []
    for seq, record in enumerate(change([json.loads(line) for line in path.read_bytes().splitlines()])):
        line = canonical_json(record | {"seq": seq, "prev": head})
        head = sha256_hex(line)
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))


def audit_rechained(case: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> None:
    """The same with the coordinator's log, and the head beside it."""
    rechained(case / "audit.jsonl", change)
    (case / "audit.head").write_text(sha256_hex((case / "audit.jsonl").read_bytes().splitlines()[-1]) + "\n")


def assert_both_name(case: Path, file: str, head: str | None = None) -> None:
    for who, found in zip(("excise verify", "verify_case.py"), both(case, head), strict=True):
        assert found.code == 5, f"{who} finds nothing wrong"
        assert found.names(file), f"{who} does not name {file}: {found.wrong}"


def test_a_replayed_journal_is_named(case: Path) -> None:
    """The journal as it was before the removal, whole in itself."""
    path = case / "units" / "00001" / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert_both_name(case, "units/00001/journal.jsonl")


def test_a_journal_made_anew_is_named(case: Path) -> None:
    def other(records: list[dict[str, object]]) -> list[dict[str, object]]:
        return [json.loads(json.dumps(record).replace('"removed"', '"already absent"')) for record in records]

    rechained(case / "units" / "00001" / "journal.jsonl", other)
    assert_both_name(case, "units/00001/journal.jsonl")


def test_reordered_events_of_a_journal_are_named(case: Path) -> None:
    rechained(case / "units" / "00001" / "journal.jsonl", lambda records: [records[1], records[0], *records[2:]])
    assert_both_name(case, "units/00001/journal.jsonl")


@pytest.mark.parametrize("log", ["journal.jsonl", "audit.jsonl"])
def test_swapped_logs_of_two_units_are_named(case: Path, log: str) -> None:
    one, other = (case / "units" / unit / log for unit in ("00001", "00002"))
    one.rename(case / "aside")
    other.rename(one)
    (case / "aside").rename(other)
    assert_both_name(case, f"units/00001/{log}")


def test_records_added_to_a_units_log_are_named(case: Path) -> None:
    more = {"type": "mailbox-opened", "time": "2026-01-01T00:00:00Z", "mailbox": "x", "identity": "x"}
    rechained(case / "units" / "00002" / "audit.jsonl", lambda records: [*records, dict(more)])
    assert_both_name(case, "units/00002/audit.jsonl")


def test_a_plan_of_more_with_all_its_hashes_made_anew_is_named(case: Path) -> None:
    """A plan that lists one item fewer, in matches and header."""
    directory = case / "plan" / "0001"
    matches = directory / "matches" / "00001.jsonl"
    matches.write_bytes(b"".join(matches.read_bytes().splitlines(keepends=True)[:-1]))
    header = json.loads((directory / "header.json").read_bytes())
    header["units"][0] |= {"matches": 2, "matches_sha256": sha256_hex(matches.read_bytes())}
    header["totals"]["matches"] -= 1
    (directory / "header.json").write_bytes(canonical_json(header) + b"\n")
    assert_both_name(case, "plan/0001/header.json")


def test_a_plan_replayed_as_a_later_one_is_named(case: Path) -> None:
    shutil.rmtree(case / "plan" / "0002")
    shutil.copytree(case / "plan" / "0001", case / "plan" / "0002")
    assert_both_name(case, "plan/0002/header.json")


def test_a_plan_of_another_case_is_named(case: Path) -> None:
    shutil.rmtree(case / "plan" / "0001")
    shutil.copytree(GOLDEN / "finished" / "plan" / "0001", case / "plan" / "0001")
    assert_both_name(case, "plan/0001/header.json")


def test_swapped_matches_of_two_units_are_named(case: Path) -> None:
    one, other = (case / "plan" / "0001" / "matches" / f"{unit}.jsonl" for unit in ("00001", "00002"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    assert_both_name(case, "matches/00001.jsonl")


def test_a_log_without_the_confirmation_is_named(case: Path) -> None:
    """Cut out, and every hash after it made anew: no head tells, but nothing may run unconfirmed."""
    audit_rechained(case, lambda records: [r for r in records if r["type"] != "confirmed"])
    assert_both_name(case, "audit.jsonl")


@pytest.mark.parametrize("kind", ["mailbox-searched", "unit-finished", "bag-sealed", "run-started"])
def test_a_log_without_some_record_is_named(case: Path, kind: str) -> None:
    audit_rechained(case, lambda records: [r for r in records if r["type"] != kind])
    assert_both_name(case, "audit.jsonl")


def test_reordered_entries_of_the_log_are_named(case: Path) -> None:
    def later(records: list[dict[str, object]]) -> list[dict[str, object]]:
        (made,) = [r for r in records if r["type"] == "plan-made" and r["plan"] == 1]
        return [r for r in records if r is not made] + [made]

    audit_rechained(case, later)
    assert_both_name(case, "audit.jsonl")


def test_a_log_cut_together_with_its_head_is_named_by_the_head_that_was_noted(case: Path) -> None:
    head = (case / "audit.head").read_text().strip()
    audit_rechained(case, lambda records: records[:-1])
    assert_both_name(case, "audit.jsonl", head)


def test_a_bag_sealed_anew_around_other_evidence_is_named(case: Path) -> None:
    from excise.case.bag import seal

    mbox = case / "bag-0001" / "data" / "evidence" / "00001" / "part-001" / "messages.mbox"
    mbox.write_bytes(mbox.read_bytes().replace(b"body 4", b"body 5"))
    info = (line.partition(": ") for line in (case / "bag-0001" / "bag-info.txt").read_text().splitlines())
    facts = {name: value for name, _, value in info if name.startswith(("External", "Internal"))}
    seal(case / "bag-0001", facts)
    assert_both_name(case, "bag-0001/tagmanifest-sha256.txt")
    assert_both_name(case, "messages.mbox")


def test_a_bag_of_another_case_is_named(case: Path) -> None:
    shutil.rmtree(case / "bag-0001")
    shutil.copytree(GOLDEN / "finished" / "bag-0001", case / "bag-0001")
    assert_both_name(case, "bag-0001/tagmanifest-sha256.txt")


@pytest.mark.parametrize("file", ["messages.mbox", "items.jsonl", "messages.pst"])
def test_files_of_parts_swapped_between_units_are_named(case: Path, file: str) -> None:
    one, other = (case / "bag-0001" / "data" / "evidence" / unit / "part-001" / file for unit in ("00001", "00002"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    assert_both_name(case, f"00001/part-001/{file}")


def test_swapped_messages_of_a_part_are_named(case: Path) -> None:
    eml = case / "bag-0001" / "data" / "evidence" / "00001" / "part-001" / "eml"
    one, other = eml / "00001-000001.eml", eml / "00001-000002.eml"
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    assert_both_name(case, "eml/00001-000001.eml")


def test_a_whole_part_that_is_gone_is_named(case: Path) -> None:
    shutil.rmtree(case / "bag-0001" / "data" / "evidence" / "00001" / "part-001")
    assert_both_name(case, "bag-0001/data/evidence/00001")


def test_a_bag_that_is_gone_is_named(case: Path) -> None:
    shutil.rmtree(case / "bag-0001")
    assert_both_name(case, "bag-0001/tagmanifest-sha256.txt")


def test_a_verifier_that_says_yes_to_all_is_named(case: Path) -> None:
    (case / "verify_case.py").write_text("print('all holds')\n")
    assert_both_name(case, "verify_case.py")


def test_strangers_are_told_by_both(case: Path) -> None:
    (case / "units" / "00001" / "notes.txt").write_text("x")
    (case / "checkpoints").mkdir()
    (case / "checkpoints" / "000001.json").write_text("{}")
    ours, theirs = both(case)
    for name in ("notes.txt", "000001.json"):
        assert any(name in line for line in ours.unchecked)
        assert any(name in line for line in [*theirs.unchecked, *theirs.wrong])


def test_an_open_case_is_not_called_whole() -> None:
    found = alone(GOLDEN / "open")
    assert any("bag-0001" in line and "not sealed" in line for line in found.unchecked)


@pytest.mark.soak
def test_a_damaged_case_never_breaks_it(finished: Path, tmp_path: Path) -> None:
    import random

    dice = random.Random(7)
    files = [path.relative_to(finished) for path in sorted(finished.rglob("*")) if path.is_file()]
    for _ in range(300):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(finished, copy)
        for path in dice.sample(files, 3):
            whole = (copy / path).read_bytes() or b"x"
            (copy / path).write_bytes(dice.choice(list(MUTATIONS.values()))(whole, dice))
        done = as_a_program(PROGRAM, copy)
        assert done.returncode in (0, 2, 5)
        assert "Traceback" not in done.stderr
