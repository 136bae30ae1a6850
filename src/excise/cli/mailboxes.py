"""``excise mailboxes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from excise.cli.options import Given, directory_options, scope_options
from excise.cli.screen import put_json, say, table, tell
from excise.core.errors import UsageError, worst_status
from excise.core.text import shown, shown_lines

if TYPE_CHECKING:
    from excise.model.recipient import Recipients
    from excise.store_api.discovery import Scope
    from excise.store_api.protocols import Measure

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
        _show_recipients(_recipients(given, options), as_json)
        return
    from excise.store_api.discovery import find_mailboxes

    scope = find_mailboxes(given.sources, given.wanted, given.parts)
    for lost in scope.not_searched:
        tell(f"{shown(lost.name)}: {shown(lost.reason)}")
    for place in scope.passed_over:
        tell(f"Passed over: {shown(place)}")
    _show_scope(scope, as_json)
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
                tell(f"{shown(info.name)}: size unknown: {shown_lines(measure.why)}")
    return found


def _show_scope(scope: Scope, as_json: bool) -> None:
    sizes = _measured(scope)
    if as_json:
        for info in scope.mailboxes:
            put_json(
                {
                    "mailbox": info.name,
                    "kind": info.kind,
                    "locator": info.locator,
                    "identity": info.identity,
                    "items": sizes[info.locator].items,
                    "size": sizes[info.locator].size,
                }
            )
        return
    counted = any(one.items is not None or one.why for one in sizes.values())
    rows = [
        (shown(i.name), i.kind, *([_number(sizes[i.locator].items)] * counted), _number(sizes[i.locator].size, counted))
        for i in scope.mailboxes
    ]
    say(table(rows, ("mailbox", "kind", *(["items"] * counted), "bytes")))


def _number(number: int | None, counted: bool = True) -> str:
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
