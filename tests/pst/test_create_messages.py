"""Messages of our own in new files: many, large, deep and odd ones."""

from __future__ import annotations

import hashlib
import io
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import excise.pst
from excise.pst import NewAttachment, NewMessage, NewProperty, PropertyName
from excise.pst.disk.damage import Damaged
from excise.pst.disk.ids import NID_RECIPIENT_TABLE
from excise.pst.file.read import PstFile
from excise.pst.ltp.table import Row
from excise.pst.messaging import tags
from excise.pst.messaging.create_index import index_key
from excise.pst.messaging.folder import Folder
from excise.pst.messaging.message import Message
from excise.pst.messaging.names import PS_EXCISE
from excise.pst.messaging.templates import ASSOC_CONTENTS, CONTENTS
from pst.oracles import libpff_folders, readpst

TOP = "Top of Outlook data file"
TIME = (133_500_000_000_000_000).to_bytes(8, "little")


def text(prop_id: int, value: str) -> NewProperty:
    return NewProperty(prop_id, 0x1F, value.encode("utf-16-le"))


def number(prop_id: int, value: int) -> NewProperty:
    return NewProperty(prop_id, 3, value.to_bytes(4, "little"))


def recipient(name: str, address: str, kind: int = 1) -> list[NewProperty]:
    return [number(0x0C15, kind), text(0x3001, name), text(0x3002, "SMTP"), text(0x3003, address), number(0x0FFE, 6)]


def attached(name: str, data: bytes | Iterable[bytes], *more: NewProperty) -> NewAttachment:
    return NewAttachment([number(0x3705, 1), text(0x3707, name), NewProperty(0x3701, 0x102, data), *more])


def marked(subject: str) -> str:
    """A subject as Outlook stores it."""
    return subject if subject.startswith("\1") else f"\1\1{subject}"


def mail(subject: str, *more: NewProperty, attachments: Iterable[NewAttachment] = (), to: Iterable = ()) -> NewMessage:
    return NewMessage(
        [text(0x001A, "IPM.Note"), text(0x0037, marked(subject)), text(0x0070, subject), text(0x0C1A, "Zoë"),
         text(0x0042, "Zoë"), text(0x1000, f"Body of {subject}"), number(0x0E07, 1),
         NewProperty(0x0039, 0x40, TIME), NewProperty(0x0E06, 0x40, TIME), *more],
        list(to), list(attachments),
    )  # fmt: skip


def written(*messages: NewMessage, associated: Iterable[NewMessage] = (), odd: Iterable[str] = ()) -> io.BytesIO:
    """A file with ``messages`` in the folder Inbox, in which the checker finds nothing but the fields ``odd``."""
    stream = io.BytesIO()
    with excise.pst.create(stream) as new:
        inbox = new.folder(("Inbox",), container_class="IPF.Note")
        for message in messages:
            inbox.add(message)
        for message in associated:
            inbox.add_associated(message)
    assert [each.damage.field for each in excise.pst.check(stream).findings] == list(odd)
    return stream


def inbox_of(pst: PstFile) -> Folder:
    return next(folder for folder in pst.folders() if folder.path == (TOP, "Inbox"))


def read(stream: io.BytesIO) -> list[Message]:
    with excise.pst.open(stream) as pst:
        found = [item for item in inbox_of(pst).messages() if isinstance(item, Message)]
    assert [each.read_all() for each in found] == [()] * len(found)
    return found


def test_what_a_message_must_have_is_filled_in() -> None:
    (message,) = read(written(NewMessage([])))
    assert message.message_class == "IPM.Note"
    assert message.flags == 0
    for tag in (tags.CREATION_TIME, tags.LAST_MODIFICATION_TIME):
        assert message.properties.time(tag) is not None
    assert len(message.properties.binary(tags.SEARCH_KEY) or b"") == 16
    assert message.properties.integer(tags.MESSAGE_SIZE) == message.node.data.size + 164
    assert message.node.child(NID_RECIPIENT_TABLE) is not None
    assert message.attachments == []
    (other,) = read(written(NewMessage([], attachments=[NewAttachment([NewProperty(0x3701, 0x102, b"x")])])))
    assert other.flags == tags.FLAG_HAS_ATTACHMENTS
    assert {tag: other.attachments[0].properties.get(tag) for tag in (0x3705, 0x370B, 0x0E20)} == {
        0x3705: 1, 0x370B: -1, 0x0E20: 4 + 4 + 4 + 1
    }  # fmt: skip


def test_odd_names_subjects_and_attachments(tmp_path: Path) -> None:
    subjects = ["", "🎉 Grüße", "مرحبا بالعالم", "\x01\x05RE: what", "x" * 300, "long " * 2000, "日本語"]
    names = ["", "📎.txt", "ملف.pdf", "a/b\\c:d*.txt", "n" * 400]
    files = [attached(name, f"{at}".encode() if at else b"", text(0x3704, name[:8])) for at, name in enumerate(names)]
    path = tmp_path / "odd.pst"
    stream = written(*(mail(each, attachments=files, to=[recipient("👩‍💻 دعم", "d@example.org")]) for each in subjects))
    path.write_bytes(stream.getvalue())
    found = read(stream)
    assert [each.properties.text(0x0037) for each in found] == list(map(marked, subjects))
    for message in found:
        assert [each.filename or "" for each in message.attachments] == names
        assert [each.read() for each in message.attachments] == [b"", b"1", b"2", b"3", b"4"]
        assert [(each.name, each.address) for each in message.recipients] == [("👩‍💻 دعم", "d@example.org")]
    plain = [each.removeprefix("\x01\x05") for each in subjects]
    items = libpff_folders(path)[TOP, "Inbox"]
    assert [item.subject or "" for item in items] == plain
    assert [[one.size for one in item.attachments] for item in items] == [[0, 1, 1, 1, 1]] * len(items)
    assert len(readpst(path, tmp_path / "out")) == len(subjects)


def test_the_row_of_a_message_mirrors_it() -> None:
    given = mail(
        "Mirror", number(0x0017, 2), text(0x0E04, "a; b"), text(0x0E03, ""), NewProperty(0x0057, 0x0B, b"\1"),
        NewProperty(0x0071, 0x102, bytes(range(22))), attachments=[attached("a", b"b")],
    )  # fmt: skip
    hidden = NewMessage([text(0x3001, "View"), number(0x7003, 5), text(0x001A, "IPM.Configuration")])
    with excise.pst.open(written(given, NewMessage([]), associated=[hidden], odd=["PidTagDisplayCc"])) as pst:
        inbox = inbox_of(pst)
        assert inbox.contents is not None
        assert inbox.associated_contents is not None
        for items, table, schema in (
            (inbox.messages(), inbox.contents, CONTENTS),
            (inbox.associated(), inbox.associated_contents, ASSOC_CONTENTS),
        ):
            rows = {row.row_id: row for row in table.rows()}
            for item in items:
                assert isinstance(item, Message)
                compare_row(rows.pop(item.nid), item, {column.tag >> 16 for column in schema.columns})
            assert not rows
        first, second = inbox.contents.rows()
        assert first.binary(tags.CONVERSATION_ID) == bytes(range(6, 22))
        assert second.binary(tags.CONVERSATION_ID) is None
        assert inbox.properties is not None
        assert [inbox.properties.integer(tag) for tag in (0x3602, 0x3603, 0x6635, 0x6636)] == [2, 1, 1, 1]


def compare_row(row: Row, message: Message, columns: set[int]) -> None:
    own = {tags.CONVERSATION_ID, tags.MESSAGE_STATUS, 0x67F2, 0x67F3}
    there = {tag for tag in columns if message.properties.get(tag) not in (None, "", b"")}
    assert set(row.ids()) - own == there - own
    assert {tag: row.get(tag) for tag in there} == {tag: message.properties.get(tag) for tag in there}
    assert row.integer(tags.MESSAGE_STATUS) == 0


def test_text_in_a_code_page_is_unicode_in_the_row() -> None:
    long = "ж" * 5000
    message = NewMessage(
        [NewProperty(0x0037, 0x1E, "\1\1тема".encode("cp1251")), NewProperty(0x0E04, 0x1E, [long.encode("cp1251")]),
         number(0x3FFD, 1251)]
    )  # fmt: skip
    with excise.pst.open(written(message)) as pst:
        inbox = inbox_of(pst)
        assert inbox.contents is not None
        (row,) = inbox.contents.rows()
        assert (row.text(0x0037), row.text(0x0E04)) == ("\1\1тема", long)
        (item,) = inbox.messages()
        assert isinstance(item, Message)
        assert item.properties.type_of(0x0037) == 0x1E
        assert item.properties.text(0x0E04) == long


def test_a_large_value_of_a_row_shares_the_blocks_of_the_message() -> None:
    names = "; ".join(f"Recipient number {at}" for at in range(200))
    people = [recipient(f"Recipient number {at}", f"r{at}@example.org", 1 + at % 3) for at in range(200)]
    stream = written(mail("Many", text(0x0E04, names), to=people))
    (message,) = read(stream)
    assert [(each.name, each.kind) for each in message.recipients] == [
        (f"Recipient number {at}", 1 + at % 3) for at in range(200)
    ]
    with excise.pst.open(stream) as pst:
        table = inbox_of(pst).contents
        assert table is not None
        assert next(table.rows()).text(0x0E04) == names
        hnid = message.properties.hnid(0x0E04)
        assert hnid is not None
        shared = message.node.subnodes[hnid].bidData
        assert shared in {each.bidData for each in table.node.subnodes.values()}
        assert pst.ndb.block_entry(shared).cRef == 3


def test_recipients_with_columns_of_their_own() -> None:
    name = PropertyName(UUID(int=7), "rank")
    people = [
        [*recipient("A", "a@x"), text(0x39FE, "a@example.org"), NewProperty(0, 3, b"\5\0\0\0", name)],
        recipient("B", "b@x"),
    ]
    stream = written(mail("Columns", to=people))
    (message,) = read(stream)
    assert [each.address for each in message.recipients] == ["a@example.org", "b@x"]
    with excise.pst.open(stream) as pst:
        prop_id = pst.names.id_of(name.guid, name.key)
    assert prop_id is not None
    assert [each.properties.get(prop_id) for each in message.recipients] == [5, None]


def nested(depth: int) -> NewMessage:
    inner = [NewAttachment([text(0x3001, f"Level {depth}")], nested(depth - 1))] if depth else []
    return mail(f"Level {depth}", attachments=[*inner, attached("leaf", b"x" * (depth * 4000))])


def test_messages_in_messages() -> None:
    stream = written(nested(5))
    (message,) = read(stream)
    for depth in range(5, 0, -1):
        outer, leaf = message.attachments
        assert message.subject == f"Level {depth}"
        assert leaf.read() == b"x" * (depth * 4000)
        assert outer.method == 5
        inner = outer.embedded
        assert inner is not None
        reference = outer.properties.get(0x3701)
        assert reference == excise.pst.ltp.values.ObjectRef(inner.nid, inner.properties.integer(tags.MESSAGE_SIZE))
        message = inner
    assert (message.subject, message.attachments[0].read()) == ("Level 0", b"")
    assert len(read(written(nested(64)))) == 1
    with pytest.raises(ValueError, match="64 deep"):
        excise.pst.create(io.BytesIO()).folder(("Inbox",)).add(nested(65))


def test_five_hundred_attachments() -> None:
    files = [attached(f"{at}.txt", b"%d" % at * 2000) for at in range(500)]
    (message,) = read(written(mail("Files", attachments=files)))
    assert [(each.filename, each.read()) for each in message.attachments] == [
        (f"{at}.txt", b"%d" % at * 2000) for at in range(500)
    ]


@pytest.mark.parametrize("megabytes", [40, pytest.param(300, marks=pytest.mark.soak)], ids=lambda size: f"{size} MB")
def test_memory_does_not_grow_with_a_message(megabytes: int, tmp_path: Path) -> None:
    piece = random.Random(1).randbytes(1 << 20)
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for at in range(megabytes):
            digest.update(changed := piece[at:] + piece[:at])
            yield changed

    path = tmp_path / "large.pst"
    tracemalloc.start()
    with excise.pst.create(path) as new:
        new.folder(("Inbox",)).add(mail("Large", attachments=[attached("large.bin", pieces())]))
    _, first = tracemalloc.get_traced_memory()
    copy = tmp_path / "copy.pst"
    with excise.pst.open(path) as pst, excise.pst.create(copy) as new:
        (message,) = inbox_of(pst).messages()
        assert isinstance(message, Message)
        new.folder(("Inbox",)).add(NewMessage.of(message, pst.names))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Three pieces of the test's own, two regions, and the counters of each block.
    assert first < 8 << 20
    assert peak < 8 << 20
    for each in (path, copy):
        assert excise.pst.check(each).findings == []
        with excise.pst.open(each) as pst:
            (message,) = inbox_of(pst).messages()
            assert isinstance(message, Message)
            (attachment,) = message.attachments
            found = hashlib.sha256()
            for chunk in attachment.chunks():
                found.update(chunk)
            assert (attachment.size, found.digest()) == (megabytes << 20, digest.digest())


def test_twenty_thousand_messages_in_one_folder(tmp_path: Path) -> None:
    path = tmp_path / "many.pst"
    with excise.pst.create(path) as new:
        inbox = new.folder(("Inbox",))
        nids = [
            inbox.add(mail(f"Message {at}", NewProperty(0x0071, 0x102, at.to_bytes(22, "big")), number(0x0036, at % 4)))
            for at in range(20_000)
        ]
    assert nids == sorted(set(nids))
    assert excise.pst.check(path).findings == []
    with excise.pst.open(path) as pst:
        summaries = list(inbox_of(pst).summaries(["subject", "sender", "size"]))
        assert [each.nid for each in summaries] == nids
        assert [each.subject for each in summaries] == [f"Message {at}" for at in range(20_000)]
        node = pst.ndb.node(0xE01)
        assert node is not None
        assert node.data.read().count(index_key((19_999).to_bytes(16, "big")).to_bytes(4, "little")) == 1
    items = libpff_folders(path)[TOP, "Inbox"]
    assert len(items) == 20_000
    assert [items[at].subject for at in (0, 10_000, 19_999)] == [f"Message {at}" for at in (0, 10_000, 19_999)]
    assert len(readpst(path, tmp_path / "out")) == 20_000


def test_more_messages_of_one_conversation_than_a_heap_item_can_list() -> None:
    stream = written(*(mail("Same") for _ in range(1000)))
    with excise.pst.open(stream) as pst:
        conversation = hashlib.md5("SAME".encode("utf-16-le")).digest()  # noqa: S324 - as Outlook does
        table = inbox_of(pst).contents
        assert table is not None
        assert {row.binary(tags.CONVERSATION_ID) for row in table.rows()} == {conversation}


def test_the_flag_for_attachments() -> None:
    inline = attached("logo.png", b"png", NewProperty(0x7FFE, 0x0B, b"\1"))
    messages = read(written(
        mail("none", number(0x1234, 0)),
        NewMessage([number(0x0E07, 0x11)]),
        NewMessage([], attachments=[inline]),
        NewMessage([number(0x0E07, 0x51)], attachments=[inline]),
        NewMessage([], attachments=[inline, attached("a", b"b")]),
    ))  # fmt: skip
    assert [message.flags for message in messages] == [1, 1, 0, 0x11, 0x10]


def test_what_cannot_be_stored_is_refused_and_the_rest_is_written() -> None:
    stream = io.BytesIO()

    def breaking() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("the source broke")

    unlike = [[NewProperty(0x3001, 0x1E, b"A")], [text(0x3001, "B")]]
    with excise.pst.create(stream) as new:
        inbox = new.folder(("Inbox",))
        for wrong, match in (
            (NewMessage([text(0x37, "a"), text(0x37, "b")]), "given twice"),
            (NewMessage([text(0x8005, "a")]), "no name"),
            (NewMessage([text(0, "a")]), "no name"),
            (NewMessage([NewProperty(0x17, 3, b"1")]), "4 bytes"),
            (NewMessage([], recipients=unlike), "two types"),
            (NewMessage([], recipients=[[NewProperty(0x3001, 0x0D, b"A")]]), "object"),
            (NewMessage([], attachments=[NewAttachment([number(0x3705, 1)], mail("in"))]), "other data"),
            (NewMessage([], attachments=[NewAttachment([NewProperty(0x3701, 0x102, b"")], mail("in"))]), "other data"),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=match):
                inbox.add(wrong)
        with pytest.raises(RuntimeError, match="broke"):
            inbox.add(mail("Broken", attachments=[attached("a", b"whole" * 2000), attached("b", breaking())]))
        inbox.add(mail("Sound", attachments=[attached("a", b"whole")]))
    assert [message.subject for message in read(stream)] == ["Sound"]
    report = excise.pst.check(stream)
    assert report.clean
    assert {each.damage.structure for each in report.findings} == {"AMAPPAGE"}


def test_named_properties_are_found_by_name() -> None:
    names = [PropertyName(UUID(int=at % 7), at if at % 2 else f"name {at}") for at in range(300)]
    stream = written(
        NewMessage([NewProperty(0, 3, at.to_bytes(4, "little"), name) for at, name in enumerate(names)]),
        NewMessage([NewProperty(0x9999, 0x1F, "x".encode("utf-16-le"), names[5])]),
    )
    with excise.pst.open(stream) as pst:
        first, second = (item for item in inbox_of(pst).messages() if isinstance(item, Message))
        ids = [pst.names.by_name[name] for name in names]
        assert [first.properties.get(prop_id) for prop_id in ids] == list(range(300))
        assert second.properties.get(ids[5]) == "x"


def test_an_id_without_a_name_keeps_its_value_and_takes_no_name_of_another() -> None:
    name = PropertyName(UUID(int=7), "known")
    first = written(NewMessage([NewProperty(0, 3, b"\1\0\0\0", name), NewProperty(0x1000, 0x1F, b"x\0")]))
    copy = io.BytesIO()
    with excise.pst.open(written()) as other, excise.pst.open(first) as pst, excise.pst.create(copy) as new:
        (message,) = inbox_of(pst).messages()
        assert isinstance(message, Message)
        inbox = new.folder(("Inbox",))
        inbox.add(NewMessage([NewProperty(0, 3, b"\2\0\0\0", name)]))
        inbox.add(NewMessage.of(message, other.names))
    with excise.pst.open(copy) as pst:
        one, two = (item for item in inbox_of(pst).messages() if isinstance(item, Message))
        known, unnamed = pst.names.by_name[name], pst.names.id_of(PS_EXCISE, "Unnamed8002")
        assert unnamed is not None
        assert [one.properties.get(known), one.properties.get(unnamed)] == [2, None]
        assert [two.properties.get(known), two.properties.get(unnamed)] == [None, 1]


def test_a_file_full_of_names() -> None:
    stream = io.BytesIO()
    room = 0x7FFF - 2
    with excise.pst.create(stream) as new:
        inbox = new.folder(("Inbox",))
        names = [PropertyName(UUID(int=at // 100), at if at % 3 else f"name {at}") for at in range(room)]
        inbox.add(NewMessage([NewProperty(0, 3, at.to_bytes(4, "little"), name) for at, name in enumerate(names)]))
        with pytest.raises(OverflowError, match="no room"):
            inbox.add(NewMessage([NewProperty(0, 3, bytes(4), PropertyName(UUID(int=1), "one more"))]))
        inbox.add(NewMessage([NewProperty(0, 3, bytes(4), names[-1])]))
    assert excise.pst.check(stream).findings == []
    with excise.pst.open(stream) as pst:
        assert len(pst.names) == room + 2
        (message, _) = (item for item in inbox_of(pst).messages() if isinstance(item, Message))
        for at, name in enumerate(names):
            assert message.properties.get(pst.names.by_name[name]) == at


def test_an_object_that_is_no_message() -> None:
    ole = NewAttachment([number(0x3705, 6), NewProperty(0x3701, 0x0D, [b"OLE" * 5000])])
    small = NewAttachment([NewProperty(0x3701, 0x0D, b"s")])
    (message,) = read(written(mail("Objects", attachments=[ole, small])))
    assert [(each.method, each.size, each.read()) for each in message.attachments] == [
        (6, 15_000, b"OLE" * 5000), (6, 1, b"s")
    ]  # fmt: skip
    assert message.attachments[0].properties.integer(tags.ATTACH_SIZE) == 15_000 + 12


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 0x7FFF), st.sampled_from([3, 0x0B, 0x40, 0x48, 0x1F, 0x102, 0x1102, 0x14, 5]),
             st.integers(0, 9000), st.booleans()), unique_by=lambda each: each[0], max_size=40)
)  # fmt: skip
def test_any_properties_come_back(wanted: list[tuple[int, int, int, bool]]) -> None:
    made = {tags.MESSAGE_FLAGS, tags.MESSAGE_SIZE, tags.MESSAGE_CODEPAGE, tags.INTERNET_CODEPAGE, 0x67F2, 0x67F3}
    values = {}
    for prop_id, ptype, size, _ in wanted:
        size = {3: 4, 0x0B: 1, 0x40: 8, 0x48: 16, 0x14: 8, 5: 8}.get(ptype, size // 2 * 2)
        if prop_id not in made:
            values[prop_id] = (ptype, bytes([prop_id & 0x7F or 1]) * size if ptype != 0x0B else b"\1")
    in_pieces = {prop_id for prop_id, _, _, pieces in wanted if pieces}
    message = NewMessage([
        NewProperty(i, t, [data[:7], data[7:]] if i in in_pieces else data) for i, (t, data) in values.items()
    ])  # fmt: skip
    stream = io.BytesIO()
    with excise.pst.create(stream) as new:
        nid = new.folder(("Inbox",)).add(message)
    with excise.pst.open(stream) as pst:
        found = pst.message(nid).properties
        assert {i: (found.type_of(i), found.raw(i)) for i in values} == values


def test_a_damaged_message_is_not_copied_in_part() -> None:
    stream = written(mail("Sound"), mail("Damaged", attachments=[attached("a", b"marked!" * 100)]))
    with excise.pst.open(stream) as pst:
        nid = inbox_of(pst).message_nids[1]
        node = pst.message(nid).node.child(NID_RECIPIENT_TABLE)
        assert node is not None
        entry = pst.ndb.block_entry(node.bid_data)
    stream.seek(entry.ib)
    stream.write(bytes(entry.cb))
    with excise.pst.open(stream) as pst:
        sound, damaged = (item for item in inbox_of(pst).messages() if isinstance(item, Message))
        assert len(NewMessage.of(sound, pst.names).properties) > 9
        with pytest.raises(Damaged):
            NewMessage.of(damaged, pst.names)
