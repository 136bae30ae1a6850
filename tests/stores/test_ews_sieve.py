"""Answers in pieces: what is large lies beside the tree, and what is not whole is refused as in a small one."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from hashlib import sha256

import pytest

from excise.core.bulk import SMALL, Mapped, Pieces, Spool
from excise.mime.headers import decode_base64
from excise.mime.transfer import Content
from excise.stores.ews.soap import MESSAGES, SOAP, TYPES, BadAnswer, Reply, content_at, envelope, read_reply

_HEAD = (
    f'<s:Envelope xmlns:s="{SOAP}" xmlns:m="{MESSAGES}" xmlns:t="{TYPES}" xmlns:x="urn:excise"><s:Body>'
    "<m:ExportItemsResponse><m:ResponseMessages>"
)
_FOOT = "</m:ResponseMessages></m:ExportItemsResponse></s:Body></s:Envelope>"


def _message(data: str, mark: str = "") -> str:
    return (
        '<m:ExportItemsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f'<m:ItemId Id="AAAA"/><m:Data{mark}>{data}</m:Data></m:ExportItemsResponseMessage>'
    )


def _pieces(text: str, size: int = 65_537) -> Iterator[bytes]:
    data = text.encode()
    return (data[at : at + size] for at in range(0, len(data), size))


def _read(*messages: str, head: str = _HEAD, foot: str = _FOOT) -> Reply:
    return read_reply(_pieces(head + "".join(messages) + foot), "ExportItems", len(messages))


@pytest.mark.parametrize("size", [0, 1, 3000, SMALL, SMALL + 1, 3 * SMALL + 2])
@pytest.mark.parametrize("lines", [False, True])
def test_contents_of_any_size_are_read(size: int, lines: bool) -> None:
    """In one line or many, and beside another of another size; what is large is a map of a file."""
    data = os.urandom(size)
    text = (base64.encodebytes if lines else base64.b64encode)(data).decode()
    reply = _read(_message(text), _message("QUJD"))
    first, second = (content_at(one.element, "m:Data", one.bulk) for one in reply.answers)
    assert (bytes(first[0]), first[1]) == (data, "")
    assert second == (b"ABC", "")
    assert isinstance(first[0], Mapped) == (size > SMALL)


@pytest.mark.parametrize("size", [30, 2 * SMALL])
@pytest.mark.parametrize("wrong", ["====", "QQ==QQ==", "Q", "Q.Q=", "QQ==Q", "\u00fc"])
def test_what_is_no_base64_is_told(size: int, wrong: str) -> None:
    """Wherever it stands."""
    good = base64.b64encode(bytes(size)).decode()
    for text in (good + wrong, wrong + good):
        if wrong == "QQ==QQ==" or text != good + "QQ==":
            [answer] = _read(_message(text)).answers
            assert content_at(answer.element, "m:Data", answer.bulk)[1] == "is not in base64"


@pytest.mark.parametrize("size", [30, 2 * SMALL])
@pytest.mark.parametrize(
    ("head", "foot", "words"),
    [
        (_HEAD, _FOOT[:-5], "cut off"),
        (_HEAD, "", "cut off"),
        (_HEAD, _FOOT + "</x>", "not XML|cut off"),
        (_HEAD, "</m:ResponseMessages></s:Body></s:Envelope>", "not XML"),
        (f"<!DOCTYPE a [<!ENTITY b 'c'>]>{_HEAD}", _FOOT, "document type"),
        (f"<!DOCTYPE a>{_HEAD}", _FOOT, "document type"),
        (f'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x">{_HEAD}', _FOOT, "document type"),
        (_HEAD + "&b;", _FOOT, "not XML"),
        (_HEAD, "<s:Envelope>", "not XML"),
    ],
)
def test_s27_a_large_answer_is_refused_as_a_small_one(size: int, head: str, foot: str, words: str) -> None:
    """Cut, with entities, or no XML."""
    with pytest.raises(BadAnswer, match=words):
        _read(_message(base64.b64encode(bytes(size)).decode()), head=head, foot=foot)


def test_a_mark_of_the_servers_own_leads_nowhere() -> None:
    """It cannot have one element pass for the content of another."""
    large = base64.b64encode(bytes(2 * SMALL)).decode()
    reply = _read(_message(large), _message("QUJD", ' x:bulk="0"'))
    assert content_at(reply.answers[1].element, "m:Data", reply.answers[1].bulk) == (b"ABC", "")


def test_a_large_request_is_made_each_time_it_is_sent() -> None:
    """Its length is told beforehand, and it is the same again (NTLM sends it twice)."""
    data = os.urandom(SMALL + 1)
    made = envelope(("<a>", data, "</a>"))
    assert not isinstance(made, bytes)
    whole = b"".join(made)
    assert len(whole) == len(made)
    assert b"".join(made) == whole
    assert b"<a>" + base64.b64encode(data) + b"</a>" in whole
    assert envelope(("<a>", b"xyz", "</a>")) == envelope("<a>eHl6</a>")


def _mapped(data: bytes) -> bytes:
    spool = Spool()
    spool.write(bytes(SMALL + 1))
    spool.drop_last(SMALL + 1)
    spool.write(data)
    found = spool.content()
    assert isinstance(found, Mapped)
    return found


def test_a_map_is_as_bytes_are() -> None:
    """For all that is asked of it, also by a method that maps do not have."""
    data = b"From: a\r\n\r\nFrom b\n" * 3
    found = _mapped(data)
    assert found == data
    assert data == found
    assert hash(found) == hash(data)
    assert found != data[1:]
    assert (len(found), found[0], found[3:9], found[-2:]) == (len(data), data[0], data[3:9], data[-2:])
    assert list(found) == list(data)
    assert b"\n\nFrom" not in found
    assert b"\r\n\r\n" in found
    for prefix, *rest in ((b"From",), (b"rom", 1), (b"From", 0, 3), (b"", 5), (data,), (data + b"x",)):
        assert found.startswith(prefix, *rest) == data.startswith(prefix, *rest), (prefix, rest)
    for suffix in (b"b\n", b"", b"x", data, b"x" + data):
        assert found.endswith(suffix) == data.endswith(suffix), suffix
    assert found.partition(b"\r\n\r\n") == data.partition(b"\r\n\r\n")
    assert found.replace(b"a", b"b") == data.replace(b"a", b"b")
    assert b"".join(Pieces(found)) == data
    assert b"".join(Pieces(found, 3, 7)) == data[3:7]


@pytest.mark.parametrize("encoding", ["base64", "8bit", "quoted-printable", "x-unknown"])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"=", b"QQ==\r\n", b"QQ==QQ==", b"Q", b"\x00\xff.", b"QQ==\n--"])
@pytest.mark.parametrize("size", [100, 12 << 20])
def test_s10_size_and_digest_are_those_of_the_whole(encoding: str, end: bytes, size: int) -> None:
    """Whether an attachment is decoded in pieces or at once, well made or not."""
    body = base64.encodebytes(os.urandom(size)) + end
    data = b"head" + body + b"tail"
    decoded, flaw = Content(data, 4, 4 + len(body), encoding).decode()
    told = Content(data, 4, 4 + len(body), encoding)
    # As the standard library has it, in one go.
    plain = {"base64": lambda: decode_base64(body), "8bit": lambda: (body, True)}
    expected, whole = plain[encoding]() if encoding in plain else (decoded, not flaw)
    assert bytes(decoded) == expected
    assert whole == (not flaw)
    assert told.size == (len(expected) if whole else None)
    assert told.sha256 == (sha256(expected).hexdigest() if whole else None)
