"""``excise report``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.screen import put_json, say


@click.command("report")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write into this directory; the case is only read.",
)
@click.option(
    "--load-file",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="NEWDIR",
    help="Load files and copies of the messages too, into this new directory outside of the case.",
)
@click.option("--no-custody", is_flag=True, help="Leave out the custody record and the draft certificate.")
@click.option("--reveal", is_flag=True, help="Show subjects and senders of the messages.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(
    case_dir: Path, out: Path | None, load_file: Path | None, no_custody: bool, reveal: bool, as_json: bool
) -> None:
    """Write report.html, tables and the custody record of CASE, wherever it stands: planned, interrupted or finished.

    \b
    EXIT STATUS
      0 written · 2 not a case, or wrong usage · 3 the case is in use, or NEWDIR lies in a case
      5 a plan, log, journal or the evidence does not verify · 6 the report cannot be written
    """
    from excise import api

    written = api.report(case_dir, out, reveal=reveal)
    paths = [*written.files, *(() if no_custody else api.custody(case_dir, out))]
    if load_file is not None:
        from excise.report.loadfile import Production

        api.load_file(case_dir, load_file, Production())
        paths += [load_file / "loadfile.dat", load_file / "loadfile.csv"]
    if as_json:
        files = [str(path) for path in paths]
        put_json({"summary": {"files": files, "sha256": written.sha256, "revealed": written.content}})
        return
    for path in paths:
        say(f"Written: {path}")
    say(f"SHA-256 of the page: {written.sha256}")
