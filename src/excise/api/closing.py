"""Closing a case: a last record, after which nothing is written into it."""

from __future__ import annotations

from pathlib import Path

from excise.api.work import open_case
from excise.case.layout import who
from excise.core.errors import UsageError
from excise.engine.evidence import check_bags


def close_case(root: Path, statement: str = "") -> str:
    """Close the case at ``root`` with ``statement``; the head of its audit log, which binds all of it.

    Its bags are checked before. A UsageError where a run has begun and not ended.
    """
    with open_case(root) as work:
        records = work.audit.records
        ended = {record["plan"] for record in records if record["type"] == "run-finished"}
        begun = {record["plan"] for record in records if record["type"] == "run-started"}
        if begun - ended:
            raise UsageError(
                f"{root}: plan {min(begun - ended)} has been begun and not run to its end",
                hint=f"Finish it first: excise resume {root}",
            )
        check_bags(work.case, records, ended)
        seals = {record["bag"]: record["tagmanifest_sha256"] for record in records if record["type"] == "bag-sealed"}
        work.audit.append({"type": "case-closed", "statement": statement, "seals": seals, "who": who()})
        work.save_head()
        return work.audit.head
