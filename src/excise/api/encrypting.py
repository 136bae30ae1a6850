"""Encrypting the evidence of a case to recipients' keys, and opening it again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from excise.api.looking import Setting, tell_access_log
from excise.api.work import Work, open_case
from excise.case.bag import is_encrypted, is_sealed
from excise.case.chain import read_chain
from excise.case.encryption import (
    Encrypted,
    decrypt_bag,
    encrypt_bag,
    opened,
    remove_unfinished_parts,
    unfinished,
)
from excise.case.layout import Case, account, who
from excise.case.plan import read_plan
from excise.core.age import check_recipients, read_identities, read_recipients
from excise.core.errors import Refused, UsageError
from excise.core.files import PARTIAL, commit_directory, durable_file, make_directories, open_nofollow, os_error
from excise.core.marker import enclosing_case
from excise.engine.authority import given_policy
from excise.engine.evidence import check_bags, check_seal
from excise.policy.effective import effective_policy


def encrypt_case(root: Path, recipients: Sequence[str], setting: Setting | None = None) -> list[Encrypted]:
    """Encrypt the evidence in every sealed bag of the case at ``root`` that is not yet; what became of each.

    ``recipients``: public keys, or files of them; those that the policy demands are added. Each file is read again and
    found whole before the plain one is removed. A command that was stopped is finished by another.
    """
    with open_case(root, setting) as work:
        done = encrypt_bags(work, recipients)
        work.save_head()
        return done


def encrypt_bags(work: Work, given: Sequence[str]) -> list[Encrypted]:
    """The same, in an open case whose runs have come to their end."""
    case, records = work.case, work.audit.records
    work.policy.check_operator(account())
    check_ended(work)
    recipients = read_recipients([*given, *demanded(work)])
    sealed = [n for n in case.plan_numbers() if read_plan(case, n).action.preserves and is_sealed(case.bag_dir(n))]
    plain = [number for number in sealed if not is_encrypted(case.bag_dir(number))]
    begun = unfinished(case, records)
    todo = sorted({*plain, *begun})
    if todo and not recipients and set(todo) - set(begun):
        raise UsageError(f"{case.root}: it is not said to whom to encrypt", hint="Give --recipient KEY or FILE.")
    check_recipients(recipients)
    check_bags(case, records, plain)
    done = []
    for number in todo:
        done.append(encrypt_bag(case, number, recipients, work.audit))
        work.save_head()
    if any(is_encrypted(case.bag_dir(number)) for number in case.plan_numbers()):
        remove_unfinished_parts(case)
    return done


def demanded(work: Work) -> tuple[str, ...]:
    """The recipients that the policy demands: the one in force, and one that was given for the case's newest plan."""
    numbers = work.case.plan_numbers()
    path = work.setting.policy_file or (given_policy(read_plan(work.case)) if numbers else None)
    return effective_policy(path).policy.evidence.recipients


def check_ended(work: Work) -> None:
    """UsageError where a run has begun and not ended."""
    records = work.audit.records
    ended = {record["plan"] for record in records if record["type"] == "run-finished"}
    begun = {record["plan"] for record in records if record["type"] == "run-started"}
    if begun - ended:
        raise UsageError(
            f"{work.case.root}: plan {min(begun - ended)} has been begun and not run to its end",
            hint=f"Finish it first: excise resume {work.case.root}",
        )


@contextmanager
def opened_case(work: Work, identities: Sequence[Path], why: str) -> Iterator[None]:
    """Have the encrypted evidence of an open case in the clear inside the block; the audit log is told (S22)."""
    case = work.case
    numbers = [number for number in case.plan_numbers() if is_encrypted(case.bag_dir(number))]
    if not identities or not numbers:
        yield
        return
    work.policy.check_operator(account())
    keys = read_identities(identities)
    for number in numbers:
        check_seal(case, case.bag_dir(number), work.audit.records, number)
    work.audit.append({"type": "evidence-opened", "plans": numbers, "why": why, "who": who()})
    with opened(case, numbers, keys):
        yield


def decrypt_case(root: Path, identities: Sequence[Path], place: Path) -> list[str]:
    """Write a copy of the case at ``root`` with its evidence in the clear into the new directory ``place``.

    The case is only read; the operator's own access log is told first (S22). The names of the bags that were opened.
    Each file is checked against what was sealed. WrongKey, or DoesNotVerify, names the file, and then nothing is left.
    """
    case = Case(root)
    effective_policy().check_operator(account())
    outer = enclosing_case(place.resolve().parent)
    if outer is not None:
        raise Refused("S28", f"{place}: it would lie in the case {outer}", hint="Put it somewhere else.")
    if os.path.lexists(place):
        raise UsageError(f"{place}: expected no such file or directory, found one", hint="Name a new one.")
    records = read_chain(case.audit_path).records
    numbers = [number for number in case.plan_numbers() if is_encrypted(case.bag_dir(number))]
    if not numbers:
        raise UsageError(f"{root}: expected a case with encrypted evidence, found none")
    keys = read_identities(identities)
    for number in numbers:
        check_seal(case, case.bag_dir(number), records, number)
    tell_access_log({"type": "evidence-decrypted", "case": case.id, "who": who()})
    making = place.with_name(f"{place.name}{PARTIAL}")
    try:
        _copy_case(case, making, numbers, keys)
        commit_directory(making, place)
    except BaseException as error:
        shutil.rmtree(making, ignore_errors=True)
        if isinstance(error, OSError):
            raise os_error(error, error.filename or place, "writing the copy") from error
        raise
    return [case.bag_dir(number).name for number in numbers]


def _copy_case(case: Case, target: Path, numbers: Sequence[int], keys: Sequence[Any]) -> None:
    shutil.rmtree(target, ignore_errors=True)
    make_directories(target)
    bags = {case.bag_dir(number).name: number for number in numbers}
    for directory, names, files in os.walk(case.root):
        here = Path(directory)
        if here == case.root:
            names[:] = [name for name in names if name not in bags]
            files = [name for name in files if name != "lock"]
        names[:] = [name for name in names if not name.endswith(PARTIAL)]
        for name in names:
            make_directories(target / (here / name).relative_to(case.root))
        for name in files:
            if not name.endswith(PARTIAL):
                _copy(here / name, target / (here / name).relative_to(case.root))
    for name in bags:
        decrypt_bag(case.root / name, target / name, keys)


def _copy(source: Path, target: Path) -> None:
    with os.fdopen(open_nofollow(source), "rb") as stream, durable_file(target) as out:
        shutil.copyfileobj(stream, out, 1 << 20)
