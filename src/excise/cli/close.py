"""``excise close``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.encrypt import as_values, tell_encrypted
from excise.cli.options import recipient_options
from excise.cli.screen import put_json, say


@click.command("close")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--statement", default="", metavar="TEXT", help="What is to stand in the last record.")
@recipient_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(
    case_dir: Path, statement: str, recipients: tuple[str, ...], policy_file: Path | None, as_json: bool
) -> None:
    """Close CASE: check its bags, write a last record, and take nothing more into it. This cannot be taken back.

    With --recipient, or where the policy demands it, the evidence is encrypted first, as by excise encrypt.

    \b
    EXIT STATUS
      0 closed · 2 not a case, a run has not ended, or a key is none · 3 the case is in use, or closed already
      5 a bag does not verify · 6 it cannot be written
    """
    from excise import api

    closed = api.close_case(case_dir, statement, recipients, api.Setting(policy_file=policy_file))
    if as_json:
        encrypted = as_values(closed.encrypted)
        put_json(
            {"summary": {"case": str(case_dir), "closed": True, "audit_head": closed.head, "encrypted": encrypted}}
        )
        return
    tell_encrypted(case_dir, closed.encrypted)
    say(f"Closed: {case_dir}. Nothing can be added to it any more.")
    say(f"Audit head: {closed.head}")
    say("Note it elsewhere, or have it sent: it binds everything in the case.")
