"""``excise notice``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from excise.cli.screen import say, table
from excise.core.text import shown

if TYPE_CHECKING:
    from excise.api import Case, Plan


@click.command("notice")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option(
    "--account",
    metavar="NAME",
    help="The account at the mail server (default: those of the plan, else the user who runs this).",
)
def command(case_dir: Path, account: str | None) -> None:
    """Print a notice about the newest plan of CASE for whoever watches the mail server's own log.

    It tells which account reads, and which removes, in which mailboxes, when and with what, so that they can tell this
    work from an intrusion. It shows no subject, no correspondent and not the rule.

    \b
    EXIT STATUS
      0 printed · 2 not a case, or no plan · 5 the plan does not verify
    """
    from excise import __version__
    from excise.case.layout import Case, who
    from excise.case.plan import read_plan
    from excise.engine.accounts import planned

    case = Case(case_dir)
    plan = read_plan(case)
    said, me = case.facts.get("authorisation", {}), who()
    say(f"Notice: work on mailboxes with Excise {__version__}")
    user, host = shown(me["user"], 60), shown(me["host"], 100)
    told = planned(plan)
    for words in () if account else told:
        say(f"Account:   {shown(words, 300)}, used by the user {user} on {host}")
    if account or not told:
        say(f"Account:   {shown(account or me['user'], 100)}, used by the user {user} on {host}")
    say(f"Case:      {shown(case.id)}, ticket {shown(str(said.get('ticket')) or '-', 200)}")
    say(f"Plan:      {plan.number}, {plan.action.value}, hash {plan.sha256}")
    say(f"When:      {_window(case, plan)}")
    rows = [
        (shown(u.name), f"{u.seen:,}", f"{u.matches if plan.action.preserves else 0:,}", f"{_goes(plan, u.unit):,}")
        for u in plan.units
    ]
    say(table(rows, ("mailbox", "messages read", "copied", "removed at most")))
    say("What this account does in another mailbox, at another time, or beyond these numbers is not part of this work.")


def _goes(plan: Plan, number: int) -> int:
    """How many messages leave a mailbox at most."""
    unit = plan.unit(number)
    return 0 if unit.refused or not plan.action.removes else unit.matches - unit.doubtful - unit.held


def _window(case: Case, plan: Plan) -> str:
    """When the plan may be run: while its approvals hold, where it has any."""
    from excise.case.approvals import Signed, approvals
    from excise.core.clock import iso

    signed = [found.statement for found in approvals(case, plan.number) if isinstance(found, Signed)]
    if not signed:
        return f"after {shown(str(plan.header.get('made')), 40)}; nothing limits when it ends"
    begins, until = max(one.begins for one in signed), min(one.until for one in signed)
    return f"from {iso(begins)} until {iso(until)}, as the statements in the case say"
