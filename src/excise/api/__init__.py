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

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from excise.api.closing import close_case
    from excise.api.encrypting import decrypt_case, encrypt_case, opened_case
    from excise.api.looking import Proof, Setting, search
    from excise.api.work import Work, custody, load_file, new_case, open_case, report, verify
    from excise.case.layout import Authorisation, Case
    from excise.case.parts import EvidenceKind
    from excise.case.plan import Caps, Plan
    from excise.engine.import_plan import ImportOrder
    from excise.engine.planner import Order, distinct_subjects, family_subjects
    from excise.engine.restore import RestoreOrder
    from excise.engine.run import RunResult
    from excise.model.item import Action, Disposal, Outcome

#: name -> the module that it comes from, loaded when the name is first used: a search needs no planner.
_FROM = {
    "Action": "excise.model.item",
    "Authorisation": "excise.case.layout",
    "Caps": "excise.case.plan",
    "Case": "excise.case.layout",
    "Disposal": "excise.model.item",
    "EvidenceKind": "excise.case.parts",
    "ImportOrder": "excise.engine.import_plan",
    "Order": "excise.engine.planner",
    "Outcome": "excise.model.item",
    "Plan": "excise.case.plan",
    "Proof": "excise.api.looking",
    "RestoreOrder": "excise.engine.restore",
    "RunResult": "excise.engine.run",
    "Setting": "excise.api.looking",
    "Work": "excise.api.work",
    "close_case": "excise.api.closing",
    "custody": "excise.api.work",
    "decrypt_case": "excise.api.encrypting",
    "distinct_subjects": "excise.engine.planner",
    "encrypt_case": "excise.api.encrypting",
    "family_subjects": "excise.engine.planner",
    "load_file": "excise.api.work",
    "new_case": "excise.api.work",
    "open_case": "excise.api.work",
    "opened_case": "excise.api.encrypting",
    "report": "excise.api.work",
    "search": "excise.api.looking",
    "verify": "excise.api.work",
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_FROM[name]), name)


__all__ = [
    "Action",
    "Authorisation",
    "Caps",
    "Case",
    "Disposal",
    "EvidenceKind",
    "ImportOrder",
    "Order",
    "Outcome",
    "Plan",
    "Proof",
    "RestoreOrder",
    "RunResult",
    "Setting",
    "Work",
    "close_case",
    "custody",
    "decrypt_case",
    "distinct_subjects",
    "encrypt_case",
    "family_subjects",
    "load_file",
    "new_case",
    "open_case",
    "opened_case",
    "report",
    "search",
    "verify",
]
