"""Property types, property tags and property sets: those of [MS-OXPROPS] that Excise uses.

Tags bear Microsoft's canonical names. The type in a tag here is the usual one; a bag is read by property id, so that a
String8 value is found under the tag of the Unicode one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple
from uuid import UUID


class PropertyType(IntEnum):
    """[MS-OXCDATA] 2.11.1. A multiple-valued type is its single type with ``MULTIPLE`` set."""

    Unspecified = 0x0000
    Null = 0x0001
    Integer16 = 0x0002
    Integer32 = 0x0003
    Floating32 = 0x0004
    Floating64 = 0x0005
    Currency = 0x0006
    FloatingTime = 0x0007
    ErrorCode = 0x000A
    Boolean = 0x000B
    Object = 0x000D
    Integer64 = 0x0014
    String8 = 0x001E
    String = 0x001F
    Time = 0x0040
    Guid = 0x0048
    ServerId = 0x00FB
    Restriction = 0x00FD
    RuleAction = 0x00FE
    Binary = 0x0102


MULTIPLE = 0x1000


class PropertyTag(NamedTuple):
    """A property id (16 bits) and a property type (16 bits, as stored: it may be an unknown one)."""

    id: int
    type: int

    @classmethod
    def parse(cls, value: int) -> PropertyTag:
        """The tag whose 32-bit form is ``value``."""
        return cls(value >> 16 & 0xFFFF, value & 0xFFFF)

    @property
    def value(self) -> int:
        """The 32-bit form: id in the high half, type in the low."""
        return self.id << 16 | self.type

    def __str__(self) -> str:
        return f"0x{self.value:08X}"


class NamedProperty(NamedTuple):
    """The name of a property above 0x8000: a property set with a number (``lid``) or a string (``name``)."""

    guid: UUID
    lid: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        return f"{{{self.guid}}}/{self.name if self.lid is None else hex(self.lid)}"


def _tag(value: int) -> PropertyTag:
    return PropertyTag.parse(value)


PidTagImportance = _tag(0x00170003)
PidTagMessageClass = _tag(0x001A001F)
PidTagPriority = _tag(0x00260003)
PidTagReadReceiptRequested = _tag(0x0029000B)
PidTagSensitivity = _tag(0x00360003)
PidTagSubject = _tag(0x0037001F)
PidTagClientSubmitTime = _tag(0x00390040)
PidTagSentRepresentingSearchKey = _tag(0x003B0102)
PidTagSubjectPrefix = _tag(0x003D001F)
PidTagSentRepresentingEntryId = _tag(0x00410102)
PidTagSentRepresentingName = _tag(0x0042001F)
PidTagReplyRecipientEntries = _tag(0x004F0102)
PidTagReplyRecipientNames = _tag(0x0050001F)
PidTagSentRepresentingAddressType = _tag(0x0064001F)
PidTagSentRepresentingEmailAddress = _tag(0x0065001F)
PidTagConversationTopic = _tag(0x0070001F)
PidTagConversationIndex = _tag(0x00710102)
PidTagTransportMessageHeaders = _tag(0x007D001F)
PidTagTnefCorrelationKey = _tag(0x007F0102)
PidTagRecipientType = _tag(0x0C150003)
PidTagSenderEntryId = _tag(0x0C190102)
PidTagSenderName = _tag(0x0C1A001F)
PidTagSenderSearchKey = _tag(0x0C1D0102)
PidTagSenderAddressType = _tag(0x0C1E001F)
PidTagSenderEmailAddress = _tag(0x0C1F001F)
PidTagDisplayBcc = _tag(0x0E02001F)
PidTagDisplayCc = _tag(0x0E03001F)
PidTagDisplayTo = _tag(0x0E04001F)
PidTagMessageDeliveryTime = _tag(0x0E060040)
PidTagMessageFlags = _tag(0x0E070003)
PidTagMessageSize = _tag(0x0E080003)
PidTagResponsibility = _tag(0x0E0F000B)
PidTagNormalizedSubject = _tag(0x0E1D001F)
PidTagAttachSize = _tag(0x0E200003)
PidTagObjectType = _tag(0x0FFE0003)
PidTagEntryId = _tag(0x0FFF0102)
PidTagBody = _tag(0x1000001F)
PidTagReportText = _tag(0x1001001F)
PidTagRtfCompressed = _tag(0x10090102)
PidTagHtml = _tag(0x10130102)
PidTagNativeBody = _tag(0x10160003)
PidTagInternetMessageId = _tag(0x1035001F)
PidTagInternetReferences = _tag(0x1039001F)
PidTagInReplyToId = _tag(0x1042001F)
PidTagListHelp = _tag(0x1043001F)
PidTagListSubscribe = _tag(0x1044001F)
PidTagListUnsubscribe = _tag(0x1045001F)
PidTagIconIndex = _tag(0x10800003)
PidTagDisplayName = _tag(0x3001001F)
PidTagAddressType = _tag(0x3002001F)
PidTagEmailAddress = _tag(0x3003001F)
PidTagCreationTime = _tag(0x30070040)
PidTagLastModificationTime = _tag(0x30080040)
PidTagSearchKey = _tag(0x300B0102)
PidTagAttachDataBinary = _tag(0x37010102)
PidTagAttachDataObject = _tag(0x3701000D)
PidTagAttachEncoding = _tag(0x37020102)
PidTagAttachExtension = _tag(0x3703001F)
PidTagAttachFilename = _tag(0x3704001F)
PidTagAttachMethod = _tag(0x37050003)
PidTagAttachLongFilename = _tag(0x3707001F)
PidTagAttachPathname = _tag(0x3708001F)
PidTagRenderingPosition = _tag(0x370B0003)
PidTagAttachTransportName = _tag(0x370C001F)
PidTagAttachLongPathname = _tag(0x370D001F)
PidTagAttachMimeTag = _tag(0x370E001F)
PidTagAttachContentId = _tag(0x3712001F)
PidTagAttachContentLocation = _tag(0x3713001F)
PidTagAttachFlags = _tag(0x37140003)
PidTagDisplayType = _tag(0x39000003)
PidTagSmtpAddress = _tag(0x39FE001F)
PidTag7BitDisplayName = _tag(0x39FF001F)
PidTagGivenName = _tag(0x3A06001F)
PidTagBusinessTelephoneNumber = _tag(0x3A08001F)
PidTagHomeTelephoneNumber = _tag(0x3A09001F)
PidTagSurname = _tag(0x3A11001F)
PidTagCompanyName = _tag(0x3A16001F)
PidTagTitle = _tag(0x3A17001F)
PidTagDepartmentName = _tag(0x3A18001F)
PidTagMobileTelephoneNumber = _tag(0x3A1C001F)
PidTagBusinessFaxNumber = _tag(0x3A24001F)
PidTagCountry = _tag(0x3A26001F)
PidTagLocality = _tag(0x3A27001F)
PidTagStateOrProvince = _tag(0x3A28001F)
PidTagStreetAddress = _tag(0x3A29001F)
PidTagPostalCode = _tag(0x3A2A001F)
PidTagBirthday = _tag(0x3A420040)
PidTagMiddleName = _tag(0x3A44001F)
PidTagDisplayNamePrefix = _tag(0x3A45001F)
PidTagSendRichInfo = _tag(0x3A40000B)
PidTagGeneration = _tag(0x3A05001F)
PidTagInternetCodepage = _tag(0x3FDE0003)
PidTagMessageLocaleId = _tag(0x3FF10003)
PidTagMessageCodepage = _tag(0x3FFD0003)
PidTagSenderSmtpAddress = _tag(0x5D01001F)
PidTagSentRepresentingSmtpAddress = _tag(0x5D02001F)
PidTagRecipientDisplayName = _tag(0x5FF6001F)
PidTagRecipientEntryId = _tag(0x5FF70102)
PidTagRecipientFlags = _tag(0x5FFD0003)
PidTagAttachmentHidden = _tag(0x7FFE000B)

PS_MAPI = UUID("00020328-0000-0000-c000-000000000046")
PS_PUBLIC_STRINGS = UUID("00020329-0000-0000-c000-000000000046")
PS_INTERNET_HEADERS = UUID("00020386-0000-0000-c000-000000000046")
PSETID_Appointment = UUID("00062002-0000-0000-c000-000000000046")
PSETID_Task = UUID("00062003-0000-0000-c000-000000000046")
PSETID_Address = UUID("00062004-0000-0000-c000-000000000046")
PSETID_Common = UUID("00062008-0000-0000-c000-000000000046")
PSETID_Meeting = UUID("6ed8da90-450b-101b-98da-00aa003f1305")

PidNameKeywords = NamedProperty(PS_PUBLIC_STRINGS, name="Keywords")
PidLidLocation = NamedProperty(PSETID_Appointment, 0x8208)
PidLidAppointmentStartWhole = NamedProperty(PSETID_Appointment, 0x820D)
PidLidAppointmentEndWhole = NamedProperty(PSETID_Appointment, 0x820E)
PidLidAppointmentSubType = NamedProperty(PSETID_Appointment, 0x8215)
PidLidRecurring = NamedProperty(PSETID_Appointment, 0x8223)
PidLidRecurrencePattern = NamedProperty(PSETID_Appointment, 0x8232)
PidLidAppointmentSequence = NamedProperty(PSETID_Appointment, 0x8201)
PidLidGlobalObjectId = NamedProperty(PSETID_Meeting, 0x0003)
PidLidCleanGlobalObjectId = NamedProperty(PSETID_Meeting, 0x0023)
PidLidTaskStatus = NamedProperty(PSETID_Task, 0x8101)
PidLidPercentComplete = NamedProperty(PSETID_Task, 0x8102)
PidLidTaskStartDate = NamedProperty(PSETID_Task, 0x8104)
PidLidTaskDueDate = NamedProperty(PSETID_Task, 0x8105)
PidLidTaskDateCompleted = NamedProperty(PSETID_Task, 0x810F)
PidLidFileUnder = NamedProperty(PSETID_Address, 0x8005)
PidLidWorkAddress = NamedProperty(PSETID_Address, 0x801B)
PidLidHomeAddress = NamedProperty(PSETID_Address, 0x801A)
PidLidInstantMessagingAddress = NamedProperty(PSETID_Address, 0x8062)
PidLidDistributionListMembers = NamedProperty(PSETID_Address, 0x8055)
PidLidDistributionListOneOffMembers = NamedProperty(PSETID_Address, 0x8054)
PidLidEmail1EmailAddress = NamedProperty(PSETID_Address, 0x8083)
PidLidEmail1OriginalDisplayName = NamedProperty(PSETID_Address, 0x8084)
PidLidEmail2EmailAddress = NamedProperty(PSETID_Address, 0x8093)
PidLidEmail2OriginalDisplayName = NamedProperty(PSETID_Address, 0x8094)
PidLidEmail3EmailAddress = NamedProperty(PSETID_Address, 0x80A3)
PidLidEmail3OriginalDisplayName = NamedProperty(PSETID_Address, 0x80A4)
