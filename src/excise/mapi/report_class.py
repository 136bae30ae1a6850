"""The message class of a delivery or disposition report ([MS-OXCMAIL] 2.2.3.7, [MS-OXOMSG] 2.2.2.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The gravest first: a report on several recipients has the class of the worst that befell one of them.
_DELIVERY = {
    "failed": "NDR",
    "delayed": "Delayed.DR",
    "relayed": "Relayed.DR",
    "expanded": "Expanded.DR",
    "delivered": "DR",
}
_FOLD = re.compile(r"\r?\n[ \t]+")
_STATUS = frozenset({"message/delivery-status", "message/global-delivery-status"})
_DISPOSITION = frozenset({"message/disposition-notification", "message/global-disposition-notification"})


def report_class(report_type: str, parts: Iterable[tuple[str, bytes]]) -> str:
    """The class of a multipart/report of ``report_type`` (lower case) with these ``parts`` (type, content).

    ``IPM.Note`` for a report of another kind; ``REPORT.IPM.Note.NDR`` for one that does not say what it reports.
    """
    actions: set[str] = set()
    for media_type, content in parts:
        fields = _fields(content)
        if media_type in _DISPOSITION or report_type == "disposition-notification":
            for name, value in fields:
                if name == "disposition":
                    return "REPORT.IPM.Note.IPNRN" if "displayed" in value else "REPORT.IPM.Note.IPNNRN"
        if media_type in _STATUS:
            actions.update(value for name, value in fields if name == "action")
    for action, name in _DELIVERY.items():
        if action in actions:
            return f"REPORT.IPM.Note.{name}"
    return "REPORT.IPM.Note.NDR" if report_type in ("delivery-status", "disposition-notification") else "IPM.Note"


def _fields(content: bytes) -> list[tuple[str, str]]:
    lines = _FOLD.sub(" ", content.decode("utf-8", "replace").lower()).splitlines()
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
