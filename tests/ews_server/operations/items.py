"""GetItem, CreateItem, UpdateItem, SendItem, MarkAllItemsAsRead."""

from __future__ import annotations

from collections.abc import Iterable

from .. import content
from ..call import Call
from ..item_fields import kind_of_class
from ..mime import view
from ..model import Folder, Item
from ..shapes import item_id, kind_of, m_items, parse_shape
from ..soap import Element, EwsError, T, m, t
from .dumpster import keep_version


def shown(call: Call, item: Item) -> Element:
    """m:Items with the item's new id, as the answers of changing operations have it."""
    return m_items(t(kind_of(item), None, item_id(call.world, item)))


def get_item(call: Call) -> Element:
    """Show items by id."""
    shape = parse_shape(call.find("m:ItemShape"))

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(element)
        yield m_items(call.rendering(call.world.folders[item.folder]).item(item, shape))

    return call.response(call.each(call.all("m:ItemIds/*"), answer, lambda: [m_items()]))


def create_item(call: Call) -> Element:
    """Save items, or send them: what is sent is written down and reaches nobody."""
    disposition = call.body.get("MessageDisposition", "")
    invitations = call.body.get("SendMeetingInvitations", "")

    def answer(element: Element) -> Iterable[Element]:
        kind = content.local(element)
        if kind in ("Message", "PostItem") and not disposition:
            raise EwsError("ErrorMessageDispositionRequired", "Messages need a MessageDisposition.")
        if kind == "CalendarItem" and not invitations:
            raise EwsError("ErrorSendMeetingInvitationsRequired", "Calendar items need SendMeetingInvitations.")
        properties = content.new_item(element, call.world.clock())
        subject = view(properties["mime"]).subject
        if kind == "Message" and disposition != "SaveOnly":
            call.world.send("CreateItem", call.actor, subject, "message")
            properties["draft"] = False
            if disposition == "SendOnly":
                yield m_items()
                return
        if kind == "CalendarItem" and invitations != "SendToNone":
            call.world.send("CreateItem", call.actor, subject, "meeting invitations")
        yield shown(call, call.world.add_item(_where(call, kind, disposition), **properties))

    return call.response(call.each(call.all("m:Items/*"), answer, lambda: [m_items()]))


def _where(call: Call, kind: str, disposition: str) -> Folder:
    if call.find("m:SavedItemFolderId") is not None:
        return call.target("m:SavedItemFolderId", "create")
    usual = {"CalendarItem": "calendar", "Contact": "contacts", "Task": "tasks", "DistributionList": "contacts"}
    name = usual.get(kind, "drafts" if disposition == "SaveOnly" else "sentitems")
    return call.folder(t("DistinguishedFolderId", Id=name), "create")


def update_item(call: Call) -> Element:
    """Change fields of items; a stale ChangeKey is a conflict unless the client overwrites always."""
    resolution = call.body.get("ConflictResolution", "")
    disposition = call.body.get("MessageDisposition", "")
    meetings = call.body.get("SendMeetingInvitationsOrCancellations", "")

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(element[0], "modify")
        kind = kind_of_class(item.item_class)
        if kind == "Message" and not disposition:
            raise EwsError("ErrorMessageDispositionRequired", "Messages need a MessageDisposition.")
        if kind == "CalendarItem" and not meetings:
            raise EwsError(
                "ErrorSendMeetingInvitationsOrCancellationsRequired",
                "Calendar items need SendMeetingInvitationsOrCancellations.",
            )
        if resolution != "AlwaysOverwrite":
            checked = call.quirks.check_change_keys
            call.check_change_key(element[0], item, "ErrorIrresolvableConflict", checked=checked)
        _change(call, item, element)
        subject = view(item.mime).subject
        if kind == "Message" and disposition != "SaveOnly":
            call.world.send("UpdateItem", call.actor, subject, "message")
        if kind == "CalendarItem" and meetings != "SendToNone":
            call.world.send("UpdateItem", call.actor, subject, "meeting update")
        yield shown(call, item)
        yield m("ConflictResults", None, t("Count", "0"))

    def on_error() -> list[Element]:
        return [m_items(), m("ConflictResults", None, t("Count", "0"))]

    return call.response(call.each(call.all("m:ItemChanges/*"), answer, on_error))


def _change(call: Call, item: Item, element: Element) -> None:
    was_read = item.read
    before = call.world.snapshot(item)
    kept = False
    for update in element.iterfind(f"{{{T}}}Updates/*"):
        kept |= content.change(item, update)
    if kept:
        keep_version(call.world, before)
    call.world.touch(item)
    receipts = call.body.get("SuppressReadReceipts") not in ("true", "1")
    if receipts and item.read and not was_read and view(item.mime).read_receipt:
        call.world.send(call.operation, call.actor, view(item.mime).subject, "read receipt")


def send_item(call: Call) -> Element:
    """Send what is saved: it is written down, and moved to Sent Items."""

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(element, "read")
        call.world.send("SendItem", call.actor, view(item.mime).subject, "message")
        if call.body.get("SaveItemToFolder") in ("true", "1"):
            item.draft = False
            call.world.move_item(item, call.folder(t("DistinguishedFolderId", Id="sentitems"), "create"))
        else:
            call.world.drop_item(item)
        return ()

    return call.response(call.each(call.all("m:ItemIds/*"), answer))


def mark_all_items_as_read(call: Call) -> Element:
    """Mark a folder's items read or unread."""
    read = call.text("m:ReadFlag") in ("true", "1")

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element, "modify")
        for number in folder.items:
            item = call.world.items[number]
            if item.read != read:
                item.read = read
                call.world.touch(item)
        return ()

    return call.response(call.each(call.all("m:FolderIds/*"), answer))


OPERATIONS = {
    "GetItem": get_item,
    "CreateItem": create_item,
    "UpdateItem": update_item,
    "SendItem": send_item,
    "MarkAllItemsAsRead": mark_all_items_as_read,
}
