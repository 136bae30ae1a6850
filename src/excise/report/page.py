"""The report as one HTML page that loads nothing: no script, no font, no picture from anywhere.

Every value goes through ``core.text.shown`` and then through the template's own escaping (S27); the only markup that
passes are the charts, which are made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError
from markupsafe import Markup

from excise import __version__
from excise.core.clock import iso, now
from excise.core.errors import DoesNotVerify
from excise.core.text import shown
from excise.report import charts
from excise.report.case_facts import CaseFacts
from excise.report.facts import MOST_LISTED, PlanFacts

_LONGEST = 20_000
_MOST_ROWS = 20


@cache
def _template() -> Template:
    place = files("excise.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_safe, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": "{:,}".format, "top": _top, "when": _when}
    environment.globals["style"] = Markup((place / "style.css").read_text("utf-8"))  # noqa: S704 - our own file
    return environment.from_string((place / "report.html").read_text("utf-8"))


def _safe(value: Any) -> Any:
    """What is put into the page: markup of our own as it is, all else without what could deceive its reader."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else shown(str(value), _LONGEST)


def _top(counted: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """The first rows, and one for the rest."""
    rest = counted[_MOST_ROWS:]
    return counted[:_MOST_ROWS] + ([(f"{len(rest):,} others", sum(count for _, count in rest))] if rest else [])


def _when(time: str) -> str:
    """A time of the record, to the second."""
    return time[:19].replace("T", " ") + " UTC" if time.endswith("Z") else time


def render(facts: CaseFacts) -> Iterator[str]:
    """The page, in pieces."""
    plots = charts.available()
    pages = [_plan_values(plan, plots=plots) for plan in facts.plans]
    values = {"facts": facts, "pages": pages, "plots": plots, "most_listed": MOST_LISTED}
    try:
        yield from _template().generate(**values, made=iso(now()), version=__version__)
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
