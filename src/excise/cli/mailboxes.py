"""``excise mailboxes``."""

from __future__ import annotations

from typing import Any

import click

from excise.cli.screen import put_json, say, table, tell
from excise.core.errors import worst_status
from excise.core.text import shown


@click.command("mailboxes")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.pass_context
def command(ctx: click.Context, /, sources: tuple[str, ...], as_json: bool, **_: Any) -> None:
    """List the mailboxes of the sources, with their kind and size; no mail is read.

    \b
    EXIT STATUS
      0 listed · 2 wrong usage · 6 a mailbox could not be opened · 7 no mail there
    """
    from excise.store_api.discovery import find_mailboxes

    scope = find_mailboxes(sources)
    for lost in scope.not_searched:
        tell(f"{shown(lost.name)}: {shown(lost.reason)}")
    for place in scope.passed_over:
        tell(f"Passed over: {shown(place)}")
    if as_json:
        for info in scope.mailboxes:
            put_json(
                {
                    "mailbox": info.name,
                    "kind": info.kind,
                    "locator": info.locator,
                    "identity": info.identity,
                    "size": info.size,
                }
            )
    else:
        rows = [(shown(i.name), i.kind, "" if i.size is None else f"{i.size:,}") for i in scope.mailboxes]
        say(table(rows, ("mailbox", "kind", "bytes")))
    ctx.exit(worst_status(lost.exit_code for lost in scope.not_searched))
