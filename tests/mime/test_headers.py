"""Header fields with the damage that real mail has (S09)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excise.core.text import normalise
from excise.mime.addresses import Address, parse_addresses, parse_date, received_date
from excise.mime.charsets import codec_of, decode_text
from excise.mime.headers import HeaderBlock, decode_header, with_line_feeds

UMLAUT = "Überweisung fällig"

SUBJECTS = [
    (b"plain text", "plain text"),
    (b" folded\r\n value", "folded value"),
    (b" folded\n\tvalue", "folded\tvalue"),
    (b"=?utf-8?Q?=C3=9Cberweisung_f=C3=A4llig?=", UMLAUT),
    (b"=?UTF-8?B?w5xiZXJ3ZWlzdW5nIGbDpGxsaWc=?=", UMLAUT),
    # Two words, split inside a character, in two encodings.
    (b"=?utf-8?Q?=C3?= =?utf-8?B?nGJlcndlaXN1bmcgZsOkbGxpZw==?=", UMLAUT),
    (b"=?utf-8?Q?=C3?=\r\n =?UTF8?Q?=9Cberweisung_f=C3=A4llig?=", UMLAUT),
    # No white space between the words; white space between word and text stays.
    (b"=?utf-8?Q?a?==?utf-8?Q?b?= c =?utf-8?Q?d?=", "ab c d"),
    (b"Re: =?iso-8859-1?Q?=DCberweisung?= =?koi8-r?B?8NLJ18XU?=", "Re: ÜberweisungПривет"),
    # Unknown, wrong and missing charsets; a language suffix.
    (b"=?x-unknown?Q?caf=C3=A9?=", "café"),
    (b"=?utf-8?Q?caf=E9?=", "café"),
    (b"=?us-ascii?Q?caf=E9?=", "café"),
    (b"=?utf-8*en?Q?caf=C3=A9?=", "café"),
    (b"=?gb2312?B?1tDOxIFA?=", "中文丂"),
    (b"=?ks_c_5601-1987?B?yLi/+A==?=", "회원"),
    (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
    (b"=?punycode?Q?abc-?=", "abc-"),
    # Characters that have no place in a word, missing padding, a word that does not end.
    (b"=?utf-8?Q?hello world?=", "hello world"),
    (b"=?utf-8?Q?what??=", "what?"),
    (b"=?utf-8?B?aGVsbG8?=", "hello"),
    (b"=?utf-8?Q?never ends", "=?utf-8?Q?never ends"),
    (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
    (b"=?utf-8?Q??=", ""),
    (b"a =?utf-8?Q??= b", "a  b"),
    # Cut in the middle of a character: the rest is kept.
    (b"=?utf-8?Q?caf=C3=A9_=C3?=", "café \ufffd"),
    # Raw 8-bit: UTF-8, Windows-1252, beside a word; raw ISO-2022-JP.
    ("Überweisung".encode(), "Überweisung"),
    (b"\xdcberweisung \x96 jetzt", "Überweisung – jetzt"),
    (b"\x81\xfc", "\x81ü"),
    (b"\xc3\x9c =?utf-8?Q?=C3=9C?=", "Ü Ü"),
    (b"\x1b$BF|K\\\x1b(B", "日本"),
]


@pytest.mark.parametrize(("raw", "expected"), SUBJECTS)
def test_s09_subjects_are_decoded(raw: bytes, expected: str) -> None:
    assert decode_header(raw) == expected


def test_s09_forms_of_one_subject_compare_equal() -> None:
    forms = [
        "Überweisung fällig".encode(),
        "U\u0308berweisung  fa\u0308llig".encode(),
        "Ü\u200bber\u00adweisung\r\n fällig\u202e".encode(),
        b"=?iso-8859-1?Q?=DCBERWEISUNG_F=C4LLIG?=",
        "Ｕ\u0308ｂｅｒweisung\u00a0fällig".encode(),
    ]
    assert {normalise(decode_header(raw)) for raw in forms} == {"überweisung fällig"}


BLOCKS = [
    (b"A: 1\r\nB: 2\r\n\r\nbody", [(b"a", b" 1\r"), (b"b", b" 2\r")], b"body"),
    (b"A: 1\nB: 2\r\n\nbody", [(b"a", b" 1"), (b"b", b" 2\r")], b"body"),
    (b"A : 1\n\nbody", [(b"a", b" 1")], b"body"),
    (b"A:\n b\n\tc\n\n", [(b"a", b"\n b\n\tc")], b""),
    (b"From x Mon Jan  1 00:00:00 2024\nA: 1\n>From y\nB: 2\n\n", [(b"a", b" 1"), (b"b", b" 2")], b""),
    (b"\xef\xbb\xbfA: 1\n\n", [(b"a", b" 1")], b""),
    (b"A: 1\nno field here\nB: 2\n\n", [(b"a", b" 1")], b"no field here\nB: 2\n\n"),
    (b"A: 1", [(b"a", b" 1")], b""),
    (b" stray\nA: 1\n\n", [(b"a", b" 1")], b""),
    (b"\nA: 1\n", [], b"A: 1\n"),
    (b"", [], b""),
]


@pytest.mark.parametrize(("data", "fields", "body"), BLOCKS)
def test_header_blocks(data: bytes, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    block = HeaderBlock.parse(data)
    assert list(block.fields) == fields
    assert data[block.body_start :] == body


def test_lines_that_end_in_cr_alone() -> None:
    assert HeaderBlock.parse(with_line_feeds(b"Subject: a\rTo: b\r\rbody")).raw(b"to") == (b" b",)


FIELD_NAMES = st.text(alphabet="ABCdefXYZ-", min_size=1, max_size=12)
FIELD_BODIES = st.text(alphabet="abc =?:;<>@\"'", max_size=40).map(str.strip)


@given(st.lists(st.tuples(FIELD_NAMES, FIELD_BODIES), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_blocks_are_those_of_the_email_package(fields: list[tuple[str, str]], line_end: str) -> None:
    data = "".join(f"{name}: {value}{line_end}" for name, value in fields) + line_end + "body"
    block = HeaderBlock.parse(data.encode())
    theirs = message_from_bytes(data.encode())
    assert [(name, value.decode().strip()) for name, value in block.fields] == [
        (name.lower().encode(), value.strip()) for name, value in theirs.items()
    ]
    assert data[block.body_start :] == "body"


ADDRESSES = [
    (b"a@b.example", [Address("", "a@b.example")]),
    (b"Ann <a@b.example>, c@d.example", [Address("Ann", "a@b.example"), Address("", "c@d.example")]),
    (b'"Doe, John" <j@x.example>', [Address("Doe, John", "j@x.example")]),
    (b"Doe, John <j@x.example>", [Address("Doe, John", "j@x.example")]),
    (b'"a \\"b\\" c" <j@x.example>', [Address('a "b" c', "j@x.example")]),
    (b"j@x.example (John (Jo) Doe)", [Address("John Jo Doe", "j@x.example")]),
    (b"Friends: a@x.example, B <b@x.example>;", [Address("", "a@x.example"), Address("B", "b@x.example")]),
    (b"undisclosed-recipients:;", []),
    (b"=?utf-8?Q?J=C3=BCrgen?= <j@x.example>", [Address("Jürgen", "j@x.example")]),
    (b'"=?utf-8?Q?J=C3=BCrgen?=" <j@x.example>', [Address("Jürgen", "j@x.example")]),
    (b"=?utf-8?B?SsO8cmdlbiA8akB4LmV4YW1wbGU+?=", [Address("Jürgen", "j@x.example")]),
    (b"<@relay.example:j@x.example>", [Address("", "j@x.example")]),
    (b"a@x.example; b@x.example", [Address("", "a@x.example"), Address("", "b@x.example")]),
    (b'"never closed <a@x.example>, b@x.example', None),
    (b"<a@x.example, <b@x.example>", None),
    (b'<"a b"@x.example>, "c d" @ x.example', [Address("", '"a b"@x.example'), Address("", '"c d"@x.example')]),
    (b"root", [Address("", "root")]),
    (b"a@[IPv6:::1]", [Address("", "a@[IPv6:::1]")]),
    ("j@bücher.example".encode(), [Address("", "j@bücher.example")]),
    (b"", []),
    (b"<>", [Address("", "")]),
]


@pytest.mark.parametrize(("raw", "expected"), ADDRESSES)
def test_addresses(raw: bytes, expected: list[Address] | None) -> None:
    found = parse_addresses(raw)
    if expected is None:
        assert {address for _, address in found} >= {"a@x.example", "b@x.example"}
    else:
        assert list(found) == expected


DATES = [
    (b"Mon, 05 Jan 2026 12:00:00 +0100", datetime(2026, 1, 5, 11, tzinfo=UTC)),
    (b"5 Jan 26 12:00:00 GMT", datetime(2026, 1, 5, 12, tzinfo=UTC)),
    (b"Mon, 05 Jan 2026 12:00:60 -0000 (UTC)", datetime(2026, 1, 5, 12, 0, 59, tzinfo=UTC)),
    (b"Mon, 05 Jan 2026\r\n 12:00:00 EST", datetime(2026, 1, 5, 17, tzinfo=UTC)),
    (b"not a date", None),
    (b"32 Foo 2026 99:99:99 +9999", None),
    (b"", None),
    (b"Mon, 05 Jan 10000 00:00:00 +1400", None),
]


@pytest.mark.parametrize(("raw", "expected"), DATES)
def test_dates(raw: bytes, expected: datetime | None) -> None:
    assert parse_date(raw) == expected


def test_the_topmost_received_field_with_a_time_counts() -> None:
    values = (b"from x; nonsense", b"from y; Mon, 05 Jan 2026 12:00:00 +0000", b"z; Sun, 04 Jan 2026 12:00:00 +0000")
    assert received_date(values) == datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "label", ["zlib", "hex", "idna", "unicode_escape", "..", "x\0y", "", "a" * 500, "encodings.utf_8"]
)
def test_labels_that_are_no_charset(label: str) -> None:
    assert codec_of(label) is None
    assert decode_text(b"abc", label)[0] == "abc"


@pytest.mark.parametrize(
    "raw",
    [
        b"=?a?q?x" * 60_000,
        b"=?a?q?x?=" * 60_000,
        b"=?" * 200_000,
        b"\n " * 200_000,
        b'"\\"' * 100_000,
        b"(" * 300_000,
        b"<" * 300_000,
        b"a,:;<" * 60_000,
        b'a="' * 100_000,
    ],
)
def test_s27_hostile_fields_take_linear_time(raw: bytes) -> None:
    start = time.process_time()
    decode_header(raw)
    parse_addresses(raw)
    parse_date(raw)
    HeaderBlock.parse(b"To:" + raw)
    assert time.process_time() - start < 3


@given(st.binary(max_size=300))
def test_no_bytes_raise(raw: bytes) -> None:
    decode_header(raw)
    parse_addresses(raw)
    parse_date(raw)
    HeaderBlock.parse(raw)
