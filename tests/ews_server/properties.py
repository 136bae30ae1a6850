"""What an item or a folder answers to a FieldURI or an ExtendedFieldURI: typed values, for shapes and restrictions.

The values are str, int, bool, datetime, bytes, lists of str, `Address`es, or None where the property does not exist.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from . import ids
from .mime import Address, View, view
from .model import Extended, Folder, Item
from .world import World

Value = object

_IMPORTANCE = {"Low": 0, "Normal": 1, "High": 2}
_SENSITIVITY = {"Normal": 0, "Personal": 1, "Private": 2, "Confidential": 3}
_FLAGS = {"NotFlagged": None, "Complete": 1, "Flagged": 2}


def display(people: tuple[Address, ...]) -> str:
    """A display list: names (else addresses) with semicolons."""
    return "; ".join(person.name or person.address for person in people)


def size(item: Item) -> int:
    """The item's size as the store counts it: more than the MIME, as a store keeps more."""
    return len(item.mime) + 1024


def _time_sent(item: Item, seen: View) -> datetime:
    return seen.sent or item.created


FIELDS: dict[str, Callable[[Item, View], Value]] = {
    "item:ItemClass": lambda item, seen: item.item_class,
    "item:Subject": lambda item, seen: seen.subject,
    "item:Sensitivity": lambda item, seen: seen.sensitivity,
    "item:DateTimeReceived": lambda item, seen: item.received,
    "item:Size": lambda item, seen: size(item),
    "item:Categories": lambda item, seen: item.categories or None,
    "item:Importance": lambda item, seen: seen.importance,
    "item:InReplyTo": lambda item, seen: seen.in_reply_to or None,
    "item:IsSubmitted": lambda item, seen: False,
    "item:IsDraft": lambda item, seen: item.draft,
    "item:IsFromMe": lambda item, seen: False,
    "item:IsResend": lambda item, seen: False,
    "item:IsUnmodified": lambda item, seen: not item.draft,
    "item:DateTimeSent": _time_sent,
    "item:DateTimeCreated": lambda item, seen: item.created,
    "item:ReminderIsSet": lambda item, seen: False,
    "item:ReminderMinutesBeforeStart": lambda item, seen: 0,
    "item:DisplayCc": lambda item, seen: display(seen.cc),
    "item:DisplayTo": lambda item, seen: display(seen.to),
    "item:HasAttachments": lambda item, seen: any(not found.inline for found in seen.attachments),
    "item:Culture": lambda item, seen: "en-US",
    "item:LastModifiedName": lambda item, seen: display(seen.sender) or None,
    "item:LastModifiedTime": lambda item, seen: item.modified,
    "item:IsAssociated": lambda item, seen: item.associated,
    "item:Body": lambda item, seen: seen.html or seen.text,
    "item:TextBody": lambda item, seen: seen.text,
    "item:Preview": lambda item, seen: seen.text[:255] or None,
    "message:Sender": lambda item, seen: seen.sender[0] if seen.sender else None,
    "message:From": lambda item, seen: seen.from_[0] if seen.from_ else None,
    "message:ToRecipients": lambda item, seen: list(seen.to) or None,
    "message:CcRecipients": lambda item, seen: list(seen.cc) or None,
    "message:BccRecipients": lambda item, seen: list(seen.bcc) or None,
    "message:ReplyTo": lambda item, seen: list(seen.reply_to) or None,
    "message:IsReadReceiptRequested": lambda item, seen: seen.read_receipt,
    "message:IsDeliveryReceiptRequested": lambda item, seen: False,
    "message:ConversationTopic": lambda item, seen: seen.topic or None,
    "message:InternetMessageId": lambda item, seen: seen.message_id or None,
    "message:IsRead": lambda item, seen: item.read,
    "message:IsResponseRequested": lambda item, seen: False,
    "message:References": lambda item, seen: seen.references or None,
}


# The property sets that EWS calls by name.
_OUTLOOK = "-0000-0000-C000-000000000046"
PROPERTY_SETS = {
    "Meeting": "6ED8DA90-450B-101B-98DA-00AA003F1305",
    "Appointment": f"00062002{_OUTLOOK}",
    "Common": f"00062008{_OUTLOOK}",
    "PublicStrings": f"00020329{_OUTLOOK}",
    "Address": f"00062004{_OUTLOOK}",
    "InternetHeaders": f"00020386{_OUTLOOK}",
    "CalendarAssistant": "11000E07-B51B-40D6-AF21-CAA85EDAB1D0",
    "UnifiedMessaging": "4442858E-A9E3-4E80-B900-317A210CC15B",
    "Task": f"00062003{_OUTLOOK}",
    "Sharing": f"00062040{_OUTLOOK}",
}


def field(item: Item, uri: str) -> Value:
    """What the item answers to a FieldURI; None where it has no such property."""
    if uri in item.values:
        return item.values[uri]
    if uri in FIELDS:
        return FIELDS[uri](item, view(item.mime))
    return None


def key(
    *, tag: int | str = "", property_set: str = "", name: str = "", number: int | str = "", kind: str = "String"
) -> str:
    """The key under which an extended property is kept: a tag, or a named property's set and name or number."""
    if tag != "":
        return f"tag:{int(tag, 0) if isinstance(tag, str) else tag:04x}:{kind}"
    return f"named:{PROPERTY_SETS.get(property_set, property_set).lower()}:{name or number}:{kind}"


def _integer(value: int | None) -> Extended | None:
    return None if value is None else ("Integer", str(value))


def _string(value: Value) -> Extended | None:
    return None if value in (None, "") else ("String", str(value))


def _time(value: Value) -> Extended | None:
    return ("SystemTime", _utc(value)) if isinstance(value, datetime) else None


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _binary(value: bytes) -> Extended:
    return "Binary", base64.b64encode(value).decode("ascii")


def _person(person: tuple[Address, ...], which: str) -> Extended | None:
    return _string(getattr(person[0], which)) if person else None


def search_key(item: Item) -> bytes:
    """PR_SEARCH_KEY: stays with copies of the message."""
    return hashlib.sha256(item.mime).digest()[:16]


def _message_flags(item: Item, seen: View) -> int:
    found = 0x1 if item.read else 0
    found |= 0x2 if not item.draft else 0x8
    found |= 0x10 if seen.attachments else 0
    return found | (0x40 if item.associated else 0)


def _topic_id(topic: str) -> bytes:
    return hashlib.md5(topic.upper().encode("utf-16-le"), usedforsecurity=False).digest()


def _conversation_id(seen: View) -> bytes:
    """PidTagConversationId ([MS-OXOMSG] 2.2.1.2): of the conversation index, else of the topic."""
    told = next((value for name, value in seen.headers if name.lower() == "thread-index"), "")
    try:
        index = base64.b64decode(told)
    except ValueError:
        index = b""
    return index[6:22] if len(index) >= 22 else _topic_id(seen.topic)


TAGS: dict[int, Callable[[Item, View], Extended | None]] = {
    0x001A: lambda item, seen: _string(item.item_class),
    0x0017: lambda item, seen: _integer(_IMPORTANCE[str(field(item, "item:Importance"))]),
    0x0036: lambda item, seen: _integer(_SENSITIVITY[str(field(item, "item:Sensitivity"))]),
    0x0037: lambda item, seen: _string(field(item, "item:Subject")),
    0x0039: lambda item, seen: _time(field(item, "item:DateTimeSent")),
    0x0042: lambda item, seen: _person(seen.from_, "name") or _person(seen.from_, "address"),
    0x0065: lambda item, seen: _person(seen.from_, "address"),
    0x0070: lambda item, seen: _string(seen.topic),
    0x007D: lambda item, seen: _string(seen.header_block) if not item.draft else None,
    0x0C1A: lambda item, seen: _person(seen.sender, "name") or _person(seen.sender, "address"),
    0x0C1F: lambda item, seen: _person(seen.sender, "address"),
    0x0E02: lambda item, seen: _string(display(seen.bcc)),
    0x0E03: lambda item, seen: _string(display(seen.cc)),
    0x0E04: lambda item, seen: _string(display(seen.to)),
    0x0E06: lambda item, seen: _time(item.received),
    0x0E07: lambda item, seen: _integer(_message_flags(item, seen)),
    0x0E08: lambda item, seen: _integer(size(item)),
    0x0E23: lambda item, seen: _integer(item.number),
    0x0E1B: lambda item, seen: ("Boolean", "true" if seen.attachments else "false"),
    0x0E1D: lambda item, seen: _string(seen.topic),
    0x1000: lambda item, seen: _string(seen.text),
    0x1013: lambda item, seen: _binary(seen.html.encode()) if seen.html else None,
    0x1035: lambda item, seen: _string(seen.message_id),
    0x1039: lambda item, seen: _string(seen.references),
    0x1042: lambda item, seen: _string(seen.in_reply_to),
    0x10F3: lambda item, seen: _string(f"{item.number}.EML"),
    0x1090: lambda item, seen: _integer(_FLAGS[item.flag_status]),
    0x3007: lambda item, seen: _time(item.created),
    0x3013: lambda item, seen: _binary(_conversation_id(seen)),
    0x3008: lambda item, seen: _time(item.modified),
    0x300B: lambda item, seen: _binary(search_key(item)),
    0x5D01: lambda item, seen: _person(seen.sender, "address"),
    0x5D02: lambda item, seen: _person(seen.from_, "address"),
    0x65E2: lambda item, seen: _binary(item.version.to_bytes(8, "big")),
    0x670E: lambda item, seen: _string(f"http://127.0.0.1/exchange/{item.mailbox}/-FlatUrlSpace-/{item.number}.EML"),
}


def extended(world: World, item: Item, wanted: str) -> Extended | None:
    """An extended property by its key; None where the item has none, or one of another type."""
    if wanted in item.extended:
        return item.extended[wanted]
    if not wanted.startswith("tag:"):
        return _named(item, wanted)
    _, tag, kind = wanted.split(":")
    if int(tag, 16) in (0x0FFF, 0x0FF9):
        return _binary(ids.raw("item", world.mailboxes[item.mailbox].guid, item.number))
    if int(tag, 16) == 0x0FFA:
        return _binary(store_key(world, item))
    made = TAGS.get(int(tag, 16))
    found = made(item, view(item.mime)) if made else None
    return found if found and found[0] == kind else None


KEYWORDS = key(property_set="PublicStrings", name="Keywords", kind="StringArray")
_HEADERS = f"named:{PROPERTY_SETS['InternetHeaders'].lower()}:"


def _named(item: Item, wanted: str) -> Extended | None:
    """Categories, and any header by its name."""
    if wanted == KEYWORDS and item.categories:
        return "StringArray", list(item.categories)
    if wanted.startswith(_HEADERS) and wanted.endswith(":String"):
        name = wanted.removeprefix(_HEADERS).removesuffix(":String").lower()
        return _string(next((value for header, value in view(item.mime).headers if header.lower() == name), None))
    return None


def store_key(world: World, thing: Item | Folder) -> bytes:
    """PR_STORE_RECORD_KEY: the mailbox's GUID, in the archive that of the archive."""
    mailbox = world.mailboxes[thing.mailbox]
    folder = thing if isinstance(thing, Folder) else world.folders[thing.folder]
    return uuid.UUID(mailbox.archive_guid if folder.part == "archive" else mailbox.guid).bytes_le


def folder_size(world: World, folder: Folder) -> int:
    """The sum of the sizes of a folder's items."""
    return sum(size(world.items[number]) for number in folder.items)


def folder_field(world: World, folder: Folder, uri: str) -> Value:
    """What a folder answers to a FieldURI of text or number."""
    made = FOLDER_FIELDS.get(uri)
    return made(world, folder) if made else None


def _visible(world: World, folder: Folder) -> list[Item]:
    return [item for item in world.shown_in(folder) if not item.associated]


FOLDER_FIELDS: dict[str, Callable[[World, Folder], Value]] = {
    "folder:DisplayName": lambda world, folder: folder.name,
    "folder:FolderClass": lambda world, folder: folder.folder_class or None,
    "folder:TotalCount": lambda world, folder: len(_visible(world, folder)),
    "folder:UnreadCount": lambda world, folder: sum(not item.read for item in _visible(world, folder)),
    "folder:ChildFolderCount": lambda world, folder: len(folder.children),
    "folder:DistinguishedFolderId": lambda world, folder: folder.distinguished or None,
}


def folder_extended(world: World, folder: Folder, wanted: str) -> Extended | None:
    """An extended property of a folder."""
    if wanted in folder.extended:
        return folder.extended[wanted]
    if not wanted.startswith("tag:"):
        return None
    _, tag, kind = wanted.split(":")
    if (int(tag, 16), kind) == (0x0E08, "Long"):
        return "Long", str(folder_size(world, folder))
    made = FOLDER_TAGS.get(int(tag, 16))
    found = made(world, folder) if made else None
    return found if found and found[0] == kind else None


def _associated(world: World, folder: Folder) -> int:
    return sum(world.items[number].associated for number in folder.items)


FOLDER_TAGS: dict[int, Callable[[World, Folder], Extended | None]] = {
    0x0E08: lambda world, folder: _integer(folder_size(world, folder)),
    0x0FFA: lambda world, folder: _binary(store_key(world, folder)),
    0x0FFF: lambda world, folder: _binary(ids.raw("folder", world.mailboxes[folder.mailbox].guid, folder.number)),
    0x10F4: lambda world, folder: ("Boolean", "true" if _hidden(folder) else "false"),
    0x3001: lambda world, folder: _string(folder.name),
    0x3601: lambda world, folder: _integer(2 if folder.search else 0 if not folder.parent else 1),
    0x3602: lambda world, folder: _integer(len(folder.items)),
    0x360A: lambda world, folder: ("Boolean", "true" if folder.children else "false"),
    0x3613: lambda world, folder: _string(folder.folder_class),
    0x3617: lambda world, folder: _integer(_associated(world, folder)),
    0x66A1: lambda world, folder: _integer(1033),
    0x670A: lambda world, folder: _time(datetime.fromtimestamp(folder.version, UTC)),
    0x6751: lambda world, folder: _integer(world.counters["item"] + 1),
}


def _hidden(folder: Folder) -> bool:
    return folder.distinguished in ("recipientcache", "quickcontacts")
