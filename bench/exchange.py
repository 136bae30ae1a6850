"""Measure ``excise move`` of one message from many mailboxes of the test EWS server, against what the latency allows.

    python bench/exchange.py          a table, then the same as one line of JSON

BENCH_SCALE (default 1) scales the 1,000 mailboxes. Each has ten messages, one of which goes; every answer of the server
takes 20 ms at least. The bound is latency times requests over connections, with the requests that the server counted;
the server is Python too and works on the same processors, whose load is no part of the bound: the processor time of
each is told, and so is how many times the bound the client's alone would be. Beside it runs
a script with exchangelib's own querysets, as its documentation has them, on a tenth of the mailboxes (50 at
least): it saves the MIME and deletes, and proves nothing. TMPDIR=/dev/shm takes the disk's own waiting out of both.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from measure import Measured, timed  # noqa: E402

from ews.worlds import PASSWORD, START, mail  # noqa: E402
from ews_server import ServerProcess, World  # noqa: E402

ADMIN, SUBJECT = "admin@example.test", "Salaries 2026"
LATENCY, CONNECTIONS, AIM, AIM_MB = 0.02, 8, 1.25, 200


def world_of(addresses: list[str]) -> World:
    """Each mailbox with ten messages, one of them with the subject."""
    world = World()
    world.user(ADMIN, PASSWORD, impersonates=["*"])
    for address in addresses:
        mailbox = world.mailbox(address)
        for number in range(10):
            world.deliver(mailbox, "inbox", mail(number, SUBJECT if number == 7 else ""), received=START)
    return world


def measure(
    place: Path, addresses: list[str], command: list[str], *, memory: bool = False
) -> tuple[Measured, int, float]:
    """Run a command over a new server: time and memory, the server's requests, and its seconds of processor time."""
    place.mkdir()
    (place / "mailboxes.txt").write_text("\n".join(addresses) + "\n", encoding="ascii")
    options = ["--latency", str(LATENCY)]
    with ServerProcess(place / "state", world_of(addresses), options) as server:
        filled = [part.replace("PORT", str(server.port)) for part in command]
        busy = server.cpu()
        measured = timed(filled, cwd=place, memory=memory)
        busy = server.cpu() - busy
        requests = sum(server.ask("log")["count"].values())
        world = server.world()
        left = [box for box in addresses if SUBJECT.encode() in _left(world, box)]
    if left:
        raise SystemExit(f"{len(left)} mailboxes have the message still, {left[0]} among them")
    return measured, requests, busy


def _left(world: World, address: str) -> bytes:
    return b"".join(item.mime for item in world.items_in(world.mailboxes[address], "inbox"))


def main() -> None:
    """Both, and the table."""
    count = max(50, round(1000 * float(os.environ.get("BENCH_SCALE", "1"))))
    names = [f"box{number:04}@example.test" for number in range(count)]
    os.environ |= {"EXCISE_EWS_USER": ADMIN, "EXCISE_EWS_PASSWORD": PASSWORD, "EXCISE_EWS_AUTH": "basic"}
    os.environ["EXCISE_EWS_CONNECTIONS"] = str(CONNECTIONS)
    usual = names[: max(50, count // 10)]
    move = [
        sys.executable, "-m", "excise", "move", "ews://127.0.0.1:PORT/?plain=1", "--mailboxes", "mailboxes.txt",
        "--subject", SUBJECT, "--case", "case", "--evidence", "mbox", "--yes", "--expect-matches", str(count),
        "--no-progress",
    ]  # fmt: skip
    script = [sys.executable, str(HERE / "exchange_querysets.py"), "PORT", SUBJECT, str(CONNECTIONS)]
    with tempfile.TemporaryDirectory() as place:
        os.environ["EXCISE_ACCESS_LOG"] = f"{place}/access.jsonl"
        excise = _row("excise move", count, *measure(Path(place, "excise"), names, move, memory=True))
        other = _row("exchangelib's querysets", len(usual), *measure(Path(place, "usual"), usual, script, memory=True))
    for row in (excise, other):
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    ratio = round(other["ms_a_mailbox"] / excise["ms_a_mailbox"], 2)
    met = {"met": excise["times_the_bound"] <= AIM and excise["peak_mb"] < AIM_MB}
    print(json.dumps({"excise": excise, "usual": other, "times_faster": ratio, "aim": AIM, "aim_mb": AIM_MB, **met}))


def _row(what: str, mailboxes: int, measured: Measured, requests: int, busy: float) -> dict[str, Any]:
    bound = LATENCY * requests / CONNECTIONS
    return {
        "what": what,
        "mailboxes": mailboxes,
        "seconds": round(measured.seconds, 2),
        "cpu_s": round(measured.cpu, 2),
        "server_cpu_s": round(busy, 2),
        "client_ms_a_request": round(1000 * measured.cpu / requests, 2),
        "requests_a_mailbox": round(requests / mailboxes, 2),
        "ms_a_mailbox": round(1000 * measured.seconds / mailboxes, 1),
        "bound_s": round(bound, 2),
        "times_the_bound": round(measured.seconds / bound, 2),
        "cpu_times_the_bound": round(measured.cpu / bound, 2),
        "peak_mb": round(measured.anonymous / 1e6, 1),
    }


if __name__ == "__main__":
    main()
