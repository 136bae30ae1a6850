"""Changing the nodes of an existing Unicode PST file in place ([MS-PST] 2.2, 2.6.1).

Rules:
- copy on write: new blocks and pages go where the old trees reach nothing, or behind the end of the file;
- each step is on disk before the next begins: the journal; the header, marked as being written to; the new blocks and
  trees; the journal, committed; the header with the new trees; zeros over what they do not reach, and the maps; the
  final header; no journal;
- before the commit, the new trees are read back and found sound;
- references are counted from what all nodes reach, and a block that nothing names goes, whoever left it there: once
  for the old nodes, then by what the change takes and adds, and anew from the new trees when they are read back.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from heapq import merge
from pathlib import Path

from excise.core.errors import DamagedInput, ExciseError, Unfinished
from excise.pst.disk import ids, maps, pages
from excise.pst.disk.blocks import BTYPE_X, XBlock, block_kind, seal_block
from excise.pst.disk.crypt import encode
from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.formats import UNICODE
from excise.pst.disk.header import INVALID_AMAP, VALID_AMAP2, Header
from excise.pst.ndb.build import NO_COUNTER, TreeBuilder, children
from excise.pst.ndb.edit_allocate import FreeSpace
from excise.pst.ndb.edit_journal import IMAGE, Journal, State, image
from excise.pst.ndb.edit_open import open_database
from excise.pst.ndb.edit_recover import finish, recover_storage
from excise.pst.ndb.edit_scrub import MapPages
from excise.pst.ndb.edit_storage import PathStorage, Storage, StorageSource
from excise.pst.ndb.edit_survey import Survey
from excise.pst.ndb.read import NodeDatabase
from excise.pst.ndb.source import Source
from excise.pst.ndb.write_types import NO_TREE, SubnodeEntry, Tree

__all__ = ["NO_TREE", "NodeEditor", "SubnodeEntry", "Tree", "edit_nodes"]

# The journal names the most that the file may have, so it is written anew each time that this much was appended.
_GROWTH = 64


@contextmanager
def edit_nodes(
    path: str | Path, *, timeout: float = 5.0, judge: Callable[[Source], bool] | None = None
) -> Iterator[NodeEditor]:
    """An editor of the PST file at ``path``, locked for as long; without ``commit`` the file stays as it was.

    ``judge`` is asked first, as in ``open_database``. Errors as of ``NodeEditor`` and ``PathStorage``; ``timeout`` is
    how long to wait for a lock, in seconds.
    """
    with PathStorage(path, timeout=timeout) as storage:
        editor = NodeEditor(storage, judge)
        try:
            yield editor
        finally:
            editor.close()


class NodeEditor(TreeBuilder):
    """One change of the nodes of the file in ``storage``: trees are built as with ``NodeWriter``, then ``commit``.

    ``ndb`` reads the file as it was. Memory is some 40 bytes for each block and node of the file.

    Nothing is written before the first tree. DamagedInput for a file that cannot be changed in place; its hint says
    what remains. Unfinished where an earlier edit was broken off: ``recover`` first.
    """

    def __init__(self, storage: Storage, judge: Callable[[Source], bool] | None = None) -> None:
        self.ndb, survey = open_database(storage, judge)
        header = self.ndb.header
        super().__init__(header.rgnid, header.dwUnique)
        self._storage = storage
        self._highest = survey.highest
        self._references = survey.references
        self._free = FreeSpace(survey.layout)
        self._journal: Journal | None = None
        self._committing = False
        self._changed: dict[int, pages.NBTEntry | None] = {}
        self._first_bid = -(-header.bidNextB // ids.BID_STEP) * ids.BID_STEP
        self._next_page = header.bidNextP
        # By position: block n (from 0) has the bid _first_bid + 4 n, and 2 more where it is internal.
        self._ib, self._cb, self._internal = array("Q"), array("H"), bytearray()

    # What the file is to hold

    def entry(self, nid: int) -> pages.NBTEntry | None:
        """The node ``nid`` with the changes made so far, or None."""
        return self._changed[nid] if nid in self._changed else self.ndb.nodes.find(nid)

    def node(self, nid: int, data: Tree, sub: Tree = NO_TREE, parent: int = 0) -> None:
        """Enter the node ``nid``, or put this in the place of the one that there is."""
        self._check_open()
        self.reserve_nid(nid)
        self._refer(data.bid)
        self._refer(sub.bid)
        self._changed[nid] = pages.NBTEntry(nid, data.bid, sub.bid, parent)

    def set_data(self, nid: int, data: Tree) -> None:
        """Give the node ``nid`` other data; its subnodes and parent stay. ValueError where there is no such node."""
        self._check_open()
        self._refer(data.bid)
        self._changed[nid] = replace(self._known(nid), bidData=data.bid)

    def remove(self, nid: int) -> None:
        """Take the node ``nid`` away. ValueError where there is no such node."""
        self._check_open()
        self._known(nid)
        self._changed[nid] = None

    def existing(self, bid: int) -> Tree:
        """The tree with the root block ``bid``, which is in the file already, to be used (again) where trees are.

        ValueError where there is no such block; Damaged where its size cannot be told.
        """
        bid = ids.bid_key(bid)
        self._refer(bid)
        return Tree(bid, self._size(bid)) if bid else NO_TREE

    def next_nid(self, nid_type: int) -> int:
        """A new NID of ``nid_type``, higher than any in the file. ValueError where none is left, or it has none."""
        if nid_type in NO_COUNTER:
            raise ValueError(f"the header counts no NIDs of type 0x{nid_type:02x}")
        known = max(self._highest.get(nid_type, 0), ids.FIRST_FREE_NID_INDEX)
        self._rgnid[nid_type] = max(self._rgnid[nid_type], known)
        return super().next_nid(nid_type)

    # The steps of the change

    def commit(self) -> None:
        """Make the change, erase what it left behind, and end the edit.

        An error other than Unfinished leaves the file to ``close``, which undoes everything. Unfinished: the change
        is made, or all but made, and ``recover`` is to finish it.
        """
        self._check_open()
        begun = self._begin()
        counted = self._counted()
        nbt = self._tree(pages.PTYPE_NBT, UNICODE.nbt_entry, self._nbt_entries())
        bbt = self._tree(pages.PTYPE_BBT, UNICODE.bbt_entry, self._bbt_entries(counted))
        size = maps.amap_offset(self._free.regions)
        self._allow(size)
        if self._storage.size() != size:
            self._storage.resize(size)
        self._storage.sync()
        draft = self._header(size, nbt, bbt)
        map_pages = MapPages(self._read_back(draft).layout)
        after = replace(draft, rgbFM=map_pages.rgbFM, root=replace(draft.root, cbAMapFree=map_pages.free))
        done = replace(after, dwUnique=after.dwUnique + 1, root=replace(after.root, fAMapValid=VALID_AMAP2))
        images = (begun.images[1], image(after), image(done))
        self._finish(Journal(State.COMMITTED, begun.size, size, images), map_pages)

    def close(self) -> None:
        """End the edit; what was not committed is undone. Nothing where that is done already."""
        if self._journal is not None and not self._committing:
            self._committing = True
            recover_storage(self._storage)

    def _header(self, size: int, nbt: tuple[int, int], bbt: tuple[int, int]) -> Header:
        """The header with the new trees, before the maps."""
        old = self.ndb.header
        root = replace(
            old.root, ibFileEof=size, ibAMapLast=maps.amap_offset(self._free.regions - 1), cbPMapFree=0,
            bidNBT=nbt[0], ibNBT=nbt[1], bidBBT=bbt[0], ibBBT=bbt[1], fAMapValid=INVALID_AMAP,
        )  # fmt: skip
        return replace(
            old, root=root, dwUnique=max(old.dwUnique + 2, self._unique), rgnid=self._final_rgnid(),
            bidNextB=self._first_bid + len(self._ib) * ids.BID_STEP, bidNextP=self._next_page, rgbFP=b"\xff" * 128,
        )  # fmt: skip

    def _finish(self, journal: Journal, map_pages: MapPages) -> None:
        self._committing = True
        try:
            self._storage.write_journal(journal.pack())
            finish(self._storage, journal, map_pages)
        except ExciseError as error:
            raise Unfinished(
                f"{self._storage.name}: the change is not finished: {error.message}",
                hint="Run the command again with excise resume; until then leave the file and its journal alone.",
            ) from error

    def _begin(self) -> Journal:
        """Before the first write: the journal, and a header that says that the maps are not to be trusted."""
        if self._journal is None:
            header, before = self.ndb.header, self._storage.read(0, IMAGE)
            root = replace(header.root, fAMapValid=INVALID_AMAP)
            marked = image(replace(header, dwUnique=header.dwUnique + 1, root=root), before[UNICODE.header_size :])
            size = self._storage.size()
            journal = Journal(State.WRITING, size, size, (before, marked))
            self._storage.write_journal(journal.pack())
            self._journal = journal
            self._storage.write(0, marked)
            self._storage.sync()
        return self._journal

    def _allow(self, size: int) -> None:
        """Let the journal know that the file may grow to ``size`` bytes."""
        journal = self._begin()
        if size > journal.limit:
            limit = maps.amap_offset(maps.region_count(size) + _GROWTH)
            self._journal = replace(journal, limit=limit)
            self._storage.write_journal(self._journal.pack())

    def _read_back(self, header: Header) -> Survey:
        """What was written, as the reader has it."""
        try:
            ndb = NodeDatabase(StorageSource(self._storage, image(header)), DamageLog())
            return Survey(ndb, checked_from=self._first_bid, strict=True)
        except (Damaged, DamagedInput) as error:
            raise DamagedInput(
                f"{self._storage.name}: what was written does not read back: {error}",
                hint="Nothing was changed. Look at the system's log for faults of the disk.",
            ) from error

    # Blocks, pages and entries

    def _block(self, data: bytes, internal: bool) -> int:
        bid = self._first_bid + len(self._ib) * ids.BID_STEP + (ids.BID_INTERNAL if internal else 0)
        ib = self._free.place(UNICODE.block_size(len(data)))
        encoded = data if internal else encode(data, self.ndb.header.bCryptMethod, bid)
        self._write(ib, seal_block(UNICODE, encoded, ib, bid))
        self._ib.append(ib)
        self._cb.append(len(data))
        self._internal.append(internal)
        return bid

    def _page(self, ptype: int, body: bytes) -> tuple[int, int]:
        bid = self._next_page
        self._next_page += 1
        ib = self._free.place(maps.PAGE, maps.PAGE)
        self._write(ib, pages.seal_page(UNICODE, body, ptype, ib, bid))
        return bid, ib

    def _write(self, ib: int, data: bytes) -> None:
        self._check_open()
        self._begin()
        self._allow(ib + len(data))
        self._storage.write(ib, data)

    def _check_open(self) -> None:
        if self._committing:
            raise ValueError("the edit has ended")

    def _refer(self, bid: int) -> None:
        if bid and self._position(bid) is None:
            raise ValueError(f"there is no block 0x{bid:x}")

    def _known(self, nid: int) -> pages.NBTEntry:
        entry = self.entry(nid)
        if entry is None:
            raise ValueError(f"there is no node 0x{nid:x}")
        return entry

    def _position(self, bid: int) -> int | None:
        """The number of a block: the old ones in the order of the BBT, then the new ones."""
        at = bid // ids.BID_STEP - self._first_bid // ids.BID_STEP
        if 0 <= at < len(self._ib):
            return len(self.ndb.blocks) + at
        return self.ndb.blocks.position(bid)

    def _internal_data(self, bid: int) -> bytes:
        at = bid // ids.BID_STEP - self._first_bid // ids.BID_STEP
        return self._storage.read(self._ib[at], self._cb[at]) if at >= 0 else self.ndb.block(bid, self.ndb.log)

    def _size(self, root: int) -> int:
        """The bytes of data below ``root``."""
        total, seen, stack = 0, 0, [root]
        while stack:
            bid = stack.pop()
            if not ids.is_internal(bid):
                total += self._data_size(bid)
                continue
            data = self._internal_data(bid)
            btype, _ = block_kind(data)
            if btype == BTYPE_X:
                total += XBlock.unpack(UNICODE, data).lcbTotal
                continue
            seen += 1
            if seen > len(self.ndb.blocks) + len(self._ib):
                place = f"block 0x{root:x}"
                raise Damaged(Damage("ndb", "SLBLOCK", "bid", place, -1, "a tree that ends", "a tree in itself"))
            stack += children(data)
        return total

    def _data_size(self, bid: int) -> int:
        at = bid // ids.BID_STEP - self._first_bid // ids.BID_STEP
        return self._cb[at] if at >= 0 else self.ndb.block_entry(bid).cb

    def _counted(self) -> array[int]:
        """How often each block is named in the end, by position."""
        total = len(self.ndb.blocks) + len(self._ib)
        references = self._references.continued(total, self._position, self._internal_data)
        try:
            for old in filter(None, map(self.ndb.nodes.find, self._changed)):
                references.drop(old)
            for new in filter(None, self._changed.values()):
                references.add(new)
        except Damaged as error:
            raise DamagedInput(f"{self._storage.name}: {error}", hint="Nothing was changed.") from error
        return references.counts

    def _nbt_entries(self) -> Iterator[tuple[int, bytes]]:
        pack, key = UNICODE.nbt_entry.pack, ids.bid_key
        changed = ((nid, each.bidData, each.bidSub, each.nidParent) for nid, each in self._changed.items() if each)
        kept = (each for each in self.ndb.nodes.values() if each[0] not in self._changed)
        for nid, data, sub, parent in merge(kept, sorted(changed)):
            yield nid, pack(nid, key(data), key(sub), parent, 0)

    def _bbt_entries(self, counts: array[int]) -> Iterator[tuple[int, bytes]]:
        old, pack = len(self.ndb.blocks), UNICODE.bbt_entry.pack
        for (bid, ib, cb, _), count in zip(self.ndb.blocks.values(), counts, strict=False):
            if count:
                yield bid, pack(bid, ib, cb, count + 1, 0)
        for at, internal in enumerate(self._internal):
            if counts[old + at]:
                bid = self._first_bid + at * ids.BID_STEP + internal * ids.BID_INTERNAL
                yield bid, pack(bid, self._ib[at], self._cb[at], counts[old + at] + 1, 0)
