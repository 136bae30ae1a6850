"""One case with all that a case can have: others accept it, and both verifiers name whatever is changed in it."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from case.authority import authority, needs_openssl, openssl
from case.other_verifier import Verdict, alone
from case.test_verify_case import audit_rechained
from case.whole_case import Office, make_whole_case, records
from excise import api
from excise.case.verify import Trust
from excise.core.errors import ExciseError
from policy.keys import canonical, make_key, needs_keygen, sign
from policy.organisation import Organisation

pytestmark = [needs_openssl, needs_keygen]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    place = tmp_path_factory.mktemp("whole")
    with authority(place / "authority") as tsa:
        made = Office(Organisation(place / "org"), place / "keys", tsa, place / "case")
        make_whole_case(made, place / "mail")
        yield made


@pytest.fixture
def case(office: Office, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(office.case, tmp_path / "case"))


def both(office: Office, case: Path) -> dict[str, Verdict]:
    """What the two verifiers say who are told whom to trust, and what the head was."""
    head = (office.case / "audit.head").read_text().strip()
    try:
        checks = list(api.verify(case, head, Trust(office.signers, office.tsa.root)))
    except ExciseError as error:
        ours = Verdict(error.exit_code, [error.message], [], [])
    else:
        lines = {ok: [f"{c.what}: {c.detail}" for c in checks if c.ok is ok] for ok in (True, False, None)}
        ours = Verdict(5 if lines[False] else 0, lines[False], lines[None], lines[True])
    options = ("--expect-head", head, "--allowed-signers", office.signers, "--ca-file", office.tsa.root)
    return {"excise verify": ours, "verify_case.py": alone(case, *options)}


def names(found: Verdict, name: str) -> bool:
    """True where a line that something does not hold names a file of the case; that of a bag by bag and file."""
    top, _, rest = name.partition("/")
    return any(name in line or (top.startswith("bag-") and top in line and rest in line) for line in found.wrong)


def missed(office: Office, case: Path, *files: str) -> list[str]:
    """What a verifier does not find, or does not name."""
    return [
        f"{who}: {file}: {found.code} {found.wrong}"
        for who, found in both(office, case).items()
        for file in files
        if found.code != 5 or not names(found, file)
    ]


def files(case: Path) -> list[Path]:
    return [path for path in sorted(case.rglob("*")) if path.is_file() and path.name != "lock"]


# What others say of it


def test_both_say_that_it_holds(office: Office) -> None:
    found = both(office, office.case)
    assert {who: (said.code, said.wrong) for who, said in found.items()} == dict.fromkeys(found, (0, []))
    assert found["excise verify"].unchecked == []
    assert all("messages.pst" in line for line in found["verify_case.py"].unchecked)
    for said in found.values():
        assert {line.partition(":")[0] for line in said.holds} >= {f"approvals of plan {plan}" for plan in (2, 4)}


def test_ssh_keygen_openssl_bagit_and_sha256sum_accept_it(office: Office) -> None:
    case = office.case
    for path in case.rglob("*.sig"):
        signed = json.loads(path.with_suffix("").read_bytes())
        who, what = (signed.get("principal", "otto@example.com"), "excise-approval" if "principal" in signed else "")
        given = ("-I", who, "-n", what or "excise-checkpoint", "-s", path)
        with path.with_suffix("").open("rb") as data:
            command = ["ssh-keygen", "-Y", "verify", "-f", office.signers, *given]
            subprocess.run(command, stdin=data, check=True, capture_output=True)
    stamps = sorted((case / "stamps").glob("*.tsr"))
    for path in stamps:
        kind, number = path.stem.split("-")
        place = {"plan": "plan/{}/header.json", "bag": "bag-{}/tagmanifest-sha256.txt"}
        subject = case / place.get(kind, "checkpoints/{}.json").format(number)
        assert "OK" in openssl("ts", "-verify", "-data", subject, "-in", path, "-CAfile", office.tsa.root)
    bags = sorted(case.glob("bag-*"))
    for bag in bags:
        subprocess.run([sys.executable, "-m", "bagit", "--validate", bag], check=True, capture_output=True)
        for manifest in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            subprocess.run(["sha256sum", "-c", "--quiet", "--strict", manifest], cwd=bag, check=True)
    assert (len(bags), len(list(case.rglob("*.sig")))) == (3, 6 + len(list((case / "checkpoints").glob("*.json"))))
    assert len(stamps) == 7 + len(bags) + len(list((case / "checkpoints").glob("*.json")))


# One bit


def flipped(office: Office, case: Path, path: Path, dice: random.Random) -> list[str]:
    """Flip one bit of a file, see what is said, and put it back."""
    whole = path.read_bytes()
    at, bit = dice.randrange(len(whole)), 1 << dice.randrange(8)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
    try:
        return [f"byte {at}, bit {bit}: {line}" for line in missed(office, case, path.relative_to(case).as_posix())]
    finally:
        path.write_bytes(whole)


def kinds(case: Path) -> dict[str, list[Path]]:
    """Its files by kind: the same name but for numbers and hashes."""
    found: dict[str, list[Path]] = {}
    for path in files(case):
        kind = re.sub(r"[0-9a-f]{16}|\d+", "#", path.relative_to(case).as_posix())
        found.setdefault(kind, []).append(path)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_one_flipped_bit_is_named_by_both(office: Office, case: Path, seed: int) -> None:
    """In files of some of the kinds that there are; in the other tests of verifiers, and in the long ones, of all."""
    dice = random.Random(f"flip {seed}")
    chosen = dice.sample(sorted(kinds(case).values()), 9)
    wrong = [line for paths in chosen for line in flipped(office, case, dice.choice(paths), dice)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.soak
def test_any_flipped_bit_in_any_file_is_named_by_both(office: Office, case: Path) -> None:
    dice = random.Random("flip all")
    wrong = [line for path in files(case) for _ in range(20) for line in flipped(office, case, path, dice)]
    assert not wrong, "\n".join(wrong)


# Approvals: what somebody does who can write the case, and makes every hash and chain anew

Records = list[dict[str, Any]]


def statement_of(case: Path, plan: int, role: str) -> Path:
    """The statement about a plan in a role."""
    found = [p for p in (case / f"approvals/{plan:04}").glob("*.json") if json.loads(p.read_bytes())["role"] == role]
    assert len(found) == 1
    return found[0]


def other_statement(case: Path, key: Path, changes: dict[str, Any], role: str = "Legal") -> str:
    """Put another statement, signed with ``key``, in the place of the one of that role about plan 4; its name."""
    old = statement_of(case, 4, role)
    data = canonical(json.loads(old.read_bytes()) | changes)
    new = old.with_name(f"{sha256(data).hexdigest()[:16]}.json")
    signature = old.with_name(f"{old.name}.sig")
    before, after = old.name, new.name
    was = {f"approvals/0004/{before}": old.read_bytes(), f"approvals/0004/{before}.sig": signature.read_bytes()}
    old.unlink()
    signature.unlink()
    new.write_bytes(data)
    sign(new, key)
    fingerprint = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout.split()[
        1
    ]
    told = {sha256(was[f"approvals/0004/{before}"]).hexdigest(): sha256(data).hexdigest()}
    told[sha256(was[f"approvals/0004/{before}.sig"]).hexdigest()] = sha256(
        new.with_name(f"{after}.sig").read_bytes()
    ).hexdigest()
    told[before] = after

    def change(log: Records) -> Records:
        made = []
        for record in log:
            text = json.dumps(record)
            for one, other in told.items():
                text = text.replace(one, other)
            again = json.loads(text)
            for place in (again, *again.get("statements", ())):
                if place.get("role") == role and "key" in place and again.get("plan") == 4:
                    place |= {"key": fingerprint, "user": changes.get("user", place["user"])}
            made.append(again)
        return made

    audit_rechained(case, change)
    return f"approvals/0004/{after}"


def assert_both_name(office: Office, case: Path, *names: str) -> None:
    wrong = missed(office, case, *names)
    assert not wrong, "\n".join(wrong)


def test_s25_an_approval_signed_anew_by_another_key_is_named(office: Office, case: Path, tmp_path: Path) -> None:
    name = other_statement(case, make_key(tmp_path / "eve"), {})
    assert_both_name(office, case, f"{name}.sig")


def test_s25_an_approval_signed_by_somebody_else_who_may_sign_is_named(office: Office, case: Path) -> None:
    name = other_statement(case, office.keys / "sofia", {})
    assert_both_name(office, case, f"{name}.sig")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"user": "sofia", "principal": "sofia@example.com"}, "may not sign in this role"),
        ({"plan_sha256": "0" * 64}, "about another plan"),
        ({"case": "another"}, "about another plan"),
        ({"disposal": "trash"}, "about another plan"),
        ({"from": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}, "did not hold"),
        ({"until": "2099-01-01T00:00:00Z"}, "0 of 1 approvals as Legal were there"),
        ({"principal": "eve@example.com"}, "not under people"),
    ],
)
def test_s25_an_approval_that_could_not_count_is_named(
    office: Office, case: Path, changes: dict[str, Any], why: str
) -> None:
    key = "sofia" if changes.get("user") == "sofia" else "lena"
    other_statement(case, office.keys / key, changes)
    for who, found in both(office, case).items():
        assert any(why in line for line in found.wrong), (who, found.wrong)


def test_s25_an_approval_that_is_cut_out_everywhere_is_named(office: Office, case: Path) -> None:
    """The file, its signature, each word of it in the log; every hash after it is made anew."""
    path = statement_of(case, 4, "Legal")
    path.with_name(f"{path.name}.sig").unlink()
    path.unlink()

    def without(log: Records) -> Records:
        left = [r for r in log if not (r["type"] == "approval-added" and r["plan"] == 4 and r["role"] == "Legal")]
        return [r | ({"statements": [s for s in r["statements"] if s["role"] != "Legal"]} if "statements" in r else {})
                for r in left]  # fmt: skip

    audit_rechained(case, without)
    for who, found in both(office, case).items():
        assert any("0 of 1 approvals as Legal were there" in line for line in found.wrong), (who, found.wrong)
        assert names(found, "audit.jsonl")


def test_s25_a_run_before_its_approvals_were_checked_is_named(office: Office, case: Path) -> None:
    audit_rechained(case, lambda log: [r for r in log if r["type"] != "authority-checked"])
    for who, found in both(office, case).items():
        assert any("expected a record of the approvals" in line for line in found.wrong), (who, found.wrong)


def test_s25_an_approval_of_another_plan_is_named(office: Office, case: Path) -> None:
    """Replayed: the statement about the first plan, put under the sweep's."""
    path = statement_of(case, 2, "Legal")
    for each in (path, path.with_name(f"{path.name}.sig")):
        shutil.copy(each, case / "approvals/0004" / each.name)
    assert_both_name(office, case, f"approvals/0004/{path.name}")


def test_s25_swapped_signatures_are_named(office: Office, case: Path) -> None:
    one, other = (statement_of(case, 4, role).with_suffix(".json.sig") for role in ("Legal", "Information Security"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    assert_both_name(office, case, *(path.relative_to(case).as_posix() for path in (one, other)))


# Plans of reviews and sweeps, the file made anew, checkpoints and stamps


def swap(case: Path, one: str, other: str) -> None:
    first = (case / one).read_bytes()
    (case / one).write_bytes((case / other).read_bytes())
    (case / other).write_bytes(first)


EVIDENCE = "bag-0002/data/evidence"
#: What is swapped at once; a damaged header hides what the plan's other files are.
SWAPS = {
    "headers": [
        ("plan/0001/header.json", "plan/0002/header.json"),
        ("plan/0003/header.json", "plan/0004/header.json"),
    ],
    "seals": [
        ("bag-0002/tagmanifest-sha256.txt", "bag-0004/tagmanifest-sha256.txt"),
    ],
    "the rest": [
        ("plan/0002/matches/00006.jsonl", "plan/0001/matches/00001.jsonl"),
        ("plan/0002/matches/00006.excluded.jsonl", "plan/0004/matches/00016.excluded.jsonl"),
        ("units/00007/journal.jsonl", "units/00017/journal.jsonl"),
        ("units/00008/audit.jsonl", "units/00010/audit.jsonl"),
        ("bag-0002/manifest-sha256.txt", "bag-0004/manifest-sha256.txt"),
        ("stamps/plan-0001.tsr", "stamps/plan-0002.tsr"),
        ("stamps/bag-0002.tsr", "stamps/bag-0004.tsr"),
        (f"{EVIDENCE}/00006/part-001/messages.mbox", f"{EVIDENCE}/00008/part-001/messages.mbox"),
        (f"{EVIDENCE}/00010/original-001/original.pst", f"{EVIDENCE}/00010/part-001/messages.pst"),
    ],
}


@pytest.mark.parametrize("group", SWAPS)
def test_what_is_swapped_within_the_case_is_named(office: Office, case: Path, group: str) -> None:
    for one, other in SWAPS[group]:
        swap(case, one, other)
    assert_both_name(office, case, *(name for pair in SWAPS[group] for name in pair))


def test_swapped_checkpoints_with_their_signatures_are_named(office: Office, case: Path) -> None:
    one, other = sorted((case / "checkpoints").glob("*.json"))[:2]
    for suffix in ("", ".sig"):
        swap(case, *(f"checkpoints/{path.name}{suffix}" for path in (one, other)))
    assert_both_name(office, case, f"checkpoints/{one.name}", f"checkpoints/{other.name}")


def test_a_log_made_anew_does_not_fit_the_signed_checkpoints(office: Office, case: Path) -> None:
    """Every chain and hash is right again, and only the head that was signed is not in the log any more."""

    def other(log: Records) -> Records:
        return [r | ({"mailbox": "another"} if r["type"] == "mailbox-searched" and r["unit"] == 4 else {}) for r in log]

    audit_rechained(case, other)
    later = list((case / "checkpoints").glob("*.json"))
    assert_both_name(office, case, *(path.relative_to(case).as_posix() for path in later))


CUT: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "truncated": lambda lines: lines[:-1],
    "re-ordered": lambda lines: [*lines[1:], lines[0]],
    "replayed": lambda lines: [*lines, lines[-1]],
}


@pytest.mark.parametrize("how", sorted(CUT))
def test_lines_that_are_cut_re_ordered_or_replayed_are_named(office: Office, case: Path, how: str) -> None:
    names = [
        "units/00006/journal.jsonl",
        "units/00007/audit.jsonl",
        "plan/0001/matches/00001.jsonl",
        "bag-0002/data/evidence/00006/part-001/items.jsonl",
        "bag-0002/manifest-sha256.txt",
        "bag-0002/data/records/outcome.csv",
        "bag-0004/data/records/audit.jsonl",
    ]
    for name in names:
        lines = (case / name).read_bytes().splitlines(keepends=True)
        assert len(lines) > 1
        (case / name).write_bytes(b"".join(CUT[how](lines)))
    assert_both_name(office, case, *names)


@pytest.mark.parametrize("how", sorted(CUT))
def test_entries_of_the_log_that_are_cut_re_ordered_or_replayed_are_named(office: Office, case: Path, how: str) -> None:
    path = case / "audit.jsonl"
    path.write_bytes(b"".join(CUT[how](path.read_bytes().splitlines(keepends=True))))
    assert_both_name(office, case, "audit.jsonl")


def test_a_record_after_the_case_was_closed_is_named(office: Office, case: Path) -> None:
    more = {"type": "item-viewed", "time": "2026-01-01T00:00:00Z", "plan": 2}
    audit_rechained(case, lambda log: [*log, more])
    assert records(case)[-2]["type"] == "case-closed"
    assert_both_name(office, case, "audit.jsonl")
