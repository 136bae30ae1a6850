"""Large items go through the disk and not through memory: preserved, removed, verified and put back."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ews_server import ServerProcess
from ews_server.operations.transfer import pack
from stores.ews_place import ANNA
from stores.large_mail import SUBJECT, large_mail, large_world, watched

_SOURCE = ("ews://127.0.0.1:PORT/?plain=1", "--mailbox", ANNA, "--subject", SUBJECT)
_SURE = ("--yes", "--expect-matches", "1", "--no-progress")
#: Bytes of memory that a command may take, beside which the interpreter with its libraries has 60 MB.
_BOUND = 130 << 20


@pytest.mark.parametrize("megabytes", [40, pytest.param(150, marks=pytest.mark.soak)])
def test_s13_a_large_message_goes_and_comes_back_without_filling_memory(tmp_path: Path, megabytes: int) -> None:
    """Its MIME byte for byte in the evidence, its export stream a file beside it, and both in no memory at once."""
    mail = large_mail(megabytes)
    world = large_world(mail)
    [item] = world.items_in(world.mailboxes[ANNA], "inbox")
    stream = pack(item)
    with ServerProcess(tmp_path / "state", world) as server:
        server.ask("quirks", {"mime_anew": False})
        peak, _ = watched(tmp_path, server, "move", *_SOURCE, "--case", "case", "--evidence", "eml", *_SURE)
        assert peak < _BOUND
        [part] = (tmp_path / "case").glob("bag-*/data/evidence/*/part-001")
        [eml] = (part / "eml").iterdir()
        assert sha256(eml.read_bytes()).digest() == sha256(mail).digest()
        [kept] = (part / "streams").iterdir()
        assert sha256(kept.read_bytes()).digest() == sha256(stream).digest()
        line = json.loads((part / "items.jsonl").read_bytes())
        assert line["stream"] == {
            "file": f"streams/{line['evidence']}.bin", "sha256": sha256(stream).hexdigest(), "size": len(stream)
        }  # fmt: skip
        assert len(json.dumps(line)) < 10_000
        assert server.world().items_in(server.world().mailboxes[ANNA], "inbox") == []
        peak, _ = watched(tmp_path, server, "restore", "case", *_SURE)
        assert peak < _BOUND
        after = server.world()
        [back] = after.items_in(after.mailboxes[ANNA], "inbox")
        assert back.mime == mail
        assert server.ask("log")["count"]["UploadItems"] == 1
    _verify(tmp_path / "case", 0)
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.chmod(0o600)
    kept.write_bytes(data)
    _verify(tmp_path / "case", 5)


def _verify(case: Path, status: int) -> None:
    """Both verifiers, Excise's own and the one that lies in the case."""
    own = [sys.executable, "-m", "excise", "verify", str(case)]
    other = [sys.executable, "-I", str(case / "verify_case.py"), str(case)]
    for command in (own, other):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == status, (command, done.stdout, done.stderr)
        assert (status == 0) or "streams/" in done.stdout + done.stderr


def test_s13_a_large_message_in_an_mbox(tmp_path: Path) -> None:
    """Quoted and read back in pieces; without export streams it goes back by its MIME."""
    mail = large_mail(20)
    with ServerProcess(tmp_path / "state", large_world(mail)) as server:
        server.ask("quirks", {"export_items": False, "mime_anew": False})
        peak, _ = watched(tmp_path, server, "move", *_SOURCE, "--case", "case", "--evidence", "mbox", *_SURE)
        assert peak < _BOUND
        peak, _ = watched(tmp_path, server, "restore", "case", *_SURE)
        assert peak < _BOUND
        after = server.world()
        [back] = after.items_in(after.mailboxes[ANNA], "inbox")
        assert back.mime == mail
        assert server.ask("log")["count"]["CreateItem"] == 1
