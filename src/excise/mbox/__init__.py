"""The mbox format: bytes in, objects out. Knows nothing of the rest of Excise but its errors.

``scan`` finds the entries of a buffer (``bytes``, ``mmap``, ``FileView``), ``fingerprint`` names them, ``check`` says
what is wrong with a file, ``quote_mboxrd`` and ``unquote_mboxrd`` are the reversible quoting.
"""

from excise.mbox.checking import Finding, Severity, Survey, Variant, check, variant_of
from excise.mbox.entries import (
    HEAD_SIZE,
    Entry,
    follows_lengths,
    header_block,
    is_from_line,
    looks_like_mbox,
    scan,
    scan_headers,
)
from excise.mbox.identity import (
    delivery_time,
    fingerprint,
    fingerprint_of,
    flag_fields,
    flags,
    from_line,
    from_line_key,
    likeness,
)
from excise.mbox.quoting import quote_mboxrd, quote_mboxrd_chunks, unquote_mboxrd, unquote_mboxrd_chunks
from excise.mbox.view import Buffer, FileShrank, FileView

__all__ = [
    "HEAD_SIZE",
    "Buffer",
    "Entry",
    "FileShrank",
    "FileView",
    "Finding",
    "Severity",
    "Survey",
    "Variant",
    "check",
    "delivery_time",
    "fingerprint",
    "fingerprint_of",
    "flag_fields",
    "flags",
    "follows_lengths",
    "from_line",
    "from_line_key",
    "header_block",
    "is_from_line",
    "likeness",
    "looks_like_mbox",
    "quote_mboxrd",
    "quote_mboxrd_chunks",
    "scan",
    "scan_headers",
    "unquote_mboxrd",
    "unquote_mboxrd_chunks",
    "variant_of",
]
