"""``excise purge``."""

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
from excise.core.errors import UsageError
from excise.model.item import Action


@click.command("purge")
@criteria_options
@evidence_options
@limit_options
@confirm_options
@click.option("--no-evidence", is_flag=True, help="Keep hashes and envelopes alone; needs a second person.")
@compact_option
@work_options
@proof_options
@authority_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Move with the disposal hard: as far as the store allows, no copy stays at the source. Evidence is kept.

    With --no-evidence, for what nobody may hold, nothing but hashes and envelopes is kept: it cannot be undone, and it
    needs the approval of a second person (excise approve) even where the policy asks for none.

    \b
    EXIT STATUS
      0 all was removed · 2 wrong usage · 3 refused by a safety rule
      4 not confirmed or approved, nothing was removed · 5 evidence does not verify
      6 a mailbox could not be opened · 7 damaged input · 8 held
      9 some items were changed, failed or untestable (each is listed) · 130 interrupted
    """
    if options["no_evidence"] and (options["evidence"] or options["rewrite"]):
        other = "--evidence" if options["evidence"] else "--rewrite, which keeps the old file as evidence,"
        raise UsageError(f"--no-evidence and {other} are both given", hint="Give one of them.")
    ctx.exit(plan_and_run(options, Action.PURGE))
