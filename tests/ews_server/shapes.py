"""Items and folders as elements: what a shape asks for, in the order of Microsoft's schemas."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime

from . import ids
from .item_fields import COSTLY, DEFAULT, FOLDER_KINDS, ITEM, KINDS, MIME_CLASSES, NOT_FOUND_BY_FIND, kind_of_class
from .mime import Address, Attachment, View, made_anew, view
from .model import Extended, Folder, Item
from .properties import extended, folder_extended, folder_field, key
from .properties import field as value_of
from .rights import permission_set
from .soap import Element, EwsError, M, T, flag, t, time
from .world import World

CUT = 255  # FindItem cuts strings here


@dataclass(frozen=True)
class Shape:
    """What a request wants to see."""

    base: str
    mime: bool = False
    body_type: str = "Best"
    fields: frozenset[str] = frozenset()
    extended: tuple[tuple[str, Element], ...] = field(default=())


def parse_shape(element: Element | None) -> Shape:
    """An ItemShape, FolderShape or AttachmentShape."""
    if element is None:
        return Shape("IdOnly")
    fields = frozenset(found.get("FieldURI", "") for found in element.iterfind(f".//{{{T}}}FieldURI"))
    named = tuple((extended_key(found), found) for found in element.iterfind(f".//{{{T}}}ExtendedFieldURI"))
    return Shape(
        base=element.findtext(f"{{{T}}}BaseShape") or "IdOnly",
        mime=element.findtext(f"{{{T}}}IncludeMimeContent") in ("true", "1"),
        body_type=element.findtext(f"{{{T}}}BodyType") or "Best",
        fields=fields,
        extended=named,
    )


def extended_key(element: Element) -> str:
    """The key of the property that an ExtendedFieldURI names."""
    kind = element.get("PropertyType", "String")
    tag = element.get("PropertyTag")
    if tag is not None:
        return key(tag=tag, kind=kind)
    property_set = element.get("PropertySetId") or element.get("DistinguishedPropertySetId", "")
    name, number = element.get("PropertyName", ""), element.get("PropertyId", "")
    return key(property_set=property_set, name=name, number=number, kind=kind)


def kind_of(item: Item) -> str:
    """The element by which EWS shows an item of this class."""
    return kind_of_class(item.item_class)


def item_id(world: World, item: Item) -> Element:
    """An item's id and ChangeKey."""
    guid = world.mailboxes[item.mailbox].guid
    return t("ItemId", Id=ids.encode("item", guid, item.number), ChangeKey=ids.change_key("item", item.version))


def folder_id(world: World, folder: Folder, name: str = "FolderId") -> Element:
    """A folder's id and ChangeKey."""
    guid = world.mailboxes[folder.mailbox].guid
    return t(name, Id=ids.encode("folder", guid, folder.number), ChangeKey=ids.change_key("folder", folder.version))


@dataclass(frozen=True)
class Rendering:
    """How a server shows things: with what digits in times, and cut or whole."""

    world: World
    fraction: int = 0
    mime_anew: bool = True
    mime_for_all: bool = False
    find_gives_addresses: bool = False
    received_always: bool = False
    distinguished_always: bool = False
    rights: Element | None = None

    def item(self, item: Item, shape: Shape, *, cut: bool = False, lenient: bool = False) -> Element:
        """An item's element; with `cut` as FindItem gives it, which is `lenient` where it leaves out in silence."""
        kind = kind_of(item)
        wanted = self._wanted(kind, shape, cut, lenient)
        made = t(kind)
        for uri in [*ITEM, *KINDS[kind]]:
            if uri == "ExtendedProperty":
                made.extend(self._extended(item, shape, cut))
            elif uri in wanted:
                element = self._field(item, uri, shape, cut)
                if element is not None:
                    made.append(element)
        return made

    def _wanted(self, kind: str, shape: Shape, cut: bool, lenient: bool) -> set[str]:
        wanted = {"item:ItemId", *shape.fields}
        if cut and not lenient and (bad := (wanted & NOT_FOUND_BY_FIND) or (shape.mime and {"item:MimeContent"})):
            raise EwsError("ErrorInvalidPropertyRequest", f"Property is not valid for this operation: {sorted(bad)}")
        if self.received_always:
            wanted.add("item:DateTimeReceived")
        if shape.mime:
            wanted.add("item:MimeContent")
        everything = {*ITEM, *KINDS[kind]} - COSTLY
        if shape.base == "Default":
            wanted |= DEFAULT & everything
        elif shape.base == "AllProperties":
            wanted |= everything
        return wanted - NOT_FOUND_BY_FIND if cut else wanted

    def _field(self, item: Item, uri: str, shape: Shape, cut: bool) -> Element | None:
        special = {
            "item:ItemId": lambda: item_id(self.world, item),
            "item:ParentFolderId": lambda: folder_id(self.world, self.world.folders[item.folder], "ParentFolderId"),
            "item:MimeContent": lambda: self._mime(item, strict=shape.mime),
            "item:Body": lambda: self._body(item, shape.body_type),
            "item:TextBody": lambda: t("TextBody", str(value_of(item, uri)), BodyType="Text"),
            "item:Attachments": lambda: self._attachments(item),
            "item:InternetMessageHeaders": lambda: _headers(view(item.mime)),
            "item:EffectiveRights": lambda: self.rights,
            "item:ConversationId": lambda: self._conversation(item),
            "item:Flag": lambda: t("Flag", None, t("FlagStatus", item.flag_status)),
        }
        if uri in special:
            return special[uri]()
        if uri == "item:DateTimeReceived" and self.received_always and uri not in shape.fields:
            # The sent time, where nobody asked for this property by name.
            return self.value("DateTimeReceived", value_of(item, "item:DateTimeSent"))
        return self.value(uri.split(":")[1], value_of(item, uri), cut)

    def value(self, name: str, value: object, cut: bool = False) -> Element | None:
        """An element for a typed value; None for none."""
        if value is None:
            return None
        if isinstance(value, Address):
            if cut and not self.find_gives_addresses:
                return t(name, None, t("Mailbox", None, t("Name", value.name or value.address)))
            return t(name, None, mailbox_element(value))
        if isinstance(value, list):
            return t(name, None, *(_entry(entry) for entry in value))
        if isinstance(value, datetime):
            return t(name, time(value, self.fraction))
        if isinstance(value, bool):
            return t(name, flag(value))
        text = str(value)
        return t(name, text[:CUT] if cut else text)

    def _extended(self, item: Item, shape: Shape, cut: bool) -> list[Element]:
        found = ((uri, extended(self.world, item, name)) for name, uri in shape.extended)
        return [extended_element(uri, value, cut) for uri, value in found if value is not None]

    def _mime(self, item: Item, *, strict: bool) -> Element | None:
        if not self.mime_for_all and not item.item_class.startswith(MIME_CLASSES):
            if not strict:
                return None
            raise EwsError(
                "ErrorUnsupportedMimeConversion",
                f"Conversion to MIME is not supported for items of class {item.item_class}.",
            )
        data = made_anew(item.mime, str(value_of(item, "item:Subject"))) if self.mime_anew else item.mime
        return t("MimeContent", base64.b64encode(data).decode("ascii"), CharacterSet="UTF-8")

    def _body(self, item: Item, wanted: str) -> Element:
        seen = view(item.mime)
        html, text = str(item.values.get("item:Body", seen.html)), seen.text
        if wanted == "Text" or (wanted == "Best" and not html):
            return t("Body", text or html, BodyType="Text")
        return t("Body", html or f"<html><body><pre>{text}</pre></body></html>", BodyType="HTML")

    def _attachments(self, item: Item) -> Element | None:
        found = [self.attachment(item, part) for part in range(len(view(item.mime).attachments))]
        return t("Attachments", None, *found) if found else None

    def attachment(self, item: Item, part: int) -> Element:
        """An attachment's element without its content."""
        found = view(item.mime).attachments[part]
        guid = self.world.mailboxes[item.mailbox].guid
        kind = "ItemAttachment" if found.message else "FileAttachment"
        parts = [
            t("AttachmentId", Id=ids.encode("attachment", guid, item.number, part)),
            t("Name", found.name),
            t("ContentType", found.content_type),
        ]
        if found.content_id:
            parts.append(t("ContentId", found.content_id))
        parts += [
            t("Size", str(attachment_size(found))),
            t("LastModifiedTime", time(item.created, self.fraction)),
            t("IsInline", flag(found.inline)),
        ]
        return t(kind, None, *parts)

    def _conversation(self, item: Item) -> Element:
        topic = view(item.mime).topic.encode("utf-8", "replace")
        return t("ConversationId", Id=base64.b64encode(b"\x00\x03\x24conversation" + topic[:60]).decode("ascii"))

    def folder(self, folder: Folder, shape: Shape) -> Element:
        """A folder's element."""
        made = t("SearchFolder" if folder.search else FOLDER_KINDS.get(folder.folder_class, "Folder"))
        made.append(folder_id(self.world, folder))
        everything = shape.base == "AllProperties"
        plain = {"DisplayName", "TotalCount", "ChildFolderCount", "UnreadCount"} if shape.base == "Default" else set()

        def add(name: str) -> None:
            always = self.distinguished_always and name == "DistinguishedFolderId"
            if everything or always or name in plain or f"folder:{name}" in shape.fields:
                element = self._folder_field(folder, name)
                if element is not None:
                    made.append(element)

        for name in ("ParentFolderId", "FolderClass", "DisplayName", "TotalCount", "ChildFolderCount"):
            add(name)
        found = ((uri, folder_extended(self.world, folder, wanted)) for wanted, uri in shape.extended)
        made.extend(extended_element(uri, value, False) for uri, value in found if value is not None)
        for name in ("EffectiveRights", "DistinguishedFolderId"):
            add(name)
        add("PermissionSet")
        if made.tag not in (f"{{{T}}}CalendarFolder", f"{{{T}}}ContactsFolder"):
            add("UnreadCount")
        return made

    def _folder_field(self, folder: Folder, name: str) -> Element | None:
        if name == "ParentFolderId":
            above = self.world.folders.get(folder.parent, folder)
            return folder_id(self.world, above, "ParentFolderId")
        if name == "EffectiveRights":
            return self.rights
        if name == "PermissionSet":
            return permission_set(folder) if self.rights is not None else None
        return self.value(name, folder_field(self.world, folder, f"folder:{name}"))


def attachment_size(found: Attachment) -> int:
    """The Size of an attachment, which is that of its row in the store and not the content's."""
    return len(found.content) + len(found.name) + 58


def mailbox_element(person: Address, kind: str = "") -> Element:
    """A t:Mailbox of a person in a header."""
    parts = [t("Name", person.name or person.address)]
    if person.address:
        parts += [t("EmailAddress", person.address), t("RoutingType", "SMTP")]
    parts.append(t("MailboxType", kind or "OneOff"))
    return t("Mailbox", None, *parts)


def extended_element(uri: Element, value: Extended, cut: bool) -> Element:
    """An ExtendedProperty with its ExtendedFieldURI as it was asked for."""
    path = t("ExtendedFieldURI", **{str(name): str(text) for name, text in uri.attrib.items()})
    kind, content = value
    if isinstance(content, list):
        return t("ExtendedProperty", None, path, t("Values", None, *(t("Value", text) for text in content)))
    shown = content[:CUT] if cut and kind == "String" else content
    return t("ExtendedProperty", None, path, t("Value", shown))


def _entry(entry: object) -> Element:
    return mailbox_element(entry) if isinstance(entry, Address) else t("String", str(entry))


def _headers(seen: View) -> Element | None:
    found = [t("InternetMessageHeader", value, HeaderName=name) for name, value in seen.headers]
    return t("InternetMessageHeaders", None, *found) if found else None


def m_items(*items: Element) -> Element:
    """The m:Items element that most answers about items have, errors too."""
    made = t("Items", None, *items)
    made.tag = f"{{{M}}}Items"
    return made
