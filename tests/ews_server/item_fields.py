"""Which elements an item of each kind has, in the order of Microsoft's schemas, and which of them a shape shows."""

from __future__ import annotations

# The elements of an item by FieldURI, in the order of t:ItemType; "ExtendedProperty" stands for all of those.
ITEM = (
    "item:MimeContent", "item:ItemId", "item:ParentFolderId", "item:ItemClass", "item:Subject", "item:Sensitivity",
    "item:Body", "item:Attachments", "item:DateTimeReceived", "item:Size", "item:Categories", "item:Importance",
    "item:InReplyTo", "item:IsSubmitted", "item:IsDraft", "item:IsFromMe", "item:IsResend", "item:IsUnmodified",
    "item:InternetMessageHeaders", "item:DateTimeSent", "item:DateTimeCreated", "item:ReminderDueBy",
    "item:ReminderIsSet", "item:ReminderMinutesBeforeStart", "item:DisplayCc", "item:DisplayTo",
    "item:HasAttachments", "ExtendedProperty", "item:Culture", "item:EffectiveRights", "item:LastModifiedName",
    "item:LastModifiedTime", "item:IsAssociated", "item:ConversationId", "item:Flag", "item:Preview",
    "item:TextBody",
)  # fmt: skip
MESSAGE = (
    "message:Sender", "message:ToRecipients", "message:CcRecipients", "message:BccRecipients",
    "message:IsReadReceiptRequested", "message:IsDeliveryReceiptRequested", "message:ConversationTopic",
    "message:From", "message:InternetMessageId", "message:IsRead", "message:IsResponseRequested",
    "message:References", "message:ReplyTo",
)  # fmt: skip
MEETING = ("meeting:IsOutOfDate", "meeting:HasBeenProcessed", "meeting:ResponseType")
# What each kind of item has beside them.
KINDS: dict[str, tuple[str, ...]] = {
    "Item": (),
    "Message": MESSAGE,
    "PostItem": (
        "message:ConversationTopic", "message:From", "message:InternetMessageId", "message:IsRead",
        "message:References", "message:Sender",
    ),
    "CalendarItem": (
        "calendar:Start", "calendar:End", "calendar:IsAllDayEvent", "calendar:LegacyFreeBusyStatus",
        "calendar:Location", "calendar:IsMeeting", "calendar:IsCancelled", "calendar:IsRecurring",
        "calendar:CalendarItemType", "calendar:Organizer",
    ),
    "Contact": (
        "contacts:FileAs", "contacts:DisplayName", "contacts:GivenName", "contacts:CompanyName", "contacts:JobTitle",
        "contacts:Surname",
    ),
    "DistributionList": (
        "contacts:DisplayName", "contacts:FileAs",
    ),
    "Task": (
        "task:DueDate", "task:IsComplete", "task:Owner", "task:PercentComplete", "task:StartDate", "task:Status",
    ),
    "MeetingRequest": (*MESSAGE, *MEETING, "calendar:Start", "calendar:End", "calendar:Location"),
    "MeetingResponse": (*MESSAGE, *MEETING),
    "MeetingCancellation": (*MESSAGE, *MEETING),
}  # fmt: skip
CLASSES = (
    ("IPM.Schedule.Meeting.Request", "MeetingRequest"),
    ("IPM.Schedule.Meeting.Resp", "MeetingResponse"),
    ("IPM.Schedule.Meeting.Canceled", "MeetingCancellation"),
    ("IPM.Appointment", "CalendarItem"),
    ("IPM.Contact", "Contact"),
    ("IPM.DistList", "DistributionList"),
    ("IPM.Task", "Task"),
    ("IPM.Post", "PostItem"),
    ("IPM.Note", "Message"),
    ("REPORT.IPM.Note", "Message"),
)
DEFAULT = frozenset({
    "calendar:CalendarItemType", "calendar:End", "calendar:LegacyFreeBusyStatus", "calendar:Location",
    "calendar:Start", "contacts:CompanyName", "contacts:DisplayName", "contacts:FileAs", "contacts:JobTitle",
    "item:Attachments", "item:Body", "item:DateTimeCreated", "item:DateTimeReceived", "item:DateTimeSent",
    "item:HasAttachments", "item:IsAssociated", "item:ItemId", "item:Sensitivity", "item:Size", "item:Subject",
    "message:BccRecipients", "message:CcRecipients", "message:From", "message:InternetMessageId",
    "message:IsDeliveryReceiptRequested", "message:IsRead", "message:IsReadReceiptRequested",
    "message:IsResponseRequested", "message:ReplyTo", "message:Sender", "message:ToRecipients", "task:DueDate",
    "task:PercentComplete", "task:StartDate", "task:Status",
})  # fmt: skip
# What FindItem does not give: AllProperties leaves it out, asking for it by name is an error.
NOT_FOUND_BY_FIND = frozenset({
    "item:Attachments", "item:Body", "item:InternetMessageHeaders", "item:MimeContent", "item:NormalizedBody",
    "item:TextBody", "item:UniqueBody", "message:BccRecipients", "message:CcRecipients", "message:ReplyTo",
    "message:ToRecipients",
})  # fmt: skip
# What only comes when it is asked for by name.
COSTLY = frozenset({"item:MimeContent", "item:TextBody", "item:Preview"})
# Classes that Exchange turns into MIME. Others have no MimeContent, and IncludeMimeContent is an error for them.
MIME_CLASSES = ("IPM.Note", "IPM.Post", "IPM.Appointment", "IPM.Contact", "IPM.Schedule.Meeting", "REPORT.")
# How folders of these classes are shown.
FOLDER_KINDS = {"IPF.Appointment": "CalendarFolder", "IPF.Contact": "ContactsFolder", "IPF.Task": "TasksFolder"}


def kind_of_class(item_class: str) -> str:
    """The element by which EWS shows an item of this class."""
    wanted = item_class.lower() + "."
    return next((kind for prefix, kind in CLASSES if wanted.startswith(prefix.lower() + ".")), "Item")
