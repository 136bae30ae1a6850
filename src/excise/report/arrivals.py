"""When messages arrived, counted in bins that a chart can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
#: Width of a bin in minutes, and how its start is written.
_WIDTHS = (
    (1, "%H:%M"),
    (10, "%d %b %H:%M"),
    (30, "%d %b %H:%M"),
    (60, "%d %b %H:%M"),
    (3 * 60, "%d %b %H:%M"),
    (12 * 60, "%d %b %H:%M"),
    (24 * 60, "%d %b %Y"),
    (7 * 24 * 60, "%d %b %Y"),
    (28 * 24 * 60, "%d %b %Y"),
    (91 * 24 * 60, "%b %Y"),
)
_YEAR = 365 * 24 * 60
_MOST_BINS = 40


@dataclass(slots=True)
class Arrivals:
    """Arrivals by minute (UTC); ``unknown``: messages of which no time is known."""

    minutes: Counter[int] = field(default_factory=Counter)
    unknown: int = 0

    def add(self, received: object) -> None:
        """Count one message by its time as a plan has it: ISO 8601, or what is no time."""
        try:
            moment = datetime.fromisoformat(str(received)).astimezone(UTC)
            self.minutes[(moment - _EPOCH) // _MINUTE] += 1
        except (ValueError, OverflowError):
            self.unknown += 1

    def __bool__(self) -> bool:
        return bool(self.minutes)

    @property
    def first(self) -> datetime:
        """The first one, to the minute."""
        return _moment(min(self.minutes))

    @property
    def last(self) -> datetime:
        """The last one, to the minute."""
        return _moment(max(self.minutes))

    def window(self) -> tuple[int, int]:
        """First and last minute of what a chart shows: the few that lie far away (a forged or a broken clock) are left
        out."""
        ordered = sorted(self.minutes)
        total = self.minutes.total()
        rank = max(1, total // 100)
        low, high = _of_rank(self.minutes, ordered, rank), _of_rank(self.minutes, ordered, total - rank + 1)
        whole, inner = ordered[-1] - ordered[0], high - low
        return (low, high) if whole > 20 * max(inner, 60) and total >= 100 else (ordered[0], ordered[-1])

    def outside(self) -> int:
        """How many lie outside of the window."""
        low, high = self.window()
        return sum(count for minute, count in self.minutes.items() if not low <= minute <= high)

    def bins(self) -> list[tuple[str, int]]:
        """Label and count of each bin, empty ones too, in order; at most 41 of them."""
        return list(self._bins()) if self.minutes else []

    def _bins(self) -> Iterator[tuple[str, int]]:
        low, high = self.window()
        width, form = next((w for w in _WIDTHS if (high - low) // w[0] < _MOST_BINS), (_YEAR, "%Y"))
        if width == _YEAR:
            width *= max(1, -(-(high - low) // (_YEAR * _MOST_BINS)))
        counted: Counter[int] = Counter()
        for minute, count in self.minutes.items():
            if low <= minute <= high:
                counted[minute // width] += count
        for number in range(low // width, high // width + 1):
            yield _moment(number * width).strftime(form), counted[number]


def _of_rank(minutes: Counter[int], ordered: list[int], rank: int) -> int:
    """The minute of the message of that rank, from 1."""
    passed = 0
    for minute in ordered:
        passed += minutes[minute]
        if passed >= rank:
            return minute
    return ordered[-1]


def _moment(minute: int) -> datetime:
    return _EPOCH + minute * _MINUTE
