"""GetFolder, CreateFolder, UpdateFolder, DeleteFolder."""

from __future__ import annotations

from collections.abc import Iterable

from .. import ids
from ..call import Call
from ..item_fields import FOLDER_KINDS
from ..shapes import extended_key, folder_id, parse_shape
from ..soap import Element, EwsError, T, m, t
from .dumpster import remove


def _folders(*found: Element) -> Element:
    return m("Folders", None, *found)


def get_folder(call: Call) -> Element:
    """Show folders by id or distinguished id."""
    shape = parse_shape(call.find("m:FolderShape"))

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element)
        yield _folders(call.rendering(folder).folder(folder, shape))

    return call.response(call.each(call.all("m:FolderIds/*"), answer, lambda: [_folders()]))


def create_folder(call: Call) -> Element:
    """Make folders below another; two of one name are refused."""

    def answer(element: Element) -> Iterable[Element]:
        parent = call.target("m:ParentFolderId", "hierarchy")
        name = element.findtext(f"{{{T}}}DisplayName") or ""
        if not name:
            raise EwsError("ErrorFolderPropertRequestFailed", "A folder needs a name.")
        _refuse_twin(call, parent.children, name)
        kind = element.findtext(f"{{{T}}}FolderClass") or _class_of(element)
        mailbox = call.world.mailboxes[parent.mailbox]
        made = call.world.add_folder(mailbox, parent.part, parent.number, name, kind)
        yield _folders(t(element.tag.split("}")[1], None, folder_id(call.world, made)))

    return call.response(call.each(call.all("m:Folders/*"), answer, lambda: [_folders()]))


def _class_of(element: Element) -> str:
    name = element.tag.split("}")[1]
    return next((folder_class for folder_class, kind in FOLDER_KINDS.items() if kind == name), "IPF.Note")


def _refuse_twin(call: Call, siblings: list[int], name: str) -> None:
    if any(call.world.folders[number].name.lower() == name.lower() for number in siblings):
        raise EwsError("ErrorFolderExists", "A folder with the specified name already exists.")


def update_folder(call: Call) -> Element:
    """Rename a folder, or set its class or an extended property."""

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element[0], "modify")
        for change in element.iterfind(f"{{{T}}}Updates/*"):
            _change(call, folder.number, change)
        call.world.touch_folder(folder)
        yield _folders(t("Folder", None, folder_id(call.world, folder)))

    return call.response(call.each(call.all("m:FolderChanges/*"), answer, lambda: [_folders()]))


def _change(call: Call, number: int, change: Element) -> None:
    folder = call.world.folders[number]
    path = change[0]
    uri = path.get("FieldURI", "")
    if change.tag != f"{{{T}}}SetFolderField":
        if path.tag == f"{{{T}}}ExtendedFieldURI":
            folder.extended.pop(extended_key(path), None)
        return
    if path.tag == f"{{{T}}}ExtendedFieldURI":
        value = change[1].findtext(f"{{{T}}}ExtendedProperty/{{{T}}}Value") or ""
        folder.extended[extended_key(path)] = (path.get("PropertyType", "String"), value)
    elif uri == "folder:DisplayName":
        name = change[1].findtext(f"{{{T}}}DisplayName") or ""
        _refuse_twin(call, [sibling for sibling in _siblings(call, number) if sibling != number], name)
        folder.name = name
    elif uri == "folder:FolderClass":
        folder.folder_class = change[1].findtext(f"{{{T}}}FolderClass") or ""
    else:
        raise EwsError("ErrorInvalidPropertySet", f"{uri} cannot be set.")


def _siblings(call: Call, number: int) -> list[int]:
    parent = call.world.folders.get(call.world.folders[number].parent)
    return parent.children if parent else []


def delete_folder(call: Call) -> Element:
    """Remove folders; distinguished ones cannot be."""
    how = call.body.get("DeleteType", "")

    def answer(element: Element) -> Iterable[Element]:
        folder = call.folder(element, "hierarchy")
        if folder.distinguished or not folder.parent:
            raise EwsError("ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be deleted.")
        if how == "MoveToDeletedItems":
            mailbox = call.world.mailboxes[folder.mailbox]
            key = "archivedeleteditems" if folder.part == "archive" else "deleteditems"
            _move(call, folder.number, mailbox.distinguished[key])
        else:
            for below in [folder, *call.world.below(folder)]:
                for number in list(below.items):
                    remove(call.world, call.world.items[number], how)
            call.world.drop_folder(folder)
        return ()

    return call.response(call.each(call.all("m:FolderIds/*"), answer))


def _move(call: Call, number: int, target: int) -> None:
    world = call.world
    folder = world.folders[number]
    world.folders[folder.parent].children.remove(number)
    world.touch_folder(world.folders[folder.parent])
    folder.parent = target
    world.folders[target].children.append(number)
    world.touch_folder(world.folders[target])
    world.touch_folder(folder)


def convert_id(call: Call) -> Element:
    """Write ids in another format; the mailbox's address comes with each, which DavMail asks for."""
    wanted = call.body.get("DestinationFormat", "EwsId")

    def answer(element: Element) -> Iterable[Element]:
        found = _read_id(element.get("Id") or element.get("ItemId") or "", element.get("Format", "EwsId"))
        owner = next((box for box in call.world.mailboxes.values() if box.guid == found.guid), None)
        if owner is None:
            raise EwsError("ErrorCorruptData", "The id belongs to no mailbox of this server.")
        made = m("AlternateId", Format=wanted, Id=_write_id(found, wanted), Mailbox=owner.address)
        made.set("{http://www.w3.org/2001/XMLSchema-instance}type", "t:AlternateIdType")
        yield made

    return call.response(call.each(call.all("m:SourceIds/*"), answer))


def _read_id(text: str, source: str) -> ids.Id:
    try:
        return ids.from_raw(bytes.fromhex(text)) if source == "HexEntryId" else ids.decode(text)
    except ValueError as error:
        raise EwsError("ErrorCorruptData", "Invalid id.") from error


def _write_id(found: ids.Id, wanted: str) -> str:
    if wanted == "HexEntryId":
        return ids.raw(found.kind, found.guid, found.number, found.part).hex().upper()
    return ids.encode(found.kind, found.guid, found.number, found.part)


OPERATIONS = {
    "GetFolder": get_folder,
    "CreateFolder": create_folder,
    "UpdateFolder": update_folder,
    "DeleteFolder": delete_folder,
    "ConvertId": convert_id,
}
