"""Properties and recipients that are made of header fields: each value, worked out by hand from the documents."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from excise.mapi import tags as t
from excise.mapi.from_mime import from_mime
from excise.mapi.properties import PropertyBag, from_filetime
from excise.mapi.to_mime import to_mime


def bag(*fields: str | bytes) -> PropertyBag:
    lines = [field.encode() if isinstance(field, str) else field for field in fields]
    return from_mime(b"\r\n".join([*lines, b"", b"body"])).properties


#: [MS-OXCDATA] 2.2.5.1: flags, the one-off provider, version 0, Unicode without rich text, three strings in UTF-16.
ONE_OFF = "00000000" + "812b1fa4bea310199d6e00dd010f5402" + "0000" + "0190"


def one_off(name: str, address: str) -> bytes:
    return bytes.fromhex(ONE_OFF) + f"{name}\0SMTP\0{address}\0".encode("utf-16-le")


def test_the_author_and_the_sender() -> None:
    found = bag("From: =?iso-8859-1?Q?M=FCller=2C_J=2E?= <J.M@Example.org>, second@x", "Sender: (Sec) sec@example.org")
    for kind, name, address in (
        ("SentRepresenting", "Müller, J.", "J.M@Example.org"),
        ("Sender", "Sec", "sec@example.org"),
    ):
        texts = {part: found.text(getattr(t, f"PidTag{kind}{part}")) for part in ("Name", "AddressType")}
        assert texts == {"Name": name, "AddressType": "SMTP"}
        assert found.text(getattr(t, f"PidTag{kind}EmailAddress")) == address
        assert found.text(getattr(t, f"PidTag{kind}SmtpAddress")) == address
        assert found.binary(getattr(t, f"PidTag{kind}EntryId")) == one_off(name, address)
        assert found.binary(getattr(t, f"PidTag{kind}SearchKey")) == b"SMTP:" + address.upper().encode() + b"\0"


def test_the_author_is_the_sender_where_no_other_is_named() -> None:
    found = bag("From: a@example.org")
    assert (found.text(t.PidTagSenderName), found.text(t.PidTagSenderSmtpAddress)) == ("a@example.org", "a@example.org")
    assert t.PidTagSenderName not in bag("Subject: x")


def test_recipients_are_rows_in_order() -> None:
    item = from_mime(
        b"To: Bo <bo@example.org>, c@example.org\r\nBcc: d@example.org\r\nCc: Friends: E <e@x.org>, f@x.org;\r\n"
        b"To: again@x.org, undisclosed-recipients:;\r\n\r\n"
    )
    rows = [
        (r.integer(t.PidTagRecipientType), r.text(t.PidTagDisplayName), r.text(t.PidTagEmailAddress))
        for r in item.recipients
    ]
    assert rows == [
        (1, "Bo", "bo@example.org"),
        (1, "c@example.org", "c@example.org"),
        (1, "again@x.org", "again@x.org"),
        (2, "E", "e@x.org"),
        (2, "f@x.org", "f@x.org"),
        (3, "d@example.org", "d@example.org"),
    ]
    assert item.properties.text(t.PidTagDisplayTo) == "Bo; c@example.org; again@x.org"
    assert item.properties.text(t.PidTagDisplayCc) == "E; f@x.org"
    assert item.properties.text(t.PidTagDisplayBcc) == "d@example.org"
    first = item.recipients[0]
    assert first.binary(t.PidTagEntryId) == one_off("Bo", "bo@example.org")
    assert first.binary(t.PidTagSearchKey) == b"SMTP:BO@EXAMPLE.ORG\0"
    fixed = (t.PidTagResponsibility, t.PidTagObjectType, t.PidTagDisplayType, t.PidTagSendRichInfo)
    assert [first.get(tag) for tag in fixed] == [True, 6, 0, False]
    assert [first.text(tag) for tag in (t.PidTagAddressType, t.PidTagSmtpAddress, t.PidTag7BitDisplayName)] == [
        "SMTP",
        "bo@example.org",
        "Bo",
    ]


def test_no_recipients_leave_no_empty_names() -> None:
    item = from_mime(b"Subject: x\r\nTo: undisclosed-recipients:;\r\nCc:\r\n\r\n")
    assert item.recipients == ()
    assert not {t.PidTagDisplayTo, t.PidTagDisplayCc, t.PidTagDisplayBcc} & {p.tag for p in item.properties}


def test_replies_go_to_a_flat_list() -> None:
    found = bag("Reply-To: List <list@x.org>, b@x.org")
    entries = [one_off("List", "list@x.org"), one_off("b@x.org", "b@x.org")]
    raw = found.binary(t.PidTagReplyRecipientEntries) or b""
    assert raw[:4] == (2).to_bytes(4, "little")
    assert int.from_bytes(raw[4:8], "little") == len(raw) - 8
    at = 8
    for entry in entries:
        assert raw[at : at + 4 + len(entry)] == len(entry).to_bytes(4, "little") + entry
        at += 4 + len(entry) + -len(entry) % 4
    assert at == len(raw)
    assert found.text(t.PidTagReplyRecipientNames) == "List; b@x.org"


def test_ids_and_lists() -> None:
    found = bag(
        "Message-ID: <1@x>",
        "In-Reply-To: <0@x>",
        "References: <a@x>\r\n <b@x>",
        "List-Help: <mailto:h@x>",
        "List-Subscribe: <mailto:s@x>",
        "List-Unsubscribe: <mailto:u@x>,\r\n\t<http://x/u>",
    )
    assert found.text(t.PidTagInternetMessageId) == "<1@x>"
    assert found.text(t.PidTagInReplyToId) == "<0@x>"
    assert found.text(t.PidTagInternetReferences) == "<a@x> <b@x>"
    assert found.text(t.PidTagListHelp) == "<mailto:h@x>"
    assert found.text(t.PidTagListSubscribe) == "<mailto:s@x>"
    assert found.text(t.PidTagListUnsubscribe) == "<mailto:u@x>, <http://x/u>"


@pytest.mark.parametrize(
    ("fields", "importance", "priority"),
    [
        ([], 1, 0),
        (["Importance: HIGH"], 2, 1),
        (["Importance: low"], 0, -1),
        (["Importance: normal", "X-Priority: 1"], 1, 0),
        (["X-Priority: 2 (High)"], 2, 1),
        (["X-Priority: 5"], 0, -1),
        (["X-MSMail-Priority: High"], 2, 1),
        (["Priority: urgent"], 2, 1),
        (["Importance: low", "Priority: Non-Urgent"], 0, -1),
        (["Importance: high", "Priority: normal"], 2, 0),
        (["Importance: nonsense", "X-Priority: 9"], 1, 0),
    ],
)
def test_importance_and_priority(fields: list[str], importance: int, priority: int) -> None:
    found = bag(*fields)
    assert (found.integer(t.PidTagImportance), found.integer(t.PidTagPriority)) == (importance, priority)


@pytest.mark.parametrize(
    ("word", "value"), [("Personal", 1), ("private", 2), ("Company-Confidential", 3), ("other", 0), ("", 0)]
)
def test_sensitivity(word: str, value: int) -> None:
    assert bag(f"Sensitivity: {word}").integer(t.PidTagSensitivity) == value


def test_read_receipts() -> None:
    assert bag("Disposition-Notification-To: a@x").boolean(t.PidTagReadReceiptRequested) is True
    assert bag("Disposition-Notification-To: ").boolean(t.PidTagReadReceiptRequested) is False
    assert bag("Subject: x").boolean(t.PidTagReadReceiptRequested) is False


# -- subjects


@pytest.mark.parametrize(
    ("subject", "prefix", "rest"),
    [
        ("RE: Plan", "RE: ", "Plan"),
        ("Fwd: RE: Plan", "Fwd: ", "RE: Plan"),
        ("\u7b54\u590d: x", "\u7b54\u590d: ", "x"),
        ("News: x", "", "News: x"),
        ("R2: x", "", "R2: x"),
        ("RE:x", "", "RE:x"),
        ("", "", ""),
    ],
)
def test_a_subject_has_a_prefix(subject: str, prefix: str, rest: str) -> None:
    found = bag(f"Subject: {subject}")
    assert [found.text(tag) for tag in (t.PidTagSubject, t.PidTagSubjectPrefix, t.PidTagNormalizedSubject)] == [
        subject,
        prefix,
        rest,
    ]
    assert found.text(t.PidTagConversationTopic) == rest


def test_a_topic_of_its_own() -> None:
    assert bag("Subject: RE: new", "Thread-Topic: =?utf-8?Q?old_=C3=A9?=").text(t.PidTagConversationTopic) == "old é"


@pytest.mark.parametrize("length", [254, 255, 256, 300])
def test_a_long_subject_is_cut_and_its_field_kept(length: int) -> None:
    subject = "RE: " + "x" * (length - 4)
    item = from_mime(f"Subject: {subject}\r\n\r\n".encode())
    assert item.properties.text(t.PidTagSubject) == subject[:255]
    assert item.properties.text(t.PidTagConversationTopic) == subject[4:255]
    assert len(item.notes) == (length > 255)
    rendered = to_mime(item)
    assert subject.encode() in rendered.data
    assert len(rendered.notes) == (length > 255)


def test_a_cut_does_not_halve_a_character() -> None:
    found = bag("Subject: " + "x" * 254 + "\U0001f600")
    assert found.text(t.PidTagSubject) == "x" * 254


def test_a_subject_does_not_begin_with_the_mark_of_a_prefix() -> None:
    item = from_mime(b"Subject: =?utf-8?Q?=01=05RE=3A_x?=\r\n\r\n")
    assert item.subject == "  RE: x"


# -- times and conversations


def test_times() -> None:
    found = bag(
        "Received: from a by b; nonsense",
        "Received: from c by a; Fri, 1 Mar 2024 10:31:00 +0100 (CET)",
        "Received: from d by c; Fri, 1 Mar 2024 08:00:00 +0000",
        "Date: Fri, 1 Mar 2024 10:30:59 +0100",
    )
    assert found.time(t.PidTagClientSubmitTime) == datetime(2024, 3, 1, 9, 30, 59, tzinfo=UTC)
    assert found.time(t.PidTagMessageDeliveryTime) == datetime(2024, 3, 1, 9, 31, tzinfo=UTC)
    alone = bag("Date: Fri, 1 Mar 2024 10:30:59 -0000")
    assert alone.time(t.PidTagMessageDeliveryTime) == datetime(2024, 3, 1, 10, 30, 59, tzinfo=UTC)


@pytest.mark.parametrize("date", ["", "soon", "Fri, 1 Mar 1500 10:30:00 +0000", "Fri, 31 Dec 9999 23:59:59 -1200"])
def test_no_time_is_made_up(date: str) -> None:
    found = bag(f"Date: {date}", "Thread-Index: AAAA")
    assert not {t.PidTagClientSubmitTime, t.PidTagMessageDeliveryTime, t.PidTagConversationIndex} & {
        p.tag for p in found
    }


def test_a_conversation_index_that_came_along_is_kept() -> None:
    index = b"\x01\x01\xda" + bytes(range(19)) + b"reply"
    text = base64.b64encode(index).decode()
    assert bag(f"Thread-Index: {text[:20]}\r\n {text[20:]}").binary(t.PidTagConversationIndex) == index


@pytest.mark.parametrize("index", [b"", b"\x01" + bytes(20), b"\x01" + bytes(24), b"\x02" + bytes(21)])
def test_a_conversation_index_is_made_of_date_and_topic(index: bytes) -> None:
    text = base64.b64encode(index).decode()
    found = bag(f"Thread-Index: {text}", "Subject: RE: Pl\u00e4n", "Date: Fri, 1 Mar 2024 09:30:00 +0000")
    made = found.binary(t.PidTagConversationIndex) or b""
    assert (len(made), made[0]) == (22, 1)
    stamp = from_filetime(int.from_bytes(made[1:6], "big") << 24)
    assert 0 <= (datetime(2024, 3, 1, 9, 30, tzinfo=UTC) - stamp).total_seconds() < 2
    assert made[6:] == hashlib.md5("PL\u00c4N".encode("utf-16-le"), usedforsecurity=False).digest()
    other = (
        bag("Subject: FW: pl\u00e4n", "Date: Sat, 2 Mar 2024 09:30:00 +0000").binary(t.PidTagConversationIndex) or b""
    )
    assert other[6:] == made[6:]


# -- the header block


@pytest.mark.parametrize(
    ("data", "block"),
    [
        (b"Subject: a\nX-Y:\tb\n c\n\nbody", "Subject: a\r\nX-Y:\tb\r\n c\r\n"),
        (b"Subject: b\xc3\xbc \xff\r\n\r\n", "Subject: b\u00c3\u00bc \u00ff\r\n"),
        (b"Subject: b\xc3\xbc\r\n\r\n", "Subject: bü\r\n"),
        (b"\xef\xbb\xbfSubject: a\r\n\r\n", "Subject: a\r\n"),
        (b"Subject: a\rBcc: evil@x\n\n", "Subject: a Bcc: evil@x\r\n"),
        (b"Subject: a\rTo: b@x\r\rbody", "Subject: a\r\nTo: b@x\r\n"),
        (b"Subject: a\r\nbody without an empty line", "Subject: a\r\n"),
        (b"Subject: a\0b\r\n\r\n", "Subject: ab\r\n"),
    ],
)
def test_the_header_block_is_kept_as_text(data: bytes, block: str) -> None:
    item = from_mime(data)
    assert item.transport_headers == block
    assert b"\r\nBcc:" not in to_mime(item).data


def test_control_characters_do_not_reach_names() -> None:
    found = bag("From: =?utf-8?Q?a=00=0D=0ABcc=3A_b?= <a@x>", "Message-ID: <a\x01b@x>")
    assert found.text(t.PidTagSenderName) == "a   Bcc: b"
    assert found.text(t.PidTagInternetMessageId) == "<a b@x>"


@pytest.mark.parametrize("size", [1000, 100_000])
def test_large_fields_are_no_error(size: int) -> None:
    fields: list[Any] = [f"{name}: " + "a, <b@c> (" * (size // 10) for name in ("From", "To", "Subject", "References")]
    item = from_mime("\r\n".join(fields).encode() + b"\r\n\r\n")
    assert item.recipients
