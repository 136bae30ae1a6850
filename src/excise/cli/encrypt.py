"""``excise encrypt``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from excise.cli.options import recipient_options
from excise.cli.screen import put_json, say
from excise.core.text import count_of

if TYPE_CHECKING:
    from excise.case.encryption import Encrypted


@click.command("encrypt")
@click.argument("case_dir", metavar="CASE", type=click.Path(path_type=Path))
@recipient_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def command(case_dir: Path, recipients: tuple[str, ...], policy_file: Path | None, as_json: bool) -> None:
    """Encrypt the evidence of CASE to recipients' public keys, and remove the plain files once that was read again.

    Whoever holds none of the private keys cannot read the evidence any more, you neither. A command that was stopped is
    finished by giving it again.

    \b
    EXIT STATUS
      0 the evidence is encrypted · 2 wrong usage, a run has not ended, or a key is none
      3 the case is in use, or closed · 5 a bag does not verify · 6 it cannot be written
    """
    from excise import api

    done = api.encrypt_case(case_dir, recipients, api.Setting(policy_file=policy_file))
    if as_json:
        put_json({"summary": {"case": str(case_dir), "encrypted": as_values(done)}})
        return
    tell_encrypted(case_dir, done)
    if not done:
        say("Nothing to encrypt: no bag holds evidence in the clear.")


def as_values(done: Sequence[Encrypted]) -> list[dict[str, object]]:
    """What was encrypted, as JSON values."""
    return [{"bag": each.bag, "files": each.files, "sha256": each.seal} for each in done]


def tell_encrypted(case_dir: Path, done: Sequence[Encrypted]) -> None:
    """Say what was encrypted."""
    for each in done:
        files = count_of(each.files, "file")
        say(f"Encrypted: {case_dir}/{each.bag}, {files}, each read again; the plain ones are gone")
