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
