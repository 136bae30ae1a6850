"""``excise import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.moving import confirm_putting, finish, plan_status, report_plan
from excise.cli.options import Given, authority_options, confirm_options, proof_options, term_options, work_options
from excise.cli.screen import tell_not_searched, working
from excise.core.errors import ConfirmationMissing, UsageError, worst_status

if TYPE_CHECKING:
    from excise.api import ImportOrder, Plan, Work

_CASE = click.Path(path_type=Path, file_okay=False)


@click.command("import")
@click.argument("evidence", metavar="EVIDENCE")
@click.option("--into", required=True, metavar="SOURCE", help="The mailbox that takes them.")
@click.option("--case", "case_dir", type=_CASE, required=True, metavar="DIR", help="The new case directory.")
@click.option("--merge", is_flag=True, help="Only what the mailbox lacks (the default).")
@click.option("--replace", is_flag=True, help="First remove its other versions of them (a later release).")
@click.option("--folder-prefix", metavar="PATH", help="Put their folders below this one.")
@click.option("--max-total", type=click.IntRange(0), metavar="N", help="Import nothing at all where there are more.")
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
        _confirm(options, work, plan)
        ctx.exit(finish(options, work, work.run(plan)))


def _order(options: dict[str, Any], given: Given) -> ImportOrder:
    from excise.api import ImportOrder
    from excise.engine.import_source import find_sources
    from excise.store_api.discovery import find_mailboxes

    if options["replace"]:
        raise UsageError(
            "--replace comes with a later release: nothing was touched",
            hint="Remove the other versions with excise move --message-ids FILE, then import.",
        )
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
    )
    order.check()
    return order


def _confirm(options: dict[str, Any], work: Work, plan: Plan) -> None:
    if not plan.matches and not options["expect_matches"]:
        work.confirm(plan, "nothing to import")
        return
    hint = f"To import them: excise run {work.case.root} --confirm {plan.sha256[:12]}"
    try:
        # A plan that a cap refuses is refused whether it is confirmed or not.
        how = "refused" if plan.header["refused"] else confirm_putting(options, plan, "imported", hint)
    except ConfirmationMissing as error:
        tell_not_searched(plan)
        error.exit_code = worst_status([error.exit_code, plan_status(plan)])
        raise
    work.confirm(plan, how)
