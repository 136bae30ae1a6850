"""``excise run``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from excise.cli.moving import ask, report_plan
from excise.cli.options import proof_options, work_options
from excise.cli.replacing import finish_import
from excise.cli.screen import tell, working
from excise.core.errors import ConfirmationMissing
from excise.core.text import shown
from excise.model.item import Action


@click.command("run")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--confirm", metavar="HASH", help="The plan's hash, its first 12 hex digits or more.")
@work_options
@proof_options
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, confirm: str | None, **options: Any) -> None:
    """Execute the newest plan of CASE, exactly as it was frozen.

    \b
    EXIT STATUS
      0 all was done · 2 wrong usage · 3 refused by a safety rule
      4 not confirmed, nothing was removed · 5 evidence does not verify
      6 a mailbox could not be opened · 7 damaged input · 8 held
      9 some items were changed, failed or untestable (each is listed) · 130 interrupted
    """
    from excise import api

    with working(options, 0) as setting, api.open_case(case_dir, setting) as work:
        plan = work.newest_plan()
        if confirm is not None:
            work.confirm_by_hash(plan, confirm)
        elif plan.action is not Action.COPY and not work.is_confirmed(plan):
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise ConfirmationMissing(
                    f"{case_dir}: plan {plan.number} has not been confirmed: nothing was removed",
                    hint=f"See excise status {case_dir}, then: excise run {case_dir} --confirm {plan.sha256[:12]}",
                )
            report_plan({**options, "quiet": False}, plan)
            ask(work, plan)
        for warning in plan.header.get("warnings", ()):
            tell(f"Warning: {shown(str(warning))}")
        ctx.exit(finish_import(options, work, work.run(plan)))
