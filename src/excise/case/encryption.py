"""Encrypting the evidence of a sealed bag to recipients' keys (docs/adr/0008-encryption-at-rest.md).

The encrypted bag is made beside the plain one: each file of the evidence becomes a file of its own, ``NAME.age``, which
is flushed, closed, opened again and decrypted to the hash in the manifest; the records are copied. It keeps the tag
files of the plain bag, whose seal the audit log has. Invariant: of the two bags one is always whole, and which one
counts is told by the log and the names alone, so that a command that was stopped anywhere is finished by another:

1. the encrypted bag is whole and read again; ``bag-encrypted`` is recorded; it still bears another name;
2. the plain bag is named aside, the encrypted one gets its name (two renames);
3. the plain files are removed; ``plaintext-removed`` is recorded.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from excise.case.bag import (
    MANIFEST,
    PLAIN,
    TABLE,
    TAG_MANIFEST,
    TAGS,
    is_encrypted,
    is_sealed,
    payload,
    read_manifest,
    seal,
    tag_manifest_sha256,
    validate,
)
from excise.case.chain import ChainedLog
from excise.case.layout import Case, who
from excise.case.records import csv_bytes
from excise.core.age import SUFFIX, Witness, decrypt, encrypt, stanza, stanzas
from excise.core.digests import sha256_stream
from excise.core.errors import DoesNotVerify, SourceUnavailable
from excise.core.files import (
    PARTIAL,
    durable_file,
    free_space,
    fsync_directory,
    make_directories,
    open_nofollow,
    os_error,
    read_regular,
)

COLUMNS = ("file", "plain_sha256", "plain_size", "sha256", "size")
EVIDENCE = "data/evidence/"
_UNFINISHED = f"units/*/*-[0-9]*{PARTIAL}"


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What became of one bag: how many files were encrypted, and the SHA-256 of its tag manifest."""

    bag: str
    files: int
    seal: str


def encryption_of(records: Iterable[Mapping[str, Any]], bag: str) -> Mapping[str, Any] | None:
    """The last record of the audit log that says that the bag of this name was encrypted."""
    found = [record for record in records if record["type"] == "bag-encrypted" and record.get("bag") == bag]
    return found[-1] if found else None


def waits(case: Case, number: int, records: Iterable[Mapping[str, Any]]) -> bool:
    """True where the bag of plan ``number`` is between its two names: a command was stopped just then."""
    bag = case.bag_dir(number)
    record = encryption_of(records, bag.name)
    return record is not None and not bag.exists() and _is(_aside(bag, "encrypted"), record)


def stanzas_for(recipients: Iterable[str]) -> Counter[str]:
    """What the header of each file names: the recipients, and the key that it was read again with, which is gone."""
    return Counter([*map(stanza, recipients), stanza("age1")])


def unfinished(case: Case, records: Sequence[Mapping[str, Any]]) -> list[int]:
    """The plans whose bags were recorded as encrypted and are not, or whose plain files are still there."""
    removed = {record.get("bag") for record in records if record["type"] == "plaintext-removed"}
    found = []
    for number in case.plan_numbers():
        name = case.bag_dir(number).name
        if encryption_of(records, name) is not None and name not in removed:
            found.append(number)
    return found


def encrypt_bag(case: Case, number: int, recipients: Sequence[str], audit: ChainedLog) -> Encrypted:
    """Encrypt the evidence in the sealed bag of plan ``number``, whose seal was checked, or finish doing so.

    The plain files are removed once the encrypted ones were read again and found to hold them.
    """
    bag = case.bag_dir(number)
    ready, plain = _aside(bag, "encrypted"), _aside(bag, "plain")
    try:
        record = encryption_of(audit.records, bag.name)
        if record is None or not (_is(bag, record) or _is(ready, record)):
            if not bag.exists() and plain.exists():
                _rename(plain, bag)
            record = _make(case, number, recipients or (record or {}).get("recipients", ()), audit, ready)
        elif _is(ready, record):
            validate(ready)
        if _is(ready, record):
            if bag.exists():
                _rename(bag, plain)
            # What is in it was flushed when it was made.
            _rename(ready, bag)
        fsync_directory(case.root)
        if plain.exists():
            _remove_plain(bag, plain, record)
        _record_removal(audit, bag, number)
    except OSError as error:
        raise os_error(error, error.filename or bag, "encrypting the evidence") from error
    return Encrypted(bag.name, int(record["count"]), str(record["tagmanifest_sha256"]))


def remove_unfinished_parts(case: Case) -> None:
    """Remove the parts that runs left unfinished: they are not evidence, and hold messages in the clear."""
    for path in sorted(case.root.glob(_UNFINISHED)):
        _remove_tree(path)


def _aside(bag: Path, what: str) -> Path:
    return bag.with_name(f"{bag.name}.{what}{PARTIAL}")


def _is(bag: Path, record: Mapping[str, Any]) -> bool:
    return is_sealed(bag) and tag_manifest_sha256(bag) == record.get("tagmanifest_sha256")


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    fsync_directory(target.parent)


def _record_removal(audit: ChainedLog, bag: Path, number: int) -> None:
    if not any(record["type"] == "plaintext-removed" and record.get("bag") == bag.name for record in audit.records):
        audit.append({"type": "plaintext-removed", "plan": number, "bag": bag.name, "who": who()})


def _remove_plain(bag: Path, plain: Path, record: Mapping[str, Any]) -> None:
    """Remove the plain bag, unless the encrypted one in its place is not the one that was read again."""
    if not _is(bag, record):
        raise DoesNotVerify(f"{bag}: not the encrypted bag that was recorded; {plain} was left as it is")
    _remove_tree(plain)


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
        fsync_directory(path.parent)


def _make(case: Case, number: int, recipients: Sequence[str], audit: ChainedLog, ready: Path) -> Mapping[str, Any]:
    """Make the encrypted bag under another name, read it again, and record it; the record."""
    bag = case.bag_dir(number)
    sealed = [r.get("tagmanifest_sha256") for r in audit.records if r["type"] == "bag-sealed" and r["bag"] == bag.name]
    if tag_manifest_sha256(bag) not in sealed:
        raise DoesNotVerify(f"{bag}: not the bag that the audit log recorded", hint=f"See: excise verify {case.root}")
    _remove_tree(ready)
    _check_space(bag)
    try:
        count = _build(bag, ready, recipients)
        validate(ready)
    except BaseException:
        # What was made holds nothing that the plain bag has not.
        shutil.rmtree(ready, ignore_errors=True)
        raise
    record = {
        "type": "bag-encrypted",
        "plan": number,
        "bag": bag.name,
        "tagmanifest_sha256": tag_manifest_sha256(ready),
        "plain_tagmanifest_sha256": tag_manifest_sha256(bag),
        "recipients": list(recipients),
        "count": count,
        "who": who(),
    }
    fsync_directory(case.root)
    audit.append(record)
    return record


def _check_space(bag: Path) -> None:
    needed = sum(path.stat().st_size for path in payload(bag)) * 101 // 100 + (1 << 20)
    if free_space(bag) < needed:
        raise SourceUnavailable(
            f"{bag}: encrypting it needs {needed / 1e6:,.0f} MB beside it, and fewer are free",
            hint="Free some space there and run the command again: the plain files go once the others are verified.",
        )


def _build(bag: Path, ready: Path, recipients: Sequence[str]) -> int:
    """Fill the directory ``ready``; how many files were encrypted."""
    manifest, witness, rows = read_manifest(bag / MANIFEST), Witness(), []
    expected = stanzas_for(recipients)
    for name, digest in manifest.items():
        make_directories((ready / name).parent)
        if name.startswith(EVIDENCE):
            rows.append(_encrypted(bag, ready, name, digest, [*recipients, witness.recipient]))
            _read_again(ready / f"{name}{SUFFIX}", digest, witness, expected)
        else:
            _copied(bag / name, ready / name, digest)
    tags = {f"{PLAIN}/{name}": read_regular(bag / name) for name in (*TAGS, TAG_MANIFEST)}
    tags[TABLE] = csv_bytes(COLUMNS, rows)
    seal(ready, dict(_info(bag)), tags)
    for root, _, _ in os.walk(ready):
        fsync_directory(Path(root))
    return len(rows)


def _info(bag: Path) -> Iterator[tuple[str, str]]:
    """What bag-info.txt says of the case and the plan, for the new one."""
    for line in read_regular(bag / "bag-info.txt").decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(": ")
        if name in ("External-Identifier", "Internal-Sender-Identifier", "Internal-Sender-Description"):
            yield name, value + ("; encrypted" if name == "Internal-Sender-Description" else "")


class _Digesting:
    """Takes the SHA-256 and the length of what is read from a stream, or written to nowhere."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream, self._digest, self.size = stream, sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size) if self._stream is not None else b""
        self.write(data)
        return data

    def write(self, data: bytes, /) -> int:
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _encrypted(bag: Path, ready: Path, name: str, digest: str, recipients: Sequence[str]) -> dict[str, Any]:
    """Encrypt one file; its row in the table."""
    target = ready / f"{name}{SUFFIX}"
    with os.fdopen(open_nofollow(bag / name), "rb") as stream, durable_file(target) as out:
        source = _Digesting(stream)
        encrypt(source, out, recipients)  # type: ignore[arg-type]
    if source.hexdigest() != digest:
        raise DoesNotVerify(f"{bag / name}: not what {MANIFEST} says; nothing was changed")
    with os.fdopen(open_nofollow(target), "rb") as stream:
        found, size = sha256_stream(stream)
    return dict(zip(COLUMNS, (name, digest, source.size, found, size), strict=True))


def _read_again(path: Path, digest: str, witness: Witness, expected: Counter[str]) -> None:
    """The file as it is on the disk opens, holds what was encrypted, and is for whom it must be."""
    plain_sha256, _ = plain_digest(path, [witness.identity])
    if plain_sha256 != digest:
        raise DoesNotVerify(f"{path}: read again, it does not hold what was encrypted; nothing was removed")
    if stanzas(path) != expected:
        raise DoesNotVerify(f"{path}: read again, it is not encrypted to just the recipients; nothing was removed")


def plain_digest(path: Path, identities: Sequence[Any]) -> tuple[str, int]:
    """SHA-256 and length of what the encrypted file at ``path`` holds."""
    sink = _Digesting()
    decrypt(path, sink, identities)
    return sink.hexdigest(), sink.size


def _copied(source: Path, target: Path, digest: str) -> None:
    found = sha256()
    with os.fdopen(open_nofollow(source), "rb") as stream, durable_file(target) as out:
        while piece := stream.read(1 << 20):
            found.update(piece)
            out.write(piece)
    if found.hexdigest() != digest:
        raise DoesNotVerify(f"{source}: not what {MANIFEST} says; nothing was changed")


# Opening


def decrypt_bag(bag: Path, target: Path, identities: Sequence[Any]) -> None:
    """Make the bag as it was sealed, in the new directory ``target``, from the encrypted ``bag``; it is flushed.

    WrongKey where no identity fits; DoesNotVerify where a file is not what was sealed, and then it is named.
    """
    manifest = read_manifest(bag / PLAIN / MANIFEST)
    for name, digest in manifest.items():
        make_directories((target / name).parent)
        if name.startswith(EVIDENCE):
            decrypt_file(bag / f"{name}{SUFFIX}", target / name, digest, identities)
        else:
            _copied(bag / name, target / name, digest)
    for name, digest in read_manifest(bag / PLAIN / TAG_MANIFEST).items():
        _copied(bag / PLAIN / name, target / name, digest)
    with durable_file(target / TAG_MANIFEST) as out:
        out.write(read_regular(bag / PLAIN / TAG_MANIFEST))
    for root, _, _ in os.walk(target):
        fsync_directory(Path(root))


def decrypt_file(path: Path, target: Path, digest: str, identities: Sequence[Any]) -> None:
    """Decrypt one file; DoesNotVerify where it holds something else than what has the SHA-256 ``digest``."""
    sink = _Digesting()
    with durable_file(target) as out:
        decrypt(path, _Both(sink, out), identities)
    if sink.hexdigest() != digest:
        raise DoesNotVerify(f"{path}: holds something else than what was sealed, by its SHA-256")


class _Both:
    def __init__(self, *sinks: Any) -> None:
        self._sinks = sinks

    def write(self, data: bytes, /) -> None:
        for sink in self._sinks:
            sink.write(data)


@contextmanager
def opened(case: Case, numbers: Iterable[int], identities: Sequence[Any]) -> Iterator[None]:
    """Have the evidence of these plans in the clear inside the block, where it is encrypted (``Case.evidence_bag``).

    It lies in the case, under a name that is no evidence, and is removed at the end; what a killed command left of it
    is removed by the next that opens it.
    """
    close_opened(case)
    encrypted = [number for number in numbers if is_encrypted(case.bag_dir(number))]
    try:
        for number in encrypted:
            target = case.opened_dir / case.bag_dir(number).name
            making = target.with_name(f"{target.name}{PARTIAL}")
            make_directories(making)
            decrypt_bag(case.bag_dir(number), making, identities)
            making.rename(target)
        yield
    except OSError as error:
        raise os_error(error, error.filename or case.opened_dir, "opening the evidence") from error
    finally:
        close_opened(case)


def close_opened(case: Case) -> None:
    """Remove evidence that was opened for a command."""
    _remove_tree(case.opened_dir)
