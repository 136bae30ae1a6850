"""MIME to MAPI and back on generated mail: what was written, what the email package reads, and what MimeView says."""

from __future__ import annotations

import email
import mailbox
from email import policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from excise.mapi.from_mime import from_mime, original_mime
from excise.mapi.item import MapiItem, RecipientType
from excise.mapi.tags import PidTagBody, PidTagHtml
from excise.mapi.to_mime import to_mime
from excise.model.mapi_view import MapiView
from excise.model.mime import MimeView

from .mail_builder import File, Mail, damaged, mails, render

FIXTURES = Path(__file__).parents[2] / "fixtures"
_MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

_DEEP = settings(_MANY, max_examples=25)


def assert_says(item: MapiItem, mail: Mail) -> None:
    """``item`` says what ``mail`` says, and so do the messages in it."""
    assert item.subject == mail.subject
    assert (item.representing.name, item.representing.smtp) == mail.author
    for kind, people in ((RecipientType.To, mail.to), (RecipientType.Cc, mail.cc)):
        assert tuple((one.name, one.smtp) for one in item.recipients_of(kind)) == people
    assert item.internet_message_id == mail.message_id
    text = item.properties.text(PidTagBody)
    assert (text or None) == ((mail.text.text or None) if mail.text else None)
    assert item.properties.binary(PidTagHtml) == (mail.html.text.encode() if mail.html else None)
    images = () if mail.image is None else (mail.image,)
    assert [said(a.name, a.mime_type, a.data, a.inline) for a in item.attachments if a.embedded is None] == [
        *(said(f.name, f.kind, f.data, True) for f in images),
        *(said(f.name, f.kind, f.data, False) for f in mail.files),
    ]
    inner = [a.embedded for a in item.attachments if a.embedded is not None]
    assert len(inner) == len(mail.messages)
    for one, written in zip(inner, mail.messages, strict=True):
        assert_says(one, written)


def said(name: str, kind: str, data: bytes | None, inline: bool) -> tuple[str, str, bytes | None, bool]:
    return name, kind, data, inline


@_DEEP
@given(mails(5))
def test_an_item_says_what_was_written_and_so_does_its_mime(mail: Mail) -> None:
    item = from_mime(render(mail))
    assert_says(item, mail)
    assert [i.notes for i in item.walk()] == [()] * len(list(mail.walk()))
    back = to_mime(item)
    assert back.notes == []
    assert_says(from_mime(back.data), mail)


@_MANY
@given(mails(1))
def test_the_email_package_finds_the_files_in_what_comes_back(mail: Mail) -> None:
    message = email.message_from_bytes(to_mime(from_mime(render(mail))).data, policy=policy.default)
    parts = [p for p in message.walk() if p.get_content_disposition() is not None]
    found = [(p.get_content_type(), p.get_payload(decode=True)) for p in parts if not p.is_multipart()]
    assert sorted(found) == sorted((f.kind, f.data) for m in mail.walk() for f in all_files(m))
    assert sum(p.get_content_type() == "message/rfc822" for p in parts) == len(list(mail.walk())) - 1
    if mail.text is not None and mail.text.text:
        body = message.get_body(("plain",))
        assert body is not None
        assert body.get_payload(decode=True).decode() == mail.text.text


def all_files(mail: Mail) -> list[File]:
    return [*mail.files, *([mail.image] if mail.image else [])]


@_MANY
@given(mails(2).map(render) | damaged())
def test_the_original_comes_back_byte_for_byte(data: bytes) -> None:
    item = from_mime(data, keep_original=True)
    assert original_mime(item) == data
    assert to_mime(item).data == data


@_MANY
@given(damaged())
def test_damage_is_no_error_and_loses_no_file(data: bytes) -> None:
    item = from_mime(data)
    back = from_mime(to_mime(item).data)
    assert [a.data for a in back.attachments if a.data] == [a.data for a in item.attachments if a.data]


# -- the views


def seen(view: MimeView | MapiView) -> dict[str, Any]:
    return {
        "subject": (view.subject or "")[:255],
        "senders": set(view.senders),
        "recipients": set(view.recipients),
        "message_id": view.message_id,
        "sent": view.sent,
        "received": view.received or view.sent,
        "class": view.item_class,
        "texts": sorted(text.replace("\r\n", "\n") for text in view.texts()),
        "links": set(view.links()),
    }


def files(view: MimeView | MapiView) -> list[tuple[int, tuple[str, ...], str | None]]:
    return [(len(a.path), a.names, a.sha256()) for a in view.attachments()]


def assert_same(data: bytes) -> None:
    mime, mapi = MimeView(data), MapiView(from_mime(data))
    assert seen(mapi) == seen(mime)
    theirs, ours = files(mime), files(mapi)
    assert len(ours) == len(theirs)
    items = [a.is_item for a in mapi.attachments()]
    for is_item, (depth, names, digest), (own_depth, own_names, own_digest) in zip(items, theirs, ours, strict=True):
        assert own_depth == depth
        assert names[:1] in (own_names[:1], ())
        assert own_digest == (None if is_item else digest)


@_DEEP
@given(mails(5))
def test_the_item_is_what_the_message_is(mail: Mail) -> None:
    assert_same(render(mail))


def fixtures() -> list[Any]:
    found: list[Any] = []
    for path in sorted(p for p in FIXTURES.rglob("*") if p.is_file() and p.suffix not in (".py", ".ini", ".txt")):
        if path.suffix == ".mbox":
            box = mailbox.mbox(path, create=False)
            found += [pytest.param(box.get_bytes(key), id=f"{path.name}-{key}") for key in box.keys()]  # noqa: SIM118
            box.close()
        else:
            found.append(pytest.param(path.read_bytes(), id=path.name))
    return found


@pytest.mark.parametrize("data", fixtures())
def test_the_fixtures_are_the_same_as_items(data: bytes) -> None:
    assert_same(data)
    assert to_mime(from_mime(data, keep_original=True)).data == data
