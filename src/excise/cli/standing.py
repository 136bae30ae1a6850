"""``excise standing``."""

from __future__ import annotations

import errno
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.approve import own_case, show_case, tell_written
from excise.cli.screen import say, tell
from excise.core.clock import iso
from excise.core.errors import ConfirmationMissing, UsageError
from excise.core.files import os_error
from excise.core.text import count_of, shown

if TYPE_CHECKING:
    from excise.api import Case, Work
    from excise.api.approving import Approver
    from excise.case.standing import Standing

_FILE = click.Path(path_type=Path, dir_okay=False)
_MAILBOXES = 50


@click.command("standing")
@click.argument("what", metavar="CASE|REQUEST", type=click.Path(path_type=Path))
@click.option("--per-hour", type=click.IntRange(1), metavar="N", help="Items that may be removed in any 60 minutes.")
@click.option("--until", metavar="TIME", help="Ask anew: the end, after which nothing is removed (ISO 8601).")
@click.option("--request-out", type=_FILE, metavar="FILE", help="Write the request, for those who approve it.")
@click.option("--role", metavar="ROLE", help="Approve as this, where you may as more than one.")
@click.option("--key", type=_FILE, metavar="FILE", help="Sign with this key; a public key for one in an agent.")
@click.option("--statement-out", type=_FILE, metavar="FILE", help="Write the statement, and FILE.sig where signed.")
@click.option("--statement-in", type=_FILE, metavar="FILE", help="Take a statement and FILE.sig into the case.")
@click.option("--yes", is_flag=True, help="Sign without a question; needs --per-hour, the number asked for.")
@click.pass_context
def command(ctx: click.Context, /, what: Path, **options: Any) -> None:
    """Have the passes of a sweep approved beforehand: the same criteria and mailboxes, a cap an hour, and an end.

    The operator asks (CASE --per-hour N --until TIME --request-out FILE) and hands the request over. The approver sees
    what may be removed unseen, and signs (REQUEST --key KEY --statement-out FILE). The operator takes the statement
    into the case (CASE --statement-in FILE), and excise sweep CASE --standing runs its passes under it. It is refused
    unless the policy allows it.

    \b
    EXIT STATUS
      0 done · 2 wrong usage, or no approval is needed · 3 refused by the policy
      4 not confirmed, not allowed, or the approval would not count · 5 the terms do not verify
      6 a file cannot be read
    """
    if sum(bool(options[name]) for name in ("until", "key", "statement_in")) > 1:
        raise UsageError("only one of --until, --key and --statement-in can be given")
    if not what.exists():
        raise os_error(FileNotFoundError(errno.ENOENT, "No such file or directory"), what, "opening it")
    if what.is_dir():
        _with_case(what, options)
    else:
        _with_request(what, options)
    ctx.exit(0)


def _with_case(root: Path, options: dict[str, Any]) -> None:
    from excise import api
    from excise.api import standing as standing_api
    from excise.api.approving import take_in
    from excise.case.request import write_standing_request
    from excise.case.standing import newest_standing

    own_case(root)
    with api.open_case(root) as work:
        if options["until"]:
            if options["per_hour"] is None:
                raise UsageError("--per-hour N is missing: how much may be removed in an hour that nobody has seen")
            standing = standing_api.ask(work, options["per_hour"], _moment(options["until"]))
            _show(work.case, standing)
        else:
            standing = newest_standing(work.case)
        if options["request_out"]:
            write_standing_request(work.case, standing, options["request_out"])
            say(f"{standing.name.capitalize()} is in {options['request_out']} for those who approve it:")
            say(f"  excise standing {shlex.quote(str(options['request_out']))} --key KEY --statement-out FILE")
        elif options["statement_in"]:
            said = take_in(work, standing, options["statement_in"]).statement
            say(f"Taken into the case: {standing.name}, approved by {shown(said.user)} as {shown(said.role)}")
        elif options["key"]:
            _approve(work.case, standing, options, work)
        _tell_missing(work, standing)


def _moment(text: str) -> datetime:
    from excise.criteria.options import parse_moment, resolve_timezone

    return parse_moment(text, resolve_timezone(None), "until")


def _with_request(path: Path, options: dict[str, Any]) -> None:
    from excise.case.request import opened_standing

    if options["request_out"] or options["statement_in"] or options["until"]:
        raise UsageError(f"{path}: expected a case, found a file", hint="These options are for the case's operator.")
    if not options["statement_out"]:
        raise UsageError("--statement-out FILE is missing: what you sign goes back to the operator in a file")
    with opened_standing(path) as (case, standing):
        _approve(case, standing, options, None)


def _approve(case: Case, standing: Standing, options: dict[str, Any], work: Work | None) -> None:
    """Show, have it confirmed, sign, and put the statement where it belongs."""
    from excise.api.approving import add, policy_for, signature_for, statement_for, who_approves, write_out
    from excise.engine.standing import check_allowed

    policy = policy_for(standing, here=work is not None)
    check_allowed(standing, policy)
    approver = who_approves(case, standing, policy, options["role"])
    _show(case, standing)
    _show_signer(standing, approver)
    _confirm(standing, options)
    statement, key, out = statement_for(standing, approver), options["key"], options["statement_out"]
    signature = signature_for(case, standing, policy, statement, key) if key else None
    if out is None and work is not None and signature is not None:
        add(work, standing, statement, signature)
        say(f"Signed as {shown(approver.role)}; it is in the case.")
        return
    write_out(out, statement, signature)
    signed = signature is not None
    tell_written(out, shown(approver.role), "standing", "excise-standing", signed=signed, away=work is None)


def _show(case: Case, standing: Standing) -> None:
    """All that is needed to decide."""
    from excise.engine.authority import needs

    terms = standing.terms
    show_case(case)
    say(f"{standing.name.capitalize()}: {terms.action}, disposal {shown(', '.join(terms.disposals), 60)}")
    say(f"Rule: {shown(terms.rule)}")
    say(f"In {count_of(len(terms.scope.locators), 'mailbox')}, and no other:")
    for locator in terms.scope.locators[:_MAILBOXES]:
        say(f"  {shown(locator, 100)}")
    if len(terms.scope.locators) > _MAILBOXES:
        say(f"  … and {len(terms.scope.locators) - _MAILBOXES:,} more")
    say(f"Evidence is kept as: {', '.join(map(shown, terms.evidence))}")
    cap = count_of(terms.per_hour, "message")
    say(f"WHAT MATCHES IS REMOVED THOUGH NOBODY LOOKED AT IT: up to {cap} in any 60 minutes,")
    say(f"until {iso(terms.until)}.")
    for need in needs(standing):
        say(f"Needs: {need}")
    say(f"Hash of the terms: {standing.sha256}")


def _show_signer(standing: Standing, approver: Approver) -> None:
    name = f"{shown(approver.role)} ({shown(approver.principal)})"
    say(f"You sign as {name}, until {iso(standing.terms.until)}.")


def _confirm(standing: Standing, options: dict[str, Any]) -> None:
    expected, cap = options["per_hour"], standing.terms.per_hour
    if expected is not None and expected != cap:
        raise ConfirmationMissing(f"expected {expected:,} an hour, found {cap:,}: nothing was signed")
    if options["yes"]:
        if expected is None:
            raise ConfirmationMissing("--yes needs --per-hour N: nothing was signed")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfirmationMissing(
            "nothing was signed", hint=f"To approve it: --yes --per-hour N, with N = {cap}, the cap that you saw"
        )
    typed = click.prompt("To approve this, type the number of messages an hour", default="", show_default=False)
    if typed.strip().replace(",", "") != str(cap):
        raise ConfirmationMissing("not approved: nothing was signed")


def _tell_missing(work: Work, standing: Standing) -> None:
    from excise.api.approving import still_missing

    missing = still_missing(work.case, standing, work)
    for one in missing:
        tell(f"Not approved yet: {one}")
    if not missing:
        tell(f"Nothing is missing: excise sweep {shlex.quote(str(work.case.root))} --standing")
