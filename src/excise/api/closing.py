"""Closing a case: a last record, after which nothing is written into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from excise.api.encrypting import check_ended, demanded, encrypt_bags
from excise.api.looking import Setting
from excise.api.work import open_case
from excise.case.bag import validate
from excise.case.encryption import Encrypted, unfinished
from excise.case.layout import who
from excise.engine.evidence import check_seal


@dataclass(frozen=True, slots=True)
class Closed:
    """The head of the log of a closed case, which binds all of it, and what was encrypted before it was closed."""

    head: str
    encrypted: list[Encrypted]


def close_case(
    root: Path, statement: str = "", recipients: Sequence[str] = (), setting: Setting | None = None
) -> Closed:
    """Close the case at ``root`` with ``statement``. Its bags are checked before.

    ``recipients``: public keys, or files of them, that the evidence is encrypted to first; a policy may demand some. A
    UsageError where a run has begun and not ended.
    """
    with open_case(root, setting) as work:
        case, records = work.case, work.audit.records
        check_ended(work)
        encrypted: list[Encrypted] = []
        if recipients or demanded(work) or unfinished(case, records):
            encrypted = encrypt_bags(work, recipients)
        for number in sorted({record["plan"] for record in records if record["type"] == "run-finished"}):
            bag = case.bag_dir(number)
            check_seal(case, bag, records, number)
            validate(bag)
        seals: dict[str, str] = {}
        for record in records:
            if record["type"] in ("bag-sealed", "bag-encrypted"):
                seals[record["bag"]] = record["tagmanifest_sha256"]
        work.audit.append({"type": "case-closed", "statement": statement, "seals": seals, "who": who()})
        work.save_head()
        return Closed(work.audit.head, encrypted)
