"""A whole check of a file, layer by layer."""

from __future__ import annotations

import os
from typing import IO

from excise.pst.check.contents import check_contents
from excise.pst.check.database import check_database
from excise.pst.check.report import ERROR, NOTE, Report
from excise.pst.file.read import PstFile, open_pst


def check_pst(path_or_file: str | os.PathLike[str] | IO[bytes]) -> Report:
    """What a repair tool would complain of in a PST or OST file. The file is only read.

    Errors as of ``excise.pst.open`` where it cannot be opened at all.
    """
    with open_pst(path_or_file) as pst:
        return check_opened(pst)


def check_opened(pst: PstFile) -> Report:
    """As ``check_pst``, of a file that was just opened: nothing has been read of it."""
    report = Report(pst.source.name, pst.format_name)
    check_database(pst.ndb, report)
    check_contents(pst.store, report)
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
