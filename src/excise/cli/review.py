"""``excise review``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from excise.cli.screen import put_json, say, table, tell
from excise.core.errors import UsageError
from excise.core.text import count_of, shown

if TYPE_CHECKING:
    from excise.api import Plan, Work
    from excise.review.groups import Entry, Review
    from excise.review.preview import Preview

_SHOWN = 20


@click.command("review")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--group", metavar="GROUP", help="List the matches of this group.")
@click.option("--show", metavar="ID", help="Show one message: header, attachment names, text. It is logged.")
@click.option("--exclude", multiple=True, metavar="ID", help="Take this message out.")
@click.option("--exclude-group", multiple=True, metavar="GROUP", help="Take all messages of this group out.")
@click.option("--reason", metavar="TEXT", help="Why they are taken out, for the record.")
@click.option("--web", is_flag=True, help="Review on a page in a browser, served to this machine alone.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The page's port (default: any free one).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, **options: Any) -> None:
    """Look through the newest plan of CASE before it is run, and take out what does not belong there.

    Without options it lists the matches by subject, sender and mailbox. What is left becomes a new plan with a new
    hash; the old one can then not be run any more.

    \b
    EXIT STATUS
      0 shown, or the new plan is made · 2 wrong usage · 3 refused by a safety rule, or the case is in use
      5 the plan does not verify · 6 a mailbox could not be opened
      7 damaged input · 9 the message is gone or has changed
    """
    from excise import api
    from excise.review.groups import Review

    excluding = bool(options["exclude"] or options["exclude_group"])
    chosen = [bool(options["group"]), bool(options["show"]), excluding, options["web"]]
    if sum(chosen) > 1:
        raise UsageError("--group, --show, --exclude and --web are different things to do", hint="Give one of them.")
    with api.open_case(case_dir) as work:
        review = Review(work.newest_plan())
        if excluding:
            taken = review.exclude(list(options["exclude_group"]), list(options["exclude"]), options["reason"] or "")
            _tell_plan(options, work, work.plan_review(review.plan, review.exclusions), taken)
        elif options["show"]:
            _show(options, work, review)
        elif options["web"]:
            _serve(options, work, review)
        elif options["group"]:
            _list(options, review.group(options["group"]).entries)
        else:
            _overview(options, review)
    ctx.exit(0)


def _overview(options: dict[str, Any], review: Review) -> None:
    from excise.review.groups import KINDS

    if options["as_json"]:
        for group in review.groups.values():
            put_json({"group": group.id, "kind": group.kind, "label": group.label, "items": len(group.entries)})
        put_json({"summary": {"plan": review.plan.number, "items": len(review.entries)}})
        return
    say(f"Plan {review.plan.number}: {review.plan.action.value}, {count_of(len(review.entries), 'match')}")
    if "rule" in review.plan.header:
        say(f"Rule: {shown(review.plan.header['rule'])}")
    for kind, name in KINDS.items():
        groups = review.of_kind(kind)
        say("")
        rows = [(g.id, f"{len(g.entries):,}", shown(g.label, 100) or "(none)") for g in groups[:_SHOWN]]
        say(table(rows, ("group", "matches", name)))
        if len(groups) > _SHOWN:
            say(f"… and {len(groups) - _SHOWN:,} more; --json lists all")


def _list(options: dict[str, Any], entries: list[Entry]) -> None:
    if options["as_json"]:
        for entry in entries:
            put_json(
                {
                    "id": entry.id,
                    "mailbox": entry.mailbox,
                    "folder": entry.folder,
                    "subject": entry.subject,
                    "from": entry.sender,
                    "received": entry.received or None,
                    "attachments": entry.attachments,
                    "doubt": entry.doubt,
                }
            )
        return
    rows = [
        (
            entry.id,
            shown(entry.mailbox, 40),
            shown(entry.folder, 20),
            entry.received[:16].replace("T", " "),
            shown(entry.sender, 30),
            shown(entry.subject, 50),
            shown(", ".join(entry.attachments), 40),
        )
        for entry in entries
    ]
    say(table(rows, ("id", "mailbox", "folder", "received", "from", "subject", "attachments")))


def _show(options: dict[str, Any], work: Work, review: Review) -> None:
    from excise.review.preview import preview

    entry = review.entry(options["show"])
    try:
        seen = preview(work.case, review.plan, work.audit, review.plan.unit(entry.unit), entry.item)
    finally:
        work.save_head()
    if options["as_json"]:
        put_json({"id": entry.id, "origin": seen.origin, "fields": seen.fields, "attachments": seen.attachments,
                  "text": seen.text, "cut": seen.cut, "problems": seen.problems})  # fmt: skip
    else:
        _say_message(entry, seen)


def _say_message(entry: Entry, seen: Preview) -> None:
    say(f"{entry.id}, from the {seen.origin}: {shown(entry.mailbox)}, {shown(entry.folder) or '(no folder)'}")
    for name, value in seen.fields:
        say(f"{name}: {shown(value)}")
    for name, size in seen.attachments:
        say(f"Attachment: {shown(name)}" + ("" if size is None else f", {size:,} bytes"))
    for problem in seen.problems:
        say(f"Not readable: {shown(problem)}")
    say("")
    say(seen.text or "(no text)")
    if seen.cut:
        say("[… the text goes on]")


def _serve(options: dict[str, Any], work: Work, review: Review) -> None:
    from excise.engine.review import check_reviewable
    from excise.review.web import serve

    def write(reviewed: Review) -> Plan:
        return work.plan_review(reviewed.plan, reviewed.exclusions)

    check_reviewable(review.plan, work.audit)
    try:
        plan = serve(work.case, review, work.audit, write, options["port"] or 0, tell)
    except KeyboardInterrupt:
        plan = None
    if plan is None:
        tell("The review was closed; nothing was changed.")
    else:
        _tell_plan(options, work, plan, plan.header["review"]["excluded"])


def _tell_plan(options: dict[str, Any], work: Work, plan: Plan, taken: int) -> None:
    if options["as_json"]:
        facts = {"plan": plan.number, "plan_sha256": plan.sha256, "matches": plan.matches, "excluded": taken}
        put_json({"summary": facts})
        return
    say(f"Plan {plan.number} takes the place of plan {plan.header['review']['replaces']}: "
        f"{count_of(plan.matches, 'match')}, {taken:,} taken out")  # fmt: skip
    say(f"Plan hash: {plan.sha256}")
    say(f"To run it: excise run {shown(str(work.case.root))} --confirm {plan.sha256[:12]}")
