"""Holds (S24): whose mail, from when, and that nothing held is removed from any store, whenever the hold was placed."""

from __future__ import annotations

import csv
import json
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine.mail_files import WORM, bytes_below, ids_in_maildir, ids_in_mbox, message, stores
from excise.core.errors import UsageError
from excise.engine.unit import UnitRun
from excise.model.item import Deposit
from excise.policy.holds import Holds
from excise.policy.model import Hold
from excise.policy.names import names_mailbox
from policy.organisation import Organisation
from stores.pst_made import make_pst

WANTED = ("--subject", WORM, "--jobs", "1")


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """The four stores, and a PST."""
    root = stores(tmp_path / "mail")
    make_pst(root / "erik.pst", [Deposit(message(80 + n, WORM if n else "Memo"), "Inbox") for n in range(3)])
    return root


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Where the case will be."""
    return tmp_path / "case"


@pytest.fixture
def org(tmp_path: Path) -> Organisation:
    """An organisation whose policy holds nothing."""
    made = Organisation(tmp_path)
    made.rules("reveal = false\n")
    return made


def hold(**values: Any) -> str:
    return '[[hold]]\ncase = "Smith v. Example"\n' + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())


def outcomes(case: Path) -> Counter[tuple[str, str]]:
    """Mailbox and outcome of each item."""
    with (case / "outcome.csv").open(encoding="utf-8", newline="") as stream:
        rows = [(row["mailbox"].partition("/mail/")[2], row["outcome"]) for row in csv.DictReader(stream)]
    return Counter((name.partition("/")[0], outcome) for name, outcome in rows)


def run(org: Organisation, case: Path) -> Any:
    confirmed = sha256((case / "plan/0001/header.json").read_bytes()).hexdigest()
    return org.excise("run", case, "--confirm", confirmed, "--jobs", "1")


ALL = Counter({("anna.mbox", "removed"): 3, ("ben", "removed"): 2, ("carla", "removed"): 1, ("erik.pst", "removed"): 2})


def with_held(name: str) -> Counter[tuple[str, str]]:
    return Counter({(box, "held" if box == name else outcome): n for (box, outcome), n in ALL.items()})


@pytest.mark.parametrize("name", ["anna.mbox", "ben", "carla", "erik.pst"])
@pytest.mark.parametrize("when", ["before the plan", "after the plan"])
def test_s24_a_held_mailbox_of_every_store_keeps_every_byte(
    mail: Path, case: Path, org: Organisation, name: str, when: str
) -> None:
    before = {path: data for path, data in bytes_below(mail).items() if path.split("/")[0] == name}
    if when == "before the plan":
        org.rules(hold(mailboxes=[name]))
    done = org.excise("plan", "move", mail, *WANTED, "--case", case)
    assert done.code == (8 if when == "before the plan" else 0), done.text
    assert ("HELD: Smith v. Example" in done.out) == (when == "before the plan")
    org.rules(hold(mailboxes=[name]))
    done = run(org, case)
    assert done.code == 8, done.text
    assert outcomes(case) == with_held(name)
    assert {path: data for path, data in bytes_below(mail).items() if path.split("/")[0] == name} == before
    assert org.excise("verify", case).code == 0


def test_s24_a_hold_in_the_plan_stays_when_it_is_lifted(mail: Path, case: Path, org: Organisation) -> None:
    org.rules(hold(mailboxes=["ben"]))
    assert org.excise("plan", "move", mail, *WANTED, "--case", case).code == 8
    org.rules("reveal = false\n")
    assert run(org, case).code == 8
    assert outcomes(case) == with_held("ben")


@pytest.mark.parametrize("name", ["anna.mbox", "ben", "carla", "erik.pst"])
def test_s24_a_hold_placed_right_before_the_removal_holds(
    mail: Path, case: Path, org: Organisation, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is preserved and verified when legal places the hold."""
    assert org.excise("plan", "move", mail, *WANTED, "--case", case).code == 0
    before = {path: data for path, data in bytes_below(mail).items() if path.split("/")[0] == name}
    verify = UnitRun.verify

    def and_then_legal(unit: UnitRun) -> None:
        verify(unit)
        org.rules(hold(mailboxes=[name]))

    monkeypatch.setattr(UnitRun, "verify", and_then_legal)
    assert run(org, case).code == 8
    assert outcomes(case)[name, "held"] == ALL[name, "removed"]
    assert {path: data for path, data in bytes_below(mail).items() if path.split("/")[0] == name} == before


def test_s24_only_the_items_that_are_held_stay(mail: Path, case: Path, org: Organisation) -> None:
    more = message(90, WORM, sender="boss@partner.example")
    with (mail / "anna.mbox").open("ab") as stream:
        stream.write(b"From eve@example.net Thu Jan  1 10:00:00 2026\n" + more.replace(b"\n>From", b"\n>>From") + b"\n")
    org.rules(hold(domains=["partner.example"]))
    done = org.excise("plan", "move", mail, *WANTED, "--case", case)
    assert (done.code, "1 held, not removed" in done.out) == (8, True), done.text
    done = run(org, case)
    assert done.code == 8, done.text
    assert ids_in_mbox(mail / "anna.mbox") == Counter(["0", "2", "3", "5", "6", "90"])
    assert outcomes(case)["anna.mbox", "held"] == 1
    assert ids_in_maildir(mail / "ben") == Counter(["20", "22", "24"])
    assert "1 held" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    "extra",
    [
        b"From: boss@partner.example\n",
        b"Sender: boss@partner.example\n",
        b"To: boss@partner.example\n",
        b"Cc: x@example.org, boss@partner.example\n",
        b"Resent-From: boss@partner.example\n",
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_s24_no_second_sender_or_recipient_slips_a_hold(
    tmp_path: Path, case: Path, org: Organisation, extra: bytes, late: bool
) -> None:
    """Whether the hold is there when the plan is made or comes later."""
    mail = tmp_path / "maildir"
    for name in ("cur", "new", "tmp"):
        (mail / "ben" / name).mkdir(parents=True)
    (mail / "ben/new/1760000001.M1P1.host").write_bytes(message(1, WORM, extra=extra))
    (mail / "ben/new/1760000002.M2P1.host").write_bytes(message(2, WORM))
    rules = hold(domains=["partner.example"])
    org.rules("reveal = false\n" if late else rules)
    assert org.excise("plan", "move", mail, *WANTED, "--case", case).code == (0 if late else 8)
    org.rules(rules)
    assert run(org, case).code == 8
    assert ids_in_maildir(mail / "ben") == Counter(["1"])


def test_s24_a_list_that_is_gone_or_empty_stops_the_removal(mail: Path, case: Path, org: Organisation) -> None:
    org.rules(hold(files=["held.txt"]))
    path = org.path.parent / "held.txt"
    path.write_text("# Smith\nnobody@example.com\n")
    assert org.excise("plan", "move", mail, *WANTED, "--case", case).code == 0
    before = bytes_below(mail)
    for text in (None, "# nobody left\n"):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        done = run(org, case)
        assert done.code in (2, 6) and str(path) in done.text, done.text
        assert bytes_below(mail) == before
    path.write_text("ben\n")
    assert org.excise("resume", case, "--jobs", "1").code == 8
    assert outcomes(case) == with_held("ben")


def test_s23_no_address_of_a_hold_is_in_the_log(mail: Path, case: Path, org: Organisation) -> None:
    org.rules(hold(addresses=["secret@example.org"], mailboxes=["ben"]))
    assert org.excise("plan", "move", mail, *WANTED, "--case", case).code == 8
    assert run(org, case).code == 8
    logs = [case / "audit.jsonl", *case.glob("units/*/*.jsonl")]
    assert not [path for path in logs if "secret" in path.read_text() or WORM in path.read_text()]


def test_a_copy_asks_for_no_hold(mail: Path, case: Path, org: Organisation) -> None:
    org.rules(hold(mailboxes=["ben"]))
    done = org.excise("copy", mail, *WANTED, "--case", case)
    assert done.code == 0, done.text


# What a hold means


def said(**values: Any) -> Holds:
    return Holds([Hold.model_validate_json(json.dumps({"case": "X", **values}))])


@pytest.mark.parametrize(
    ("entry", "name", "means"),
    [
        ("anna@example.com", "/mail/anna@example.com.mbox", True),
        ("anna@example.com", "/mail/Anna@EXAMPLE.com", True),
        ("anna@example.com", "/vmail/example.com/anna", True),
        ("anna@example.com", "/vmail/example.com/anna/Maildir", True),
        ("anna@example.com", "/vmail/example.com/annabel", False),
        ("anna@example.com", "/vmail/joanna@example.com", False),
        ("ben", "/var/mail/ben", True),
        ("ben", "/var/mail/ben.pst", True),
        ("ben", "/var/mail/ruben", False),
        ("mail/ben", "/var/mail/ben", True),
        ("/var/mail/ben", "/var/mail/ben", True),
        ("/var/mail/ben", "/srv/var/mail/ben", True),
    ],
)
def test_which_mailbox_a_name_means(entry: str, name: str, means: bool) -> None:
    assert names_mailbox(entry, name) == means


def test_s24_a_domain_holds_its_mailboxes_and_those_below() -> None:
    holds = said(domains=["example.com"])
    for name in ("/mail/a@example.com.pst", "/vmail/example.com/b", "/mail/c@sub.example.com"):
        assert holds.mailbox(name) == "X"
    for name in ("/mail/a@anexample.com", "/mail/example.org/b"):
        assert holds.mailbox(name) == ""


@pytest.mark.parametrize(
    ("envelope", "held"),
    [
        ({"from": "Anna@Example.com", "to": []}, True),
        ({"from": "x@y.z", "to": ["b@c.d", "anna@example.com"]}, True),
        ({"from": "x@y.z", "to": ["b@sub.partner.example"]}, True),
        ({"from": "x@y.z", "senders": ["x@y.z", "ANNA@example.com"], "to": []}, True),
        ({"from": None, "senders": ["b@partner.example"], "to": []}, True),
        ({"from": "joanna@example.com", "to": ["b@notpartner.example"]}, False),
        ({"from": None, "to": None}, False),
    ],
)
def test_s24_a_message_from_or_to_a_held_person_is_held_everywhere(envelope: dict[str, Any], held: bool) -> None:
    holds = said(addresses=["anna@example.com"], domains=["partner.example"])
    assert bool(holds.item("/mail/other", envelope)) == held
    assert holds.item("/mail/anna@example.com", envelope) == "X"


@pytest.mark.parametrize(
    ("sent", "received", "held"),
    [
        ("2026-03-31T23:59:59Z", "2026-03-31T23:59:59Z", False),
        ("2026-04-01T00:00:00Z", None, True),
        (None, "2026-06-30T23:59:59Z", True),
        ("2026-07-01T00:00:00Z", "2026-07-01T00:00:00Z", False),
        ("2026-01-01T00:00:00Z", "2026-05-01T00:00:00Z", True),
        (None, None, True),
    ],
)
def test_s24_dates_are_half_open_and_what_has_none_is_held(sent: str | None, received: str | None, held: bool) -> None:
    dates = {"since": "2026-04-01T00:00:00Z", "before": "2026-07-01T00:00:00Z"}
    envelope = {"sent": sent, "received": received, "from": "x@y.z", "to": []}
    assert bool(said(**dates).item("/mail/any", envelope)) == held
    assert bool(said(**dates, mailboxes=["ben"]).item("/mail/ben", envelope)) == held
    assert said(**dates, mailboxes=["ben"]).item("/mail/any", envelope) == ""
    assert said(**dates, mailboxes=["ben"]).mailbox("/mail/ben") == ""


def test_lists_hold_addresses_domains_and_names(tmp_path: Path) -> None:
    path = tmp_path / "held.txt"
    path.write_text("\ufeff# for Smith\nAnna@example.com\n\n@partner.example\n/var/mail/ben\n")
    holds = said(files=[str(path)])
    assert holds.item("/x", {"from": "anna@EXAMPLE.com"}) and holds.item("/x", {"to": ["b@partner.example"]})
    assert holds.mailbox("/var/mail/ben") and not holds.mailbox("/var/mail/carla")
    path.chmod(0o666)
    with pytest.raises(UsageError, match="may be written by others"):
        said(files=[str(path)])


def test_several_matters_are_all_named() -> None:
    holds = Holds([Hold(case=name, mailboxes=("ben",)) for name in ("A", "B", "A")])
    assert holds.mailbox("/mail/ben") == "A, B"
