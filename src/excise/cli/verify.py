"""``excise verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from excise.cli.options import identity_option
from excise.cli.screen import put_json, say
from excise.core.text import are, shown

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("verify")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@click.option("--expect-head", metavar="HASH", help="The audit head as it was printed, or sent elsewhere.")
@click.option("--allowed-signers", type=_FILE, metavar="FILE", help="Whose keys may sign, as ssh-keygen takes it.")
@click.option("--ca-file", type=_FILE, metavar="FILE", help="Root certificates of the time-stamp authority, PEM.")
@identity_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.option("--quiet", is_flag=True, help="Only what does not hold.")
@click.pass_context
def command(ctx: click.Context, /, case_dir: Path, expect_head: str | None, **options: Any) -> None:
    """Re-read evidence, manifests, journals and audit chain of CASE; say what holds and what does not.

    \b
    EXIT STATUS
      0 all that was checked holds · 2 not a case, or a key opens nothing · 5 something does not verify
    """
    from excise import api
    from excise.case.verify import Trust

    trust = Trust(options["allowed_signers"], options["ca_file"])
    failed = unproven = passed = 0
    for check in api.verify(case_dir, expect_head, trust, options["identities"]):
        failed += check.ok is False
        unproven += check.ok is None
        passed += check.ok is True
        if options["as_json"]:
            put_json({"what": check.what, "ok": check.ok, "detail": check.detail})
        elif not (options["quiet"] and check.ok):
            word = {True: "holds", False: "DOES NOT HOLD", None: "not proven"}[check.ok]
            say(f"{word:13}  {shown(check.what)}" + (f": {shown(check.detail)}" if check.detail else ""))
    if options["as_json"]:
        put_json({"summary": {"holds": passed, "does_not_hold": failed, "not_proven": unproven}})
    else:
        hold, wrong = "holds" if passed == 1 else "hold", "does" if failed == 1 else "do"
        say(f"{passed} {hold}, {failed} {wrong} not hold, {unproven} {are(unproven)} not proven")
    ctx.exit(5 if failed else 0)
