"""GetAttachment."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace

from ..call import Call
from ..mime import view
from ..shapes import kind_of, parse_shape
from ..soap import Element, EwsError, T, m, t


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
            inner = replace(item, mime=attachments[part].message, item_class="IPM.Note", values={}, extended={})
            shape = parse_shape(call.find("m:AttachmentShape"))
            shape = replace(shape, base="AllProperties", fields=shape.fields | {"item:Body"})
            shown = rendering.item(inner, shape)
            for name in ("ItemId", "ParentFolderId"):
                found = shown.find(f"{{{T}}}{name}")
                if found is not None:
                    shown.remove(found)
            shown.tag = f"{{{T}}}{kind_of(inner)}"
            made.append(shown)
        else:
            made.append(t("Content", base64.b64encode(attachments[part].content).decode("ascii")))
        yield m("Attachments", None, made)

    return call.response(call.each(call.all("m:AttachmentIds/*"), answer, lambda: [m("Attachments")]))


OPERATIONS = {"GetAttachment": get_attachment}
