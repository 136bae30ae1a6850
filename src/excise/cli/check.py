"""``excise check``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from excise.cli.screen import put_json, say, tell
from excise.core.errors import DamagedInput, ExciseError, worst_status
from excise.core.files import open_nofollow, os_error
from excise.core.text import are, count_of, shown

_PST = b"!BDN"


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.pass_context
def command(ctx: click.Context, /, files: tuple[Path, ...], as_json: bool) -> None:
    """Check the structure of mbox, PST and OST files, layer by layer; report, never repair.

    Of a PST it tells what Microsoft's scanpst would complain of, as far as that is known. Neither scanpst nor Outlook
    is asked.

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
            named = error.message if str(path) in error.message else f"{path}: {error.message}"
            tell(shown(named) + (f"\n{shown(error.hint)}" if error.hint else ""))
            codes.append(error.exit_code)
    ctx.exit(worst_status(codes))


def _check(path: Path, as_json: bool) -> int:
    try:
        fd = open_nofollow(path)
    except OSError as error:
        raise os_error(error, path, "opening the file") from error
    try:
        is_pst = os.pread(fd, 4, 0) == _PST
        counts: Counter[str] = Counter()
        listed = 0
        for finding in _pst_findings(fd, path, counts) if is_pst else _mbox_findings(fd, path, counts):
            _show(path, finding, as_json)
            listed += 1
    except OSError as error:
        raise os_error(error, path, "reading the file") from error
    finally:
        os.close(fd)
    _sum_up(path, counts, listed, is_pst, as_json)
    return 7 if counts["error"] or counts["warning"] else 0


def _mbox_findings(fd: int, path: Path, counts: Counter[str]) -> Iterator[Mapping[str, Any]]:
    from excise.mbox import FileView, check, looks_like_mbox

    if not os.fstat(fd).st_size:
        raise DamagedInput(f"{path}: expected an mbox, a PST or an OST, found an empty file (0 bytes)")
    if not looks_like_mbox(os.pread(fd, 4096, 0)):
        raise DamagedInput(
            f"{path}: expected an mbox, a PST or an OST, found something else",
            hint="Only these can be checked. A text that begins with 'From ' is an mbox only if a header follows.",
        )
    for finding in check(FileView(fd, path)):
        counts[finding.severity] += 1
        yield {
            "layer": finding.layer,
            "offset": finding.offset,
            "severity": finding.severity,
            "what": finding.what,
        }


def _pst_findings(fd: int, path: Path, counts: Counter[str]) -> Iterator[Mapping[str, Any]]:
    import excise.pst

    with os.fdopen(os.dup(fd), "rb") as stream:
        try:
            report = excise.pst.check(stream)
        except ExciseError as error:
            raise type(error)(error.message.replace("<stream>", str(path), 1), hint=error.hint) from error
    counts.update(report.counts)
    for finding in report.findings:
        damage = finding.damage
        yield {
            "layer": damage.layer,
            "offset": damage.offset if damage.offset >= 0 else None,
            "severity": finding.grade,
            "what": f"{damage.structure}.{damage.field} of {damage.place}: "
            f"expected {damage.expected}, found {damage.found}",
        }


def _show(path: Path, finding: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        put_json({"file": str(path), **finding})
        return
    place = "" if finding["offset"] is None else f"byte {finding['offset']}: "
    say(f"{shown(str(path))}: {place}{finding['layer']}: {finding['severity']}: {shown(finding['what'])}")


def _sum_up(path: Path, counts: Counter[str], listed: int, is_pst: bool, as_json: bool) -> None:
    from excise.pst.check.report import NOT_ASKED

    if as_json:
        totals = {f"{grade}s": counts[grade] for grade in ("error", "warning", "note")}
        put_json({"summary": {"file": str(path), **totals, "listed": listed}})
    else:
        total = ", ".join(
            f"{(n := counts[grade])} {grade}{'' if n == 1 else 's'}" for grade in ("error", "warning", "note")
        )
        say(f"{shown(str(path))}: " + (total if counts.total() else "nothing is wrong"))
        if counts.total() > listed:
            more = counts.total() - listed
            said = f"{count_of(listed, 'finding')} {are(listed)} listed, {more:,} more {are(more)} not"
            say(f"{shown(str(path))}: {said}")
        if is_pst:
            say(NOT_ASKED)
