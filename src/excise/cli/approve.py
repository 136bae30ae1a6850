"""``excise approve``."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.options import confirm_options
from excise.cli.screen import say, show_plan, tell
from excise.core.errors import ConfirmationMissing, UsageError
from excise.core.files import os_error
from excise.core.text import count_of, shown

if TYPE_CHECKING:
    from excise.api import Case, Plan, Work
    from excise.api.approving import Approver

_FILE = click.Path(path_type=Path, dir_okay=False)
_SUBJECTS = 200


@click.command("approve")
@click.argument("what", metavar="CASE|REQUEST", type=click.Path(path_type=Path))
@click.option("--request-out", type=_FILE, metavar="FILE", help="Write the plan, for those who approve it.")
@click.option("--role", metavar="ROLE", help="Approve as this, where you may as more than one.")
@click.option("--key", type=_FILE, metavar="FILE", help="Sign with this key; a public key for one in an agent.")
@click.option("--statement-out", type=_FILE, metavar="FILE", help="Write the statement, and FILE.sig where signed.")
@click.option("--statement-in", type=_FILE, metavar="FILE", help="Take a statement and FILE.sig into the case.")
@click.option("--all-subjects", is_flag=True, help="List every distinct subject.")
@confirm_options
@click.pass_context
def command(ctx: click.Context, /, what: Path, **options: Any) -> None:
    """Approve the newest plan of CASE, or the plan in a REQUEST, as a second person; operators sign here too.

    The operator writes a request (--request-out) and hands it over. The approver sees what the plan would do, confirms
    it, and signs (--key, --statement-out). The operator takes the statement into the case (--statement-in), and excise
    run verifies it. Whoever owns the case signs without handing over.

    \b
    EXIT STATUS
      0 done · 2 wrong usage, or no approval is needed · 3 refused by the policy
      4 not confirmed, or the approval would not count · 5 the plan does not verify
      6 a file cannot be read
    """
    if sum(bool(options[name]) for name in ("request_out", "statement_in")) > 1:
        raise UsageError("--request-out and --statement-in are both given", hint="Give one of them.")
    if not what.exists():
        raise os_error(FileNotFoundError(errno.ENOENT, "No such file or directory"), what, "opening it")
    if what.is_dir():
        _with_case(what, options)
    else:
        _with_request(what, options)
    ctx.exit(0)


def own_case(root: Path) -> None:
    """A UsageError unless the case at ``root`` is the user's own, and closed to others."""
    if (root.stat().st_uid, root.stat().st_mode & 0o777) != (os.getuid(), 0o700):
        raise UsageError(
            f"{root}: expected a case of your own, closed to others (mode 700)",
            hint="Have its operator write a request, with --request-out FILE.",
        )


def _with_case(root: Path, options: dict[str, Any]) -> None:
    from excise import api
    from excise.api.approving import take_in
    from excise.case.request import write_request

    own_case(root)
    with api.open_case(root) as work:
        plan = work.newest_plan()
        if options["request_out"]:
            write_request(work.case, plan, options["request_out"])
            say(f"Plan {plan.number}, hash {plan.sha256}, is in {options['request_out']} for those who approve it:")
            say(f"  excise approve {shlex.quote(str(options['request_out']))} --key KEY --statement-out FILE")
        elif options["statement_in"]:
            signed = take_in(work, plan, options["statement_in"])
            said = signed.statement
            say(f"Taken into the case: plan {plan.number}, approved by {shown(said.user)} as {shown(said.role)}")
        else:
            _approve(work.case, plan, options, work)
        _tell_missing(work.case, plan, work)


def _with_request(path: Path, options: dict[str, Any]) -> None:
    from excise.case.request import opened_request

    if options["request_out"] or options["statement_in"]:
        raise UsageError(f"{path}: expected a case, found a file", hint="These options are for the case's operator.")
    if not options["statement_out"]:
        raise UsageError("--statement-out FILE is missing: what you sign goes back to the operator in a file")
    with opened_request(path) as (case, plan):
        _approve(case, plan, options, None)


def _approve(case: Case, plan: Plan, options: dict[str, Any], work: Work | None) -> None:
    """Show, have it confirmed, sign, and put the statement where it belongs."""
    from excise.api.approving import add, policy_for, signature_for, statement_for, who_approves, write_out

    policy = policy_for(plan, here=work is not None)
    approver = who_approves(case, plan, policy, options["role"])
    _show(case, plan, approver, every=options["all_subjects"])
    _confirm(plan, options)
    statement, key, out = statement_for(plan, approver), options["key"], options["statement_out"]
    if out is None and key is None:
        raise UsageError("--key FILE is missing", hint="Name your key, or write the statement: --statement-out FILE")
    signature = signature_for(case, plan, policy, statement, key) if key else None
    signed_as = f"{shown(approver.role)} for {count_of(approver.hours, 'hour')}"
    if out is None and work is not None and signature is not None:
        add(work, plan, statement, signature)
        say(f"Signed as {signed_as}; it is in the case.")
        return
    write_out(out, statement, signature)
    tell_written(out, signed_as, "approve", "excise-approval", signed=signature is not None, away=work is None)


def tell_written(out: object, signed_as: str, command: str, namespace: str, *, signed: bool, away: bool) -> None:
    """Say where a statement is, and what is to be done with it. ``away``: it was made without the case."""
    if signed:
        say(f"Signed as {signed_as}: {out} and {out}.sig")
    else:
        say(f"Not signed yet. Sign it: ssh-keygen -Y sign -n {namespace} -f KEY {shlex.quote(str(out))}")
    if away:
        say(f"Give both files to the operator: excise {command} CASE --statement-in FILE")


def show_case(case: Case) -> None:
    """Who made a case, and what for."""
    said = case.facts.get("authorisation", {})
    user, host, label = (shown(str(said.get(key)) or "-", 100) for key in ("user", "host", "operator"))
    say(f"Case {shown(case.id)}, made {shown(str(said.get('time')), 30)} by the user {user} on {host}")
    say(f"Operator, as they say: {label}")
    say(f"Ticket: {shown(str(said.get('ticket')) or '-', 200)}")
    say(f"Reason: {shown(str(said.get('reason')) or '-', 500)}")


def _show(case: Case, plan: Plan, approver: Approver, *, every: bool) -> None:
    """All that is needed to decide."""
    show_case(case)
    show_plan(plan, None if every else _SUBJECTS)
    if plan.action.removes and not plan.hashes_only:
        say(f"Evidence is kept as: {', '.join(shown(str(kind)) for kind in plan.header['evidence'])}")
    hours = count_of(approver.hours, "hour")
    say(f"You sign as {shown(approver.role)} ({shown(approver.principal)}), for {hours} from now.")


def _confirm(plan: Plan, options: dict[str, Any]) -> None:
    expected = options["expect_matches"]
    if expected is not None and expected != plan.matches:
        raise ConfirmationMissing(f"expected {count_of(expected, 'match')}, found {plan.matches:,}: nothing was signed")
    if options["yes"]:
        if expected is None:
            raise ConfirmationMissing("--yes needs --expect-matches N: nothing was signed")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfirmationMissing(
            "nothing was signed", hint=f"To approve it: --yes --expect-matches N, with N = {plan.matches}"
        )
    typed = click.prompt("To approve this, type the number of matches", default="", show_default=False)
    if typed.strip().replace(",", "") != str(plan.matches):
        raise ConfirmationMissing("not approved: nothing was signed")


def _tell_missing(case: Case, plan: Plan, work: Work) -> None:
    from excise.api.approving import still_missing

    missing = still_missing(case, plan, work)
    for one in missing:
        tell(f"Not approved yet: {one}")
    if not missing:
        tell(f"Nothing is missing: excise run {shlex.quote(str(case.root))}")
