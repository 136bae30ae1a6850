"""Node and block identifiers, and the nodes with fixed ids ([MS-PST] 2.2.2.1, 2.2.2.2, 2.4.1)."""

from __future__ import annotations

NID_TYPE_HID = 0x00
NID_TYPE_INTERNAL = 0x01
NID_TYPE_NORMAL_FOLDER = 0x02
NID_TYPE_SEARCH_FOLDER = 0x03
NID_TYPE_NORMAL_MESSAGE = 0x04
NID_TYPE_ATTACHMENT = 0x05
NID_TYPE_SEARCH_UPDATE_QUEUE = 0x06
NID_TYPE_SEARCH_CRITERIA_OBJECT = 0x07
NID_TYPE_ASSOC_MESSAGE = 0x08
NID_TYPE_CONTENTS_TABLE_INDEX = 0x0A
NID_TYPE_RECEIVE_FOLDER_TABLE = 0x0B
NID_TYPE_OUTGOING_QUEUE_TABLE = 0x0C
NID_TYPE_HIERARCHY_TABLE = 0x0D
NID_TYPE_CONTENTS_TABLE = 0x0E
NID_TYPE_ASSOC_CONTENTS_TABLE = 0x0F
NID_TYPE_SEARCH_CONTENTS_TABLE = 0x10
NID_TYPE_ATTACHMENT_TABLE = 0x11
NID_TYPE_RECIPIENT_TABLE = 0x12
NID_TYPE_SEARCH_TABLE_INDEX = 0x13
NID_TYPE_LTP = 0x1F

NID_MESSAGE_STORE = 0x21
NID_NAME_TO_ID_MAP = 0x61
NID_NORMAL_FOLDER_TEMPLATE = 0xA1
NID_SEARCH_FOLDER_TEMPLATE = 0xC1
NID_ROOT_FOLDER = 0x122
NID_SEARCH_MANAGEMENT_QUEUE = 0x1E1
NID_SEARCH_ACTIVITY_LIST = 0x201
NID_SEARCH_DOMAIN_OBJECT = 0x261
NID_SEARCH_GATHERER_QUEUE = 0x281
NID_SEARCH_GATHERER_DESCRIPTOR = 0x2A1
NID_HIERARCHY_TABLE_TEMPLATE = 0x60D
NID_CONTENTS_TABLE_TEMPLATE = 0x60E
NID_ASSOC_CONTENTS_TABLE_TEMPLATE = 0x60F
NID_SEARCH_CONTENTS_TABLE_TEMPLATE = 0x610
NID_RECEIVE_FOLDER_TABLE = 0x62B
NID_OUTGOING_QUEUE_TABLE = 0x64C
NID_ATTACHMENT_TABLE = 0x671
NID_RECIPIENT_TABLE = 0x692
NID_ID_MAP = 0xC01
NID_MESSAGE_INDEX = 0xE01

#: A new object takes an index from here on; lower ones are Outlook's own.
FIRST_FREE_NID_INDEX = 0x400
#: Step between the BIDs of blocks: bit 0 is reserved, bit 1 marks an internal block.
BID_STEP = 4
BID_INTERNAL = 2


def nid(nidType: int, nidIndex: int) -> int:
    """The NID of ``nidType`` (5 bits) and ``nidIndex`` (27 bits)."""
    return nidIndex << 5 | nidType


def nid_type(value: int) -> int:
    """``nidType`` of a NID: its low 5 bits."""
    return value & 0x1F


def nid_index(value: int) -> int:
    """``nidIndex`` of a NID."""
    return value >> 5


def sibling_nid(value: int, nidType: int) -> int:
    """The NID with the index of ``value`` and another type: a folder's tables share its index (2.4.4.1)."""
    return value & ~0x1F | nidType


def is_internal(bid: int) -> bool:
    """True for XBLOCK, XXBLOCK, SLBLOCK and SIBLOCK, which are never encoded."""
    return bool(bid & BID_INTERNAL)


def bid_key(bid: int) -> int:
    """``bid`` as it is looked up: its reserved bit 0 does not count (2.2.2.2)."""
    return bid & ~1
