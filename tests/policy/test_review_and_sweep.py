"""Reviews and sweeps under a policy that asks for two approvals: real users with real keys, and a real browser."""

from __future__ import annotations

import fcntl
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from excise.core.text import count_of
from policy.test_two_people import DOCS, rerun, why_not
from report.browser import chromium, needs_chromium, watch

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "can be run")
SIGNERS = {"otto": "Mail operations", "sofia": "Information Security", "lena": "Legal"}
POLICY = 'operators = ["otto"]\nticket = "INC-[0-9]+"\n' + "".join(
    f'[people."{who}@example.com"]\nuser = "{who}"\nroles = ["{role}"]\n' for who, role in SIGNERS.items()
)
POLICY += '[approval]\nallowed_signers = "allowed_signers"\noperator_signs = true\n' + "".join(
    f'[[approval.rule]]\nactions = ["move"]\nroles = ["{role}"]\n' for role in ("Information Security", "Legal")
)
SUBJECT = "Salaries 2026 – confidential"


class Office:
    """The three of them, and what they type."""

    def __init__(self, people: rerun.People) -> None:
        self.people, self.requests = people, 0

    def does(self, who: str, command: str, *said: str, code: int = 0) -> str:
        """What a command prints, which ends with ``code`` and says all of ``said``."""
        printed = str(self.people.run(who, command))
        status = re.search(r"\(exit status (\d+)\)\n\Z", printed)
        assert int(status[1] if status else 0) == code, printed
        assert [text for text in said if text not in printed] == [], printed
        return printed

    def open(self) -> None:
        """The policy and everybody's key."""
        self.does("root", f"mkdir -m 755 -p /etc/excise && cat > /etc/excise/policy.toml <<'END'\n{POLICY}END\n")
        self.does("root", "install -d -m 2770 -g excise /srv/excise")
        for who in SIGNERS:
            self.does(who, f"ssh-keygen -q -t ed25519 -N '' -C '' -f ~/key && cp ~/key.pub /srv/excise/{who}.pub")
            line = f'echo "{who}@example.com $(cat /srv/excise/{who}.pub)" >> /etc/excise/allowed_signers'
            self.does("root", line)
        self.does("root", "chmod 644 /etc/excise/*")

    def plan(self, case: str) -> None:
        """A plan of 5 matches in 3 mailboxes."""
        words = f'--subject "{SUBJECT}" --attachment salaries.xlsx --ticket INC-1 --evidence mbox --case {case}'
        self.does("otto", f"excise plan move mail {words}", "5 matches in 3 mailboxes", "Needs: 1 approval as Legal")

    def approve(self, case: str, matches: int, who: str) -> str:
        """A request goes to an approver, who signs; where the statement is."""
        self.requests += 1
        request, out = (f"/srv/excise/{case}.{who}.{self.requests}{end}" for end in (".request", ""))
        self.does("otto", f"excise approve {case} --request-out {request}")
        confirmed = f"--yes --expect-matches {matches}"
        said = count_of(matches, "match")
        self.does(who, f"excise approve {request} --key ~/key {confirmed} --statement-out {out}", said)
        return out

    def approve_all(self, case: str, matches: int) -> None:
        """All that the policy asks for is taken into the case; a run before that is refused."""
        for who in ("sofia", "lena"):
            self.run(case, "is not approved", code=4)
            self.does("otto", f"excise approve {case} --statement-in {self.approve(case, matches, who)}")
        self.run(case, "the operator's own signature is missing", code=4)
        self.does("otto", f"excise approve {case} --key ~/key --yes --expect-matches {matches}")

    def run(self, case: str, *said: str, code: int = 0) -> None:
        """Run the newest plan, confirmed by its hash."""
        header = f"$(ls -d {case}/plan/* | tail -1)/header.json"
        confirmed = f"$(sha256sum < {header} | cut -c 1-12)"
        self.does("otto", f"excise run {case} --confirm {confirmed} --jobs 1", *said, code=code)

    def verify(self, case: str) -> None:
        """Both verifiers accept the case, with the keys of everybody."""
        given = "--allowed-signers /etc/excise/allowed_signers"
        self.does("otto", f"excise verify {case} {given}", "approvals of plan 2", "0 do not hold")
        self.does("otto", f"python3 -I {case}/verify_case.py {case} {given}", "approvals of plan 2", "0 do not hold")

    def left(self, case: str) -> dict[str, int]:
        """How many of the messages are in each mailbox still."""
        mail = self.people.place / "home" / "otto" / "mail"
        found = {}
        for box in ("anna.mbox", "ben", "carla"):
            files = [path for path in (mail / box, *(mail / box).rglob("*")) if path.is_file()]
            found[box] = sum(path.read_bytes().count(b"salaries.xlsx") // 2 for path in files)  # name, filename
        return found


@pytest.fixture
def office() -> Iterator[Office]:
    with Path(tempfile.gettempdir(), "excise-two-people.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making the same users
        taken = {entry.pw_name for entry in pwd.getpwall()} & set(SIGNERS)
        if taken:
            pytest.skip(f"needs root, and there are users already that are called {', '.join(sorted(taken))}")
        with rerun.own_place() as place, rerun.People(place, set(SIGNERS), rerun.interpreter()) as people:
            made = Office(people)
            made.open()
            yield made


def arrive(office: Office, number: int) -> None:
    """The message comes to ben once more."""
    (sent,) = (DOCS.parent / "fixtures" / "demo" / "ben" / "cur").glob("*M006*")
    new = office.people.place / "home/otto/mail/ben/new" / f"{1_790_000_000 + number}.M{number}P9.host"
    new.write_bytes(re.sub(rb"(?im)^Message-ID: .*", b"Message-ID: <late-%d@example.com>" % number, sent.read_bytes()))
    shutil.chown(new, "otto")


def test_s25_a_review_and_every_pass_of_a_sweep_are_approved_by_two(office: Office) -> None:
    office.plan("case")
    early = office.approve("case", 5, "sofia")
    office.does("otto", "excise review case --exclude-group m3 --reason 'asked for by its owner'", "Plan 2")
    office.does("otto", f"excise approve case --statement-in {early}", "it is for another plan", code=4)
    office.does("otto", "excise run case --confirm $(sha256sum < case/plan/0001/header.json | cut -c 1-12)", code=4)
    office.approve_all("case", 4)
    office.run("case")
    assert office.left("case") == {"anna.mbox": 0, "ben": 0, "carla": 1}
    arrive(office, 1)
    given = "--yes --max-total 5"
    lacking = ("pass 1: 1 new match, 1 known and left", "0 of 1 approvals as Legal are there")
    office.does("otto", f"excise sweep case --jobs 1 {given}", *lacking, code=4)
    assert office.left("case")["ben"] == 1
    office.approve_all("case", 1)
    office.run("case")
    office.does("otto", "excise sweep case --jobs 1", "0 late matches; clean at the end: 1")
    assert office.left("case") == {"anna.mbox": 0, "ben": 0, "carla": 1}
    office.verify("case")


@contextmanager
def served(office: Office, case: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the page that otto's review serves, and the review."""
    people = office.people
    home = people.place / "home" / "otto"
    process = subprocess.Popen(
        [people.place / "bin" / "excise", "review", case, "--web"],
        cwd=home,
        env=people.environment | {"HOME": str(home), "USER": "otto"},
        user="otto",
        group="otto",
        extra_groups=["excise"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", process.stderr.readline())
        assert found is not None
        yield found[0], process
    finally:
        process.kill()
        process.communicate()


@needs_chromium
def test_s25_a_group_taken_out_in_a_browser_makes_a_plan_that_two_approve_and_one_runs(office: Office) -> None:
    office.plan("case")
    with served(office, "case") as (address, process), chromium() as browser:
        page = browser.new_page()
        watched = watch(page)
        page.goto(address)
        assert page.locator("#left").text_content() == "5"
        page.locator("tr", has=page.get_by_role("link", name="anna.mbox")).get_by_role("checkbox").check()
        page.get_by_label("Why").fill("Anna needs it")
        page.get_by_role("button", name="Take the chosen ones out").click()
        assert page.locator("#left").text_content() == "3"
        page.get_by_role("button", name="Write the new plan").click()
        shown = page.locator("#hash").text_content() or ""
        assert process.wait(timeout=120) == 0
        assert watched.complaints == []
    office.does("otto", "sha256sum < case/plan/0002/header.json", shown)
    office.approve_all("case", 3)
    office.run("case")
    assert office.left("case") == {"anna.mbox": 2, "ben": 0, "carla": 0}
    office.verify("case")
