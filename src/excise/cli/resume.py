"""``excise resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from excise.cli.options import identity_option, proof_options, work_options
from excise.cli.replacing import finish_import, is_half_replaced, replace
from excise.cli.screen import working
from excise.core.errors import UsageError
from excise.model.item import Action


@click.command("resume")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option(
    "--finish", "give_up", is_flag=True, help="Record what is still open afterwards as failed, and seal the bag."
)
@identity_option
@work_options
@proof_options
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, give_up: bool, **options: Any) -> None:
    """Finish an interrupted run of CASE: no message lost, none twice in the evidence, none removed that was not
    preserved.

    \b
    EXIT STATUS
      0 all was done · 2 there is nothing to resume · 3 refused by a safety rule
      4 the plan was never confirmed · 5 evidence does not verify
      6 a mailbox could not be opened · 7 damaged input · 8 held
      9 some items were changed, failed or untestable (each is listed) · 130 interrupted
    """
    from excise import api

    with (
        working(options, 0) as setting,
        api.open_case(case_dir, setting) as work,
        api.opened_case(work, options["identities"], "resume"),
    ):
        plan = work.newest_plan()
        if not any(r["type"] == "run-started" and r["plan"] == plan.number for r in work.audit.records) and not (
            plan.action is Action.COPY or work.is_confirmed(plan)
        ):
            raise UsageError(
                f"{case_dir}: plan {plan.number} was never begun, so there is nothing to resume",
                hint=f"To run it: excise run {case_dir} --confirm {plan.sha256[:12]}",
            )
        if is_half_replaced(work, plan) and (rest := work.plan_replacing(plan)):
            ctx.exit(replace(options, work, rest))
        ctx.exit(finish_import(options, work, work.run(plan, finish=give_up)))
