"""Hostile and damaged files: no hang, no traceback, bounded memory, and items seen = read + failed."""

from __future__ import annotations

import io
import os
import random
import time
import tracemalloc
from pathlib import Path

import pytest

import excise.pst
from excise.core.errors import DamagedInput
from excise.pst.disk import blocks, crypt, ids, pages
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import Header
from excise.pst.disk.heaps import NameId
from excise.pst.ltp.properties import PropertyContext
from excise.pst.messaging.folder import FailedItem
from pst.builder import INBOX, NodeSpec, attachment, mailbox, message, nid_of
from pst.editing import Edited, put
from pst.mutating import bytes_changed

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(path for path in SAMPLES.glob("*.pst") if path.stat().st_size < 300_000)
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")


@real
@pytest.mark.parametrize(("nid", "at"), [(0x200024, 0), (0x802E, 0), (0x8022, 2), (0x21, 3)])
def test_damage_in_a_heap_tells_where_its_block_lies(nid: int, at: int) -> None:
    edited = Edited("testPST.pst")
    node = edited.node(nid)
    block = node.ndb.block_entry(node.data.leaves[0])
    edited.leaf(node, put(at, b"\xff\xff"[: 2 - at % 2]))
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        for folder in pst.folders():
            _ = folder.properties, folder.row_nids, list(folder.messages()), list(folder.summaries()), pst.record_key
        found = [each for each in pst.damage if each.layer == "ltp"]
    assert found and {each.offset for each in found} == {block.ib}
    assert all(f"at offset {block.ib}" in each.text() for each in found)


def read_everything(data: bytes) -> tuple[int, int, int]:
    """(seen, read, failed) of a whole walk, the file's own log kept consistent on the way."""
    totals = [0, 0, 0]
    try:
        pst = excise.pst.open(io.BytesIO(data))
    except DamagedInput:
        return 0, 0, 0
    with pst:
        for folder in pst.folders():
            _ = folder.path
            for summary in folder.summaries():
                assert set(summary.doubts) <= set(type(summary).__dataclass_fields__)
            for walk in (folder.messages, folder.associated):
                for item in walk():
                    if isinstance(item, FailedItem):
                        assert item.damage.text()
                    else:
                        item.read_all()
                counts = folder.counts
                assert counts.seen == counts.read + counts.failed
                totals = [a + b for a, b in zip(totals, (counts.seen, counts.read, counts.failed), strict=True)]
        for _ in pst.store.orphaned_items():
            pass
        _ = (pst.names, pst.has_password, pst.record_key)
        for damage in pst.damage:
            assert isinstance(damage, Damage)
    return tuple(totals)


@real
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_mutated_samples(path: Path) -> None:
    data = path.read_bytes()
    rng = random.Random(path.name)
    started = time.process_time()
    for _ in range(25):
        read_everything(bytes_changed(data, rng))
    assert time.process_time() - started < 60


@real
def test_mutated_blocks_with_right_checksums() -> None:
    """Damage below the checksums: every data block of a file scrambled in turn, sealed again."""
    data = (SAMPLES / "submessage.pst").read_bytes()
    header = Header.unpack(data)
    rng = random.Random(1)
    with excise.pst.open(io.BytesIO(data)) as pst:
        entries = list(pst.ndb.blocks.entries())
    for entry in entries:
        for _ in range(3):
            raw = bytearray(data[entry.ib : entry.ib + entry.cb])
            for _ in range(rng.choice((1, 4))):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            out = bytearray(data)
            sealed = blocks.seal_block(header.format, bytes(raw), entry.ib, entry.bid)
            out[entry.ib : entry.ib + len(sealed)] = sealed
            seen, read, failed = read_everything(bytes(out))
            assert seen == read + failed


@real
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_check_calls_no_sample_damaged(path: Path) -> None:
    """Outlook's own files: unreferenced blocks and old allocation maps are notes, and nothing is an error."""
    report = excise.pst.check(path)
    assert not report.damaged, report.text()
    assert report.checked["blocks"] > 20


@real
def test_check_names_a_property_name_missing_from_its_bucket() -> None:
    data = bytearray((SAMPLES / "sample1.pst").read_bytes())
    with excise.pst.open(io.BytesIO(bytes(data))) as pst:
        before = excise.pst.check(io.BytesIO(bytes(data)))
        node = pst.ndb.node(ids.NID_NAME_TO_ID_MAP)
        assert node is not None
        context = PropertyContext(node)
        name = next(each for each in NameId.unpack_all(context.raw(3)) if not each.wGuid & 1)
        bucket = context.raw(0x1000 + (name.dwPropertyID ^ name.wGuid) % (context.integer(1) or 0))
        for bid in node.data.leaves:
            raw = pst.ndb.block(bid, DamageLog())
            entry = pst.ndb.block_entry(bid)
            if (at := raw.rfind(bucket)) >= 0:
                raw = raw[:at] + bytes(len(bucket)) + raw[at + len(bucket) :]
                stored = crypt.encode(raw, pst.header.bCryptMethod, bid)
                sealed = blocks.seal_block(pst.header.format, stored, entry.ib, bid)
                data[entry.ib : entry.ib + len(sealed)] = sealed
    after = excise.pst.check(io.BytesIO(bytes(data)))
    new = set(after.findings) - set(before.findings)
    assert {each.damage.field for each in new} == {"bucket", "record"}


@real
def test_check_names_each_flipped_block_and_page() -> None:
    data = (SAMPLES / "sample1.pst").read_bytes()
    with excise.pst.open(io.BytesIO(data)) as pst:
        places = [entry.ib for entry in pst.ndb.blocks.entries()]
        places += [pst.header.root.ibNBT, pst.header.root.ibBBT]
    for ib in places:
        out = bytearray(data)
        out[ib] ^= 0x10
        report = excise.pst.check(io.BytesIO(bytes(out)))
        assert report.damaged
        assert any(each.damage.offset == ib and each.damage.field == "dwCRC" for each in report.findings)


def test_a_wrong_checksum_is_reported_with_its_place_and_the_item_still_read() -> None:
    spec = message(UNICODE, "text", "body", {0x25: attachment(UNICODE, "a", b"A" * 5000)})
    data = bytearray(mailbox(messages={nid_of(0): spec}).build())
    with excise.pst.open(io.BytesIO(bytes(data))) as pst:
        node = pst.ndb.node(nid_of(0)).child(0x25)
        bid = next(entry.bidData for nid, entry in node.subnodes.items() if ids.nid_type(nid) == ids.NID_TYPE_LTP)
        ib = pst.ndb.block_entry(bid).ib
    data[ib + 7] ^= 1
    with excise.pst.open(io.BytesIO(bytes(data))) as pst:
        item = pst.message(nid_of(0))
        (damage,) = item.read_all()
        assert (damage.layer, damage.structure, damage.field, damage.offset) == ("ndb", "block", "dwCRC", ib)
        assert len(item.attachments[0].read()) == 5000


def test_one_lost_block_fails_one_message_and_no_other() -> None:
    messages = {nid_of(i): message(UNICODE, f"Message {nid_of(i):x}") for i in range(5)}
    builder = mailbox(messages=messages)
    data = builder.build()
    with excise.pst.open(io.BytesIO(data)) as pst:
        bid = pst.ndb.node(nid_of(2)).bid_data
    entries = [entry for entry in builder.entries if entry.bid != bid]
    again = mailbox(messages=messages)
    again.build()
    again.entries[:] = entries
    again.nodes = {}
    # The same blocks, and a BBT without the one.
    out = bytearray(data)
    header = Header.unpack(data)
    again.out = out
    bbt_bid, bbt_ib, _ = again.btree(entries, pages.PTYPE_BBT, 0x900)
    from dataclasses import replace

    root = replace(header.root, bidBBT=bbt_bid, ibBBT=bbt_ib, ibFileEof=len(out))
    out[: UNICODE.header_size] = replace(header, root=root).sealed().pack()
    with excise.pst.open(io.BytesIO(bytes(out))) as pst:
        folder = next(each for each in pst.folders() if each.nid == INBOX)
        failed = [item for item in folder.messages() if isinstance(item, FailedItem)]
        assert [item.nid for item in failed] == [nid_of(2)]
        assert (folder.counts.seen, folder.counts.read, folder.counts.failed) == (5, 4, 1)
        assert failed[0].damage.field == "bid"


def test_a_bomb_of_shared_blocks_is_refused_and_costs_no_memory() -> None:
    builder = mailbox(messages={nid_of(0): message(UNICODE, "fine")})
    leaf = builder.block(b"x" * 8176)
    lower = [builder.block(blocks.XBlock(1, 8176 * 1021, (leaf,) * 1021).pack(UNICODE), True) for _ in range(1021)]
    upper = builder.block(blocks.XBlock(2, 0xFFFFFFFF, tuple(lower)).pack(UNICODE), True)
    builder.tree = lambda data, plain=builder.tree: upper if data == ["bomb"] else plain(data)
    builder.nodes[0x2001] = NodeSpec(["bomb"])
    data = builder.build()
    with excise.pst.open(io.BytesIO(data)) as pst:
        node = pst.ndb.node(0x2001)
        tracemalloc.start()
        with pytest.raises(Damaged):
            node.data.read()
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
        tracemalloc.stop()


def test_an_xblock_that_names_itself_ends() -> None:
    builder = mailbox()
    bid = builder.next_bid(True)
    builder.block(blocks.XBlock(2, 1, (bid, bid)).pack(UNICODE), True, bid)
    builder.tree = lambda data, plain=builder.tree: bid if data == ["loop"] else plain(data)
    builder.nodes[0x2001] = NodeSpec(["loop"])
    with excise.pst.open(io.BytesIO(builder.build())) as pst, pytest.raises(Damaged):
        pst.ndb.node(0x2001).data.read()


def test_a_subnode_tree_that_names_itself_ends() -> None:
    builder = mailbox()
    bid = builder.next_bid(True)
    builder.block(blocks.SIBlock((blocks.SIEntry(1, bid), blocks.SIEntry(2, bid))).pack(UNICODE), True, bid)
    builder.subtree = lambda subnodes, plain=builder.subtree: bid if "loop" in subnodes else plain(subnodes)
    builder.nodes[0x2001] = NodeSpec([b"x"], {"loop": NodeSpec()})
    with excise.pst.open(io.BytesIO(builder.build())) as pst:
        log = DamageLog()
        assert pst.ndb.node(0x2001, log).subnodes == {}
        assert {damage.field for damage in log.entries} == {"SIENTRY.bid"}


def test_an_attachment_whose_embedded_message_is_its_own_parent_ends() -> None:
    """The attachment's subnode has the message's own blocks: embedding without end in a small file."""
    spec = message(UNICODE, "ouroboros", "b", {0x25: NodeSpec()})
    builder = mailbox(messages={nid_of(0): spec})
    loop = builder.next_bid(True)
    from pst.builder import PT_LONG, PT_OBJECT, context

    inner = context(UNICODE, {(0x3705, PT_LONG): 5, (0x3701, PT_OBJECT): b"\x04\x00\x20\x00\x64\x00\x00\x00"})
    data_bid, message_bid = builder.tree(inner.data), builder.tree(spec.data)
    sub = builder.block(blocks.SLBlock((blocks.SLEntry(0x200004, message_bid, loop),)).pack(UNICODE), True)
    builder.block(blocks.SLBlock((blocks.SLEntry(0x25, data_bid, sub),)).pack(UNICODE), True, loop)
    builder.subtree = lambda subnodes, plain=builder.subtree: loop if 0x25 in subnodes else plain(subnodes)
    with excise.pst.open(io.BytesIO(builder.build())) as pst:
        damage = pst.message(nid_of(0)).read_all()
        assert [each.field for each in damage] == ["depth"]


def test_a_btree_page_that_names_itself_ends() -> None:
    data = bytearray(mailbox(messages={nid_of(0): message(UNICODE, "fine")}).build())
    header = Header.unpack(bytes(data))
    ib, bid = header.root.ibNBT, header.root.bidNBT
    entries = [pages.BTEntry(i, bid, ib) for i in range(20)]
    body = pages.BTPage.of(UNICODE, entries, 5, UNICODE.bt_entry).pack(UNICODE)
    data[ib : ib + 512] = pages.seal_page(UNICODE, body, pages.PTYPE_NBT, ib, bid)
    with pytest.raises(DamagedInput, match="no node"):
        excise.pst.open(io.BytesIO(bytes(data)))


def test_the_log_is_bounded() -> None:
    parent = DamageLog(limit=5)
    log = DamageLog(parent, limit=3)
    for i in range(10):
        for _ in range(2):
            log.add(Damage("ndb", "s", "f", "p", i, "e", "f"))
    assert (len(log.entries), len(parent.entries)) == (3, 5)
    assert log.dropped >= 7
