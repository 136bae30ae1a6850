"""Postfix and Dovecot of Debian's, each a private instance: own directories, loopback only, ending by themselves.

They deliver as the user nobody, into mailboxes of that user's below one temporary directory. Both make the dotlock of
an mbox before they take the fcntl lock: Postfix knows no other order, and it is Dovecot's own default. With Debian's
(the other way round) the two lock each other up, with Excise or without it, until Postfix gives up after 20 seconds.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from programs import find_program, needs_program

NOBODY = 65534
LDA = "/usr/lib/dovecot/dovecot-lda"
DAEMONS = Path("/usr/lib/postfix/sbin")
#: Postfix ends by itself after so many seconds, whatever became of the test.
LIFETIME = 300

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to deliver mail to another user")
needs_postfix = needs_program("postfix", "postqueue")
needs_dovecot = needs_program("dovecot", "doveadm", "setpriv", LDA)

_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {base}/spool
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.test
mydestination = mail.test
mail_spool_directory = {base}/mail
virtual_mailbox_domains = virtual.test
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
local_recipient_maps =
alias_maps =
maillog_file = {base}/maillog
maillog_file_prefixes = {base}
default_process_limit = 8
in_flow_delay = 0
queue_run_delay = 2
minimal_backoff_time = 2
maximal_backoff_time = 4
"""

_MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
"""

_DOVECOT_CONF = """
base_dir = {base}/run
state_dir = {base}/state
instance_name = excise-{name}
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
log_path = {base}/dovecot.log
first_valid_uid = 1
mbox_write_locks = dotlock fcntl
mail_privileged_group =
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
  default_fields = uid=65534 gid=65534
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A directory that other users can reach (pytest's own are not), with a mail spool that they can write."""
    base = Path(tempfile.mkdtemp(prefix="excise-live-"))
    try:
        base.chmod(0o755)
        for name in ("mail", "index", "home", "run", "state", "spool", "data", "conf"):
            (base / name).mkdir()
        (base / "mail").chmod(0o1777)
        for name in ("index", "home"):
            os.chown(base / name, NOBODY, NOBODY)
        yield base
    finally:
        shutil.rmtree(base)


def give_to_nobody(path: Path) -> None:
    """Make nobody the owner of ``path`` and of all below it."""
    for found in (path, *path.rglob("*")):
        os.chown(found, NOBODY, NOBODY, follow_symlinks=False)


def as_nobody(command: Sequence[str | Path], base: Path, data: bytes = b"") -> bytes:
    """Run ``command`` as nobody with ``data`` as its input; what it prints."""
    whole = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    environment = {"HOME": str(base / "home"), "USER": "nobody", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        whole, input=data, env=environment, cwd=base / "home", capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, (whole, done.returncode, done.stderr)
    return done.stdout


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.05)
    pytest.fail(f"the server does not listen on port {port}: {log.read_text() if log.exists() else 'no log'}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


class Postfix:
    """Postfix on a loopback port: ``nobody@mail.test`` goes to the mbox ``mail/nobody`` (local(8)), any address at
    ``virtual.test`` to the Maildir ``mail/box`` (virtual(8))."""

    def __init__(self, base: Path) -> None:
        self.base, self.conf, self.log, self.port = base, base / "conf", base / "maillog", free_port()

    @contextlib.contextmanager
    def running(self) -> Iterator[Postfix]:
        """Postfix, from here to the end of the block."""
        (self.conf / "main.cf").write_text(_MAIN_CF.format(base=self.base, daemons=DAEMONS))
        (self.conf / "master.cf").write_text(_MASTER_CF.format(port=self.port))
        shutil.chown(self.base / "data", "postfix")
        postfix = str(find_program("postfix"))
        subprocess.run([postfix, "-c", str(self.conf), "check"], check=True, capture_output=True, timeout=60)
        command = [str(DAEMONS / "master"), "-c", str(self.conf), "-d", "-e", str(LIFETIME)]
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            try:
                await_port(self.port, process, self.log)
                yield self
            finally:
                end(process)

    def session(self) -> smtplib.SMTP:
        """An SMTP session with it."""
        return smtplib.SMTP("127.0.0.1", self.port, timeout=60)

    def queue(self) -> str:
        """What is not delivered yet, as ``postqueue -j`` lists it; empty where all is."""
        command = [str(find_program("postqueue")), "-c", str(self.conf), "-j"]
        return subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout


class Dovecot:
    """Dovecot with a user a mailbox format: ``mboxer`` and ``maildirer``, whose mail belongs to nobody."""

    def __init__(self, base: Path) -> None:
        self.base, self.conf, self.log, self.port = base, base / "dovecot.conf", base / "dovecot.log", free_port()
        self.spool, self.maildir = base / "mail" / "nobody", base / "mail" / "box"
        self.locations = {
            "mboxer": f"mbox:{base}/home/folders:INBOX={self.spool}:INDEX={base}/index",
            "maildirer": f"maildir:{self.maildir}",
        }
        self.conf.write_text(_DOVECOT_CONF.format(base=base, name=base.name, port=self.port))
        self.log.touch()
        self.log.chmod(0o666)
        users = [f"{user}:{{PLAIN}}secret:::: :: userdb_mail={where}" for user, where in self.locations.items()]
        lines = [line.replace(":::: ::", f":65534:65534::{base}/home::") for line in users]
        (base / "users").write_text("\n".join(lines) + "\n")
        (base / "users").chmod(0o644)

    def deliver(self, user: str, message: bytes) -> None:
        """Have Dovecot's own delivery agent put ``message`` into the inbox of ``user``."""
        location = f"mail_location={self.locations[user]}"
        as_nobody([LDA, "-c", self.conf, "-o", location, "-f", "lda@example.com", "-e"], self.base, message)

    @contextlib.contextmanager
    def running(self) -> Iterator[Dovecot]:
        """The server, from here to the end of the block."""
        command = [str(find_program("dovecot")), "-F", "-c", str(self.conf)]
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            try:
                await_port(self.port, process, self.log)
                yield self
            finally:
                end(process)

    def doveadm(self, *args: str) -> str:
        """What ``doveadm`` prints."""
        command = [str(find_program("doveadm")), "-c", str(self.conf), *args]
        done = subprocess.run(command, capture_output=True, timeout=60, text=True, check=False)
        assert done.returncode == 0, (shlex.join(command), done.stderr, self.log.read_text())
        return done.stdout

    def complaints(self) -> list[str]:
        """The lines of its log that tell of something wrong."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if any(word in line for word in ("Error:", "Warning:", "Panic:", "Fatal:"))]
