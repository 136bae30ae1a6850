"""Values of a world as JSON has them, and back: bytes, times and people are marked as what they are."""

from __future__ import annotations

import base64
from datetime import datetime

from .mime import Address


def to_plain(value: object) -> object:
    """A value that JSON can hold."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, Address):
        return {"person": [value.name, value.address]}
    if isinstance(value, dict):
        return {"map": [[key, to_plain(entry)] for key, entry in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [to_plain(entry) for entry in value]}
    if isinstance(value, list):
        return [to_plain(entry) for entry in value]
    return value


def from_plain(value: object) -> object:
    """The value that `to_plain` was given."""
    if isinstance(value, list):
        return [from_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "time":
        return datetime.fromisoformat(content)
    if kind == "person":
        return Address(*content)
    if kind == "tuple":
        return tuple(from_plain(entry) for entry in content)
    return {key: from_plain(entry) for key, entry in content}
