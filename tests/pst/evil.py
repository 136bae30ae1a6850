"""PST files that somebody made by hand to do harm: each function gives one, all checksums right."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from struct import pack

import excise.pst
from excise.pst import NewMessage, NewProperty
from excise.pst.disk import blocks, ids, maps, pages
from excise.pst.disk.damage import DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import Header
from excise.pst.disk.heaps import BTHHeader, HNHdr, HNPageMap, NameId, TCInfo
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import TableContext
from excise.pst.messaging import tags
from excise.pst.messaging.message import Message
from excise.pst.ndb.edit import NO_TREE, NodeEditor, SubnodeEntry
from pst.edit_stage import MemoryStorage
from pst.editing import Edited, put
from pst.fuzzing import PT_BINARY, PT_LONG, PT_UNICODE, made

Make = Callable[[], bytes]


class CountedStream(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """See ``io.BytesIO``."""
        data = super().read(size)
        self.count += len(data)
        return data


def many() -> bytes:
    """A file whose B-trees have three levels."""
    stream = io.BytesIO()
    with excise.pst.create(stream) as new:
        folder = new.folder(("Inbox",))
        for number in range(260):
            folder.add(NewMessage([NewProperty.of(tags.SUBJECT, PT_UNICODE, f"Inbox {number}")]))
    return stream.getvalue()


def _tree_page(data: bytes, ptype: int, level: int) -> tuple[int, int]:
    """(bid, ib) of the first page of a tree at ``level``."""
    root = Header.unpack(data).root
    bid, ib = (root.bidNBT, root.ibNBT) if ptype == pages.PTYPE_NBT else (root.bidBBT, root.ibBBT)
    while (page := pages.BTPage.unpack(UNICODE, data[ib : ib + 512])).cLevel > level:
        _, bid, ib = UNICODE.bt_entry.unpack_from(page.rgentries)
    assert page.cLevel == level
    return bid, ib


def tree_in_itself(ptype: int, level: int, to: int) -> bytes:
    """A page at ``level`` whose first and last entries name the first page of the level ``to``."""
    edited = Edited(many())
    (_, ib), target = (_tree_page(bytes(edited.data), ptype, each) for each in (level, to))

    def change(body: bytearray) -> None:
        last = body[488] - 1
        for at in (0, last):
            body[24 * at + 8 : 24 * at + 24] = pack("<QQ", *target)

    edited.page(ib, change)
    return bytes(edited.data)


def _message(edited: Edited) -> int:
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        return next(nid for folder in pst.folders() for nid in folder.message_nids)


def _xblock(data: bytes) -> int:
    ndb = excise.pst.open(io.BytesIO(data)).ndb
    return next(
        each.bid for each in ndb.blocks.entries() if ndb.block(each.bid, DamageLog())[:2] == b"\1\1" and each.bid & 2
    )


def xblock_of_four_gigabytes() -> bytes:
    """An XBLOCK that claims 4 GB."""
    edited = Edited(made())
    edited.block(_xblock(bytes(edited.data)), put(4, b"\xff" * 4))
    return bytes(edited.data)


def xblock_of_itself() -> bytes:
    """An XBLOCK that is a level higher and names itself."""
    edited = Edited(made())
    bid = _xblock(bytes(edited.data))

    def change(raw: bytearray) -> None:
        raw[1] = 2
        raw[8:16] = bid.to_bytes(8, "little")

    edited.block(bid, change)
    return bytes(edited.data)


def edit(data: bytes, change: Callable[[NodeEditor], object]) -> bytes:
    """``data`` changed by means of the editor, so that references and maps are right."""
    storage = MemoryStorage(bytearray(data))
    editor = NodeEditor(storage)
    change(editor)
    editor.commit()
    editor.close()
    return bytes(storage.data)


def leaf_as_often_as_fits() -> bytes:
    """As many values as fit into a message, each as large as the file may say, all of one block."""

    def change(editor: NodeEditor) -> None:
        leaf = editor.bytes_tree(b"x\0" * 4088)
        times = editor._storage.size() // 8176 - 2
        bid = editor._block(blocks.XBlock(1, 8176 * times, (leaf.bid,) * times).pack(UNICODE), True)
        _with_body(editor, bid, 100)

    return edit(made(), change)


def _with_body(editor: NodeEditor, bid: int, count: int = 1) -> None:
    nid = next(each for each in editor.ndb.nodes.nids if each & 0x1F == 4)
    entry = editor.entry(nid)
    assert entry is not None
    own = editor.ndb.node(nid, DamageLog())
    assert own is not None
    subnodes = [
        SubnodeEntry(each, editor.existing(sub.bidData), editor.existing(sub.bidSub))
        for each, sub in own.subnodes.items()
    ]
    records, nids = [], []
    for number in range(count):
        nids.append(editor.next_nid(ids.NID_TYPE_LTP))
        records.append(pack("<HHI", 0x6000 + number, PT_UNICODE, nids[-1]))
    records.insert(0, pack("<HHI", 0x0E07, PT_LONG, 1))
    data = heap([*_leaves(records)], 0xBC)
    trees = [SubnodeEntry(each, editor.existing(bid), NO_TREE) for each in nids]
    sub = editor.subnode_tree(sorted([*subnodes, *trees], key=lambda each: each.nid))
    editor.node(nid, editor.bytes_tree(data), sub, entry.nidParent)


def _leaves(records: list[bytes]) -> list[bytes]:
    """The items of a PC of ``records`` in one block: the header of its BTH, then its leaves and what is above them."""
    leaves = [b"".join(records[at : at + 400]) for at in range(0, len(records), 400)]
    if len(leaves) == 1:
        return [BTHHeader(2, 6, 0, 0x40).pack(), *leaves]
    index = b"".join(leaf[:2] + pack("<I", (number + 3) << 5) for number, leaf in enumerate(leaves))
    return [BTHHeader(2, 6, 1, 0x40).pack(), index, *leaves]


def heap(items: list[bytes], client: int, root: int = 0x20) -> bytes:
    """A heap of one block."""
    offsets = [12]
    for item in items:
        offsets.append(offsets[-1] + len(item))
    body = b"".join(items)
    body += bytes(len(body) % 2)
    return HNHdr(12 + len(body), client, root).pack() + body + HNPageMap(0, tuple(offsets)).pack()


def heap_with_overlaps() -> bytes:
    """A message whose heap items all begin at the first one and reach to the end."""
    edited = Edited(made())
    nid = _message(edited)

    def change(raw: bytearray) -> None:
        at = int.from_bytes(raw[:2], "little")
        count = int.from_bytes(raw[at : at + 2], "little")
        offsets = [raw[at + 4 + 2 * k : at + 6 + 2 * k] for k in (0, count)]
        for number in range(count + 1):
            raw[at + 4 + 2 * number : at + 6 + 2 * number] = offsets[number % 2]

    edited.leaf(edited.node(nid), change)
    return bytes(edited.data)


def heap_of_one_item() -> bytes:
    """A message whose properties all name one heap item."""
    edited = Edited(made())
    node = edited.node(_message(edited))
    context = PropertyContext(node)
    hnids = [context.hnid(each) for each in context.ids() if context.type_of(each) in (PT_UNICODE, PT_BINARY, 0x40)]
    target = next(hnid for hnid in hnids if hnid and not hnid & 0x1F)

    def change(raw: bytearray) -> None:
        for hnid in hnids:
            if hnid:
                at = bytes(raw).index(hnid.to_bytes(4, "little"))
                raw[at : at + 4] = target.to_bytes(4, "little")

    edited.leaf(node, change)
    return bytes(edited.data)


def _inbox_table(edited: Edited) -> int:
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        return next(ids.sibling_nid(folder.nid, 0x0E) for folder in pst.folders() if folder.message_nids)


def row_index_in_itself() -> bytes:
    """A contents table whose row index has eight levels that all are the item itself."""
    edited = Edited(made())
    node = edited.node(_inbox_table(edited))
    info = TableContext(node).info
    root = BTHHeader.unpack(TableContext(node).heap.item(info.hidRowIndex)).hidRoot
    edited.item(node, info.hidRowIndex, lambda part: part.__setitem__(slice(0, 8), BTHHeader(4, 4, 8, root).pack()))
    edited.item(node, root, lambda part: part.__setitem__(slice(None), (pack("<II", 0, root) * 600)[: len(part)]))
    return bytes(edited.data)


def row_index_is_its_header() -> bytes:
    """A contents table whose row index is its own header."""
    edited = Edited(made())
    node = edited.node(_inbox_table(edited))
    hid = TableContext(node).info.hidRowIndex
    edited.item(node, hid, lambda part: part.__setitem__(slice(4, 8), hid.to_bytes(4, "little")))
    return bytes(edited.data)


def one_row_many_times() -> bytes:
    """A contents table whose row index names one row 40,000 times."""
    edited = Edited(made())
    table = _inbox_table(edited)

    def change(editor: NodeEditor) -> None:
        node = editor.ndb.node(table, DamageLog())
        assert node is not None
        old = TableContext(node)
        first, number = old.index[0]
        matrix = old.heap.item(old.info.hnidRows)
        leaf = pack("<II", first, number) * 440
        index = b"".join(pack("<II", 0, 4 << 5) for _ in range(440))
        info = TCInfo(old.info.rgib, 0x20, 5 << 5, old.info.rgTCOLDESC)
        items = [BTHHeader(4, 4, 1, 0x40).pack(), index[:8], info.pack(), leaf, matrix]
        entry = editor.entry(table)
        assert entry is not None
        editor.node(table, editor.bytes_tree(heap(items, 0x7C, 0x60)), NO_TREE, entry.nidParent)

    return edit(bytes(edited.data), change)


def subnode_in_itself() -> bytes:
    """A message whose first subnode has the message's own subnodes below it, without end."""
    edited = Edited(made())
    node = edited.node(_message(edited))
    edited.block(node.bid_sub, put(8 + 16, node.bid_sub.to_bytes(8, "little")))
    return bytes(edited.data)


def message_in_itself() -> bytes:
    """An attachment that holds the message that it is attached to."""
    edited = Edited(made())
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        outer, attachment = next(
            (message, each)
            for folder in pst.folders()
            for message in folder.messages()
            if isinstance(message, Message)
            for each in message.attachments
            if each.method == 5
        )
        sub, own = attachment.node.bid_sub, (outer.node.bid_data, outer.node.bid_sub)

    def change(raw: bytearray) -> None:
        raw[16:32] = pack("<QQ", *own)

    edited.block(sub, change)
    return bytes(edited.data)


def folders_in_a_circle() -> bytes:
    """Two folders that are each other's parent, and the top of the mailbox below one of them."""
    edited = Edited(made())
    with excise.pst.open(io.BytesIO(bytes(edited.data))) as pst:
        first, second = (each.nid for each in pst.folders() if each.display_name in ("Inbox", "Other"))
    for nid, parent in ((first, second), (second, first), (0x8022, first)):
        _set_parent(edited, nid, parent)
    return bytes(edited.data)


def root_below_a_folder() -> bytes:
    """The root below one of its own folders."""
    edited = Edited(made())
    _set_parent(edited, 0x122, 0x8022)
    return bytes(edited.data)


def _set_parent(edited: Edited, nid: int, parent: int) -> None:
    for page in range(0x4400, len(edited.data), 512):
        if edited.data[page + 496 : page + 498] == bytes([pages.PTYPE_NBT] * 2) and edited.data[page + 491] == 0:
            for at in range(0, edited.data[page + 488] * 32, 32):
                if int.from_bytes(edited.data[page + at : page + at + 4], "little") == nid:
                    edited.page(page, put(at + 24, parent.to_bytes(4, "little")))


def folders_without_end(depth: int = 3000) -> bytes:
    """Thousands of folders, each in the one before."""

    def change(editor: NodeEditor) -> None:
        node = editor.entry(0x8022)
        assert node is not None
        data, parent = editor.existing(node.bidData), 0x8022
        for _ in range(depth):
            nid = editor.next_nid(ids.NID_TYPE_NORMAL_FOLDER)
            editor.node(nid, data, NO_TREE, parent)
            parent = nid

    return edit(made(), change)


def names_of_one_string(entries: int = 32_000, size: int = 100_000) -> bytes:
    """A map of 32,000 names that all are one string of 100,000 characters: 6 GB."""

    def change(editor: NodeEditor) -> None:
        streams = {
            2: bytes(16),
            3: b"".join(NameId(0, 1 << 1 | 1, at).pack() for at in range(entries)),
            4: pack("<I", 2 * size) + "n".encode("utf-16-le") * size,
        }
        nids = {key: editor.next_nid(ids.NID_TYPE_LTP) for key in streams}
        records = [pack("<HHI", 1, PT_LONG, 251), *(pack("<HHI", key, PT_BINARY, nids[key]) for key in streams)]
        subnodes = [SubnodeEntry(nids[key], editor.bytes_tree(data), NO_TREE) for key, data in streams.items()]
        editor.node(0x61, editor.bytes_tree(heap(_leaves(records), 0xBC)), editor.subnode_tree(subnodes))

    return edit(made(), change)


def values(data: bytes, ptype: int = 0x101F) -> bytes:
    """A message with the multiple value ``data``."""

    def change(editor: NodeEditor) -> None:
        nid = next(each for each in editor.ndb.nodes.nids if each & 0x1F == 4)
        entry, sub = editor.entry(nid), editor.next_nid(ids.NID_TYPE_LTP)
        assert entry is not None
        own = editor.ndb.node(nid, DamageLog())
        assert own is not None
        records = [pack("<HHI", 0x0E07, PT_LONG, 1), pack("<HHI", 0x6001, ptype, sub)]
        rest = [
            SubnodeEntry(each, editor.existing(old.bidData), editor.existing(old.bidSub))
            for each, old in own.subnodes.items()
        ]
        tree = editor.subnode_tree(
            sorted([*rest, SubnodeEntry(sub, editor.bytes_tree(data), NO_TREE)], key=lambda each: each.nid)
        )
        editor.node(nid, editor.bytes_tree(heap(_leaves(records), 0xBC)), tree, entry.nidParent)

    return edit(made(), change)


def two_thousand_million_values() -> bytes:
    """A multiple value that claims 2^31 strings."""
    return values(pack("<II", 1 << 31, 8) + bytes(10_000))


def values_over_each_other() -> bytes:
    """25,000 strings that all begin at the same place."""
    count = 25_000
    return values(pack(f"<I{count}I", count, *([4 + 4 * count] * count)) + b"x\0" * 50_000)


def values_back_and_forth() -> bytes:
    """Strings whose offsets go to and fro, so that each other one would be the whole value."""
    count = 20_000
    first = 4 + 4 * count
    return values(pack(f"<I{count}I", count, *(first + 90_000 * (at & 1) for at in range(count))) + b"x\0" * 50_000)


def recipients_with_one_name() -> bytes:
    """A thousand recipients whose names all are one value of 200,000 bytes in the table."""
    return _rows_with_one_cell(ids.NID_RECIPIENT_TABLE)


def _rows_with_one_cell(table: int, rows: int = 1000) -> bytes:
    def change(editor: NodeEditor) -> None:
        nid = next(each for each in editor.ndb.nodes.nids if each & 0x1F == 4)
        entry = editor.entry(nid)
        own = editor.ndb.node(nid, DamageLog())
        assert own is not None
        assert entry is not None
        old = own.child(table)
        assert old is not None
        info = TableContext(old).info
        large, matrix = editor.next_nid(ids.NID_TYPE_LTP), editor.next_nid(ids.NID_TYPE_LTP)
        name = TableContext(old).columns[tags.DISPLAY_NAME]
        packed = []
        for number in range(1, rows + 1):
            row = bytearray(info.rgib[3])
            row[:8] = pack("<II", number, number)
            row[name.ibData : name.ibData + 4] = large.to_bytes(4, "little")
            row[info.rgib[2] :] = b"\0" * (info.rgib[3] - info.rgib[2])
            for bit in (0, 1, name.iBit):
                row[info.rgib[2] + (bit >> 3)] |= 0x80 >> (bit & 7)
            packed.append(bytes(row))
        per = 8176 // info.rgib[3]
        pieces = [b"".join(packed[at : at + per]).ljust(8176, b"\0") for at in range(0, rows, per)]
        index = [
            b"".join(pack("<II", at + 1, at) for at in range(start, min(rows, start + 440)))
            for start in range(0, rows, 440)
        ]
        above = b"".join(leaf[:4] + pack("<I", (number + 4) << 5) for number, leaf in enumerate(index))
        items = [
            BTHHeader(4, 4, 1, 0x40).pack(),
            above,
            TCInfo(info.rgib, 0x20, matrix, info.rgTCOLDESC).pack(),
            *index,
        ]
        inner = editor.subnode_tree(
            [
                SubnodeEntry(large, editor.bytes_tree(b"n\0" * 100_000), NO_TREE),
                SubnodeEntry(matrix, editor.data_tree(pieces), NO_TREE),
            ]
        )
        new = SubnodeEntry(table, editor.bytes_tree(heap(items, 0x7C, 0x60)), inner)
        rest = [
            SubnodeEntry(each, editor.existing(sub.bidData), editor.existing(sub.bidSub))
            for each, sub in own.subnodes.items()
            if each != table
        ]
        tree = editor.subnode_tree(sorted([*rest, new], key=lambda each: each.nid))
        editor.node(nid, editor.existing(entry.bidData), tree, entry.nidParent)

    return edit(made(), change)


def maps_that_call_all_free() -> bytes:
    """Allocation maps by which a writer would write over everything."""
    return _maps_full_of(0)


def invalid_maps_that_call_all_free() -> bytes:
    """The same in a file that says that its maps do not hold, which is no damage."""
    return _maps_full_of(0, valid=0)


def maps_that_call_all_taken() -> bytes:
    """Allocation maps without a free slot."""
    return _maps_full_of(0xFF)


def _maps_full_of(byte: int, valid: int = 2) -> bytes:
    edited = Edited(made())
    regions = maps.region_count(len(edited.data))
    for region in range(regions):
        for ib, ptype in maps.map_pages(region).items():
            if ptype == pages.PTYPE_AMAP:
                edited.page(ib, put(0, bytes([byte]) * maps.MAP_BITS))
    free = 0 if byte else regions * maps.MAP_BITS * 8 * maps.SLOT
    edited.header(cbAMapFree=free, rgbFM=bytes([0xFF - byte]) * 128, fAMapValid=valid)
    return bytes(edited.data)


def blocks_over_each_other() -> bytes:
    """Two entries of the BBT that say that their blocks lie at one place."""
    edited = Edited(made())
    _, leaf = _tree_page(bytes(edited.data), pages.PTYPE_BBT, 0)
    edited.page(leaf, lambda body: body.__setitem__(slice(32, 48), body[8:24]))
    return bytes(edited.data)


def store_without_a_top() -> bytes:
    """A message store that does not say which folder is the top of the mailbox."""
    edited = Edited(made())
    edited.rename(edited.node(0x21), 0x35E0, 0x35E1)
    return bytes(edited.data)


def counters_used_up() -> bytes:
    """A header whose counters have no number left."""
    edited = Edited(made())
    edited.header(rgnid=(0x7FFFFFF,) * 32, dwUnique=0xFFFFFFF0)
    return bytes(edited.data)


TREES = [
    (ptype, level, to) for ptype in (pages.PTYPE_NBT, pages.PTYPE_BBT) for level in (1, 2) for to in (0, 1, 2)
    if to != level - 1
]  # fmt: skip
FILES: dict[str, Make] = {
    **{f"tree {each[0]:x} level {each[1]} to {each[2]}": partial(tree_in_itself, *each) for each in TREES},
    **{
        each.__name__.replace("_", " "): each
        for each in (
            xblock_of_four_gigabytes, xblock_of_itself, leaf_as_often_as_fits,
            heap_with_overlaps, heap_of_one_item, row_index_in_itself, row_index_is_its_header, one_row_many_times,
            subnode_in_itself, message_in_itself, folders_in_a_circle, root_below_a_folder, folders_without_end,
            names_of_one_string, two_thousand_million_values, values_over_each_other, values_back_and_forth,
            recipients_with_one_name, blocks_over_each_other, store_without_a_top, counters_used_up,
            maps_that_call_all_free, invalid_maps_that_call_all_free, maps_that_call_all_taken,
        )
    },
}  # fmt: skip
