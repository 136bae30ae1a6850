"""A small builder of PST and OST files for the reader's tests.

It writes what the tests need and no more: append-only blocks, one level of XBLOCK and SLBLOCK, full B-trees, no
allocation maps. It shares only ``disk`` with the reader. Every knob that a test turns to lie is a plain attribute.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from struct import pack

from excise.pst.disk import blocks, crypt, heaps, ids, pages
from excise.pst.disk.formats import UNICODE, UNICODE_4K, Format
from excise.pst.disk.header import CLIENT_OST, CLIENT_PST, VALID_AMAP2, Header, Root

PT_LONG, PT_BOOLEAN, PT_OBJECT, PT_UNICODE, PT_TIME, PT_BINARY = 0x03, 0x0B, 0x0D, 0x1F, 0x40, 0x102
FIXED = {PT_LONG: "<i", PT_BOOLEAN: "<B", PT_TIME: "<q"}


class HeapBuilder:
    """Heap items, cut into blocks."""

    def __init__(self, fmt: Format, client: int) -> None:
        self.fmt = fmt
        self.client = client
        self.pages: list[list[bytes]] = [[]]
        self.root = 0

    def add(self, data: bytes) -> int:
        room = self.fmt.max_block_data - 80
        used = sum(map(len, self.pages[-1])) + 2 * len(self.pages[-1])
        if used + len(data) + 2 > room or len(self.pages[-1]) >= 2000:
            self.pages.append([])
        self.pages[-1].append(data)
        return heaps.hid(len(self.pages) - 1, len(self.pages[-1]), self.fmt)

    def blocks(self) -> list[bytes]:
        out = []
        for index, items in enumerate(self.pages):
            start = heaps.heap_header_size(index)
            offsets = [start]
            for item in items:
                offsets.append(offsets[-1] + len(item))
            last = index == len(self.pages) - 1
            tail = 4 + 2 * len(offsets)
            at = offsets[-1] + offsets[-1] % 2
            if not last:
                at = self.fmt.max_block_data - tail - 2
                at -= at % 2
                offsets.append(at)  # a filler item, so that the block is full
                tail += 2
            empty = sum(a == b for a, b in pairwise(offsets))
            body = b"".join(items).ljust(at - start, b"\0") + heaps.HNPageMap(empty, tuple(offsets)).pack()
            if index == 0:
                header = heaps.HNHdr(at, self.client, self.root).pack()
            elif heaps.heap_header_size(index) == heaps.HNBITMAPHDR_SIZE:
                header = heaps.pack_bitmap_header(at, bytes(64))
            else:
                header = pack("<H", at)
            data = header + body
            out.append(data if last else data.ljust(self.fmt.max_block_data, b"\0"))
        return out

    def bth(self, records: list[bytes], key: int, entry: int) -> int:
        """A BTH of ``records`` with as many index levels as it takes."""
        per = heaps.MAX_HEAP_ITEM // (key + entry)
        level = [(r[:key], r) for r in records]
        levels = 0
        nodes = [(level[i][0], self.add(b"".join(r for _, r in level[i : i + per]))) for i in range(0, len(level), per)]
        while len(nodes) > 1:
            per = heaps.MAX_HEAP_ITEM // (key + 4)
            nodes = [
                (nodes[i][0], self.add(b"".join(k + pack("<I", h) for k, h in nodes[i : i + per])))
                for i in range(0, len(nodes), per)
            ]
            levels += 1
        return self.add(heaps.BTHHeader(key, entry, levels, nodes[0][1] if nodes else 0).pack())


@dataclass
class NodeSpec:
    """A node: its data as blocks, its subnodes, its parent."""

    data: list[bytes] = field(default_factory=list)
    subnodes: dict[int, NodeSpec] = field(default_factory=dict)
    parent: int = 0


def encode_value(ptype: int, value: object) -> bytes:
    if ptype in FIXED:
        return pack(FIXED[ptype], value)
    return value.encode("utf-16-le") if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]


def split(fmt: Format, data: bytes) -> list[bytes]:
    size = fmt.max_block_data
    return [data[i : i + size] for i in range(0, len(data), size)]


def context(
    fmt: Format, properties: dict[tuple[int, int], object], subnodes: dict[int, NodeSpec] | None = None
) -> NodeSpec:
    """A PC; {(id, type): value}. Values too large for the heap become subnodes."""
    subnodes = dict(subnodes or {})
    heap = HeapBuilder(fmt, heaps.CLIENT_PC)
    records = []
    for (prop_id, ptype), value in sorted(properties.items()):
        data = encode_value(ptype, value)
        if ptype in (PT_LONG, PT_BOOLEAN):
            hnid = int.from_bytes(data, "little")
        elif not data:
            hnid = 0
        elif len(data) <= heaps.MAX_HEAP_ITEM:
            hnid = heap.add(data)
        else:
            hnid = ids.nid(ids.NID_TYPE_LTP, 0x500 + len(subnodes))
            subnodes[hnid] = NodeSpec(split(fmt, data))
        records.append(heaps.pack_pc_record(prop_id, ptype, hnid))
    heap.root = heap.bth(records, 2, 6)
    return NodeSpec(heap.blocks(), subnodes)


def table(fmt: Format, columns: list[tuple[int, int]], rows: dict[int, dict[int, object]]) -> NodeSpec:
    """A TC of (id, type) columns beside row id and version, which is made up as row number + 1."""
    heap = HeapBuilder(fmt, heaps.CLIENT_TC)
    columns = sorted([*columns, (0x67F2, PT_LONG), (0x67F3, PT_LONG)])
    wide = [c for c in columns if c[1] != PT_BOOLEAN and c[0] not in (0x67F2, 0x67F3)]
    places, at = {0x67F2: 0, 0x67F3: 4}, 8
    for prop_id, ptype in wide:
        places[prop_id] = at
        at += 8 if ptype == PT_TIME else 4
    end4 = at
    for prop_id, ptype in columns:
        if ptype == PT_BOOLEAN:
            places[prop_id] = at
            at += 1
    end1, size = at, at + (len(columns) + 7) // 8
    bits = {0x67F2: 0, 0x67F3: 1} | {
        c[0]: i + 2 for i, c in enumerate(c for c in columns if c[0] not in (0x67F2, 0x67F3))
    }
    described = tuple(
        heaps.TColDesc(prop_id << 16 | ptype, places[prop_id], {PT_TIME: 8, PT_BOOLEAN: 1}.get(ptype, 4), bits[prop_id])
        for prop_id, ptype in columns
    )
    subnodes: dict[int, NodeSpec] = {}
    packed = []
    for number, (row_id, values) in enumerate(sorted(rows.items())):
        row = bytearray(size)
        for prop_id, ptype in columns:
            value = {0x67F2: row_id, 0x67F3: number + 1}.get(prop_id, values.get(prop_id))
            if value is None:
                continue
            data = encode_value(ptype, value)
            if ptype not in FIXED:
                if len(data) > heaps.MAX_HEAP_ITEM:
                    nid = ids.nid(ids.NID_TYPE_LTP, 0x600 + len(subnodes))
                    subnodes[nid] = NodeSpec(split(fmt, data))
                    data = pack("<I", nid)
                else:
                    data = pack("<I", heap.add(data) if data else 0)
            row[places[prop_id] : places[prop_id] + len(data)] = data
            row[end1 + (bits[prop_id] >> 3)] |= 0x80 >> (bits[prop_id] & 7)
        packed.append(bytes(row))
    index = [pack("<I" + fmt.row_index_code, row_id, i) for i, row_id in enumerate(sorted(rows))]
    index_hid = heap.bth(index, 4, 2 if fmt.row_index_code == "H" else 4)
    matrix = 0
    if packed and len(packed) * size <= heaps.MAX_HEAP_ITEM:
        matrix = heap.add(b"".join(packed))
    elif packed:
        matrix = ids.nid(ids.NID_TYPE_LTP, 0x5FF)
        per = fmt.max_block_data // size
        chunks = [b"".join(packed[i : i + per]) for i in range(0, len(packed), per)]
        subnodes[matrix] = NodeSpec([*(c.ljust(fmt.max_block_data, b"\0") for c in chunks[:-1]), chunks[-1]])
    heap.root = heap.add(heaps.TCInfo((end4, end4, end1, size), index_hid, matrix, described).pack())
    return NodeSpec(heap.blocks(), subnodes)


class FileBuilder:
    """Nodes → a file."""

    def __init__(self, fmt: Format = UNICODE, method: int = crypt.CRYPT_PERMUTE, version: int | None = None) -> None:
        self.fmt = fmt
        self.method = method
        self.version = version or fmt.versions[-1]
        self.nodes: dict[int, NodeSpec] = {}
        self.extra: list[pages.BBTEntry] = []
        self.out = bytearray(0x4600)
        self.entries: list[pages.BBTEntry] = []
        self._bid = ids.BID_STEP

    def next_bid(self, internal: bool) -> int:
        self._bid += ids.BID_STEP
        return self._bid | (ids.BID_INTERNAL if internal else 0)

    def block(self, data: bytes, internal: bool = False, bid: int | None = None) -> int:
        bid = self.next_bid(internal) if bid is None else bid
        inflated = len(data)
        if not internal:
            data = crypt.encode(data, self.method, bid)
        if self.fmt is UNICODE_4K and len(squeezed := zlib.compress(data)) < len(data):
            data = squeezed
        size = self.fmt.block_size(len(data))
        # No block crosses a region; that keeps the file honest for other readers.
        self.out += bytes(-len(self.out) % self.fmt.block_unit)
        ib = len(self.out)
        self.out += blocks.seal_block(self.fmt, data, ib, bid, inflated)
        assert len(self.out) == ib + size
        self.entries.append(pages.BBTEntry(bid, ib, len(data), 2, 0, inflated))
        return bid

    def tree(self, data: list[bytes]) -> int:
        if not data:
            return 0
        if len(data) == 1:
            return self.block(data[0])
        bids = [self.block(each) for each in data]
        most = blocks.XBlock.max_entries(self.fmt)
        sizes = dict(zip(bids, map(len, data), strict=True))
        groups = [bids[i : i + most] for i in range(0, len(bids), most)]
        made = [
            self.block(blocks.XBlock(1, sum(sizes[b] for b in group), tuple(group)).pack(self.fmt), True)
            for group in groups
        ]
        if len(made) == 1:
            return made[0]
        return self.block(blocks.XBlock(2, sum(sizes.values()), tuple(made)).pack(self.fmt), True)

    def subtree(self, subnodes: dict[int, NodeSpec]) -> int:
        if not subnodes:
            return 0
        entries = [
            blocks.SLEntry(nid, self.tree(spec.data), self.subtree(spec.subnodes))
            for nid, spec in sorted(subnodes.items())
        ]
        most = blocks.SLBlock.max_entries(self.fmt)
        leaves = [entries[i : i + most] for i in range(0, len(entries), most)]
        made = [(leaf[0].nid, self.block(blocks.SLBlock(tuple(leaf)).pack(self.fmt), True)) for leaf in leaves]
        if len(made) == 1:
            return made[0][1]
        return self.block(blocks.SIBlock(tuple(blocks.SIEntry(*each) for each in made)).pack(self.fmt), True)

    def btree(self, entries: list, ptype: int, bid: int) -> tuple[int, int, int]:
        fmt = self.fmt
        leaf = fmt.nbt_entry if ptype == pages.PTYPE_NBT else fmt.bbt_entry
        key = (lambda e: e.nid) if ptype == pages.PTYPE_NBT else (lambda e: e.bid)
        level, entry, keyed = 0, leaf, [(key(e), e) for e in sorted(entries, key=key)]
        while True:
            most = fmt.entries_size // entry.size
            groups = [keyed[i : i + most] for i in range(0, len(keyed), most)] or [[]]
            above = []
            for group in groups:
                self.out += bytes(-len(self.out) % fmt.page_size)
                ib = len(self.out)
                body = pages.BTPage.of(fmt, [e for _, e in group], level, entry).pack(fmt)
                self.out += pages.seal_page(fmt, body, ptype, ib, bid)
                above.append((group[0][0] if group else 0, pages.BTEntry(group[0][0] if group else 0, bid, ib)))
                bid += 1
            if len(above) == 1:
                return above[0][1].bid, above[0][1].ib, bid
            keyed, level, entry = above, level + 1, fmt.bt_entry

    def build(self) -> bytes:
        fmt = self.fmt
        nbt = [
            pages.NBTEntry(nid, self.tree(spec.data), self.subtree(spec.subnodes), spec.parent)
            for nid, spec in self.nodes.items()
        ]
        nbt_bid, nbt_ib, bid = self.btree(nbt, pages.PTYPE_NBT, 0x100)
        bbt_bid, bbt_ib, bid = self.btree([*self.entries, *self.extra], pages.PTYPE_BBT, bid)
        root = Root(len(self.out), 0x4400, 0, 0, nbt_bid, nbt_ib, bbt_bid, bbt_ib, VALID_AMAP2)
        client = CLIENT_OST if fmt is UNICODE_4K else CLIENT_PST
        header = Header(
            wVer=self.version, root=root, bidNextB=self._bid + 8, bidNextP=bid, dwUnique=1 << 20,
            rgnid=(0x20000,) * 32, bCryptMethod=self.method, wMagicClient=client,
        ).sealed()  # fmt: skip
        self.out[: fmt.header_size] = header.pack()
        return bytes(self.out)


CONTENTS = [(0x0037, PT_UNICODE), (0x0042, PT_UNICODE), (0x0E06, PT_TIME), (0x0E07, PT_LONG), (0x001A, PT_UNICODE)]
ROOT, TOP, INBOX = 0x122, 0x8022, 0x8082
EPOCH_2020 = 132_223_104_000_000_000


def folder(
    builder: FileBuilder, nid: int, parent: int, name: str, children: dict[int, str], rows: dict[int, dict]
) -> None:
    fmt = builder.fmt
    properties = {(0x3001, PT_UNICODE): name, (0x3602, PT_LONG): len(rows), (0x3603, PT_LONG): 0}
    builder.nodes[nid] = context(fmt, properties | {(0x360A, PT_BOOLEAN): bool(children)})
    builder.nodes[nid].parent = parent
    hierarchy = [(0x3001, PT_UNICODE), (0x3602, PT_LONG)]
    kids = {child: {0x3001: text, 0x3602: 0} for child, text in children.items()}
    builder.nodes[ids.sibling_nid(nid, 0x0D)] = table(fmt, hierarchy, kids)
    builder.nodes[ids.sibling_nid(nid, 0x0E)] = table(fmt, CONTENTS, rows)
    builder.nodes[ids.sibling_nid(nid, 0x0F)] = table(fmt, [(0x001A, PT_UNICODE)], {})


def message(fmt: Format, subject: str, body: str = "body", attachments: dict[int, NodeSpec] | None = None) -> NodeSpec:
    recipients = table(
        fmt, [(0x0C15, PT_LONG), (0x3001, PT_UNICODE), (0x39FE, PT_UNICODE)],
        {1: {0x0C15: 1, 0x3001: "Ada", 0x39FE: "ada@example.org"}},
    )  # fmt: skip
    subnodes = {0x692: recipients, **(attachments or {})}
    flags = 1 | (0x10 if attachments else 0)
    properties = {
        (0x001A, PT_UNICODE): "IPM.Note", (0x0037, PT_UNICODE): subject, (0x0042, PT_UNICODE): "Grace",
        (0x0E06, PT_TIME): EPOCH_2020, (0x0E07, PT_LONG): flags, (0x1000, PT_UNICODE): body,
    }  # fmt: skip
    return context(fmt, properties, subnodes)


def attachment(fmt: Format, name: str, data: bytes) -> NodeSpec:
    return context(
        fmt, {(0x3705, PT_LONG): 1, (0x3707, PT_UNICODE): name, (0x3701, PT_BINARY): data, (0x0E20, PT_LONG): len(data)}
    )


def embedded(fmt: Format, inner: NodeSpec, nid: int = 0x200004) -> NodeSpec:
    return context(fmt, {(0x3705, PT_LONG): 5, (0x3701, PT_OBJECT): pack("<II", nid, 100)}, {nid: inner})


def mailbox(
    fmt: Format = UNICODE, method: int = crypt.CRYPT_PERMUTE, messages: dict[int, NodeSpec] | None = None,
    rows: dict[int, dict] | None = None, version: int | None = None,
) -> FileBuilder:  # fmt: skip
    """A store with Inbox; ``rows`` defaults to a true row for each message with the subject of its number."""
    builder = FileBuilder(fmt, method, version)
    key = (0x0FF9, PT_BINARY)
    builder.nodes[0x21] = context(fmt, {key: b"0123456789abcdef", (0x3001, PT_UNICODE): "Test"})
    guids, names = bytes(range(16)), "exampleName".encode("utf-16-le")
    builder.nodes[0x61] = context(
        fmt,
        {
            (1, PT_LONG): 251, (2, PT_BINARY): guids, (4, PT_BINARY): pack("<I", len(names)) + names + bytes(2),
            (3, PT_BINARY): heaps.NameId(0x8005, 3 << 1, 0).pack() + heaps.NameId(0, 3 << 1 | 1, 1).pack(),
        },
    )  # fmt: skip
    folder(builder, ROOT, ROOT, "", {TOP: "Top"}, {})
    folder(builder, TOP, ROOT, "Top", {INBOX: "Inbox"}, {})
    messages = messages or {}
    folder(builder, INBOX, TOP, "Inbox", {}, rows if rows is not None else {nid: row(nid) for nid in messages})
    for nid, spec in messages.items():
        spec.parent = INBOX
        builder.nodes[nid] = spec
    return builder


def row(nid: int, subject: str | None = None) -> dict[int, object]:
    return {
        0x0037: subject if subject is not None else f"Message {nid:x}", 0x0042: "Grace", 0x0E06: EPOCH_2020, 0x0E07: 1,
        0x001A: "IPM.Note",
    }  # fmt: skip


def nid_of(number: int) -> int:
    return ids.nid(ids.NID_TYPE_NORMAL_MESSAGE, 0x10001 + number)
