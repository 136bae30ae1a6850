"""What a policy refuses, before anything is opened, and how it binds a plan."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine.mail_files import WORM, bytes_below, message, stores
from excise import api
from excise.core.digests import canonical_json
from excise.core.errors import ExciseError
from excise.criteria import Criteria
from policy.organisation import Organisation


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """The four stores."""
    return stores(tmp_path / "mail")


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Where the case will be."""
    return tmp_path / "case"


@pytest.fixture
def org(tmp_path: Path) -> Organisation:
    """An organisation without rules."""
    return Organisation(tmp_path)


def header(case: Path) -> dict[str, Any]:
    return json.loads((case / "plan/0001/header.json").read_text())


def plan_hash(case: Path) -> str:
    return sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()


WANTED = ("--subject", WORM, "--jobs", "1")


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        ('operators = ["nobody-here"]\n', ()),
        ('ticket = "INC-[0-9]+"\n', ()),
        ('ticket = "INC-[0-9]+"\n', ("--ticket", "inc-1")),
        ('reason = ".{20,}"\n', ("--reason", "too short")),
    ],
)
def test_s25_who_may_not_opens_nothing(
    mail: Path, case: Path, org: Organisation, rules: str, options: tuple[str, ...]
) -> None:
    org.rules("# one line\n" + rules)
    for command in (("search",), ("copy", "--case", case), ("move", "--case", case), ("plan", "copy", "--case", case)):
        (mail / "anna.mbox").chmod(0)
        done = org.excise(command[0], *command[1:2], mail, *command[2:], *WANTED, *options)
        assert (done.code, f"{org.path}:2: " in done.err, case.exists()) == (3, True, False), done.text


def test_what_the_policy_asks_for_is_enough(mail: Path, case: Path, org: Organisation) -> None:
    org.rules('ticket = "INC-[0-9]+"\n')
    done = org.excise("move", mail, *WANTED, "--case", case, "--ticket", "INC-7", "--yes", "--expect-matches", "6")
    assert done.code == 0, done.text
    assert org.excise("verify", case).code == 0


def test_the_policys_hash_is_in_the_plan(mail: Path, case: Path, org: Organisation) -> None:
    org.rules('ticket = "INC-[0-9]+"\n[caps]\nmax_total = 7\n')
    assert org.excise("plan", "move", mail, *WANTED, "--case", case, "--ticket", "INC-7").code == 0
    frozen = header(case)
    assert frozen["policy_sha256"] == sha256(canonical_json(frozen["policy"]["rules"])).hexdigest()
    assert frozen["policy_sha256"] in org.excise("policy", "show").out
    assert frozen["policy"]["files"] == [{"path": str(org.path), "sha256": sha256(org.path.read_bytes()).hexdigest()}]
    assert frozen["caps"]["max_total"] == 7


def test_s04_the_smaller_cap_counts(mail: Path, tmp_path: Path, org: Organisation) -> None:
    org.rules("[caps]\nmax_per_mailbox = 2\nmax_total = 50\nmax_share = 90\n")
    for number, (options, caps) in enumerate(
        [
            ((), (2, 50, 25.0)),
            (("--max-per-mailbox", "9", "--max-total", "9", "--max-share", "95"), (2, 9, 90.0)),
            (("--max-per-mailbox", "1", "--max-total", "99", "--max-share", "5"), (1, 50, 5.0)),
        ]
    ):
        case = tmp_path / f"case-{number}"
        org.excise("plan", "move", mail, *WANTED, "--case", case, *options)
        found = header(case)["caps"]
        assert (found["max_per_mailbox"], found["max_total"], found["max_share"]) == caps


def test_s02_a_term_that_only_narrows_stands_alone_where_the_policy_allows_it_by_name(
    mail: Path, tmp_path: Path, org: Organisation
) -> None:
    narrow = ("plan", "move", mail, "--from", "@example.net", "--case")
    assert org.excise(*narrow, tmp_path / "one").code == 3
    org.rules('narrow_only = ["folder"]\n')
    assert org.excise(*narrow, tmp_path / "two").code == 3
    org.rules('narrow_only = ["domain"]\n')
    done = org.excise(*narrow, tmp_path / "three")
    assert done.code == 0, done.text
    org.rules("reveal = true\n")
    mine = tmp_path / "mine.toml"
    mine.write_text('narrow_only = ["domain"]\n')
    mine.chmod(0o600)
    assert org.excise(*narrow, tmp_path / "four", "--policy", mine).code == 3


def test_s23_subjects_are_not_revealed_where_the_policy_forbids_it(mail: Path, case: Path, org: Organisation) -> None:
    org.rules("reveal = false\n")
    done = org.excise("copy", mail, *WANTED, "--case", case, "--reveal")
    assert (done.code, f"{org.path}:1: reveal" in done.err, case.exists()) == (3, True, False)


def test_what_is_never_searched_is_told_and_not_opened(mail: Path, case: Path, org: Organisation) -> None:
    org.rules('never_search = ["ben"]\n')
    done = org.excise("search", mail, *WANTED)
    assert done.code == 3
    assert f"ben: not searched: {org.path}:1: never_search" in done.err
    assert "4 matches in 2 of 3 mailboxes searched" in done.out
    (mail / "ben" / "cur").chmod(0)
    done = org.excise("move", mail, *WANTED, "--case", case, "--yes", "--expect-matches", "4")
    assert done.code == 3, done.text
    (mail / "ben" / "cur").chmod(0o700)
    unit = next(unit for unit in header(case)["units"] if unit["name"].endswith("/ben"))
    assert (unit["seen"], unit["matches"], str(org.path) in unit["not_searched"]) == (0, 0, True)
    done = org.excise("search", mail / "ben", *WANTED)
    assert (done.code, "No mailbox was opened" in done.err) == (3, True)


def test_a_broken_policy_stops_everything(mail: Path, org: Organisation) -> None:
    for rules, code in (("operators = 1\n", 2), ("operators =", 2)):
        org.rules(rules)
        assert org.excise("search", mail, *WANTED).code == code
    org.path.unlink()
    org.path.symlink_to("/nowhere")
    done = org.excise("search", mail, *WANTED)
    assert (done.code, str(org.path) in done.err) == (6, True)


# A plan and its policy


def planned(org: Organisation, mail: Path, case: Path, *options: str | Path) -> None:
    done = org.excise("plan", "move", mail, *WANTED, "--case", case, "--ticket", "INC-7", *options)
    assert done.code == 0, done.text


def run(org: Organisation, case: Path) -> Any:
    return org.excise("run", case, "--confirm", plan_hash(case), "--jobs", "1")


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("", "reveal = true\n", "there is a policy now"),
        ("[caps]\nmax_total = 9\n", "[caps]\nmax_total = 8\n", "caps"),
        ("reveal = true\n", 'never_search = ["dora.mbox"]\n', "never_search"),
        ("reveal = true\n", 'ticket = "INC-.*"\n', "ticket"),
        ('narrow_only = ["domain"]\n', "narrow_only = []\n", "narrow_only"),
    ],
)
def test_s06_a_plan_of_a_looser_policy_is_not_run(
    mail: Path, case: Path, org: Organisation, before: str, after: str, key: str
) -> None:
    if before:
        org.rules(before)
    planned(org, mail, case)
    org.rules(after)
    all_mail = bytes_below(mail)
    done = run(org, case)
    assert done.code == 4 and key in done.err and f"{org.path}" in done.err, done.text
    assert bytes_below(mail) == all_mail
    assert not (case / "units").exists()


def test_a_policy_that_became_looser_leaves_the_plan_as_it_is(mail: Path, case: Path, org: Organisation) -> None:
    org.rules('ticket = "INC-.*"\n[caps]\nmax_total = 9\n')
    planned(org, mail, case)
    org.path.unlink()
    assert run(org, case).code == 0


def test_who_may_operate_is_asked_again_when_a_plan_is_run(mail: Path, case: Path, org: Organisation) -> None:
    org.rules("reveal = true\n")
    planned(org, mail, case)
    org.rules('operators = ["somebody-else"]\n')
    done = run(org, case)
    assert (done.code, f"{org.path}:1: operators" in done.err) == (3, True)


def test_a_policy_given_for_a_plan_binds_its_run(mail: Path, case: Path, org: Organisation, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[[hold]]\ncase = "Mine"\nmailboxes = ["carla"]\n')
    mine.chmod(0o600)
    done = org.excise("plan", "move", mail, *WANTED, "--case", case, "--policy", mine)
    assert done.code == 8, done.text
    mine.unlink()
    done = run(org, case)
    assert (done.code, str(mine) in done.err) == (6, True)


def test_a_policy_given_for_a_plan_binds_its_sweeps(mail: Path, case: Path, org: Organisation, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[caps]\nmax_total = 6\n")
    mine.chmod(0o600)
    done = org.excise("copy", mail, *WANTED, "--case", case, "--evidence", "mbox", "--policy", mine)
    assert done.code == 0, done.text
    org.excise("sweep", case, "--jobs", "1")
    later = json.loads((case / "plan/0002/header.json").read_text())
    assert (later["policy"]["given"], later["caps"]["max_total"]) == (str(mine), 6)
    assert later["policy_sha256"] == header(case)["policy_sha256"]


def test_s25_each_new_plan_of_a_sweep_needs_an_approval_of_its_own(mail: Path, case: Path, org: Organisation) -> None:
    done = org.excise("move", mail, *WANTED, "--case", case, "--yes", "--expect-matches", "6")
    assert done.code == 0, done.text
    (org.place / "allowed_signers").write_text("")
    org.rules(
        f'[people."sofia"]\nuser = "sofia"\nroles = ["Legal"]\n[approval]\n'
        f'allowed_signers = "{org.place / "allowed_signers"}"\n'
        '[[approval.rule]]\nactions = ["move"]\nroles = ["Legal"]\n'
    )
    late = mail / "ben/new/1769999999.M1P9.host"
    late.write_bytes(message(901, WORM))
    done = org.excise("sweep", case, "--jobs", "1", "--interval", "0s", "--yes", "--max-total", "5")
    assert done.code == 4, done.text
    assert "plan 2 (" in done.text and "0 of 1 approvals as Legal are there" in done.text
    assert late.is_file()


def test_frozen_rules_that_were_changed_do_not_verify(mail: Path, case: Path, org: Organisation) -> None:
    org.rules("[caps]\nmax_total = 9\n")
    planned(org, mail, case)
    path = case / "plan/0001/header.json"
    path.write_bytes(path.read_bytes().replace(b'"max_total":9', b'"max_total":8', 2))
    done = org.excise("run", case, "--confirm", plan_hash(case))
    assert done.code == 3 and "S06" in done.err, done.text


def test_the_library_is_bound_too(mail: Path, case: Path, org: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    org.rules('ticket = "INC-[0-9]+"\n')
    for name, value in org.environment.items():
        monkeypatch.setenv(name, value)
    order = api.Order(api.Action.COPY, Criteria.from_options(subject=[WORM]), sources=(str(mail),))
    with pytest.raises(ExciseError, match="ticket"), api.new_case(case, order.sources, api.Authorisation()):
        pass
    assert not case.exists()
