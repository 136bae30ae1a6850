"""Verifying checkpoints, their signatures, and time stamps (docs/reference/case-format.md, "Checkpoints")."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from excise.case.checkpoint import CHECKPOINTS, NAMESPACE
from excise.case.layout import Case
from excise.core.digests import canonical_json
from excise.core.errors import ExciseError
from excise.core.files import os_error, read_regular
from excise.core.text import count_of


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked. ``ok`` is None where it could not be proven either way."""

    what: str
    ok: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the person who verifies trusts: a file of allowed signers (ssh-keygen's), root certificates (PEM)."""

    allowed_signers: Path | None = None
    ca_file: Path | None = None


def check_proofs(case: Case, heads: Sequence[str], trust: Trust) -> Iterator[Check]:
    """Every checkpoint against the log's ``heads``, every signature and stamp against those who are trusted."""
    for path in sorted((case.root / CHECKPOINTS).glob("*.json")):
        if re.fullmatch("[0-9]{6,}", path.stem):
            yield _check_checkpoint(case, path, heads)
            signature = path.with_name(f"{path.name}.sig")
            if signature.exists():
                yield check_signature(case, signature, path, NAMESPACE, trust)
    for path in sorted((case.root / "stamps").glob("*.tsq")):
        if not path.with_suffix(".tsr").exists():
            yield Check(f"stamps/{path.name}", None, "no authority has answered it yet: no time is proven")
    for path in sorted((case.root / "stamps").glob("*.tsr")):
        yield _check_stamp(case, path, trust)


def _check_checkpoint(case: Case, path: Path, heads: Sequence[str]) -> Check:
    name = f"{CHECKPOINTS}/{path.name}"
    try:
        data = read_regular(path, 1 << 20)
        told = json.loads(data)
        count, head = told["records"], told["head"]
        whole = canonical_json(told) + b"\n" == data and told["excise_checkpoint"] == 1
        ours = (told["case"], told["case_sha256"]) == (case.id, case.sha256)
    except OSError as error:
        return Check(name, False, os_error(error, path, "reading it").message)
    except (ExciseError, ValueError, KeyError, TypeError, RecursionError):
        return Check(name, False, f"{path}: expected a checkpoint, found something else")
    if not whole or type(count) is not int or path.name != f"{count:06}.json":
        return Check(name, False, f"{path}: not a checkpoint in canonical form")
    if not ours:
        return Check(name, False, f"{path}: a checkpoint of another case")
    if not 0 < count <= len(heads) or heads[count - 1] != head:
        place = f"the head {str(head)[:16]}… after {count_of(count, 'record')} is not the one in {case.audit_path}"
        return Check(name, False, f"{path}: {place}")
    return Check(name, True)


def check_signature(case: Case, signature: Path, path: Path, namespace: str, trust: Trust) -> Check:
    """An OpenSSH signature over the file at ``path``, by ``ssh-keygen -Y verify``."""
    name = signature.relative_to(case.root).as_posix()
    program = shutil.which("ssh-keygen")
    if program is None:
        return Check(name, None, "the signature was not checked: there is no ssh-keygen")
    try:
        data = read_regular(path)
    except OSError as error:
        return Check(name, False, os_error(error, path, "reading what was signed").message)
    given = ["-n", namespace, "-s", str(signature)]
    if trust.allowed_signers is None:
        ok, said = _call([program, "-Y", "check-novalidate", *given], data)
        if not ok:
            return Check(name, False, f"{signature}: {said}")
        return Check(name, None, f"{said}; whose it is was not checked: give --allowed-signers")
    signers = str(trust.allowed_signers)
    found, people = _call([program, "-Y", "find-principals", "-f", signers, "-s", str(signature)], b"")
    if not found or not people:
        return Check(name, False, f"{signature}: by a key that {signers} does not name")
    person = people.split()[0].split(",")[0]
    ok, said = _call([program, "-Y", "verify", "-f", signers, "-I", person, *given], data)
    return Check(name, ok, said if ok else f"{signature}: {said}")


def _call(command: list[str], data: bytes) -> tuple[bool, str]:
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    said = done.stdout if done.returncode == 0 else done.stderr + done.stdout
    return done.returncode == 0, " ".join(said.decode("utf-8", "replace").split())[:300]


def _check_stamp(case: Case, path: Path, trust: Trust) -> Check:
    from excise.case.stamp_reading import NotStamped, check_authority, read_stamp
    from excise.case.timestamp import subject_of

    name, subject = f"stamps/{path.name}", subject_of(case, path.stem)
    if subject is None:
        return Check(name, None, "nothing of that name can be stamped")
    try:
        data = read_regular(subject)
        reading = read_stamp(read_regular(path, 1 << 20), data)
        if trust.ca_file is not None:
            check_authority(reading, data, path, trust.ca_file)
    except NotStamped as error:
        return Check(name, False, f"{path}: {error.message}")
    except OSError as error:
        return Check(name, False, os_error(error, error.filename or path, "reading it").message)
    except ExciseError as error:
        return Check(name, None, error.message)
    if trust.ca_file is None:
        return Check(name, None, f"says {reading.time} of {subject.name}; who says so was not checked: give --ca-file")
    return Check(name, True, f"{reading.time}, of {subject.name}")
