"""``excise mailboxes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from excise.cli.options import Given, directory_options, scope_options
from excise.cli.screen import passed_over, put_json, say, table, tell
from excise.core.errors import UsageError, worst_status
from excise.core.text import shown, shown_lines

if TYPE_CHECKING:
    from excise.model.recipient import Recipient, Recipients
    from excise.store_api.discovery import Scope
    from excise.store_api.protocols import MailboxInfo, Measure

_DIRECTORY = ("ldap://", "ldaps://")


@click.command("mailboxes")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@scope_options
@directory_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """List the mailboxes of the sources, with their kind and size; no mail is read.

    A server is asked how many items and bytes each part holds; what it does not tell is shown as unknown.

    Of a server just the mailboxes that are named are listed: excise mailboxes ews://HOST --mailbox ADDRESS

    A directory (ldaps://HOST) is a source here too: its mailboxes are listed with their type, hidden and disabled ones
    marked.

    \b
    EXIT STATUS
      0 listed · 2 wrong usage · 6 a mailbox or a directory could not be opened
      7 no mail there
    """
    given = Given(options)
    if any(source.startswith(_DIRECTORY) for source in given.sources):
        found = _recipients(given, options)
        _show_recipients(found, as_json)
        ctx.exit(6 if found.unread else 0)
    scope = given.mailboxes()
    for lost in scope.not_searched:
        tell(f"{shown(lost.name)}: {shown(lost.reason)}")
    for line in passed_over(scope.passed_over, scope.other_files):
        tell(line)
    _show_scope(scope, given.recipients, as_json)
    ctx.exit(worst_status(lost.exit_code for lost in scope.not_searched))


def _recipients(given: Given, options: dict[str, Any]) -> Recipients:
    """The mailboxes of a directory: those named, else those that the options list, else all."""
    from excise.cli.directory import look_up, settings_of

    sources = given.sources
    if len(sources) > 1 or options["directory"]:
        raise UsageError("a directory is listed by itself", hint=f"As in: excise mailboxes {shown(sources[0])}")
    names = given.named
    settings = settings_of(options, {}, named=bool(names), url=sources[0])
    if settings is None:
        raise UsageError(f"{shown(sources[0])}: expected a directory")
    return look_up(settings, names)


def _measured(scope: Scope) -> dict[str, Measure]:
    """How much each mailbox holds, by locator, of the stores that have to be asked."""
    from concurrent.futures import ThreadPoolExecutor

    from excise.store_api.protocols import Measure, Measuring
    from excise.store_api.registry import store

    found = {info.locator: Measure(size=info.size) for info in scope.mailboxes}
    stores = [(store(info.kind), info) for info in scope.mailboxes]
    asked = [(one, info) for one, info in stores if isinstance(one, Measuring)]
    with ThreadPoolExecutor(8) as pool:
        measures = pool.map(lambda pair: pair[0].measure(pair[1]), asked)
        for (_, info), measure in zip(asked, measures, strict=True):
            found[info.locator] = measure
            if measure.why:
                known = "size" if measure.size is not None else "size unknown:"
                tell(f"{shown(info.name)}: {known} {shown_lines(measure.why)}")
    return found


def _show_scope(scope: Scope, known: Recipients | None, as_json: bool) -> None:
    """Show the mailboxes; ``known``: what a directory says of them, where one was asked."""
    sizes = _measured(scope)
    of_address = {one.address.casefold(): one for one in (known.mailboxes if known else ())}
    # A part of a mailbox bears the address at the start of its name.
    who = {info.locator: of_address.get(info.name.partition(" ")[0].casefold()) for info in scope.mailboxes}
    if as_json:
        for info in scope.mailboxes:
            one = who[info.locator]
            put_json(
                {
                    "mailbox": info.name,
                    "kind": info.kind,
                    "locator": info.locator,
                    "identity": info.identity,
                    "items": sizes[info.locator].items,
                    "size": sizes[info.locator].size,
                    "type": one and one.type.value,
                    "hidden": one and one.hidden,
                    "disabled": one and one.disabled,
                }
            )
        return
    counted = any(one.items is not None or one.why for one in sizes.values())
    heads = ("mailbox", "kind", *["items"] * counted, "bytes", *["type", "marks"] * bool(of_address))
    say(
        table(
            [_row(info, sizes[info.locator], who[info.locator], counted, bool(of_address)) for info in scope.mailboxes],
            heads,
        )
    )


def _row(info: MailboxInfo, size: Measure, who: Recipient | None, counted: bool, described: bool) -> tuple[str, ...]:
    items = [_number(size.items, True)] * counted
    of_who = [str(who.type) if who else "", who.marks if who else ""] * described
    return (shown(info.name), info.kind, *items, _number(size.size, counted), *of_who)


def _number(number: int | None, counted: bool) -> str:
    return f"{number:,}" if number is not None else "unknown" if counted else ""


def _show_recipients(found: Recipients, as_json: bool) -> None:
    if as_json:
        for one in found.mailboxes:
            put_json(
                {
                    "mailbox": one.address,
                    "kind": one.type.value,
                    "display": one.display,
                    "hidden": one.hidden,
                    "disabled": one.disabled,
                    "legacy_dn": one.legacy_dn or None,
                    "database": one.database or None,
                    "identity": one.guid or None,
                    "source": one.source,
                }
            )
        return
    rows = [
        (shown(one.address), one.type.value, shown(one.display, 40), shown(_first(one.database), 30), one.marks)
        for one in found.mailboxes
    ]
    say(table(rows, ("mailbox", "kind", "name", "database", "marks")))


def _first(dn: str) -> str:
    """The name that a distinguished name begins with."""
    return dn.partition(",")[0].partition("=")[2]
