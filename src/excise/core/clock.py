"""Times: aware, in UTC, written as ISO 8601 with ``Z``."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime | None) -> str | None:
    """``moment`` in UTC as ISO 8601 with ``Z``; None stays None. A naive ``moment`` is a ValueError."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError("a time without a zone has no place in UTC")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_iso(text: str | None) -> datetime | None:
    """The reverse of ``iso``."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
