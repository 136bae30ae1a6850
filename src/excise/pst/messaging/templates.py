"""The tables of an empty file as Outlook lays them out ([MS-PST] 3.12), column by column.

Each line is a column: its tag, the offset and the size of its cell in the row, its bit in the Cell Existence Bitmap,
and what it is called.
"""

from __future__ import annotations

from excise.pst.disk import ids
from excise.pst.ltp.build_table import Column, Schema


def _schema(text: str) -> Schema:
    lines = [line.split() for line in text.strip().splitlines()]
    return Schema.exact(Column(int(tag, 16), int(at), int(size), int(bit)) for tag, at, size, bit, *_ in lines)


HIERARCHY = _schema("""
    0E300102  20 4  6 ReplItemid
    0E330014  24 8  7 ReplChangenum
    0E340102  32 4  8 ReplVersionHistory
    0E380003  36 4  9 ReplFlags
    3001001F   8 4  2 DisplayName
    36020003  12 4  3 ContentCount
    36030003  16 4  4 ContentUnreadCount
    360A000B  52 1  5 Subfolders
    3613001F  40 4 10 ContainerClass
    66350003  44 4 11 PstHiddenCount
    66360003  48 4 12 PstHiddenUnread
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

CONTENTS = _schema("""
    00170003  20 4  5 Importance
    001A001F  12 4  3 MessageClass
    00360003  60 4 15 Sensitivity
    0037001F  28 4  7 Subject
    00390040  40 8  9 ClientSubmitTime
    0042001F  24 4  6 SentRepresentingName
    0057000B 120 1 13 MessageToMe
    0058000B 121 1 14 MessageCcMe
    0070001F  68 4 17 ConversationTopic
    00710102  72 4 18 ConversationIndex
    0E03001F  56 4 12 DisplayCc
    0E04001F  52 4 11 DisplayTo
    0E060040  32 8  8 MessageDeliveryTime
    0E070003  16 4  4 MessageFlags
    0E080003  48 4 10 MessageSize
    0E170003   8 4  2 MessageStatus
    0E300102  92 4 22 ReplItemid
    0E330014  96 8 23 ReplChangenum
    0E340102 104 4 24 ReplVersionHistory
    0E380003 116 4 27 ReplFlags
    0E3C0102 112 4 26 ReplCopiedfromVersionhistory
    0E3D0102 108 4 25 ReplCopiedfromItemid
    10970003  64 4 16 ItemTemporaryFlags
    30080040  84 8 21 LastModificationTime
    30130102  76 4 19 ConversationId
    65C60003  80 4 20 SecureSubmitFlags
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

ASSOC_CONTENTS = _schema("""
    001A001F  12 4  3 MessageClass
    0E070003  16 4  4 MessageFlags
    0E170003   8 4  2 MessageStatus
    3001001F  20 4  5 DisplayName
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
    6800001F  44 4 11 OabName
    6803000B  56 1 12 SendOutlookRecallReport
    68051003  48 4 13 OabTruncatedProperties
    682F001F  52 4 14
    70030003  24 4  6 ViewDescriptorFlags
    70040102  28 4  7 ViewDescriptorLinkTo
    70050102  32 4  8 ViewDescriptorViewFolder
    7006001F  36 4  9 ViewDescriptorName
    70070003  40 4 10 ViewDescriptorVersion
""")

SEARCH_CONTENTS = _schema("""
    00170003  28 4  7 Importance
    001A001F  20 4  5 MessageClass
    00360003  60 4 16 Sensitivity
    0037001F  36 4  9 Subject
    0042001F  32 4  8 SentRepresentingName
    0057000B  72 1 14 MessageToMe
    0058000B  73 1 15 MessageCcMe
    0E03001F  56 4 13 DisplayCc
    0E04001F  52 4 12 DisplayTo
    0E05001F  12 4  3 ParentDisplay
    0E060040  40 8 10 MessageDeliveryTime
    0E070003  24 4  6 MessageFlags
    0E080003  48 4 11 MessageSize
    0E170003  16 4  4 MessageStatus
    0E2A000B  74 1 17 ExchangeRemoteHeader
    30080040  64 8 18 LastModificationTime
    67F10003   8 4  2 LtpParentNid
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

RECEIVE_FOLDERS = _schema("""
    001A001F  12 4  3 MessageClass
    66050003   8 4  2 ReceiveFolderNid
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

OUTGOING_QUEUE = _schema("""
    00390040  16 8  4 ClientSubmitTime
    0E100003  12 4  3
    0E140003   8 4  2 SubmitFlags
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

ATTACHMENTS = _schema("""
    0E200003  12 4  3 AttachSize
    3704001F  20 4  5 AttachFilename
    37050003  16 4  4 AttachMethod
    370B0003   8 4  2 RenderingPosition
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

RECIPIENTS = _schema("""
    0C150003  24 4  7 RecipientType
    0E0F000B  48 1  2 Responsibility
    0FF90102  32 4  9 RecordKey
    0FFE0003  36 4 10 ObjectType
    0FFF0102  16 4  5 EntryId
    3001001F  20 4  6 DisplayName
    3002001F   8 4  3 AddressType
    3003001F  12 4  4 EmailAddress
    300B0102  28 4  8 SearchKey
    39000003  40 4 11 DisplayType
    39FF001F  44 4 13 7BitDisplayName
    3A40000B  49 1 12 SendRichInfo
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

TEMPLATE_6B6 = _schema("""
    0E330014   8 8  2 ReplChangenum
    0E370102  16 4  3
    0E380003  20 4  4 ReplFlags
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

TEMPLATE_6D7 = _schema("""
    001A001F  36 4  8 MessageClass
    0E300102  16 4  4 ReplItemid
    0E310102  12 4  3
    0E330014  28 8  7 ReplChangenum
    0E340102  24 4  6 ReplVersionHistory
    0E380003  20 4  5 ReplFlags
    0E3E0102   8 4  2
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

TEMPLATE_6F8 = _schema("""
    0E330014  16 8  3 ReplChangenum
    30070040   8 8  2 CreationTime
    67F20003   0 4  0 LtpRowId
    67F30003   4 4  1 LtpRowVer
""")

#: By the NID of their node. Those of the receive folders and the outgoing queue are the tables themselves.
TEMPLATES = {
    ids.NID_HIERARCHY_TABLE_TEMPLATE: HIERARCHY,
    ids.NID_CONTENTS_TABLE_TEMPLATE: CONTENTS,
    ids.NID_ASSOC_CONTENTS_TABLE_TEMPLATE: ASSOC_CONTENTS,
    ids.NID_SEARCH_CONTENTS_TABLE_TEMPLATE: SEARCH_CONTENTS,
    ids.NID_RECEIVE_FOLDER_TABLE: RECEIVE_FOLDERS,
    ids.NID_OUTGOING_QUEUE_TABLE: OUTGOING_QUEUE,
    ids.NID_ATTACHMENT_TABLE: ATTACHMENTS,
    ids.NID_RECIPIENT_TABLE: RECIPIENTS,
    0x6B6: TEMPLATE_6B6,
    0x6D7: TEMPLATE_6D7,
    0x6F8: TEMPLATE_6F8,
}
