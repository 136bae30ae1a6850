"""What of people's data a report may show (S23): the one place that decides it."""

from __future__ import annotations

from excise.case.layout import Case
from excise.case.plan import read_plan
from excise.policy.effective import effective_policy


def may_show_content(case: Case, asked: bool) -> bool:
    """True where subjects and senders are shown: only where somebody asked for them by ``--reveal``.

    Refused where the policy of this machine, or the one that a plan of the case was made under, forbids it.
    """
    if asked:
        policy = effective_policy()
        policy.check_reveal()
        for number in case.plan_numbers():
            plan = read_plan(case, number)
            policy.with_frozen(plan.header, plan.directory).check_reveal()
    return asked
