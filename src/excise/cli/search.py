"""``excise search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from excise.cli.options import Given, authority_options, criteria_options, work_options
from excise.cli.screen import passed_over, put_json, say, table, tell, without_name, working
from excise.core.errors import worst_status
from excise.core.text import are, count_of, shown, shown_lines

if TYPE_CHECKING:
    from excise.api.looking import SearchedMailbox

_TOTALS = ("mailboxes_searched", "not_searched", "with_matches", "matches", "unreadable", "untestable", "messages")


@click.command("search")
@criteria_options
@work_options
@authority_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Look, and print what matches; change nothing, write no case.

    That it was done is written to your own access log ($EXCISE_ACCESS_LOG, or excise/access.jsonl in the user's state
    directory), without what was found.

    \b
    EXIT STATUS
      0 all was searched · 2 wrong usage · 3 refused by a safety rule
      6 a mailbox could not be opened · 7 damaged input
      9 some messages could not be tested (each is listed) · 130 interrupted
    """
    from excise import api

    given = Given(options)
    criteria, scope = given.criteria(family=True), given.scope()
    if not options["as_json"] and not options["quiet"]:
        tell(f"Rule: {criteria.words()}")
    for lost in scope.not_searched:
        tell(f"{shown(lost.name)}: not searched: {shown_lines(without_name(lost.name, lost.reason))}")
    for line in () if options["quiet"] else passed_over(scope.passed_over, scope.other_files):
        tell(line)
    rows: list[tuple[bool, tuple[str, ...]]] = []
    codes = [lost.exit_code for lost in scope.not_searched]
    totals = dict.fromkeys(_TOTALS, 0) | {"not_searched": len(scope.not_searched)}
    with working(options, len(scope.mailboxes) * (2 if options["with_replies"] else 1)) as setting:
        for searched in api.search(
            criteria,
            scope,
            setting,
            expect_mailboxes=given.value("expect_mailboxes"),
            authorisation=given.authorisation(),
            with_replies=options["with_replies"],
        ):
            name = searched.info.name
            if searched.error is not None:
                tell(f"{shown(name)}: not searched: {shown_lines(without_name(name, searched.error.message))}")
                codes.append(searched.error.exit_code)
                totals["not_searched"] += 1
            else:
                _add(totals, searched.counts)
                rows += _show(searched, options)
    _sum_up(totals, rows, as_json=options["as_json"])
    if totals["unreadable"] or totals["untestable"]:
        codes.append(9)
    ctx.exit(worst_status(codes))


def _show(searched: SearchedMailbox, options: dict[str, Any]) -> list[tuple[bool, tuple[str, ...]]]:
    """Show what was found in one mailbox, but for the rows of the tables, which are given back: whether each is a reply
    or forward, and its cells."""
    from excise.engine.family import WITH_REPLIES
    from excise.engine.search import Match

    name, rows = searched.info.name, []
    if options["verbose"]:
        seen = count_of(searched.counts.tally.seen, "message")
        tell(f"{shown(name)}: {seen}, {count_of(searched.counts.matches, 'match')}")
    for found in searched.found:
        if isinstance(found, Match):
            rows.append((WITH_REPLIES in found.matched, _row(name, found.envelope)))
            if options["as_json"]:
                put_json(
                    {
                        "source": searched.info.locator,
                        "mailbox": name,
                        "folder": found.folder,
                        "id": found.id,
                        "version": found.version,
                        **found.envelope,
                        "matched": found.matched,
                    }
                )
        elif not options["quiet"]:
            why = "; ".join(f"{term}: {reason}" for term, reason in found.terms)
            tell(f"{shown(name)}: {shown(found.where, 100)}: not tested: {shown(why, 300)}")
    return rows


def _sum_up(totals: dict[str, int], rows: list[tuple[bool, tuple[str, ...]]], *, as_json: bool) -> None:
    if as_json:
        put_json({"summary": totals})
        return
    for replies in (False, True):
        wanted = sorted(row for reply, row in rows if reply == replies)
        if wanted and replies:
            say(f"{len(wanted):,} of them {are(len(wanted))} replies to and forwards of the others (--with-replies):")
        if wanted:
            say(table(wanted, ("mailbox", "received", "from", "subject", "attachments")))
    say(
        f"{count_of(totals['matches'], 'match')} in {totals['with_matches']:,} of "
        f"{count_of(totals['mailboxes_searched'], 'mailbox')} searched, "
        f"{count_of(totals['messages'], 'message')}; "
        f"{count_of(totals['unreadable'] + totals['untestable'], 'message')} not tested, "
        f"{count_of(totals['not_searched'], 'mailbox')} not searched"
    )


def _add(totals: dict[str, int], counts: Any) -> None:
    totals["mailboxes_searched"] += 1
    totals["with_matches"] += counts.matches > 0
    totals["matches"] += counts.matches
    totals["unreadable"] += counts.tally.unreadable
    totals["untestable"] += counts.untestable
    totals["messages"] += counts.tally.seen


def _row(name: str, envelope: dict[str, Any]) -> tuple[str, ...]:
    names = ", ".join(entry["name"] or "(no name)" for entry in envelope["attachments"])
    when = (envelope["received"] or envelope["sent"] or "")[:16].replace("T", " ")
    return (
        shown(name),
        when,
        shown(envelope["from"] or "", 40),
        shown(envelope["subject"] or "", 60),
        shown(names, 60),
    )
