"""``excise profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from excise.cli.screen import say, table, tell
from excise.core.errors import UsageError
from excise.core.files import durable_file, os_error
from excise.core.text import shown

_SUBJECTS = "A listed subject is the whole subject, a part or the start of it."
_ATTACHMENTS = "A listed name is the whole name of an attachment or a part of it."
_FOLDERS = "Only the listed folders are meant, or all except them."


@click.command("profile")
@click.argument("action", type=click.Choice(["import"]))
@click.argument("settings", type=click.Path(path_type=Path, dir_okay=False), metavar="EXMERGE.INI")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The new profile.")
@click.option("--subjects", type=click.Choice(["whole", "part", "start"]), help=_SUBJECTS)
@click.option("--attachments", type=click.Choice(["whole", "part"]), help=_ATTACHMENTS)
@click.option("--folders", type=click.Choice(["only", "except"]), help=_FOLDERS)
@click.option(
    "--timezone", metavar="ZONE", help="The zone of the dates (default: that of the machine that reads them)."
)
@click.option("--encoding", metavar="NAME", help="The encoding of the settings and lists, such as cp1250.")
@click.option("--ignore", multiple=True, metavar="KEY", help="Leave this key out, which Excise does not know.")
@click.pass_context
def command(_: click.Context, /, **options: Any) -> None:
    """Make a profile of the settings of ExMerge.

    The lists that the settings name are looked for beside them. The profile goes to stdout or to a new file; what each
    setting became, or why it has no counterpart, is told. Nothing that is empty comes to mean everything.

    \b
    EXIT STATUS
      0 made · 2 a setting is not understood · 3 it would match everything, or
      more than in ExMerge · 6 a file could not be read · 7 not text
    """
    from excise.api.exmerge import Choices, import_profile

    choices = Choices(
        options["subjects"],
        options["attachments"],
        options["folders"],
        options["timezone"],
        options["encoding"],
        frozenset(key.lower() for key in options["ignore"]),
    )
    made = import_profile(options["settings"], choices)
    rows = [(shown(key, 45), shown(value, 40), shown(words)) for key, value, words in made.became]
    output = options["output"]
    told = tell if output is None else say
    if output is None:
        click.echo(made.text, nl=False)
    else:
        _write(output, made.text)
    told(table(rows, ("setting", "value", "became")))
    told(f"Rule: {made.rule}")


def _write(path: Path, text: str) -> None:
    try:
        with durable_file(path) as stream:
            stream.write(text.encode())
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", hint="Name a new file.") from error
    except OSError as error:
        raise os_error(error, path, "writing the profile") from error
