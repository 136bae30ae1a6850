"""Standing approvals: what a sweep removes under one, and each way to have it remove more (S04, S25)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cli.command import Done
from engine.mail_files import WORM, bytes_below, ids_in_maildir, message, stores, write_mbox
from excise.case.chain import read_chain
from excise.core.clock import parse_iso
from excise.engine.unit import UnitRun
from policy.keys import canonical, make_key, needs_keygen, public, sign, time
from policy.organisation import Organisation
from policy.test_approvals import ME, RULES, Desk

pytestmark = needs_keygen

STANDING = RULES + '\n[approval.standing]\nactions = ["move"]\nper_hour = 6\nhours = 12\n'
CASE_PY = "verify_case.py"


@dataclass
class Night(Desk):
    """A desk whose case was run once, and mail that goes on coming."""

    def deliver(self, *numbers: int, subject: str = WORM) -> None:
        """More messages for Ben."""
        for number in numbers:
            (self.mail / f"ben/new/176{number:07}.M{number}P9.host").write_bytes(message(number, subject))

    def there(self) -> set[str]:
        """Ben's late messages."""
        return {found for found in ids_in_maildir(self.mail / "ben") if int(found) > 100}

    def ask(self, per_hour: int = 3, until: str | None = None, *options: str) -> Done:
        """Ask for a standing approval."""
        return self.org.excise(
            "standing", self.case, "--per-hour", str(per_hour), "--until", until or time(6), *options
        )

    @property
    def terms(self) -> Path:
        return max((self.case / "standing").glob("*/terms.json"))

    def yes(self, name: str = "sofia", role: str = "Legal", **changes: Any) -> dict[str, Any]:
        """A statement of somebody about the newest terms."""
        data = self.terms.read_bytes()
        terms = json.loads(data)
        same = ("case", "standing", "action", "criteria_sha256", "per_hour", "policy_sha256", "until")
        return {
            "excise_standing_statement": 1,
            "terms_sha256": sha256(data).hexdigest(),
            **{key: terms[key] for key in same},
            "role": role,
            "principal": f"{name}@example.com",
            "user": ME if name == "me" else name,
            "uid": os.getuid() + 1000 + sum(name.encode()),
            "host": "elsewhere",
            "from": time(-0.1),
        } | changes

    def put_yes(self, said: dict[str, Any], key: str = "sofia", namespace: str = "excise-standing") -> Path:
        """Put a signed statement beside the newest terms, behind Excise's back."""
        data = canonical(said)
        path = self.terms.parent / f"{sha256(data).hexdigest()[:16]}.json"
        path.write_bytes(data)
        sign(path, self.keys[key], namespace)
        return path

    def approved(self, per_hour: int = 3) -> Path:
        """A standing approval that Sofia signed; her statement."""
        done = self.ask(per_hour)
        assert done.code == 0, done.text
        return self.put_yes(self.yes())

    def sweep(self, *options: str) -> Done:
        return self.org.excise(
            *("sweep", self.case, "--standing", "--jobs", "1", "--interval", "0s", "--json", "--until-clean", "1"),
            *options,
        )

    def stopped(self, reason: str, code: int = 4) -> None:
        """A sweep removes nothing, and says why."""
        before = bytes_below(self.mail)
        done = self.sweep()
        assert done.code == code, done.text
        assert reason in done.err, done.err
        assert bytes_below(self.mail) == before

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_chain(self.case / "audit.jsonl").records if record["type"] == kind]

    def verified(self) -> list[str]:
        """What either verifier says does not hold; both must agree on whether anything does not."""
        ours = self.org.excise("verify", self.case, "--json")
        command = [sys.executable, "-I", str(self.case / CASE_PY), str(self.case), "--json"]
        theirs = subprocess.run(command, capture_output=True, text=True, check=False)
        wrong = [line["what"] for line in ours.lines() if line.get("ok") is False]
        other = [json.loads(line) for line in theirs.stdout.splitlines()]
        assert bool(wrong) == any(line.get("ok") is False for line in other), (ours.text, theirs.stdout)
        assert (ours.code, theirs.returncode) == ((5, 5) if wrong else (0, 0)), (ours.text, theirs.stdout)
        return wrong


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key for each."""
    place = tmp_path_factory.mktemp("keys")
    return {name: make_key(place / name) for name in ("me", "sofia", "lena", "eve")}


@pytest.fixture
def night(tmp_path: Path, keys: dict[str, Path]) -> Night:
    """The case after its first, singly approved run."""
    made = Night(Organisation(tmp_path), stores(tmp_path / "mail"), tmp_path / "case", keys)
    made.org.path.parent.mkdir(parents=True)
    made.signers(*(f"{name}@example.com {public(keys[name])}" for name in ("me", "sofia", "lena")))
    made.revoke()
    made.org.rules(STANDING)
    done = made.org.excise(
        *("plan", "move", made.mail, "--subject", WORM, "--case", made.case, "--jobs", "1", "--evidence", "mbox")
    )
    assert done.code == 0, done.text
    made.put(made.says("sofia"), "sofia")
    made.accepted()
    return made


# What it is for


def test_s25_a_sweep_goes_on_under_it_and_each_pass_is_reported(night: Night, tmp_path: Path) -> None:
    night.approved()
    night.deliver(901, 902)
    night.deliver(903, subject="harmless")
    sink = tmp_path / "sink.jsonl"
    done = night.sweep("--audit-sink", f"file:{sink}")
    assert done.code == 0, done.text
    assert night.there() == {"903"}
    (told,) = [line for line in done.lines() if "counted" in line]
    assert told == {
        "standing": 1, "pass": 1, "plan": 2, "removable": 2, "counted": 0, "left_this_hour": 1,
    }  # fmt: skip
    assert done.lines()[-1]["summary"]["standing"] == 1
    (record,) = night.records("standing-pass")
    assert (record["plan"], record["standing"], record["removable"], record["counted"]) == (2, 1, 2, 0)
    assert list(record["files"]) == ["standing/0001/pass-0002.json"]
    assert [record["standing"] for record in night.records("sweep-pass")] == [1, 1]
    assert '"standing-pass"' in sink.read_text()
    assert not night.verified()
    shown = night.org.excise("status", night.case)
    assert "Standing approval 1: move, 3 an hour" in shown.out and "plan 2: 2 of 2 removed" in shown.out, shown.out
    assert night.org.excise("report", night.case).code == 0
    assert "Standing approval 1" in (night.case / "report.html").read_text()


def test_s25_request_statement_and_back(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator asks, somebody else signs what stands in the file, the operator takes it in."""
    request, said = tmp_path / "request", tmp_path / "said"
    done = night.ask(3, None, "--request-out", str(request))
    assert done.code == 0 and "0 of 1 approvals" in done.err, done.text
    night.stopped("0 of 1 approvals as Information Security or Legal are there")
    monkeypatch.setattr("excise.api.approving.account", lambda: "sofia")
    monkeypatch.setattr("excise.case.approvals.account", lambda: "sofia")
    monkeypatch.setattr("excise.case.approvals.who", lambda: {"uid": os.getuid() + 7, "host": "hers"})
    sign_it = ("standing", request, "--key", night.keys["sofia"], "--role", "Legal", "--statement-out", said)
    assert night.org.excise(*sign_it).code == 4
    done = night.org.excise(*sign_it, "--yes", "--per-hour", "4")
    assert done.code == 4 and "expected 4 an hour, found 3" in done.err, done.text
    done = night.org.excise(*sign_it, "--yes", "--per-hour", "3")
    assert done.code == 0 and "up to 3 messages in any 60 minutes" in done.out, done.text
    monkeypatch.undo()
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(night.org.path.parent / "allowed_signers"), "-I"]
    verify += ["sofia@example.com", "-n", "excise-standing", "-s", f"{said}.sig"]
    assert subprocess.run(verify, input=said.read_bytes(), capture_output=True, check=False).returncode == 0
    done = night.org.excise("standing", night.case, "--statement-in", said)
    assert done.code == 0 and "Nothing is missing" in done.err, done.text
    night.deliver(901)
    assert night.sweep().code == 0
    assert not night.there() and not night.verified()


def test_s21_what_was_restored_is_left_there(night: Night) -> None:
    night.approved()
    night.org.rules(STANDING)
    assert night.org.excise("restore", night.case, "--yes", "--jobs", "1").code == 0
    night.deliver(901)
    done = night.sweep()
    assert done.code == 0, done.text
    assert [(line["matches"], line["left_out"]) for line in done.lines() if "left_out" in line] == [(1, 6), (0, 6)]
    assert not night.verified()


def test_a_second_pass_counts_what_the_first_removed_until_an_hour_is_over(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.approved()
    night.deliver(901, 902)
    assert night.sweep().code == 0
    night.deliver(903, 904)
    night.stopped("2 to remove and 2 removed in the last 60 minutes, more than the 3 an hour", code=3)
    (refused,) = night.records("standing-refused")
    assert refused["exit_code"] == 3 and "S04" in refused["why"]
    later = datetime.now(UTC) + timedelta(minutes=61)
    for place in ("engine.standing", "case.standing", "case.chain"):
        monkeypatch.setattr(f"excise.{place}.now", lambda: later)
    done = night.sweep()
    assert done.code == 0, done.text
    assert not night.there()
    monkeypatch.undo()
    assert not night.verified()


# Each way to have more


def test_s04_a_pass_above_the_cap_is_refused_as_a_whole(night: Night) -> None:
    night.approved()
    night.deliver(901, 902, 903, 904)
    night.stopped("4 to remove and 0 removed in the last 60 minutes, more than the 3 an hour", code=3)
    assert len(night.there()) == 4


def test_s04_a_cap_split_over_cases_of_journals_that_are_gone_is_noticed(night: Night) -> None:
    night.approved()
    night.deliver(901, 902)
    assert night.sweep().code == 0
    night.deliver(903, 904)
    unit = max(path for path in (night.case / "units").glob("*/journal.jsonl") if '"removing"' in path.read_text())
    kept = unit.read_bytes()
    unit.unlink()
    night.stopped("how much was removed?", code=5)
    unit.write_bytes(kept)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda terms: terms | {"until": time(11)}, "not the terms that the audit log tells of"),
        (lambda terms: terms | {"per_hour": 6}, "not the terms that the audit log tells of"),
        (lambda terms: terms | {"rule": terms["rule"] + "!"}, "not the terms that the audit log tells of"),
        (lambda terms: terms | {"case": "another"}, "found that of another"),
    ],
)
def test_s25_terms_that_were_changed_are_not_taken(
    night: Night, change: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    night.approved()
    night.deliver(901)
    kept = night.terms.read_bytes()
    night.terms.write_bytes(canonical(change(json.loads(kept))))
    night.stopped(reason, code=5)
    assert night.verified()
    night.terms.write_bytes(kept)
    assert night.sweep().code == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"until": time(11)}, "it is to last longer than standing approval 1"),
        ({"case": "another"}, "it is for another case"),
        ({"terms_sha256": "0" * 64}, "it is for other terms"),
        ({"criteria_sha256": "0" * 64}, "it is for other criteria"),
        ({"per_hour": 6}, "it is for another number an hour"),
        ({"policy_sha256": "0" * 64}, "it is for another policy"),
        ({"action": "purge"}, "it is for another action"),
        ({"from": time(1)}, "it begins in the future"),
        ({"from": time(-2), "until": time(-1)}, "it expired at"),
        ({"role": "Board"}, "may not approve as Board"),
        ({"user": ME}, "it was made by the user"),
        ({"principal": "eve@example.com"}, "nobody whom the policy names"),
    ],
)
def test_s25_a_statement_that_says_anything_else_does_not_count(
    night: Night, changes: dict[str, Any], reason: str
) -> None:
    assert night.ask().code == 0
    night.put_yes(night.yes(**changes))
    night.deliver(901)
    night.stopped(reason)


def test_s25_signatures_for_something_else_or_by_others_do_not_count(night: Night) -> None:
    assert night.ask().code == 0
    night.deliver(901)
    path = night.put_yes(night.yes(), namespace="excise-approval")
    night.stopped("its signature does not count")
    sign(path, night.keys["lena"], "excise-standing")
    night.stopped("its signature does not count")
    sign(path, night.keys["sofia"], "excise-standing")
    night.signers(*(f"{name}@example.com {public(night.keys['sofia'])}" for name in ("sofia", "lena")))
    night.stopped("under more than one name")
    path.unlink()
    night.signers(*(f"{name}@example.com {public(night.keys[name])}" for name in ("me", "sofia", "lena")))
    night.put_yes(night.yes("me", uid=os.getuid()), "me")
    night.stopped("who approves is who operates: the same user")


def test_s25_two_people_have_to_be_two(night: Night) -> None:
    night.org.rules(STANDING.replace("hours = 24", "hours = 24\ncount = 2"))
    night.ask()
    night.deliver(901)
    night.put_yes(night.yes())
    night.put_yes(night.yes("sofia", "Information Security"))
    night.stopped("1 of 2 approvals")
    night.put_yes(night.yes("lena"), "lena")
    done = night.sweep()
    assert done.code == 0, done.text


def test_s25_an_approval_of_one_case_is_none_of_another(night: Night, tmp_path: Path) -> None:
    night.approved()
    other = Night(night.org, stores(tmp_path / "mail2"), tmp_path / "case2", night.keys)
    done = night.org.excise(
        *("plan", "move", other.mail, "--subject", WORM, "--case", other.case, "--jobs", "1", "--evidence", "mbox")
    )
    assert done.code == 0, done.text
    shutil.copytree(night.case / "standing", other.case / "standing")
    other.stopped("found that of another", code=5)
    shutil.rmtree(other.case / "standing")
    assert other.ask().code == 0
    for path in night.terms.parent.glob("[0-9a-f]*.json*"):
        shutil.copy(path, other.terms.parent)
    other.stopped("it is for another case")


def test_s25_a_plan_of_another_rule_or_another_mailbox_is_not_within_it(night: Night) -> None:
    night.approved()
    shutil.copytree(night.mail / "ben", night.mail / "emil")
    (night.mail / "emil/new/1769999999.M1P9.host").write_bytes(message(905, WORM))
    done = night.sweep("--until", time(0.001))
    assert done.code == 4, done.text
    assert "905" in ids_in_maildir(night.mail / "emil")
    assert {line["not_searched"] for line in done.lines() if "left_out" in line} == {1}
    header = json.loads((night.case / "plan/0002/header.json").read_text())
    assert [unit["not_searched"] for unit in header["units"] if "emil" in unit["name"]] == [
        "it was not there when standing approval 1 was asked for, and is not part of it"
    ]


def test_s25_each_part_of_a_plan_has_to_be_what_was_approved(night: Night) -> None:
    from dataclasses import replace

    from excise.case.layout import Case
    from excise.case.plan import read_plan
    from excise.case.standing import outside, read_standing
    from excise.model.item import Action

    night.approved()
    case = Case(night.case)
    terms, plan = read_standing(case, 1).terms, read_plan(case, 1)
    assert not outside(terms, plan)
    header = dict(plan.header)
    scope = header["scope"]
    changes = {
        "criteria": {"criteria": {**header["criteria"], "x": 1}},
        "scope": {"scope": {**scope, "sources": ["/elsewhere"]}},
        "disposal": {"disposal": "soft"},
        "evidence": {"no_evidence": True},
        "policy": {"policy_sha256": "0" * 64},
        "caps": {"caps": {**header["caps"], "max_share": 100.0}},
        "case": {"case": "another"},
        "treatment of PST files": {"rewrite": True},
    }
    for name, change in changes.items():
        assert name in outside(terms, replace(plan, header={**header, **change})), name
    assert "action" in outside(terms, replace(plan, action=Action.PURGE))
    moved = replace(plan.units[0], locator="mbox:/elsewhere")
    assert "none of the mailboxes" in outside(terms, replace(plan, units=(moved, *plan.units[1:])))
    assert not outside(terms, replace(plan, header={**header, "caps": {**header["caps"], "max_total": 1}}))


# The night goes on


def test_s25_a_clock_that_was_moved_back_stops_it(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.approved()
    night.deliver(901)
    earlier = datetime.now(UTC) - timedelta(minutes=2)
    monkeypatch.setattr("excise.engine.standing.now", lambda: earlier)
    night.stopped("the clock was moved back")


def test_s25_no_pass_begins_after_its_end(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.approved()
    night.deliver(901)
    later = datetime.now(UTC) + timedelta(hours=7)
    monkeypatch.setattr("excise.engine.standing.now", lambda: later)
    night.stopped("it ended at")


@pytest.mark.parametrize("cheat", ["revoked", "expired", "policy", "gone"])
def test_s25_what_is_lost_midway_stops_the_removal(night: Night, cheat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = night.approved()
    night.deliver(901)
    verify, later = UnitRun.verify, datetime.now(UTC) + timedelta(hours=7)

    def and_then(unit: UnitRun) -> None:
        verify(unit)
        if cheat == "revoked":
            night.revoke("sofia")
        elif cheat == "gone":
            path.unlink()
        elif cheat == "policy":
            night.org.rules(RULES)
        else:
            monkeypatch.setattr("excise.engine.standing.now", lambda: later)

    monkeypatch.setattr(UnitRun, "verify", and_then)
    before = bytes_below(night.mail)
    done = night.sweep()
    assert done.code == 4, done.text
    assert bytes_below(night.mail) == before
    monkeypatch.undo()
    night.revoke()
    night.org.rules(STANDING)
    if cheat == "gone":
        assert night.org.excise("resume", night.case, "--jobs", "1").code == 4
        night.put_yes(night.yes("lena"), "lena")
    done = night.org.excise("resume", night.case, "--jobs", "1")
    assert done.code == 0, done.text
    assert not night.there()
    if cheat != "gone":
        assert not night.verified()


def test_s15_killed_in_a_pass_it_is_resumed_and_counts_what_was_removed(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.approved()
    night.deliver(901, 902)
    monkeypatch.setattr(UnitRun, "_settle", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert night.sweep().code == -signal.SIGKILL
    monkeypatch.undo()
    assert not night.there()  # they are gone, and no record says so yet
    night.deliver(903, 904)
    done = night.sweep()
    assert done.code == 2 and "excise resume" in done.err, done.text
    done = night.org.excise("resume", night.case, "--jobs", "1")
    assert done.code == 0, done.text
    night.stopped("2 to remove and 2 removed in the last 60 minutes", code=3)
    assert not night.verified()


def test_s15_killed_before_a_pass_is_confirmed_the_next_one_finds_the_same(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.approved()
    night.deliver(901)
    monkeypatch.setattr("excise.api.standing.write_pass", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert night.sweep().code == -signal.SIGKILL
    monkeypatch.undo()
    assert night.there() == {"901"}
    done = night.sweep()
    assert done.code == 0, done.text
    assert not night.there() and not night.verified()


# What the policy allows


@pytest.mark.parametrize(
    ("rules", "per_hour", "until", "reason"),
    [
        (RULES, 3, 6, "the policy allows none for move"),
        (STANDING.replace('actions = ["move"]\nper', 'actions = ["purge"]\nper'), 3, 6, "allows none for move"),
        (STANDING, 7, 6, "it is for 7 an hour, and the policy allows 6"),
        (STANDING, 3, 13, "longer than the 12 hours"),
        (STANDING, 3, -1, "is over already"),
    ],
)
def test_s25_what_the_policy_does_not_allow_cannot_be_asked_for(
    night: Night, rules: str, per_hour: int, until: float, reason: str
) -> None:
    night.org.rules(rules)
    done = night.ask(per_hour, time(until))
    assert done.code in (2, 4) and reason in done.err, done.text
    assert not list((night.case / "standing").glob("*/*"))


def test_s25_a_policy_that_became_stricter_ends_it(night: Night) -> None:
    night.approved()
    night.deliver(901)
    for rules, reason in (
        (RULES, "the policy allows none"),
        (STANDING.replace("per_hour = 6", "per_hour = 2"), "the policy allows 2"),
        (STANDING.replace("hours = 12", "hours = 1"), "longer than the 1 hours"),
        (STANDING.replace("hours = 24\n", "hours = 24\ncount = 2\n"), "1 of 2 approvals"),
    ):
        night.org.rules(rules)
        night.stopped(reason)


def test_no_standing_approval_and_wrong_usage(night: Night) -> None:
    assert "no standing approval was asked for" in night.sweep().err
    assert night.sweep("--yes", "--max-total", "3").code == 2
    assert night.sweep("--with-replies").code == 2
    assert night.org.excise("standing", night.case, "--until", time(1)).code == 2
    empty = night.case.parent / "x.mbox"
    write_mbox(empty, [message(1, "x")])
    assert night.org.excise("standing", empty, "--statement-out", night.case.parent / "y").code == 7


# What the verifiers notice


def rewritten(night: Night, path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_bytes(canonical(change(json.loads(path.read_bytes()))))


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said | {"counted": 0, "per_hour": 9},
        lambda said: said | {"time": time(9)},
        lambda said: said | {"plan_sha256": "0" * 64},
        lambda said: said | {"standing": 2},
        lambda said: said | {"x": 1},
    ],
)
def test_a_changed_statement_of_a_pass_is_named(
    night: Night, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    night.approved()
    night.deliver(901)
    assert night.sweep().code == 0
    assert not night.verified()
    rewritten(night, night.case / "standing/0001/pass-0002.json", change)
    assert "pass of plan 2" in night.verified()


def test_a_statement_with_a_changed_byte_is_named(night: Night) -> None:
    path = night.approved()
    path.write_bytes(path.read_bytes().replace(b'"host":"elsewhere"', b'"host":"elsewherf"'))
    assert night.verified()


def test_times_and_counts_are_those_of_the_journals() -> None:
    from excise.case.removals import Moment, Removals, counted

    start = parse_iso("2026-01-01T00:00:00Z")
    assert start is not None

    class Told(Removals):
        def tell(self, plan: int, *moments: Moment) -> None:
            self._of[plan] = list(moments)
            self._all += moments

    @dataclass
    class Numbered:
        number: int

    def at(minute: float, plan: int, item: int) -> Moment:
        return start + timedelta(minutes=minute), (plan, 1, item)

    told, end = Told(), start + timedelta(hours=5)
    told.tell(1, at(0, 1, 1), at(30, 1, 2), at(31, 1, 2))
    told.tell(2, at(59.9, 2, 1), at(60, 2, 2))
    assert not told.problem(Numbered(1), 2, start, end)  # type: ignore[arg-type]
    assert not told.problem(Numbered(2), 3, start, end)  # type: ignore[arg-type]
    assert "3 removals in the hour" in told.problem(Numbered(2), 2, start, end)  # type: ignore[arg-type]
    assert "before the end" in told.problem(Numbered(2), 3, start, start + timedelta(minutes=60))  # type: ignore[arg-type]
    assert counted([at(0, 1, 1), at(30, 1, 2), at(31, 1, 2)], start) == 1
