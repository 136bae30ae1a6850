"""``excise copy``."""

from __future__ import annotations

from typing import Any

import click

from excise.cli.moving import plan_and_run
from excise.cli.options import authority_options, criteria_options, evidence_options, proof_options, work_options
from excise.model.item import Action


@click.command("copy")
@criteria_options
@evidence_options
@work_options
@proof_options
@authority_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Copy matching messages into evidence in a new case; the sources stay as they are.

    \b
    EXIT STATUS
      0 all was copied · 2 wrong usage · 3 refused by a safety rule
      5 evidence does not verify · 6 a mailbox could not be opened · 7 damaged input
      9 some items were changed, failed or untestable (each is listed) · 130 interrupted
    """
    ctx.exit(plan_and_run(options, Action.COPY))
