"""The bodies of requests, element by element in the order that Microsoft's schemas ask for ([MS-OXWSCORE] …)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from excise.stores.ews.soap import Body, attribute, text

#: Tags of MAPI properties that EWS has no name for ([MS-OXPROPS]).
TRANSPORT_HEADERS = ("0x007D", "String")
FLAG_STATUS = ("0x1090", "Integer")
LAST_VERB = ("0x1081", "Integer")
MESSAGE_FLAGS = ("0x0E07", "Integer")
DELIVERY_TIME = ("0x0E06", "SystemTime")
SUBMIT_TIME = ("0x0039", "SystemTime")
#: PidTagSentRepresentingSmtpAddress and …EmailAddress: a listing gives no addresses of people otherwise.
SENDER_ADDRESSES = (("0x5D02", "String"), ("0x0065", "String"))
#: PidTagConversationId: unlike item:ConversationId it is the same in every mailbox.
CONVERSATION_ID = ("0x3013", "Binary")
STORE_RECORD_KEY = ("0x0FFA", "Binary")
#: PidTagMessageSizeExtended: of a folder, the bytes of the messages in it, not of those in the folders below.
MESSAGE_SIZE = ("0x0E08", "Long")
#: The named property that says which deposit an item was made of (see ``putting``).
STAMP = "ExciseVersion"

Tag = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FolderRef:
    """A folder by its id, or by a distinguished id, then of the mailbox ``owner`` where that is given."""

    id: str = ""
    distinguished: str = ""
    owner: str = ""

    @property
    def xml(self) -> str:
        """The element that names it."""
        if self.id:
            return f"<t:FolderId Id={attribute(self.id)}/>"
        if not self.owner:
            return f"<t:DistinguishedFolderId Id={attribute(self.distinguished)}/>"
        mailbox = f"<t:Mailbox><t:EmailAddress>{text(self.owner)}</t:EmailAddress></t:Mailbox>"
        return f"<t:DistinguishedFolderId Id={attribute(self.distinguished)}>{mailbox}</t:DistinguishedFolderId>"


def field(uri: str) -> str:
    """A property of EWS's own."""
    return f"<t:FieldURI FieldURI={attribute(uri)}/>"


def extended(tag: Tag) -> str:
    """A MAPI property by its tag."""
    return f'<t:ExtendedFieldURI PropertyTag="{tag[0]}" PropertyType="{tag[1]}"/>'


def named(property_set: str, name: str) -> str:
    """A named property that is a string."""
    return (
        f'<t:ExtendedFieldURI DistinguishedPropertySetId="{property_set}" PropertyName="{name}" PropertyType="String"/>'
    )


STAMP_FIELD = named("PublicStrings", STAMP)


def folder_shape(fields: Iterable[str]) -> str:
    """A folder shape of ids and ``fields``."""
    return f"<m:FolderShape>{_shape(fields)}</m:FolderShape>"


def _shape(fields: Iterable[str]) -> str:
    added = "".join(fields)
    return f"<t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>{added}</t:AdditionalProperties>"


def get_folder(folders: Sequence[FolderRef], fields: Iterable[str]) -> str:
    """GetFolder."""
    named = "".join(folder.xml for folder in folders)
    return f"<m:GetFolder>{folder_shape(fields)}<m:FolderIds>{named}</m:FolderIds></m:GetFolder>"


def find_folder(parent: FolderRef, fields: Iterable[str], *, deep: bool, offset: int, count: int) -> str:
    """FindFolder, one page."""
    view = f'<m:IndexedPageFolderView MaxEntriesReturned="{count}" Offset="{offset}" BasePoint="Beginning"/>'
    return (
        f'<m:FindFolder Traversal="{"Deep" if deep else "Shallow"}">{folder_shape(fields)}{view}'
        f"<m:ParentFolderIds>{parent.xml}</m:ParentFolderIds></m:FindFolder>"
    )


def find_item(
    parents: Sequence[FolderRef], fields: Iterable[str], *, offset: int, count: int, restriction: str = ""
) -> str:
    """FindItem, one page of each folder, the oldest first: what arrives meanwhile comes at the end."""
    shape = f"<m:ItemShape>{_shape(fields)}</m:ItemShape>"
    view = f'<m:IndexedPageItemView MaxEntriesReturned="{count}" Offset="{offset}" BasePoint="Beginning"/>'
    narrowed = f"<m:Restriction>{restriction}</m:Restriction>" if restriction else ""
    order = (
        f'<m:SortOrder><t:FieldOrder Order="Ascending">{field("item:DateTimeReceived")}</t:FieldOrder></m:SortOrder>'
    )
    return (
        f'<m:FindItem Traversal="Shallow">{shape}{view}{narrowed}{order}'
        f"<m:ParentFolderIds>{''.join(parent.xml for parent in parents)}</m:ParentFolderIds></m:FindItem>"
    )


def get_item(ids: Sequence[str], fields: Iterable[str], *, mime: bool) -> str:
    """GetItem; bodies as plain text, and the MIME where it is asked for."""
    return (
        "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>"
        f"<t:IncludeMimeContent>{'true' if mime else 'false'}</t:IncludeMimeContent><t:BodyType>Text</t:BodyType>"
        f"<t:AdditionalProperties>{''.join(fields)}</t:AdditionalProperties></m:ItemShape>{item_ids(ids)}</m:GetItem>"
    )


def item_ids(ids: Sequence[str], change_keys: Mapping[str, str] | None = None) -> str:
    """The items with ``ids``, in the state that their change keys name where those are given."""
    keys = change_keys or {}
    named = (
        f"<t:ItemId Id={attribute(one)}" + (f" ChangeKey={attribute(keys[one])}" if keys.get(one) else "") + "/>"
        for one in ids
    )
    return f"<m:ItemIds>{''.join(named)}</m:ItemIds>"


def delete_item(ids: Sequence[str], how: str, change_keys: Mapping[str, str]) -> str:
    """DeleteItem: nobody is told, no meeting is cancelled, no receipt is sent."""
    return (
        f'<m:DeleteItem DeleteType="{how}" SendMeetingCancellations="SendToNone" '
        'AffectedTaskOccurrences="AllOccurrences" SuppressReadReceipts="true">'
        f"{item_ids(ids, change_keys)}</m:DeleteItem>"
    )


def export_items(ids: Sequence[str]) -> str:
    """ExportItems."""
    return f"<m:ExportItems>{item_ids(ids)}</m:ExportItems>"


def upload_item(folder_id: str, data: bytes) -> Body:
    """UploadItems of one new item, whose export stream is ``data``."""
    return (
        '<m:UploadItems><m:Items><t:Item CreateAction="CreateNew">'
        f"<t:ParentFolderId Id={attribute(folder_id)}/><t:Data>",
        data,
        "</t:Data></t:Item></m:Items></m:UploadItems>",
    )


def create_item(folder_id: str, element: Body) -> Body:
    """CreateItem that only saves: nothing is sent, and nobody is invited."""
    return (
        '<m:CreateItem MessageDisposition="SaveOnly" SendMeetingInvitations="SendToNone">'
        f"<m:SavedItemFolderId>{FolderRef(folder_id).xml}</m:SavedItemFolderId><m:Items>",
        *element,
        "</m:Items></m:CreateItem>",
    )


def new_item(
    kind: str, item_class: str, content: bytes, categories: Sequence[str], properties: Iterable[tuple[str, str]]
) -> Body:
    """The element of a new item made of MIME; ``properties``: field elements with their values."""
    named = "".join(f"<t:String>{text(one)}</t:String>" for one in categories)
    own = f"<t:Categories>{named}</t:Categories>" if categories else ""
    added = "".join(
        f"<t:ExtendedProperty>{name}<t:Value>{text(value)}</t:Value></t:ExtendedProperty>" for name, value in properties
    )
    named_class = f"<t:ItemClass>{text(item_class)}</t:ItemClass>" if item_class else ""
    return (f"<t:{kind}><t:MimeContent>", content, f"</t:MimeContent>{named_class}{own}{added}</t:{kind}>")


def update_stamp(item_id: str, change_key: str, value: str) -> str:
    """UpdateItem that sets the stamp and nothing else."""
    set_it = (
        f"<t:SetItemField>{STAMP_FIELD}<t:Message><t:ExtendedProperty>{STAMP_FIELD}<t:Value>{text(value)}</t:Value>"
        "</t:ExtendedProperty></t:Message></t:SetItemField>"
    )
    return (
        '<m:UpdateItem ConflictResolution="AutoResolve" MessageDisposition="SaveOnly" '
        'SendMeetingInvitationsOrCancellations="SendToNone" SuppressReadReceipts="true"><m:ItemChanges><t:ItemChange>'
        f"<t:ItemId Id={attribute(item_id)} ChangeKey={attribute(change_key)}/><t:Updates>{set_it}</t:Updates>"
        "</t:ItemChange></m:ItemChanges></m:UpdateItem>"
    )


def create_folder(parent: FolderRef, name: str) -> str:
    """CreateFolder for mail."""
    return (
        f"<m:CreateFolder><m:ParentFolderId>{parent.xml}</m:ParentFolderId><m:Folders><t:Folder>"
        f"<t:FolderClass>IPF.Note</t:FolderClass><t:DisplayName>{text(name)}</t:DisplayName></t:Folder></m:Folders></m:CreateFolder>"
    )


def resolve_names(entry: str) -> str:
    """ResolveNames in the directory alone, and not in anybody's contacts."""
    return (
        '<m:ResolveNames ReturnFullContactData="false" SearchScope="ActiveDirectory">'
        f"<m:UnresolvedEntry>{text(entry)}</m:UnresolvedEntry></m:ResolveNames>"
    )


def expand_list(address: str) -> str:
    """ExpandDL: one level of the list's members."""
    return f"<m:ExpandDL><m:Mailbox><t:EmailAddress>{text(address)}</t:EmailAddress></m:Mailbox></m:ExpandDL>"


def find_people(offset: int, count: int) -> str:
    """FindPeople, one page of the address list."""
    return (
        "<m:FindPeople><m:PersonaShape><t:BaseShape>Default</t:BaseShape></m:PersonaShape>"
        f'<m:IndexedPageItemView MaxEntriesReturned="{count}" Offset="{offset}" BasePoint="Beginning"/>'
        '<m:ParentFolderId><t:DistinguishedFolderId Id="directory"/></m:ParentFolderId></m:FindPeople>'
    )
