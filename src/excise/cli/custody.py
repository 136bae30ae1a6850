"""``excise custody``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.screen import put_json, say


@click.command("custody")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write into this directory; the case is only read.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, output: Path | None, as_json: bool) -> None:
    """Write the chain-of-custody record of CASE, and a draft certificate under FRE 902(14) that nobody has signed.

    \b
    EXIT STATUS
      0 written · 2 not a case · 3 the case is in use · 5 the log, a plan or a bag does not verify
      6 they cannot be written
    """
    from excise import api

    written = api.custody(case_dir, output)
    if as_json:
        put_json({"summary": {"files": {str(path): digest for path, digest in written.items()}}})
        return
    for path, digest in written.items():
        say(f"Written: {path} (SHA-256 {digest})")
