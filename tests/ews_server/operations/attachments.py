"""GetAttachment, CreateAttachment, DeleteAttachment."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace

from ..call import Call
from ..content import attached, local
from ..mime import view, with_attachment, without_attachment
from ..model import Item
from ..shapes import item_id, parse_shape
from ..soap import Element, EwsError, T, m, t
from .dumpster import keep_version


def get_attachment(call: Call) -> Element:
    """The content of attachments, and of attached messages what the shape wants."""

    def answer(element: Element) -> Iterable[Element]:
        item, part = call.attachment(element.get("Id", ""))
        attachments = view(item.mime).attachments
        if part >= len(attachments):
            raise EwsError("ErrorAttachmentNotFound", "The specified attachment could not be found.")
        rendering = call.rendering(call.world.folders[item.folder])
        made = rendering.attachment(item, part)
        if attachments[part].message:
            made.append(_inner(call, item, attachments[part].message))
        else:
            made.append(t("Content", base64.b64encode(attachments[part].content).decode("ascii")))
        yield m("Attachments", None, made)

    return call.response(call.each(call.all("m:AttachmentIds/*"), answer, lambda: [m("Attachments")]))


def _inner(call: Call, item: Item, mime: bytes) -> Element:
    """An attached message, which has no id of its own."""
    inner = replace(item, mime=mime, item_class="IPM.Note", values={}, extended={})
    shape = parse_shape(call.find("m:AttachmentShape"))
    shape = replace(shape, base="AllProperties", fields=shape.fields | {"item:Body"})
    shown = call.rendering(call.world.folders[item.folder]).item(inner, shape)
    for name in ("ItemId", "ParentFolderId"):
        found = shown.find(f"{{{T}}}{name}")
        if found is not None:
            shown.remove(found)
    return shown


def create_attachment(call: Call) -> Element:
    """Attach files or messages to an item."""
    parent = call.find("m:ParentItemId")

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(parent, "modify")
        before = call.world.snapshot(item)
        item.mime = with_attachment(item.mime, *attached(element, call.world.clock()))
        keep_version(call.world, before)
        call.world.touch(item)
        made = call.rendering().attachment(item, len(view(item.mime).attachments) - 1)
        identity = made.find(f"{{{T}}}AttachmentId")
        found = item_id(call.world, item)
        identity.set("RootItemId", found.get("Id"))
        identity.set("RootItemChangeKey", found.get("ChangeKey"))
        yield m("Attachments", None, t(local(made), None, identity))

    return call.response(call.each(call.all("m:Attachments/*"), answer, lambda: [m("Attachments")]))


def delete_attachment(call: Call) -> Element:
    """Remove attachments from their items."""

    def answer(element: Element) -> Iterable[Element]:
        item, part = call.attachment(element.get("Id", ""))
        call.allowed(call.world.folders[item.folder], "modify")
        if part >= len(view(item.mime).attachments):
            raise EwsError("ErrorAttachmentNotFound", "The specified attachment could not be found.")
        keep_version(call.world, call.world.snapshot(item))
        item.mime = without_attachment(item.mime, part)
        call.world.touch(item)
        found = item_id(call.world, item)
        yield m("RootItemId", RootItemId=found.get("Id"), RootItemChangeKey=found.get("ChangeKey"))

    return call.response(call.each(call.all("m:AttachmentIds/*"), answer))


OPERATIONS = {
    "GetAttachment": get_attachment,
    "CreateAttachment": create_attachment,
    "DeleteAttachment": delete_attachment,
}
