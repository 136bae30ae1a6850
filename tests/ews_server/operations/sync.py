"""SyncFolderItems and SyncFolderHierarchy: what changed since a state that the client keeps.

The state says which objects the client knows at which version, so the server need not remember any client.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable

from .. import ids
from ..call import Call
from ..shapes import parse_shape
from ..soap import Element, EwsError, flag, m, t

_Known = dict[str, int]


def sync_folder_items(call: Call) -> Element:
    """A folder's items that are new, changed or gone."""
    shape = parse_shape(call.find("m:ItemShape"))
    most = int(call.text("m:MaxChangesReturned") or 512)

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element, "read")
        items = [call.world.items[number] for number in folder.items]
        now = {str(item.number): item.version for item in items if not item.associated}
        known = _state(call)
        rendering = call.rendering(folder)
        guid = call.world.mailboxes[folder.mailbox].guid
        changes = []
        for name, number in _differences(known, now)[:most]:
            if name == "Delete":
                known.pop(number)
                changes.append(t("Delete", None, t("ItemId", Id=ids.encode("item", guid, int(number)))))
            else:
                known[number] = now[number]
                item = call.world.items[int(number)]
                changes.append(t(name, None, rendering.item(item, shape, cut=True, lenient=True)))
        yield from _answer(known, known == now, "IncludesLastItemInRange", changes)

    return call.response(call.each(call.all("m:SyncFolderId/*"), answer, lambda: _none("IncludesLastItemInRange")))


def sync_folder_hierarchy(call: Call) -> Element:
    """The folders below one that are new, changed or gone."""
    shape = parse_shape(call.find("m:FolderShape"))
    asked = call.all("m:SyncFolderId/*") or [t("DistinguishedFolderId", Id="msgfolderroot")]

    def answer(element: Element) -> Iterable[Element]:
        root = call.folder(element)
        now = {str(folder.number): folder.version for folder in call.world.below(root)}
        guid = call.world.mailboxes[root.mailbox].guid
        changes = []
        for name, number in _differences(_state(call), now):
            if name == "Delete":
                changes.append(t("Delete", None, t("FolderId", Id=ids.encode("folder", guid, int(number)))))
            else:
                folder = call.world.folders[int(number)]
                changes.append(t(name, None, call.rendering(folder).folder(folder, shape)))
        yield from _answer(now, True, "IncludesLastFolderInRange", changes)

    return call.response(call.each(asked, answer, lambda: _none("IncludesLastFolderInRange")))


def _differences(known: _Known, now: _Known) -> list[tuple[str, str]]:
    found = [("Delete", number) for number in known if number not in now]
    found += [("Create", number) for number in now if number not in known]
    return found + [("Update", number) for number in now if number in known and known[number] != now[number]]


def _answer(known: _Known, last: bool, name: str, changes: list[Element]) -> Iterable[Element]:
    yield m("SyncState", base64.b64encode(zlib.compress(json.dumps(known).encode())).decode("ascii"))
    yield m(name, flag(last))
    yield m("Changes", None, *changes)


def _none(name: str) -> list[Element]:
    """What an error has beside its code."""
    return [m("SyncState"), m(name, flag(True))]


def _state(call: Call) -> _Known:
    text = call.text("m:SyncState")
    if not text:
        return {}
    try:
        return dict(json.loads(zlib.decompress(base64.b64decode(text, validate=True))))
    except (ValueError, zlib.error) as error:
        raise EwsError("ErrorInvalidSyncStateData", "The sync state is corrupt.") from error


OPERATIONS = {"SyncFolderItems": sync_folder_items, "SyncFolderHierarchy": sync_folder_hierarchy}
