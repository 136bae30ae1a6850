"""Files changed at random: bytes as they stand, and structures below checksums that are right again."""

from __future__ import annotations

import random

from excise.pst.disk import blocks, crypt, pages
from excise.pst.disk.crypt import crc
from excise.pst.disk.header import CRC_FULL_SIZE, CRC_PARTIAL_SIZE, CRC_START, Header
from excise.pst.ndb.read import NodeDatabase

_WORDS = (b"\xff\xff\xff\xff", bytes(4), b"\x01\0\0\0", b"\0\0\0\x80", b"\xfe\xff\xff\x7f", b"\xec\xbc\x02\x01")


def _scrambled(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.choice((1, 2, 6))):
        # Structures begin at the start and, in heaps, end with their page map.
        limit = rng.choice((24, 128, len(out)))
        at = rng.randrange(min(limit, len(out)))
        at = len(out) - 1 - at if rng.random() < 0.3 else at
        kind = rng.randrange(5)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.randrange(256)
        elif kind == 2:
            out[at : at + 4] = rng.choice(_WORDS)[: len(out) - at]
        else:
            source = rng.randrange(len(out))
            size = rng.choice((2, 4, 8, 24, 64))
            piece = out[source : source + size][: len(out) - at]
            out[at : at + len(piece)] = piece
    return bytes(out)


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, overwritten and moved anywhere, most often in the header; sometimes the end cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        at = rng.randrange(len(out)) if rng.random() < 0.7 else rng.randrange(564)
        kind = rng.randrange(4)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x01\x00\x00\x00"))
        elif kind == 2:
            source = rng.randrange(len(out))
            out[at : at + 64] = out[source : source + 64]
        else:
            del out[at:]
            break
        if not out:
            break
    return bytes(out)


def structures_changed(data: bytes, ndb: NodeDatabase, rng: random.Random) -> bytes:
    """Blocks, pages of the trees or the header of ``data`` changed, and their checksums made right again."""
    out = bytearray(data)
    header = Header.unpack(data)
    fmt, root = header.format, header.root
    for _ in range(rng.choice((1, 1, 3))):
        kind = rng.random()
        if kind < 0.75:
            entries = list(ndb.blocks.entries())
            entry = rng.choice(entries)
            plain = data[entry.ib : entry.ib + entry.cb]
            if not entry.bid & 2:
                plain = crypt.decode(plain, header.bCryptMethod, entry.bid)
            changed = _scrambled(plain, rng)
            if not entry.bid & 2:
                changed = crypt.encode(changed, header.bCryptMethod, entry.bid)
            sealed = blocks.seal_block(fmt, changed, entry.ib, entry.bid)
            out[entry.ib : entry.ib + len(sealed)] = sealed
        elif kind < 0.9:
            ptype, ib = rng.choice(((pages.PTYPE_NBT, root.ibNBT), (pages.PTYPE_BBT, root.ibBBT)))
            page = bytes(out[ib : ib + fmt.page_size])
            trailer = pages.PageTrailer.unpack(fmt, page)
            body = _scrambled(pages.page_body(fmt, page), rng)
            out[ib : ib + fmt.page_size] = pages.seal_page(fmt, body, ptype, ib, trailer.bid)
        else:
            out[8 : fmt.header_size] = _scrambled(bytes(out[8 : fmt.header_size]), rng)
            out[:4] = data[:4]
            out[4:8] = crc(bytes(out[CRC_START : CRC_START + CRC_PARTIAL_SIZE])).to_bytes(4, "little")
            if fmt.bid_size == 8:
                full = crc(bytes(out[CRC_START : CRC_START + CRC_FULL_SIZE]))
                out[524:528] = full.to_bytes(4, "little")
    return bytes(out)


def fields_changed(data: bytes, ndb: NodeDatabase, rng: random.Random) -> bytes:
    """Fields of one structure made to lie, the rest of it as it was: wrong references, loops and counts, all sealed."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice((_entry_changed, _entry_changed, _internal_changed, _heap_changed, _heap_changed, _data_moved))(
            out, ndb, rng
        )
    return bytes(out)


def _entry_changed(out: bytearray, ndb: NodeDatabase, rng: random.Random) -> None:
    """One word of an entry in a page of a tree gets the value of another entry, or one that no file has."""
    fmt, root = ndb.format, ndb.header.root
    ib = rng.choice((root.ibNBT, root.ibBBT))
    while True:
        page = bytes(out[ib : ib + fmt.page_size])
        parsed = pages.BTPage.unpack(fmt, page)
        if parsed.cLevel == 0 or rng.random() < 0.2:
            break
        ib = rng.choice([at for _, _, at in fmt.bt_entry.iter_unpack(_used(parsed, fmt.bt_entry.size))])
        if not 0 < ib <= len(out) - fmt.page_size:
            return
    body, word = bytearray(pages.page_body(fmt, page)), fmt.bid_size
    step = parsed.cbEnt or fmt.bt_entry.size
    place = range(max(1, parsed.cEnt))
    at = rng.choice(place) * step + rng.randrange(max(1, step // word)) * word
    if at + word > fmt.entries_size:
        return
    other = rng.choice(place) * step + at % step
    values = [bytes(body[other : other + word]), bytes(body[at : at + word])[::-1], ib.to_bytes(word, "little")]
    values += [b"\xff" * word, bytes(word), rng.randrange(len(out)).to_bytes(word, "little")]
    body[at : at + word] = rng.choice(values[:1] * 4 + values)
    trailer = pages.PageTrailer.unpack(fmt, page)
    out[ib : ib + fmt.page_size] = pages.seal_page(fmt, bytes(body), trailer.ptype, ib, trailer.bid)


def _used(page: pages.BTPage, size: int) -> bytes:
    return page.rgentries[: min(page.cEnt, len(page.rgentries) // size) * size]


def _internal_changed(out: bytearray, ndb: NodeDatabase, rng: random.Random) -> None:
    """A block of a data or subnode tree that names itself or another block, has a wrong level, or claims too much."""
    internal = [entry for entry in ndb.blocks.entries() if entry.bid & 2]
    if not internal:
        return
    entry, other = rng.choice(internal), rng.choice(list(ndb.blocks.entries()))
    raw = bytearray(out[entry.ib : entry.ib + entry.cb])
    word = ndb.format.bid_size
    values = [entry.bid.to_bytes(word, "little"), other.bid.to_bytes(word, "little"), b"\xff" * word]
    kind = rng.randrange(4)
    if kind == 0:
        raw[2:4] = rng.choice((b"\xff\xff", bytes(2), b"\xff\x03"))
    elif kind == 1:
        raw[rng.randrange(2)] = rng.choice((0, 1, 2, 3, 255))
    elif kind == 2 and raw[0] == blocks.BTYPE_X:
        raw[4:8] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\x40", bytes(4)))
    else:
        at = rng.randrange(8, max(9, len(raw)), word)
        raw[at : at + word] = rng.choice(values)[: len(raw) - at]
    _put_block(out, ndb, entry, bytes(raw))


def _heap_changed(out: bytearray, ndb: NodeDatabase, rng: random.Random) -> None:
    """A header, a page map, or two or four bytes of an item of a heap."""
    heaps = [entry for entry in ndb.blocks.entries() if not entry.bid & 2 and entry.cb >= 16]
    for _ in range(20):
        entry = rng.choice(heaps)
        raw = bytearray(_plain(out, ndb, entry))
        if raw[2] == 0xEC:
            break
    else:
        return
    table = int.from_bytes(raw[:2], "little")
    kind = rng.randrange(6)
    if kind == 0:
        at = rng.choice((0, 2, 3, 4, 6))
        raw[at : at + 2] = rng.choice((b"\xff\xff", bytes(2), b"\x20\0", rng.randbytes(2)))
    elif kind == 1:
        at = min(table + 2 * rng.randrange(6), len(raw) - 2)
        raw[at : at + 2] = rng.choice((b"\xff\xff", bytes(2), rng.randbytes(2)))
    else:
        at = 12 + rng.randrange(max(1, min(table, len(raw)) - 14)) // 2 * 2
        source = 12 + rng.randrange(max(1, min(table, len(raw)) - 14)) // 2 * 2
        size = rng.choice((1, 2, 4))
        hid = (rng.randrange(1, 60) << 5).to_bytes(4, "little")
        values = (b"\xff" * 4, bytes(4), hid, hid, bytes(raw[source : source + 4]), rng.choice(_WORDS))
        raw[at : at + size] = rng.choice(values)[: min(size, len(raw) - at)]
    _put_block(out, ndb, entry, bytes(raw))


def _data_moved(out: bytearray, ndb: NodeDatabase, rng: random.Random) -> None:
    """Two blocks exchanged as far as their sizes allow, each sealed at its place."""
    first, second = rng.choices(list(ndb.blocks.entries()), k=2)
    size = min(first.cb, second.cb)
    one, two = _plain(out, ndb, first), _plain(out, ndb, second)
    _put_block(out, ndb, first, two[:size] + one[size:])
    _put_block(out, ndb, second, one[:size] + two[size:])


def _plain(out: bytearray, ndb: NodeDatabase, entry: pages.BBTEntry) -> bytes:
    raw = bytes(out[entry.ib : entry.ib + entry.cb])
    return raw if entry.bid & 2 else crypt.decode(raw, ndb.header.bCryptMethod, entry.bid)


def _put_block(out: bytearray, ndb: NodeDatabase, entry: pages.BBTEntry, plain: bytes) -> None:
    stored = plain if entry.bid & 2 else crypt.encode(plain, ndb.header.bCryptMethod, entry.bid)
    sealed = blocks.seal_block(ndb.format, stored, entry.ib, entry.bid)
    out[entry.ib : entry.ib + len(sealed)] = sealed
