"""Evidence encrypted to recipients' keys: who can open it, what both verifiers see, and what is left of the plain."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from case.other_verifier import alone, excise
from cli.command import Done, excise_cli
from excise.case.bag import seal
from excise.case.verify_case import file_sha256
from excise.core.digests import canonical_json
from report.stage import START, SUBJECT, body

needs_age = pytest.mark.skipif(shutil.which("age") is None, reason="age is not installed")
pyrage = pytest.importorskip("pyrage")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of keys: ``age``, ``ed`` and ``rsa`` with ``.pub`` beside each, and ``other``, which nobody uses."""
    place = tmp_path_factory.mktemp("keys")
    for name in ("age", "other"):
        identity = pyrage.x25519.Identity.generate()
        (place / name).write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
        (place / f"{name}.pub").write_text(f"# the legal team\n\n{identity.to_public()}\n")
    for name, kind in (("ed", ["ed25519"]), ("rsa", ["rsa", "-b", "2048"])):
        key = ["ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", "lena@example.com", "-f", str(place / name)]
        subprocess.run(key, check=True)
    locked = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "horse", "-f", str(place / "locked")]
    subprocess.run(locked, check=True)
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``case``, a finished move of three messages out of an mbox beside it."""
    place = tmp_path_factory.mktemp("finished")
    line = b"From x@example.com Tue Jan 13 09:00:00 2026\n"
    mail = [body(number, SUBJECT if number < 3 else f"Minutes {number}", START) for number in range(14)]
    (place / "mail.mbox").write_bytes(b"".join(line + each + b"\n" for each in mail))
    move = ["move", place / "mail.mbox", "--subject", SUBJECT, "--case", place / "case", "--jobs", "1", "--yes"]
    kinds = [option for kind in ("mbox", "eml", "pst") for option in ("--evidence", kind)]
    done = excise_cli(*move, "--expect-matches", "3", *kinds)
    assert done.code == 0, done.text
    return place


@pytest.fixture
def case(finished: Path, tmp_path: Path) -> Path:
    """A copy of the case."""
    return Path(shutil.copytree(finished / "case", tmp_path / "case"))


@pytest.fixture
def encrypted(case: Path, keys: Path) -> Path:
    """The case, encrypted to the three kinds of key and closed."""
    to = [option for name in ("age", "ed", "rsa") for option in ("--recipient", keys / f"{name}.pub")]
    done = excise_cli("close", case, "--statement", "for legal", *to)
    assert done.code == 0, done.text
    return case


def files(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` but the lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def verify(case: Path, *options: str | Path) -> Done:
    """``excise verify``."""
    return excise_cli("verify", case, *options)


@needs_age
@pytest.mark.parametrize("name", ["age", "ed", "rsa"])
def test_the_public_age_opens_every_file_to_what_was_sealed(encrypted: Path, keys: Path, name: str) -> None:
    bag = encrypted / "bag-0001"
    sealed = [line.split("  ") for line in (bag / "plain/manifest-sha256.txt").read_text().splitlines()]
    opened = 0
    for digest, path in sealed:
        if not path.startswith("data/evidence/"):
            assert file_sha256(bag / path)[0] == digest
            continue
        assert not (bag / path).exists()
        age = ["age", "-d", "-i", str(keys / name), str(bag / f"{path}.age")]
        assert sha256(subprocess.run(age, capture_output=True, check=True).stdout).hexdigest() == digest
        opened += 1
    assert opened == 6


def test_nothing_of_the_messages_is_left_in_the_clear(encrypted: Path) -> None:
    assert not list(encrypted.rglob("*.partial"))
    readable = [name for name, data in files(encrypted).items() if b"the list is attached" in data]
    assert not readable
    assert all(path.stat().st_mode & 0o077 == 0 for path in encrypted.rglob("*"))


def test_the_log_tells_who_can_open_it_without_their_addresses(encrypted: Path, keys: Path) -> None:
    records = [json.loads(line) for line in (encrypted / "audit.jsonl").read_text().splitlines()]
    kinds = [record["type"] for record in records]
    assert kinds[-3:] == ["bag-encrypted", "plaintext-removed", "case-closed"]
    told = records[-3]
    public = [(keys / f"{name}.pub").read_text().split() for name in ("ed", "rsa")]
    assert told["recipients"][1:] == [" ".join(words[:2]) for words in public]
    assert told["recipients"][0].startswith("age1")
    assert "lena@" not in (encrypted / "audit.jsonl").read_text()
    sealed = next(record for record in records if record["type"] == "bag-sealed")
    assert told["plain_tagmanifest_sha256"] == sealed["tagmanifest_sha256"]
    assert records[-1]["seals"] == {"bag-0001": told["tagmanifest_sha256"]}


def test_both_verifiers_check_what_needs_no_key(encrypted: Path) -> None:
    for found in (excise(encrypted), alone(encrypted)):
        assert (found.code, found.wrong) == (0, [])
        assert any("what is encrypted" in line and "--identity" in line for line in found.unchecked)


@pytest.mark.parametrize("name", ["age", "ed", "rsa"])
def test_with_a_key_all_of_it_is_checked(encrypted: Path, keys: Path, name: str) -> None:
    before = files(encrypted)
    done = verify(encrypted, "--identity", keys / name)
    assert (done.code, "each file was opened and read" in done.out) == (0, True), done.text
    if shutil.which("age"):
        found = alone(encrypted, "--identity", keys / name)
        assert (found.code, found.wrong) == (0, [])
        assert any("each file was opened and read" in line for line in found.holds)
    assert files(encrypted) == before


def test_a_key_that_opens_nothing_is_told(encrypted: Path, keys: Path, tmp_path: Path) -> None:
    for command in (["verify", encrypted], ["decrypt", encrypted, "--output", tmp_path / "out"]):
        done = excise_cli(*command, "--identity", keys / "other")
        assert (done.code, "items.jsonl.age" in done.err, "wrong-key" in done.err) == (2, True, True), done.text
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
    if shutil.which("age"):
        found = alone(encrypted, "--identity", keys / "other")
        assert (found.code, found.names("no identity matched"), found.names("items.jsonl.age")) == (2, True, True)


def test_a_key_with_a_passphrase(case: Path, keys: Path) -> None:
    assert excise_cli("encrypt", case, "--recipient", keys / "locked.pub").code == 0
    given = {"EXCISE_IDENTITY_PASSPHRASE": "horse"}
    assert excise_cli("verify", case, "--identity", keys / "locked", environment=given).code == 0
    wrong = excise_cli("verify", case, "--identity", keys / "locked", environment={"EXCISE_IDENTITY_PASSPHRASE": "cow"})
    assert (wrong.code, "the passphrase does not open it" in wrong.err) == (2, True)
    none = excise_cli("verify", case, "--identity", keys / "locked", environment={"EXCISE_IDENTITY_PASSPHRASE": ""})
    assert (none.code, "EXCISE_IDENTITY_PASSPHRASE" in none.err) == (2, True)


# Damage


def _age_files(case: Path) -> list[Path]:
    return sorted(case.rglob("*.age"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _seal_anew(case: Path) -> None:
    """Make manifests and records fit what is there, as somebody who can write all of the case would."""
    bag = case / "bag-0001"
    table = list(csv.DictReader((bag / "encrypted.csv").read_text().splitlines()))
    for row in table:
        path = bag / f"{row['file']}.age"
        if path.exists():
            digest, size = file_sha256(path)
            row["sha256"], row["size"] = digest, str(size)
    out = "\r\n".join([",".join(table[0]), *(",".join(row.values()) for row in table)]) + "\r\n"
    names = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt")
    tags = {f"plain/{name}": (bag / "plain" / name).read_bytes() for name in names} | {"encrypted.csv": out.encode()}
    info = dict(line.split(": ", 1) for line in (bag / "bag-info.txt").read_text().splitlines())
    kept = {name: info[name] for name in ("External-Identifier", "Internal-Sender-Identifier")}
    digest = seal(bag, kept, tags)
    lines, head = [], "0" * 64
    for record in map(json.loads, (case / "audit.jsonl").read_text().splitlines()):
        if record["type"] == "bag-encrypted":
            record["tagmanifest_sha256"] = digest
        if record["type"] == "case-closed":
            record["seals"] = {"bag-0001": digest}
        lines.append(canonical_json({**record, "prev": head}))
        head = sha256(lines[-1]).hexdigest()
    (case / "audit.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (case / "audit.head").write_text(f"{head}\n")


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink], ids=["flipped", "cut", "gone"])
def test_damage_is_named_with_its_file_without_a_key(encrypted: Path, damage: object) -> None:
    for path in _age_files(encrypted):
        kept = path.read_bytes()
        damage(path)  # type: ignore[operator]
        for found in (excise(encrypted), alone(encrypted)):
            assert found.code == 5 and found.names(path.name), (path, found.wrong)
        path.write_bytes(kept)


@pytest.mark.parametrize("damage", [_flip, _cut], ids=["flipped", "cut"])
def test_damage_under_new_manifests_is_named_with_a_key(encrypted: Path, keys: Path, damage: object) -> None:
    path = encrypted / "bag-0001/data/evidence/00001/part-001/messages.mbox.age"
    damage(path)  # type: ignore[operator]
    _seal_anew(encrypted)
    assert excise(encrypted).wrong == []
    done = verify(encrypted, "--identity", keys / "ed")
    assert (done.code, "messages.mbox.age: the encrypted file is damaged or cut" in done.out) == (5, True), done.text
    if shutil.which("age"):
        found = alone(encrypted, "--identity", keys / "ed")
        assert found.code == 5 and found.names("messages.mbox.age: age: error: failed to decrypt"), found.wrong


def _with_other_content(path: Path, keys: list[str]) -> None:
    recipients = [(pyrage.ssh if key.startswith("ssh-") else pyrage.x25519).Recipient.from_str(key) for key in keys]
    path.write_bytes(pyrage.encrypt(b"something else\n", [*recipients, pyrage.x25519.Identity.generate().to_public()]))


def test_other_content_under_new_manifests_is_named_with_a_key(encrypted: Path, keys: Path) -> None:
    path = encrypted / "bag-0001/data/evidence/00001/part-001/messages.mbox.age"
    records = [json.loads(line) for line in (encrypted / "audit.jsonl").read_text().splitlines()]
    _with_other_content(path, records[-3]["recipients"])
    _seal_anew(encrypted)
    done = verify(encrypted, "--identity", keys / "rsa")
    assert (done.code, "messages.mbox.age: holds something else than what was sealed" in done.out) == (5, True)
    if shutil.which("age"):
        found = alone(encrypted, "--identity", keys / "rsa")
        assert found.code == 5 and found.names("messages.mbox.age: holds something else"), found.wrong


@pytest.mark.parametrize("left", [0, 1, 2], ids=["age", "ed25519", "rsa"])
def test_a_missing_recipient_is_named_without_a_key(encrypted: Path, left: int) -> None:
    path = encrypted / "bag-0001/data/evidence/00001/part-001/messages.mbox.age"
    records = [json.loads(line) for line in (encrypted / "audit.jsonl").read_text().splitlines()]
    recipients = list(records[-3]["recipients"])
    del recipients[left]
    _with_other_content(path, recipients)
    _seal_anew(encrypted)
    for found in (excise(encrypted), alone(encrypted)):
        assert found.code == 5 and found.names("messages.mbox.age: its header does not name just"), found.wrong


@pytest.mark.parametrize("name", ["plain/manifest-sha256.txt", "plain/tagmanifest-sha256.txt", "encrypted.csv"])
def test_a_change_of_what_binds_it_to_the_seal_is_named(encrypted: Path, name: str) -> None:
    path = encrypted / "bag-0001" / name
    data = path.read_bytes()
    path.write_bytes(data.replace(b"messages.mbox", b"messages.mbux").replace(b"bagit.txt", b"bagjt.txt"))
    assert path.read_bytes() != data
    for found in (excise(encrypted), alone(encrypted)):
        assert found.code == 5 and found.names(name.rpartition("/")[2]), found.wrong


def test_encrypted_files_that_changed_places_are_named(encrypted: Path, keys: Path) -> None:
    one, other = _age_files(encrypted)[:2]
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    _seal_anew(encrypted)
    done = verify(encrypted, "--identity", keys / "age")
    assert done.code == 5 and one.name in done.out and other.name in done.out


def test_an_encryption_that_no_record_tells_of_is_named(case: Path, keys: Path) -> None:
    assert excise_cli("encrypt", case, "--recipient", keys / "age.pub").code == 0
    lines = (case / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (case / "audit.jsonl").write_bytes(b"".join(lines[:-2]))
    (case / "audit.head").write_text(f"{sha256(lines[-3].rstrip()).hexdigest()}\n")
    for found in (excise(case), alone(case)):
        assert found.code == 5 and found.names("the audit log tells of no encryption of this bag"), found.wrong


# Opening


def test_a_copy_in_the_clear_is_the_case_as_it_was_sealed(
    finished: Path, encrypted: Path, keys: Path, tmp_path: Path
) -> None:
    before = files(encrypted)
    log = tmp_path / "access.jsonl"
    done = excise_cli(
        *("decrypt", encrypted, "--identity", keys / "ed", "--output", tmp_path / "out"),
        environment={"EXCISE_ACCESS_LOG": str(log)},
    )
    assert done.code == 0, done.text
    assert files(tmp_path / "out/bag-0001") == files(finished / "case/bag-0001")
    assert files(encrypted) == before
    told = json.loads(log.read_text().splitlines()[-1])
    assert (told["type"], told["case"]) == (
        "evidence-decrypted",
        json.loads((encrypted / "case.json").read_text())["id"],
    )
    for found in (excise(tmp_path / "out"), alone(tmp_path / "out")):
        assert (found.code, found.wrong) == (0, [])
    assert any("in the clear" in line for line in excise(tmp_path / "out").unchecked)


def test_s28_a_copy_in_the_clear_is_not_put_into_a_case(encrypted: Path, keys: Path) -> None:
    done = excise_cli("decrypt", encrypted, "--identity", keys / "ed", "--output", encrypted / "plain")
    assert (done.code, "S28" in done.err) == (3, True)


def test_s21_restore_from_encrypted_evidence(finished: Path, case: Path, keys: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.mbox"
    target.write_bytes((finished / "mail.mbox").read_bytes())
    assert b"the list is attached (1)" not in target.read_bytes()
    assert excise_cli("encrypt", case, "--recipient", keys / "age.pub").code == 0
    refused = excise_cli("restore", case, "--into", target, "--yes", "--jobs", "1")
    assert (refused.code, "evidence-encrypted" in refused.err) == (2, True), refused.text
    wrong = excise_cli("restore", case, "--into", target, "--yes", "--jobs", "1", "--identity", keys / "other")
    assert (wrong.code, "wrong-key" in wrong.err) == (2, True), wrong.text
    done = excise_cli("restore", case, "--into", target, "--yes", "--jobs", "1", "--identity", keys / "age")
    assert done.code == 0, done.text
    assert all(f"the list is attached ({number})".encode() in target.read_bytes() for number in range(3))
    assert not list(case.rglob("*.partial"))
    assert not [name for name, data in files(case).items() if b"the list is attached" in data]
    for found in (excise(case), alone(case)):
        assert (found.code, found.wrong) == (0, [])
    records = [json.loads(line) for line in (case / "audit.jsonl").read_text().splitlines()]
    assert [record["why"] for record in records if record["type"] == "evidence-opened"] == ["restore", "restore"]


def test_what_reads_messages_needs_a_key(case: Path, keys: Path, tmp_path: Path) -> None:
    assert excise_cli("encrypt", case, "--recipient", keys / "age.pub").code == 0
    target = tmp_path / "target.mbox"
    target.write_bytes(b"")
    for words in (
        ("loadfile", case, "--output", tmp_path / "production"),
        ("review", case, "--show", "00001-000001"),
        ("sweep", case, "--with-replies", "--yes", "--max-total", "9", "--until-clean", "1"),
        ("import", case, "--into", f"mbox:{target}", "--case", tmp_path / "new", "--yes"),
    ):
        done = excise_cli(*words)
        assert (done.code, "evidence-encrypted" in done.err) == (2, True), (words, done.text)
    done = excise_cli("loadfile", case, "--output", tmp_path / "made", "--identity", keys / "age")
    assert (done.code, "6 documents of 3 messages" in done.out) == (0, True), done.text
    assert excise_cli("report", case, "--out", tmp_path / "report").code == 0
    custody = (tmp_path / "report" / "custody.md").read_text()
    assert "| messages preserved | 3 |" in custody and "Evidence encrypted" in custody


# What is asked for


def test_what_is_no_public_key_is_refused_before_anything_is_written(case: Path, keys: Path, tmp_path: Path) -> None:
    before = files(case)
    (tmp_path / "empty").write_text("# nobody\n")
    (tmp_path / "ecdsa").write_text("ecdsa-sha2-nistp256 AAAA lena\n")
    typed = (keys / "age.pub").read_text().split()[-1]
    secret = (keys / "age").read_text().split()[-1]
    for given, said in (
        (tmp_path / "empty", "found none"),
        (tmp_path / "ecdsa", "no public key that age can encrypt to"),
        (keys / "age", "this is a private key"),
        (keys / "ed", "this is a private key"),
        (secret, "failed"),
        (f"{typed[:-1]}q" if typed[-1] != "q" else f"{typed[:-1]}p", "not a public key"),
        ("ssh-ed25519 AAAA", "not a public key"),
        (tmp_path / "none", "failed"),
    ):
        for command in ("encrypt", "close"):
            done = excise_cli(command, case, "--recipient", given)
            assert done.code in (2, 6) and said in done.err, (given, done.text)
    assert (excise_cli("encrypt", case).code, files(case)) == (2, before)


def test_evidence_is_encrypted_once(case: Path, keys: Path) -> None:
    assert excise_cli("encrypt", case, "--recipient", keys / "age.pub").code == 0
    before = files(case)
    again = excise_cli("encrypt", case, "--recipient", keys / "other.pub")
    assert (again.code, "Nothing to encrypt" in again.out) == (0, True)
    assert files(case) == before


def test_a_policy_demands_recipients(case: Path, keys: Path, tmp_path: Path) -> None:
    demanded = (keys / "age.pub").read_text().split()[-1]
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[evidence]\nrecipients = ["{demanded}"]\n')
    done = excise_cli("close", case, "--policy", policy, "--recipient", keys / "ed.pub")
    assert done.code == 0, done.text
    records = [json.loads(line) for line in (case / "audit.jsonl").read_text().splitlines()]
    assert demanded in records[-3]["recipients"] and len(records[-3]["recipients"]) == 2
    assert excise_cli("verify", case, "--identity", keys / "age").code == 0


def test_a_policy_names_the_line_of_what_is_no_recipient(case: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[evidence]\nrecipients = [\n  "age1nobody",\n]\n')
    done = excise_cli("close", case, "--policy", policy)
    assert (done.code, f"{policy}:" in done.err, "no public key" in done.err) == (2, True, True), done.text


def test_status_tells_what_is_closed_and_encrypted(case: Path, keys: Path) -> None:
    before = excise_cli("status", case)
    assert "Closed" not in before.out and "encrypted" not in before.out
    assert excise_cli("close", case, "--recipient", keys / "age.pub", "--statement", "for legal").code == 0
    done = excise_cli("status", case)
    assert "for legal; nothing can be added" in done.out and "bag sealed, evidence encrypted" in done.out
    said = [json.loads(line) for line in excise_cli("status", case, "--json").out.splitlines()][-1]["summary"]
    assert (said["closed"], said["encrypted"]) == (True, True)


@pytest.fixture(autouse=True)
def _own_access_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EXCISE_ACCESS_LOG", str(tmp_path / "own-access.jsonl"))
    yield


def test_the_one_pst_of_a_case_is_encrypted_with_it(finished: Path, keys: Path, tmp_path: Path) -> None:
    case = tmp_path / "one"
    copy = ["copy", finished / "mail.mbox", "--subject-contains", "Minutes", "--case", case, "--pst-per", "case"]
    assert excise_cli(*copy).code == 0
    assert excise_cli("close", case, "--recipient", keys / "age.pub").code == 0
    assert excise_cli("custody", case, "--output", tmp_path / "papers").code == 0
    custody = (tmp_path / "papers/custody.md").read_text()
    assert "evidence/case/part-001/messages.pst.age" in custody
    done = verify(case)
    assert (done.code, "the PST of plan 1" in done.out) == (0, True), done.text
    assert verify(case, "--identity", keys / "age").code == 0
    path = case / "bag-0001/data/evidence/case/part-001/messages.pst.age"
    _flip(path)
    _seal_anew(case)
    done = verify(case, "--identity", keys / "age")
    assert (done.code, str(path) in done.out) == (5, True), done.text


def test_evidence_that_a_killed_command_left_in_the_clear_is_told_and_removed(case: Path, keys: Path) -> None:
    assert excise_cli("encrypt", case, "--recipient", keys / "age.pub").code == 0
    left = case / "opened.partial" / "bag-0001" / "data"
    left.mkdir(parents=True)
    (left / "messages.mbox").write_text("a message\n")
    said = [line for line in excise(case).unchecked if line.startswith("opened.partial")]
    assert said and "killed command" in said[0]
    assert excise_cli("encrypt", case).code == 0
    assert not left.exists() and not [line for line in excise(case).unchecked if "opened.partial" in line]


def test_a_policy_says_who_may_encrypt_and_open(case: Path, keys: Path, tmp_path: Path) -> None:
    strict, place = tmp_path / "policy.toml", tmp_path / "config" / "excise"
    strict.write_text('operators = ["somebody-else"]\n')
    done = excise_cli("encrypt", case, "--policy", strict, "--recipient", keys / "age.pub")
    assert (done.code, "operators" in done.err) == (3, True), done.text
    assert excise_cli("encrypt", case, "--recipient", keys / "age.pub").code == 0
    place.mkdir(parents=True)
    (place / "policy.toml").write_text('operators = ["somebody-else"]\n')
    for command in (("decrypt", case, "--output", tmp_path / "out"), ("loadfile", case, "--output", tmp_path / "made")):
        environment = {"XDG_CONFIG_HOME": str(place.parent)}
        done = excise_cli(*command, "--identity", keys / "age", environment=environment)
        assert (done.code, "operators" in done.err) == (3, True), done.text
