"""The end of ``excise import --replace``: other versions of what was imported are removed, by a plan of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from excise.cli.moving import confirm, finish, plan_status, report_plan
from excise.cli.screen import put_json, say, tell_not_searched
from excise.core.errors import ConfirmationMissing, worst_status
from excise.core.text import are, count_of
from excise.engine.replacing import wants_replacing

if TYPE_CHECKING:
    from excise.api import Plan, RunResult, Work


def tell_counts(options: dict[str, Any], work: Work, plan: Plan) -> int:
    """Compare the target with the evidence and tell what is new, replaced and the same; how many are replaced."""
    found = work.survey_replacing(plan)
    if options["as_json"]:
        put_json({"replacing": {"new": found.new, "replaced": len(found.old), "same": found.same}})
    elif not options["quiet"]:
        say(f"New: {found.new:,}; there already: {found.same:,}; other versions there, to be removed afterwards by a")
        say(f"plan of their own: {len(found.old):,}")
    return len(found.old)


def check_expected(options: dict[str, Any], replaced: int) -> None:
    """ConfirmationMissing where nobody said how many messages are replaced, or another number (S05)."""
    expected = options["expect_replaced"]
    if expected is not None and expected != replaced:
        raise ConfirmationMissing(
            f"expected {count_of(expected, 'message')} to replace, found {replaced:,}: nothing was touched"
        )
    if options["yes"] and expected is None and replaced:
        raise ConfirmationMissing(
            "--yes needs --expect-replaced N with --replace: nothing was touched",
            hint=f"There {are(replaced)} {count_of(replaced, 'message')} to replace.",
        )


def finish_import(options: dict[str, Any], work: Work, result: RunResult) -> int:
    """Show how a run ended and, after an import that replaces, go on with the removal; the exit status."""
    status = finish(options, work, result)
    if not (wants_replacing(result.plan) and result.sealed):
        return status
    plan = work.plan_replacing(result.plan)
    return status if plan is None else worst_status([status, replace(options, work, plan)])


def is_half_replaced(work: Work, plan: Plan) -> bool:
    """True where ``plan`` is a finished import, and the removal of other versions was not planned yet."""
    return wants_replacing(plan) and any(
        record["type"] == "run-finished" and record.get("plan") == plan.number for record in work.audit.records
    )


def replace(options: dict[str, Any], work: Work, plan: Plan) -> int:
    """Show a plan of other versions, have it confirmed and run it; the exit status."""
    report_plan(options, plan)
    said = {**options, "expect_matches": options.get("expect_replaced")}
    try:
        confirm(said, work, plan)
    except ConfirmationMissing as error:
        tell_not_searched(plan)
        error.message = f"what was to be imported is there; its other versions stay: {error.message}"
        error.exit_code = worst_status([error.exit_code, plan_status(plan)])
        raise
    return finish(options, work, work.run(plan))
