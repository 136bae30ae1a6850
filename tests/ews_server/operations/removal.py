"""DeleteItem, EmptyFolder, MoveItem, CopyItem."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..call import Call
from ..item_fields import kind_of_class
from ..mime import view
from ..model import Folder, Item
from ..shapes import m_items
from ..soap import Element, EwsError
from .dumpster import remove
from .items import shown


def delete_item(call: Call) -> Element:
    """Remove items; each has its own answer, whatever became of the others."""
    how = call.body.get("DeleteType", "")

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(element, "delete")
        call.check_change_key(element, item, "ErrorStaleObject", checked=call.quirks.check_change_keys_on_delete)
        if how == "MoveToDeletedItems" and not call.quirks.delegates_use_deleted_items:
            _refuse_delegate(call, item)
        kind = kind_of_class(item.item_class)
        _check_sending(call, item, kind)
        remove(call.world, item, how)
        return ()

    return call.response(call.each(call.all("m:ItemIds/*"), answer))


def _refuse_delegate(call: Call, item: Item) -> None:
    """Delegates must move to Deleted Items by MoveItem, as Microsoft documents of DeleteItem."""
    if call.actor != item.mailbox and call.world.mailboxes[item.mailbox].kind != "public":
        raise EwsError("ErrorCannotDeleteObject", "The delegate cannot move the item to Deleted Items.")


def _check_sending(call: Call, item: Item, kind: str) -> None:
    cancellations = call.body.get("SendMeetingCancellations", "")
    if kind == "CalendarItem" and not cancellations:
        raise EwsError("ErrorSendMeetingCancellationsRequired", "Calendar items need SendMeetingCancellations.")
    if kind == "Task" and not call.body.get("AffectedTaskOccurrences"):
        raise EwsError("ErrorAffectedTaskOccurrencesRequired", "Tasks need AffectedTaskOccurrences.")
    subject = view(item.mime).subject
    if kind == "CalendarItem" and cancellations != "SendToNone":
        call.world.send("DeleteItem", call.actor, subject, "meeting cancellations")
    suppressed = call.body.get("SuppressReadReceipts") in ("true", "1")
    if not suppressed and not item.read and view(item.mime).read_receipt:
        call.world.send("DeleteItem", call.actor, subject, "not-read receipt")


def empty_folder(call: Call) -> Element:
    """Remove all items of folders, and with DeleteSubFolders all that lies below."""
    how = call.body.get("DeleteType", "")
    deep = call.body.get("DeleteSubFolders") in ("true", "1")

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element, "delete")
        if folder.search:
            raise EwsError("ErrorCannotEmptyFolder", "Search folders cannot be emptied.")
        _empty(call, folder, how)
        if deep:
            for below in [call.world.folders[number] for number in folder.children]:
                for each in [*call.world.below(below), below]:
                    _empty(call, each, how)
                if not below.distinguished:
                    call.world.drop_folder(below)
        return ()

    return call.response(call.each(call.all("m:FolderIds/*"), answer))


def _empty(call: Call, folder: Folder, how: str) -> None:
    for number in list(folder.items):
        remove(call.world, call.world.items[number], how)


def move_item(call: Call) -> Element:
    """Move items to a folder; they have other ids afterwards."""
    return _transfer(call, "delete", call.world.move_item)


def copy_item(call: Call) -> Element:
    """Copy items to a folder."""
    return _transfer(call, "read", call.world.copy_item)


def _transfer(call: Call, needs: str, act: Callable[[Item, Folder], Item]) -> Element:
    ids_wanted = call.text("m:ReturnNewItemIds") not in ("false", "0")

    def answer(element: Element) -> Iterable[Element]:
        target = call.target("m:ToFolderId", "create")
        item = call.item(element, needs)
        if target.search:
            raise EwsError("ErrorMoveCopyFailed", "Search folders hold no items.")
        elsewhere = target.mailbox != item.mailbox
        made = act(item, target)
        yield m_items() if elsewhere or not ids_wanted else shown(call, made)

    return call.response(call.each(call.all("m:ItemIds/*"), answer, lambda: [m_items()]))


OPERATIONS = {
    "DeleteItem": delete_item,
    "EmptyFolder": empty_folder,
    "MoveItem": move_item,
    "CopyItem": copy_item,
}
