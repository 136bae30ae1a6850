"""The library face of Excise: search, plan, confirm, run, restore and verify, with no terminal in them.

Everything takes a ``Setting`` (jobs, progress, a stop flag). A move, start to end::

    from excise import api
    from excise.criteria import Criteria

    order = api.Order(api.Action.MOVE, Criteria.from_options(subject=["Salaries 2026"]), sources=("/var/mail",))
    with api.new_case(Path("case-1"), order.sources, api.Authorisation(ticket="T-1")) as work:
        plan = work.plan(order)
        work.confirm(plan, "by the caller")
        result = work.run(plan)
"""

from __future__ import annotations

from excise.api.work import Setting, Work, new_case, open_case, search, verify
from excise.case.layout import Authorisation, Case
from excise.case.parts import EvidenceKind
from excise.case.plan import Caps, Plan
from excise.engine.planner import Order, distinct_subjects
from excise.engine.restore import RestoreOrder
from excise.engine.run import RunResult
from excise.model.item import Action, Disposal, Outcome

__all__ = [
    "Action",
    "Authorisation",
    "Caps",
    "Case",
    "Disposal",
    "EvidenceKind",
    "Order",
    "Outcome",
    "Plan",
    "RestoreOrder",
    "RunResult",
    "Setting",
    "Work",
    "distinct_subjects",
    "new_case",
    "open_case",
    "search",
    "verify",
]
