"""Property values and bags: every type there and back, and what is damaged is named and kept."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excise.mapi import codepages
from excise.mapi.addresses import build_one_off, parse_one_off, recipient_address
from excise.mapi.item import MapiAttachment, MapiItem, RecipientType
from excise.mapi.properties import PropertyBag, decode_value, encode_value, from_filetime, split_multiple
from excise.mapi.tags import (
    MULTIPLE,
    PidLidLocation,
    PidTagAddressType,
    PidTagAttachFilename,
    PidTagAttachLongFilename,
    PidTagDisplayName,
    PidTagEmailAddress,
    PidTagEntryId,
    PidTagHtml,
    PidTagInternetMessageId,
    PidTagMessageDeliveryTime,
    PidTagRecipientType,
    PidTagSenderAddressType,
    PidTagSenderEmailAddress,
    PidTagSenderName,
    PidTagSenderSmtpAddress,
    PidTagSubject,
    PropertyType,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40).filter(lambda s: not s.endswith("\0"))
MICROSECONDS = st.integers(0, 265_000_000_000_000_000).map(lambda us: from_filetime(us * 10))
VALUES = {
    PropertyType.Integer16: st.integers(-(2**15), 2**15 - 1),
    PropertyType.Integer32: st.integers(-(2**31), 2**31 - 1),
    PropertyType.Integer64: st.integers(-(2**63), 2**63 - 1),
    PropertyType.Floating64: st.floats(allow_nan=False),
    PropertyType.Boolean: st.booleans(),
    PropertyType.Time: MICROSECONDS,
    PropertyType.Guid: st.uuids(),
    PropertyType.String: TEXT,
    PropertyType.Binary: st.binary(max_size=60),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_comes_back(kind: PropertyType) -> None:
    @given(VALUES[kind], st.lists(VALUES[kind], max_size=5))
    def check(one: object, many: list[object]) -> None:
        assert decode_value(kind, encode_value(kind, one), 1252) == one
        assert decode_value(kind | MULTIPLE, encode_value(kind | MULTIPLE, many), 1252) == many

    check()


def test_fixed_raw_forms() -> None:
    assert decode_value(PropertyType.Time, bytes.fromhex("00803ed5deb19d01"), 0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert decode_value(PropertyType.Currency, (12345).to_bytes(8, "little"), 0) == 1.2345
    assert decode_value(PropertyType.FloatingTime, encode_value(PropertyType.Floating64, 1.5), 0) == datetime(
        1899, 12, 31, 12, tzinfo=UTC
    )
    assert decode_value(PropertyType.Floating32, bytes.fromhex("0000c03f"), 0) == 1.5
    assert decode_value(PropertyType.Guid, bytes(range(16)), 0) == UUID(bytes_le=bytes(range(16)))
    assert decode_value(PropertyType.String8, b"gr\xfc\xdfe\0", 1252) == "grüße"
    assert decode_value(PropertyType.String8, "日本".encode("cp932"), 932) == "日本"


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (PropertyType.Integer32, b"\1\2\3"),
        (PropertyType.Integer32, b"\1\2\3\4\5"),
        (PropertyType.Time, b"\xff" * 8),
        (PropertyType.FloatingTime, encode_value(PropertyType.Floating64, 1e300)),
        (PropertyType.FloatingTime, encode_value(PropertyType.Floating64, math.nan)),
        (PropertyType.String, b"a\0b"),
        (PropertyType.String, b"\x00\xd8"),
        (0x0BAD, b"x"),
        (PropertyType.String | MULTIPLE, b"\xff\xff\xff\xff" + bytes(8)),
        (PropertyType.Binary | MULTIPLE, bytes.fromhex("02000000 0c000000 08000000")),
        (PropertyType.Integer32 | MULTIPLE, b"12345"),
    ],
)
def test_what_is_damaged_is_named_and_kept(kind: int, raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode_value(kind, raw, 1252)
    bag = PropertyBag.from_raw([(0x0037 << 16 | kind, raw)])
    kept = bag.raw(PidTagSubject)
    assert kept is not None
    assert kept.raw == raw
    assert len(bag.problems()) == 1
    assert "0x0037" in bag.problems()[0]


@given(st.binary(max_size=64), st.sampled_from([*PropertyType, *(t | MULTIPLE for t in PropertyType)]))
def test_no_raw_value_breaks_a_bag(raw: bytes, kind: int) -> None:
    bag = PropertyBag.from_raw([(0x0037 << 16 | kind, raw)])
    bag.get(PidTagSubject)
    assert len(bag.problems()) <= 1


@given(st.binary(max_size=200))
def test_a_list_never_grows(raw: bytes) -> None:
    try:
        pieces = split_multiple(PropertyType.Binary, raw)
    except ValueError:
        return
    assert sum(map(len, pieces)) <= len(raw)


def test_the_code_page_of_string8_is_found() -> None:
    russian = "Привет".encode("cp1251")
    own = PropertyBag.from_raw([(0x0037001E, russian), (0x3FFD0003, (1251).to_bytes(4, "little"))])
    assert own.text(PidTagSubject) == "Привет"
    given_page = PropertyBag.from_raw([(0x0037001E, russian)], code_page=1251)
    assert given_page.text(PidTagSubject) == "Привет"
    by_internet = PropertyBag.from_raw([(0x0037001E, russian), (0x3FDE0003, (20866).to_bytes(4, "little"))])
    assert by_internet.text(PidTagSubject) == "Привет"
    unknown = PropertyBag.from_raw([(0x0037001E, b"caf\xe9"), (0x3FFD0003, (64999).to_bytes(4, "little"))])
    assert unknown.text(PidTagSubject) == "café"


def test_a_second_value_is_noted_and_unicode_wins() -> None:
    bag = PropertyBag.from_raw([(0x0037001E, b"a?"), (0x0037001F, "aé".encode("utf-16-le"))])
    assert bag.text(PidTagSubject) == "aé"
    assert "twice" in bag.problems()[0]


def test_named_properties_are_found_by_name() -> None:
    bag = PropertyBag.from_raw([(0x8001001F, "Room 1".encode("utf-16-le"))], names={0x8001: PidLidLocation})
    assert bag.text(PidLidLocation) == "Room 1"
    assert PidLidLocation in bag
    same = PropertyBag.of({}, {(PidLidLocation, PropertyType.String): "Room 1"})
    assert same.text(PidLidLocation) == "Room 1"


def test_getters_do_not_mistake_types() -> None:
    bag = PropertyBag.of({PidTagSubject: "text", PidTagHtml: b"<p>", PidTagMessageDeliveryTime: None})
    assert bag.integer(PidTagSubject) is None
    assert bag.text(PidTagHtml) is None
    assert bag.binary(PidTagHtml) == b"<p>"
    assert bag.time(PidTagMessageDeliveryTime) is None
    zero = PropertyBag.of({PidTagMessageDeliveryTime: datetime(1601, 1, 1, tzinfo=UTC)})
    assert zero.time(PidTagMessageDeliveryTime) is None


def test_code_pages() -> None:
    for page in (
        437,
        874,
        932,
        936,
        949,
        950,
        1250,
        1252,
        1258,
        1361,
        10000,
        20127,
        20866,
        28591,
        28605,
        50220,
        54936,
        65001,
    ):
        assert codepages.codec(page), page
        assert codepages.charset(page), page
    assert codepages.codec(28602) is None
    assert codepages.charset(123456) is None


# -- items


@pytest.mark.parametrize(
    ("stored", "subject"),
    [("\x01\x05RE: hello", "RE: hello"), ("\x01\x01hello", "hello"), ("plain", "plain"), ("\x01", ""), ("", "")],
)
def test_the_subject_has_no_prefix_marks(stored: str, subject: str) -> None:
    assert MapiItem(PropertyBag.of({PidTagSubject: stored})).subject == subject


def test_smtp_wins_over_the_directory_name() -> None:
    item = MapiItem(
        PropertyBag.of(
            {
                PidTagSenderName: "Anna",
                PidTagSenderAddressType: "EX",
                PidTagSenderEmailAddress: "/o=Org/cn=anna",
                PidTagSenderSmtpAddress: "anna@example.org",
            }
        )
    )
    assert (item.sender.name, item.sender.smtp, item.sender.stored) == ("Anna", "anna@example.org", "/o=Org/cn=anna")
    assert item.representing == item.sender


@given(TEXT, st.from_regex(r"[a-z]{1,9}@[a-z]{1,9}\.org", fullmatch=True))
def test_a_one_off_entry_id_comes_back(name: str, smtp: str) -> None:
    address = parse_one_off(build_one_off(name, smtp), 1252)
    assert address is not None
    assert address.smtp == smtp
    assert address.name == name.replace("\0", "").strip()
    row = PropertyBag.of(
        {PidTagEntryId: build_one_off(name, smtp), PidTagAddressType: "EX", PidTagEmailAddress: "/o=x"}
    )
    assert recipient_address(row).smtp == smtp


@given(st.binary(max_size=80))
def test_a_damaged_entry_id_is_none_or_an_address(raw: bytes) -> None:
    parse_one_off(build_one_off("a", "b@c")[:24] + raw, 932)
    assert parse_one_off(raw, 1252) is None


def test_recipients_by_kind() -> None:
    rows = [
        PropertyBag.of({PidTagRecipientType: kind, PidTagDisplayName: f"R{kind}", PidTagEmailAddress: f"r{n}@x.org"})
        for n, kind in enumerate((1, 2, 1, 3, 0x10000001))
    ]
    item = MapiItem(PropertyBag.of({PidTagInternetMessageId: "<a@b>"}), tuple(rows))
    assert [a.smtp for a in item.recipients_of(RecipientType.To)] == ["r0@x.org", "r2@x.org", "r4@x.org"]
    assert [a.smtp for a in item.recipients_of(RecipientType.Bcc)] == ["r3@x.org"]
    assert item.internet_message_id == "<a@b>"


def test_an_attachment_is_data_or_item_or_reason() -> None:
    bag = PropertyBag.of({PidTagAttachLongFilename: "long name.pdf", PidTagAttachFilename: "LONGNA~1.PDF"})
    assert MapiAttachment(bag, data=b"").names == ("long name.pdf", "LONGNA~1.PDF")
    with pytest.raises(ValueError):
        MapiAttachment(bag)
    with pytest.raises(ValueError):
        MapiAttachment(bag, data=b"", reason="why")


def test_a_time_keeps_its_microseconds() -> None:
    moment = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
    assert PropertyBag.of({PidTagMessageDeliveryTime: moment}).time(PidTagMessageDeliveryTime) == moment
    late = PropertyBag.of({PidTagMessageDeliveryTime: moment + timedelta(microseconds=1)})
    assert late != PropertyBag.of({PidTagMessageDeliveryTime: moment})
