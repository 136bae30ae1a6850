"""``excise restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from excise.cli.moving import confirm_putting, finish
from excise.cli.options import confirm_options, identity_option, proof_options, work_options
from excise.cli.screen import say, table, working
from excise.core.errors import UsageError
from excise.core.text import count_of, shown


@click.command("restore")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="ID", help="Only this evidence id (outcome.csv names them).")
@click.option("--into", metavar="SOURCE", help="Into this mailbox instead of where they came from.")
@identity_option
@confirm_options
@work_options
@proof_options
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, only: tuple[str, ...], into: str | None, **options: Any) -> None:
    """Put removed messages back where they were, with flags and dates; nothing is doubled when it is run twice.

    Without a terminal, give --yes.

    \b
    EXIT STATUS
      0 all are back · 2 wrong usage, or nothing was removed · 3 refused by a safety rule
      4 not confirmed · 5 evidence does not verify · 6 a mailbox could not be opened
      9 some items failed (each is listed) · 130 interrupted
    """
    from excise import api
    from excise.store_api.discovery import find_mailboxes

    target = None
    if into is not None:
        found = find_mailboxes([into]).mailboxes
        if len(found) != 1:
            raise UsageError(f"{into}: expected one mailbox to put messages into, found {len(found)}")
        target = found[0]
    with (
        working(options, 0) as setting,
        api.open_case(case_dir, setting) as work,
        api.opened_case(work, options["identities"], "restore"),
    ):
        plan = work.plan_restore(api.RestoreOrder(only, target))
        if not options["as_json"] and not options["quiet"]:
            say(f"Plan {plan.number}: restore {count_of(plan.matches, 'message')}")
            say(table([(shown(u.name, 60), f"{u.matches:,}") for u in plan.units], ("mailbox", "messages")))
        confirm_putting(options, plan, "put back", "Give --yes to put them back.")
        work.confirm(plan, "restore")
        ctx.exit(finish(options, work, work.run(plan)))
