"""Every message of real files, Unicode and ANSI, copied into a new file and compared property by property."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import excise.pst
from excise.pst.disk.ids import NID_ATTACHMENT_TABLE
from excise.pst.file.read import PstFile
from excise.pst.ltp.properties import Properties, PropertyContext
from excise.pst.ltp.table import ROW_ID, ROW_VERSION, TableContext
from excise.pst.messaging import tags
from excise.pst.messaging.message import Attachment, Message
from excise.pst.messaging.names import NamedProperties, PropertyName
from excise.pst.ndb.read import Node
from pst import reader_faults as faults
from pst.oracles import libpff_folders, readpst
from pst.other_readers import facts, needs_other_readers, told_by_us

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(SAMPLES.glob("*.pst"))
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")
CODECS = {"contacts97-2002.pst": "cp932"}
# No item, or items of kinds that readpst leaves out of any file.
SKIPPED_BY_READPST = {"Empty.pst", "test_ansi.pst", "test_unicode.pst"}

# What the writer makes of itself, whatever the message says: sizes, the flags for attachments and associated items.
MADE = {tags.MESSAGE_SIZE, tags.MESSAGE_FLAGS}
MADE_OF_ATTACHMENT = {tags.ATTACH_SIZE}
# What it fills in where a message does not have it.
FILLED_IN = {tags.MESSAGE_CLASS, tags.CREATION_TIME, tags.LAST_MODIFICATION_TIME, tags.SEARCH_KEY} | MADE
FILLED_IN_ATTACHMENT = {tags.RENDERING_POSITION, tags.ATTACH_METHOD} | MADE_OF_ATTACHMENT
FLAGS_MADE = tags.FLAG_HAS_ATTACHMENTS | tags.FLAG_ASSOCIATED

Key = int | PropertyName
Raw = tuple[int, bytes]


def each_sample(test):
    return real(pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)(test))


def copy(source: PstFile, target: Path, **options: bool) -> list[tuple[int, int]]:
    """All items of ``source`` in a new file; the NIDs here and there."""
    nids = []
    with excise.pst.create(target) as new:
        for folder in source.folders():
            place = new.folder(folder.path or ("root",))
            for item in folder.messages():
                assert isinstance(item, Message)
                nids.append((item.nid, place.add(excise.pst.NewMessage.of(item, source.names, **options))))
            for item in folder.associated():
                assert isinstance(item, Message)
                new_item = excise.pst.NewMessage.of(item, source.names, **options)
                nids.append((item.nid, place.add_associated(new_item)))
    return nids


def raw_values(properties: Properties, names: NamedProperties) -> dict[Key, Raw]:
    """Every property as it is stored, named ones by name; a large one as the bytes that it comes to."""
    found: dict[Key, Raw] = {}
    for prop_id in properties.ids():
        ptype = properties.type_of(prop_id)
        if prop_id in (ROW_ID, ROW_VERSION) or ptype is None:
            continue
        name = names.name_of(prop_id)
        assert prop_id < 0x8000 or name is not None
        if isinstance(properties, PropertyContext) and ptype == 0x0D:
            continue
        found[prop_id if name is None else name] = (ptype, properties.raw(prop_id))
    return found


def compare(mine: dict[Key, Raw], other: dict[Key, Raw], filled_in: set[int], made: set[int]) -> None:
    assert set(other) <= set(mine)
    assert set(mine) - set(other) <= filled_in
    assert {key: raw for key, raw in mine.items() if key in other and key not in made} == {
        key: raw for key, raw in other.items() if key not in made
    }


def compare_messages(mine: Message, other: Message, names: NamedProperties, their_names: NamedProperties) -> None:
    compare(raw_values(mine.properties, names), raw_values(other.properties, their_names), FILLED_IN, MADE)
    assert mine.flags & ~FLAGS_MADE == other.flags & ~FLAGS_MADE
    assert mine.properties.integer(tags.MESSAGE_SIZE) == leaf_sum(mine.node)
    assert [raw_values(each.properties, names) for each in mine.recipients] == [
        raw_values(each.properties, their_names) for each in other.recipients
    ]
    assert len(mine.attachments) == len(other.attachments)
    for one, two in zip(mine.attachments, other.attachments, strict=True):
        compare_attachments(one, two, names, their_names)
    if mine.attachments:
        check_attachment_table(mine)
    assert mine.read_all() == ()


def compare_attachments(
    mine: Attachment, other: Attachment, names: NamedProperties, their_names: NamedProperties
) -> None:
    values = raw_values(mine.properties, names)
    compare(values, raw_values(other.properties, their_names), FILLED_IN_ATTACHMENT, MADE_OF_ATTACHMENT)
    assert mine.read() == other.read()
    size = sum(len(data) for _, data in values.values())
    if mine.embedded is not None and other.embedded is not None:
        size += leaf_sum(mine.embedded.node)
        compare_messages(mine.embedded, other.embedded, names, their_names)
    else:
        assert other.embedded is None
        assert mine.embedded is None
        size += len(mine.read()) if mine.properties.type_of(tags.ATTACH_DATA) == 0x0D else 0
    assert mine.properties.integer(tags.ATTACH_SIZE) == size


def check_attachment_table(message: Message) -> None:
    node = message.node.child(NID_ATTACHMENT_TABLE)
    assert node is not None
    rows = list(TableContext(node).rows())
    assert [row.row_id for row in rows] == [each.nid for each in message.attachments]
    for row, attachment in zip(rows, message.attachments, strict=True):
        for tag in (tags.ATTACH_SIZE, tags.ATTACH_METHOD, tags.RENDERING_POSITION):
            assert row.get(tag) == attachment.properties.get(tag) is not None
        assert (row.get(tags.ATTACH_FILENAME) or "") == (attachment.properties.get(tags.ATTACH_FILENAME) or "")


def leaf_sum(node: Node) -> int:
    return node.data.size + sum(leaf_sum(child) for nid in node.subnodes if (child := node.child(nid)) is not None)


@each_sample
def test_a_copy_has_every_property_of_the_original(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.pst"
    codec = CODECS.get(path.name, "cp1252")
    with excise.pst.open(path, codec=codec) as theirs:
        nids = copy(theirs, target)
        assert nids or path.name == "Empty.pst"
        with excise.pst.open(target, codec=codec) as ours:
            for their_nid, nid in nids:
                compare_messages(ours.message(nid), theirs.message(their_nid), ours.names, theirs.names)
            assert ours.damage == ()
    assert kinds_of_findings(target) <= kinds_of_findings(path)


def kinds_of_findings(path: Path) -> Counter[tuple[str, ...]]:
    """What the check says, without the places: a copy has what is odd in the original's items, and nothing else."""
    found = [(each.grade, each.damage) for each in excise.pst.check(path).findings]
    return Counter((grade, each.structure, each.field, each.expected, each.found) for grade, each in found)


def texts(message: Message) -> Iterator[tuple[object, ...]]:
    """All text of a message, with its type."""
    bags: Iterable[Properties] = (message.properties, *(each.properties for each in message.recipients))
    for bag in (*bags, *(each.properties for each in message.attachments)):
        for prop_id, ptype, value in bag.items():
            if ptype & 0xFFF in (0x1E, 0x1F) and prop_id < 0x8000:
                yield prop_id, ptype, value
    for each in message.attachments:
        if each.embedded is not None:
            yield from texts(each.embedded)


@each_sample
def test_text_in_a_code_page_can_become_unicode(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.pst"
    with excise.pst.open(path, codec=CODECS.get(path.name, "cp1252")) as theirs:
        nids = copy(theirs, target, as_unicode=True)
        with excise.pst.open(target) as ours:
            for their_nid, nid in nids:
                found = list(texts(ours.message(nid)))
                expected = [(tag, ptype & ~0x1E | 0x1F, value.rstrip("\0") if isinstance(value, str) else value)
                            for tag, ptype, value in texts(theirs.message(their_nid))]  # fmt: skip
                assert [each for each in found if each[0] != tags.MESSAGE_CLASS or each in expected] == expected
    assert kinds_of_findings(target) <= kinds_of_findings(path)


def items_of_libpff(path: Path) -> dict[tuple[str, ...], list[tuple[object, ...]]]:
    found: dict[tuple[str, ...], list[tuple[object, ...]]] = {}
    for place, items in libpff_folders(path).items():
        told = [
            tuple(getattr(item, name, None) for name in (
                "subject", "sender_name", "transport_headers", "delivery_time", "client_submit_time",
                "number_of_attachments", "number_of_record_sets", "plain_text_body", "html_body"))
            for item in items
        ]  # fmt: skip
        if told:
            found[place] = told
    return found


@each_sample
def test_libpff_and_readpst_find_the_same_in_the_copy(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.pst"
    with excise.pst.open(path) as theirs:
        copy(theirs, target)
    ours = items_of_libpff(target)
    # The copy has the whole tree below the top of the mailbox.
    assert {place[1:]: items for place, items in ours.items()} == items_of_libpff(path)
    exported = readpst(target, tmp_path / "mine")
    assert exported == readpst(path, tmp_path / "theirs")
    assert bool(exported) == (path.name not in SKIPPED_BY_READPST)


@needs_other_readers
@pytest.mark.parametrize("reader", faults.FAULTS, ids=lambda reader: reader.__name__.removeprefix("told_by_"))
@each_sample
def test_another_reader_tells_of_the_copy_what_we_tell(path: Path, reader: faults.Reader, tmp_path: Path) -> None:
    """But for its faults, which tests/pst/test_other_readers.py holds it to. Not all can be told a code page."""
    target = tmp_path / "copy.pst"
    with excise.pst.open(path, codec=CODECS.get(path.name, "cp1252")) as theirs:
        copy(theirs, target, as_unicode=True)
    expected, found = facts(faults.with_faults(told_by_us(target), reader)), facts(reader(target))
    assert (expected - found, found - expected) == ({}, {})
