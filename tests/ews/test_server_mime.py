"""Any bytes are a message to the EWS server, and what it serves of them says the same."""

from __future__ import annotations

import random
from email import message_from_bytes
from email.policy import default

import pytest

from ews.worlds import mail
from ews_server.mime import header_block, made_anew, view, with_attachment, without_attachment

INNER = b"From: x@example.org\r\nSubject: =?utf-8?q?Inn=C3=A9r?=\r\n\r\ninner\r\n"


def damaged(data: bytes, seed: int) -> bytes:
    """The message with bytes changed, put in and taken out."""
    chance = random.Random(seed)
    made = bytearray(data)
    for _ in range(chance.randrange(1, 30)):
        at = chance.randrange(len(made) + 1)
        made[at : at + chance.randrange(8)] = chance.randbytes(chance.randrange(6))
    return bytes(made)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_too_damaged(seed: int) -> None:
    whole = with_attachment(mail(1, "Sübject", attachment="ä.pdf"), "inner", "message/rfc822", INNER)
    data = damaged(whole, seed)
    seen = view(data)
    again = view(made_anew(data))
    assert again.message_id == seen.message_id
    assert len(again.attachments) == len(seen.attachments)
    assert len(view(with_attachment(data, "x", "text/plain", b"y")).attachments) >= 1


def test_what_is_served_says_the_same() -> None:
    data = with_attachment(mail(1, "Sübject " * 30, attachment="ä.pdf"), "inner", "message/rfc822", INNER)
    seen, again = view(data), view(made_anew(data))
    assert again.subject.strip() == seen.subject.strip()
    for name in ("from_", "to", "message_id", "sent", "text", "html", "attachments"):
        assert getattr(again, name) == getattr(seen, name), name
    assert [attachment.name for attachment in seen.attachments] == ["ä.pdf", "Innér"]
    parsed = message_from_bytes(made_anew(data), policy=default)
    assert parsed["Subject"].strip() == ("Sübject " * 30).strip()
    assert not parsed.defects


def test_an_attachment_is_put_on_and_taken_off() -> None:
    data = mail(1)
    more = with_attachment(data, 'q"ote.bin', "image/png", b"\x00\xff" * 100)
    (attachment,) = view(more).attachments
    assert (attachment.content, attachment.content_type) == (b"\x00\xff" * 100, "image/png")
    assert view(more).text.strip() == view(data).text.strip()
    assert view(without_attachment(more, 0)).attachments == ()


def test_the_transport_headers_are_the_originals() -> None:
    block = header_block(mail(1, "x"))
    assert block.startswith("Received: from mx.example.org")
    assert block.endswith("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
    assert header_block(b"A: b\nC: d") == "A: b\r\nC: d"
