"""``excise check`` as a person and a script see it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.command import excise_cli
from pst.builder import mailbox, nid_of, row
from stores.pst_samples import FILES, needs_samples

SAMPLES = {path.name: path for path in FILES}


def copy(name: str, tmp_path: Path) -> Path:
    path = tmp_path / name
    shutil.copyfile(SAMPLES[name], path)
    path.chmod(0o600)
    return path


@needs_samples
def test_a_sound_pst() -> None:
    done = excise_cli("check", SAMPLES["Empty.pst"])
    assert done.code == 0, done.text
    assert "nothing is wrong" in done.out and "Outlook" in done.out.splitlines()[-1]


@pytest.mark.parametrize("name", ["empty.pst", "empty"])
def test_a_file_of_no_bytes_is_called_so(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.touch()
    for command in (["check", path], ["search", path, "--subject", "x"], ["mailboxes", f"pst:{path}"]):
        done = excise_cli(*command)
        assert done.code == 7, done.text
        assert str(path) in done.text and "an empty file (0 bytes)" in done.text


@needs_samples
def test_a_broken_rule_is_a_warning() -> None:
    done = excise_cli("check", "--json", SAMPLES["submessage.pst"])
    assert done.code == 7, done.text
    finding, summary = done.lines()
    assert finding["layer"] == "messaging" and finding["severity"] == "warning" and "0x0e08" in finding["what"]
    counts = {"errors": 0, "warnings": 1, "notes": 0, "listed": 1}
    assert summary == {"summary": {"file": str(SAMPLES["submessage.pst"]), **counts}}


@needs_samples
def test_one_wrong_byte_in_a_pst_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = copy("outlook2019.pst", tmp_path)
    data = bytearray(path.read_bytes())
    at = int.from_bytes(data[240:248], "little")  # ROOT.BREFBBT.ib, [MS-PST] 2.2.2.5
    data[at + 4] ^= 1
    path.write_bytes(data)
    done = excise_cli("check", "--json", path)
    assert done.code == 7, done.text
    assert done.lines()[-1]["summary"]["errors"] >= 1
    assert any(at <= (line.get("offset") or -1) < at + 512 for line in done.lines()[:-1]), done.out
    assert path.read_bytes() == data


@needs_samples
@pytest.mark.parametrize("size", [4, 300, 600, 300_000])
def test_a_pst_that_was_cut_short(size: int, tmp_path: Path) -> None:
    path = copy("outlook2019.pst", tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    done = excise_cli("check", path)
    assert done.code == 7, done.text
    assert done.text.count(str(path)) == 1 and "backup" in done.err, done.text


def test_what_is_no_store_and_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(bytes(range(256)) * 40)
    done = excise_cli("check", path)
    assert done.code == 7 and done.err.count(str(path)) == 1 and "expected an mbox, a PST or an OST" in done.err
    done = excise_cli("check", tmp_path / "nothing")
    assert done.code == 6 and done.err.count(str(tmp_path / "nothing")) == 1, done.text


def test_more_findings_than_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "rows.pst"
    path.write_bytes(mailbox(rows={nid_of(number): row(nid_of(number)) for number in range(10_050)}).build())
    done = excise_cli("check", "--json", path)
    *findings, summary = done.lines()
    counts = summary["summary"]
    assert done.code == 7 and counts["errors"] >= 10_050
    assert counts["listed"] == len(findings) < counts["errors"] + counts["warnings"] + counts["notes"]
    done = excise_cli("check", path)
    more = counts["errors"] + counts["warnings"] + counts["notes"] - len(findings)
    assert (
        f"{path}: {len(findings):,} findings are listed, {more:,} more {'is' if more == 1 else 'are'} not"
        in done.out.splitlines()
    )
