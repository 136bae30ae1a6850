"""Policy files: what is refused and on which line, and that no policy loosens an earlier one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.command import excise_cli
from excise.core.errors import UsageError
from excise.policy.effective import PolicyRefused, combined, policy_paths
from excise.policy.lines import lines_of
from excise.policy.merge import MERGES, ConflictError, tightened
from excise.policy.model import Approval, Caps, Evidence, Hold, Person, Policy, Rule, Standing
from excise.policy.read import Source, policy_from_canonical, read_policy

WHOLE = """\
# Who may do what.
operators = ["otto", "olga"]
ticket = "INC-[0-9]+"
reason = ".{10,}"
never_search = [
  "ceo@example.com",   # nobody
  "board",
]
reveal = false
narrow_only = ["domain"]

[caps]
max_per_mailbox = 20
max_total = 500
max_share = 10

[people."ann@example.com"]
user = "ann"
roles = ["Information Security"]

[approval]
allowed_signers = "allowed_signers"
revoked_keys = "/etc/excise/revoked"
operator_signs = true

[[approval.rule]]
actions = ["move", "purge"]
roles = ["Information Security"]

[[approval.rule]]
actions = ["purge"]
disposals = ["hard"]
count = 2
roles = ["Legal", "Information Security"]
hours = 4

[[hold]]
case = "Smith v. Example"
addresses = ["Anna@Example.com"]
domains = ["partner.example"]

[[hold]]
case = "Second quarter"
since = 2026-04-01T00:00:00Z
before = 2026-07-01T00:00:00+02:00
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def read(path: Path, text: str) -> Policy:
    return read_policy(write(path / "policy.toml", text)).policy


def line_of(text: str) -> int:
    return WHOLE[: WHOLE.index(text)].count("\n") + 1


def test_every_key_is_read(tmp_path: Path) -> None:
    policy = read(tmp_path, WHOLE)
    assert policy.operators == ("otto", "olga")
    assert policy.ticket == ("INC-[0-9]+",)
    assert policy.caps == Caps(max_per_mailbox=20, max_total=500, max_share=10.0)
    assert policy.people["ann@example.com"] == Person(user="ann", roles=("Information Security",))
    assert policy.approval.allowed_signers == str(tmp_path / "allowed_signers")
    assert policy.approval.revoked_keys == ("/etc/excise/revoked",)
    assert [rule.count for rule in policy.approval.rules] == [1, 2]
    assert policy.holds[0].addresses == ("anna@example.com",)
    assert policy.holds[1].since is not None


def test_the_frozen_rules_are_the_same_policy_without_its_holds(tmp_path: Path) -> None:
    policy = read(tmp_path, WHOLE)
    again = policy_from_canonical(json.loads(json.dumps(policy.canonical())), tmp_path)
    assert again == policy.model_copy(update={"holds": ()})
    assert again.sha256 == policy.sha256


def test_a_policy_without_later_keys_keeps_the_hash_that_older_plans_have() -> None:
    """What the first release did not know is in the canonical form only where it asks for something."""
    later = {"separate_accounts", "rights_within_scope", "canaries"}
    assert not later & set(Policy(ticket=("x",), separate_accounts=False).canonical())
    assert later <= set(Policy(separate_accounts=True, rights_within_scope=True, canaries=("a@b.c",)).canonical())


def test_every_rule_changes_the_hash_and_no_hold_does(tmp_path: Path) -> None:
    hashes = {read(tmp_path, WHOLE).sha256}
    for old, new in (
        ('"olga"', '"olaf"'),
        ("INC-", "REQ-"),
        (".{10,}", ".{11,}"),
        ('"board"', '"boards"'),
        ("reveal = false", "reveal = true"),
        ('["domain"]', "[]"),
        ("max_share = 10", "max_share = 11"),
        ('user = "ann"', 'user = "anna"'),
        ("hours = 4", "hours = 5"),
        ("operator_signs = true", "operator_signs = false"),
        ("/etc/excise/revoked", "/etc/excise/revoked2"),
    ):
        hashes.add(read(tmp_path, WHOLE.replace(old, new)).sha256)
    assert len(hashes) == 12
    assert read(tmp_path, WHOLE.replace("Smith", "Jones")).sha256 in hashes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('operators = ["otto", "olga"]', 'operators = "otto"'),
        ('operators = ["otto", "olga"]', 'operatrs = ["otto"]'),
        ('ticket = "INC-[0-9]+"', 'ticket = "INC-[0-9"'),
        ('reason = ".{10,}"', "reason = 10"),
        ('reason = ".{10,}"', 'reason = "(?=x)"'),
        ("never_search = [", 'never_search = [ " ",'),
        ("reveal = false", 'reveal = "no"'),
        ('narrow_only = ["domain"]', 'narrow_only = ["subject"]'),
        ("max_per_mailbox = 20", "max_per_mailbox = -1"),
        ("max_total = 500", "max_total = 5.5"),
        ("max_share = 10", "max_share = 101"),
        ('user = "ann"', 'user = ""'),
        ('roles = ["Information Security"]', "roles = []"),
        ('roles = ["Information Security"]', 'roles = ["Operator"]'),
        ("operator_signs = true", "operator_signs = 1"),
        ('actions = ["move", "purge"]', 'actions = ["search"]'),
        ('disposals = ["hard"]', 'disposals = ["gone"]'),
        ("count = 2", "count = 0"),
        ("count = 2", "coutn = 2"),
        ("hours = 4", "hours = 0"),
        ('addresses = ["Anna@Example.com"]', 'addresses = ["Anna"]'),
        ('domains = ["partner.example"]', 'domains = ["a@partner.example"]'),
        ("since = 2026-04-01T00:00:00Z", "since = 2026-04-01"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, old: str, new: str) -> None:
    assert old in WHOLE
    with pytest.raises(UsageError) as caught:
        read(tmp_path, WHOLE.replace(old, new, 1))
    assert f"{tmp_path}/policy.toml:{line_of(old)}: " in caught.value.message


@pytest.mark.parametrize(
    "hold", ['case = "x"', 'case = "x"\nsince = 2026-02-01T00:00:00Z\nbefore = 2026-01-01T00:00:00Z', 'domains=["a.b"]']
)
def test_a_hold_that_holds_nothing_is_refused(tmp_path: Path, hold: str) -> None:
    with pytest.raises(UsageError, match=r"policy\.toml:3: "):
        read(tmp_path, f"# two\n# lines\n[[hold]]\n{hold}\n")


def test_syntax_errors_have_a_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 2"):
        read(tmp_path, 'operators = ["otto"]\nticket = \n')


def test_lines_are_found_whatever_stands_between() -> None:
    text = (
        "a = '''\nb = 1\n[c]\n'''\r\nd = [ # x = 1\n  'e]', \"f\\\"]\",\n]\n\"g.h\".i = {j = 1, k = \"#}\"}\n\n"
        '[[l.m]]\nn = 1\n[l.m.o]\np = 1\n[[l.m]]\nn = 2\n[ \'q\' . r ]\ns = """x\n"y"\n"""\nt = 1\n'
    )
    found = lines_of(text)
    assert [found[where] for where in (("a",), ("d",), ("g.h", "i"))] == [1, 5, 8]
    assert found["l", "m", 0, "n"] == 11
    assert found["l", "m", 0, "o", "p"] == 13
    assert found["l", "m", 1, "n"] == 15
    assert found["q", "r", "s"] == 17
    assert found["q", "r", "t"] == 20


@pytest.mark.parametrize("mode", [0o622, 0o602, 0o666])
def test_a_policy_that_others_may_write_rules_nothing(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "policy.toml", "reveal = false\n")
    path.chmod(mode)
    with pytest.raises(UsageError, match="may be written by others"):
        read_policy(path)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a file away")
def test_a_policy_of_another_user_rules_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "policy.toml", "reveal = false\n")
    os.chown(path, 4321, 4321)
    with pytest.raises(UsageError, match="belongs to another user"):
        read_policy(path)


def test_the_environment_adds_places_and_takes_none_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_DIRS", "/one:relative:/two")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/mine")
    assert [str(path) for path in policy_paths()] == [
        "/etc/excise/policy.toml",
        "/one/excise/policy.toml",
        "/two/excise/policy.toml",
        "/mine/excise/policy.toml",
    ]


# Putting policies together

NAMES = st.lists(st.sampled_from("abcd"), max_size=3, unique=True).map(tuple)
PATTERNS = st.lists(st.sampled_from(["a+", "b*", "[ab]{2,}"]), max_size=3, unique=True).map(tuple)
RULES = st.builds(
    Rule,
    actions=st.sampled_from([("move",), ("move", "purge")]),
    roles=st.sampled_from([("A",), ("B",), ("A", "B")]),
    count=st.integers(1, 3),
)
STANDING = st.builds(
    Standing,
    actions=st.sampled_from([("move",), ("purge",), ("move", "purge")]),
    per_hour=st.integers(1, 9),
    hours=st.floats(0.5, 9),
)
RECIPIENTS = ["ssh-ed25519 AAAA", "ssh-rsa AAAA", f"age1{58 * 'q'}"]
HOLDS = st.builds(Hold, case=st.sampled_from("xyz"), domains=st.sampled_from([("a.b",), ("c.d",)]))
POLICIES = st.builds(
    Policy,
    operators=st.none() | NAMES,
    ticket=PATTERNS,
    reason=PATTERNS,
    never_search=NAMES,
    reveal=st.none() | st.booleans(),
    narrow_only=st.none() | st.lists(st.sampled_from(["domain", "folder", "larger"]), unique=True).map(tuple),
    caps=st.builds(
        Caps,
        max_per_mailbox=st.none() | st.integers(0, 9),
        max_total=st.none() | st.integers(0, 9),
        max_share=st.none() | st.floats(0, 100),
    ),
    people=st.dictionaries(
        st.sampled_from("pqr"),
        st.builds(Person, user=st.sampled_from("uv"), roles=st.sampled_from([("A",), ("B",), ("A", "B")])),
    ),
    approval=st.builds(
        Approval,
        allowed_signers=st.none() | st.sampled_from(["/s", "/t"]),
        revoked_keys=NAMES,
        operator_signs=st.booleans(),
        rules=st.lists(RULES, max_size=2).map(tuple),
        standing=st.none() | STANDING,
    ),
    separate_accounts=st.none() | st.booleans(),
    rights_within_scope=st.none() | st.booleans(),
    canaries=st.sampled_from([(), ("a@b.c",), ("a@b.c", "d@e.f")]),
    evidence=st.builds(Evidence, recipients=st.lists(st.sampled_from(RECIPIENTS), max_size=2, unique=True).map(tuple)),
    holds=st.lists(HOLDS, max_size=2).map(tuple),
)


def within(one: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> bool:
    """True where all of ``one`` is in ``other``, None being everything."""
    return other is None or (one is not None and set(one) <= set(other))


def at_most(one: float | None, other: float | None) -> bool:
    return other is None or (one is not None and one <= other)


def no_more(one: Standing | None, other: Standing | None) -> bool:
    """True where ``one`` approves nothing beforehand that ``other``, where it says anything, does not."""
    return (
        one is None
        or other is None
        or (within(one.actions, other.actions) and one.per_hour <= other.per_hour and one.hours <= other.hours)
    )


#: key -> whether the first value is at least as strict as the second.
STRICTER: dict[str, Callable[[Any, Any], bool]] = {
    "operators": within,
    "ticket": lambda one, other: within(other, one),
    "reason": lambda one, other: within(other, one),
    "never_search": lambda one, other: within(other, one),
    "reveal": at_most,
    "narrow_only": lambda one, other: other is None or set(one or ()) <= set(other),
    "caps": lambda one, other: all(at_most(getattr(one, name), getattr(other, name)) for name in Caps.model_fields),
    "people": lambda one, other: (
        not other or (bool(one) and all(who in other and within(one[who].roles, other[who].roles) for who in one))
    ),
    "approval": lambda one, other: (
        within(other.rules, one.rules)
        and within(other.revoked_keys, one.revoked_keys)
        and one.operator_signs >= other.operator_signs
        and other.allowed_signers in (None, one.allowed_signers)
        and no_more(one.standing, other.standing)
    ),
    "separate_accounts": lambda one, other: bool(one) >= bool(other),
    "rights_within_scope": lambda one, other: bool(one) >= bool(other),
    "canaries": lambda one, other: within(other, one),
    "evidence": lambda one, other: within(other.recipients, one.recipients),
    "holds": lambda one, other: within(other, one),
}


def test_every_key_of_a_policy_can_be_put_together() -> None:
    assert set(MERGES) == set(Policy.model_fields) == set(STRICTER)


@given(POLICIES, POLICIES)
def test_two_policies_together_are_as_strict_as_either(first: Policy, later: Policy) -> None:
    try:
        both = tightened(first, later)
    except ConflictError:
        return
    for name, stricter in STRICTER.items():
        for one in (first, later):
            assert stricter(getattr(both, name), getattr(one, name)), (name, both, one)


def test_the_hash_of_a_policy_without_recipients_is_what_it_was_before_there_were_any() -> None:
    assert "evidence" not in Policy(reveal=False).canonical()
    found = Policy(evidence=Evidence(recipients=("ssh-rsa AAAA",)))
    assert found.canonical()["evidence"] == {"recipients": ["ssh-rsa AAAA"]}
    assert found.sha256 != Policy().sha256
    assert Policy.model_validate_json(json.dumps(found.canonical())) == found


@given(POLICIES)
def test_a_policy_that_says_nothing_changes_nothing(policy: Policy) -> None:
    assert tightened(policy, Policy()) == policy
    assert tightened(policy, policy) == tightened(policy, Policy())


def test_s25_what_may_be_approved_beforehand_is_what_the_strongest_policy_says() -> None:
    mine = Policy(approval=Approval(standing=Standing(actions=("move",), per_hour=5, hours=2)))
    assert tightened(Policy(), mine).approval.standing is None
    assert tightened(mine, Policy()).approval.standing == mine.approval.standing
    other = Policy(approval=Approval(standing=Standing(actions=("purge",), per_hour=5, hours=2)))
    assert tightened(mine, other).approval.standing is None


def test_a_policy_without_what_later_releases_know_keeps_its_hash() -> None:
    assert "standing" not in Policy().canonical()["approval"]
    mine = Policy(approval=Approval(standing=Standing(actions=("move",), per_hour=5, hours=2)))
    assert policy_from_canonical(mine.canonical(), Path("x")) == mine


def test_a_term_is_allowed_to_stand_alone_by_the_strongest_policy_only() -> None:
    mine = Policy(narrow_only=("domain",))
    assert not tightened(Policy(), mine).narrow_only
    assert tightened(mine, Policy()).narrow_only == ("domain",)


@pytest.mark.parametrize(
    ("later", "line"),
    [
        ('[people."ann@example.com"]\nuser = "eve"\nroles = ["Legal"]\n', 2),
        ('[people."eve@example.com"]\nuser = "eve"\nroles = ["Information Security"]\n', 1),
        ('# mine\n[approval]\nallowed_signers = "/home/eve/signers"\n', 3),
    ],
)
def test_nobody_makes_himself_an_approver(tmp_path: Path, later: str, line: int) -> None:
    system = read_policy(write(tmp_path / "system.toml", WHOLE))
    mine = read_policy(write(tmp_path / "mine.toml", later))
    with pytest.raises(UsageError, match=rf"mine\.toml:{line}: .*can\s+only tighten"):
        combined([system, mine])


def test_approvals_need_people_and_signers_in_the_policy_that_asks_or_a_stronger_one(tmp_path: Path) -> None:
    asks = "[approval]\noperator_signs = true\n"
    with pytest.raises(UsageError, match=r"asks\.toml:1: .*allowed_signers"):
        combined([read_policy(write(tmp_path / "asks.toml", asks))])
    with pytest.raises(UsageError, match=r"asks\.toml:1: .*people"):
        combined([read_policy(write(tmp_path / "asks.toml", asks + 'allowed_signers = "/s"\n'))])
    system = read_policy(write(tmp_path / "system.toml", WHOLE))
    assert combined([system, read_policy(write(tmp_path / "asks.toml", asks))]).policy.approval.operator_signs


# What is refused


def refusal(text: str, tmp_path: Path, ask: Callable[[Any], None]) -> str:
    policy = combined([read_policy(write(tmp_path / "policy.toml", text))])
    with pytest.raises(PolicyRefused) as caught:
        ask(policy)
    return caught.value.message


def test_each_refusal_names_its_line(tmp_path: Path) -> None:
    for ask, line in (
        (lambda policy: policy.check_operator("eve"), line_of("operators")),
        (lambda policy: policy.check_said("", "because it is so"), line_of("ticket")),
        (lambda policy: policy.check_said("INC-12x", "because it is so"), line_of("ticket")),
        (lambda policy: policy.check_said("xINC-12", "because it is so"), line_of("ticket")),
        (lambda policy: policy.check_said("INC-12", "why"), line_of("reason")),
        (lambda policy: policy.check_reveal(), line_of("reveal")),
    ):
        assert f"policy.toml:{line}: " in refusal(WHOLE, tmp_path, ask)


def test_what_is_allowed_is_not_refused(tmp_path: Path) -> None:
    policy = combined([read_policy(write(tmp_path / "policy.toml", WHOLE))])
    policy.check_operator("olga")
    policy.check_said("INC-12", "because it is so")
    assert policy.never_searched("/var/mail/anna") == ""
    assert f"policy.toml:{line_of('never_search')}" in policy.never_searched("/var/mail/board.mbox")


def test_both_patterns_of_two_policies_must_match(tmp_path: Path) -> None:
    first = Source(tmp_path / "a", Policy(ticket=("INC-.*",)), "")
    later = Source(tmp_path / "b", Policy(ticket=(".*-1",)), "")
    policy = combined([first, later])
    policy.check_said("INC-1", "")
    for ticket in ("INC-2", "REQ-1"):
        with pytest.raises(PolicyRefused):
            policy.check_said(ticket, "")


# The command


def test_policy_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    for place, text in (("system", WHOLE), ("mine", "[caps]\nmax_total = 7\n")):
        (tmp_path / place / "excise").mkdir(parents=True)
        write(tmp_path / place / "excise" / "policy.toml", text)
    places = {"XDG_CONFIG_DIRS": str(tmp_path / "system"), "XDG_CONFIG_HOME": str(tmp_path / "mine")}
    done = excise_cli("policy", "show", environment=places)
    assert done.code == 0
    system, mine = (f"{tmp_path}/{place}/excise/policy.toml" for place in ("system", "mine"))
    assert f"caps.max_total = 7  ({system}:{line_of('max_total')}, {mine}:2)" in done.out
    assert f'operators = ["otto", "olga"]  ({system}:2)' in done.out
    (shown,) = excise_cli("policy", "show", "--json", environment=places).lines()
    assert shown["values"]["caps.max_total"] == {"value": 7, "from": [f"{system}:{line_of('max_total')}", f"{mine}:2"]}
    assert shown["policy_sha256"] in done.out


def test_policy_check_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "p.toml", "reveal = false\nnothing = 1\n")
    done = excise_cli("policy", "check", "--policy", path, environment={"XDG_CONFIG_DIRS": "/nowhere"})
    assert (done.code, f"{path}:2: nothing" in done.err) == (2, True)
    path.write_text('[[hold]]\ncase = "x"\nfiles = ["gone"]\n')
    done = excise_cli("policy", "check", "--policy", path, environment={"XDG_CONFIG_DIRS": "/nowhere"})
    assert (done.code, f"{tmp_path}/gone" in done.err) == (6, True)


def test_without_a_policy_it_says_so(tmp_path: Path) -> None:
    places = {"XDG_CONFIG_DIRS": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = excise_cli("policy", "check", environment=places)
    assert (done.code, "There is no policy" in done.out) == (0, True)
