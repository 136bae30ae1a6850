"""``excise status``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.screen import put_json, say, show_mailboxes
from excise.core.text import count_of, shown

if TYPE_CHECKING:
    from excise.case.layout import Case


@click.command("status")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, as_json: bool) -> None:
    """Show where CASE stands: its plans, and for each mailbox what became of its items.

    \b
    EXIT STATUS
      0 shown · 2 not a case · 5 the log, a plan or a journal does not verify
    """
    from excise.case.bag import is_encrypted, is_sealed
    from excise.case.layout import Case
    from excise.case.plan import read_plan
    from excise.engine.run import unit_counts
    from excise.engine.standing_state import standing_states

    case = Case(case_dir)
    numbers = case.plan_numbers()
    closed = _closed(case)
    if not as_json:
        say(f"Case {shown(case.id)}" + ("" if numbers else ": no plan yet"))
    if closed is not None and not as_json:
        said = f": {shown(str(closed['statement']))}" if closed.get("statement") else ""
        say(f"Closed {closed['time']}{said}; nothing can be added to it any more")
    plans = [read_plan(case, number) for number in numbers]
    replaced = {plan.header["review"]["replaces"]: plan.number for plan in plans if "review" in plan.header}
    for plan in plans:
        number = plan.number
        encrypted = is_encrypted(case.bag_dir(number))
        stands = "run to its end, bag sealed" if is_sealed(case.bag_dir(number)) else "not run to its end"
        if encrypted:
            stands += ", evidence encrypted"
        if not plan.matches:
            stands = "nothing to do"
        if number in replaced:
            stands = f"reviewed, and replaced by plan {replaced[number]}"
        if not as_json:
            items = count_of(plan.matches, "item")
            kept = ", no evidence kept (hashes and envelopes alone)" if plan.hashes_only else ""
            say(f"Plan {number}: {plan.action.value}{kept}, {items}, {stands}; hash {plan.sha256}")
            show_mailboxes(plan, case)
            continue
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
        facts = {"plan": number, "plan_sha256": plan.sha256, "action": plan.action, "stands": stands}
        put_json({"summary": facts | {"encrypted": encrypted, "closed": closed is not None}})
    for standing in standing_states(case):
        if as_json:
            put_json({"standing_approval": standing.facts()})
            continue
        say(f"{standing.title}, {standing.stands}; hash {standing.sha256}")
        for one in standing.passes:
            say(f"  {shown(one.words)}")


def _closed(case: Case) -> dict[str, Any] | None:
    """The last record of a closed case; None where it is open."""
    from excise.case.chain import read_chain
    from excise.case.recorded import CLOSED

    records = read_chain(case.audit_path).records
    return records[-1] if records and records[-1]["type"] == CLOSED else None
