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
@click.option("--reveal", is_flag=True, help="Show subjects and senders of the messages.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, out: Path | None, reveal: bool, as_json: bool) -> None:
    """Write report.html, scope.csv and outcome.csv of CASE, wherever it stands: planned, interrupted or finished.

    \b
    EXIT STATUS
      0 written · 2 not a case · 3 the case is in use · 5 a plan, log or journal does not verify
      6 the report cannot be written
    """
    from excise import api

    written = api.report(case_dir, out, reveal=reveal)
    if as_json:
        files = [str(path) for path in written.files]
        put_json({"summary": {"files": files, "sha256": written.sha256, "revealed": written.content}})
        return
    for path in written.files:
        say(f"Written: {path}")
    say(f"SHA-256 of the page: {written.sha256}")
