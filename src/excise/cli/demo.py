"""``excise demo``: the main job on bundled mail, with the very commands that a user types.

Each step runs ``excise`` as a process of its own and is held against what was said of it; and because a tool should not
be its own only witness, the messages of all mailboxes are compared, before and after, with Python's ``mailbox`` module.
"""

from __future__ import annotations

import email.policy
import email.utils
import hashlib
import mailbox
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from email.parser import BytesHeaderParser
from pathlib import Path

import click

from excise.cli.screen import say
from excise.core.errors import ConfirmationMissing, ExciseError, Held, Refused, UsageError
from excise.core.files import os_error
from excise.core.text import count_of

CRITERIA = ["--subject", "Salaries 2026 \N{EN DASH} confidential", "--attachment", "salaries.xlsx"]
MATCHES = 5
#: What a command ends with where it is the policy that stops it; a mailbox that is never searched stops none.
_POLICY_STATUSES = (0, 3, 4, 6, 8)


class DemoFailedError(ExciseError):
    """A step of the demo did not do what was said of it."""

    exit_code = 1
    error_id = "demo-failed"


@click.command("demo")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Work in this new directory and leave it.")
@click.option("--exchange", is_flag=True, help="On mailboxes of an Exchange server for tests, which runs here.")
def command(keep: Path | None, exchange: bool) -> None:
    """Show the main job on four small mailboxes in a temporary directory: search, move, verify, prove, restore.

    \b
    EXIT STATUS
      0 every step did what was said of it · 1 a step did not · 2 wrong usage
      3 the policy in force forbids a step; its line is named
    """
    show = _show
    if exchange:
        from excise.cli import demo_exchange

        demo_exchange.require()
        show = demo_exchange.show
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="excise-demo-") as place:
            show(Path(place))
        return
    try:
        keep.mkdir(mode=0o700)
    except FileExistsError as error:
        raise UsageError(f"{keep}: is there already", hint="Name a directory that does not exist yet.") from error
    except OSError as error:
        raise os_error(error, keep, "making the directory") from error
    show(keep.resolve())
    say(f"The mailboxes and the case are in {keep}.")


def _show(place: Path) -> None:
    mail, search = place / "mail", ["search", "mail", *CRITERIA]
    copy_mail(bundled(), mail)
    say(
        "Human Resources sent a message to everybody by mistake. It lies in the mailboxes of Anna (an mbox), Ben (a\n"
        "Maildir) and Carla (.eml files), each time in another encoding; Dora's mbox holds only mail that looks alike."
    )
    before = _messages(mail)
    step(place, "Look first. Nothing is changed.", search, f"{MATCHES} matches in 3 of 4 mailboxes")
    output = step(
        place,
        "Move them: the plan is shown; each message is copied into evidence, read back by another reader and\n"
        "compared; only then is it removed. At a terminal you would type the number of matches; a script states it.",
        [
            "move",
            "mail",
            *CRITERIA,
            "--case",
            "case",
            "--ticket",
            "DEMO-1",
            "--yes",
            "--expect-matches",
            str(MATCHES),
        ],
        "Done.",
    )
    _compare(before, _messages(mail), gone=MATCHES)
    say(f"\nPython's own mailbox module agrees: {MATCHES} messages are gone, all others the same, byte for byte.")
    head = output.rpartition("Audit head: ")[2].split()[0]
    check = ["verify", "case", "--expect-head", head]
    step(place, "Verify the case against the audit head that was printed.", check, " 0 do not hold, 0 are not proven")
    step(place, "The proof: the same search again finds nothing.", search, "0 matches in 0 of 4 mailboxes")
    step(place, "Undo: put them back where they were.", ["restore", "case", "--yes"], "Done.")
    step(place, "All are back.", search, f"{MATCHES} matches in 3 of 4 mailboxes")
    _compare(before, _messages(mail), gone=0)
    say("\nPython's own mailbox module agrees: every message is there again, byte for byte, and none twice.")


def step(place: Path, text: str, arguments: list[str], expected: str, settings: Mapping[str, str] | None = None) -> str:
    """Say what comes, run the command as a user would, show what it says and return it, held against ``expected``."""
    say(f"\n{text}")
    say(click.style(f"$ excise {shlex.join(arguments)}", bold=True))
    environment = os.environ | dict(settings or {})
    environment |= {"EXCISE_ACCESS_LOG": str(place / "access.jsonl"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "excise", *arguments],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    say(output.rstrip("\n"))
    if done.returncode or expected not in output:
        _ask_policy(arguments[0], done.returncode, output)
        raise DemoFailedError(
            f"excise {arguments[0]}: expected exit status 0 and {expected!r}, found exit status {done.returncode}",
            hint="This is a fault of Excise: please report it with this output.",
        )
    return output


def _ask_policy(name: str, status: int, output: str) -> None:
    """Refuse where it is the policy, which binds the demo as it does all else, that kept a step from what was said.

    A policy is never put aside for the demo: a way around it that is for mail of no worth would be one for all mail.
    """
    from excise.policy.effective import PolicyRefused, effective_policy

    policy = effective_policy()
    lines = [line for line in output.splitlines() if any(f"{source.path}:" in line for source in policy.sources)]
    if status == ConfirmationMissing.exit_code and policy.policy.approval.rules:
        lines = [f"{policy.origin('approval.rules')}: approval: what the demo does needs one"]
    elif status == Held.exit_code and policy.policy.holds:
        lines = [f"{policy.origin('holds')}: hold: it holds the demo's mail too"]
    elif status == Refused.exit_code and not lines:
        caps = policy.policy.caps.model_dump(exclude_none=True)
        lines = [f"{policy.origin(f'caps.{key}', _is_set)}: caps: {key} is {value}" for key, value in caps.items()]
    if not lines or status not in _POLICY_STATUSES:
        return
    raise PolicyRefused(
        f"the policy forbids the demo at excise {name}: "
        + "; ".join(x.strip().removeprefix("excise: ") for x in lines),
        hint="This is no fault of Excise. Run the demo where that policy is not in force.",
    )


def _is_set(value: object) -> bool:
    return value is not None


def bundled() -> Path:
    """The demo's mail: beside this file in an installed package, in fixtures/ in a checkout."""
    here = Path(__file__).resolve()
    places = [here.parent / "demo_mail", here.parents[3] / "fixtures" / "demo"]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DemoFailedError(
            f"the demo's mail is missing; looked for {' and '.join(map(str, places))}", hint="Install Excise again."
        )
    return found


def copy_mail(source: Path, target: Path) -> None:
    """Copy the mail, make whole Maildirs of those that lack ``new`` and ``tmp``, and date each file as its message."""
    shutil.copytree(source, target)
    for path in sorted(target.rglob("*")):
        if path.name == "cur":
            (path.parent / "new").mkdir()
            (path.parent / "tmp").mkdir()
        elif path.is_file() and (path.suffix == ".eml" or path.parent.name == "cur"):
            with path.open("rb") as file:
                sent = BytesHeaderParser(policy=email.policy.default).parse(file)["Date"]
            moment = email.utils.parsedate_to_datetime(sent).timestamp()
            os.utime(path, (moment, moment))
            path.rename(path.with_name(path.name.replace(";2,", ":2,")))


def _messages(root: Path) -> Counter[tuple[str, str]]:
    """Every message below ``root``: (its mailbox, SHA-256 of its bytes), read without any of Excise's own readers."""
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted(root.rglob("*")):
        owner = path.relative_to(root).parts[0]
        if path.suffix == ".mbox":
            box = mailbox.mbox(path, create=False)
            found.update((owner, hashlib.sha256(box.get_bytes(key, from_=True)).hexdigest()) for key in box.keys())  # noqa: SIM118
            box.close()
        elif path.suffix == ".eml" or path.parent.name in ("cur", "new"):
            found[owner, hashlib.sha256(path.read_bytes()).hexdigest()] += 1
    return found


def _compare(before: Counter[tuple[str, str]], now: Counter[tuple[str, str]], *, gone: int) -> None:
    missing, new = (before - now).total(), (now - before).total()
    if missing != gone or new:
        raise DemoFailedError(
            f"Python's mailbox module finds {count_of(missing, 'message')} missing and {new} new, "
            f"expected {gone} and 0",
            hint="This is a fault of Excise: please report it.",
        )
