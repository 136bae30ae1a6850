"""Files that a run makes anew, kept as they were: ``original-NNN`` beside the parts of a unit (S13, S14).

It holds ``original.pst``, the file byte for byte, and ``about.json``. It is written under another name, read again and
compared with the source, and gets its own name by one rename, when the unit's journal has its SHA-256 already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from excise.core.digests import canonical_json, sha256_stream
from excise.core.errors import DoesNotVerify
from excise.core.files import commit_directory, durable_file, make_directories, open_nofollow

#: What the directory's name begins with.
ORIGINAL = "original-"
FILE, ABOUT = "original.pst", "about.json"
_NAME = re.compile(r"original-(\d{3,})\Z")
_PIECE = 1 << 20


def committed_originals(directory: Path) -> dict[int, Path]:
    """The originals in a unit's evidence directory, by number."""
    found = ((_NAME.match(path.name), path) for path in directory.glob(f"{ORIGINAL}*"))
    return dict(sorted((int(name[1]), path) for name, path in found if name))


def write_original(partial: Path, source: BinaryIO, about: Mapping[str, Any]) -> tuple[str, int]:
    """Copy ``source`` from its start into the new directory ``partial``; SHA-256 and size of what was read of it.

    DoesNotVerify where the copy, read again from the file, is not that, or ``source`` is no longer.
    """
    make_directories(partial)
    source.seek(0)
    with durable_file(partial / FILE) as stream:
        while piece := source.read(_PIECE):
            stream.write(piece)
    source.seek(0)
    digest, size = sha256_stream(source)
    if not is_copy(partial, source):
        raise DoesNotVerify(f"{partial / FILE}: not what was read of the file that it is a copy of")
    with durable_file(partial / ABOUT) as stream:
        stream.write(canonical_json({**about, "sha256": digest, "size": size}) + b"\n")
    return digest, size


def commit_original(partial: Path, final: Path) -> None:
    """Give it its lasting name; a name that is taken is an error (S14)."""
    commit_directory(partial, final)


def is_copy(original: Path, source: BinaryIO) -> bool:
    """True where the file kept in ``original`` is ``source``, byte for byte; both are read."""
    source.seek(0)
    with os.fdopen(open_nofollow(original / FILE), "rb") as stream:
        while piece := source.read(_PIECE):
            if stream.read(len(piece)) != piece:
                return False
        return not stream.read(1)


def original_problems(directory: Path, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What does not hold of a committed original; ``records`` are those of the unit's journal."""
    told = [r for r in records if r["type"] == "original" and r.get("name") == directory.name]
    if _NAME.match(directory.name) is None or not told:
        return [f"{directory}: the journal does not know it"]
    try:
        with os.fdopen(open_nofollow(directory / FILE), "rb") as stream:
            found = sha256_stream(stream)
    except OSError as error:
        return [f"{directory / FILE}: cannot be read: {error.strerror}"]
    problems = [
        f"{directory}/{name}: does not belong to it"
        for name in sorted({path.name for path in directory.iterdir()} - {FILE, ABOUT})
    ]
    if found != (told[-1].get("sha256"), told[-1].get("size")):
        problems.append(f"{directory / FILE}: not the file that was kept, by its SHA-256")
    return problems
