"""Blocks, data trees, subnode trees and nodes ([MS-PST] 2.2.1, 2.2.2.8).

Rules of this reader:
- a block is looked up in the BBT; where its trailer contradicts it, that is reported and the data is used;
- a block that is missing, outside the file or not to be decompressed ends the reading of its value (``Damaged``);
- a tree names each internal block once, has the levels of the format, and is no larger than its file, so that neither
  a loop nor a bomb of shared blocks can hold it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cached_property

from excise.core.errors import DamagedInput
from excise.pst.disk.blocks import (
    BTYPE_S,
    BTYPE_X,
    BlockTrailer,
    SIBlock,
    SLBlock,
    SLEntry,
    XBlock,
    block_kind,
    is_sealed,
)
from excise.pst.disk.crypt import CRYPT_CYCLIC, crc, decode, signature
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE_4K, Format
from excise.pst.disk.header import CLIENT_OST, CLIENT_PAB, CLIENT_PST, MAGIC, Header, header_crcs
from excise.pst.disk.ids import bid_key, is_internal
from excise.pst.disk.pages import PTYPE_BBT, PTYPE_NBT, BBTEntry, NBTEntry
from excise.pst.ndb.source import Source
from excise.pst.ndb.trees import BlockTable, NodeTable, read_leaves

# zlib cannot make a block of the 4-KB format larger than this many times its units on disk.
_INFLATION = 128


class NodeDatabase:
    """The NDB layer of one file. Everything found wrong while it opens is in ``log``.

    DamagedInput where the header is none, the format is unknown, the data is encrypted, or no node can be found.
    """

    def __init__(self, source: Source, log: DamageLog) -> None:
        self.source = source
        self.log = log
        self.header = _read_header(source, log)
        self.format: Format = self.header.format
        root = self.header.root
        self._bbt_root, nbt_root = (root.bidBBT, root.ibBBT), (root.bidNBT, root.ibNBT)
        leaves = read_leaves(source, self.format, nbt_root, PTYPE_NBT, log)
        self.nodes = NodeTable(self.format, leaves, log)
        if not len(self.nodes):
            problem = log.entries[-1].text() if log else "the node tree is empty"
            raise DamagedInput(
                f"{source.name}: no node can be found: {problem}", hint="Restore the file from a backup."
            )

    @cached_property
    def blocks(self) -> BlockTable:
        """The BBT."""
        leaves = read_leaves(self.source, self.format, self._bbt_root, PTYPE_BBT, self.log)
        return BlockTable(self.format, leaves, self.log)

    @property
    def max_tree_size(self) -> int:
        """No data tree can hold more bytes than this."""
        return self.source.size * (_INFLATION if self.format is UNICODE_4K else 1)

    def node(self, nid: int, log: DamageLog | None = None) -> Node | None:
        """The node ``nid`` of the NBT, or None. What is wrong with it goes to ``log``, by default the file's."""
        entry = self.nodes.find(nid)
        return None if entry is None else self.open(entry, log)

    def open(self, entry: NBTEntry | SLEntry, log: DamageLog | None = None) -> Node:
        """The node of ``entry``."""
        return Node(self, entry.nid & 0xFFFFFFFF, entry.bidData, entry.bidSub, self.log if log is None else log)

    def block_entry(self, bid: int) -> BBTEntry:
        """Where block ``bid`` is. Damaged where the BBT does not have it or it is outside the file."""
        entry = self.blocks.find(bid)
        if entry is None:
            raise Damaged(_block_damage("bid", bid, -1, "a BBT entry", "none"))
        if not 0 < entry.ib <= self.source.size - entry.cb:
            raise Damaged(
                _block_damage("ib", bid, entry.ib, f"within {self.source.size} bytes", f"{entry.cb} bytes there")
            )
        return entry

    def block(self, bid: int, log: DamageLog) -> bytes:
        """The data of block ``bid``, decompressed and decoded. Damaged where it cannot be had."""
        entry = self.block_entry(bid)
        raw = self.source.read(entry.ib, self.format.block_size(entry.cb))
        data = raw[: entry.cb]
        if len(data) < entry.cb:
            raise Damaged(_block_damage("cb", bid, entry.ib, f"{entry.cb} bytes", f"{len(data)} bytes"))
        if not is_sealed(self.format, raw, entry.cb, entry.ib, bid):
            for damage in block_problems(self.format, entry, raw, bid):
                log.add(damage)
        if self.format is UNICODE_4K and entry.cbInflated != entry.cb:
            data = _inflate(data, entry, bid)
        if is_internal(bid):
            return data
        return decode(data, self.header.bCryptMethod, bid)


def block_problems(fmt: Format, entry: BBTEntry, raw: bytes, bid: int) -> Iterator[Damage]:
    """Where the trailer of the block in ``raw`` contradicts its BBT entry or its data."""
    if len(raw) < fmt.block_size(entry.cb):
        yield _block_damage("BLOCKTRAILER", bid, entry.ib, "a trailer", "the end of the file")
        return
    trailer = BlockTrailer.unpack(fmt, raw, len(raw) - fmt.block_trailer_size)
    if trailer.cb != entry.cb:
        yield _block_damage("cb", bid, entry.ib, str(entry.cb), str(trailer.cb))
    if bid_key(trailer.bid) != bid_key(bid):
        yield _block_damage("bid", bid, entry.ib, f"0x{bid:x}", f"0x{trailer.bid:x}")
    if trailer.dwCRC != (found := crc(raw[: entry.cb])):
        yield _block_damage("dwCRC", bid, entry.ib, f"0x{trailer.dwCRC:08x}", f"0x{found:08x}")
    if trailer.wSig != (expected := signature(entry.ib, trailer.bid)):
        yield _block_damage("wSig", bid, entry.ib, f"0x{expected:04x}", f"0x{trailer.wSig:04x}")


class Node:
    """A node of the NBT or of a subnode tree: its data, its subnodes, and what was found wrong with them."""

    def __init__(self, ndb: NodeDatabase, nid: int, bid_data: int, bid_sub: int, log: DamageLog) -> None:
        self.ndb = ndb
        self.nid = nid
        self.bid_data = bid_data
        self.bid_sub = bid_sub
        self.log = log

    @cached_property
    def data(self) -> DataTree:
        """The node's data."""
        return DataTree(self.ndb, self.bid_data, self.log)

    @cached_property
    def subnodes(self) -> dict[int, SLEntry]:
        """The node's subnodes by NID; those in a block that cannot be read are missing and reported."""
        return _read_subnodes(self.ndb, self.bid_sub, self.log)

    def child(self, nid: int, log: DamageLog | None = None) -> Node | None:
        """The subnode ``nid``, or None."""
        entry = self.subnodes.get(nid)
        return None if entry is None else self.ndb.open(entry, self.log if log is None else log)

    def offset(self, block: int = 0) -> int:
        """Where the leaf ``block`` of the node's data lies in the file, in bytes; -1 where it is not known."""
        leaves = self.data.leaves
        entry = self.ndb.blocks.find(bid_key(leaves[block])) if block < len(leaves) else None
        return -1 if entry is None else entry.ib


class DataTree:
    """The data of a node: one block, or the leaves of an XBLOCK or XXBLOCK in order (2.2.2.8.3.2).

    ``leaves`` are their BIDs; ``size`` the bytes in all. Damaged where the tree is larger than its file.
    """

    def __init__(self, ndb: NodeDatabase, bid: int, log: DamageLog) -> None:
        self._ndb = ndb
        self._log = log
        self.bid = bid
        self.leaves: list[int] = [bid] if bid and not is_internal(bid) else []
        self.broken: Damage | None = None
        if bid and is_internal(bid):
            self._expand(bid)

    @cached_property
    def size(self) -> int:
        """Bytes of data, by the BBT. Damaged where a leaf has no entry there."""
        inflated = self._ndb.format is UNICODE_4K
        entries = map(self._ndb.block_entry, self.leaves)
        total = sum(entry.cbInflated if inflated else entry.cb for entry in entries)
        if total > self._ndb.max_tree_size:
            found = f"{total} bytes in {len(self.leaves)} blocks"
            raise Damaged(_block_damage("rgbid", self.bid, -1, "a tree no larger than its file", found))
        return total

    def block(self, index: int) -> bytes:
        """The data of leaf ``index``. Damaged where there is none or it cannot be read."""
        if index >= len(self.leaves):
            found = f"block {index} of {len(self.leaves)}"
            raise Damaged(self.broken or _block_damage("rgbid", self.bid, -1, "a block of this tree", found))
        return self._ndb.block(self.leaves[index], self._log)

    def chunks(self) -> Iterator[bytes]:
        """The data, one block at a time. Damaged where a part of it cannot be read."""
        _ = self.size
        for bid in self.leaves:
            yield self._ndb.block(bid, self._log)
        if self.broken is not None:
            raise Damaged(self.broken)

    def read(self) -> bytes:
        """All of the data. Damaged where a part of it cannot be read."""
        return self.block(0) if len(self.leaves) == 1 and self.broken is None else b"".join(self.chunks())

    def _expand(self, root: int) -> None:
        seen = {bid_key(root)}
        stack = [(root, 3)]
        total = None
        while stack:
            bid, above = stack.pop()
            try:
                block = self._xblock(bid, above)
            except Damaged as error:
                # What follows a lost part would stand at the wrong place.
                self.broken = error.damage
                self._log.add(error.damage)
                return
            total = block.lcbTotal if total is None else total
            if block.cLevel == 1:
                self.leaves += block.rgbid
                if len(self.leaves) > self._ndb.source.size // self._ndb.format.block_unit:
                    found = f"{len(self.leaves)} blocks or more"
                    self.broken = _block_damage("rgbid", bid, -1, "no more blocks than fit into the file", found)
                    self._log.add(self.broken)
                    self.leaves = []
                    return
                continue
            fresh = [child for child in block.rgbid if bid_key(child) not in seen]
            if len(fresh) < len(block.rgbid) or len(set(fresh)) < len(fresh):
                self.broken = _block_damage("rgbid", bid, -1, "each block once", "a block again")
                self._log.add(self.broken)
                return
            seen.update(map(bid_key, fresh))
            stack += [(child, 2) for child in reversed(fresh)]
        self._compare(total or 0)

    def _xblock(self, bid: int, above: int) -> XBlock:
        data = self._ndb.block(bid, self._log)
        try:
            btype, level = block_kind(data)
            block = XBlock.unpack(self._ndb.format, data)
        except ValueError as error:
            raise Damaged(_block_damage("XBLOCK", bid, -1, "an XBLOCK", str(error))) from error
        if btype != BTYPE_X or not 0 < level < above:
            found = f"btype 0x{btype:02x}, cLevel {level}"
            raise Damaged(_block_damage("btype", bid, -1, f"btype 0x01, cLevel 1 to {above - 1}", found))
        if len(block.rgbid) < XBlock.count_in(data):
            raise Damaged(_block_damage("cEnt", bid, -1, f"at most {len(block.rgbid)}", str(XBlock.count_in(data))))
        if level == 1 and any(map(is_internal, block.rgbid)):
            raise Damaged(_block_damage("rgbid", bid, -1, "data blocks", "an internal block"))
        return block

    def _compare(self, lcbTotal: int) -> None:
        try:
            if self.size != lcbTotal:
                self._log.add(
                    _block_damage("lcbTotal", self.bid, -1, f"{self.size}, as its blocks have", str(lcbTotal))
                )
        except Damaged as error:
            self._log.add(error.damage)


def _read_header(source: Source, log: DamageLog) -> Header:
    data = source.read(0, 1024)
    backup = "Restore the file from a backup, or try Microsoft's scanpst on a copy."
    if data[:4] != MAGIC:
        found = f"it begins with {data[:4]!r}, not with {MAGIC!r}" if data else "it is empty (0 bytes)"
        raise DamagedInput(f"{source.name}: no PST or OST file: {found}")
    try:
        header = Header.unpack(data)
    except ValueError as error:
        raise DamagedInput(f"{source.name}: the header cannot be read: {error}", hint=backup) from error
    if header.wMagicClient not in (CLIENT_PST, CLIENT_OST, CLIENT_PAB):
        log.add(_header_damage("wMagicClient", "'SM' or 'SO'", repr(header.wMagicClient)))
    if header.bCryptMethod > CRYPT_CYCLIC:
        hint = "Open it in Outlook as its owner and export it without protection."
        raise DamagedInput(f"{source.name}: encrypted with a key of Windows (0x{header.bCryptMethod:02x})", hint=hint)
    partial, full = header_crcs(data, header.format)
    if partial != header.dwCRCPartial:
        log.add(_header_damage("dwCRCPartial", f"0x{header.dwCRCPartial:08x}", f"0x{partial:08x}"))
    if full != header.dwCRCFull:
        log.add(_header_damage("dwCRCFull", f"0x{header.dwCRCFull:08x}", f"0x{full:08x}"))
    if header.root.ibFileEof > source.size:
        log.add(_header_damage("ibFileEof", f"at most {source.size}, the file's size", str(header.root.ibFileEof)))
    return header


def _inflate(data: bytes, entry: BBTEntry, bid: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, entry.cbInflated + 1)
    except zlib.error as error:
        raise Damaged(_block_damage("data", bid, entry.ib, "zlib data", str(error))) from error
    if len(inflated) != entry.cbInflated:
        raise Damaged(_block_damage("cbInflated", bid, entry.ib, str(entry.cbInflated), f"{len(inflated)} or more"))
    return inflated


def _read_subnodes(ndb: NodeDatabase, root: int, log: DamageLog) -> dict[int, SLEntry]:
    entries: dict[int, SLEntry] = {}
    seen: set[int] = set()
    stack = [(root, 2)] if root else []
    while stack:
        bid, above = stack.pop()
        if bid_key(bid) in seen:
            log.add(_block_damage("SIENTRY.bid", bid, -1, "each block once", "a block again"))
            continue
        seen.add(bid_key(bid))
        try:
            block = _subnode_block(ndb, bid, above, log)
            if isinstance(block, SIBlock):
                stack += [(entry.bid, 1) for entry in reversed(block.rgentries)]
            else:
                for each in block.rgentries:
                    nid = each.nid & 0xFFFFFFFF
                    if entries.setdefault(nid, each) is not each:
                        log.add(_block_damage("SLENTRY.nid", bid, -1, "each subnode once", f"0x{nid:x} again"))
        except Damaged as error:
            log.add(error.damage)
        except ValueError as error:
            log.add(_block_damage("SLBLOCK", bid, -1, "a subnode block", str(error)))
    return entries


def _subnode_block(ndb: NodeDatabase, bid: int, above: int, log: DamageLog) -> SIBlock | SLBlock:
    data = ndb.block(bid, log)
    btype, level = block_kind(data)
    if btype != BTYPE_S or not is_internal(bid) or level >= above:
        found = f"btype 0x{btype:02x}, cLevel {level}, bid 0x{bid:x}"
        raise Damaged(_block_damage("btype", bid, -1, f"an internal block, btype 0x02, cLevel < {above}", found))
    block = SIBlock.unpack(ndb.format, data) if level else SLBlock.unpack(ndb.format, data)
    if len(block.rgentries) < (count := int.from_bytes(data[2:4], "little")):
        log.add(_block_damage("cEnt", bid, -1, f"at most {len(block.rgentries)}", str(count)))
    return block


def _block_damage(field: str, bid: int, ib: int, expected: str, found: str) -> Damage:
    return Damage("ndb", "block", field, f"block 0x{bid:x}", ib, expected, found)


def _header_damage(field: str, expected: str, found: str) -> Damage:
    return Damage("disk", "HEADER", field, "the header", 0, expected, found)
