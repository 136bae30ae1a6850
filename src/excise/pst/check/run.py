"""A whole check of a file, layer by layer."""

from __future__ import annotations

import os
from typing import IO

from excise.pst.check.contents import check_contents
from excise.pst.check.database import check_database
from excise.pst.check.plain import PlainMessages
from excise.pst.check.report import ERROR, NOTE, Report
from excise.pst.disk.formats import UNICODE
from excise.pst.file.read import PstFile, open_pst


def check_pst(path_or_file: str | os.PathLike[str] | IO[bytes]) -> Report:
    """What a repair tool would complain of in a PST or OST file. The file is only read.

    Errors as of ``excise.pst.open`` where it cannot be opened at all.
    """
    with open_pst(path_or_file) as pst:
        return check_opened(pst)


def check_opened(pst: PstFile) -> Report:
    """As ``check_pst``, of a file that was just opened: nothing has been read of it."""
    return _checked(pst, only_errors=False)


def errors_of(pst: PstFile) -> Report:
    """The very errors that ``check_opened`` finds, sooner: of warnings and notes it has only some."""
    return _checked(pst, only_errors=True)


def _checked(pst: PstFile, *, only_errors: bool) -> Report:
    report = Report(pst.source.name, pst.format_name)
    check_database(pst.ndb, report)
    # What is plain is told by the blocks alone, so these must be sound.
    quick = only_errors and not report.damaged and not pst.log and pst.ndb.format is UNICODE
    check_contents(pst.store, report, PlainMessages(pst.ndb) if quick else None)
    known = {finding.damage for finding in report.findings}
    searches = {f"table 0x{folder.nid & ~0x1F | 0x10:x}" for folder in pst.folders() if folder.is_search}
    for damage in pst.damage:
        if damage not in known:
            node = damage.place.replace("node", "table")
            report.add(NOTE if node in searches and damage.field == "bSig" else ERROR, damage)
    # What the file's log had no room for is not known by its kind: damage until somebody has looked at it.
    if pst.log.dropped:
        report.counts[ERROR] += pst.log.dropped
    return report
