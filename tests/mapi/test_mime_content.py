"""Bodies, attachments and embedded messages that are made of MIME: each value, byte for byte."""

from __future__ import annotations

import base64
import time

import pytest

from excise.mapi import tags as t
from excise.mapi.from_mime import from_mime
from excise.mapi.item import MAX_EMBEDDING, AttachMethod, MapiItem
from excise.mapi.to_mime import to_mime


def mixed(*parts: bytes, before: bytes = b"", behind: bytes = b"") -> bytes:
    lines = b"".join(b"--m\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/mixed; boundary=m\r\n\r\n" + before + lines + b"--m--\r\n" + behind


INNER = b"subject:  Inner \nX-Odd:\tb\xfcro\nContent-Type: application/x\n\n\x00\xff no line end"


@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
def test_an_attached_message_is_read_from_its_own_bytes(encoding: str) -> None:
    body = {
        "7bit": INNER,
        "base64": base64.encodebytes(INNER),
        "quoted-printable": b"".join(b"=%02X" % byte if byte != 10 else b"=0A=\n" for byte in INNER),
    }[encoding]
    head = b"Content-Type: message/rfc822; name=fwd.eml\r\nContent-Transfer-Encoding: " + encoding.encode()
    item = from_mime(mixed(b"\r\nbody", head + b"\r\n\r\n" + body))
    (attached,) = item.attachments
    assert (attached.method, attached.name) == (AttachMethod.EmbeddedMessage, "fwd.eml")
    inner = attached.embedded
    assert inner is not None
    assert inner.subject == "Inner"
    assert inner.transport_headers == "subject:  Inner \r\nX-Odd:\tbüro\r\nContent-Type: application/x\r\n"
    assert [a.data for a in inner.attachments] == [b"\x00\xff no line end"]
    assert (item.notes, inner.notes) == ((), ())


def test_a_message_without_a_name_is_shown_by_its_subject() -> None:
    (attached,) = from_mime(mixed(b"Content-Type: message/rfc822\r\n\r\nSubject: Hi\r\n\r\nx")).attachments
    assert attached.properties.text(t.PidTagDisplayName) == "Hi"
    assert attached.properties.text(t.PidTagAttachLongFilename) is None


def test_a_digest_holds_messages() -> None:
    data = b"Content-Type: multipart/digest; boundary=m\r\n\r\n--m\r\n\r\nSubject: 1\r\n\r\none\r\n--m--\r\n"
    (attached,) = from_mime(data).attachments
    assert attached.embedded is not None
    assert (attached.embedded.subject, attached.embedded.properties.text(t.PidTagBody)) == ("1", "one")


STATUS = b"Reporting-MTA: dns;\tx\n\nFinal-Recipient: rfc822; a@b\nACTION: failed\n\n"


@pytest.mark.parametrize("kind", ["delivery-status", "disposition-notification", "partial; id=1", "external-body"])
def test_other_message_types_keep_their_bytes(kind: str) -> None:
    item = from_mime(mixed(b"Content-Type: message/" + kind.encode() + b"\r\n\r\n" + STATUS))
    assert [(a.data, a.mime_type) for a in item.attachments] == [(STATUS, f"message/{kind.partition(';')[0]}")]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("delivery-status", STATUS, "REPORT.IPM.Note.NDR"),
        ("delivery-status", b"Action: delivered", "REPORT.IPM.Note.DR"),
        ("disposition-notification", b"Disposition: a/b; displayed", "REPORT.IPM.Note.IPNRN"),
        ("disposition-notification", b"Disposition: a/b; deleted", "REPORT.IPM.Note.IPNNRN"),
        ("feedback-report", b"Feedback-Type: abuse", "IPM.Note"),
    ],
)
def test_reports_have_their_class_and_keep_what_they_report(kind: str, text: bytes, expected: str) -> None:
    head = b"Content-Type: multipart/report; boundary=m; report-type=" + kind.encode() + b"\r\n\r\n"
    parts = [b"Content-Type: text/plain\r\n\r\nCould not"]
    parts.append(b"Content-Type: message/" + kind.encode() + b"\r\n\r\n" + text)
    parts.append(b"Content-Type: message/rfc822\r\n\r\nSubject: was this\r\n\r\nx")
    item = from_mime(head + mixed(*parts).partition(b"\r\n\r\n")[2])
    assert item.message_class == expected
    assert item.properties.text(t.PidTagBody) == "Could not"
    assert item.attachments[0].data == text
    assert item.attachments[1].embedded is not None
    assert item.attachments[1].embedded.subject == "was this"


def test_what_belongs_to_no_part_is_noted() -> None:
    item = from_mime(mixed(b"\r\nbody", before=b"This is MIME.\r\n", behind=b"\r\nfooter of a list\r\n"))
    assert item.properties.text(t.PidTagBody) == "body"
    assert item.notes == (
        "15 bytes before the first part of a multipart belong to no part and are left out",
        "20 bytes behind the last part of a multipart belong to no part and are left out",
    )
    assert from_mime(mixed(b"\r\nbody", before=b"\r\n", behind=b"\r\n\r\n")).notes == ()


@pytest.mark.parametrize(
    ("data", "body", "note"),
    [
        (b"Content-Type: multipart/mixed\r\n\r\ntext", "text", "names no boundary"),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\ntext", "text", "does not occur"),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext", "text", "last boundary is missing"),
        (b"Content-Transfer-Encoding: base64\r\n\r\ndGV4d", "tex", "base64 text is not whole"),
        (b"Content-Transfer-Encoding: x-own\r\n\r\ntext", "text", "unknown transfer encoding"),
        (b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xe9t\xe9", "été", "not in the charset"),
        (b"\r\nte\0xt", "text", "1 NUL characters"),
    ],
)
def test_damage_is_noted_and_its_text_kept(data: bytes, body: str, note: str) -> None:
    item = from_mime(data)
    assert item.properties.text(t.PidTagBody) == body
    assert len(item.notes) == 1
    assert note in item.notes[0]


def test_too_many_parts_are_kept_as_they_stand() -> None:
    data = b"Subject: s\r\n" + mixed(*[b"\r\nx"] * 10_001)
    item = from_mime(data)
    assert [a.data for a in item.attachments] == [data]
    assert "more than 10,000 parts" in item.notes[0]


def test_messages_are_followed_to_a_depth_and_kept_below_it() -> None:
    deepest = b"Subject: deepest\r\n\r\nx"
    data = deepest
    for number in range(MAX_EMBEDDING + 1):
        data = b"Subject: %d\r\nContent-Type: message/rfc822\r\n\r\n" % number + data
    items = list(from_mime(data).walk())
    assert len(items) == MAX_EMBEDDING + 1
    (last,) = items[-1].attachments
    assert (last.data, last.mime_type, last.method) == (deepest, "message/rfc822", AttachMethod.ByValue)
    assert f"deeper than {MAX_EMBEDDING}" in items[-1].notes[0]
    assert b"deepest" not in to_mime(from_mime(data)).data  # it is there in base64
    assert base64.b64encode(deepest) in to_mime(from_mime(data)).data


# -- bodies


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("iso-8859-1", "cp1252", "caf\u00e9 \u201cquoted\u201d"),
        ("koi8-r", "koi8-r", "\u041f\u0440\u0438\u0432\u0435\u0442"),
        ("ISO-2022-JP", "iso2022_jp", "\u65e5\u672c\u8a9e"),
        ("gb2312", "gb18030", "\u4e2d\u6587"),
        ("utf-16le", "utf-16-le", "wide"),
    ],
)
def test_html_is_transcoded_and_says_so(charset: str, codec: str, text: str) -> None:
    html = f'<html><META http-equiv=x content="text/html; charset={charset}"><p>{text}</p></html>'
    head = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
    bag = from_mime(head + base64.encodebytes(html.encode(codec))).properties
    assert (bag.binary(t.PidTagHtml) or b"").decode() == html.replace(f"charset={charset}", "charset=utf-8")
    assert (bag.integer(t.PidTagInternetCodepage), bag.integer(t.PidTagNativeBody)) == (65001, 3)
    assert t.PidTagBody not in bag


def test_html_without_a_charset_is_read_by_its_meta() -> None:
    html = "<meta charset='windows-1251'>\u041f"
    bag = from_mime(b"Content-Type: text/html\r\n\r\n" + html.encode("cp1251")).properties
    assert (bag.binary(t.PidTagHtml) or b"").decode() == "<meta charset='utf-8'>\u041f"


def test_plain_text_is_native() -> None:
    bag = from_mime(b"\r\n \r\n line \r\n").properties
    assert bag.text(t.PidTagBody) == " \r\n line \r\n"
    assert (bag.integer(t.PidTagNativeBody), bag.integer(t.PidTagInternetCodepage)) == (1, 65001)


def test_a_second_alternative_of_the_same_kind_is_attached() -> None:
    alternative = b"Content-Type: multipart/alternative; boundary=a\r\n\r\n"
    for kind, text in ((b"plain", b"one"), (b"html", b"two"), (b"html", b"three"), (b"x-amp-html", b"four")):
        alternative += b"--a\r\nContent-Type: text/" + kind + b"\r\n\r\n" + text + b"\r\n"
    item = from_mime(mixed(alternative + b"--a--", b"Content-Type: text/html\r\n\r\nfive"))
    assert (item.properties.text(t.PidTagBody), item.properties.binary(t.PidTagHtml)) == ("one", b"two")
    assert [a.data for a in item.attachments] == [b"three", b"four", b"five"]


# -- attachments


def attached(name: bytes, kind: bytes = b"application/pdf", more: bytes = b"") -> bytes:
    return (
        b"Content-Type: "
        + kind
        + b'\r\nContent-Disposition: attachment; filename="'
        + name
        + b'"\r\n'
        + more
        + b"\r\nx"
    )


@pytest.mark.parametrize(
    ("name", "short", "extension"),
    [
        ("a.txt", "A.TXT", ".txt"),
        ("ABCDEFGH.PDF", "ABCDEFGH.PDF", ".PDF"),
        ("quarterly report.docx", "QUARTE~1.DOC", ".docx"),
        ("archive.tar.gz", "ARCHIV~1.GZ", ".gz"),
        ("README", "README", None),
        (".htaccess", "HTACCE~1", None),
        ("\u65e5\u672c.pdf", "ATT~1.PDF", ".pdf"),
        ("r\u00e9sum\u00e9.pdf", "RSUM~1.PDF", ".pdf"),
    ],
)
def test_short_names_and_extensions(name: str, short: str, extension: str | None) -> None:
    (found,) = from_mime(mixed(attached(name.encode()))).attachments
    bag = found.properties
    assert (bag.text(t.PidTagAttachLongFilename), bag.text(t.PidTagDisplayName)) == (name, name)
    assert (bag.text(t.PidTagAttachFilename), bag.text(t.PidTagAttachExtension)) == (short, extension)
    assert (bag.integer(t.PidTagRenderingPosition), found.mime_type) == (-1, "application/pdf")


def test_short_names_differ_within_a_message() -> None:
    names = [b"long name one.txt", b"long name two.txt", b"A.TXT", b"a.txt", b"long name three.txt"]
    found = from_mime(mixed(*map(attached, names))).attachments
    short = [a.properties.text(t.PidTagAttachFilename) for a in found]
    assert short == ["LONGNA~1.TXT", "LONGNA~2.TXT", "A.TXT", "A~1.TXT", "LONGNA~3.TXT"]


def test_no_name_is_made_up() -> None:
    (found,) = from_mime(mixed(b"Content-Type: image/png\r\n\r\nx")).attachments
    assert found.names == ()
    assert found.properties.text(t.PidTagAttachExtension) is None


def flags(item: MapiItem) -> list[tuple[int | None, bool | None]]:
    bags = [a.properties for a in item.attachments]
    return [(bag.integer(t.PidTagAttachFlags), bag.boolean(t.PidTagAttachmentHidden)) for bag in bags]


def test_only_what_the_body_shows_is_hidden() -> None:
    html = b'Content-Type: text/html\r\n\r\n<img src="CID:Logo%40x"><img src=cid:file@x>'
    logo = b"Content-Type: image/png\r\nContent-ID: <logo@x>\r\n\r\nlogo"
    other = b"Content-Type: image/png\r\nContent-ID: <other@x>\r\nContent-Location: http://x/a.png\r\n\r\nother"
    file = attached(b"f.png", b"image/png", b"Content-ID: <file@x>\r\n")
    item = from_mime(mixed(html, logo, other, file))
    assert flags(item) == [(4, True), (0, False), (0, False)]
    assert [a.content_id for a in item.attachments] == ["logo@x", "other@x", "file@x"]
    assert item.attachments[1].properties.text(t.PidTagAttachContentLocation) == "http://x/a.png"
    assert item.properties.integer(t.PidTagMessageFlags) == 0x11
    assert from_mime(mixed(html, logo)).properties.integer(t.PidTagMessageFlags) == 1
    assert from_mime(b"\r\nx").properties.integer(t.PidTagMessageFlags) == 1


# -- signed and encrypted mail


def signed(protocol: bytes) -> bytes:
    return (
        b"Subject: s\nContent-type: multipart/signed; boundary=m"
        + protocol
        + b"\n\n--m\nContent-Type: text/html\n\n<p>t"
        b"\n--m\nContent-Type: application/pgp-signature\n\nsig\n--m--\n"
    )


@pytest.mark.parametrize("protocol", [b"application/pkcs7-signature", b'"application/x-pkcs7-signature"'])
def test_only_s_mime_has_its_class(protocol: bytes) -> None:
    item = from_mime(signed(b"; protocol=" + protocol))
    assert item.message_class == "IPM.Note.SMIME.MultipartSigned"
    (entity,) = item.attachments
    head, _, body = (entity.data or b"").partition(b"\r\n\r\n")
    assert head == b"Content-type: multipart/signed; boundary=m; protocol=" + protocol
    assert body == signed(b"").partition(b"\n\n")[2]
    assert item.properties.binary(t.PidTagHtml) == b"<p>t"
    assert item.notes == ()


@pytest.mark.parametrize("protocol", [b"; protocol=application/pgp-signature", b""])
def test_open_pgp_is_stored_part_by_part_and_says_so(protocol: bytes) -> None:
    item = from_mime(signed(protocol))
    assert item.message_class == "IPM.Note"
    assert item.properties.binary(t.PidTagHtml) == b"<p>t"
    assert [(a.data, a.mime_type) for a in item.attachments] == [(b"sig", "application/pgp-signature")]
    assert "cannot be verified" in item.notes[0]


CMS = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07%c rest"


@pytest.mark.parametrize(
    ("kind", "name", "number", "smime_type"),
    [
        (b"application/pkcs7-mime; smime-type=enveloped-data", b"smime.p7m", 3, "enveloped-data"),
        (b"application/x-pkcs7-mime", b"smime.p7m", 2, "signed-data"),
        (b"application/octet-stream", b"Secret.P7M", 3, "enveloped-data"),
    ],
)
def test_encrypted_mail_is_one_attachment_and_comes_back(
    kind: bytes, name: bytes, number: int, smime_type: str
) -> None:
    cms = CMS % number
    head = b"Content-Type: " + kind + b"\r\nContent-Disposition: attachment; filename=" + name
    data = head + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(cms)
    item = from_mime(data)
    assert item.message_class == "IPM.Note.SMIME"
    assert [(a.data, a.mime_type, a.name) for a in item.attachments] == [(cms, "application/pkcs7-mime", name.decode())]
    back = to_mime(item).data
    assert f"Content-Type: application/pkcs7-mime; smime-type={smime_type}".encode() in back
    assert base64.b64encode(cms) in back


def test_a_bag_of_certificates_is_a_file() -> None:
    item = from_mime(b"Content-Type: application/pkcs7-mime; smime-type=certs-only; name=c.p7c\r\n\r\nx")
    assert (item.message_class, [a.name for a in item.attachments]) == ("IPM.Note", ["c.p7c"])


def test_custom_classes() -> None:
    assert from_mime(b"Content-Class: urn:content-class:custom.Ours\r\n\r\n").message_class == "IPM.Note.Custom.Ours"
    assert from_mime(b"Content-Class: InfoPathForm.A\r\n\r\n").message_class == "IPM.InfoPathForm.A"
    assert from_mime(b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR").message_class == "IPM.Note"


def test_many_attachments_of_one_name_cost_little() -> None:
    part = b"Content-Type: image/png; name=picture of us.png\r\n\r\nx"
    started = time.process_time()
    found = from_mime(mixed(*[part] * 9_000)).attachments
    assert time.process_time() - started < 20
    short = [a.properties.text(t.PidTagAttachFilename) or "" for a in found]
    assert len(set(short)) == 9_000
    assert (short[0], short[9], short[8_999]) == ("PICTUR~1.PNG", "PICTU~10.PNG", "PIC~9000.PNG")
    assert max(len(name) for name in short) == 12
