"""``excise plan``."""

from __future__ import annotations

from typing import Any

import click

from excise.cli.moving import plan_and_run
from excise.cli.options import (
    authority_options,
    compact_option,
    criteria_options,
    evidence_options,
    limit_options,
    proof_options,
    work_options,
)
from excise.model.item import Action


@click.command("plan")
@click.argument("action", type=click.Choice(["copy", "move", "purge"]))
@criteria_options
@evidence_options
@limit_options
@click.option("--disposal", type=click.Choice(["trash", "soft", "hard"]), help="What becomes of them at the source.")
@compact_option
@work_options
@proof_options
@authority_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Only the plan for ACTION: frozen, hashed, for review. excise run executes it.

    \b
    EXIT STATUS
      0 the plan is made · 2 wrong usage · 3 refused by a safety rule
      6 a mailbox could not be opened · 7 damaged input
      9 some messages could not be tested (each is listed) · 130 interrupted
    """
    ctx.exit(plan_and_run(options, Action(options.pop("action")), only_plan=True))
