"""``excise check``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from excise.cli.screen import put_json, say
from excise.core.errors import DamagedInput, ExciseError, worst_status
from excise.core.files import open_nofollow, os_error
from excise.core.text import shown


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.pass_context
def command(ctx: click.Context, /, files: tuple[Path, ...], as_json: bool) -> None:
    """Check the structure of mbox files, layer by layer; report, never repair.

    \b
    EXIT STATUS
      0 nothing is wrong (notes may be listed) · 2 wrong usage
      6 a file could not be opened · 7 something is wrong, or the kind cannot be checked
    """
    codes = []
    for path in files:
        try:
            codes.append(_check(path, as_json))
        except ExciseError as error:
            say(f"{shown(str(path))}: {error.message}")
            codes.append(error.exit_code)
    ctx.exit(worst_status(codes))


def _check(path: Path, as_json: bool) -> int:
    from excise.mbox import FileView, check, looks_like_mbox

    try:
        fd = open_nofollow(path)
    except OSError as error:
        raise os_error(error, path, "opening the file") from error
    try:
        if not looks_like_mbox(os.pread(fd, 4096, 0)):
            raise DamagedInput(
                f"{path}: expected an mbox, found something else", hint="This release checks mbox files only."
            )
        worst = count = 0
        for finding in check(FileView(fd, path)):
            count += 1
            worst = max(worst, finding.severity != "note")
            _show(path, finding, as_json)
        if not as_json:
            say(f"{shown(str(path))}: " + (f"{count} findings" if count else "nothing is wrong"))
        return 7 if worst else 0
    finally:
        os.close(fd)


def _show(path: Path, finding: Any, as_json: bool) -> None:
    if as_json:
        put_json(
            {
                "file": str(path),
                "layer": finding.layer,
                "offset": finding.offset,
                "severity": finding.severity,
                "what": finding.what,
            }
        )
    else:
        say(f"{shown(str(path))}: byte {finding.offset}: {finding.layer}: {finding.severity}: {shown(finding.what)}")
