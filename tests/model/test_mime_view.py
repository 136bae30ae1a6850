"""What the matcher sees of MIME messages: names, contents, texts, links, and what it cannot read (S10, S11, S27)."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import time
import zipfile
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excise.core.text import normalise
from excise.model.contents import MAX_DEPTH, MAX_PARTS
from excise.model.message import Address, MimeView, envelope

PAYLOAD = b"MZ\x00 evil \xff payload"
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()


def message(*attachments: tuple[bytes, str], text: str = "hello", subject: str = "s") -> EmailMessage:
    found = EmailMessage()
    found["Subject"], found["From"], found["To"] = subject, "Ann <a@x.example>", "b@x.example"
    found.set_content(text)
    for data, name in attachments:
        found.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return found


def names(view: MimeView) -> set[str]:
    return {name for attachment in view.attachments() for name in attachment.names}


def view_of(found: EmailMessage) -> MimeView:
    return MimeView(found.as_bytes(policy=SMTP))


def part(header: bytes, body: bytes = b"x") -> MimeView:
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    return MimeView(head + header + b"\r\n\r\n" + body + b"\r\n--b--\r\n")


NAME_FIELDS = [
    (b'Content-Disposition: attachment; filename="a.exe"', "a.exe"),
    (b"Content-Disposition: attachment; filename=my file.exe", "my file.exe"),
    (b'Content-Type: application/pdf; name="a b.pdf"', "a b.pdf"),
    (b'Content-Type: application/pdf name="a.pdf"', "a.pdf"),
    (b"Content-Disposition: attachment;\r\n filename*=utf-8''%C3%BCber.exe", "über.exe"),
    (
        b"Content-Disposition: attachment;\r\n filename*0*=utf-8''%C3;\r\n filename*1*=%BCber;\r\n filename*2=.exe",
        "über.exe",
    ),
    (b"Content-Disposition: attachment; filename*1=b.exe; filename*0=a", "ab.exe"),
    (b"Content-Disposition: attachment; filename*=%FCber.exe", "über.exe"),
    (b"Content-Disposition: attachment; filename*=x-odd''%FCber.exe", "über.exe"),
    (b'Content-Disposition: attachment; filename="=?utf-8?B?w7xiZXIuZXhl?="', "über.exe"),
    (b'Content-Disposition: attachment; filename="=?utf-8?Q?=C3?=\r\n =?utf-8?Q?=BCber.exe?="', "über.exe"),
    (b"Content-Disposition: attachment; filename*0*==?utf-8?B?w7xiZXIuZXhl?=", "über.exe"),
    ('Content-Disposition: attachment; filename="über.exe"'.encode(), "über.exe"),
    (b'Content-Disposition: attachment; filename="\xfcber.exe"', "über.exe"),
    (b'Content-Disposition: attachment; filename="C:\\temp\\a.exe"', "a.exe"),
    (b'Content-Disposition: attachment; filename="../../a.exe"', "a.exe"),
    (b'Content-Disposition: attachment; filename="a \\"b\\".exe"', 'a "b".exe'),
    (b'Content-Disposition: attachment; filename="safe.txt"\r\nContent-Type: x/y; name="evil.exe"', "evil.exe"),
    (b'Content-Disposition: attachment; filename="safe.txt"; filename="evil.exe"', "evil.exe"),
    (b'Content-Disposition: attachment; filename="never closed.exe', "never closed.exe"),
    (b"CONTENT-DISPOSITION : ATTACHMENT; FILENAME=a.exe", "a.exe"),
]


@pytest.mark.parametrize(("header", "expected"), NAME_FIELDS)
def test_s10_attachment_names_are_decoded(header: bytes, expected: str) -> None:
    assert expected in names(part(header))


def test_s10_attachments_inside_everything_that_is_opened() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("folder/über.exe", PAYLOAD)
        packed.writestr("in zip.eml", message((PAYLOAD, "deep.exe")).as_bytes())
    attached = message((PAYLOAD, "inner.exe"), subject="inner")
    outer = message((archive.getvalue(), "files.zip"), (attached.as_bytes(), "forwarded.EML"))
    outer.add_attachment(attached)
    view = view_of(outer)
    assert names(view) >= {
        "über.exe",
        "folder/über.exe",
        "in zip.eml",
        "deep.exe",
        "inner.exe",
        "files.zip",
        "forwarded.EML",
    }
    found = {a.name: (a.path, a.sha256(), a.size) for a in view.attachments()}
    assert found["über.exe" if "über.exe" in found else "folder/über.exe"] == (("files.zip",), DIGEST, len(PAYLOAD))
    assert found["deep.exe"] == (("files.zip", "in zip.eml"), DIGEST, len(PAYLOAD))
    assert [a.path for a in view.attachments() if a.name == "inner.exe"] == [("forwarded.EML",), ("attached message",)]
    assert list(view.problems()) == []
    assert [row["name"] for row in envelope(view)["attachments"]] == ["files.zip", "forwarded.EML", None]


def test_uuencoded_files_in_a_text() -> None:
    data = b"Subject: s\n\nlook\n\nbegin 644 evil name.exe\n%:&5L;&\\\n`\nend\nbye\n"
    (found,) = MimeView(data).attachments()
    assert (found.name, found.size, found.sha256()) == ("evil name.exe", 5, hashlib.sha256(b"hello").hexdigest())


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "7bit", "x-uuencode", "BASE64 "])
def test_transfer_encodings(encoding: str) -> None:
    data = b"line one\nline two =3D\n"
    bodies = {
        "base64": base64.encodebytes(data),
        "quoted-printable": b"line one\nline two =3D3D\n",
        "x-uuencode": b'begin 644 f\n6;&EN92!O;F4*;&EN92!T=V\\@/3-$"@``\n`\nend\n',
    }
    body = bodies.get(encoding.strip().lower(), data)
    (found,) = part(
        b"Content-Transfer-Encoding: " + encoding.encode() + b"\nContent-Type: a/b; name=f", body
    ).attachments()
    assert (found.size, found.sha256()) == (len(data), hashlib.sha256(data).hexdigest())


def kinds_and_reasons(view: MimeView) -> dict[str, str]:
    return {problem.term_kind: problem.reason for problem in view.problems()}


ALL = {"attachment", "attachment-sha256", "body-contains", "url"}
UNREADABLE = [
    (b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n\nx", ALL, "encrypted"),
    (b"Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nx", ALL, "opaque"),
    (b"Content-Type: application/octet-stream; name=SMIME.P7M\n\nx", ALL, "encrypted"),
    (b"Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n", ALL, "OpenPGP"),
    (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n", ALL, "may be cut"),
    (b"Content-Type: multipart/mixed; boundary=b\n\nx\n", ALL, "does not occur"),
    (b"Content-Type: multipart/mixed\n\nx\n", ALL, "no boundary"),
    (b"Content-Type: message/partial; id=1; number=1\n\nx\n", ALL, "fragment"),
    (b"\n-----BEGIN PGP MESSAGE-----\n\nx\n", {"body-contains", "url"}, "OpenPGP"),
    (b"Content-Type: text/plain; charset=x-odd\n\n\xff\n", {"body-contains", "url"}, "charset"),
    (
        b"Content-Type: a/b; name=f\nContent-Transfer-Encoding: base64\n\nabcde\n",
        {"attachment-sha256"},
        "f cannot be read whole",
    ),
    (
        b"Content-Type: a/b; name=f\nContent-Transfer-Encoding: x-odd\n\nabcde\n",
        {"attachment-sha256"},
        "f cannot be read whole",
    ),
    (b"Content-Transfer-Encoding: x-odd\n\nabcde\n", {"body-contains", "url"}, "unknown transfer encoding"),
    (
        b"Content-Type: application/zip; name=f.zip\n\nno zip\n",
        {"attachment", "attachment-sha256"},
        "f.zip cannot be opened",
    ),
    (b"Content-Type: application/ms-tnef; name=winmail.dat\n\nno tnef\n", ALL, "winmail.dat cannot be opened"),
    (b"Content-Type: x/y; name=a.msg\n\nno msg\n", {"attachment", "attachment-sha256"}, "a.msg cannot be opened"),
    (b"\nbegin 644 f\n%:&5L;&\\\n", {"attachment-sha256"}, "f cannot be read whole"),
]


@pytest.mark.parametrize(("data", "kinds", "reason"), UNREADABLE)
def test_s11_what_cannot_be_read_is_reported_term_by_term(data: bytes, kinds: set[str], reason: str) -> None:
    found = kinds_and_reasons(MimeView(b"Subject: s\n" + data))
    assert found.keys() == kinds
    assert all(reason in text for text in found.values())


def test_s11_readable_messages_have_no_problems() -> None:
    assert list(view_of(message((PAYLOAD, "a.exe"))).problems()) == []
    assert list(MimeView(b"").problems()) == []


def test_s11_a_zip_with_a_password_shows_names_and_no_digests() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("secret.exe", PAYLOAD)
    data = bytearray(archive.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + offset] |= 1
    view = view_of(message((bytes(data), "locked.zip")))
    assert "secret.exe" in names(view)
    assert kinds_and_reasons(view).keys() == {"attachment-sha256"}


def test_s11_a_zip_inside_a_zip_is_not_opened_and_said() -> None:
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        packed.writestr("a.exe", PAYLOAD)
    with zipfile.ZipFile(outer, "w") as packed:
        packed.writestr("inner.zip", inner.getvalue())
    view = view_of(message((outer.getvalue(), "outer.zip")))
    assert "inner.zip" in names(view)
    assert "a.exe" not in names(view)
    assert "zip inside a zip" in kinds_and_reasons(view)["attachment"]


def test_s27_a_zip_bomb_costs_no_more_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excise.model.contents.MAX_UNPACKED", 1 << 20)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb.bin", bytes(50 << 20))
        packed.writestr("bomb.eml", bytes(50 << 20))
    view = view_of(message((archive.getvalue(), "bomb.zip")))
    assert names(view) >= {"bomb.bin", "bomb.eml"}
    assert kinds_and_reasons(view).keys() == {"attachment", "attachment-sha256"}


def nested(depth: int, kind: bytes) -> bytes:
    if kind == b"multipart":
        opening = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
        return (
            opening
            + b"Content-Type: a/b; name=deep.exe\n\nx\n"
            + b"".join(b"\n--b%d--\n" % n for n in reversed(range(depth)))
        )
    return b"Content-Type: message/rfc822\n\n" * depth + b"Content-Type: a/b; name=deep.exe\n\nx\n"


@pytest.mark.parametrize("kind", [b"multipart", b"message"])
def test_s27_nesting_is_bounded_and_said(kind: bytes) -> None:
    assert "deep.exe" in names(MimeView(nested(MAX_DEPTH - 1, kind)))
    deep = MimeView(nested(5000, kind))
    assert "deep.exe" not in names(deep)
    assert "nested deeper" in kinds_and_reasons(deep)["attachment"]


def test_s27_the_number_of_parts_is_bounded_and_said() -> None:
    body = b"--b\nContent-Type: a/b; name=f\n\nx\n" * (MAX_PARTS + 10) + b"--b--\n"
    view = MimeView(b"Content-Type: multipart/mixed; boundary=b\n\n" + body)
    assert "more than" in kinds_and_reasons(view)["attachment"]


HOSTILE = [
    b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b x\n" * 300_000,
    b"Content-Type: multipart/mixed; boundary=--\n\n" + b"-" * 1_000_000,
    b"Content-Type: text/html\n\n" + b"<!--" * 300_000,
    b"Content-Type: text/html\n\n" + b"<a '\">" * 200_000,
    b"Content-Type: text/html\n\n" + b"<a " * 300_000,
    b"Content-Type: text/html\n\n" + b"<script>" * 150_000,
    b"Content-Type: text/html\n\n<a " + b"x" * 1_000_000 + b">",
    b"Content-Type: text/html\n\n" + b"<![" * 300_000,
    b"\n" + b"begin 644 x\n" * 100_000,
    b"\n" + b"http://" * 150_000,
    b"Content-Type: a/b" + b"; name=x" * 100_000 + b"\n\n",
    b"Content-Type: a/b" + b"; name*%d=x" * 1 % 1 + b'; a="\\"' * 100_000 + b"\n\n",
    b"Content-Type: application/zip; name=a.zip\n\n" + b"PK\x05\x06" * 250_000,
]


@pytest.mark.parametrize("data", HOSTILE)
def test_s27_hostile_messages_take_linear_time(data: bytes) -> None:
    start = time.process_time()
    view = MimeView(data)
    list(view.attachments()), list(view.texts()), list(view.links()), list(view.problems()), envelope(view)
    assert time.process_time() - start < 5


def test_texts_and_links_of_html() -> None:
    html = """<html><style>hidden</style><!-- not this --><body>Inv<b>oi</b>ce &uuml;ber<p>next<script>no</script>
      <a href="https://evil.example/p%61th?a=1&amp;b=2" title='x > y'>click</a> www.plain.example/x.
      <a href="https://safe.example/?url=https%3A%2F%2Fwrapped.example%2F">w</a><img src=cid:1></body>"""
    found = message(text="see http://text.example/a).")
    found.add_alternative(html, subtype="html")
    view = view_of(found)
    text = " ".join(" ".join(view.texts()).split())
    assert "Invoice über next click" in text
    assert "hidden" not in text
    assert "not this" not in text
    assert set(view.links()) >= {
        "http://text.example/a",
        "https://evil.example/p%61th?a=1&b=2",
        "https://evil.example/path?a=1&b=2",
        "https://safe.example/?url=https://wrapped.example/",
        "www.plain.example/x",
    }


JOURNAL = (
    b"From: journal@x.example\nSubject: outer\nTo: archive@x.example\nX-MS-Journal-Report:\n"
    b"Content-Type: multipart/mixed; boundary=j\n\n--j\nContent-Type: text/plain\n\n"
    b"Sender: a@x.example\nSubject: inner\nMessage-Id: <1@x>\n"
    b"To: list@x.example, Expanded: dl@x.example\nBcc: hidden@x.example\n"
    b"Recipient: r@x.example, Forwarded: f@x.example\n"
    b"\n--j\nContent-Type: message/rfc822\n\n"
    b"From: a@x.example\nTo: list@x.example\nSubject: inner\nMessage-ID: <1@x>\n"
    b"Content-Type: application/x-evil; name=evil.exe\n\nx\n--j--\n"
)


def test_journal_reports_show_the_message_that_they_carry() -> None:
    view = MimeView(JOURNAL)
    assert view.subject == "inner"
    assert "outer" in view.subjects
    assert view.senders == (Address("", "a@x.example"),)
    wanted = {"list@x.example", "dl@x.example", "hidden@x.example", "r@x.example", "f@x.example"}
    assert {address for _, address in view.recipients} == wanted
    assert (view.message_id, names(view)) == ("<1@x>", {"evil.exe"})


CLASSES = [
    (b"", "IPM.Note"),
    (b"Content-Type: application/pkcs7-mime; smime-type=signed-data", "IPM.Note.SMIME"),
    (
        b"Content-Type: multipart/signed; protocol=application/pkcs7-signature; boundary=b",
        "IPM.Note.SMIME.MultipartSigned",
    ),
    (b"Content-Type: text/calendar; method=REQUEST", "IPM.Schedule.Meeting.Request"),
    (b"Content-Type: text/calendar", "IPM.Appointment"),
    (b"Content-Class: urn:content-class:custom.Order", "IPM.Note.Custom.Order"),
    (b"Content-Type: multipart/report; report-type=delivery-status; boundary=b", "REPORT.IPM.Note.NDR"),
]


@pytest.mark.parametrize(("header", "expected"), CLASSES)
def test_item_classes(header: bytes, expected: str) -> None:
    assert MimeView(header + b"\n\nbody").item_class == expected


def test_times_name_the_property_that_they_come_from() -> None:
    delivered = datetime(2026, 1, 2, tzinfo=UTC)
    view = MimeView(b"Date: Thu, 01 Jan 2026 00:00:00 +0000\n\n", delivered=delivered, delivered_from="file time")
    assert (view.received, view.received_from) == (delivered, "file time")
    assert view.sent == datetime(2026, 1, 1, tzinfo=UTC)
    hop = MimeView(b"Received: x; Sat, 03 Jan 2026 00:00:00 +0000\n\n", delivered=delivered, delivered_from="file time")
    assert (hop.received, hop.received_from) == (datetime(2026, 1, 3, tzinfo=UTC), "Received header")
    assert (MimeView(b"\n").received, MimeView(b"\n").received_from) == (None, "")


FILES = st.lists(st.tuples(st.binary(max_size=60), st.text("aé中.%'\"; x", min_size=1, max_size=30)), max_size=4)


@given(FILES, st.booleans())
def test_attachments_are_those_of_the_email_package(files: list[tuple[bytes, str]], crlf: bool) -> None:
    files = [(data, f"f{name.strip()}f") for data, name in files]
    data = message(*files).as_bytes(policy=SMTP if crlf else SMTP.clone(linesep="\n"))
    found = list(MimeView(data).attachments())
    theirs = list(message_from_bytes(data, policy=default).iter_attachments())
    assert [(normalise(a.name or ""), a.sha256()) for a in found] == [
        (normalise(part.get_filename()), hashlib.sha256(part.get_content()).hexdigest()) for part in theirs
    ]
    assert [normalise(a.name or "") for a in found] == [normalise(name) for _, name in files]


SEEDS = [
    message((PAYLOAD, "über.exe"), (b"PK\x03\x04", "a.zip"), text="see https://x.example/").as_bytes(policy=SMTP),
    JOURNAL,
    nested(6, b"multipart"),
    b"Subject: =?utf-8?B?w5w=?= x\nContent-Type: text/html; charset=utf-16\n\n<a href=x>y</a>",
]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), max_size=8))
def test_s27_no_mutation_raises(seed: bytes, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(seed)
    for place, piece in edits:
        place %= len(data) + 1
        data[place : place + len(piece)] = piece[::-1] if place % 2 else piece
        if place % 7 == 0:
            del data[place : place + 3]
    view = MimeView(bytes(data))
    envelope(view)
    list(view.problems()), list(view.texts()), list(view.links()), view.header("to"), view.recipients


def tnef_attribute(level: int, attribute: int, data: bytes) -> bytes:
    """[MS-OXTNEF] 2.1.3: level, id, length, data, and the sum of the data."""
    return struct.pack("<BII", level, attribute, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def winmail(*files: tuple[str, bytes]) -> bytes:
    """A TNEF stream with a subject and attachments."""
    stream = struct.pack("<IH", 0x223E9F78, 1) + tnef_attribute(1, 0x00089006, struct.pack("<I", 0x10000))
    stream += tnef_attribute(1, 0x00018004, b"inside\0")
    for name, data in files:
        stream += tnef_attribute(2, 0x00069002, struct.pack("<HIHHI", 1, 0, 0, 0, 0))
        stream += tnef_attribute(2, 0x00018010, name.encode("cp1252") + b"\0") + tnef_attribute(2, 0x0006800F, data)
    return stream


def test_s10_attachments_in_winmail_dat() -> None:
    forwarded = message((PAYLOAD, "inner.exe")).as_bytes()
    view = view_of(message((winmail(("evil.exe", PAYLOAD), ("fw.eml", forwarded)), "winmail.dat")))
    found = {a.name: (a.path, a.sha256()) for a in view.attachments()}
    assert found["evil.exe"] == (("winmail.dat",), DIGEST)
    assert found["inner.exe"] == (("winmail.dat", "fw.eml"), DIGEST)
    assert list(view.problems()) == []
    assert [row["name"] for row in envelope(view)["attachments"]] == ["winmail.dat", "evil.exe", "fw.eml"]


def test_s11_a_winmail_dat_that_is_cut_is_said() -> None:
    data = winmail(("evil.exe", PAYLOAD))
    view = view_of(message((data[:-4], "winmail.dat")))
    assert kinds_and_reasons(view).keys() >= {"attachment", "attachment-sha256"}
