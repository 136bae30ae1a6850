"""``excise close``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.screen import put_json, say


@click.command("close")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--statement", default="", metavar="TEXT", help="What is to stand in the last record.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, statement: str, as_json: bool) -> None:
    """Close CASE: check its bags, write a last record, and take nothing more into it. This cannot be taken back.

    \b
    EXIT STATUS
      0 closed · 2 not a case, or a run has not ended · 3 the case is in use, or closed already
      5 a bag does not verify · 6 it cannot be written
    """
    from excise import api

    head = api.close_case(case_dir, statement)
    if as_json:
        put_json({"summary": {"case": str(case_dir), "closed": True, "audit_head": head}})
        return
    say(f"Closed: {case_dir}. Nothing can be added to it any more.")
    say(f"Audit head: {head}")
    say("Note it elsewhere, or have it sent: it binds everything in the case.")
