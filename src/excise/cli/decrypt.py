"""``excise decrypt``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.options import identity_option
from excise.cli.screen import put_json, say


@click.command("decrypt")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@identity_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The new directory, outside of the case.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, identities: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Write a copy of CASE whose evidence is in the clear, each file checked against what was sealed.

    CASE is only read. That it was done goes into your access log.

    \b
    EXIT STATUS
      0 written · 2 wrong usage, nothing is encrypted, or the key does not fit · 3 DIR lies in a case
      5 a file is damaged, or not what was sealed · 6 DIR cannot be written
    """
    from excise import api
    from excise.core.errors import UsageError

    if not identities:
        raise UsageError("a private key is needed to open the evidence", hint="Give --identity FILE.")
    opened = api.decrypt_case(case_dir, identities, output)
    if as_json:
        put_json({"summary": {"case": str(case_dir), "output": str(output), "bags": opened}})
        return
    say(f"Written: {output}, with the evidence of {', '.join(opened)} in the clear")
    say(f"To check it: excise verify {output}")
