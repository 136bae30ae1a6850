"""The original in an item: given back byte for byte while the item is what was made of it, and never afterwards."""

from __future__ import annotations

import email
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import policy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.mapi import tags as t
from excise.mapi.content_digest import COMPARED, content_digest
from excise.mapi.from_mime import (
    PidNameOriginalContent,
    PidNameOriginalMime,
    PidNameOriginalSha256,
    from_mime,
    original_mime,
)
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag, RawProperty
from excise.mapi.tags import PropertyTag, PropertyType
from excise.mapi.to_mime import to_mime

MAIL = (
    b"Received: from a by b; Fri, 1 Mar 2024 09:31:00 +0000\nFrom: J\xc3\xb6rg <j@example.org>\nSender: s@example.org\n"
    b"To: Bo <bo@example.org>, Cy <cy@example.org>\nBcc: d@example.org\nReply-To: r@example.org\n"
    b"Date: Fri, 1 Mar 2024 10:30:00 +0100\nsubject:   RE: Plan\nMessage-ID: <1@example.org>\nIn-Reply-To: <0@x>\n"
    b"List-Help: <mailto:h@x>\nContent-Type: multipart/mixed;   boundary=m\n\nA preamble.\n"
    b"--m\nContent-Type: multipart/alternative; boundary=a\n\n"
    b"--a\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9=\n\n"
    b"--a\nContent-Type: text/html\n\n<p>cafe<img src=cid:i@x></p>\n--a--\n"
    b"--m\nContent-Type: image/png\nContent-ID: <i@x>\nContent-Transfer-Encoding: base64\n\nAAEC\n"
    b"--m\nContent-Type: application/pdf; name=a.pdf\n\n%PDF\n"
    b"--m\nContent-Type: application/pdf; name=b.pdf\n\n%PDF-2\n"
    b"--m\nContent-Type: message/rfc822\n\nSubject: Inner\nDate: Fri, 1 Mar 2024 10:30:00 +0100\n\n"
    b"hello\n--m--\nAn epilogue."
)
STORED = from_mime(MAIL, keep_original=True)


def as_stored(item: MapiItem, depth: int = 0) -> MapiItem:
    """``item`` as a PST may give it back: other order, other ids of names, what a store adds, what it computes."""
    computed = {t.PidTagSubjectPrefix, t.PidTagNormalizedSubject, t.PidTagDisplayTo, t.PidTagDisplayBcc}
    kept = [p for p in item.properties if p.tag not in computed]
    prefix = item.properties.text(t.PidTagSubjectPrefix) or ""
    subject = f"\x01{chr(1 + len(prefix))}{item.subject}"
    kept = [p for p in kept if p.tag not in (t.PidTagSubject, t.PidTagMessageFlags)]
    moved = [RawProperty(PropertyTag(p.tag.id + 0x100, p.tag.type), p.raw, p.name) if p.name else p for p in kept]
    added = PropertyBag.of(
        {
            t.PidTagSubject: subject,
            t.PidTagMessageFlags: 0x11,
            t.PidTagSearchKey: b"k" * 16,
            t.PidTagCreationTime: datetime(2030, 1, 1, tzinfo=UTC),
            t.PidTagLastModificationTime: datetime(2030, 1, 1, tzinfo=UTC),
            t.PidTagMessageSize: 12345,
            PropertyTag.parse(0x30130102): b"c" * 16,
            PropertyTag.parse(0x67F20003): depth + 1,
            PropertyTag.parse(0x10900003): 2,
            t.PidTagDisplayCc: "",
        }
    )
    rows = [PropertyBag([*row, RawProperty(PropertyTag.parse(0x67F30003), b"\1\0\0\0")]) for row in item.recipients]
    attachments = []
    for one in item.attachments:
        size = PropertyBag.of({t.PidTagAttachSize: 99, t.PidTagCreationTime: datetime(2030, 1, 1, tzinfo=UTC)})
        inner = None if one.embedded is None else as_stored(one.embedded, depth + 1)
        attachments.append(MapiAttachment(PropertyBag([*one.properties, *size]), one.data, inner, one.reason))
    shuffled = [*moved, *added]
    random.Random(7).shuffle(shuffled)
    return MapiItem(PropertyBag(shuffled), tuple(reversed(rows)), tuple(reversed(attachments)))


def test_the_original_comes_back_from_a_store() -> None:
    stored = as_stored(STORED)
    assert stored.subject == "RE: Plan"
    assert original_mime(stored) == MAIL
    rendered = to_mime(stored)
    assert (rendered.data, rendered.is_original) == (MAIL, True)
    names = [name for name, _ in rendered.headers]
    assert names == [line.partition(":")[0] for line in MAIL.partition(b"\n\n")[0].decode().split("\n")]
    assert {origin for _, origin in rendered.headers} == {"original"}


def test_what_only_the_original_holds_is_not_said_to_be_missing() -> None:
    assert len(STORED.notes) == 2
    assert to_mime(STORED).notes == []
    assert to_mime(replace(STORED, notes=("the folder is odd", *STORED.notes))).notes == ["the folder is odd"]


def edited(item: MapiItem, values: dict[Any, Any]) -> MapiItem:
    ids = {tag.id for tag in values}
    kept = [p for p in item.properties if p.tag.id not in ids]
    return replace(item, properties=PropertyBag([*kept, *PropertyBag.of(values)]))


def attachment_edited(item: MapiItem, index: int, **more: Any) -> MapiItem:
    attachments = list(item.attachments)
    attachments[index] = replace(attachments[index], **more)
    return replace(item, attachments=tuple(attachments))


def inner_edited(item: MapiItem) -> MapiItem:
    index = next(i for i, a in enumerate(item.attachments) if a.embedded)
    inner = item.attachments[index].embedded
    assert inner is not None
    return attachment_edited(item, index, embedded=edited(inner, {t.PidTagBody: "another"}))


def row_edited(item: MapiItem, values: dict[Any, Any]) -> MapiItem:
    rows = list(item.recipients)
    ids = {tag.id for tag in values}
    rows[0] = PropertyBag([*(p for p in rows[0] if p.tag.id not in ids), *PropertyBag.of(values)])
    return replace(item, recipients=tuple(rows))


HTML = b"<p>cafe<img src=cid:i@x> </p>"
NO_ADDRESS = {t.PidTagSmtpAddress: "x@x", t.PidTagEmailAddress: "x@x"}
EDITS: dict[str, Callable[[MapiItem], MapiItem]] = {
    "subject": lambda i: edited(i, {t.PidTagSubject: "RE: Plan B"}),
    "text": lambda i: edited(i, {t.PidTagBody: "caf\u00e9 "}),
    "no text": lambda i: edited(i, {t.PidTagBody: None}),
    "html": lambda i: edited(i, {t.PidTagHtml: HTML}),
    "rtf added": lambda i: edited(i, {t.PidTagRtfCompressed: b"rtf"}),
    "code page": lambda i: edited(i, {t.PidTagInternetCodepage: 1252}),
    "headers": lambda i: edited(i, {t.PidTagTransportMessageHeaders: "Subject: RE: Plan\r\n"}),
    "no headers": lambda i: edited(i, {t.PidTagTransportMessageHeaders: None}),
    "class": lambda i: edited(i, {t.PidTagMessageClass: "IPM.Note.Custom"}),
    "importance": lambda i: edited(i, {t.PidTagImportance: 2}),
    "sent": lambda i: edited(i, {t.PidTagClientSubmitTime: datetime(2024, 3, 2, tzinfo=UTC)}),
    "delivered": lambda i: edited(i, {t.PidTagMessageDeliveryTime: None}),
    "sender": lambda i: edited(i, {t.PidTagSentRepresentingSmtpAddress: "x@x"}),
    "one recipient less": lambda i: replace(i, recipients=i.recipients[1:]),
    "one recipient more": lambda i: replace(i, recipients=(*i.recipients, i.recipients[0])),
    "recipient's address": lambda i: row_edited(i, NO_ADDRESS),
    "recipient's name": lambda i: row_edited(i, {t.PidTagDisplayName: "x"}),
    "recipient's kind": lambda i: row_edited(i, {t.PidTagRecipientType: 2}),
    "no attachments": lambda i: replace(i, attachments=()),
    "one attachment less": lambda i: replace(i, attachments=i.attachments[1:]),
    "one attachment more": lambda i: replace(i, attachments=(*i.attachments, i.attachments[0])),
    "attachment's bytes": lambda i: attachment_edited(i, 1, data=b"%PDF "),
    "attachment emptied": lambda i: attachment_edited(i, 1, data=b""),
    "attachment unreadable": lambda i: attachment_edited(i, 1, data=None, reason="cannot be read"),
    "attachment's name": lambda i: attachment_edited(i, 1, properties=i.attachments[2].properties),
    "attached message": inner_edited,
    "original": lambda i: replace(
        i,
        properties=PropertyBag(
            RawProperty(p.tag, b"X" + p.raw, p.name) if p.name == PidNameOriginalMime else p for p in i.properties
        ),
    ),
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("stored", [False, True])
def test_an_item_that_was_edited_does_not_give_the_old_mail(name: str, stored: bool) -> None:
    item = EDITS[name](STORED)
    item = as_stored(item) if stored else item
    assert original_mime(item) is None
    rendered = to_mime(item)
    assert not rendered.is_original
    assert rendered.data != MAIL
    assert b"A preamble." not in rendered.data
    assert MAIL[-200:] not in rendered.data


def test_an_original_of_another_message_is_not_given() -> None:
    """Anybody can put these three properties into a .msg or TNEF file, digests and all."""
    other = from_mime(b"Subject: harmless\n\nx")
    named = {
        (PidNameOriginalMime, PropertyType.Binary): MAIL,
        (PidNameOriginalSha256, PropertyType.String): STORED.properties.text(PidNameOriginalSha256) or "",
        (PidNameOriginalContent, PropertyType.String): content_digest(other),
    }
    forged = replace(other, properties=PropertyBag([*other.properties, *PropertyBag.of({}, named)]))
    assert original_mime(forged) is None
    assert b"harmless" in to_mime(forged).data


@pytest.mark.parametrize("missing", [PidNameOriginalMime, PidNameOriginalSha256, PidNameOriginalContent])
def test_an_original_without_its_digests_is_not_given(missing: Any) -> None:
    bag = PropertyBag(p for p in STORED.properties if p.name != missing)
    assert original_mime(replace(STORED, properties=bag)) is None
    assert original_mime(from_mime(MAIL)) is None


def test_a_store_may_fill_in_times_that_the_mail_lacks() -> None:
    item = from_mime(b"Subject: x\n\nbody", keep_original=True)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    item = edited(item, {t.PidTagClientSubmitTime: now, t.PidTagMessageDeliveryTime: now})
    assert original_mime(item) == b"Subject: x\n\nbody"


#: What from_mime writes and the digest does not look at, each with the reason.
NOT_COMPARED = {
    t.PidTagSubject: "by its own rule",
    t.PidTagMessageClass: "by its own rule",
    t.PidTagClientSubmitTime: "by its own rule",
    t.PidTagMessageDeliveryTime: "by its own rule",
    t.PidTagInternetCodepage: "beside HTML",
    t.PidTagNativeBody: "of the bodies",
    t.PidTagSubjectPrefix: "of the subject",
    t.PidTagNormalizedSubject: "of the subject",
    t.PidTagConversationTopic: "of the headers",
    t.PidTagConversationIndex: "of the headers",
    t.PidTagMessageFlags: "the read mark, and of the attachments",
    t.PidTagDisplayTo: "of the recipients",
    t.PidTagDisplayCc: "of the recipients",
    t.PidTagDisplayBcc: "of the recipients",
}


def test_no_property_is_forgotten() -> None:
    people = {getattr(t, name) for name in dir(t) if name.startswith(("PidTagSender", "PidTagSentRepresenting"))}
    written = {p.tag for p in STORED.properties if p.name is None} - people
    assert written <= set(COMPARED) | NOT_COMPARED.keys()


def test_an_attached_original_comes_back_inside_another_message() -> None:
    outer = from_mime(b"Subject: outer\r\n\r\nsee attached")
    bag = PropertyBag.of({t.PidTagAttachMethod: 5, t.PidTagDisplayName: "m"})
    item = replace(outer, attachments=(MapiAttachment(bag, embedded=STORED),))
    rendered = to_mime(item)
    assert not rendered.is_original
    assert b"Content-Transfer-Encoding: binary\r\n\r\n" + MAIL + b"\r\n--" in rendered.data
    message = email.message_from_bytes(rendered.data, policy=policy.default)
    assert message["content-transfer-encoding"] == "binary"
    assert message.get_payload(1).get_payload(0)["subject"] == "RE: Plan"


STARTS = [b"", MAIL[:700], MAIL[:1100], b"Subject: \xff\r\nContent-Type: text/x; charset=", b"a\rSubject: b\r\r"]


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from(STARTS))
def test_any_bytes_give_an_item_and_the_original_back(tail: bytes, start: bytes) -> None:
    item = from_mime(start + tail, keep_original=True)
    assert original_mime(as_stored(item)) == start + tail
    assert to_mime(item).data == start + tail
    assert not to_mime(from_mime(start + tail)).is_original
