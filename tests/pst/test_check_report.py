"""What a report keeps and what it says of the rest."""

from __future__ import annotations

import io

import excise.pst
from excise.pst.check.report import ERROR, NOTE, WARNING, Report
from excise.pst.disk.damage import Damage, DamageLog
from pst.builder import mailbox, nid_of, row


def damage(number: int) -> Damage:
    return Damage("ndb", "block", "dwCRC", f"block {number}", -1, "one", "another")


def test_what_is_not_listed_is_counted_and_told() -> None:
    report = Report("a.pst", "Unicode", limit=3)
    for number in range(5):
        report.add(NOTE, damage(number))
        report.add(NOTE, damage(0))
    assert (len(report.findings), report.counts[NOTE], report.unlisted) == (3, 5, 2)
    assert "3 findings are listed, 2 more are not." in report.text().splitlines()
    report.add(ERROR, damage(9))
    assert report.findings[-1].grade == ERROR
    assert report.text().splitlines()[1].startswith("error:")


def test_nothing_is_said_where_all_is_listed() -> None:
    report = Report("a.pst", "Unicode", limit=3)
    for number in range(3):
        report.add(WARNING, damage(number))
    assert report.unlisted == 0
    assert "listed" not in report.text()


def test_what_a_log_had_no_room_for_counts() -> None:
    log = DamageLog(limit=2)
    for number in range(5):
        log.add(damage(number))
    report = Report("a.pst", "Unicode")
    report.add_log(ERROR, log)
    assert (len(report.findings), report.counts[ERROR], report.unlisted) == (2, 5, 3)


def test_more_damage_than_a_file_keeps_in_its_log() -> None:
    rows = {nid_of(number): row(nid_of(number)) for number in range(10_050)}
    data = mailbox(rows=rows).build()
    with excise.pst.open(io.BytesIO(data)) as pst:
        for folder in pst.folders():
            assert not [item for item in folder.messages() if hasattr(item, "properties")]
        assert len(pst.damage) == 10_000
        assert pst.log.dropped >= 50
    report = excise.pst.check(io.BytesIO(data))
    assert report.counts[ERROR] >= 10_050
    assert sum(each.grade == ERROR for each in report.findings) == 10_000
    assert report.unlisted == report.counts.total() - len(report.findings) >= 50
