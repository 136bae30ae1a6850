"""``excise report``: what it says of a case at each stage, what it keeps to itself, and hostile input."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli.command import Done, environment, excise_cli
from engine.mail_files import WORM, message, stores, write_eml, write_mbox
from excise import api
from excise.case.chain import read_chain
from excise.case.layout import Case
from excise.core.errors import DoesNotVerify
from excise.report.arrivals import Arrivals
from report.stage import SUBJECT, body, maildir, many, plan, plan_hash

VOID = {"meta", "br"}


class Structure(HTMLParser):
    """Tags, attributes and rows of a page; whether each tag was closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()


def page(case: Path) -> str:
    return (case / "report.html").read_text()


def row(case: Path, name: str) -> list[str]:
    """The row of the mailbox whose name ends so."""
    (found,) = [row for row in Structure(page(case)).rows if row and row[0].endswith(name) and len(row) == 11]
    return found


def report(case: Path, *options: str | Path) -> Done:
    done = excise_cli("report", case, *options)
    assert done.code == 0, done.text
    return done


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return stores(tmp_path / "mail")


@pytest.fixture
def case(mail: Path, tmp_path: Path) -> Path:
    """A plan to move six messages."""
    place = tmp_path / "case"
    done = excise_cli(
        *("plan", "move", mail, "--subject", WORM, "--case", place, "--ticket", "T-<9>", "--reason", "a & b"),
        *("--operator", "Ada", "--jobs", "1"),
    )
    assert done.code == 0, done.text
    return place


def run(case: Path) -> None:
    done = excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1")
    assert done.code == 0, done.text


def test_a_planned_case_says_what_was_asked_and_that_nothing_was_done(case: Path) -> None:
    report(case)
    text = page(case)
    assert "T-&lt;9&gt;" in text
    assert "a &amp; b" in text
    assert "Ada" in text
    assert "Planned, not run" in text
    assert f"subject is &#34;{WORM}&#34;" in text
    assert plan_hash(case) in text
    assert row(case, "anna.mbox")[1:7] == ["yes", "8", "3", "0", "0", "3"]
    assert row(case, "dora.mbox")[1:7] == ["yes", "3", "0", "0", "0", "0"]


def test_a_finished_case_says_what_became_of_it_and_how_that_is_proved(case: Path) -> None:
    run(case)
    report(case)
    text = page(case)
    assert "Run to its end" in text
    assert row(case, "anna.mbox")[1:7] == ["yes", "8", "3", "3", "0", "0"]
    assert re.search(r"3 of 3</span>\s*of them every removed message was looked for", text)
    audit = read_chain(case / "audit.jsonl").records
    assert next(r["tagmanifest_sha256"] for r in audit if r["type"] == "bag-sealed") in text
    assert [record["type"] for record in audit[-2:]] == ["report-written", "custody-written"]
    assert excise_cli("verify", case).code == 0


def test_who_had_read_replied_or_forwarded_is_what_the_marks_said_when_it_was_fetched(tmp_path: Path) -> None:
    from report.stage import START

    mail, case = tmp_path / "mail", tmp_path / "case"
    flags = ["S", "RS", "PS", ""]
    maildir(mail / "ben", {"": [(body(n, SUBJECT, START), flags[n]) for n in range(4)]})
    write_eml(mail / "carla", [message(9, SUBJECT)])
    assert plan(mail, case, "--max-share", "100").code == 0
    report(case)
    assert row(case, "ben")[7:10] == ["3", "1", "1"]
    assert row(case, "carla/inbox")[7:10] == ["–", "–", "–"]
    unread = next((mail / "ben/cur").glob("*M0P1*"))
    unread.rename(unread.with_name(unread.name.replace(":2,S", ":2,RS")))
    run(case)
    report(case)
    assert row(case, "ben")[7:10] == ["3", "2", "1"]


def test_an_interrupted_case_says_so_and_a_restore_has_a_part_of_its_own(case: Path, mail: Path) -> None:
    run(case)
    assert excise_cli("restore", case, "--yes", "--jobs", "1").code == 0
    report(case)
    text = page(case)
    assert "Plan 1: move" in text
    assert "Plan 2: restore" in text
    with api.open_case(case) as work:
        cut = [n for n, r in enumerate(work.audit.records) if r["type"] == "run-started" and r["plan"] == 2]
    lines = (case / "audit.jsonl").read_bytes().splitlines(keepends=True)
    (case / "audit.jsonl").write_bytes(b"".join(lines[: cut[0] + 1]))
    shutil.rmtree(case / "bag-0002")
    for journal in case.glob("units/*/journal.jsonl"):
        if int(journal.parent.name) > 4:
            journal.unlink()
    report(case)
    assert "Interrupted, or still running: 6 items are open" in page(case)


def test_what_failed_and_what_was_not_searched_stands_first_with_its_reason(tmp_path: Path) -> None:
    mail, case = tmp_path / "mail", tmp_path / "case"
    many(mail, 60)
    assert plan(mail, case, "--max-share", "100").code == 7
    gone = sorted(mail.glob("*.mbox"))[3]
    write_mbox(gone, [message(1, "all new")])
    excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1", "--quiet")
    excise_cli("resume", case, "--finish", "--jobs", "1", "--quiet")
    report(case)
    rows = [row for row in Structure(page(case)).rows if len(row) == 11][1:]
    assert len(rows) == 60
    assert rows[0][1] == "no"
    assert "no known format" in rows[0][10]
    rest = [int(row[3]) for row in rows[2:]]
    assert rest == sorted(rest, reverse=True)
    assert int(rows[1][5]) > 0
    assert rows[1][0].endswith(gone.name)
    with (case / "scope.csv").open(newline="") as stream:
        assert [line["searched"] for line in csv.DictReader(stream)].count("no") == 1


def test_s23_subjects_and_senders_only_where_they_are_asked_for(tmp_path: Path) -> None:
    mail, case = tmp_path / "mail", tmp_path / "case"
    mail.mkdir()
    write_mbox(mail / "a.mbox", [message(1, "zqx of Eva's illness", sender="eva@example.net")] * 2)
    write_eml(mail / "zb", [message(2, "zqx Eva", sender="eva@example.net")])
    (mail / "zb/inbox/000.eml").rename(mail / "zb/inbox/Eva's illness.eml")
    done = excise_cli("plan", "move", mail, "--subject-contains", "zqx", "--case", case, "--max-share", "100")
    assert done.code == 0, done.text
    (mail / "zb/inbox/Eva's illness.eml").write_bytes(message(2, "zqx changed"))
    excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1")
    report(case)
    assert "Items that did not end as planned" in page(case)
    for private in ("illness", "eva@"):
        assert private not in page(case)
    report(case, "--reveal")
    assert "zqx of Eva&#39;s illness" in page(case)
    assert "eva@example.net" in page(case)
    assert [r["revealed"] for r in read_chain(case / "audit.jsonl").records if r["type"] == "report-written"] == [
        False,
        True,
    ]


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% for %}",
    "zqx \x1b[31m \u202egnp.exe \u200b \x00 \ud800",
    "</style></svg></table><b>",
    "&lt;i&gt; &amp;",
)


def test_s27_nothing_from_mail_or_case_is_markup(tmp_path: Path) -> None:
    mail, case = tmp_path / "mail", tmp_path / "case"
    for number, text in enumerate(HOSTILE):
        name = text.encode("utf-8", "surrogateescape" if "\ud800" not in text else "replace")
        folder = "." + name.decode().replace("/", "_").replace("\0", "").replace(".", "_")
        maildir(mail / f"<b>{number}", {"": [], folder: [(message(number, f"zqx {text!r}"), "S")]})
    done = excise_cli(
        *("plan", "move", mail, "--subject-contains", "zqx", "--case", case, "--max-share", "100"),
        *("--ticket", HOSTILE[0], "--reason", HOSTILE[3].replace("\0", ""), "--operator", HOSTILE[4]),
    )
    assert done.code == 0, done.text
    report(case, "--reveal")
    found = Structure(page(case))
    assert found.open == []
    assert not {tag for tag, _ in found.tags} & {"script", "img", "b onerror", "iframe", "object", "link", "a"}
    assert not [value for _, attributes in found.tags for key, value in attributes.items() if key.startswith("on")]
    assert "49" not in re.sub(r"[0-9a-f]{64}", "", found.rows[-1][0])
    assert "7 * 7" in page(case)
    for char in "\x1b\u202e\u200b\x00":
        assert char not in page(case)


def test_s27_a_case_that_lies_is_refused_and_leaves_no_page(case: Path) -> None:
    header = case / "plan/0001/header.json"
    facts = json.loads(header.read_text())
    for change in ({"totals": 5}, {"caps": "x"}, {"scope": []}, {"rule": {"a": 1}, "totals": None}):
        header.write_text(json.dumps(facts | change))
        with api.open_case(case) as work:
            digest = api.Case(case) and plan_hash(case)
            work.audit.append({"type": "plan-made", "plan": 1, "plan_sha256": digest, "matches": 6})
        with pytest.raises(DoesNotVerify):
            api.report(case)
    header.write_text(json.dumps(facts | {"made": "never"}))
    assert excise_cli("report", case).code == 5
    assert sorted(path.name for path in case.glob("*report*")) == []


def test_s06_a_plan_that_was_changed_gives_no_report(case: Path) -> None:
    lines = case / "plan/0001/matches/00001.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b"anna", b"anne").replace(b"invoice", b"Invoice"))
    assert excise_cli("report", case).code == 5
    assert not (case / "report.html").exists()


def test_out_only_reads_the_case(case: Path, tmp_path: Path) -> None:
    run(case)
    before = {path: path.read_bytes() for path in case.rglob("*") if path.is_file()}
    report(case, "--out", tmp_path / "out")
    custody = {"custody.md", "certificate-902-14.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "scope.csv", "outcome.csv", *custody}
    report(case, "--out", tmp_path / "less", "--no-custody")
    assert {path.name for path in (tmp_path / "less").iterdir()} == {"report.html", "scope.csv", "outcome.csv"}
    assert {path: path.read_bytes() for path in case.rglob("*") if path.is_file()} == before
    assert (tmp_path / "out/outcome.csv").read_bytes() == (case / "outcome.csv").read_bytes()


def test_it_writes_the_custody_record_and_where_it_is_asked_the_load_file_too(case: Path, tmp_path: Path) -> None:
    run(case)
    done = report(case, "--load-file", tmp_path / "production")
    assert (case / "custody.md").read_text().startswith("# Chain of custody")
    for name in ("custody.md", "certificate-902-14.md"):
        assert f"Written: {case / name}" in done.out
    assert (tmp_path / "production/loadfile.dat").stat().st_size > 100
    assert f"Written: {tmp_path / 'production/loadfile.dat'}" in done.out
    told = [json.loads(line)["type"] for line in (case / "audit.jsonl").read_text().splitlines()]
    assert told[-3:] == ["report-written", "custody-written", "load-file-written"]
    assert excise_cli("verify", case).code == 0
    assert excise_cli("report", case, "--load-file", case / "production").code == 3


def test_it_works_without_the_library_for_plots_and_says_so(case: Path, tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['pygal'] = None; from excise.cli import main; sys.argv[0] = 'excise'; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "report", str(case)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "excise[report]" in page(case)
    assert "<svg" not in page(case)
    assert ["INBOX", "2"] in Structure(page(case)).rows


def test_a_report_of_a_case_without_a_plan(tmp_path: Path) -> None:
    with api.new_case(tmp_path / "case", (), api.Authorisation(ticket="T")):
        pass
    report(tmp_path / "case")
    assert "its search was interrupted" in page(tmp_path / "case")


def test_arrivals_are_counted_in_few_bins_and_one_forged_time_does_not_hide_the_rest() -> None:
    arrivals = Arrivals()
    for minute in range(240):
        arrivals.add(f"2026-01-13T{8 + minute // 60:02}:{minute % 60:02}:30Z")
    bins = arrivals.bins()
    assert len(bins) <= 41
    assert sum(count for _, count in bins) == 240
    arrivals.add("1970-01-01T00:00:00Z")
    arrivals.add("9999-12-31T23:59:59Z")
    arrivals.add("0001-01-01T00:00:00+14:00")
    arrivals.add(None)
    assert (arrivals.unknown, arrivals.outside()) == (2, 2)
    assert sum(count for _, count in arrivals.bins()) == 240
    wide = Arrivals()
    for year in range(1, 10_000, 7):
        wide.add(f"{year:04}-06-01T00:00:00Z")
    assert len(wide.bins()) <= 41
    assert sum(count for _, count in wide.bins()) + wide.outside() == len(range(1, 10_000, 7))


def test_two_reports_of_one_case_differ_in_their_time_alone(case: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        api.report(case, tmp_path / name)
        texts.append(re.sub(r"Made \S+ \S+ UTC", "", page(tmp_path / name)))
    assert texts[0] == texts[1]
    assert Case(case).id in texts[0]


def test_s23_a_policy_that_forbids_to_reveal_is_kept(case: Path, tmp_path: Path) -> None:
    policy = tmp_path / "excise" / "policy.toml"
    policy.parent.mkdir()
    policy.write_text("reveal = false\n")
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    done = excise_cli("report", case, "--reveal", environment=here)
    assert done.code == 3, done.text
    assert "reveal" in done.err
    assert not (case / "report.html").exists()
    assert excise_cli("report", case, environment=here).code == 0
