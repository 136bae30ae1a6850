"""Two people (S25): each way to cheat, against real keys; what is refused says why, and nothing is touched."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cli.command import Done
from engine.mail_files import WORM, bytes_below, stores
from excise.case.layout import account
from excise.engine.unit import UnitRun
from policy.keys import canonical, make_key, needs_keygen, public, sign, statement, time
from policy.organisation import Organisation

pytestmark = needs_keygen
ME = account()

RULES = f"""\
[people."me@example.com"]
user = "{ME}"
roles = ["Legal"]

[people."sofia@example.com"]
user = "sofia"
roles = ["Information Security", "Legal"]

[people."lena@example.com"]
user = "lena"
roles = ["Legal"]

[approval]
allowed_signers = "allowed_signers"
revoked_keys = "revoked_keys"

[[approval.rule]]
actions = ["move"]
roles = ["Information Security", "Legal"]
hours = 24
"""
TWO = RULES + '\n[[approval.rule]]\nactions = ["move"]\nroles = ["Legal"]\n'
THREE = RULES.replace("hours = 24", "hours = 24\ncount = 2")


@dataclass
class Desk:
    """A planned case, and the keys of everybody."""

    org: Organisation
    mail: Path
    case: Path
    keys: dict[str, Path]

    def signers(self, *lines: str) -> None:
        """Set the allowed signers."""
        path = self.org.path.parent / "allowed_signers"
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(0o644)

    def revoke(self, *names: str) -> None:
        """Revoke keys."""
        (self.org.path.parent / "revoked_keys").write_text("".join(f"{public(self.keys[name])}\n" for name in names))

    def rules(self, text: str = RULES) -> None:
        """Set the policy, and make the plan under it."""
        self.org.rules(text)
        done = self.org.excise("plan", "move", self.mail, "--subject", WORM, "--case", self.case, "--jobs", "1")
        assert done.code == 0, done.text

    def put(self, said: dict[str, Any], key: str, namespace: str = "excise-approval") -> Path:
        """Put a signed statement into the case behind Excise's back, as whoever can write there may."""
        return self.put_bytes(canonical(said), key, namespace)

    def put_bytes(self, data: bytes, key: str, namespace: str = "excise-approval") -> Path:
        directory = self.case / "approvals" / "0001"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{sha256(data).hexdigest()[:16]}.json"
        path.write_bytes(data)
        sign(path, self.keys[key], namespace)
        return path

    def says(self, name: str, role: str = "Legal", **changes: Any) -> dict[str, Any]:
        """A statement of somebody."""
        return statement(self.case, f"{name}@example.com", ME if name == "me" else name, role) | changes

    def run(self, *options: str) -> Done:
        """Run the plan."""
        confirmed = sha256((self.case / "plan/0001/header.json").read_bytes()).hexdigest()
        return self.org.excise("run", self.case, "--confirm", confirmed, "--jobs", "1", *options)

    def refused(self, *reasons: str, code: int = 4) -> None:
        """A run is refused for these reasons, and touches nothing."""
        before = bytes_below(self.mail)
        done = self.run()
        assert done.code == code, done.text
        for reason in reasons:
            assert reason in done.err, done.err
        assert bytes_below(self.mail) == before
        assert not (self.case / "units").exists() and not (self.case / "bag-0001").exists()

    def accepted(self) -> None:
        """A run does its work."""
        done = self.run()
        assert done.code == 0, done.text


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key for each."""
    place = tmp_path_factory.mktemp("keys")
    return {name: make_key(place / name) for name in ("me", "sofia", "lena", "eve")}


@pytest.fixture
def desk(tmp_path: Path, keys: dict[str, Path]) -> Iterator[Desk]:
    """The organisation with its keys; the plan is made by ``rules``."""
    made = Desk(Organisation(tmp_path), stores(tmp_path / "mail"), tmp_path / "case", keys)
    made.org.path.parent.mkdir(parents=True)
    made.signers(*(f"{name}@example.com {public(keys[name])}" for name in ("me", "sofia", "lena")))
    made.revoke()
    yield made


def test_s25_without_an_approval_nothing_is_run(desk: Desk) -> None:
    desk.rules()
    desk.refused("0 of 1 approvals as Information Security or Legal are there", "[approval-missing]")


def test_s25_the_plan_says_what_it_needs(desk: Desk) -> None:
    desk.org.rules(TWO)
    done = desk.org.excise("plan", "move", desk.mail, "--subject", WORM, "--case", desk.case)
    assert "Needs: 1 approval as Information Security or Legal, not older than 24 hours\n" in done.out
    assert "Needs: 1 approval as Legal, not older than 72 hours\n" in done.out


def test_s25_an_approval_that_counts_is_enough(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "sofia")
    desk.accepted()
    records = [json.loads(line) for line in (desk.case / "audit.jsonl").read_text().splitlines()]
    (checked,) = [record for record in records if record["type"] == "authority-checked"]
    assert [one["user"] for one in checked["statements"]] == ["sofia"]
    assert "example.com" not in json.dumps(checked["statements"])


def test_s25_the_signature_is_one_that_ssh_keygen_verifies_alone(desk: Desk) -> None:
    desk.rules()
    path = desk.put(desk.says("sofia"), "sofia")
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        str(desk.org.path.parent / "allowed_signers"),
        "-I",
        "sofia@example.com",
    ]
    command += ["-n", "excise-approval", "-s", f"{path}.sig"]
    assert subprocess.run(command, input=path.read_bytes(), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"case": "another"}, "it is for another case"),
        ({"plan_sha256": "0" * 64}, "it is for another plan"),
        ({"action": "purge"}, "it is for another action"),
        ({"disposal": "soft"}, "it is for another disposal"),
        ({"policy_sha256": "0" * 64}, "it is for another policy"),
        ({"plan": 2}, "it is for another plan"),
        ({"from": time(1), "until": time(2)}, "it begins in the future"),
        ({"from": time(-3), "until": time(-2)}, "it expired at"),
        ({"from": time(-1), "until": time(-1)}, "it ends before it begins"),
        ({"from": time(-1), "until": time(24)}, "longer than the 24 hours"),
        ({"role": "Information Security"}, "may not approve as Information Security"),
        ({"role": "Director"}, "may not approve as Director"),
        ({"role": "operator"}, "the statement of another operator"),
        ({"principal": "nobody@example.com"}, "nobody whom the policy names"),
        ({"principal": "sofia@example.com"}, "it was made by the user lena, not by sofia"),
        ({"user": "sofia"}, "it was made by the user sofia, not by lena"),
    ],
)
def test_s25_a_statement_about_anything_else_does_not_count(desk: Desk, changes: dict[str, Any], reason: str) -> None:
    desk.rules()
    desk.put(desk.says("lena", **changes), "lena")
    desk.refused(reason)


@pytest.mark.parametrize(
    "changed",
    [
        lambda said: said | {"more": 1},
        lambda said: {key: value for key, value in said.items() if key != "uid"},
        lambda said: said | {"plan": "1"},
        lambda said: said | {"excise_statement": 2},
        lambda said: said | {"until": "tomorrow"},
        lambda said: said | {"until": "2030-01-01T00:00:00"},
    ],
)
def test_s25_what_is_no_statement_does_not_count(
    desk: Desk, changed: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    desk.rules()
    desk.put(changed(desk.says("lena")), "lena")
    desk.refused("expected a statement, found something else")


def test_s25_a_statement_has_one_form(desk: Desk) -> None:
    desk.rules()
    data = canonical(desk.says("lena"))
    for other in (
        data[:-1],
        data + b"\n",
        data.replace(b":", b": ", 1),
        data.replace(b'"action"', b'"action":"x","action"', 1),
    ):
        path = desk.put_bytes(other, "lena")
        desk.refused("canonical form")
        path.unlink()


def test_s25_a_key_that_nobody_allowed_does_not_count(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "eve")
    desk.refused("its signature does not count")


def test_s25_somebody_elses_key_does_not_count(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "lena")
    desk.refused("its signature does not count")


def test_s25_a_signature_for_something_else_does_not_count(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "sofia", "file")
    desk.refused("its signature does not count")


def test_s25_a_revoked_key_does_not_count(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "sofia")
    desk.revoke("lena", "sofia")
    desk.refused("its signature does not count")
    desk.revoke("lena")
    desk.accepted()


def test_s25_where_revoked_keys_cannot_be_read_no_key_counts(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "sofia")
    (desk.org.path.parent / "revoked_keys").unlink()
    desk.refused("revoked_keys: reading the file of revoked keys failed", code=6)


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ('valid-before="20200101"', False),
        ('valid-after="20990101"', False),
        ('valid-after="20200101",valid-before="20990101"', True),
        ('namespaces="file"', False),
        ('namespaces="file,excise-approval"', True),
    ],
)
def test_s25_what_the_allowed_signers_limit_is_limited(desk: Desk, options: str, counts: bool) -> None:
    desk.rules()
    desk.signers(f"sofia@example.com {options} {public(desk.keys['sofia'])}")
    desk.put(desk.says("sofia"), "sofia")
    if counts:
        desk.accepted()
    else:
        desk.refused("its signature does not count")


def test_s25_allowed_signers_that_others_may_write_count_for_nothing(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("sofia"), "sofia")
    (desk.org.path.parent / "allowed_signers").chmod(0o666)
    desk.refused("may be written by others", code=2)


def test_s25_one_key_under_two_names_is_one_person(desk: Desk) -> None:
    desk.rules(THREE)
    desk.signers(*(f"{name}@example.com {public(desk.keys['sofia'])}" for name in ("sofia", "lena")))
    desk.put(desk.says("sofia"), "sofia")
    desk.put(desk.says("lena"), "sofia")
    desk.refused("under more than one name", "0 of 2 approvals")
    desk.signers(f"sofia@example.com,lena@example.com {public(desk.keys['sofia'])}")
    desk.refused("under more than one name", "0 of 2 approvals")
    desk.signers(
        f'"sofia@example.com" {public(desk.keys["sofia"])}',
        f'lena@example.com valid-before="20200101" {public(desk.keys["sofia"])}',
    )
    desk.refused("under more than one name", "0 of 2 approvals")


def test_s25_a_key_under_a_pattern_is_nobodys(desk: Desk) -> None:
    desk.rules()
    desk.signers(f"*@example.com {public(desk.keys['sofia'])}")
    desk.put(desk.says("sofia"), "sofia")
    desk.refused("under a pattern")


def test_s25_two_approvals_are_of_two_persons(desk: Desk) -> None:
    desk.rules(THREE)
    desk.put(desk.says("sofia"), "sofia")
    desk.put(desk.says("sofia", until=time(3)), "sofia")
    desk.refused("1 of 2 approvals")
    desk.put(desk.says("lena"), "lena")
    desk.accepted()


def test_s25_a_person_counts_in_one_role(desk: Desk) -> None:
    desk.rules(TWO.replace('["Information Security", "Legal"]\nhours', '["Information Security"]\nhours'))
    desk.put(desk.says("sofia"), "sofia")
    desk.put(desk.says("sofia", "Information Security"), "sofia")
    desk.refused("the same person approved as")


def test_s25_two_names_of_one_user_are_one_person(desk: Desk) -> None:
    desk.rules(THREE.replace('user = "lena"', 'user = "sofia"'))
    desk.put(desk.says("sofia"), "sofia")
    desk.put(desk.says("lena", user="sofia"), "lena")
    desk.refused("the same user signed under another name already", "1 of 2 approvals")


def test_s25_two_users_with_one_number_are_one_person(desk: Desk) -> None:
    desk.rules(THREE)
    desk.put(desk.says("sofia", uid=4711), "sofia")
    desk.put(desk.says("lena", uid=4711), "lena")
    desk.refused("the same user signed under another name already", "1 of 2 approvals")


def test_s25_who_operates_does_not_approve(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("me"), "me")
    desk.refused("who approves is who operates: the same user")


def test_s25_who_operates_does_not_approve_under_another_name(desk: Desk) -> None:
    desk.rules()
    desk.put(desk.says("lena", uid=os.getuid()), "lena")
    desk.refused("who approves is who operates: the same user")


def test_s25_the_operators_key_does_not_approve(desk: Desk) -> None:
    desk.rules()
    key = public(desk.keys["me"])
    desk.signers(f"me@example.com {key}", f"lena@example.com {key}")
    desk.put(desk.says("lena"), "me")
    desk.refused("under more than one name")


def test_s25_an_operators_label_is_no_identity(desk: Desk) -> None:
    desk.org.rules(RULES)
    done = desk.org.excise("plan", "move", desk.mail, "--subject", WORM, "--case", desk.case, "--operator", "lena")
    assert done.code == 0, done.text
    desk.put(desk.says("me"), "me")
    desk.refused("the same user")


def test_s25_the_users_name_does_not_come_from_the_environment(desk: Desk) -> None:
    names = dict.fromkeys(("USER", "LOGNAME", "LNAME", "USERNAME"), "lena")
    desk.org.rules(RULES)
    args = ("plan", "move", desk.mail, "--subject", WORM, "--case", desk.case)
    from cli.command import excise_cli

    assert excise_cli(*args, environment=desk.org.environment | names).code == 0
    assert json.loads((desk.case / "case.json").read_text())["authorisation"]["user"] == ME


# The operator signs too


def test_s25_where_the_policy_asks_the_operator_signs(desk: Desk) -> None:
    desk.rules(RULES.replace("[approval]", "[approval]\noperator_signs = true"))
    desk.put(desk.says("sofia"), "sofia")
    desk.refused("the operator's own signature")
    desk.put(desk.says("lena", "operator"), "lena")
    desk.refused("the statement of another operator than the one who runs this")
    desk.put(desk.says("me", "operator", uid=os.getuid()), "me")
    desk.accepted()


def test_s25_the_operators_statement_is_no_approval(desk: Desk) -> None:
    desk.rules(RULES.replace("[approval]", "[approval]\noperator_signs = true"))
    desk.put(desk.says("me", "operator", uid=os.getuid()), "me")
    desk.refused("0 of 1 approvals")


# Files that were tampered with


def approved(desk: Desk) -> Path:
    desk.rules()
    return desk.put(desk.says("sofia"), "sofia")


def test_s25_one_bit_of_a_statement_or_its_signature(desk: Desk) -> None:
    path = approved(desk)
    for each in (path, path.with_name(path.name + ".sig")):
        whole = each.read_bytes()
        for place in range(0, len(whole) - 1, 23):
            each.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            done = desk.run()
            assert done.code == 4 and path.name in done.err, (each, place, done.text)
        for size in (0, 10, len(whole) - 2):
            each.write_bytes(whole[:size])
            assert desk.run().code == 4
        each.write_bytes(whole)
    assert not (desk.case / "units").exists()
    desk.accepted()


def test_s25_a_signature_without_its_statement_or_the_other_way_round(desk: Desk) -> None:
    path = approved(desk)
    path.with_name(path.name + ".sig").rename(desk.case.parent / "kept")
    desk.refused("expected a statement and its signature")


def test_s25_swapped_signatures(desk: Desk) -> None:
    desk.rules(THREE)
    one, other = desk.put(desk.says("sofia"), "sofia"), desk.put(desk.says("lena"), "lena")
    first, second = (Path(f"{path}.sig").read_bytes() for path in (one, other))
    Path(f"{one}.sig").write_bytes(second)
    Path(f"{other}.sig").write_bytes(first)
    desk.refused("0 of 2 approvals")


def test_s25_a_plan_that_changed_by_one_byte(desk: Desk) -> None:
    approved(desk)
    path = desk.case / "plan/0001/header.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"max_share":25.0', b'"max_share":95.0'))
    assert path.read_bytes() != whole
    desk.refused("S06", code=3)


def test_s25_an_approval_of_another_case_does_not_count(desk: Desk) -> None:
    """The same mail, the same criteria, the same policy, planned twice: each plan needs its own approval."""
    path = approved(desk)
    other = Desk(desk.org, desk.mail, desk.case.with_name("other"), desk.keys)
    other.rules()
    (other.case / "approvals/0001").mkdir(parents=True)
    for each in (path, path.with_name(path.name + ".sig")):
        (other.case / "approvals/0001" / each.name).write_bytes(each.read_bytes())
    other.refused("it is for another case")


def test_s25_the_log_made_anew_for_another_plan_does_not_help(desk: Desk) -> None:
    """Whoever owns the case writes plan and log anew, chain and all: the approval is still one of the old plan."""
    approved(desk)
    path = desk.case / "plan/0001/header.json"
    path.write_bytes(path.read_bytes().replace(b'"max_share":25.0', b'"max_share":95.0'))
    head, lines = "0" * 64, []
    for line in (desk.case / "audit.jsonl").read_text().splitlines():
        record = json.loads(line) | {"prev": head}
        if "plan_sha256" in record:
            record["plan_sha256"] = sha256(path.read_bytes()).hexdigest()
        lines.append(canonical(record))
        head = sha256(lines[-1][:-1]).hexdigest()
    (desk.case / "audit.jsonl").write_bytes(b"".join(lines))
    desk.refused("it is for another plan")


def test_s25_a_laxer_policy_in_the_plan_does_not_help(desk: Desk) -> None:
    """Nor does a plan whose frozen policy asks for nothing: the one in force does."""
    desk.org.rules("reveal = true\n")
    done = desk.org.excise("plan", "move", desk.mail, "--subject", WORM, "--case", desk.case, "--jobs", "1")
    assert done.code == 0
    desk.org.rules(RULES)
    desk.refused("0 of 1 approvals")


def test_s25_a_person_who_left_does_not_count(desk: Desk) -> None:
    approved(desk)
    desk.org.rules(
        RULES.replace('[people."sofia@example.com"]\nuser = "sofia"\nroles = ["Information Security", "Legal"]\n', "")
    )
    desk.refused("nobody whom the policy names")


# While it runs


@pytest.mark.parametrize("cheat", ["revoked", "gone", "not an approver any more"])
def test_s25_it_is_asked_again_before_anything_is_removed(
    desk: Desk, cheat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = approved(desk)
    verify = UnitRun.verify

    def and_then(unit: UnitRun) -> None:
        verify(unit)
        if cheat == "revoked":
            desk.revoke("sofia")
        elif cheat == "gone":
            path.unlink(missing_ok=True)
        else:
            desk.org.rules(
                RULES.replace(
                    'user = "sofia"\nroles = ["Information Security", "Legal"]', 'user = "sofia"\nroles = ["Other"]'
                )
            )

    monkeypatch.setattr(UnitRun, "verify", and_then)
    before = bytes_below(desk.mail)
    done = desk.run()
    assert done.code == 4 and "is not approved" in done.err, done.text
    assert bytes_below(desk.mail) == before
    monkeypatch.undo()
    desk.revoke()
    desk.org.rules(RULES)
    done = desk.org.excise("resume", desk.case, "--jobs", "1")
    assert done.code == (4 if cheat == "gone" else 0), done.text
    if cheat == "gone":
        desk.put(desk.says("lena"), "lena")
        assert desk.org.excise("resume", desk.case, "--jobs", "1").code == 0


def test_a_run_that_lost_its_approval_can_be_closed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = approved(desk)
    verify = UnitRun.verify
    monkeypatch.setattr(UnitRun, "verify", lambda unit: (verify(unit), path.unlink(missing_ok=True)))
    before = bytes_below(desk.mail)
    assert desk.run().code == 4
    monkeypatch.undo()
    done = desk.org.excise("resume", desk.case, "--finish", "--jobs", "1")
    assert done.code == 9, done.text
    assert bytes_below(desk.mail) == before
    # What counted when the run began is gone from the case, and nothing else is wrong with it.
    wrong = [line for line in desk.org.excise("verify", desk.case).out.splitlines() if line.startswith("DOES NOT HOLD")]
    assert wrong and all(path.name in line for line in wrong), wrong


def test_s25_restores_and_imports_can_need_approval_too(desk: Desk) -> None:
    desk.rules(RULES.replace('actions = ["move"]', 'actions = ["move", "restore"]'))
    desk.put(desk.says("sofia"), "sofia")
    desk.accepted()
    done = desk.org.excise("restore", desk.case, "--yes")
    assert done.code == 4 and "plan 2" in done.err and "0 of 1 approvals" in done.err, done.text


def test_a_key_in_an_agent_signs_by_its_public_half(desk: Desk, tmp_path: Path) -> None:
    """As a hardware key or a smart card does: the private half is in no file that Excise could read."""
    from excise.core.signatures import read_signature, verify
    from excise.core.signatures import sign as sign_with

    socket_path = tmp_path / "agent"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not socket_path.exists():
            assert agent.poll() is None
        environment = os.environ | {"SSH_AUTH_SOCK": str(socket_path)}
        subprocess.run(["ssh-add", "-q", str(desk.keys["sofia"])], check=True, env=environment, capture_output=True)
        only_public = tmp_path / "token.pub"
        only_public.write_text(public(desk.keys["sofia"]) + "\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSH_AUTH_SOCK", str(socket_path))
            signature = sign_with(b"yes", only_public, "excise-approval")
    finally:
        agent.terminate()
        agent.wait()
    allowed = f"sofia@example.com {public(desk.keys['sofia'])}\n".encode()
    verify(b"yes", signature, principal="sofia@example.com", namespace="excise-approval", allowed_signers=allowed)
    assert read_signature(signature).key_type == "ssh-ed25519"


def test_a_certificate_is_not_taken(desk: Desk, tmp_path: Path) -> None:
    """Two certificates over one key would look like two keys."""
    ca, user = make_key(tmp_path / "ca"), make_key(tmp_path / "user")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(ca), "-I", "x", "-n", "sofia", f"{user}.pub"], check=True, capture_output=True
    )
    desk.rules()
    desk.signers(f"sofia@example.com cert-authority {public(ca)}")
    path = desk.put(desk.says("sofia"), "sofia")
    sign(path, user.with_name("user-cert.pub"))
    desk.refused("certificate")
