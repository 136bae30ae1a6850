"""Large messages, and a command that works on them with its memory watched."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

from ews.worlds import PASSWORD, START
from ews_server import ServerProcess, World
from stores.ews_place import ADMIN, ANNA

SUBJECT = "Plans of the whole plant"
_HEAD = (
    "From: Bob <bob@example.org>\r\nTo: anna@example.test\r\nSubject: {subject}\r\n"
    "Date: Mon, 05 Jan 2026 09:00:00 +0000\r\nMessage-ID: <large@example.org>\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/mixed; boundary="B"\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\nFrom here on it is\r\n'
    "From the archive\r\n--B\r\nContent-Type: application/octet-stream\r\n"
    'Content-Disposition: attachment; filename="plans.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
)


def large_mail(megabytes: int) -> bytes:
    """A message of so many MB, most of them an attachment that cannot be compressed."""
    lines = base64.encodebytes(os.urandom(megabytes * 730_000)).replace(b"\n", b"\r\n")
    return _HEAD.format(subject=SUBJECT).encode() + lines + b"--B--\r\n"


def large_world(mail: bytes) -> World:
    """Anna's mailbox with ``mail``."""
    world = World()
    world.user(ADMIN, PASSWORD, impersonates=["*"])
    world.deliver(world.mailbox(ANNA), "inbox", mail, received=START)
    return world


def watched(path: Path, server: ServerProcess, command: str, *arguments: str) -> tuple[int, str]:
    """Run ``excise command`` on Anna's mailbox: the peak of its anonymous memory in bytes, and what it said."""
    settings = {"USER": ADMIN, "PASSWORD": PASSWORD, "AUTH": "basic", "TIMEOUT": "600"}
    environment = os.environ | {f"EXCISE_EWS_{name}": value for name, value in settings.items()}
    environment["EXCISE_ACCESS_LOG"] = str(path / "access.jsonl")
    line = [sys.executable, "-m", "excise", command, *(part.replace("PORT", str(server.port)) for part in arguments)]
    with (path / "said").open("w+b") as said:
        process = subprocess.Popen(line, cwd=path, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_anonymous, [process.pid, *_below(process.pid)])))
            time.sleep(0.02)
        said.seek(0)
        text = said.read().decode()
    assert process.returncode == 0, text
    return peak, text


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_below(child)]
    return found


def _anonymous(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended meanwhile
        return 0
    return int(text.partition("Pss_Anon:")[2].split()[0]) << 10
