"""Time stamps and signed checkpoints: what openssl and ssh-keygen accept by themselves, and nothing pretended."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from case.authority import Authority, authority, needs_openssl, openssl
from case.other_verifier import alone, excise
from case.test_verify_case import audit_rechained
from cli.command import Done, excise_cli
from engine.mail_files import WORM, stores
from excise import api
from excise.case.stamp_reading import by_library, by_openssl
from excise.case.verify import Trust
from excise.core.digests import canonical_json

pytestmark = [
    needs_openssl,
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"),
]
NOWHERE = "http://127.0.0.1:1/tsr"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with authority(tmp_path_factory.mktemp("tsa") / "authority") as running:
        yield running


@pytest.fixture
def tsa(made: Authority) -> Iterator[Authority]:
    yield made
    made.requests.clear()
    made.down, made.replay = False, None


def make_key(path: Path, who: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "operator", "jd@example.org")


@pytest.fixture
def signers(key: Path, tmp_path: Path) -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(f'jd@example.org namespaces="excise-checkpoint" {key.with_suffix(".pub").read_text()}')
    return path


def move(tmp_path: Path, *options: str | Path) -> tuple[Path, Done]:
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    words = ("move", mail, "--subject", WORM, "--case", case, "--evidence", "mbox", "--jobs", "1")
    return case, excise_cli(*words, "--yes", "--expect-matches", "6", *options)


def records(case: Path, kind: str) -> list[dict[str, object]]:
    lines = map(json.loads, (case / "audit.jsonl").read_bytes().splitlines())
    return [record for record in lines if record["type"] == kind]


def wrong(case: Path, trust: Trust) -> list[str]:
    return [f"{check.what}: {check.detail}" for check in api.verify(case, None, trust) if check.ok is False]


def test_a_move_is_signed_and_stamped_and_others_accept_it(
    tsa: Authority, key: Path, signers: Path, tmp_path: Path
) -> None:
    case, done = move(tmp_path, "--timestamp", tsa.url, "--sign-key", key)
    assert done.code == 0, done.text
    stamped = {"plan-0001": case / "plan/0001/header.json", "bag-0001": case / "bag-0001/tagmanifest-sha256.txt"}
    stamped |= {f"checkpoint-{path.stem}": path for path in (case / "checkpoints").glob("*.json")}
    assert len(stamped) == 5  # after the plan, before the removal, at the end
    for name, path in stamped.items():
        answer = ("-in", case / "stamps" / f"{name}.tsr", "-CAfile", tsa.root)
        assert "Verification: OK" in openssl("ts", "-verify", "-data", path, *answer)
        assert "Verification: OK" in openssl("ts", "-verify", "-queryfile", case / "stamps" / f"{name}.tsq", *answer)
    for path in (case / "checkpoints").glob("*.json"):
        given = ("-f", signers, "-I", "jd@example.org", "-n", "excise-checkpoint", "-s", f"{path}.sig")
        with path.open("rb") as data:
            subprocess.run(["ssh-keygen", "-Y", "verify", *given], stdin=data, check=True, capture_output=True)
    trust = Trust(signers, tsa.root)
    assert [c for c in api.verify(case, None, trust) if c.ok is not True and "tail" not in c.what] == []
    found = alone(case, "--allowed-signers", signers, "--ca-file", tsa.root)
    assert (found.code, [line for line in found.unchecked if "tail" not in line]) == (0, [])
    assert sum("jd@example.org" in line for line in found.holds) == 3


def test_the_head_was_signed_and_stamped_before_the_removal(tsa: Authority, key: Path, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url, "--sign-key", key)
    kinds = [json.loads(line)["type"] for line in (case / "audit.jsonl").read_bytes().splitlines()]
    start = kinds.index("run-started")
    assert kinds[start + 1 : start + 4] == ["checkpoint", "stamp-requested", "stamped"]
    assert "unit-finished" in kinds[start + 4 :]
    told = json.loads((case / "checkpoints" / f"{start + 1:06}.json").read_bytes())
    assert told["records"] == start + 1


def test_without_trust_nothing_is_called_proven(tsa: Authority, key: Path, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url, "--sign-key", key)
    for found in (excise(case), alone(case)):
        assert found.code == 0
        open_questions = [line for line in found.unchecked if "stamps/" in line or ".sig" in line]
        assert len(open_questions) == 8
        assert all("not checked" in line for line in open_questions)


def test_offline_the_request_is_kept_and_finished_later(tsa: Authority, tmp_path: Path) -> None:
    case, done = move(tmp_path, "--timestamp", NOWHERE)
    assert done.code == 6
    assert "no time stamp yet" in done.err and "Done." in done.out
    assert not list((case / "stamps").glob("*.tsr"))
    kept = {path.name: path.read_bytes() for path in (case / "stamps").glob("*.tsq")}
    assert "plan-0001.tsq" in kept and "bag-0001.tsq" in kept
    assert any("no time is proven" in line for line in excise(case).unchecked)
    assert any("no time is proven" in line for line in alone(case).unchecked)
    assert excise_cli("stamp", case, "--url", NOWHERE).code == 6
    done = excise_cli("stamp", case, "--url", tsa.url)
    assert done.code == 0, done.text
    assert set(kept.values()) <= set(tsa.requests)
    answer = ("-in", case / "stamps" / "plan-0001.tsr", "-CAfile", tsa.root)
    assert "Verification: OK" in openssl("ts", "-verify", "-data", case / "plan/0001/header.json", *answer)
    assert wrong(case, Trust(None, tsa.root)) == []
    assert alone(case, "--ca-file", tsa.root).wrong == []


def test_without_a_url_only_requests_are_made(tmp_path: Path) -> None:
    case, _ = move(tmp_path)
    done = excise_cli("stamp", case)
    assert (done.code, "not sent to any authority yet" in done.out) == (0, True)
    assert {path.suffix for path in (case / "stamps").iterdir()} == {".tsq"}
    head = (case / "audit.head").read_text()
    assert excise_cli("stamp", case).code == 0
    assert (case / "audit.head").read_text() == head  # nothing is new


def test_an_answer_that_was_brought_by_hand_is_checked_and_recorded(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path)
    assert excise_cli("stamp", case).code == 0
    (case / "stamps" / "bag-0001.tsr").write_bytes(b"no stamp")
    for query in (case / "stamps").glob("[pc]*.tsq"):
        with urllib.request.urlopen(tsa.url, query.read_bytes()) as answer:  # noqa: S310
            query.with_suffix(".tsr").write_bytes(answer.read())
    done = excise_cli("stamp", case)
    assert "bag-0001: no time stamp yet: expected a time stamp" in done.out
    assert {record["of"] for record in records(case, "stamped")} == {"plan/0001/header.json", *checkpoints(case)}
    assert alone(case, "--ca-file", tsa.root).wrong[0].startswith("stamps/bag-0001.tsr")


def checkpoints(case: Path) -> set[str]:
    return {f"checkpoints/{path.name}" for path in (case / "checkpoints").glob("*.json")}


def test_an_authority_that_sends_its_chain_is_understood(tmp_path: Path) -> None:
    """OpenSSL does not sort the certificates, which the library takes for damage: openssl itself reads them then."""
    with authority(tmp_path / "chain", chain=True) as tsa:
        case, done = move(tmp_path, "--timestamp", tsa.url)
        assert done.code == 0, done.text
        answer = (case / "stamps" / "plan-0001.tsr").read_bytes()
        with pytest.raises(ValueError, match="ParseError"):
            by_library(answer)
        assert wrong(case, Trust(None, tsa.root)) == []
        assert alone(case, "--ca-file", tsa.root).wrong == []
        with authority(tmp_path / "other") as other:
            assert any("stamps/plan-0001.tsr" in line for line in wrong(case, Trust(None, other.root)))


def test_both_readers_of_stamps_read_the_same(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url)
    for path in (case / "stamps").glob("*.tsr"):
        ours, other = by_library(path.read_bytes()), by_openssl(path.read_bytes(), "not read")
        assert ours.algorithm == "2.16.840.1.101.3.4.2.1" and other.algorithm == "sha256"
        assert (ours.imprint, ours.nonce, ours.time) == (other.imprint, other.nonce, other.time)


def test_an_answer_to_another_request_is_not_taken(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url)
    tsa.replay = (case / "stamps" / "plan-0001.tsr").read_bytes()
    later, _ = move(tmp_path / "later")
    done = excise_cli("stamp", later, "--url", tsa.url)
    assert done.code == 6
    assert "something else" in done.out
    shutil.rmtree(case / "stamps")
    assert not list((later / "stamps").glob("*.tsr"))


def test_an_earlier_answer_for_the_same_file_is_not_taken(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path)
    copy = shutil.copytree(case, tmp_path / "copy")
    assert excise_cli("stamp", case, "--url", tsa.url).code == 0
    tsa.replay = (case / "stamps" / "plan-0001.tsr").read_bytes()
    done = excise_cli("stamp", copy, "--url", tsa.url)
    assert "plan-0001: no time stamp yet: the time stamp answers another request" in done.out


@pytest.mark.parametrize("answer", [b"", b"\x30\x03\x02\x01\x00", b"<html>", b"\x30\x05\x30\x03\x02\x01\x02"])
def test_what_is_no_stamp_is_not_taken(answer: bytes, tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path)
    tsa.replay = answer
    assert excise_cli("stamp", case, "--url", tsa.url).code == 6
    assert not list((case / "stamps").glob("*.tsr"))


def test_an_authority_that_is_down_is_told(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path)
    tsa.down = True
    done = excise_cli("stamp", case, "--url", tsa.url)
    assert (done.code, "503" in done.out or "Service Unavailable" in done.out) == (6, True)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "http://user:secret@example.org/", "example.org", "file:///etc/x"]
)
def test_s26_an_address_that_holds_a_password_or_is_none_is_refused(url: str, tmp_path: Path) -> None:
    case, done = move(tmp_path, "--timestamp", url)
    assert done.code == 2
    assert "secret" not in done.text
    assert b"secret" not in b"".join(path.read_bytes() for path in case.rglob("*") if path.is_file())


def test_a_stamp_of_another_file_is_named(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url)
    shutil.copy(case / "stamps" / "bag-0001.tsr", case / "stamps" / "plan-0001.tsr")
    for found in (excise(case), alone(case)):
        assert (found.code, found.names("stamps/plan-0001.tsr")) == (5, True)


def test_a_stamp_by_another_authority_is_named(tsa: Authority, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url)
    with authority(tmp_path / "other") as other:
        assert any("stamps/plan-0001.tsr" in line for line in wrong(case, Trust(None, other.root)))
        assert alone(case, "--ca-file", other.root).names("stamps/plan-0001.tsr")


def test_a_checkpoint_signed_by_another_key_is_named(key: Path, signers: Path, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--sign-key", make_key(tmp_path / "eve", "jd@example.org"))
    (path, *_) = sorted((case / "checkpoints").glob("*.sig"))
    assert any(path.name in line for line in wrong(case, Trust(signers)))
    assert alone(case, "--allowed-signers", signers).names(path.name)


def test_a_signature_for_something_else_is_named(key: Path, tmp_path: Path) -> None:
    """The right key, another purpose."""
    case, _ = move(tmp_path, "--sign-key", key)
    signers = tmp_path / "all"
    signers.write_text(f"jd@example.org {key.with_suffix('.pub').read_text()}")
    path = sorted((case / "checkpoints").glob("*.json"))[0]
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", "file", str(path)]
    Path(f"{path}.sig").unlink()
    subprocess.run(command, check=True, capture_output=True)
    assert any(f"{path.name}.sig" in line for line in wrong(case, Trust(signers)))
    assert alone(case, "--allowed-signers", signers).names(f"{path.name}.sig")


def test_a_log_made_anew_after_it_was_signed_is_named(key: Path, signers: Path, tmp_path: Path) -> None:
    """Every hash computed anew, head and checkpoint's digest too: the signed checkpoint still tells."""
    case, _ = move(tmp_path, "--sign-key", key)

    def lie(found: list[dict[str, object]]) -> list[dict[str, object]]:
        return [record | ({"seen": 9} if record["type"] == "mailbox-searched" else {}) for record in found]

    audit_rechained(case, lie)
    for found in (excise(case), alone(case)):
        assert (found.code, found.names("checkpoints/")) == (5, True)


def test_a_checkpoint_made_anew_has_no_signature_of_the_key(key: Path, signers: Path, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--sign-key", key)
    path = sorted((case / "checkpoints").glob("*.json"))[0]
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"time": "2020-01-01T00:00:00Z"}) + b"\n")
    for found in (excise(case), alone(case)):
        assert found.names(path.name)
    assert any(f"{path.name}.sig" in line for line in wrong(case, Trust(signers)))


def test_one_bit_flipped_in_each_proof_is_named(tsa: Authority, key: Path, tmp_path: Path) -> None:
    case, _ = move(tmp_path, "--timestamp", tsa.url, "--sign-key", key)
    for path in sorted([*(case / "stamps").iterdir(), *(case / "checkpoints").iterdir()]):
        whole = path.read_bytes()
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
        for found in (excise(case), alone(case)):
            assert (found.code, found.names(path.name)) == (5, True), path
        path.unlink()
        for found in (excise(case), alone(case)):
            assert (found.code, found.names(path.name)) == (5, True), path
        path.write_bytes(whole)


def test_a_key_that_does_not_sign_stops_before_the_removal(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("no key\n")
    mail = tmp_path / "mail"
    case, done = move(tmp_path, "--sign-key", bad)
    assert done.code == 2
    assert "ssh-keygen does not sign with it" in done.err
    assert records(case, "unit-finished") == []
    assert (mail / "anna.mbox").read_bytes().count(WORM.encode()) == 3


def test_a_plan_alone_is_stamped_too(tsa: Authority, tmp_path: Path) -> None:
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    assert excise_cli("plan", "move", mail, "--subject", WORM, "--case", case, "--timestamp", tsa.url).code == 0
    assert (case / "stamps" / "plan-0001.tsr").is_file()
    assert records(case, "stamped")[0]["of"] == "plan/0001/header.json"


def test_a_stamp_of_a_bag_holds_after_its_evidence_was_encrypted(tmp_path: Path, tsa: Authority) -> None:
    pyrage = pytest.importorskip("pyrage")
    case, done = move(tmp_path, "--timestamp", tsa.url)
    assert done.code == 0, done.text
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    assert excise_cli("encrypt", case, "--recipient", recipient).code == 0
    assert wrong(case, Trust(None, tsa.root)) == []
    found = alone(case, "--ca-file", tsa.root)
    assert found.code == 0 and any("stamps/bag-0001.tsr" in line for line in found.holds), found.wrong
    plain = case / "bag-0001/plain/tagmanifest-sha256.txt"
    openssl("ts", "-verify", "-data", plain, "-in", case / "stamps/bag-0001.tsr", "-CAfile", tsa.root)
    asked = len(tsa.requests)
    assert excise_cli("stamp", case, "--url", tsa.url).code == 0
    names = {record["of"] for record in records(case, "stamped")}
    assert "bag-0001/tagmanifest-sha256.txt" in names and not [n for n in names if "plain/" in str(n)], names
    assert len(tsa.requests) == asked + 1  # the new checkpoint alone
