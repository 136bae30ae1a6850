"""S13's one exception: a purge of what nobody may hold keeps hashes and envelopes alone, and needs a second person."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cli.command import Done
from engine.mail_files import WORM, bytes_below, ids_in_maildir, ids_in_mbox, stores
from excise.engine.unit import UnitRun
from policy.keys import make_key, needs_keygen, public
from policy.organisation import Organisation
from policy.test_approvals import RULES, Desk

pytestmark = needs_keygen

#: People who may approve, and no rule that asks them for it.
PEOPLE = RULES.partition("[[approval.rule]]")[0]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("keys")
    return {name: make_key(place / name) for name in ("me", "sofia", "lena")}


@pytest.fixture
def desk(tmp_path: Path, keys: dict[str, Path]) -> Iterator[Desk]:
    made = Desk(Organisation(tmp_path), stores(tmp_path / "mail"), tmp_path / "case", keys)
    made.org.path.parent.mkdir(parents=True)
    made.signers(*(f"{name}@example.com {public(keys[name])}" for name in ("me", "sofia", "lena")))
    made.revoke()
    yield made


def purge(desk: Desk, *options: str) -> Done:
    return desk.org.excise(
        *("purge", desk.mail, "--subject", WORM, "--no-evidence", "--case", desk.case, "--jobs", "1"), *options
    )


def verified(desk: Desk) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What both verifiers say, line by line."""
    ours = desk.org.excise("verify", desk.case, "--json").lines()
    command = [sys.executable, "-I", str(desk.case / "verify_case.py"), str(desk.case), "--json"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ours, [json.loads(line) for line in theirs.splitlines()]


def wrong(lines: list[dict[str, Any]]) -> list[str]:
    return [f"{line['what']}: {line['detail']}" for line in lines if line.get("ok") is False]


@pytest.fixture
def gone(desk: Desk) -> Desk:
    """The purge was approved by Sofia and run."""
    desk.org.rules(PEOPLE)
    done = purge(desk)
    assert done.code == 4 and "NO EVIDENCE IS KEPT" in done.out, done.text
    assert "Needs: 1 approval as Legal or Information Security, not older than 72 hours" in done.out, done.out
    desk.put(desk.says("sofia"), "sofia")
    desk.accepted()
    return desk


def test_s13_it_needs_a_second_person_though_the_policy_asks_for_none(desk: Desk) -> None:
    desk.org.rules(PEOPLE)
    before = bytes_below(desk.mail)
    done = purge(desk, "--yes", "--expect-matches", "6")
    assert done.code == 4 and "0 of 1 approvals as Legal or Information Security" in done.err, done.text
    desk.put(desk.says("me", uid=0), "me")
    desk.refused("who approves is who operates: the same user")
    assert bytes_below(desk.mail) == before


@pytest.mark.parametrize("rules", ["", 'ticket = ".*"\n', PEOPLE.partition("[approval]")[0]])
def test_s13_where_nobody_can_approve_nothing_is_opened(desk: Desk, rules: str) -> None:
    if rules:
        desk.org.rules(rules)
    done = purge(desk, "--yes", "--expect-matches", "6")
    assert done.code == 4 and "no policy names anybody who could give it" in done.err, done.text
    assert not desk.case.exists()


def test_s13_it_goes_with_nothing_that_keeps_content(desk: Desk) -> None:
    desk.org.rules(PEOPLE)
    for option in (("--evidence", "mbox"), ("--rewrite",)):
        assert purge(desk, *option).code == 2
    assert not desk.case.exists()


def test_s13_hashes_and_envelopes_are_kept_and_no_content(gone: Desk) -> None:
    assert set(ids_in_mbox(gone.mail / "anna.mbox")) == set("02356")
    assert set(ids_in_maildir(gone.mail / "ben")) == {"20", "22", "24"}
    for path in gone.case.rglob("*"):
        assert not path.is_file() or b"From here on" not in path.read_bytes(), path
    parts = sorted(gone.case.glob("bag-0001/data/evidence/*/part-001"))
    assert [sorted(path.name for path in part.iterdir()) for part in parts] == [["items.jsonl"]] * 3
    (line,) = [json.loads(text) for text in (parts[-1] / "items.jsonl").read_text().splitlines()]
    from engine.mail_files import message

    content = message(42, WORM)
    assert (line["sha256"], line["size"]) == (sha256(content).hexdigest(), len(content))
    assert line["hashes_only"] is True and line["attributes"] == {} and line["eml"] is None


def test_s13_everything_that_tells_of_the_case_says_so(gone: Desk) -> None:
    ours, theirs = verified(gone)
    assert not wrong(ours) and not wrong(theirs)
    for lines in (ours, theirs):
        (told,) = [line for line in lines if line.get("what") == "evidence of plan 1"]
        assert told["ok"] is None and "not kept" in told["detail"]
        (second,) = [line for line in lines if line.get("what") == "second person of plan 1"]
        assert second["ok"] is True and second["detail"] == "sofia"
    assert "no evidence kept" in gone.org.excise("status", gone.case).out
    assert gone.org.excise("report", gone.case).code == 0
    assert "None was kept" in (gone.case / "report.html").read_text()
    assert gone.org.excise("custody", gone.case).code == 0
    assert "No evidence was kept" in (gone.case / "custody.md").read_text()
    assert "OF WHICH NO COPY WAS KEPT" in (gone.case / "certificate-902-14.md").read_text()


def test_s21_nothing_can_be_put_back_shown_or_swept(gone: Desk, tmp_path: Path) -> None:
    done = gone.org.excise("restore", gone.case, "--yes")
    assert done.code == 2 and "nothing of it can be put back" in done.err, done.text
    assert gone.org.excise("sweep", gone.case).code == 2
    done = gone.org.excise("loadfile", gone.case, "--output", tmp_path / "out")
    assert done.code == 2 and "nothing to hand over" in done.err, done.text
    into = gone.mail / "dora.mbox"
    before = into.read_bytes()
    done = gone.org.excise("import", gone.case, "--into", into, "--case", tmp_path / "again", "--yes")
    assert done.code != 0 and into.read_bytes() == before, done.text


def test_s13_no_hash_is_missing_or_wrong_when_something_is_removed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes are on disk and read again before anything is removed: one that changed stops it."""
    desk.org.rules(PEOPLE)
    assert purge(desk).code == 4
    desk.put(desk.says("sofia"), "sofia")
    verify = UnitRun.verify

    def after_a_change(unit: UnitRun) -> None:
        (path,) = unit.evidence.glob("part-001/items.jsonl")
        path.write_bytes(path.read_bytes().replace(b'"size":', b'"size": '))
        verify(unit)

    before = bytes_below(desk.mail)
    monkeypatch.setattr(UnitRun, "verify", after_a_change)
    done = desk.run()
    assert done.code == 5 and "expected SHA-256" in done.text, done.text
    assert bytes_below(desk.mail) == before


@pytest.mark.parametrize("cheat", ["content", "attributes", "approval"])
def test_what_should_not_be_there_or_is_gone_is_named_by_both(gone: Desk, cheat: str) -> None:
    part = gone.case / "bag-0001/data/evidence/00001/part-001"
    if cheat == "content":
        (part / "messages.mbox").write_bytes(b"From x\n\nbody\n\n")
    elif cheat == "attributes":
        path = part / "items.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"attributes":{}', b'"attributes":{"export":"AAAA"}'))
    else:
        for path in (gone.case / "approvals/0001").iterdir():
            path.unlink()
    ours, theirs = verified(gone)
    word = "second person" if cheat == "approval" else "part-001"
    assert any(word in line for line in wrong(ours)), wrong(ours)
    assert any(word in line for line in wrong(theirs)), wrong(theirs)
