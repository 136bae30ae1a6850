"""RFC 3161 time stamps over plans, bags and checkpoints: that they were there by then, on an authority's word.

The request is made first and kept (``stamps/NAME.tsq``), so that one that could not be sent can be sent later; it is of
the file's bytes, so a later stamp is as good a proof of a later time. An answer becomes ``stamps/NAME.tsr`` only when
it is granted, for this request (its nonce), and of this file (its SHA-256). Who signed it is for ``verify`` to find
out, with the authority's root certificate.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from excise.case.bag import is_sealed, seal_path
from excise.case.chain import ChainedLog
from excise.case.checkpoint import CHECKPOINTS, add_files
from excise.case.layout import Case
from excise.case.plan import HEADER
from excise.case.stamp_reading import NotStamped, make_request, read_stamp, require_library
from excise.core.digests import sha256_hex
from excise.core.errors import UsageError
from excise.core.files import read_regular

STAMPS = "stamps"
_LIMIT = 1 << 20
_TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Stamp:
    """One thing to be stamped: ``time`` (ISO 8601) where it is, ``problem`` where it should have been now."""

    name: str
    path: Path
    time: str | None = None
    problem: str = ""


def subjects(case: Case) -> Iterator[tuple[str, Path]]:
    """What of a case can be stamped: each plan, each sealed bag, each checkpoint; by the name of its stamp."""
    for number in case.plan_numbers():
        yield f"plan-{number:04}", case.plan_dir(number) / HEADER
        if is_sealed(case.bag_dir(number)):
            yield f"bag-{number:04}", seal_path(case.bag_dir(number))
    for path in sorted((case.root / CHECKPOINTS).glob("*.json")):
        if re.fullmatch("[0-9]{6,}", path.stem):
            yield f"checkpoint-{path.stem}", path


def subject_of(case: Case, name: str) -> Path | None:
    """The file that a stamp of this name is of."""
    kind, _, number = name.partition("-")
    if not number.isascii() or not number.isdigit():
        return None
    files = {
        "plan": case.root / "plan" / number / HEADER,
        "bag": seal_path(case.root / f"bag-{number}"),
        "checkpoint": case.root / CHECKPOINTS / f"{number}.json",
    }
    return files.get(kind)


def stamp(case: Case, audit: ChainedLog, url: str | None) -> list[Stamp]:
    """Have everything stamped that is not yet; without ``url`` (or an answer) the requests are kept for later."""
    if url is not None:
        check_url(url)
    require_library()
    recorded = {file for record in audit.records for file in record.get("files", {})}
    stamps: list[Stamp] = []
    silent = ""
    for name, path in subjects(case):
        made = _stamp(case, audit, name, path, None if silent else url, recorded)
        if silent and made.problem:
            made = replace(made, problem=silent)
        elif url is not None and made.problem.startswith(f"{url}: no answer"):
            silent = made.problem  # it is not asked again, and waited for, for each of the others
        stamps.append(made)
    return stamps


def _stamp(case: Case, audit: ChainedLog, name: str, path: Path, url: str | None, recorded: set[str]) -> Stamp:
    data, query, answer = read_regular(path), f"{STAMPS}/{name}.tsq", f"{STAMPS}/{name}.tsr"
    if answer in recorded:
        return Stamp(name, path, read_stamp(read_regular(case.root / answer), data).time)
    if query not in recorded:
        request = make_request(data)
        add_files(case, {query: request})
        facts = {"of": path.relative_to(case.root).as_posix(), "of_sha256": sha256_hex(data)}
        audit.append({"type": "stamp-requested", **facts, "files": {query: sha256_hex(request)}})
    request = read_regular(case.root / query)
    brought = (case.root / answer).exists()  # by hand, or by a command that was killed before it could record it
    if url is None and not brought:
        return Stamp(name, path, problem="not sent to any authority yet")
    try:
        response = read_regular(case.root / answer) if brought else _ask(str(url), request)
        reading = read_stamp(response, data, request)
    except NotStamped as error:
        return Stamp(name, path, problem=error.message)
    add_files(case, {answer: response})
    facts = {"of": path.relative_to(case.root).as_posix(), "of_sha256": sha256_hex(data)}
    told = {"authority": None if brought else url, "stamp_time": reading.time, "files": {answer: sha256_hex(response)}}
    audit.append({"type": "stamped", **facts, **told})
    return Stamp(name, path, reading.time)


def check_url(url: str) -> None:
    """A UsageError unless ``url`` is one of HTTP without credentials (they would be in the log, S26)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError(
            "expected the http:// or https:// address of a time-stamp authority without a password, found another",
            hint="Give its address alone.",
        )


def _ask(url: str, request: bytes) -> bytes:
    """The authority's answer; NotStamped where there is none."""
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    call = urllib.request.Request(url, request, headers)  # noqa: S310 - check_url allows HTTP alone
    try:
        with urllib.request.urlopen(call, timeout=_TIMEOUT) as answer:  # noqa: S310
            data: bytes = answer.read(_LIMIT)
            kind = answer.headers.get_content_type()
    except (OSError, http.client.HTTPException, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise NotStamped(f"{url}: no answer: {reason}", hint="To try again: excise stamp CASE --url URL") from error
    if kind != "application/timestamp-reply":
        raise NotStamped(f"{url}: expected application/timestamp-reply, found {kind}")
    return data
