"""The dates of ExMerge.ini: month, day, year, then the time of day, on the clock of the machine that it ran on."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from excise.core.errors import UsageError
from excise.core.text import shown

_DATE = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?:\s+(\d{1,2}):(\d\d)(?::(\d\d))?(?:\s*([AP])M)?)?", re.ASCII | re.IGNORECASE
)
#: Windows takes years of two digits up to 29 as those of this century.
_CENTURY = 30


def parse_date(text: str, key: str) -> datetime:
    """``text`` as a time without a zone; ``UsageError`` where it is none."""
    match = _DATE.fullmatch(text)
    try:
        if match:
            month, day, year, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
            if len(match[3]) == 2:
                year += 2000 if year < _CENTURY else 1900
            hour = _of_24(hour, match[7].upper()) if match[7] else hour
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the zone stands beside it
    except ValueError:
        pass
    raise UsageError(
        f"{key}: expected month/day/year and a time, found {shown(text, 80)!r}", hint="As in 12/31/2003 23:59:59."
    )


def _of_24(hour: int, half: str) -> int:
    if not 1 <= hour <= 12:
        raise ValueError(hour)
    return hour % 12 + (12 if half == "P" else 0)


def after(end: datetime) -> datetime:
    """The end of a half-open range for one that includes its last second, as ExMerge's does."""
    return end + timedelta(seconds=1)
