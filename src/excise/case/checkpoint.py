"""Checkpoints of the audit log: what its head was after so many records, in a file that can be signed and time-stamped.

A head that was printed proves the log to whoever noted it. A checkpoint that was signed, or stamped by an authority,
proves it to everybody (docs/reference/case-format.md, "Checkpoints").
"""

from __future__ import annotations

from pathlib import Path

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.core.clock import iso, now
from excise.core.digests import canonical_json, sha256_hex
from excise.core.files import os_error, read_regular, write_durably
from excise.core.signatures import sign

CHECKPOINTS = "checkpoints"
#: What the signature is for, as ``ssh-keygen -Y`` calls it: it cannot be taken for one of an approval.
NAMESPACE = "excise-checkpoint"


def is_current(audit: ChainedLog, key: Path | None) -> bool:
    """True where the log's last checkpoint has all but what tells of checkpoints and stamps, and is signed if asked."""
    for record in reversed(audit.records):
        if record["type"] == "checkpoint":
            return bool(record["signed"]) or key is None
        if record["type"] not in ("stamp-requested", "stamped"):
            return False
    return False


def make_checkpoint(case: Case, audit: ChainedLog, key: Path | None = None) -> Path:
    """Write down the head of ``audit``, signed with ``key`` where one is given, and record both; the file.

    ``key``: an OpenSSH private key, or a public one whose private part an agent or a token holds. A UsageError where
    ``ssh-keygen`` does not sign.
    """
    statement = {
        "excise_checkpoint": 1,
        "case": case.id,
        "case_sha256": case.sha256,
        "records": len(audit.records),
        "head": audit.head,
        "time": iso(now()),
    }
    data = canonical_json(statement) + b"\n"
    name = f"{CHECKPOINTS}/{statement['records']:06}.json"
    made = {name: data}
    if key is not None:
        read_regular(key, 1)  # a path that is none is told as what it is
        made[f"{name}.sig"] = sign(data, key, NAMESPACE)
    add_files(case, made)
    digests = {path: sha256_hex(content) for path, content in made.items()}
    facts = {"records": statement["records"], "head": statement["head"], "signed": key is not None}
    audit.append({"type": "checkpoint", **facts, "files": digests})
    return case.root / name


def add_files(case: Case, files: dict[str, bytes]) -> None:
    """Put files below the case, whole or not at all; an audit record has to name them afterwards."""
    for name, content in files.items():
        path = case.root / name
        try:
            case.make(path.parent)
            write_durably(path, content)
        except OSError as error:
            raise os_error(error, path, "writing into the case") from error
