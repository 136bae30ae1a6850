"""Checking encrypted evidence: how it hangs together with what was sealed, and with a private key all that it holds."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from excise.case.bag import (
    MANIFEST,
    PLAIN,
    TABLE,
    TAG_MANIFEST,
    is_encrypted,
    is_sealed,
    read_manifest,
    tag_manifest_sha256,
)
from excise.case.encryption import EVIDENCE, decrypt_file, encryption_of, stanzas_for
from excise.case.layout import Case
from excise.case.verify_proofs import Check
from excise.core.age import SUFFIX, Identity, decrypt, key_name, stanzas
from excise.core.digests import sha256_hex
from excise.core.errors import DoesNotVerify, ExciseError
from excise.core.files import PARTIAL, make_directories, read_regular


def encryption_problems(bag: Path, records: Sequence[Mapping[str, Any]], sealed: object) -> Iterator[str]:
    """What does not hold of an encrypted bag beside its manifests: it is the one that was recorded, it keeps the tag
    files of the bag with the tag manifest ``sealed``, and each file that was sealed is there, encrypted to each
    recipient, and nothing else."""
    record = encryption_of(records, bag.name)
    if record is None:
        yield f"{bag / TABLE}: the audit log tells of no encryption of this bag"
        return
    if tag_manifest_sha256(bag) != record.get("tagmanifest_sha256"):
        yield f"{bag / TAG_MANIFEST}: not the one that the audit log recorded when the bag was encrypted"
    plain = bag / PLAIN
    try:
        if sha256_hex(read_regular(plain / TAG_MANIFEST)) != sealed:
            yield f"{plain / TAG_MANIFEST}: not the one that the audit log recorded when the bag was sealed"
        for name, digest in read_manifest(plain / TAG_MANIFEST).items():
            if sha256_hex(read_regular(plain / name)) != digest:
                yield f"{plain / name}: not as {TAG_MANIFEST} beside it says"
        yield from _file_problems(bag, stanzas_for(record.get("recipients") or ()))
    except ExciseError as error:
        yield error.message
    except OSError as error:
        yield f"{error.filename}: cannot be read: {error.strerror}"


def _file_problems(bag: Path, recipients: Counter[str]) -> Iterator[str]:
    there, rows = read_manifest(bag / MANIFEST), _table(bag / TABLE)
    for name, digest in read_manifest(bag / PLAIN / MANIFEST).items():
        if not name.startswith(EVIDENCE):
            if there.pop(name, None) != digest:
                yield f"{bag / name}: not what was sealed"
            continue
        encrypted = f"{name}{SUFFIX}"
        found = there.pop(encrypted, None)
        if found is None:
            yield f"{bag / encrypted}: was sealed as {name}, and is in no manifest any more"
            continue
        if rows.pop(name, None) != (digest, found):
            yield f"{bag / TABLE}: {name}: not the hashes of the manifests"
        try:
            if stanzas(bag / encrypted) != recipients:
                yield f"{bag / encrypted}: its header does not name just the recipients of the record"
        except ExciseError as error:
            yield error.message
    yield from (f"{bag / name}: was not sealed" for name in there)
    yield from (f"{bag / TABLE}: {name}: was not sealed" for name in rows)


def _table(path: Path) -> dict[str, tuple[str, str]]:
    rows = csv.DictReader(io.StringIO(read_regular(path).decode("utf-8", "replace"), newline=""))
    return {str(row.get("file")): (str(row.get("plain_sha256")), str(row.get("sha256"))) for row in rows}


def recipients_in_words(records: Sequence[Mapping[str, Any]], bag: Path) -> str:
    """Whom the audit log says that the bag was encrypted to."""
    record = encryption_of(records, bag.name) or {}
    return ", ".join(key_name(str(key)) for key in record.get("recipients") or ()) or "nobody that is known"


def check_keys(case: Case, identities: Sequence[Identity]) -> None:
    """WrongKey where no identity opens the first encrypted file of the case: another key was meant."""
    for number in case.plan_numbers() if identities else ():
        for path in sorted((case.bag_dir(number) / "data").glob(f"evidence/*/*/items.jsonl{SUFFIX}"))[:1]:
            try:
                decrypt(path, _Nowhere(), identities)
            except DoesNotVerify:
                return  # it is named when its part is checked


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        """Forget it."""


def check_opened(
    case: Case, number: int, records: Sequence[Mapping[str, Any]], identities: Sequence[Identity]
) -> Iterator[Check]:
    """Say what was opened of encrypted evidence, and which plain evidence is still beside it."""
    bag = case.bag_dir(number)
    if is_encrypted(bag):
        told = f"encrypted to {recipients_in_words(records, bag)}"
        if identities:
            yield Check(f"{bag.name}: what is encrypted", True, f"{told}; each file was opened and read")
        else:
            yield Check(f"{bag.name}: what is encrypted", None, f"{told}; give --identity to have it opened and read")
    elif encryption_of(records, bag.name) is not None and is_sealed(bag):
        yield Check(f"{bag.name}: encryption", None, "this copy is in the clear, as it was sealed")
    left = [case.root / f"{bag.name}.{what}{PARTIAL}" for what in ("plain", "encrypted")]
    named = ", ".join(path.name for path in left if path.exists())
    if named:
        yield Check(
            f"{bag.name}: encryption", None, f"it was interrupted, and left {named}; excise encrypt {case.root}"
        )


@contextmanager
def opened_part(bag: Path, part: Path, identities: Sequence[Identity]) -> Iterator[tuple[Path, list[str]]]:
    """A copy in the clear of a part (or an original) of an encrypted bag, for the block, among the temporary files of
    this user; and what does not open, or is not what was sealed, each with its file."""
    manifest = read_manifest(bag / PLAIN / MANIFEST)
    within = f"{part.relative_to(bag).as_posix()}/"
    problems = []
    with tempfile.TemporaryDirectory(prefix="excise-") as place:
        target = Path(place, part.name)
        make_directories(target)
        for name, digest in manifest.items():
            if name.startswith(within):
                to = target / name.removeprefix(within)
                make_directories(to.parent)
                try:
                    decrypt_file(bag / f"{name}{SUFFIX}", to, digest, identities)
                except ExciseError as error:
                    problems.append(error.message)
                except OSError as error:
                    problems.append(f"{error.filename or bag / name}: {error.strerror}")
        yield target, problems


def unopened_problems(bag: Path, part: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Without a key: the files of a part that were sealed are those that the journal has hashes of."""
    manifest = read_manifest(bag / PLAIN / MANIFEST)
    for name, digest in files.items():
        within = f"{part.relative_to(bag).as_posix()}/{name}"
        if manifest.get(within) != digest:
            yield f"{part / name}{SUFFIX}: what was sealed is not what the journal says, by its SHA-256"
