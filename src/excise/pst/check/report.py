"""What a check found: findings with a grade, by layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from excise.core.text import are, count_of
from excise.pst.disk.damage import Damage, DamageLog

ERROR = "error"
WARNING = "warning"
NOTE = "note"

NOT_ASKED = (
    "Outlook and its scanpst have not been asked: this check follows the published format and what others found."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. error: content is missing, wrong or in danger; warning: a rule is broken that a repair tool would
    mend; note: odd, and found in sound files of Outlook too.
    """

    grade: str
    damage: Damage

    def text(self) -> str:
        """One line for a person."""
        return f"{self.grade}: {self.damage.text()}"


@dataclass(slots=True)
class Report:
    """The outcome of a check. ``findings`` lists at most ``limit`` of each grade, so that notes cannot hide errors.

    ``counts`` has all of them by grade. Beyond the limit one that is told twice counts twice.
    """

    name: str
    format_name: str
    limit: int = 10_000
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    _listed: Counter[str] = field(default_factory=Counter, repr=False)
    _seen: set[Finding] = field(default_factory=set, repr=False)

    @property
    def damaged(self) -> bool:
        """True where there is an error: such a file is not to be changed in place."""
        return self.counts[ERROR] > 0

    @property
    def clean(self) -> bool:
        """True where there is neither an error nor a warning."""
        return not self.counts[ERROR] and not self.counts[WARNING]

    @property
    def unlisted(self) -> int:
        """How many findings were counted and are not in ``findings``."""
        return self.counts.total() - len(self.findings)

    def add(self, grade: str, damage: Damage) -> None:
        """Record one finding; the same one counts once."""
        finding = Finding(grade, damage)
        if finding in self._seen:
            return
        self.counts[grade] += 1
        if self._listed[grade] < self.limit:
            self._listed[grade] += 1
            self._seen.add(finding)
            self.findings.append(finding)

    def add_log(self, grade: str, log: DamageLog) -> None:
        """Record everything in ``log``, and count what it had no room for. Not for a log whose parent is recorded."""
        for damage in log.entries:
            self.add(grade, damage)
        if log.dropped:
            self.counts[grade] += log.dropped

    def text(self) -> str:
        """The whole report for a person, worst findings first, how many are not listed, and what was not asked."""
        order = {ERROR: 0, WARNING: 1, NOTE: 2}
        lines = [finding.text() for finding in sorted(self.findings, key=lambda each: order[each.grade])]
        checked = ", ".join(f"{count} {what}" for what, count in self.checked.items())
        totals = ", ".join(f"{self.counts[grade]} {grade}s" for grade in order)
        if self.unlisted:
            listed, more = len(self.findings), self.unlisted
            lines.append(f"{count_of(listed, 'finding')} {are(listed)} listed, {more} more {are(more)} not.")
        return "\n".join([f"{self.name} ({self.format_name}): {totals}; checked {checked}", *lines, NOT_ASKED])
