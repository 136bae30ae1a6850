"""What of people's data a report may show (S23): the one place that decides it."""

from __future__ import annotations

from excise.case.layout import Case


def may_show_content(case: Case, asked: bool) -> bool:
    """True where subjects and senders may be shown: only where somebody asked for them by ``--reveal``."""
    del case  # a policy will have its say by the case that it was recorded in
    return asked
