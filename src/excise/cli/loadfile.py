"""``excise loadfile``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.options import identity_option
from excise.cli.screen import put_json, say
from excise.core.text import count_of


@click.command("loadfile")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The new directory, outside of the case.",
)
@click.option("--plan", "number", type=click.IntRange(1), metavar="N", help="Of this plan (default: the newest run).")
@click.option("--prefix", default="EXC", metavar="TEXT", help="What control numbers begin with (default EXC).")
@click.option("--md5", is_flag=True, help="MD5 beside SHA-256.")
@click.option("--with-copies", is_flag=True, help="Each copy of one mail in several mailboxes, not only one for all.")
@identity_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(
    case_dir: Path,
    output: Path,
    number: int | None,
    prefix: str,
    md5: bool,
    with_copies: bool,
    identities: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Write the evidence of CASE for a review program: Concordance DAT, CSV, documents, texts, hits per term.

    \b
    EXIT STATUS
      0 written · 2 wrong usage · 3 the case is in use, or DIR lies in a case
      5 the evidence does not verify · 6 DIR cannot be written
    """
    from excise import api
    from excise.report.loadfile import Production

    made = api.load_file(case_dir, output, Production(prefix, md5, not with_copies), number, identities)
    if as_json:
        counts = {"messages": made.messages, "duplicates": made.duplicates, "documents": made.documents}
        put_json({"summary": {**counts, "output": str(output), "sha256": made.sha256}})
        return
    messages = count_of(made.messages - made.duplicates, "message")
    say(f"{count_of(made.documents, 'document')} of {messages}; {count_of(made.duplicates, 'copy')}")
    say(f"Written: {output}/loadfile.dat, loadfile.csv, hits.csv, natives, text")
    say(f"SHA-256 of loadfile.dat: {made.sha256}")
