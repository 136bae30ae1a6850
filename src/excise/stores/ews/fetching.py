"""One item, whole, for the evidence (S13): MIME as served, what MIME does not hold, and the export stream."""

from __future__ import annotations

import base64
from typing import Any

from excise.core.text import normalise, shown
from excise.model.item import INCOMPLETE, Deposit, Fetched
from excise.model.message import MimeView
from excise.store_api.errors import ItemDamaged
from excise.stores.ews import bodies, codes
from excise.stores.ews.account import Account
from excise.stores.ews.item import EwsItem
from excise.stores.ews.server import Refusal
from excise.stores.ews.sieve import Base64
from excise.stores.ews.soap import content_at, find
from excise.stores.ews.synthesis import made_of_properties

_MARK = b"=== Truncated Data ==="
_MOST = 512 << 20
#: Bytes of an export stream that stand in the item's line; a larger one is a file of its own.
_IN_LINE = 1 << 20
#: Of these MIME says everything that matters; of other classes only the export stream does.
_MAIL = ("ipm.note", "report.", "ipm.schedule.", "ipm.post", "ipm.outlook.recall")


def fetched(account: Account, item: EwsItem) -> Fetched:
    """``item``, which was asked for with its MIME, as evidence; an ItemDamaged where it is not whole."""
    where = f"{account.place.name}: the item {item.subject and shown(item.subject, 60)!r} in {shown(item.folder, 80)!r}"
    damage = _damage(item)
    if damage:
        raise ItemDamaged(f"{where} is not whole: {damage}", hint="Open it in Outlook; it stays where it is.")
    stream, why = _export(account, item)
    notes = []
    if item.mime is None:
        notes.append("the server gives no MIME of it: the message was made of its properties")
    if not stream:
        notes.append(f"there is no export stream: {why}")
        if item.mime is None or not item.item_class.lower().startswith(_MAIL):
            notes.append(f"{INCOMPLETE}properties of an item of the class {item.item_class} are not in the copy")
    return Fetched(
        id=item.id,
        version=item.version,
        content=item.mime or made_of_properties(item),
        folder=item.folder,
        flags=item.flags,
        delivered=item.received,
        attributes=_attributes(item, stream if len(stream) <= _IN_LINE else b""),
        notes=tuple(notes),
        stream=stream if len(stream) > _IN_LINE else b"",
    )


def _attributes(item: EwsItem, stream: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"version": item.version, "item_class": item.item_class, "element": item.kind}
    if item.transport_headers:
        found["transport_headers"] = item.transport_headers
    if item.conversation_id:
        found["conversation_id"] = item.conversation_id
    if item.attachments:
        found["attachments"] = [name for _, name in item.attachments]
    if stream:
        found["export"] = base64.b64encode(stream).decode("ascii")
    return found


def _damage(item: EwsItem) -> str:
    """How the item differs from what the server says of it; empty where it does not."""
    if item.mime_is_damaged:
        return "its MIME is not in base64"
    files = [name for kind, name in item.attachments if kind == "FileAttachment"]
    if item.mime is None or not files or "smime" in item.item_class.lower():
        return ""
    view = MimeView(item.mime)
    names = {normalise(name) for one in view.attachments() for name in one.names}
    missing = [name for name in files if name and normalise(name) not in names]
    # Names may differ (servers make them anew), but not their number.
    if missing and sum(1 for one in view.attachments() if not one.path or one.unpacked) < len(item.attachments):
        return f"the server lists the attachment {shown(missing[0], 80)!r}, which its MIME lacks"
    return ""


def _export(account: Account, item: EwsItem) -> tuple[bytes, str]:
    """The export stream, or empty and why there is none."""
    server = account.server
    if server.lacks_export:
        return b"", server.lacks_export
    if item.size > _MOST:
        return b"", f"it is larger than {_MOST:,} bytes"
    why = ""
    for _ in range(3):
        try:
            answer = account.each("ExportItems", [item.id], bodies.export_items)[item.id]
        except Refusal as refused:
            if refused.code in codes.NO_EXPORT:
                server.lacks_export = f"the server exports nothing ({refused.code})"
            return b"", server.lacks_export or refused.message
        if not answer.ok:
            return b"", str(answer)
        data, flaw = content_at(answer.element, "m:Data", answer.bulk)
        told = find(answer.element, "m:ItemId")
        other = told is not None and told.get("Id") != item.id
        why = "is that of another item" if other else flaw or _stream_damage(data)
        if not why:
            return data, ""
        server.rest(1.0)
    raise ItemDamaged(
        f"{account.place.name}: an export stream {why}, three times", hint="The server may be failing over: try later."
    ) from OSError(why)


def _stream_damage(data: bytes) -> str:
    if not data:
        return "is empty"
    return "is cut off by the server" if _MARK in data[-4096:] else ""


def export_of(deposit: Deposit) -> bytes:
    """The export stream that a deposit brings; empty where it has none that is one."""
    if deposit.stream:
        return b"" if _stream_damage(deposit.stream) else deposit.stream
    told = deposit.attributes.get("export")
    data = Base64(told if isinstance(told, str) else "")
    content = data.content()
    return b"" if data.flaw or _stream_damage(content) else content
