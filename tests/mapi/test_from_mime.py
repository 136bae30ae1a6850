"""MIME to MAPI, and back through to_mime."""

from __future__ import annotations

import email
from datetime import UTC, datetime
from email import policy

from excise.mapi import tags as t
from excise.mapi.from_mime import from_mime
from excise.mapi.to_mime import to_mime

MAIL = (
    b"Received: from a by b; Fri, 1 Mar 2024 09:31:00 +0000\r\n"
    b"From: =?utf-8?Q?J=C3=B6rg?= <j@example.org>\r\nTo: Bo <bo@example.org>\r\nCc: c@example.org\r\n"
    b"Date: Fri, 1 Mar 2024 10:30:00 +0100\r\nSubject: RE: Plan\r\nMessage-ID: <1@example.org>\r\n"
    b"Importance: high\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n"
    b"--a\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>caf\xe9<img src=cid:i@x></p>\r\n--a--\r\n"
    b"--m\r\nContent-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    b"--m\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''%C3%A9.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n"
    b"--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\nhello\r\n--m--\r\n"
)


def test_a_mail_of_each_kind_of_part() -> None:
    item = from_mime(MAIL)
    bag = item.properties
    assert (item.subject, bag.text(t.PidTagNormalizedSubject), item.representing.name) == ("RE: Plan", "Plan", "Jörg")
    assert item.submitted == datetime(2024, 3, 1, 9, 30, tzinfo=UTC)
    assert item.delivered == datetime(2024, 3, 1, 9, 31, tzinfo=UTC)
    assert bag.text(t.PidTagBody) == "café"
    assert (bag.binary(t.PidTagHtml) or b"").decode() == "<p>café<img src=cid:i@x></p>"
    assert bag.integer(t.PidTagImportance) == 2
    assert (len(item.recipients), bag.text(t.PidTagDisplayTo)) == (2, "Bo")
    image, pdf, inner = item.attachments
    assert (image.inline, image.data, pdf.name, pdf.data) == (True, b"\0\1\2", "é.pdf", b"%PDF")
    assert inner.embedded is not None
    assert inner.embedded.subject == "Inner"
    back = email.message_from_bytes(to_mime(item).data, policy=policy.default)
    assert (back["subject"], back["to"], back["message-id"]) == ("RE: Plan", "Bo <bo@example.org>", "<1@example.org>")


def test_signed_mail_is_one_attachment_and_comes_back() -> None:
    body = b"--s\r\nContent-Type: text/plain\r\n\r\nsigned\r\n--s--\r\n"
    head = b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n boundary=s\r\n'
    data = b"Subject: s\r\n" + head + b"\r\n" + body
    item = from_mime(data)
    assert item.message_class == "IPM.Note.SMIME.MultipartSigned"
    assert [(a.data, a.name, a.mime_type) for a in item.attachments] == [
        (head + b"\r\n" + body, "smime.p7m", "multipart/signed")
    ]
    assert item.properties.text(t.PidTagBody) == "signed"
    assert to_mime(item).data.endswith(b"\r\n\r\n" + body)


def test_two_bodies_that_are_no_alternatives_are_both_seen() -> None:
    data = b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\none\r\n"
    data += b"--m\r\nContent-Type: text/html\r\n\r\ntwo\r\n--m--\r\n"
    item = from_mime(data)
    assert item.properties.text(t.PidTagBody) == "one"
    assert [a.data for a in item.attachments] == [b"two"]


def test_deep_nesting_is_no_error() -> None:
    data = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    item = from_mime(data)
    assert [a.data for a in item.attachments] == [
        data[data.index(b"Content-Type: multipart/mixed; boundary=b24\r\n") :]
    ]
    assert "nested deeper than 24" in item.notes[-1]
