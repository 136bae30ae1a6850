"""What copy, move, purge and plan share: make the case and its plan, show it, have it confirmed, run it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from excise.cli.options import Given
from excise.cli.screen import (
    put_json,
    result_json,
    show_mailboxes,
    show_plan,
    show_result,
    tell,
    tell_not_searched,
    working,
)
from excise.core.errors import ConfirmationMissing, worst_status
from excise.core.text import are, count_of, shown
from excise.model.item import Action

if TYPE_CHECKING:
    from excise.api import Plan, RunResult, Work


def plan_and_run(options: dict[str, Any], action: Action, *, only_plan: bool = False) -> int:
    """Make a case and its plan, and unless ``only_plan``, run it once it is confirmed; the exit status."""
    from excise import api
    from excise.api.looking import check_expected
    from excise.engine.accounts import check_separate, try_writers
    from excise.engine.approval import check_second_person
    from excise.engine.authority import limited, narrow_only
    from excise.engine.planner import check_removable

    given = Given(options)
    policy = given.policy()
    order = limited(policy, given.order(action))
    order.criteria.require_for("move" if action.removes else "copy", narrow_only(policy))
    scope = given.scope()
    check_expected(scope, order.expect_mailboxes)
    check_removable(order, scope)  # refused before a case is made
    if order.no_evidence:
        check_second_person(policy.policy)
    locators = [info.locator for info in scope.mailboxes]
    check_separate(policy, action, locators)
    for closed in () if only_plan else try_writers(action, locators):
        tell(f"Warning: {shown(closed)}")
    with (
        working(options, len(scope.mailboxes) * (1 if only_plan else 2)) as setting,
        api.new_case(options["case_dir"], order.sources, given.authorisation(), setting) as work,
    ):
        plan = work.plan(order, scope)
        if options.get("reveal"):
            for subject, count in api.distinct_subjects(plan):
                work.audit.append({"type": "subject", "plan": plan.number, "subject": subject[:1000], "count": count})
            work.save_head()
        report_plan(options, plan)
        if only_plan:
            tell_not_searched(plan)
            if options["as_json"]:
                put_json({"summary": _plan_json(plan)})
            return worst_status([plan_status(plan), tell_lacking(work)])
        if action.removes:
            try:
                confirm(options, work, plan)
            except ConfirmationMissing as error:
                tell_not_searched(plan)
                error.exit_code = worst_status([error.exit_code, plan_status(plan)])
                raise
        return finish(options, work, work.run(plan))


def report_plan(options: dict[str, Any], plan: Plan) -> None:
    """Show the plan, as a table or as JSON."""
    from excise.case.plan import all_matches

    if not options["as_json"]:
        if not options["quiet"]:
            show_plan(plan)
        return
    for unit, match in all_matches(plan):
        origin = plan.unit(match["from_unit"]) if plan.action is Action.IMPORT else unit
        put_json(
            {
                "source": origin.locator,
                "mailbox": origin.name,
                "folder": match.get("from_folder", match["folder"]),
                "id": match["id"],
                "version": match["version"],
                **match["envelope"],
                "matched": match["matched"],
            }
        )
    put_json({"plan": _plan_json(plan)})


def _plan_json(plan: Plan) -> dict[str, Any]:
    told = {name: plan.header[name] for name in ("accounts", "warnings") if name in plan.header}
    return {
        "plan": plan.number,
        "plan_sha256": plan.sha256,
        "matches": plan.matches,
        **plan.header["totals"],
        **told,
    }


def plan_status(plan: Plan) -> int:
    """The exit status of a plan that is not run."""
    codes = [unit.not_searched_code for unit in plan.units if unit.not_searched]
    codes += [3] * bool(plan.header.get("refused") or any(unit.refused for unit in plan.units))
    codes += [8] * any(unit.held for unit in plan.units)
    codes += [9] * bool(plan.header["totals"].get("untestable") or plan.header["totals"].get("unreadable"))
    return worst_status(codes)


def confirm(options: dict[str, Any], work: Work, plan: Plan) -> None:
    """Have a person confirm the plan, or the number that was expected; ConfirmationMissing otherwise (S05)."""
    expected = options.get("expect_matches")
    if expected not in (None, plan.matches):
        raise ConfirmationMissing(
            f"expected {count_of(expected, 'match')}, found {plan.matches:,}: nothing was removed",
            hint=f"Look at the plan; to run it all the same: excise run {work.case.root} --confirm {plan.sha256[:12]}",
        )
    if not plan.removable and not plan.header["refused"]:
        work.confirm(plan, "nothing to remove")
    elif options.get("yes"):
        if expected is None:
            raise ConfirmationMissing(
                "--yes needs --expect-matches N: nothing was removed",
                hint=f"There {are(plan.matches)} {count_of(plan.matches, 'match')}.",
            )
        work.confirm(plan, f"--yes --expect-matches {expected}")
    elif sys.stdin.isatty() and sys.stdout.isatty():
        if options["quiet"] or options["as_json"]:
            show_plan(plan)
        ask(work, plan)
    else:
        raise ConfirmationMissing(
            "this was a dry run: nothing was removed",
            hint=f"To remove them: excise run {work.case.root} --confirm {plan.sha256[:12]}",
        )


def ask(work: Work, plan: Plan) -> None:
    """Ask for the number of matches to be typed."""
    typed = click.prompt(f"To {plan.action.value} them, type the number of matches", default="", show_default=False)
    if typed.strip().replace(",", "") != str(plan.matches):
        raise ConfirmationMissing(
            "not confirmed: nothing was removed", hint=f"To run it later: excise run {work.case.root}"
        )
    work.confirm(plan, "number of matches typed at a terminal")


def confirm_putting(options: dict[str, Any], plan: Plan, verb: str, hint: str) -> str:
    """Have a person confirm a plan that puts messages into mailboxes; how it was. ConfirmationMissing otherwise."""
    expected = options["expect_matches"]
    if expected is not None and expected != plan.matches:
        raise ConfirmationMissing(
            f"expected {count_of(expected, 'message')}, found {plan.matches:,}: nothing was {verb}"
        )
    if options["yes"]:
        return "--yes" + ("" if expected is None else f" --expect-matches {expected}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfirmationMissing(f"this was a dry run: nothing was {verb}", hint=hint)
    typed = click.prompt(f"To have them {verb}, type their number", default="", show_default=False)
    if typed.strip().replace(",", "") != str(plan.matches):
        raise ConfirmationMissing(f"not confirmed: nothing was {verb}")
    return "number of messages typed at a terminal"


def finish(options: dict[str, Any], work: Work, result: RunResult) -> int:
    """Show how a run ended; the exit status."""
    if options["as_json"]:
        put_json(result_json(result))
    else:
        if options.get("verbose"):
            show_mailboxes(result.plan, work.case)
        show_result(result, work.case)
    status = worst_status([result.exit_code, tell_lacking(work)])
    if result.interrupted:
        tell(f"excise: interrupted; to go on: excise resume {work.case.root}")
        return worst_status([status, 130])
    return status


def tell_lacking(work: Work) -> int:
    """Tell which time stamps and outside logs were asked for and could not be had; 6 where there are any."""
    for lacking in work.proving.lacking:
        tell(f"excise: {shown(lacking)}")
    return 6 if work.proving.lacking else 0
