"""``excise stamp``."""

from __future__ import annotations

from pathlib import Path

import click

from excise.cli.screen import put_json, say
from excise.core.text import shown


@click.command("stamp")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--url", metavar="URL", help="The RFC 3161 authority; without it the requests are only made and kept.")
@click.option(
    "--sign-key", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The OpenSSH key that signs."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, url: str | None, sign_key: Path | None, as_json: bool) -> None:
    """Write down the audit head of CASE, sign it, and have plans, bags and heads time-stamped that are not yet.

    \b
    EXIT STATUS
      0 done · 2 wrong usage, or the key does not sign · 3 another command holds the case
      6 an authority did not answer, or not with a stamp; the requests are kept
    """
    from excise import api

    with api.open_case(case_dir) as work:
        stamps = work.stamp(url, sign_key)
        head = work.audit.head
    for each in stamps:
        if as_json:
            put_json({"stamp": each.name, "file": str(each.path), "time": each.time, "problem": each.problem or None})
        else:
            say(f"{each.name}: {each.time or 'no time stamp yet: ' + shown(each.problem)}")
    if as_json:
        put_json({"summary": {"stamped": sum(each.time is not None for each in stamps), "audit_head": head}})
    else:
        say(f"Audit head: {head}")
    ctx.exit(6 if url is not None and any(each.problem for each in stamps) else 0)
