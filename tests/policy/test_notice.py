"""The notice for those who watch the mail server's log."""

from __future__ import annotations

from pathlib import Path

from cli.command import excise_cli
from engine.mail_files import WORM, stores
from policy.keys import canonical, make_key, needs_keygen, sign, statement


def made(tmp_path: Path) -> Path:
    case, mail = tmp_path / "case", stores(tmp_path / "mail")
    done = excise_cli("plan", "move", mail, "--subject", WORM, "--case", case, "--ticket", "INC-7", "--jobs", "1")
    assert done.code == 0, done.text
    return case


def test_it_tells_account_time_mailboxes_and_tool_and_no_content(tmp_path: Path) -> None:
    case = made(tmp_path)
    done = excise_cli("notice", case, "--account", "svc-mail\x1b[2J")
    assert done.code == 0, done.text
    assert (
        "svc-mail\\u{1b}[2J" in done.out and "ticket INC-7" in done.out and "work on mailboxes with Excise" in done.out
    )
    rows = {
        line.split()[0].rpartition("/mail/")[2]: line.split()[1:] for line in done.out.splitlines() if "/mail/" in line
    }
    assert rows["anna.mbox"] == ["8", "3", "3"]
    assert rows["dora.mbox"] == ["3", "0", "0"]
    assert WORM not in done.out and "eve@example.net" not in done.out
    assert "nothing limits when it ends" in done.out


@needs_keygen
def test_s25_the_window_is_that_of_the_approvals(tmp_path: Path) -> None:
    case = made(tmp_path)
    said = statement(case, "sofia@example.com", "sofia", "Legal") | {"policy_sha256": "0" * 64}
    from hashlib import sha256

    path = case / "approvals" / "0001" / f"{sha256(canonical(said)).hexdigest()[:16]}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(canonical(said))
    sign(path, make_key(tmp_path / "key"))
    out = excise_cli("notice", case).out
    assert f"from {said['from']} until {said['until']}" in out
