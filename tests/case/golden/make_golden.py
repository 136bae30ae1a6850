"""Makes the golden cases: run once a format version, its output kept in the repository and never made again.

    PYTHONPATH=src:tests python tests/case/golden/make_golden.py

``finished``: a move and a restore of one of its messages, run to their ends. ``open``: a move that stopped between the
verification and the removal. Mailboxes, messages, user and host are fixed; times and ids of the cases are those of the
day. What lies in the mailboxes: mboxrd quoting, CRLF, a message without a line end, one in doubt, an undecodable
header, flags and folders of a Maildir, a .msg with its properties, a message that cannot be tested, a mailbox without
matches and one that cannot be opened.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
from pathlib import Path

from excise import api
from excise.case import layout
from excise.case.plan import read_plan
from excise.core.errors import SourceUnavailable
from excise.criteria import Criteria
from excise.engine.run import unit_counts
from excise.engine.unit import UnitRun
from excise.mbox import quote_mboxrd
from stores.msg_file import msg_file

HERE = Path(__file__).resolve().parent
PLACE = Path("/tmp/golden")
SUBJECT = "Golden – subject"
ENCODED = b"Subject: =?utf-8?Q?Golden_=E2=80=93?= =?utf-8?B?IHN1YmplY3Q=?=\n"
RAW = b"Subject: Golden \xe2\x80\x93 subject\n"


def message(number: int, subject: bytes, body: bytes = b"Hello.\n", more: bytes = b"") -> bytes:
    """A message with fixed dates."""
    head = b"From: Ann <ann@example.com>\nTo: Bob <bob@example.net>\nDate: Tue, 13 Jan 2026 09:%02d:00 +0100\n" % number
    return head + b"Message-ID: <golden-%d@example.com>\n" % number + more + subject + b"\n" + body


def mbox_entry(number: int, content: bytes) -> bytes:
    """An entry of an mboxrd file."""
    return b"From ann@example.com Tue Jan 13 08:%02d:00 2026\n" % number + quote_mboxrd(content) + b"\n"


def make_mail() -> Path:
    """The mailboxes, anew."""
    shutil.rmtree(PLACE, ignore_errors=True)
    mail = PLACE / "mail"
    (mail / "tree" / "Sub").mkdir(parents=True)
    other = b"Subject: Something else\n"
    (mail / "ann.mbox").write_bytes(
        mbox_entry(1, message(1, ENCODED, b"Hello.\nFrom here on\n> quoted\n"))
        + mbox_entry(2, message(2, other))
        + mbox_entry(3, message(3, RAW, b"No line end at the end of the text"))
        + b"From bob@example.net Tue Jan 13 08:04:00 2026\n" + message(4, RAW, b"In doubt: no empty line follows.\n")
        + mbox_entry(5, message(5, other))
    )  # fmt: skip
    (mail / "none.mbox").write_bytes(mbox_entry(6, message(6, other)))
    for folder in ("", ".Archive"):
        for name in ("cur", "new", "tmp"):
            (mail / "ben" / folder / name).mkdir(parents=True, exist_ok=True)
    (mail / "ben/cur/1768291200.M1P1.golden:2,FS").write_bytes(message(7, RAW))
    (mail / "ben/.Archive/cur/1768291260.M2P1.golden:2,RS").write_bytes(message(8, ENCODED, b"", b"X-Raw: \xff\xfe\n"))
    (mail / "tree" / "one.eml").write_bytes(message(9, RAW, b"No end").replace(b"\n", b"\r\n"))
    (mail / "tree" / "Sub" / "two.msg").write_bytes(msg_file(SUBJECT, "Hello.", {"list.txt": b"a list"}))
    lost = b'Content-Type: multipart/encrypted; boundary="b"; protocol="application/pgp-encrypted"\n'
    (mail / "tree" / "three.eml").write_bytes(message(10, other, b"--b\n\nx\n--b--\n", lost))
    (mail / "broken.pst").write_bytes(b"!BDN" + bytes(600))
    return mail


def fix_machine() -> None:
    """The machine of the golden cases."""
    layout.account = lambda: "operator"
    os.getuid = lambda: 1000  # type: ignore[assignment]
    socket.gethostname = lambda: "golden.example"
    platform.platform = lambda *_: "Linux"  # type: ignore[assignment]
    layout._boot_id = lambda: "00000000-0000-0000-0000-000000000000"


def order(mail: Path) -> api.Order:
    """What is moved."""
    criteria = Criteria.from_toml(
        f'[[branch]]\nsubject = "{SUBJECT}"\nsent-since = 2026-01-13\ntimezone = "UTC"\n'
        '[[branch]]\nattachment = ["lis?.*"]\n[branch.not]\nfrom = "@example.org"\n'
    )
    return api.Order(
        api.Action.MOVE, criteria, part_size=1200, sources=(str(mail),), caps=api.Caps(max_per_mailbox=9)
    )  # fmt: skip


def make_case(name: str, *, stopped: bool) -> None:
    """One case, moved here."""
    mail = make_mail()
    who = api.Authorisation("T-1", "Golden files", "A. Operator")
    setting = api.Setting(jobs=1)
    root = PLACE / name
    if stopped:
        UnitRun.remove = _stop  # type: ignore[method-assign]
    with api.new_case(root, (str(mail),), who, setting) as work:
        plan = work.plan(order(mail))
        work.confirm(plan, "by make_golden.py")
        assert work.run(plan).sealed is not stopped
    if not stopped:
        with api.open_case(root, setting) as work:
            plan = work.plan_restore(api.RestoreOrder(only=("00001-000001",)))
            work.confirm(plan, "by make_golden.py")
            assert work.run(plan).sealed
    shutil.copytree(root, HERE / name)


def _stop(*_: object) -> None:
    raise SourceUnavailable("stopped by make_golden.py")


def main() -> None:
    """Both cases and what they must read as."""
    fix_machine()
    for name, stopped in (("finished", False), ("open", True)):
        make_case(name, stopped=stopped)
    facts = {}
    for name in ("finished", "open"):
        case = api.Case(HERE / name)
        head = case.head_path.read_text().strip()
        plans = [read_plan(case, number) for number in case.plan_numbers()]
        facts[name] = {
            "case": case.id,
            "head": head,
            "plans": [plan.sha256 for plan in plans],
            "outcomes": [
                [sorted((str(k), v) for k, v in counts.items()) for _, counts in unit_counts(case, plan)]
                for plan in plans
            ],
        }
    (HERE / "expected.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
