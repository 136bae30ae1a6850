"""ExportItems and UploadItems: an item as an opaque stream, with all that the server knows of it.

Exchange's own stream is a FastTransfer stream. This one is another format under the same rule: nobody but the server
reads it, it says all of the item, and a cut or altered one is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable

from ..call import Call
from ..model import Item
from ..plain import from_plain, to_plain
from ..shapes import item_id
from ..soap import Element, EwsError, T, m

_MARK = b"\x01\x00\x00\x00\x00TESTEXPORT\x01"
_ELSEWHERE = ("number", "mailbox", "folder", "version", "origin")


def export_items(call: Call) -> Element:
    """The streams of items."""

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(element)
        found = item_id(call.world, item)
        yield m("ItemId", **{str(name): str(value) for name, value in found.attrib.items()})
        yield m("Data", base64.b64encode(pack(item)).decode("ascii"))

    return call.response(call.each(call.all("m:ItemIds/*"), answer))


def pack(item: Item) -> bytes:
    """An item's stream."""
    kept = {name: to_plain(value) for name, value in vars(item).items() if name not in _ELSEWHERE}
    data = zlib.compress(json.dumps(kept).encode(), 1)
    return _MARK + (len(_MARK) + 8 + len(data)).to_bytes(8, "big") + data


def unpack(data: bytes) -> dict[str, object]:
    """The properties in a stream; EwsError where it is damaged."""
    if not data.startswith(_MARK) or int.from_bytes(data[len(_MARK) : len(_MARK) + 8], "big") != len(data):
        raise EwsError("ErrorCorruptData", "The data stream is cut or prolonged.")
    try:
        found = json.loads(zlib.decompress(data[len(_MARK) + 8 :]))
    except (ValueError, zlib.error) as error:
        raise EwsError("ErrorCorruptData", "The data stream is corrupt.") from error
    return {name: from_plain(value) for name, value in found.items()}


def upload_items(call: Call) -> Element:
    """Make items of streams, or bring items to what streams say."""

    def answer(element: Element) -> Iterable[Element]:
        parent = element.find(f"{{{T}}}ParentFolderId")
        folder = call.folder(parent, "create")
        data = _decoded(element.findtext(f"{{{T}}}Data") or "")
        properties = unpack(data)
        if element.get("IsAssociated") in ("true", "1"):
            properties["associated"] = True
        existing = element.find(f"{{{T}}}ItemId")
        action = element.get("CreateAction", "")
        item = _existing(call, existing, action)
        if item is None:
            item = call.world.add_item(folder, **properties)
        else:
            for name, value in properties.items():
                setattr(item, name, value)
            call.world.touch(item)
        found = item_id(call.world, item)
        yield m("ItemId", **{str(name): str(value) for name, value in found.attrib.items()})

    return call.response(call.each(call.all("m:Items/*"), answer))


def _existing(call: Call, element: Element | None, action: str) -> Item | None:
    """The item that an upload replaces, if it does."""
    if action == "CreateNew" or element is None:
        if action == "Update":
            raise EwsError("ErrorInvalidRequest", "Update needs an ItemId.")
        return None
    try:
        return call.item(element, "modify")
    except EwsError as error:
        if action == "UpdateOrCreate" and error.code == "ErrorItemNotFound":
            return None
        raise


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EwsError("ErrorCorruptData", "The data stream is no base64.") from error


OPERATIONS = {"ExportItems": export_items, "UploadItems": upload_items}
