"""The report as one HTML page that loads nothing: no script, no font, no picture from anywhere.

The only markup that it takes are the charts, which are made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import TemplateError
from markupsafe import Markup

from excise import __version__
from excise.core.clock import iso, now
from excise.core.errors import DoesNotVerify
from excise.page.templates import template
from excise.report import charts
from excise.report.case_facts import CaseFacts
from excise.report.facts import MOST_LISTED, PlanFacts

_MOST_ROWS = 20


def _top(counted: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """The first rows, and one for the rest."""
    rest = counted[_MOST_ROWS:]
    return counted[:_MOST_ROWS] + ([(f"{len(rest):,} others", sum(count for _, count in rest))] if rest else [])


def render(facts: CaseFacts) -> Iterator[str]:
    """The page, in pieces."""
    plots = charts.available()
    pages = [_plan_values(plan, plots=plots) for plan in facts.plans]
    values = {"facts": facts, "pages": pages, "plots": plots, "most_listed": MOST_LISTED, "top": _top}
    try:
        yield from template("excise.report", "report.html").generate(**values, made=iso(now()), version=__version__)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise DoesNotVerify(f"{facts.case.root}: its records are not those of a case: {error}") from error


def _plan_values(plan: PlanFacts, *, plots: bool) -> dict[str, Any]:
    """A plan with its charts: title, picture, and what is said below it."""
    spread = list(_spread(plan)) if plots and plan.searches and plan.plan.matches else []
    arrivals = plots and plan.searches and plan.arrivals
    picture = charts.columns("Messages by the time when they arrived", plan.arrivals.bins()) if arrivals else None
    return {"facts": plan, "arrivals": picture, "spread": spread}


def _spread(plan: PlanFacts) -> Iterator[tuple[Markup, str]]:
    mailboxes = plan.spread()
    if len(mailboxes) > _MOST_ROWS:
        yield (
            charts.columns("Mailboxes by how many matches they have", plan.how_many()),
            f"How many mailboxes have how many matches; {len(mailboxes):,} of {len(plan.mailboxes):,} have any.",
        )
        yield charts.rows("The mailboxes with the most matches", mailboxes[:10]), "The ten with the most matches."
    else:
        yield charts.rows("Matches by mailbox", mailboxes), "Matches by mailbox."
    yield charts.rows("Matches by folder", _top(plan.folders.most_common())), "Matches by folder, over all mailboxes."
