"""Outside sinks of the audit log: what rsyslog, a socket and a file receive, and when (S22)."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from case.other_verifier import excise
from cli.command import Done, excise_cli, excise_process
from engine.mail_files import WORM, stores
from excise.case.sinks import Sinks, syslog_message

#: RFC 5424, section 6, as it stands there: PRI, VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID, one SD-ELEMENT.
SYSLOG = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) ([!-~]{1,255}) ([!-~]{1,48}) "
    rb"([!-~]{1,128}) ([!-~]{1,32}) "
    rb'\[([!-<>-\\^-~]{1,32})((?: [!-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\](?: (.*))?',
    re.DOTALL,
)


def move(tmp_path: Path, *options: str | Path) -> tuple[Path, Done]:
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    words = ("move", mail, "--subject", WORM, "--case", case, "--evidence", "mbox", "--jobs", "1")
    return case, excise_cli(*words, "--yes", "--expect-matches", "6", *options)


def lines(case: Path) -> list[bytes]:
    return (case / "audit.jsonl").read_bytes().splitlines()


def untouched(tmp_path: Path) -> bool:
    return (tmp_path / "mail" / "anna.mbox").read_bytes().count(WORM.encode()) == 3


# A file


def test_a_file_has_every_record_with_its_head(tmp_path: Path) -> None:
    sink = tmp_path / "sink.jsonl"
    case, done = move(tmp_path, "--audit-sink", f"file:{sink}")
    assert done.code == 0, done.text
    told = [json.loads(line) for line in sink.read_bytes().splitlines()]
    # The log's first record is written before the case has a plan, and all go out.
    assert [each["record"] for each in told] == [json.loads(line) for line in lines(case)]
    assert [each["head"] for each in told] == [sha256(line).hexdigest() for line in lines(case)]
    assert {each["case"] for each in told} == {json.loads((case / "case.json").read_bytes())["id"]}
    assert sink.stat().st_mode & 0o777 == 0o600
    assert excise(case, told[-1]["head"]).wrong == []


def test_the_file_proves_a_log_that_was_cut(tmp_path: Path) -> None:
    sink = tmp_path / "sink.jsonl"
    case, _ = move(tmp_path, "--audit-sink", f"file:{sink}")
    kept = lines(case)[:-2]
    (case / "audit.jsonl").write_bytes(b"\n".join(kept) + b"\n")
    (case / "audit.head").write_text(sha256(kept[-1]).hexdigest() + "\n")
    head = json.loads(sink.read_bytes().splitlines()[-1])["head"]
    assert excise(case, head).names("the expected head")


def test_s22_a_sink_that_takes_nothing_stops_before_the_removal(tmp_path: Path) -> None:
    for sink in (f"file:{tmp_path}", "syslog+tcp://127.0.0.1:1", f"syslog+unix:{tmp_path}/no-socket"):
        shutil.rmtree(tmp_path / "mail", ignore_errors=True)
        shutil.rmtree(tmp_path / "case", ignore_errors=True)
        case, done = move(tmp_path, "--audit-sink", sink)
        assert done.code == 6, done.text
        assert "could not be sent there" in done.err and "nothing was removed" in done.err
        assert untouched(tmp_path)
        assert not any(b'"unit-finished"' in line for line in lines(case))
        assert excise_cli("resume", case, "--jobs", "1").code == 0
        assert not untouched(tmp_path)


def test_a_sink_that_fails_later_is_told_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinks = Sinks((f"file:{tmp_path / 'no' / 'file'}",), "a case")
    record = {"seq": 0, "type": "t", "time": "2026-01-01T00:00:00Z"}
    sinks.deliver(b"{}", record, "0" * 64)
    assert list(sinks.undelivered().values()) == [1]
    (tmp_path / "no").mkdir()
    sinks.deliver(b"{}", record | {"seq": 1}, "1" * 64)
    assert sinks.undelivered() == {}
    sent = [json.loads(line)["record"]["seq"] for line in (tmp_path / "no" / "file").read_bytes().splitlines()]
    assert sent == [0, 1]


@pytest.mark.parametrize(
    "sink", ["", "file:", "syslog://host", "syslog+udp://", "syslog+udp://host:99999", "tcp://h", "syslog+tcp://u@h"]
)
def test_what_is_no_sink_is_refused_before_anything_is_done(sink: str, tmp_path: Path) -> None:
    case, done = move(tmp_path, "--audit-sink", sink)
    assert done.code == 2
    assert untouched(tmp_path)
    assert not case.exists()


# Syslog


def test_a_message_is_one_of_rfc_5424() -> None:
    record = {"seq": 3, "type": "a type with blanks ü" * 5, "time": "2026-01-01T00:00:00.123456Z"}
    found = SYSLOG.fullmatch(syslog_message(b'{"a":"\\u00fc"}', record, "ab" * 32, 'x"]\\ü'))
    assert found is not None
    assert found[1] == b"109"
    assert found[8] == b' case="x\\"\\]\\\\" seq="3" head="' + b"ab" * 32 + b'"'
    assert found[9] == b'{"a":"\\u00fc"}'


def receive(kind: str, place: Path) -> tuple[socket.socket, str]:
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.bind(str(place))
        return made, f"syslog+unix:{place}"
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made, f"syslog+udp://127.0.0.1:{made.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_each_datagram_is_one_record(kind: str, tmp_path: Path) -> None:
    made, sink = receive(kind, tmp_path / "log.socket")
    with made:
        made.settimeout(10)
        # A local socket holds ten datagrams or so until somebody reads them: one command, few records.
        mail, case = stores(tmp_path / "mail"), tmp_path / "case"
        words = ("plan", "move", mail / "anna.mbox", "--subject", WORM, "--case", case)
        assert excise_cli(*words, "--audit-sink", sink).code == 0
        for line in lines(case):
            found = SYSLOG.fullmatch(made.recv(65536))
            assert found is not None
            assert found[9] == line
            assert f'head="{sha256(line).hexdigest()}"'.encode() in found[8]


def test_a_record_too_large_for_a_datagram_goes_without_its_text(tmp_path: Path) -> None:
    made, sink = receive("udp", tmp_path)
    with made:
        made.settimeout(10)
        sinks = Sinks((sink,), "a case")
        sinks.deliver(b"x" * 100_000, {"seq": 0, "type": "t", "time": "2026-01-01T00:00:00Z"}, "ab" * 32)
        sinks.close()
        found = SYSLOG.fullmatch(made.recv(200_000))
    assert found is not None and found[9] is None


def test_a_loghost_that_dies_during_the_run_is_told_and_recorded(tmp_path: Path) -> None:
    """The removal had begun, so it is finished; what the sink lacks is said, and the log has it."""
    server = socket.create_server(("127.0.0.1", 0))

    def die_after_the_start() -> None:
        connection, _ = server.accept()
        with connection:
            got = b""
            while b" run-started " not in got:
                got += connection.recv(65536)
            server.close()

    thread = threading.Thread(target=die_after_the_start)
    thread.start()
    mail, case = stores(tmp_path / "mail"), tmp_path / "case"
    words = ("move", mail, "--subject", WORM, "--case", case, "--yes", "--expect-matches", "6")
    # A new process: a forked one would hold the listening socket too.
    done = excise_process(*words, "--audit-sink", f"syslog+tcp://127.0.0.1:{server.getsockname()[1]}")
    thread.join()
    assert done.code == 6, done.text
    assert "records of the audit log could not be sent there" in done.err and "Done." in done.out
    assert not untouched(tmp_path)
    (failed,) = [json.loads(line) for line in lines(case) if b'"sink-failed"' in line]
    assert failed["undelivered"] >= 1
    assert excise(case).wrong == []


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[tuple[int, Callable[[int], list[dict[str, str]]]]]:
    """rsyslogd on a free port of loopback, and what it has understood."""
    if shutil.which("rsyslogd") is None:
        pytest.skip("rsyslogd is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = tmp_path / "rsyslog"
    place.mkdir()
    (place / "rsyslog.conf").write_text(f"""
global(workDirectory="{place}" maxMessageSize="64k")
module(load="imtcp")
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="all" type="list") {{ property(name="jsonmesg") constant(value="\\n") }}
action(type="omfile" file="{place}/out" template="all")
""")
    command = ["rsyslogd", "-n", "-f", str(place / "rsyslog.conf"), "-i", str(place / "pid")]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def understood(count: int) -> list[dict[str, str]]:
        end = time.monotonic() + 20
        while True:
            text = (place / "out").read_text() if (place / "out").exists() else ""
            if text.count("\n") >= count or time.monotonic() > end:
                return [json.loads(line) for line in text.splitlines()]
            time.sleep(0.05)

    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, understood
    finally:
        daemon.terminate()
        daemon.wait(20)


def test_rsyslog_understands_every_record(
    rsyslog: tuple[int, Callable[[int], list[dict[str, str]]]], tmp_path: Path
) -> None:
    port, understood = rsyslog
    case, done = move(tmp_path, "--audit-sink", f"syslog+tcp://127.0.0.1:{port}")
    assert done.code == 0, done.text
    log = lines(case)
    found = understood(len(log))
    assert [each["msg"].encode() for each in found] == log
    for each, line in zip(found, log, strict=True):
        assert each["structured-data"].endswith(f'head="{sha256(line).hexdigest()}"]')
        assert each["msgid"] == json.loads(line)["type"]
        assert (each["syslogfacility"], each["syslogseverity"]) == ("13", "5")
