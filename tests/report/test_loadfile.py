"""Load files: read by readers that know nothing of Excise, families and copies as they are, nothing lost."""

from __future__ import annotations

import csv
import io
import json
import mailbox
import subprocess
from collections import Counter
from email import message_from_bytes, policy
from email.message import EmailMessage
from hashlib import md5, sha256
from pathlib import Path

import pytest

from cli.command import Done, excise_cli
from engine.mail_files import WORM, message, stores, write_mbox
from excise.report.dat import dat_line
from excise.report.loadfile import COLUMNS

FORMULA = '=HYPERLINK("http://example.net","x")'


def mail(number: int, subject: str, *, to: str, attached: int = 0, received: str = "", text: str = "text") -> bytes:
    made = EmailMessage(policy=policy.default.clone(linesep="\n"))
    made["Received"] = f"from a by {received}; Thu, 1 Jan 2026 10:00:00 +0000"
    made["From"], made["To"], made["Subject"] = '"Þóra, E." <thora@example.net>', to, subject
    made["Message-ID"], made["Date"] = f"<{number}@example.net>", "Thu, 1 Jan 2026 10:00:00 +0100"
    made.set_content(f"{text}\nof þ {number}\n")
    for each in range(attached):
        made.add_attachment(b"%d,%d\n" % (number, each), maintype="text", subtype="csv", filename=f"=cmd þ {each}.csv")
    return made.as_bytes()


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Two mailboxes: a mail in both, delivered twice; one with two attachments; a message in a message; a liar."""
    place = tmp_path / "mail"
    place.mkdir()
    inner = EmailMessage(policy=policy.default.clone(linesep="\n"))
    inner["From"], inner["Subject"], inner["Message-ID"] = "a@example.net", f"Fwd {WORM}", "<40@example.net>"
    inner.set_content("see there\n")
    inner.add_attachment(message_from_bytes(mail(41, "Inner", to="x@example.org", attached=1), policy=policy.default))
    to = "ann@example.org, ben@example.org"
    write_mbox(
        place / "ann.mbox",
        [
            mail(1, WORM, to=to, attached=2, received="mx1"),
            mail(2, f"{FORMULA} {WORM}", to=to),
            mail(3, WORM, to=to, text="what it said first"),
            inner.as_bytes(),
        ],
    )
    write_mbox(
        place / "ben.mbox",
        [mail(1, WORM, to=to, attached=2, received="mx2"), mail(3, WORM, to=to, text="what it says now")],
    )
    words = ("copy", place, "--subject-contains", WORM, "--subject", WORM, "--case", tmp_path / "case")
    done = excise_cli(*words, "--evidence", "mbox", "--jobs", "1")
    assert done.code == 0, done.text
    return tmp_path / "case"


def produce(case: Path, *options: str) -> tuple[Path, Done]:
    place = case.parent / "production"
    done = excise_cli("loadfile", case, "--output", place, *options)
    return place, done


def read_dat(place: Path) -> list[dict[str, str]]:
    """The standard library's reader, told of Concordance's delimiters."""
    text = (place / "loadfile.dat").read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\x14", quotechar="þ", strict=True))


def test_a_reader_of_dat_files_reads_it_as_a_reader_of_csv_files_does(case: Path) -> None:
    place, done = produce(case, "--md5")
    assert done.code == 0, done.text
    raw = (place / "loadfile.dat").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf\xc3\xbeBEGDOC\xc3\xbe\x14\xc3\xbeENDDOC\xc3\xbe")
    rows = read_dat(place)
    with (place / "loadfile.csv").open(encoding="utf-8", newline="") as stream:
        others = list(csv.DictReader(stream, strict=True))
    assert tuple(rows[0]) == tuple(others[0]) == COLUMNS
    plain = [{k: v.removeprefix("'") for k, v in row.items()} for row in others]
    assert plain == rows
    assert len(rows) == int(
        json.loads(excise_cli("loadfile", case, "--output", place.parent / "2", "--json").out)["summary"]["documents"]
    )


def test_every_document_has_its_bytes_and_hashes(case: Path) -> None:
    place, _ = produce(case, "--md5")
    for row in read_dat(place):
        content = (place / row["NATIVELINK"]).read_bytes()
        assert (sha256(content).hexdigest(), md5(content, usedforsecurity=False).hexdigest()) == (
            row["SHA256"],
            row["MD5HASH"],
        )
        assert int(row["FILESIZE"]) == len(content)
        assert Path(row["NATIVELINK"]).name == f"{row['BEGDOC']}.{row['FILEEXT']}"
    subprocess.run(["sha256sum", "--check", "--quiet", "manifest-sha256.txt"], cwd=place, check=True)
    listed = {line.split("  ")[1] for line in (place / "manifest-sha256.txt").read_text().splitlines()}
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert there - listed == {"manifest-sha256.txt"}


def test_the_messages_are_the_evidence(case: Path) -> None:
    place, _ = produce(case, "--with-copies")
    rows = [row for row in read_dat(place) if row["DOCTYPE"] == "MESSAGE"]
    natives = Counter((place / row["NATIVELINK"]).read_bytes() for row in rows)
    kept: Counter[bytes] = Counter()
    for path in (case / "bag-0001").rglob("messages.mbox"):
        box = mailbox.mbox(path)
        kept.update(box.get_bytes(key) for key in box.keys())  # noqa: SIM118 - a mailbox iterates over messages
        box.close()
    assert natives == kept


def test_families_are_whole_and_in_order(case: Path) -> None:
    place, _ = produce(case)
    rows = read_dat(place)
    assert [row["BEGDOC"] for row in rows] == [f"EXC{number:08}" for number in range(1, len(rows) + 1)]
    parent = rows[0]
    assert (parent["ATTCOUNT"], parent["BEGATTACH"], parent["ENDATTACH"]) == ("2", "EXC00000001", "EXC00000003")
    assert parent["ATTNAMES"] == "=cmd þ 0.csv; =cmd þ 1.csv"
    for number, child in enumerate(rows[1:3]):
        assert (child["PARENTID"], child["DOCTYPE"], child["FILENAME"]) == (
            parent["BEGDOC"],
            "ATTACHMENT",
            f"=cmd þ {number}.csv",
        )
        assert (child["BEGATTACH"], child["ENDATTACH"]) == (parent["BEGATTACH"], parent["ENDATTACH"])
        assert (place / child["NATIVELINK"]).read_bytes() == b"1,%d\n" % number
        assert child["DATESENT"] == parent["DATESENT"] == "20260101"
    alone = next(row for row in rows if FORMULA in row["SUBJECT"])
    assert (alone["BEGATTACH"], alone["ENDATTACH"], alone["ATTCOUNT"]) == ("", "", "0")
    (attached,) = [row for row in rows if row["FILEEXT"] == "eml" and row["DOCTYPE"] == "ATTACHMENT"]
    assert message_from_bytes((place / attached["NATIVELINK"]).read_bytes())["Message-ID"] == "<41@example.net>"


def test_a_mail_in_two_mailboxes_is_one_document_with_all_custodians(case: Path) -> None:
    place, done = produce(case)
    assert "1 copy" in done.out
    rows = [row for row in read_dat(place) if row["MESSAGEID"] == "<1@example.net>"]
    assert len(rows) == 1
    ann, ben = (str(case.parent / "mail" / f"{name}.mbox") for name in ("ann", "ben"))
    assert (rows[0]["CUSTODIAN"], rows[0]["ALLCUSTODIANS"]) == (ann, f"{ann}; {ben}")
    assert rows[0]["ALLEVIDENCEIDS"] == "00001-000001; 00002-000001"


def test_two_mails_that_say_the_same_message_id_are_two(case: Path) -> None:
    place, _ = produce(case)
    rows = [row for row in read_dat(place) if row["MESSAGEID"] == "<3@example.net>"]
    texts = [(place / row["TEXTLINK"]).read_text().splitlines()[0] for row in rows]
    assert texts == ["what it said first", "what it says now"]
    assert rows[0]["MIH"] == rows[1]["MIH"] == md5(b"<3@example.net>", usedforsecurity=False).hexdigest()


def test_hits_per_term(case: Path) -> None:
    place, _ = produce(case)
    with (place / "hits.csv").open(newline="") as stream:
        found = {row["term"]: [int(row[key]) for key in list(row)[1:]] for row in csv.DictReader(stream)}
    assert found == {f"subject {WORM}": [4, 3, 2], f"subject-contains {WORM}": [6, 5, 2]}
    for row in read_dat(place):
        if row["DOCTYPE"] == "MESSAGE":
            assert f"subject-contains {WORM}" in row["HITS"]


def test_s27_no_cell_of_a_csv_is_a_formula(case: Path) -> None:
    place, _ = produce(case)
    for name in ("loadfile.csv", "hits.csv"):
        with (place / name).open(newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n|%")]
    assert (
        any(cell.startswith("'=HYPERLINK") for cell in cells) or "'=HYPERLINK" in (place / "loadfile.csv").read_text()
    )


def test_values_with_every_delimiter_come_back() -> None:
    value = 'þ\x14®"\r\nend\u2028\x00'
    line = dat_line([value, "b", ["x", "y"], None])
    ((first, *rest),) = csv.reader(io.StringIO(line.decode(), newline=""), delimiter="\x14", quotechar="þ", strict=True)
    assert rest == ["b", "x; y", ""]
    assert first == 'þ\\x14®"®end®\\x00'
    assert line.count(b"\n") == 1


def test_the_audit_log_tells_of_it_and_the_case_still_verifies(case: Path) -> None:
    place, done = produce(case)
    told = json.loads((case / "audit.jsonl").read_bytes().splitlines()[-1])
    assert (told["type"], told["plan"]) == ("load-file-written", 1)
    assert told["sha256"] == sha256((place / "loadfile.dat").read_bytes()).hexdigest()
    assert told["sha256"] in done.out
    assert excise_cli("verify", case).code == 0


def test_evidence_that_does_not_verify_is_not_produced(case: Path) -> None:
    path = next((case / "bag-0001").rglob("messages.mbox"))
    path.write_bytes(path.read_bytes().replace(b"said first", b"said later"))
    place, done = produce(case)
    assert done.code == 5
    assert not place.exists()


@pytest.mark.parametrize("kind", ["full", "in the case", "no run", "prefix"])
def test_what_cannot_be_is_refused(kind: str, case: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    expected = 2
    options: list[str] = []
    if kind == "full":
        place.mkdir()
        (place / "file").write_text("x")
    elif kind == "in the case":
        place, expected = case / "place", 3
    elif kind == "prefix":
        options = ["--prefix", "../x"]
    else:
        case = tmp_path / "planned"
        words = ("plan", "copy", stores(tmp_path / "more"), "--subject", WORM, "--case", case)
        assert excise_cli(*words).code == 0
    assert excise_cli("loadfile", case, "--output", place, *options).code == expected


def test_evidence_in_a_pst_alone_is_produced_too(tmp_path: Path) -> None:
    place = tmp_path / "mail"
    place.mkdir()
    write_mbox(place / "ann.mbox", [message(1, WORM), message(2, WORM)])
    words = ("copy", place, "--subject", WORM, "--case", tmp_path / "case", "--evidence", "pst")
    assert excise_cli(*words).code == 0
    made, done = produce(tmp_path / "case")
    assert done.code == 0, done.text
    with next((tmp_path / "case").rglob("items.csv")).open(newline="") as stream:
        kept = [row["sha256"] for row in csv.DictReader(stream)]
    assert [sha256((made / row["NATIVELINK"]).read_bytes()).hexdigest() for row in read_dat(made)] == kept
    assert len(kept) == 2
