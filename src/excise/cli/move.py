"""``excise move``."""

from __future__ import annotations

from typing import Any

import click

from excise.cli.moving import plan_and_run
from excise.cli.options import (
    authority_options,
    compact_option,
    confirm_options,
    criteria_options,
    evidence_options,
    limit_options,
    proof_options,
    work_options,
)
from excise.model.item import Action


@click.command("move")
@criteria_options
@evidence_options
@limit_options
@confirm_options
@click.option("--disposal", type=click.Choice(["trash", "soft", "hard"]), help="What becomes of them at the source.")
@compact_option
@work_options
@proof_options
@authority_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Preserve matching messages in a new case, verify them, remove them, and prove it.

    The plan is shown first. At a terminal it asks for the number of matches to be typed; without one it stops after the
    plan (status 4) unless --yes --expect-matches N is given and N is right. excise run executes the plan later.

    \b
    EXIT STATUS
      0 all was removed · 2 wrong usage · 3 refused by a safety rule
      4 not confirmed, nothing was removed · 5 evidence does not verify
      6 a mailbox could not be opened · 7 damaged input · 8 held
      9 some items were changed, failed or untestable (each is listed) · 130 interrupted
    """
    ctx.exit(plan_and_run(options, Action.MOVE))
