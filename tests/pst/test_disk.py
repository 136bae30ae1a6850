"""The disk layer against real files: unpack, pack, and the same bytes again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from excise.pst.disk import blocks, crypt, heaps, ids, maps, pages
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K, Format
from excise.pst.disk.header import Header, header_crcs

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(SAMPLES.glob("*.pst"))
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")
# A third party's library wrote it; strict readers refuse it.
ODD = "enron.pst"


def each_sample(test):
    return real(pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)(test))


def tree_pages(data: bytes, fmt: Format, ib: int) -> Iterator[tuple[int, bytes, pages.BTPage]]:
    page = data[ib : ib + fmt.page_size]
    parsed = pages.BTPage.unpack(fmt, page)
    yield ib, page, parsed
    if parsed.cLevel:
        for i in range(parsed.cEnt):
            yield from tree_pages(data, fmt, pages.BTEntry.unpack(fmt, parsed.rgentries, i * parsed.cbEnt).ib)


def block_entries(data: bytes, header: Header) -> Iterator[pages.BBTEntry]:
    for _, _, page in tree_pages(data, header.format, header.root.ibBBT):
        if page.cLevel == 0:
            for i in range(page.cEnt):
                yield pages.BBTEntry.unpack(header.format, page.rgentries, i * page.cbEnt)


@each_sample
def test_header_round_trip_and_crcs(path: Path) -> None:
    data = path.read_bytes()
    header = Header.unpack(data)
    assert header.pack() == data[: header.format.header_size]
    if path.name != ODD:
        assert header_crcs(data, header.format) == (header.dwCRCPartial, header.dwCRCFull)
        assert header.sealed() == header
    assert header.root.ibFileEof == len(data)


@each_sample
def test_every_tree_page_and_entry_packs_to_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    header = Header.unpack(data)
    fmt = header.format
    for root, kind, ptype in (
        (header.root.ibNBT, pages.NBTEntry, pages.PTYPE_NBT),
        (header.root.ibBBT, pages.BBTEntry, pages.PTYPE_BBT),
    ):
        for ib, page, parsed in tree_pages(data, fmt, root):
            assert parsed.pack(fmt) == pages.page_body(fmt, page)
            trailer = pages.PageTrailer.unpack(fmt, page)
            assert trailer.pack(fmt) == page[-fmt.page_trailer_size :]
            assert trailer.ptype == trailer.ptypeRepeat == ptype
            assert pages.seal_page(fmt, parsed.pack(fmt), ptype, ib, trailer.bid) == page
            entry = pages.BTEntry if parsed.cLevel else kind
            for i in range(parsed.cEnt):
                raw = parsed.rgentries[i * parsed.cbEnt : (i + 1) * parsed.cbEnt]
                assert entry.unpack(fmt, raw).pack(fmt) == raw


@each_sample
def test_every_block_seals_to_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    header = Header.unpack(data)
    fmt = header.format
    count = 0
    for entry in block_entries(data, header):
        size = fmt.block_size(entry.cb)
        whole = data[entry.ib : entry.ib + size]
        trailer = blocks.BlockTrailer.unpack(fmt, whole, size - fmt.block_trailer_size)
        raw = whole[: entry.cb]
        assert trailer.pack(fmt) == whole[-fmt.block_trailer_size :]
        assert trailer.cb == entry.cb
        assert trailer.dwCRC == crypt.crc(raw)
        assert trailer.bid & ~1 == entry.bid & ~1
        if path.name != ODD:
            assert (
                blocks.seal_block(fmt, raw, entry.ib, trailer.bid)[-fmt.block_trailer_size :]
                == whole[-fmt.block_trailer_size :]
            )
        plain = raw if ids.is_internal(entry.bid) else crypt.decode(raw, header.bCryptMethod, entry.bid)
        if not ids.is_internal(entry.bid):
            assert crypt.encode(plain, header.bCryptMethod, entry.bid) == raw
        else:
            check_internal(fmt, raw)
        count += 1
    assert count > 10


def check_internal(fmt: Format, raw: bytes) -> None:
    btype, level = blocks.block_kind(raw)
    if btype == blocks.BTYPE_X:
        packed = blocks.XBlock.unpack(fmt, raw).pack(fmt)
    else:
        packed = (blocks.SIBlock if level else blocks.SLBlock).unpack(fmt, raw).pack(fmt)
    # Outlook rounds some internal blocks up with bytes of no meaning.
    assert raw[: len(packed)] == packed


@each_sample
def test_every_heap_header_page_map_and_table_packs_to_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    header = Header.unpack(data)
    tables = contexts = 0
    for entry in block_entries(data, header):
        if ids.is_internal(entry.bid):
            continue
        plain = crypt.decode(data[entry.ib : entry.ib + entry.cb], header.bCryptMethod, entry.bid)
        if len(plain) < 16 or plain[2] != heaps.HN_SIGNATURE or plain[3] not in (heaps.CLIENT_PC, heaps.CLIENT_TC):
            continue
        top = heaps.HNHdr.unpack(plain)
        if heaps.hid_parts(top.hidUserRoot)[0]:
            continue
        assert top.pack() == plain[: heaps.HNHDR_SIZE]
        page_map = heaps.HNPageMap.unpack(plain, top.ibHnpm)
        assert page_map.pack() == plain[top.ibHnpm : top.ibHnpm + 4 + 2 * len(page_map.rgibAlloc)]
        item = heaps.hid_parts(top.hidUserRoot)[1]
        root = plain[page_map.rgibAlloc[item - 1] : page_map.rgibAlloc[item]]
        if top.bClientSig == heaps.CLIENT_TC:
            assert heaps.TCInfo.unpack(root).pack() == root
            tables += 1
        else:
            assert heaps.BTHHeader.unpack(root).pack() == root
            contexts += 1
    assert tables
    assert contexts


@each_sample
def test_map_pages_stand_on_the_grid_and_seal_to_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    fmt = Header.unpack(data).format
    for region in range(maps.region_count(len(data))):
        for ib, ptype in maps.map_pages(region).items():
            page = data[ib : ib + fmt.page_size]
            trailer = pages.PageTrailer.unpack(fmt, page)
            assert trailer.ptype == ptype
            bits = maps.unpack_map(fmt, page)
            sealed = pages.seal_page(fmt, maps.pack_map(fmt, bits), ptype, ib, 0)
            if path.name != ODD:
                assert sealed == page
    dlist = data[maps.IB_DLIST : maps.IB_DLIST + fmt.page_size]
    trailer = pages.PageTrailer.unpack(fmt, dlist)
    if trailer.ptype == pages.PTYPE_DLIST:
        parsed = maps.DListPage.unpack(fmt, dlist)
        assert parsed.pack(fmt) == pages.page_body(fmt, dlist)
        if path.name != ODD:
            assert pages.seal_page(fmt, parsed.pack(fmt), trailer.ptype, maps.IB_DLIST, trailer.bid) == dlist


@pytest.mark.parametrize("method", [crypt.CRYPT_NONE, crypt.CRYPT_PERMUTE, crypt.CRYPT_CYCLIC])
@pytest.mark.parametrize("bid", [4, 0x1234ABFC, 0xFFFFFFFC])
def test_encodings_reverse(method: int, bid: int) -> None:
    data = bytes(range(256)) * 5
    encoded = crypt.encode(data, method, bid)
    assert crypt.decode(encoded, method, bid) == data
    assert (encoded == data) == (method == crypt.CRYPT_NONE)


def test_cyclic_is_the_algorithm_of_the_specification() -> None:
    """Byte by byte as [MS-PST] 5.2 has it, written apart from the fast form."""
    r, s, i = crypt._R, crypt._S, crypt._I
    data, bid = os.urandom(1000), 0x0001FFF4
    w = (bid >> 16 ^ bid) & 0xFFFF
    expected = bytearray()
    for byte in data:
        b = r[(byte + (w & 0xFF)) & 0xFF]
        b = s[(b + (w >> 8)) & 0xFF]
        b = (i[(b - (w >> 8)) & 0xFF] - (w & 0xFF)) & 0xFF
        expected.append(b)
        w = w + 1 & 0xFFFF
    assert crypt.encode(data, crypt.CRYPT_CYCLIC, bid) == bytes(expected)


def test_wip_encryption_needs_a_key() -> None:
    with pytest.raises(ValueError, match="key"):
        crypt.decode(b"x", crypt.CRYPT_EDPCRYPTED, 4)


def test_grid_positions() -> None:
    assert maps.amap_offset(0) == 0x4400
    assert maps.map_pages(128) == {maps.amap_offset(128): 0x84, maps.amap_offset(128) + 512: 0x83, 0x1F04800: 0x82}
    assert maps.map_pages(8192)[0x7C004800] == pages.PTYPE_FPMAP
    assert maps.map_pages(39936)[maps.amap_offset(39936) + 1024] == pages.PTYPE_FPMAP
    assert maps.amap_offset(39936) == 10_141_844_480
    assert maps.fmap_place(127) == (None, 127)
    assert maps.fmap_place(128) == (128, 0)
    assert maps.fmap_place(128 + 497) == (624, 1)


def test_longest_free_run_and_free_slots() -> None:
    bits = b"\xff" + b"\x0f" + b"\xff" * 494
    assert maps.longest_free(bits) == 4
    assert maps.free_slots(bits) == 4
    assert maps.longest_free(bytes(496)) == 255
    assert maps.longest_free(b"\xff" * 496) == 0
    region, first, count = maps.slot_run(maps.amap_offset(1) + 128, 65)
    assert (region, first, count) == (1, 2, 2)
    assert maps.slot_mask(2, 2).to_bytes(496, "big")[0] == 0x30


@pytest.mark.parametrize(
    ("fmt", "cb", "size"),
    [(UNICODE, 48, 64), (UNICODE, 49, 128), (UNICODE, 8176, 8192), (ANSI, 8180, 8192), (UNICODE_4K, 65512, 65536)],
)
def test_block_sizes(fmt: Format, cb: int, size: int) -> None:
    assert fmt.block_size(cb) == size
    sealed = blocks.seal_block(fmt, bytes(cb), 0x8000, 0x44)
    assert len(sealed) == size
    trailer = blocks.BlockTrailer.unpack(fmt, sealed, size - fmt.block_trailer_size)
    assert (trailer.cb, trailer.bid, trailer.dwCRC) == (cb, 0x44, 0)


@pytest.mark.parametrize("fmt", [ANSI, UNICODE], ids=lambda fmt: fmt.name)
def test_a_sealed_block_is_told_from_any_other(fmt: Format) -> None:
    data = bytes(range(100))
    sealed = blocks.seal_block(fmt, data, 0x8000, 0x44)
    assert blocks.is_sealed(fmt, sealed, len(data), 0x8000, 0x44)
    # Padding has no checksum, and is nobody's data.
    for at in (*range(len(data)), *range(len(sealed) - fmt.block_trailer_size, len(sealed))):
        changed = bytearray(sealed)
        changed[at] ^= 1
        assert not blocks.is_sealed(fmt, bytes(changed), len(data), 0x8000, 0x44)
    for wrong in ((len(data) - 1, 0x8000, 0x44), (len(data), 0x8040, 0x44), (len(data), 0x8000, 0x48)):
        assert not blocks.is_sealed(fmt, sealed, *wrong)
    assert not blocks.is_sealed(fmt, sealed[64:], len(data), 0x8000, 0x44)


def test_a_block_of_the_format_of_4_kb_is_always_looked_at() -> None:
    sealed = blocks.seal_block(UNICODE_4K, b"data", 0x8000, 0x44)
    assert not blocks.is_sealed(UNICODE_4K, sealed, 4, 0x8000, 0x44)


def test_limits_of_unicode_blocks() -> None:
    assert blocks.XBlock.max_entries(UNICODE) == 1021
    assert blocks.SLBlock.max_entries(UNICODE) == 340
    assert blocks.SIBlock.max_entries(UNICODE) == 510
    with pytest.raises(ValueError, match="0 bytes"):
        blocks.seal_block(UNICODE, b"", 0x8000, 4)


def test_heap_ids_of_both_widths() -> None:
    assert heaps.hid_parts(heaps.hid(3, 2047)) == (3, 2047)
    assert heaps.hid_parts(heaps.hid(3, 16383, UNICODE_4K), UNICODE_4K) == (3, 16383)
    assert [heaps.heap_header_size(i) for i in (0, 1, 8, 9, 136)] == [12, 2, 66, 2, 66]
    assert heaps.fill_level(2962) == 1
    assert heaps.fill_level(0) == 15
