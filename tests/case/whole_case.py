"""One case with all that a case can have: approvals, a review, sweeps, a file made anew, a restore, stamps, seals."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from case.authority import Authority
from cli.command import Done
from engine.mail_files import WORM, message, stores
from engine.test_move_pst import as_ost
from excise.case.layout import account
from excise.model.item import Deposit
from policy.keys import canonical, make_key, public, sign, statement
from policy.organisation import Organisation
from stores.pst_made import make_pst

#: Who may sign what, as people in the policy; the first is who runs the tests.
PEOPLE = {"otto": ["Mail operations"], "sofia": ["Information Security"], "lena": ["Legal"]}
RULES = """\
operators = ["{me}"]
ticket = "INC-[0-9]+"
reveal = false

[people."otto@example.com"]
user = "{me}"
roles = ["Mail operations"]

[people."sofia@example.com"]
user = "sofia"
roles = ["Information Security"]

[people."lena@example.com"]
user = "lena"
roles = ["Legal"]

[approval]
allowed_signers = "allowed_signers"
operator_signs = true

[[approval.rule]]
actions = ["move", "purge"]
roles = ["Information Security"]

[[approval.rule]]
actions = ["move", "purge"]
roles = ["Legal"]
"""


@dataclass(frozen=True)
class Office:
    """Who works on the case: an organisation with a policy, the keys of its people, a time-stamp authority."""

    org: Organisation
    keys: Path
    tsa: Authority
    case: Path

    @property
    def signers(self) -> Path:
        """The file of allowed signers."""
        return self.org.path.parent / "allowed_signers"

    def open(self) -> None:
        """Make the keys, and set the policy."""
        self.org.rules(RULES.format(me=account()))
        self.signers.write_text("".join(f"{who}@example.com {public(make_key(self.keys / who))}\n" for who in PEOPLE))
        self.signers.chmod(0o644)

    def does(self, code: int, *words: str | Path) -> Done:
        """Run a command, which ends with ``code``."""
        done = self.org.excise(*words)
        assert done.code == code, (words, done.text)
        return done

    def proof(self) -> tuple[str | Path, ...]:
        """Options that sign and stamp."""
        return "--timestamp", self.tsa.url, "--sign-key", self.keys / "otto"

    def newest(self) -> int:
        """The number of the newest plan."""
        return max(int(path.name) for path in (self.case / "plan").iterdir())

    def approve(self) -> None:
        """Have the newest plan signed by all three; the operator takes the statements into the case."""
        for who, roles in PEOPLE.items():
            user, role = (account(), "operator") if who == "otto" else (who, roles[0])
            said = statement(self.case, f"{who}@example.com", user, role, self.newest())
            said |= {"uid": os.getuid()} if who == "otto" else {}
            path = self.keys / f"{who}-{self.newest()}.json"
            path.write_bytes(canonical(said))
            sign(path, self.keys / who)
            self.does(0, "approve", self.case, "--statement-in", path)

    def run(self, code: int = 0) -> None:
        """Run the newest plan."""
        header = self.case / f"plan/{self.newest():04}/header.json"
        confirmed = ("--confirm", sha256(header.read_bytes()).hexdigest(), "--jobs", "1")
        self.does(code, "run", self.case, *confirmed, *self.proof())


def mail(root: Path) -> Path:
    """The stores of a small site, one of them a file that cannot be changed in place."""
    stores(root)
    path = root / "erik.ost"
    make_pst(path, [Deposit(message(80 + n, WORM if n == 1 else f"Memo {n}"), "Inbox") for n in range(3)])
    as_ost(path)
    return root


def make_whole_case(office: Office, root: Path) -> Path:
    """Plan, review, approve, run, sweep twice, restore, report, stamp and close; the case."""
    case = office.case
    source = mail(root)
    office.open()
    kinds = ("--evidence", "mbox", "--evidence", "eml", "--evidence", "pst")
    words = ("--subject", WORM, "--ticket", "INC-7", "--reason", "a worm", "--rewrite", "--jobs", "1")
    office.does(0, "plan", "move", source, *words, *kinds, "--case", case, *office.proof())
    office.does(0, "review", case, "--exclude", "00001-000002", "--reason", "asked for by its owner")
    office.run(4)
    office.approve()
    office.run()
    (source / "ben/new/1769999999.M1P9.host").write_bytes(message(901, WORM))
    office.does(4, "sweep", case, "--jobs", "1")
    office.approve()
    office.run()
    office.does(0, "sweep", case, "--jobs", "1")
    office.does(0, "restore", case, "--only", "00006-000001", "--yes", "--jobs", "1")
    office.does(0, "report", case)
    office.does(0, "stamp", case, "--url", office.tsa.url, "--sign-key", office.keys / "otto")
    office.does(0, "close", case, "--statement", "all found, all removed")
    return case


def records(case: Path) -> list[dict[str, Any]]:
    """The records of the coordinator's log."""
    return [json.loads(line) for line in (case / "audit.jsonl").read_bytes().splitlines()]
