"""The two B-trees, read whole into sorted arrays ([MS-PST] 2.2.2.7.7).

Rules of this reader:
- a page counts once, a child page has a lower level than its parent, and there are no more pages than fit into the
  file, so that no loop of references can hold it;
- a page with a wrong checksum is used and reported; a page of another kind, or outside the file, is reported and
  skipped;
- the same key twice: the first stands.
Leaves are joined as bytes and cut into arrays with strides, so the cost is a few microseconds a page.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from excise.pst.disk.crypt import crc, signature
from excise.pst.disk.damage import Damage, DamageLog
from excise.pst.disk.formats import UNICODE_4K, Format
from excise.pst.disk.ids import bid_key
from excise.pst.disk.pages import (
    PTYPE_BBT,
    PTYPE_NBT,
    BBTEntry,
    BTPage,
    NBTEntry,
    PageTrailer,
    is_sealed,
    leaf_entries,
    page_body,
)
from excise.pst.ndb.source import Source

_MAX_LEVEL = 16
_NAMES = {PTYPE_BBT: "BBT", PTYPE_NBT: "NBT"}


class BlockTable:
    """The BBT: BID → BBTENTRY. Keys have their reserved bit 0 cleared."""

    def __init__(self, fmt: Format, leaves: bytes, log: DamageLog) -> None:
        self._format = fmt
        fields = _columns(fmt, leaves, fmt.bbt_entry.size)
        keys: Sequence[int] = fields[0]
        if any(map((1).__and__, keys)):
            keys = array(fields[0].typecode, map(bid_key, keys))
        self._keys, (self._ib, self._sizes) = _sorted("BBT", "bid", keys, fields[1:], log)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, bid: int) -> BBTEntry | None:
        """The entry of ``bid``, or None."""
        at = self.position(bid)
        return None if at is None else self.at(at)

    def position(self, bid: int) -> int | None:
        """The place of ``bid`` among the entries, from 0, or None."""
        # As ``_find``; this is asked for every reference in a file.
        keys, key = self._keys, bid & ~1
        at = bisect_left(keys, key)
        return at if at < len(keys) and keys[at] == key else None

    def entries(self) -> Iterator[BBTEntry]:
        """All entries by BID."""
        return map(self.at, range(len(self._keys)))

    def values(self) -> Iterator[tuple[int, int, int, int]]:
        """All entries by BID, each as (bid, ib, cb, cRef), which is faster than ``entries``."""
        shift = 32 if self._format is UNICODE_4K else 16
        for bid, ib, sizes in zip(self._keys, self._ib, self._sizes, strict=True):
            yield bid, ib, sizes & 0xFFFF, sizes >> shift & 0xFFFF

    def place(self, at: int) -> tuple[int, int, int]:
        """(bid, ib, cb) of the entry at a position, which is faster than ``at``."""
        return self._keys[at], self._ib[at], self._sizes[at] & 0xFFFF

    def at(self, at: int) -> BBTEntry:
        """The entry at a position."""
        sizes = self._sizes[at]
        cb, second = sizes & 0xFFFF, sizes >> 16 & 0xFFFF
        if self._format is UNICODE_4K:
            return BBTEntry(self._keys[at], self._ib[at], cb, sizes >> 32 & 0xFFFF, sizes >> 48, second)
        return BBTEntry(self._keys[at], self._ib[at], cb, second, sizes >> 32, cb)


class NodeTable:
    """The NBT: NID → NBTENTRY."""

    def __init__(self, fmt: Format, leaves: bytes, log: DamageLog) -> None:
        nids, data, sub, parents = _columns(fmt, leaves, fmt.nbt_entry.size)
        if nids.typecode == "Q":
            nids, parents = (array("Q", map(0xFFFFFFFF.__and__, column)) for column in (nids, parents))
        self.nids, (self._data, self._sub, self.parents) = _sorted("NBT", "nid", nids, (data, sub, parents), log)

    def __len__(self) -> int:
        return len(self.nids)

    def find(self, nid: int) -> NBTEntry | None:
        """The entry of ``nid``, or None."""
        at = _find(self.nids, nid)
        return None if at is None else self._entry(at)

    def values(self) -> Iterator[tuple[int, int, int, int]]:
        """All entries by NID, each as (nid, bidData, bidSub, nidParent), which is faster than ``entries``."""
        return zip(self.nids, self._data, self._sub, self.parents, strict=True)

    def entries(self) -> Iterator[NBTEntry]:
        """All entries by NID."""
        return map(self._entry, range(len(self.nids)))

    def _entry(self, at: int) -> NBTEntry:
        return NBTEntry(self.nids[at], self._data[at], self._sub[at], self.parents[at])


def read_leaves(source: Source, fmt: Format, root: tuple[int, int], ptype: int, log: DamageLog) -> bytes:
    """The leaf entries of the tree of ``ptype`` with ``root`` (bid, ib), in order, as one string of bytes."""
    size = (fmt.nbt_entry if ptype == PTYPE_NBT else fmt.bbt_entry).size
    leaves: list[bytes] = []
    seen: set[int] = set()
    limit = source.size // fmt.page_size + 1
    stack = [(*root, _MAX_LEVEL + 1)]
    while stack:
        bid, ib, above = stack.pop()
        if ib in seen or len(seen) >= limit:
            log.add(_damage(ptype, "BREF.ib", bid, ib, "each page once", "a page that was read before"))
            continue
        seen.add(ib)
        page = _read_page(source, fmt, ptype, bid, ib, log)
        if page is None:
            continue
        parsed = BTPage.unpack(fmt, page)
        if parsed.cLevel >= above:
            log.add(_damage(ptype, "cLevel", bid, ib, f"below {above}", str(parsed.cLevel)))
            continue
        entries = _page_entries(fmt, ptype, parsed, bid, ib, size if parsed.cLevel == 0 else fmt.bt_entry.size, log)
        if parsed.cLevel == 0:
            leaves.append(entries)
        else:
            children = [(child, at, parsed.cLevel) for _, child, at in fmt.bt_entry.iter_unpack(entries)]
            if parsed.cLevel == 1:
                sound = list(_sound_leaves(source, fmt, ptype, size, children, seen, limit))
                leaves += sound
                del children[: len(sound)]
            stack += reversed(children)
    return b"".join(leaves)


def _sound_leaves(
    source: Source,
    fmt: Format,
    ptype: int,
    size: int,
    children: Sequence[tuple[int, int, int]],
    seen: set[int],
    limit: int,
) -> Iterator[bytes]:
    """The entries of the leaf pages ``children``, up to the first with any fault, which is for who can tell it.

    Pages that lie one after another are read together.
    """
    start, run = 0, b""
    for number, (bid, ib, _) in enumerate(children):
        if not 0 < ib < source.size or ib in seen or len(seen) >= limit:
            return
        if not start <= ib <= start + len(run) - fmt.page_size:
            count = 1
            while number + count < len(children) and children[number + count][1] == ib + count * fmt.page_size:
                count += 1
            start, run = ib, source.read(ib, count * fmt.page_size)
        page = run[ib - start : ib - start + fmt.page_size]
        if len(page) < fmt.page_size or not is_sealed(fmt, page, ptype, ib, bid):
            return
        entries = leaf_entries(fmt, page, size)
        if entries is None:
            return
        seen.add(ib)
        yield entries


def page_problems(fmt: Format, page: bytes, trailer: PageTrailer, ptype: int, bid: int, ib: int) -> Iterator[Damage]:
    """What is wrong with the trailer of a B-tree page."""
    if trailer.dwCRC != (found := crc(page_body(fmt, page))):
        yield _damage(ptype, "dwCRC", bid, ib, f"0x{trailer.dwCRC:08x}", f"0x{found:08x}")
    if trailer.bid != bid:
        yield _damage(ptype, "bid", bid, ib, f"0x{bid:x}", f"0x{trailer.bid:x}")
    if trailer.wSig != (expected := signature(ib, bid)):
        yield _damage(ptype, "wSig", bid, ib, f"0x{expected:04x}", f"0x{trailer.wSig:04x}")


def _read_page(source: Source, fmt: Format, ptype: int, bid: int, ib: int, log: DamageLog) -> bytes | None:
    page = source.read(ib, fmt.page_size) if 0 < ib < source.size else b""
    if len(page) < fmt.page_size:
        log.add(
            _damage(ptype, "BREF.ib", bid, ib, f"a page inside the file of {source.size} bytes", f"{len(page)} bytes")
        )
        return None
    if is_sealed(fmt, page, ptype, ib, bid):
        return page
    trailer = PageTrailer.unpack(fmt, page)
    if ptype not in (trailer.ptype, trailer.ptypeRepeat):
        log.add(_damage(ptype, "ptype", bid, ib, f"0x{ptype:02x}", f"0x{trailer.ptype:02x}"))
        return None
    for damage in page_problems(fmt, page, trailer, ptype, bid, ib):
        log.add(damage)
    return page


def _page_entries(fmt: Format, ptype: int, page: BTPage, bid: int, ib: int, size: int, log: DamageLog) -> bytes:
    """The entries of one page, packed to ``size`` bytes each."""
    if page.cbEnt < size:
        log.add(_damage(ptype, "cbEnt", bid, ib, str(size), str(page.cbEnt)))
        step = size
    else:
        step = page.cbEnt
    count = min(page.cEnt, fmt.entries_size // step)
    if count < page.cEnt:
        log.add(_damage(ptype, "cEnt", bid, ib, f"at most {count}", str(page.cEnt)))
    if step == size:
        return page.rgentries[: count * size]
    return b"".join(page.rgentries[i * step : i * step + size] for i in range(count))


def _columns(fmt: Format, leaves: bytes, size: int) -> list[array[int]]:
    # Every leaf entry of a format is a whole number of BID-sized words.
    words = array(fmt.bid_code, leaves)
    if sys.byteorder == "big":
        words.byteswap()
    count = size // fmt.bid_size
    return [words[i::count] for i in range(count)]


def _sorted(
    tree: str, key: str, keys: Sequence[int], columns: Sequence[array[int]], log: DamageLog
) -> tuple[Sequence[int], Sequence[array[int]]]:
    values = list(keys)
    if all(map(int.__lt__, values, values[1:])):
        return keys, columns
    first: dict[int, int] = {}
    for at, value in enumerate(values):
        first.setdefault(value, at)
    found = f"{len(values) - len(first)} keys twice" if len(first) < len(values) else "keys out of order"
    log.add(Damage("ndb", f"{tree} BTPAGE", key, f"the {tree}", -1, "each key once, ascending", found))
    order = [first[value] for value in sorted(first)]
    code = columns[0].typecode
    picked = [array(code, [column[at] for at in order]) for column in columns]
    return array(code, sorted(first)), picked


def _find(keys: Sequence[int], key: int) -> int | None:
    at = bisect_left(keys, key)
    return at if at < len(keys) and keys[at] == key else None


def _damage(ptype: int, field: str, bid: int, ib: int, expected: str, found: str) -> Damage:
    name = _NAMES[ptype]
    return Damage("ndb", f"{name} BTPAGE", field, f"{name} page 0x{bid:x}", ib, expected, found)
