"""``excise import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.moving import confirm_putting, plan_status, report_plan
from excise.cli.options import Given, authority_options, confirm_options, proof_options, term_options, work_options
from excise.cli.replacing import check_expected, finish_import, tell_counts
from excise.cli.screen import tell_not_searched, working
from excise.core.errors import ConfirmationMissing, UsageError, worst_status

if TYPE_CHECKING:
    from excise.api import ImportOrder, Plan, Work

_SHARE = "Replace nothing where it is a larger share of a mailbox of 40 messages or more (default 25)."
_CASE = click.Path(path_type=Path, file_okay=False)


@click.command("import")
@click.argument("evidence", metavar="EVIDENCE")
@click.option("--into", required=True, metavar="SOURCE", help="The mailbox that takes them.")
@click.option("--case", "case_dir", type=_CASE, required=True, metavar="DIR", help="The new case directory.")
@click.option("--merge", is_flag=True, help="Only what the mailbox lacks (the default).")
@click.option("--replace", is_flag=True, help="Then remove its other versions of them, by a plan of their own.")
@click.option("--folder-prefix", metavar="PATH", help="Put their folders below this one.")
@click.option("--max-total", type=click.IntRange(0), metavar="N", help="Import nothing at all where there are more.")
@click.option("--max-per-mailbox", type=click.IntRange(0), metavar="N", help="Replace nothing where it is more.")
@click.option("--max-share", type=click.FloatRange(0, 100), metavar="PERCENT", help=_SHARE)
@click.option("--expect-replaced", type=click.IntRange(0), metavar="N", help="How many there must be to replace.")
@term_options
@confirm_options
@work_options
@proof_options
@authority_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Put what EVIDENCE holds, and a mailbox lacks, into that mailbox; nothing is doubled when it is run twice.

    EVIDENCE is a mail store, a case (its newest evidence), or a bag of a case or a part in it. All of its messages are
    meant, or those that criteria match. Without a terminal, give --yes.

    \b
    EXIT STATUS
      0 all are there · 2 wrong usage · 3 refused by a safety rule
      4 not confirmed, nothing was imported · 5 evidence does not verify
      6 a mailbox could not be opened · 7 damaged input
      9 some items were changed, failed or not read (each is listed) · 130 interrupted
    """
    from excise import api

    given = Given(options)
    given.policy()
    order = _order(options, given)
    sources = (order.given, options["into"], order.into.locator)
    with (
        working(options, 0) as setting,
        api.new_case(options["case_dir"], sources, given.authorisation(), setting) as work,
    ):
        plan = work.plan_import(order)
        report_plan(options, plan)
        replaced = tell_counts(options, work, plan) if options["replace"] else 0
        _confirm(options, work, plan, replaced)
        ctx.exit(finish_import(options, work, work.run(plan)))


def _order(options: dict[str, Any], given: Given) -> ImportOrder:
    from excise.api import ImportOrder
    from excise.engine.import_source import find_sources
    from excise.store_api.discovery import find_mailboxes

    for name in ("max_per_mailbox", "max_share", "expect_replaced"):
        if options[name] is not None and not options["replace"]:
            raise UsageError(f"--{name.replace('_', '-')} is for --replace", hint="Leave it out, or add --replace.")
    if options["merge"] and options["replace"]:
        raise UsageError("--merge and --replace exclude each other")
    into = find_mailboxes([options["into"]]).mailboxes
    if len(into) != 1:
        raise UsageError(f"{options['into']}: expected one mailbox to put messages into, found {len(into)}")
    order = ImportOrder(
        options["evidence"],
        find_sources(options["evidence"]),
        into[0],
        given.optional_criteria(),
        options["folder_prefix"] or "",
        options["max_total"],
        given.caps() if options["replace"] else None,
    )
    order.check()
    return order


def _confirm(options: dict[str, Any], work: Work, plan: Plan, replaced: int) -> None:
    if not plan.matches and not options["expect_matches"]:
        work.confirm(plan, "nothing to import")
        return
    hint = f"To import them: excise run {work.case.root} --confirm {plan.sha256[:12]}"
    try:
        if options["replace"]:
            check_expected(options, replaced)
        # A plan that a cap refuses is refused whether it is confirmed or not.
        how = "refused" if plan.header["refused"] else confirm_putting(options, plan, "imported", hint)
    except ConfirmationMissing as error:
        tell_not_searched(plan)
        error.exit_code = worst_status([error.exit_code, plan_status(plan)])
        raise
    work.confirm(plan, how)
