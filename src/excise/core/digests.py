"""Digests and the canonical form of JSON that they are taken of.

Canonical JSON here: pure ASCII (other characters as \\uXXXX, so that a path that is not UTF-8 survives), keys sorted,
no white space, no NaN or infinity. Two equal values have one canonical form, so that a hash of it can be confirmed by
a person.
"""

from __future__ import annotations

import hashlib
import json
from typing import IO, Any

_CHUNK = 1 << 20


def sha256_hex(data: bytes | memoryview) -> str:
    """SHA-256 of ``data`` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_stream(stream: IO[bytes]) -> tuple[str, int]:
    """SHA-256 and length of the rest of ``stream``, read in pieces."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def canonical_json(value: Any) -> bytes:
    """``value`` as canonical JSON, without a final newline."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def json_sha256(value: Any) -> str:
    """SHA-256 of the canonical form of ``value``."""
    return sha256_hex(canonical_json(value))
