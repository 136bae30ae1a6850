"""The file that an item was, where that is not its content: a compressed message, a .msg file.

Such an item's ``attributes`` carry the file's bytes (``original``, base64) and what they are (``form``), so that it can
be put back byte for byte from any evidence.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any


def attributes_for(attributes: dict[str, Any], form: str, original: bytes) -> dict[str, Any]:
    """``attributes`` and, where ``form`` is not empty, the ``original`` file."""
    if not form:
        return attributes
    return {**attributes, "form": form, "original": base64.b64encode(original).decode("ascii")}


def original_of(attributes: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Form and bytes of the original file that ``attributes`` carry; None where they carry none that can be read."""
    form, coded = attributes.get("form"), attributes.get("original")
    if not isinstance(form, str) or not isinstance(coded, str) or not form:
        return None
    try:
        return form, base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return None
