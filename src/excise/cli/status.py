"""``excise status``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.screen import put_json, say, show_mailboxes
from excise.core.text import shown


@click.command("status")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, as_json: bool) -> None:
    """Show where CASE stands: its plans, and for each mailbox what became of its items.

    \b
    EXIT STATUS
      0 shown · 2 not a case · 5 a plan or journal does not verify
    """
    from excise.case.bag import is_sealed
    from excise.case.layout import Case
    from excise.case.plan import read_plan
    from excise.engine.run import unit_counts

    case = Case(case_dir)
    numbers = case.plan_numbers()
    if not as_json:
        say(f"Case {shown(case.id)}" + ("" if numbers else ": no plan yet"))
    plans = [read_plan(case, number) for number in numbers]
    replaced = {plan.header["review"]["replaces"]: plan.number for plan in plans if "review" in plan.header}
    for plan in plans:
        number = plan.number
        stands = "run to its end, bag sealed" if is_sealed(case.bag_dir(number)) else "not run to its end"
        if not plan.matches:
            stands = "nothing to do"
        if number in replaced:
            stands = f"reviewed, and replaced by plan {replaced[number]}"
        if as_json:
            for unit, counts in unit_counts(case, plan):
                put_json(
                    {
                        "plan": number,
                        "unit": unit.unit,
                        "mailbox": unit.name,
                        "matches": unit.matches,
                        "items": counts,
                        "not_searched": unit.not_searched or None,
                        "refused": unit.refused or None,
                    }
                )
            put_json({"summary": {"plan": number, "plan_sha256": plan.sha256, "action": plan.action, "stands": stands}})
            continue
        say(f"Plan {number}: {plan.action.value}, {plan.matches:,} items, {stands}; hash {plan.sha256}")
        show_mailboxes(plan, case)
