"""Sealing a run's bag: BagIt, RFC 8493.

The payload (``data/``) is complete before it is sealed; the payload manifest is made by reading every file again. The
tag manifest is written last, by rename: a bag without it is not sealed. Names in a bag are ASCII and made by Excise
alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from excise import __version__
from excise.core.clock import now
from excise.core.digests import sha256_hex, sha256_stream
from excise.core.errors import DoesNotVerify, ExciseError
from excise.core.files import fail, make_directories, open_nofollow, os_error, read_regular, write_durably

MANIFEST, TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
TAGS = ("bag-info.txt", "bagit.txt", MANIFEST)
#: In an encrypted bag: the tag files as they were when it was sealed, and which file became which.
PLAIN, TABLE = "plain", "encrypted.csv"


def is_sealed(bag: Path) -> bool:
    """True where the bag has been sealed."""
    return (bag / TAG_MANIFEST).is_file()


def is_encrypted(bag: Path) -> bool:
    """True where the evidence in the bag is encrypted."""
    return (bag / TABLE).is_file()


def seal_path(bag: Path) -> Path:
    """The tag manifest that the bag was sealed with at the end of its run, which an encrypted bag keeps."""
    return bag / PLAIN / TAG_MANIFEST if is_encrypted(bag) else bag / TAG_MANIFEST


def payload(bag: Path) -> Iterator[Path]:
    """The files below ``data/``, by name."""
    for root, directories, files in os.walk(bag / "data", onerror=fail):
        directories.sort()
        for name in sorted(files):
            yield Path(root, name)


def seal(bag: Path, info: Mapping[str, str], more: Mapping[str, bytes] | None = None) -> str:
    """Seal ``bag``; the SHA-256 of its tag manifest. ``info`` goes into bag-info.txt; ``more``: further tag files."""
    lines, octets, streams = [], 0, 0
    for path in payload(bag):
        with os.fdopen(open_nofollow(path), "rb") as stream:
            digest, size = sha256_stream(stream)
        lines.append(f"{digest}  {_name(bag, path)}\n")
        octets, streams = octets + size, streams + 1
    facts = {
        "Bag-Software-Agent": f"excise {__version__}",
        "Bagging-Date": now().date().isoformat(),
        "Payload-Oxum": f"{octets}.{streams}",
        **info,
    }
    tags = {
        "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        "bag-info.txt": "".join(f"{name}: {' '.join(value.split())}\n" for name, value in facts.items()).encode(),
        MANIFEST: "".join(lines).encode(),
        **(more or {}),
    }
    for name, data in tags.items():
        make_directories((bag / name).parent)
        write_durably(bag / name, data)
    manifest = "".join(f"{sha256_hex(tags[name])}  {name}\n" for name in sorted(tags)).encode()
    write_durably(bag / TAG_MANIFEST, manifest)
    return sha256_hex(manifest)


def read_manifest(path: Path) -> dict[str, str]:
    """SHA-256 by file name of a manifest; DoesNotVerify where a line is none, or names no file of a bag."""
    try:
        lines = read_regular(path).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise os_error(error, path, "reading the manifest") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        digest, _, name = line.partition("  ")
        if not name or ".." in name.split("/") or name.startswith("/") or name in found:
            raise DoesNotVerify(f"{path}: line {number}: expected the SHA-256 and the name of a file of the bag, once")
        found[name] = digest
    return found


def tag_manifest_sha256(bag: Path) -> str:
    """SHA-256 of the sealed bag's tag manifest, which binds all that is in it."""
    return sha256_hex(read_regular(bag / TAG_MANIFEST))


def validate(bag: Path) -> None:
    """Have BagIt's own validator read the bag; a DoesNotVerify says what it says."""
    import bagit

    try:
        bagit.Bag(str(bag)).validate(processes=1)
    except (bagit.BagError, OSError, UnicodeDecodeError, ValueError) as error:
        named = "; ".join(_differences(bag))
        said = " ".join(str(error).split())
        raise DoesNotVerify(f"{bag}: the BagIt validator says: {said}" + (f" ({named})" if named else "")) from error


def _differences(bag: Path) -> Iterator[str]:
    """The files of a bag that are not as its manifests say; the validator stops before it names them."""
    listed = set()
    for manifest in (TAG_MANIFEST, MANIFEST):
        try:
            lines = read_regular(bag / manifest).decode("utf-8", "replace").splitlines()
        except (OSError, ExciseError):
            yield f"{manifest} cannot be read"
            continue
        for line in lines:
            digest, _, name = line.partition("  ")
            listed.add(name)
            if not name or ".." in name.split("/") or name.startswith("/"):
                yield f"{manifest}: a line that names no file of the bag"
            elif _digest(bag / name) != digest:
                yield f"{name} is gone or not as {manifest} says"
    yield from (f"{_name(bag, path)} is in no manifest" for path in payload(bag) if _name(bag, path) not in listed)


def _name(bag: Path, path: Path) -> str:
    return path.relative_to(bag).as_posix()


def _digest(path: Path) -> str:
    try:
        with os.fdopen(open_nofollow(path), "rb") as stream:
            return sha256_stream(stream)[0]
    except (OSError, ExciseError):
        return ""
