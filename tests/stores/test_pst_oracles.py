"""PST items as other programs read them: readpst (pst-utils) and pffexport (pff-tools), every difference explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from excise.core.digests import sha256_hex
from excise.model.item import Fetched
from stores.pst_samples import every_sample, fetched, needs_samples

pytestmark = needs_samples


_EMBEDDED_FROM = re.compile(rb"(?m)^(Content-Type: message/rfc822\r?\n\r?\n)>?From [^\n]*\n")


class Seen(NamedTuple):
    """What is compared of a message: subject, date, and its attachments as (name, SHA-256)."""

    subject: str
    date: datetime | None
    attachments: tuple[tuple[str, str], ...]


def _files(message: EmailMessage) -> tuple[tuple[str, str], ...]:
    parts = (part for part in message.walk() if part.get_filename() is not None and not part.is_multipart())
    return tuple(
        sorted((part.get_filename() or "", sha256_hex(part.get_payload(decode=True) or b"")) for part in parts)
    )  # type: ignore[arg-type]


def _seen(content: bytes) -> Seen:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    date = message["Date"]
    return Seen(
        str(message["Subject"]), parsedate_to_datetime(str(date)).astimezone(UTC) if date else None, _files(message)
    )


@pytest.mark.skipif(shutil.which("readpst") is None, reason="readpst (Debian's pst-utils) is not installed")
@every_sample
def test_readpst_sees_the_same_mail(path: Path, tmp_path: Path) -> None:
    """readpst adds an RTF body as rtf-body.rtf, gives no Date to an unsent item, and cuts names not quoted.

    Attachments of embedded messages are compared too; readpst puts an mbox From line before each such message.
    """
    # Without -j 0 it leaves children behind that still write.
    run = ["readpst", "-q", "-j", "0", "-e", "-D", "-8", "-t", "e", "-o", str(tmp_path), str(path)]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    theirs = [_seen(_EMBEDDED_FROM.sub(rb"\1", file.read_bytes())) for file in tmp_path.rglob("*.eml")]
    theirs = [
        seen._replace(attachments=tuple(a for a in seen.attachments if a[0] != "rtf-body.rtf")) for seen in theirs
    ]
    ours = [_seen(item.content) for item in fetched(path) if _is_mail(item)]
    left = list(theirs)
    for seen in ours:
        twin = next((one for one in left if _same(seen, one)), None)
        assert twin is not None, f"readpst has no {seen}"
        left.remove(twin)
    assert left == []


def _is_mail(item: Fetched) -> bool:
    return (item.properties or {})["class"].upper().startswith("IPM.NOTE") and "associated" not in item.attributes


def _same(ours: Seen, theirs: Seen) -> bool:
    same_files = len(ours.attachments) == len(theirs.attachments) and all(
        a[1] == b[1] and a[0].startswith(b[0]) for a, b in zip(ours.attachments, theirs.attachments, strict=True)
    )
    return ours.subject == theirs.subject and theirs.date in (None, ours.date) and same_files


#: Classes that pffexport does not export: those that libpff does not know, and two that it does.
_NOT_EXPORTED = re.compile(r"IPM\.Microsoft\.|IPM\.Configuration|IPM\.Post", re.IGNORECASE)


@pytest.mark.skipif(shutil.which("pffexport") is None, reason="pffexport (Debian's pff-tools) is not installed")
@every_sample
def test_pffexport_sees_the_same_items(path: Path, tmp_path: Path) -> None:
    """Every class: subject, times, names and content of files; of embedded messages too, at every depth."""
    code_page = "windows-932" if path.stem == "contacts97-2002" else "windows-1252"
    run = ["pffexport", "-q", "-c", code_page, "-m", "items", "-t", str(tmp_path / "out"), str(path)]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    root = tmp_path / "out.export"
    theirs = Counter(_exported(folder) for folder in root.rglob("*") if folder.is_dir() and _is_item(folder))
    records = (record for item in fetched(path) for record in _records(item.properties or {}))
    ours = Counter(_ours(record) for record in records if not _NOT_EXPORTED.match(record["class"]))
    assert ours == theirs


def _is_item(folder: Path) -> bool:
    return re.fullmatch(r"[A-Z][A-Za-z]+\d{5}", folder.name) is not None and any(folder.glob("*.txt"))


def _records(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """``record`` and those of the messages in it."""
    yield record
    for attachment in record["attachments"]:
        if "embedded" in attachment:
            yield from _records(attachment["embedded"])


def _exported(folder: Path) -> tuple[Any, ...]:
    facts: dict[str, str] = {}
    headers = folder / "OutlookHeaders.txt"
    file = headers if headers.exists() else folder / f"{folder.name[:-5]}.txt"
    for line in file.read_text("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            facts.setdefault(name, value.strip())
    held = folder / "Attachments"
    found = list(held.iterdir()) if held.is_dir() else []
    files = sorted((_plain(one.name.partition("_")[2]), sha256_hex(one.read_bytes())) for one in found if one.is_file())
    times = tuple(_moment(facts.get(f"{name} time", "")) for name in ("Client submit", "Delivery", "Creation"))
    return (facts.get("Subject", ""), times, tuple(files), sum(one.is_dir() for one in found))


def _moment(text: str) -> str:
    found = re.match(r"(\w{3} \d\d, \d{4} \d\d:\d\d:\d\d)\.(\d{6})", text)
    if not found:
        return ""
    return (
        datetime.strptime(found[1], "%b %d, %Y %H:%M:%S").replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.") + found[2]
    )


def _ours(record: dict[str, Any]) -> tuple[Any, ...]:
    values = {entry["tag"]: entry.get("value") for entry in record["properties"]}
    subject = str(values.get("0x0037001F") or values.get("0x0037001E") or "")
    times = tuple(_iso(values.get(tag)) for tag in ("0x00390040", "0x0E060040", "0x30070040"))
    kept = [one for one in record["attachments"] if "sha256" in one]
    files = sorted((_plain(_name(one)), one["sha256"]) for one in kept)
    return (
        subject[2:] if subject.startswith("\x01") else subject,
        times,
        tuple(files),
        len(record["attachments"]) - len(kept),
    )


def _iso(value: object) -> str:
    text = str(value or "").removesuffix("Z")
    return text if "." in text or not text else f"{text}.000000"


def _name(attachment: dict[str, Any]) -> str:
    values = {entry["tag"][:6]: entry.get("value") for entry in attachment["properties"]}
    return str(values.get("0x3707") or values.get("0x3704") or "")


def _plain(name: str) -> str:
    """pffexport replaces what it deems unsafe in a file name; letters and digits stay."""
    return re.sub(r"[^A-Za-z0-9]", "", name)
