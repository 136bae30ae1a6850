"""What a check found: findings with a grade, by layer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from excise.pst.disk.damage import Damage

ERROR = "error"
WARNING = "warning"
NOTE = "note"

NOT_ASKED = (
    "Outlook and its scanpst have not been asked: this check follows the published format and what others found."
)
_LIMIT = 10_000


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
    """The outcome of a check. At most 10,000 findings are kept; ``counts`` counts all of them by grade."""

    name: str
    format_name: str
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    _seen: set[Finding] = field(default_factory=set, repr=False)

    @property
    def damaged(self) -> bool:
        """True where there is an error: such a file is not to be changed in place."""
        return self.counts[ERROR] > 0

    @property
    def clean(self) -> bool:
        """True where there is neither an error nor a warning."""
        return not self.counts[ERROR] and not self.counts[WARNING]

    def add(self, grade: str, damage: Damage) -> None:
        """Record one finding; the same one counts once."""
        finding = Finding(grade, damage)
        if finding in self._seen:
            return
        self.counts[grade] += 1
        if len(self.findings) < _LIMIT:
            self._seen.add(finding)
            self.findings.append(finding)

    def text(self) -> str:
        """The whole report for a person, worst findings first, and what was not asked."""
        order = {ERROR: 0, WARNING: 1, NOTE: 2}
        lines = [finding.text() for finding in sorted(self.findings, key=lambda each: order[each.grade])]
        checked = ", ".join(f"{count} {what}" for what, count in self.checked.items())
        totals = ", ".join(f"{self.counts[grade]} {grade}s" for grade in order)
        return "\n".join([f"{self.name} ({self.format_name}): {totals}; checked {checked}", *lines, NOT_ASKED])
