"""What faults do to an answer on its way out."""

from __future__ import annotations

import base64
from copy import deepcopy

from .faults import Fault
from .soap import Element, M, m, t

TRUNCATED = b"=== Truncated Data ==="


def spoil(body: Element, faults: list[Fault]) -> Element:
    """The answer's body after the faults that change what it says."""
    for fault in faults:
        if fault.kind == "stray":
            body = stray()
            continue
        messages = body.find(f"{{{M}}}ResponseMessages")
        if messages is None or len(messages) == 0:
            continue
        place = (len(messages) - 1 if fault.place is None else fault.place) % len(messages)
        if fault.kind == "fewer":
            messages.remove(messages[place])
        elif fault.kind == "twice":
            messages.insert(place, deepcopy(messages[place]))
        elif fault.kind == "other_order":
            messages[:] = list(reversed(messages))
        elif fault.kind == "truncated":
            _truncate(messages, fault)
    return body


def stray() -> Element:
    """An answer to what nobody asked, as a connection carries it after a fault on some servers."""
    info = (
        m("ResponseCode", "NoError"),
        m("Folders", None, t("Folder", None, t("FolderId", Id="AAAA", ChangeKey="AA=="))),
    )
    one = m("GetFolderResponseMessage", None, *info, ResponseClass="Success")
    return m("GetFolderResponse", None, m("ResponseMessages", None, one))


def _truncate(messages: Element, fault: Fault) -> None:
    """Cut export data and end them in the mark that Exchange leaves, which base64 readers pass over or choke on."""
    for place, data in enumerate(messages.iterfind(f".//{{{M}}}Data")):
        if fault.place in (None, place) and data.text:
            kept = data.text[: int(len(data.text) * fault.fraction) // 4 * 4]
            data.text = kept + base64.b64encode(TRUNCATED).decode("ascii")


def cut(data: bytes, fault: Fault) -> bytes:
    """The first part of an answer's bytes."""
    return data[: max(1, int(len(data) * fault.fraction))]
