"""Rebuilt MIME, read back by the standard library's email package."""

from __future__ import annotations

import email
import re
import time
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from excise.mapi.item import MAX_EMBEDDING, MapiAttachment, MapiItem
from excise.mapi.mime_fields import clean
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import (
    PidLidAppointmentEndWhole,
    PidLidAppointmentStartWhole,
    PidLidDistributionListOneOffMembers,
    PidLidEmail1EmailAddress,
    PidLidLocation,
    PidLidRecurring,
    PidLidTaskDueDate,
    PidNameKeywords,
    PidTagAddressType,
    PidTagAttachContentId,
    PidTagAttachFlags,
    PidTagAttachLongFilename,
    PidTagAttachLongPathname,
    PidTagAttachMethod,
    PidTagAttachMimeTag,
    PidTagBody,
    PidTagClientSubmitTime,
    PidTagDisplayName,
    PidTagEmailAddress,
    PidTagHtml,
    PidTagImportance,
    PidTagInReplyToId,
    PidTagInternetCodepage,
    PidTagInternetMessageId,
    PidTagInternetReferences,
    PidTagMessageClass,
    PidTagRecipientType,
    PidTagRtfCompressed,
    PidTagSenderAddressType,
    PidTagSenderEmailAddress,
    PidTagSenderName,
    PidTagSubject,
    PidTagSurname,
    PidTagTransportMessageHeaders,
    PropertyType,
)
from excise.mapi.to_mime import RebuiltMime, to_mime

MOMENT = datetime(2024, 3, 1, 9, 30, tzinfo=UTC)
PLAIN = {
    PidTagSubject: "\x01\x01Hello",
    PidTagSenderName: "Anna Meier",
    PidTagSenderAddressType: "SMTP",
    PidTagSenderEmailAddress: "anna@example.org",
    PidTagClientSubmitTime: MOMENT,
    PidTagInternetMessageId: "<1@example.org>",
    PidTagBody: "One\r\ntwo\r\n",
}


def row(name: str, smtp: str, kind: int = 1, address_type: str = "SMTP") -> PropertyBag:
    return PropertyBag.of(
        {PidTagDisplayName: name, PidTagEmailAddress: smtp, PidTagAddressType: address_type, PidTagRecipientType: kind}
    )


def attached(data: bytes | None = None, **more: Any) -> MapiAttachment:
    keys = {"name": PidTagAttachLongFilename, "mime": PidTagAttachMimeTag, "cid": PidTagAttachContentId}
    keys |= {"flags": PidTagAttachFlags, "method": PidTagAttachMethod, "path": PidTagAttachLongPathname}
    embedded, reason = more.pop("embedded", None), more.pop("reason", None)
    return MapiAttachment(PropertyBag.of({keys[k]: v for k, v in more.items()}), data, embedded, reason)


def item(values: dict[Any, Any] | None = None, **more: Any) -> MapiItem:
    named = more.pop("named", None)
    return MapiItem(PropertyBag.of({**PLAIN, **(values or {})}, named), **more)


def parsed(rebuilt: RebuiltMime) -> EmailMessage:
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", rebuilt.data)
    message = email.message_from_bytes(rebuilt.data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert list(message.keys()) == [name for name, _ in rebuilt.headers]
    for part in message.walk():
        assert not part.defects, (part.get_content_type(), part.defects)
    return message


def test_a_plain_message() -> None:
    rebuilt = to_mime(
        item(recipients=(row("Bo, Jr.", "bo@example.org"), row("", "c@example.org", 2), row("D", "d@x.de", 3)))
    )
    message = parsed(rebuilt)
    assert message["subject"] == "Hello"
    assert message["from"] == "Anna Meier <anna@example.org>"
    assert message["to"].addresses[0].display_name == "Bo, Jr."
    assert message["to"].addresses[0].addr_spec == "bo@example.org"
    assert message["cc"].addresses[0].addr_spec == "c@example.org"
    assert message["bcc"].addresses[0].addr_spec == "d@x.de"
    assert message["date"].datetime == MOMENT
    assert message["message-id"] == "<1@example.org>"
    assert message.get_content() == "One\r\ntwo\r\n"
    assert {origin for _, origin in rebuilt.headers} == {"synthesised"}
    assert message["X-Excise-Original-Headers"] == "none"
    assert rebuilt.notes == []


def test_no_message_id_is_made_up() -> None:
    assert "message-id" not in parsed(to_mime(item({PidTagInternetMessageId: None})))


TRANSPORT = (
    "Microsoft Mail Internet Headers Version 2.0\r\n"
    "Received: from a by b;\r\n\tFri, 1 Mar 2024 09:31:00 +0000\r\n"
    "Received: from c by a; Fri, 1 Mar 2024 09:30:00 +0000\r\n"
    "Content-Type: multipart/mixed; boundary=old\r\nMIME-Version: 1.0\r\n"
    'From: "Meier, Anna" <anna@example.org>\r\nSubject: =?utf-8?Q?H=C3=A9llo?=\r\n'
    "X-Odd: caf\u00e9 =?utf-8?Q?=41?= end\r\n"
    "To: J\u00f6rg <j@example.org>, k@example.org\r\n"
    "X-Excise-Note: forged\r\n"
    "\r\n--old\r\nContent-Type: text/plain\r\n"
)


def test_transport_headers_stay_in_order_and_are_marked() -> None:
    rebuilt = to_mime(item({PidTagTransportMessageHeaders: TRANSPORT, PidTagSubject: "Héllo"}))
    message = parsed(rebuilt)
    originals = [name for name, origin in rebuilt.headers if origin == "original"]
    assert originals == ["Received", "Received", "From", "Subject", "X-Odd", "To"]
    assert b"Received: from a by b;\r\n\tFri, 1 Mar 2024 09:31:00 +0000\r\n" in rebuilt.data
    assert message["subject"] == "Héllo"
    assert message["x-odd"] == "café A end"
    assert [a.addr_spec for a in message["to"].addresses] == ["j@example.org", "k@example.org"]
    assert message["to"].addresses[0].display_name == "Jörg"
    assert len(message.get_all("content-type")) == 1
    assert "forged" not in str(message)
    assert "Date" in message["X-Excise-Synthesised-Headers"]
    assert message["X-Excise-Original-Headers"] == "Received, From, Subject, X-Odd, To"
    assert len([n for n in rebuilt.notes if "recoded" in n]) == 2
    assert any("after the end" in n for n in rebuilt.notes)


def test_a_changed_subject_is_noted() -> None:
    rebuilt = to_mime(item({PidTagTransportMessageHeaders: "Subject: was this\r\n", PidTagSubject: "now that"}))
    assert parsed(rebuilt)["subject"] == "was this"
    assert any("now that" in note for note in rebuilt.notes)


@pytest.mark.parametrize("page", [1252, 65001, 932, 1200, 0])
def test_html_keeps_its_bytes_and_says_its_charset(page: int) -> None:
    text = "<p>Gr\u00fc\u00dfe</p>\r\n" if page != 932 else "<p>日本語</p>\r\n"
    html = text.encode({1252: "cp1252", 65001: "utf-8", 932: "cp932", 1200: "utf-16-le", 0: "utf-8"}[page])
    rebuilt = to_mime(item({PidTagHtml: html, PidTagInternetCodepage: page}))
    message = parsed(rebuilt)
    assert message.get_content_type() == "multipart/alternative"
    part = message.get_body(("html",))
    assert part is not None
    assert part.get_payload(decode=True) == html
    assert part.get_content() == text
    assert message.get_body(("plain",)).get_content() == "One\r\ntwo\r\n"


def test_attachments_inline_files_and_odd_names() -> None:
    names = ["r\u00e9sum\u00e9.pdf", 'quote".txt', "a" * 200 + ".doc", "\u202efdp.exe", "..\\..\\x\r\nBcc: evil@x", ""]
    files = [attached(bytes([n]) * 100, name=name or None, mime="application/pdf") for n, name in enumerate(names)]
    image = attached(b"\x89PNG", name="logo.png", mime="image/png", cid="logo@x", flags=4)
    by_reference = attached(b"GIF8", name="r.gif", mime="image/gif", cid="r@x", method=1)
    html = b'<img src="cid:logo@x"><img src=cid:r@x>'
    rebuilt = to_mime(item({PidTagHtml: html}, attachments=(image, *files, by_reference)))
    message = parsed(rebuilt)
    found = list(message.iter_attachments())
    assert [p.get_filename() for p in found] == [*names[:-1], None]
    assert [p.get_content() for p in found] == [bytes([n]) * 100 for n in range(len(names))]
    related = [p for p in message.walk() if p.get_content_type() == "multipart/related"]
    assert [p["content-id"] for p in related[0].iter_parts()] == [None, "<logo@x>", "<r@x>"]
    assert "bcc" not in message


def test_embedded_messages_and_their_notes() -> None:
    inner = item({PidTagSubject: "inner"}, attachments=(attached(b"data", name="deep.txt"), attached(reason="gone")))
    middle = item({PidTagSubject: "middle"}, attachments=(attached(embedded=inner, name="inner.msg"),))
    rebuilt = to_mime(item(attachments=(attached(embedded=middle, name="middle.msg"),)))
    message = parsed(rebuilt)
    subjects = [p.get_payload(0)["subject"] for p in message.walk() if p.get_content_type() == "message/rfc822"]
    assert subjects == ["middle", "inner"]
    assert [p.get_filename() for p in message.walk() if p.get_content_type() == "application/octet-stream"] == [
        "deep.txt"
    ]
    assert any(note.startswith("in attachment 1 (middle.msg): in attachment 1") for note in rebuilt.notes)


def test_nesting_is_bounded() -> None:
    deepest = item()
    for _ in range(MAX_EMBEDDING + 5):
        deepest = item(attachments=(attached(embedded=deepest, name="x"),))
    rebuilt = to_mime(deepest)
    assert rebuilt.data.count(b"message/rfc822") == MAX_EMBEDDING
    assert any("nested deeper" in note for note in rebuilt.notes)


def test_what_cannot_be_reached_is_left_out_and_said() -> None:
    lost = (
        attached(reason="libpff cannot reach embedded messages", name="lost.msg", method=5),
        attached(reason="it is a reference", name="link.doc", method=2, path="\\\\server\\link.doc"),
    )
    rebuilt = to_mime(item(attachments=lost))
    message = parsed(rebuilt)
    assert message.get_content_type() == "text/plain"
    assert len(rebuilt.notes) == 2
    assert "lost.msg" in rebuilt.notes[0]
    assert "server" in rebuilt.notes[1]
    assert len(message.get_all("x-excise-note")) == 2


def test_a_file_that_claims_to_be_a_message_comes_back_unchanged() -> None:
    message = parsed(to_mime(item(attachments=(attached(b"no message\n\n", name="x.eml", mime="message/rfc822"),))))
    part = next(message.iter_attachments())
    assert part.get_payload(decode=True) == b"no message\n\n"


def test_addresses_outside_the_internet_are_encapsulated() -> None:
    values = {
        PidTagSenderAddressType: "EX",
        PidTagSenderEmailAddress: "/o=Org/cn=Recipients/cn=anna",
        PidTagSenderName: "Anna",
    }
    rebuilt = to_mime(item(values))
    assert parsed(rebuilt)["from"].addresses[0].addr_spec == "IMCEAEX-_o=Org_cn=Recipients_cn=anna@excise.invalid"
    assert any("no Internet address" in note for note in rebuilt.notes)
    nameless = parsed(to_mime(item(recipients=(row("Only Name", ""),))))
    assert nameless["to"].addresses[0].display_name == "Only Name"


def test_small_header_fields() -> None:
    message = parsed(
        to_mime(
            item(
                {PidTagImportance: 2, PidTagInReplyToId: "<0@x>", PidTagInternetReferences: "<a@x> <b@x>"},
                named={(PidNameKeywords, PropertyType.String | 0x1000): ["Red", "Blau\u00e4"]},
            )
        )
    )
    assert message["importance"] == "high"
    assert message["in-reply-to"] == "<0@x>"
    assert message["references"] == "<a@x> <b@x>"
    assert message["keywords"] == "Red, Blau\u00e4"
    assert "importance" not in parsed(to_mime(item({PidTagImportance: 1})))


# -- other classes


def test_a_meeting_is_a_calendar_part() -> None:
    meeting = item(
        {PidTagMessageClass: "IPM.Schedule.Meeting.Request", PidTagSubject: "Plan; now\r\nEND:VCALENDAR"},
        named={
            (PidLidAppointmentStartWhole, PropertyType.Time): MOMENT,
            (PidLidAppointmentEndWhole, PropertyType.Time): MOMENT.replace(hour=10),
            (PidLidLocation, PropertyType.String): "Room, 1",
            (PidLidRecurring, PropertyType.Boolean): True,
        },
        recipients=(row("Bo", "bo@example.org"),),
    )
    rebuilt = to_mime(meeting)
    part = next(p for p in parsed(rebuilt).walk() if p.get_content_type() == "text/calendar")
    assert part.get_param("method") == "REQUEST"
    lines = part.get_content().replace("\r\n ", "").split("\r\n")
    assert "DTSTART:20240301T093000Z" in lines
    assert "DTEND:20240301T103000Z" in lines
    assert "LOCATION:Room\\, 1" in lines
    assert "SUMMARY:Plan\\; now\\nEND:VCALENDAR" in lines
    assert 'ATTENDEE;CN="Bo";ROLE=REQ-PARTICIPANT:mailto:bo@example.org' in lines
    assert lines.count("END:VCALENDAR") == 1
    assert any("recurs" in note for note in rebuilt.notes)


def test_a_task_and_a_contact_and_a_list() -> None:
    task = item(
        {PidTagMessageClass: "IPM.Task"},
        named={(PidLidTaskDueDate, PropertyType.Time): MOMENT.replace(hour=0, minute=0)},
    )
    assert (
        "DUE;VALUE=DATE:20240301"
        in next(p for p in parsed(to_mime(task)).walk() if p.get_content_type() == "text/calendar").get_content()
    )
    contact = item(
        {PidTagMessageClass: "IPM.Contact", PidTagDisplayName: "Bo B", PidTagSurname: "B;x"},
        named={(PidLidEmail1EmailAddress, PropertyType.String): "bo@example.org"},
    )
    card = next(p for p in parsed(to_mime(contact)).walk() if p.get_content_type() == "text/vcard").get_content()
    assert "FN:Bo B\r\n" in card
    assert "N:B\\;x;;;;\r\n" in card
    assert "EMAIL:bo@example.org\r\n" in card
    from excise.mapi.addresses import build_one_off

    members = {
        (PidLidDistributionListOneOffMembers, PropertyType.Binary | 0x1000): [build_one_off("M", "m@example.org")]
    }
    group = item({PidTagMessageClass: "IPM.DistList"}, named=members)
    text = next(p for p in parsed(to_mime(group)).walk() if p.get_content_type() == "text/vcard").get_content()
    assert "MEMBER:mailto:m@example.org\r\n" in text


SIGNED = (
    b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n\tmicalg=sha1; boundary="b"\r\n\r\n'
    b"preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\nsigned text \r\n--b\r\n"
    b"Content-Type: application/pkcs7-signature\r\n\r\nMIIB\r\n--b--\r\n"
)


def test_a_signed_message_is_restored_as_it_was() -> None:
    signed = item(
        {PidTagMessageClass: "IPM.Note.SMIME.MultipartSigned"},
        attachments=(attached(SIGNED, name="smime.p7m", mime="multipart/signed"),),
    )
    rebuilt = to_mime(signed)
    message = parsed(rebuilt)
    assert message.get_content_type() == "multipart/signed"
    assert message.get_param("micalg") == "sha1"
    assert rebuilt.data.endswith(SIGNED.partition(b"\r\n\r\n")[2])


def test_an_encrypted_message_is_kept_opaque() -> None:
    blob = b"\x30\x82\x01\x00" + bytes(range(256))
    sealed = item(
        {PidTagMessageClass: "IPM.Note.SMIME"},
        attachments=(attached(blob, name="smime.p7m", mime="application/pkcs7-mime; smime-type=enveloped-data"),),
    )
    message = parsed(to_mime(sealed))
    assert message.get_content_type() == "application/pkcs7-mime"
    assert message.get_param("smime-type") == "enveloped-data"
    assert message.get_payload(decode=True) == blob


def test_a_false_smime_class_is_said() -> None:
    rebuilt = to_mime(item({PidTagMessageClass: "IPM.Note.SMIME"}, attachments=(attached(b"text", name="a.txt"),)))
    assert [p.get_filename() for p in parsed(rebuilt).iter_attachments()] == ["a.txt"]
    assert any("S/MIME" in note for note in rebuilt.notes)


def test_rtf_only() -> None:
    import compressed_rtf

    rtf = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}\pard gr\'fc\'dfe\par}"
    rebuilt = to_mime(item({PidTagBody: None, PidTagRtfCompressed: compressed_rtf.compress(rtf)}))
    message = parsed(rebuilt)
    assert [p.get_content_type() for p in message.iter_parts()] == ["text/plain", "text/rtf"]
    assert message.get_body(("plain",)).get_content() == "grüße\r\n"
    assert list(message.iter_parts())[1].get_payload(decode=True) == rtf


# -- hostile input

ANY = st.text(max_size=60)
LINES = st.lists(st.text(st.sampled_from('aB:=?\r\n\t \0\x0b\x85é\ud800<>@,;"(\\'), max_size=30), max_size=6).map(
    "\r\n".join
)


@settings(max_examples=150, deadline=None)
@given(ANY, ANY, LINES, ANY, st.lists(st.tuples(ANY, st.binary(max_size=50)), max_size=3), ANY)
def test_hostile_properties_never_start_a_field(
    subject: str, name: str, block: str, address: str, files: list[tuple[str, bytes]], cid: str
) -> None:
    hostile = item(
        {
            PidTagSubject: subject,
            PidTagSenderName: name,
            PidTagSenderEmailAddress: address,
            PidTagInternetMessageId: None,
            PidTagTransportMessageHeaders: "X-Kept: 1\r\n" + block,
            PidTagBody: name,
        },
        recipients=(row(name, address), row(subject, "x@y.org")),
        attachments=tuple(attached(data, name=n or None, mime=cid, cid=cid) for n, data in files),
    )
    rebuilt = to_mime(hostile)
    assert to_mime(hostile) == rebuilt
    head = rebuilt.data.partition(b"\r\n\r\n")[0]
    names = [m.group(1).decode() for m in re.finditer(rb"(?m)^([!-9;-~]+):", head)]
    assert names == [n for n, _ in rebuilt.headers]
    assert head.isascii()
    message = email.message_from_bytes(rebuilt.data, policy=policy.compat32)
    assert [n for n, _ in rebuilt.headers] == message.keys()
    leaves = [p for p in message.walk() if p.get_content_disposition()]
    assert [p.get_payload(decode=True) for p in leaves] == [data for _, data in files]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=120))
def test_any_subject_comes_back(subject: str) -> None:
    rebuilt = to_mime(item({PidTagSubject: "\x01\x01" + subject}))
    message = email.message_from_bytes(rebuilt.data, policy=policy.default)
    assert str(message["subject"]) == clean(subject.rstrip("\0")).replace("\n", "")


@settings(max_examples=100, deadline=None)
@example("<>")
@example('"a"')
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=120))
def test_any_attachment_name_comes_back(name: str) -> None:
    rebuilt = to_mime(item(attachments=(attached(b"x", name=name),)))
    message = email.message_from_bytes(rebuilt.data, policy=policy.default)
    # Not by get_filename(): it strips white space, and angle brackets and quotes around a name.
    found = next(message.iter_attachments())["content-disposition"].params.get("filename")
    assert found == (name.rstrip("\0") if name.strip("\0").strip() else None)


@settings(max_examples=100, deadline=None)
@given(st.text("ab =\t.\xe9\r\n", max_size=300), st.binary(max_size=300))
def test_bodies_come_back(text: str, html: bytes) -> None:
    rebuilt = to_mime(item({PidTagBody: text, PidTagHtml: html}))
    message = email.message_from_bytes(rebuilt.data, policy=policy.default)
    plain, page = list(message.iter_parts())
    assert plain.get_payload(decode=True).decode() == re.sub("\r\n|\r|\n", "\r\n", text.rstrip("\0"))
    assert page.get_payload(decode=True) == html.rstrip(b"\0")


@pytest.mark.parametrize(
    "block",
    [
        "To: \u00e9 " + "a@b.c, " * 50_000,
        "From: \u00e9" + "(" * 100_000,
        "From: \u00e9" + '"\\"' * 50_000,
        "Subject: " + "=?utf-8?Q?a?= " * 50_000 + "\u00e9",
        "X: 1\r\n" * 100_000,
        "X: " + "a" * 1_000_000,
        "X: a\r\n" + " b\r\n" * 200_000,
    ],
)
def test_large_transport_headers_cost_little(block: str) -> None:
    started = time.process_time()
    rebuilt = to_mime(item({PidTagTransportMessageHeaders: block}))
    assert time.process_time() - started < 5
    assert rebuilt.headers
