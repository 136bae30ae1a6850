"""The demo, its mail and the profiles do what README says of them."""

from __future__ import annotations

import filecmp
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from excise.cli import demo
from excise.criteria import Criteria
from project.checkout import ROOT, excise

DEMO = ROOT / "fixtures" / "demo"
PROFILES = sorted((ROOT / "profiles").glob("*.toml"))


def _files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_fixtures_are_what_their_script_makes(tmp_path: Path) -> None:
    make: Callable[[Path], None] = runpy.run_path(str(ROOT / "fixtures" / "make_fixtures.py"))["make"]
    make(tmp_path / "demo")
    names = _files(DEMO)
    assert names == _files(tmp_path / "demo")
    assert filecmp.cmpfiles(DEMO, tmp_path / "demo", names, shallow=False) == (names, [], [])


def test_demo_shows_the_main_job_and_leaves_it_where_asked(tmp_path: Path) -> None:
    done = excise("demo", "--keep", "kept", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for line in ("$ excise search", "$ excise move", "$ excise verify", "$ excise restore", "and none twice."):
        assert line in done.stdout
    assert "5 matches in 3 of 4 mailboxes searched, 39 messages" in done.stdout
    assert (tmp_path / "kept" / "case" / "case.json").is_file()
    assert not (tmp_path / ".state").exists(), "the demo wrote to the user's own access log"
    again = excise("demo", "--keep", "kept", cwd=tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stdout


def test_demo_on_an_exchange_server(tmp_path: Path) -> None:
    done = excise("demo", "--exchange", "--keep", "kept", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for line in ("$ excise mailboxes", "$ excise move", "$ excise verify", "$ excise restore", "and none twice."):
        assert line in done.stdout
    assert "5 matches in 3 of 4 mailboxes searched, 39 messages" in done.stdout
    assert not (tmp_path / ".state").exists(), "the demo wrote to the user's own access log"


def test_demo_says_what_it_needs_for_an_exchange_server(tmp_path: Path) -> None:
    """In an interpreter whose import system has no exchangelib; nothing is made before that is known."""
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'exchangelib' else find(name, *more)\n"
        "from excise.cli import main; sys.argv[1:] = ['demo', '--exchange', '--keep', 'kept']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "pip install 'excise[ews]'" in done.stderr
    assert not (tmp_path / "kept").exists()


def test_demo_fails_when_a_command_does_other_than_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "MATCHES", 6)
    with pytest.raises(demo.DemoFailedError, match="search: expected exit status 0 and '6 matches"):
        demo._show(tmp_path)


@pytest.mark.parametrize(
    ("change", "found"), [("lose", "1 message missing and 0 new"), ("alter", "1 message missing and 1 new")]
)
def test_demo_fails_when_another_message_is_touched(tmp_path: Path, change: str, found: str) -> None:
    demo.copy_mail(DEMO, tmp_path / "mail")
    before = demo._messages(tmp_path / "mail")
    assert before.total() == 39
    victim = tmp_path / "mail" / "carla" / "001.eml"
    victim.unlink() if change == "lose" else victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(demo.DemoFailedError, match=found):
        demo._compare(before, demo._messages(tmp_path / "mail"), gone=0)


_APPROVAL = """[people."sofia@example.com"]
user = "sofia"
roles = ["Legal"]
[approval]
allowed_signers = "allowed_signers"
[[approval.rule]]
actions = ["move"]
roles = ["Legal"]
"""


@pytest.mark.parametrize(
    ("rules", "step", "line"),
    [
        ('ticket = "INC-[0-9]+"\n', "search", "1: ticket: "),
        ("[caps]\nmax_total = 4\n", "move", "2: caps: max_total is 4"),
        ('never_search = ["anna"]\n', "search", "1: never_search: "),
        ('[[hold]]\ncase = "X"\nmailboxes = ["ben"]\n', "move", "1: hold: "),
        (_APPROVAL, "move", "6: approval: "),
    ],
)
def test_s25_a_policy_binds_the_demo_and_its_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: str, step: str, line: str
) -> None:
    path = tmp_path / "etc" / "excise" / "policy.toml"
    path.parent.mkdir(parents=True)
    path.write_text(rules)
    (path.parent / "allowed_signers").write_text("sofia@example.com ssh-ed25519 AAAA\n")
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))
    done = excise("demo", cwd=tmp_path)
    assert done.returncode == 3, done.stdout
    said = " ".join(done.stdout.partition("the policy forbids the demo at ")[2].split())
    assert said.startswith(f"excise {step}: ") and f"{path}:{line}" in said, done.stdout
    assert "fault of Excise: please" not in done.stdout


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_profile_is_accepted_by_the_command_it_is_for(profile: Path, tmp_path: Path) -> None:
    from excise.api.profile import read_profile

    read = read_profile(str(profile))
    criteria = Criteria.from_toml(read.criteria or {}, where=profile.name)
    criteria.require_for(read.values["action"])
    demo.copy_mail(DEMO, tmp_path / "mail")
    expect = ["--expect-mailboxes", "4"]
    searched = excise("search", "mail", "--profile", str(profile), *expect, cwd=tmp_path)
    assert searched.returncode == 0, searched.stdout
    action = read.values["action"]
    planned = excise("plan", action, "mail", "--profile", str(profile), *expect, "--case", "case", cwd=tmp_path)
    assert planned.returncode == 0, planned.stdout
    matches = {"purge-a-message": 5, "remove-a-worm": 0, "export-for-court": 0}[profile.stem]
    assert f"{matches} matches in" in planned.stdout
    other = "copy" if action != "copy" else "move"
    refused = excise(other, "mail", "--profile", str(profile), *expect, "--case", "case-2", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"the profile is for {action}" in refused.stdout
