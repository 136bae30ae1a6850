"""Editing PST files in place: what was to change changed, all else is as it was, and nothing of what went is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from excise.core.errors import DamagedInput, ExciseError, Refused, Unfinished
from excise.core.locks import MailboxLocked
from excise.pst.disk import crypt, ids, maps
from excise.pst.disk.damage import Damaged
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K
from excise.pst.disk.header import CLIENT_OST, VALID_AMAP2, Header
from excise.pst.disk.pages import PTYPE_BBT, BBTEntry, BTPage, PageTrailer, seal_page
from excise.pst.ndb.edit import NO_TREE, NodeEditor, SubnodeEntry, edit_nodes
from excise.pst.ndb.edit_recover import Recovery, recover
from excise.pst.ndb.edit_storage import JOURNAL_SUFFIX
from excise.pst.ndb.edit_survey import Survey
from excise.pst.ndb.write import LEAF
from pst.builder import mailbox
from pst.edit_stage import (
    FOLDER,
    MESSAGES,
    MemoryStorage,
    contents,
    findings,
    marker,
    new_file,
    open_bytes,
    readings,
)
from pst.test_raw_copy import FILES, real, told_by_libpff, told_by_us

UNICODE_FILES = [path for path in FILES if path.read_bytes()[10] == 23]
samples = pytest.mark.parametrize("path", UNICODE_FILES, ids=lambda each: each.name)


def sample_copy(path: Path, directory: Path) -> Path:
    target = directory / path.name
    target.write_bytes(path.read_bytes())
    return target


def edited(data: bytes, change: Callable[[NodeEditor], object]) -> bytearray:
    """``data`` after ``change`` and a commit, found without any fault."""
    storage = MemoryStorage(bytearray(data))
    editor = NodeEditor(storage)
    change(editor)
    editor.commit()
    editor.close()
    assert storage.journal is None
    assert findings(storage.data) == set()
    assert open_bytes(storage.data).header.root.fAMapValid == VALID_AMAP2
    return storage.data


def stray_bytes(data: bytes | bytearray) -> int:
    """How many bytes outside the header, the pages and the blocks' data and trailers are not zero."""
    ndb = open_bytes(data)
    kept = bytearray(data)
    kept[:564] = bytes(564)
    pieces = [(maps.IB_DLIST, maps.PAGE)]
    for region in range(maps.region_count(len(data))):
        pieces += [(ib, maps.PAGE) for ib in maps.map_pages(region)]
    for entry in ndb.blocks.entries():
        pieces += [(entry.ib, entry.cb), (entry.ib + UNICODE.block_size(entry.cb) - 16, 16)]
    root = ndb.header.root
    stack = [root.ibNBT, root.ibBBT]
    while stack:
        ib = stack.pop()
        pieces.append((ib, maps.PAGE))
        if data[ib + 491]:
            children = UNICODE.bt_entry.iter_unpack(data[ib : ib + 24 * data[ib + 488]])
            stack += [child for _, _, child in children]
    for ib, size in pieces:
        kept[ib : ib + size] = bytes(size)
    return len(kept) - kept.count(0)


def folders_of_libpff(path: Path) -> list[str]:
    """The folders' names; the rows of removed messages, which are the messaging layer's to take out, are not asked."""
    import pypff

    file = pypff.file()
    file.open(str(path))
    names, stack = [], [file.get_root_folder()]
    while stack:
        folder = stack.pop()
        names.append(folder.name)
        stack += folder.sub_folders
    file.close()
    return names


# Real files


@real
@samples
def test_a_commit_without_a_change(path: Path, tmp_path: Path) -> None:
    target = sample_copy(path, tmp_path)
    before = contents(target.read_bytes()), told_by_us(target), told_by_libpff(target), findings(target.read_bytes())
    with edit_nodes(target) as editor:
        editor.commit()
    data = target.read_bytes()
    assert (contents(data), told_by_us(target), told_by_libpff(target)) == before[:3]
    assert findings(data) <= before[3]
    assert stray_bytes(data) == 0
    assert len(data) == path.stat().st_size
    assert os.listdir(tmp_path) == [path.name]
    with edit_nodes(target) as editor:
        editor.commit()
    assert contents(target.read_bytes()) == before[0]


@real
@samples
def test_every_node_is_written_anew(path: Path, tmp_path: Path) -> None:
    target = sample_copy(path, tmp_path)
    before = contents(target.read_bytes()), told_by_us(target), told_by_libpff(target), findings(target.read_bytes())
    with edit_nodes(target) as editor:
        for entry in editor.ndb.nodes.entries():
            node = editor.ndb.open(entry)
            if not node.bid_data:
                continue
            entries = [
                SubnodeEntry(nid, editor.existing(each.bidData), editor.existing(each.bidSub))
                for nid, each in node.subnodes.items()
            ]
            data = editor.data_tree(node.data.chunks())
            if entry.nid % 64 < 32:
                editor.set_data(entry.nid, data)
            else:
                editor.node(entry.nid, data, editor.subnode_tree(entries), entry.nidParent)
        editor.commit()
    data = target.read_bytes()
    assert (contents(data), told_by_us(target), told_by_libpff(target)) == before[:3]
    assert findings(data) <= before[3]
    assert stray_bytes(data) == 0


@real
@samples
def test_removed_nodes_leave_nothing(path: Path, tmp_path: Path) -> None:
    target = sample_copy(path, tmp_path)
    old = target.read_bytes()
    before, known = contents(old), findings(old)
    ndb = open_bytes(old)
    gone = [nid for nid in ndb.nodes.nids if ids.nid_type(nid) in (4, 8)]
    with edit_nodes(target) as editor:
        for nid in gone:
            editor.remove(nid)
        editor.commit()
    data = target.read_bytes()
    assert contents(data) == {nid: node for nid, node in before.items() if nid not in gone}
    assert findings(data) <= known
    assert stray_bytes(data) == 0
    assert folders_of_libpff(target) == folders_of_libpff(path)
    left = {entry.bid for entry in open_bytes(data).blocks.entries()}
    dropped = [entry for entry in ndb.blocks.entries() if entry.bid not in left and entry.cb > 40]
    assert bool(dropped) == bool(gone)
    alive = {old[each.ib : each.ib + each.cb] for each in ndb.blocks.entries() if each.bid in left}
    for entry in dropped[:: 1 + len(dropped) // 50]:
        raw = old[entry.ib : entry.ib + entry.cb]
        assert raw in alive or raw not in data


# Files of the writer


@pytest.mark.parametrize("method", [crypt.CRYPT_NONE, crypt.CRYPT_PERMUTE, crypt.CRYPT_CYCLIC])
def test_replaced_removed_and_added_nodes(method: int) -> None:
    old = new_file(method)
    wanted = contents(old)

    def change(editor: NodeEditor) -> None:
        editor.set_data(MESSAGES[1], editor.bytes_tree(b"new data" * 5000))
        editor.node(MESSAGES[2], editor.bytes_tree(b"whole"), parent=0x122)
        editor.remove(MESSAGES[3])
        assert editor.entry(MESSAGES[3]) is None
        added = editor.next_nid(4)
        assert added == MESSAGES[-1] + 32
        editor.node(added, editor.bytes_tree(b"added"), NO_TREE, FOLDER)
        assert editor.next_unique() >= open_bytes(old).header.dwUnique

    data = edited(old, change)
    found = contents(data)
    for nid in wanted.keys() - set(MESSAGES[1:4]):
        assert found[nid] == wanted[nid]
    ndb = open_bytes(data)
    one, whole = ndb.node(MESSAGES[1]), ndb.node(MESSAGES[2])
    assert one is not None
    assert whole is not None
    assert one.data.read() == b"new data" * 5000
    assert len(one.subnodes) == 2
    assert whole.data.read() == b"whole"
    assert not whole.subnodes
    assert ndb.nodes.find(MESSAGES[3]) is None
    assert found.keys() - wanted.keys() == {MESSAGES[-1] + 32}
    for reading in readings(data) if method == crypt.CRYPT_PERMUTE else [data]:
        assert marker(3) not in reading
        assert marker(2) not in reading
    assert stray_bytes(data) == 0


def test_a_shared_block_stays_until_its_last_user_goes() -> None:
    old = new_file()
    shared = next(each for each in open_bytes(old).blocks.entries() if each.cRef == len(MESSAGES) + 1)
    data = edited(old, lambda editor: [editor.remove(nid) for nid in MESSAGES[:-1]])
    left = open_bytes(data).blocks.find(shared.bid)
    assert left is not None
    assert left.cRef == 2
    data = edited(data, lambda editor: editor.remove(MESSAGES[-1]))
    assert open_bytes(data).blocks.find(shared.bid) is None
    assert contents(data).keys() == {FOLDER}
    assert b"shared by many" not in crypt.decode(bytes(data), crypt.CRYPT_PERMUTE, 0)


def test_subnodes_are_used_again() -> None:
    old = new_file()
    node = open_bytes(old).node(MESSAGES[5])
    assert node is not None
    first, second = node.subnodes.values()

    def change(editor: NodeEditor) -> None:
        kept = SubnodeEntry(second.nid, editor.existing(second.bidData), editor.existing(second.bidSub))
        fresh = editor.subnode_tree([SubnodeEntry(0x3F, editor.bytes_tree(b"inner"), NO_TREE)])
        new = SubnodeEntry(editor.next_nid(5), editor.bytes_tree(b"outer"), fresh)
        assert editor.existing(fresh.bid) == fresh
        tree = editor.subnode_tree([new, kept])
        assert tree.size == 10 + len(b"shared by many ") * 50
        editor.node(MESSAGES[5], editor.existing(node.bid_data), tree, FOLDER)

    ndb = open_bytes(edited(old, change))
    node = ndb.node(MESSAGES[5])
    assert node is not None
    assert set(node.subnodes) == {second.nid, max(node.subnodes)}
    assert first.nid not in node.subnodes
    assert node.data.bid == open_bytes(old).node(MESSAGES[5]).bid_data  # type: ignore[union-attr]
    whole = NodeEditor(MemoryStorage(bytearray(old)))
    entry = open_bytes(old).nodes.find(MESSAGES[4])
    assert entry is not None
    deep = len(b"attachment") + 32 * 800 + len(b"deep") + 32 + len(b"shared by many ") * 50
    assert whole.existing(entry.bidSub).size == deep
    assert whole.existing(entry.bidData).size == 32 * 301
    assert whole.existing(0) == NO_TREE


@pytest.mark.parametrize("leaves", [30, 1022, 4200])
def test_the_file_grows_by_whole_regions(leaves: int) -> None:
    old = new_file()
    block = os.urandom(LEAF)
    data = edited(old, lambda editor: editor.node(0x200F24, editor.data_tree([block] * leaves)))
    assert (len(data) - len(old)) % maps.REGION == 0
    assert 0 <= len(data) - len(old) - leaves * 8192 < 3 * maps.REGION + leaves * 100 or leaves == 30
    node = open_bytes(data).node(0x200F24)
    assert node is not None
    assert all(chunk == block for chunk in node.data.chunks())
    assert {nid: each for nid, each in contents(data).items() if nid != 0x200F24} == contents(old)
    shrunk = edited(bytes(data), lambda editor: editor.remove(0x200F24))
    assert contents(shrunk) == contents(old)
    assert block[:64] not in crypt.decode(bytes(shrunk), crypt.CRYPT_PERMUTE, 0)


def test_free_space_is_used_before_the_file_grows() -> None:
    data = edited(new_file(), lambda editor: editor.remove(MESSAGES[10]))
    again = edited(bytes(data), lambda editor: editor.node(MESSAGES[10], editor.bytes_tree(bytes(40_000))))
    assert len(again) == len(data)


def test_what_is_built_and_not_used_is_erased() -> None:
    data = edited(new_file(), lambda editor: editor.bytes_tree(marker(99) * 1000))
    assert all(marker(99) not in reading for reading in readings(data))
    assert contents(data) == contents(new_file())


def test_slack_and_garbage_are_erased() -> None:
    old = bytearray(new_file())
    entry = next(each for each in open_bytes(old).blocks.entries() if 0 < -(each.cb + 16) % 64 > 8)
    old[entry.ib + entry.cb : entry.ib + entry.cb + 8] = b"padding!"
    old[-64:] = b"behind everything. " + bytes(45)
    old[0x1000:0x1006] = b"header"
    data = edited(bytes(old), lambda _: None)
    assert contents(data) == contents(old)
    for garbage in (b"padding!", b"behind everything", b"header"):
        assert garbage in old
        assert garbage not in data


def test_a_nid_is_never_given_out_twice() -> None:
    old = bytearray(new_file())
    header = Header.unpack(bytes(old))
    old[:564] = replace(header, rgnid=tuple(0x400 for _ in header.rgnid)).sealed().pack()
    editor = NodeEditor(MemoryStorage(old))
    assert editor.next_nid(4) == MESSAGES[-1] + 32
    assert editor.next_nid(5) > max(nid for entry in MESSAGES for nid in open_bytes(old).node(entry).subnodes)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no NIDs of type 0x10"):
        editor.next_nid(0x10)


def test_wrong_calls() -> None:
    storage = MemoryStorage(bytearray(new_file()))
    editor = NodeEditor(storage)
    with pytest.raises(ValueError, match="no node 0x123"):
        editor.remove(0x123)
    with pytest.raises(ValueError, match="no node 0x123"):
        editor.set_data(0x123, NO_TREE)
    with pytest.raises(ValueError, match="no block"):
        editor.existing(0x99990)
    assert storage.operations == []
    editor.commit()
    with pytest.raises(ValueError, match="has ended"):
        editor.bytes_tree(b"late")
    with pytest.raises(ValueError, match="has ended"):
        editor.remove(FOLDER)


def test_an_edit_that_is_given_up_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.pst"
    path.write_bytes(new_file())
    with pytest.raises(RuntimeError, match="changed my mind"), edit_nodes(path) as editor:
        editor.node(FOLDER, editor.bytes_tree(bytes(3_000_000)))
        assert path.stat().st_size > 3_000_000
        assert Header.unpack(path.read_bytes()[:564]).root.fAMapValid == 0
        raise RuntimeError("changed my mind")
    data = path.read_bytes()
    assert data[: maps.IB_FIRST_AMAP] == new_file()[: maps.IB_FIRST_AMAP]
    assert len(data) == len(new_file())
    assert contents(data) == contents(new_file())
    assert findings(data) == set()
    assert os.listdir(tmp_path) == ["a.pst"]


def test_the_survey_holds_the_block_tree_against_the_references() -> None:
    data = bytearray(new_file())
    root = open_bytes(data).header.root
    page = data[root.ibBBT : root.ibBBT + maps.PAGE]
    assert BTPage.unpack(UNICODE, page).cLevel == 1
    leaf = int.from_bytes(page[16:24], "little")
    entry = BBTEntry.unpack(UNICODE, data, leaf)
    assert len(Survey(open_bytes(data), strict=True).references.counts) == len(open_bytes(data).blocks)
    data[leaf : leaf + 24] = replace(entry, cRef=entry.cRef + 1).pack(UNICODE)
    bid = PageTrailer.unpack(UNICODE, bytes(data[leaf : leaf + maps.PAGE])).bid
    data[leaf : leaf + maps.PAGE] = seal_page(UNICODE, bytes(data[leaf : leaf + 496]), PTYPE_BBT, leaf, bid)
    Survey(open_bytes(data))
    with pytest.raises(Damaged, match="cRef"):
        Survey(open_bytes(data), strict=True)
    # In an edit the count is made anew.
    assert contents(edited(bytes(data), lambda _: None)) == contents(new_file())


@pytest.mark.parametrize("ib", [1 << 20, 1 << 52, (1 << 64) - maps.PAGE], ids=hex)
def test_a_block_tree_with_a_page_outside_the_file_is_damage(ib: int) -> None:
    data = bytearray(new_file())
    root = open_bytes(data).header.root
    data[root.ibBBT + 16 : root.ibBBT + 24] = ib.to_bytes(8, "little")
    body = bytes(data[root.ibBBT : root.ibBBT + 496])
    data[root.ibBBT : root.ibBBT + maps.PAGE] = seal_page(UNICODE, body, PTYPE_BBT, root.ibBBT, root.bidBBT)
    with pytest.raises(DamagedInput, match="a page inside the file"):
        NodeEditor(MemoryStorage(data))


def with_entries(change: Callable[[list[BBTEntry]], None]) -> bytes:
    """A file with another first leaf of its BBT."""
    data = bytearray(new_file())
    leaf = int.from_bytes(data[open_bytes(data).header.root.ibBBT + 16 :][:8], "little")
    page = bytes(data[leaf : leaf + maps.PAGE])
    parsed = BTPage.unpack(UNICODE, page)
    entries = [BBTEntry.unpack(UNICODE, parsed.rgentries, at * 24) for at in range(parsed.cEnt)]
    change(entries)
    body = BTPage.of(UNICODE, entries, 0, UNICODE.bbt_entry).pack(UNICODE)
    bid = PageTrailer.unpack(UNICODE, page).bid
    data[leaf : leaf + maps.PAGE] = seal_page(UNICODE, body, PTYPE_BBT, leaf, bid)
    return bytes(data)


def put(entries: list[BBTEntry], at: int, **fields: int) -> None:
    entries[at] = replace(entries[at], **fields)


# Refusals


def with_header(**fields: object) -> bytes:
    data = new_file()
    return replace(Header.unpack(data), **fields).sealed().pack() + data[564:]  # type: ignore[arg-type]


def flipped(at: int) -> bytes:
    data = bytearray(new_file())
    data[at] ^= 1
    return bytes(data)


def some_block() -> int:
    return next(each.ib for each in open_bytes(new_file()).blocks.entries() if each.cb > 5000)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: with_header(wMagicClient=CLIENT_OST), "an OST file"),
        (lambda: with_header(wMagicClient=b"AB"), "another kind"),
        (lambda: with_header(wVer=21), "wVer 21"),
        (lambda: with_header(bCryptMethod=0x10), "a key of Windows"),
        (lambda: with_header(dwUnique=0xFFFFFFF0), "counter is used up"),
        (lambda: flipped(100), "header's checksum"),
        (lambda: flipped(525), "header's checksum"),
        (lambda: flipped(0), "begins with"),
        (lambda: flipped(10), "cannot be read"),
        (lambda: new_file() + bytes(maps.REGION), "by its header"),
        (lambda: new_file()[:-1], "by its header"),
        (lambda: with_header(root=replace(open_bytes(new_file()).header.root, ibFileEof=300_000)), "by its header"),
        (lambda: flipped(some_block()), "damaged: .*dwCRC"),
        (lambda: flipped(open_bytes(new_file()).header.root.ibNBT), "damaged: .*dwCRC"),
        (lambda: flipped(open_bytes(new_file()).header.root.ibBBT), "damaged: .*dwCRC"),
        (lambda: with_header(bidNextB=8), "bidNextB"),
        (lambda: mailbox(ANSI, version=14).build(), "ANSI"),
        (lambda: mailbox(UNICODE_4K, version=36).build(), "4-KB pages|an OST file"),
        (lambda: b"!BDN", "too few"),
        (lambda: with_entries(lambda each: put(each, 1, ib=each[0].ib)), "damaged: .*place of its own"),
        (lambda: with_entries(lambda each: put(each, 1, ib=each[0].ib + 16)), "damaged: .*(multiple|place)"),
        (lambda: with_entries(lambda each: put(each, 1, ib=0x4400)), "damaged: .*place of its own"),
        (lambda: with_entries(lambda each: put(each, 1, ib=1 << 60)), "damaged: .*inside the file"),
        (lambda: with_entries(lambda each: put(each, 1, cb=0)), "damaged: .*cb"),
        (lambda: with_entries(lambda each: put(each, 1, cb=9000)), "damaged: .*cb"),
        (lambda: with_entries(lambda each: each.pop(0)), "damaged: .*a BBT entry"),
    ],
)
def test_what_cannot_be_changed_in_place_is_left_alone(make: Callable[[], bytes], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pst"
    data = make()
    path.write_bytes(data)
    with pytest.raises(DamagedInput, match=reason) as refused, edit_nodes(path):
        pass
    assert refused.value.hint is not None
    assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a.pst"]


def test_s19_a_file_with_two_names_is_refused_and_a_link_is_followed_once(tmp_path: Path) -> None:
    path, link = tmp_path / "a.pst", tmp_path / "link.pst"
    path.write_bytes(new_file())
    link.symlink_to(path)
    with edit_nodes(link) as editor:
        editor.remove(MESSAGES[0])
        editor.commit()
    assert link.is_symlink()
    assert MESSAGES[0] not in contents(path.read_bytes())
    os.link(path, tmp_path / "b.pst")
    with pytest.raises(Refused, match="2 names"), edit_nodes(path):
        pass


HOLDERS = {
    "open": "f = open(sys.argv[1], 'r+b')",
    "flock": "f = open(sys.argv[1], 'rb'); fcntl.flock(f, fcntl.LOCK_EX)",
    "fcntl": "f = open(sys.argv[1], 'rb'); fcntl.lockf(f, fcntl.LOCK_SH)",
    "dotlock": "open(sys.argv[1] + '.lock', 'x').write(str(os.getpid()))",
}


@pytest.mark.parametrize("how", HOLDERS)
def test_a_file_in_use_is_refused(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pst"
    path.write_bytes(new_file())
    program = f"import fcntl, os, sys; {HOLDERS[how]}; print('ready', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(MailboxLocked), edit_nodes(path, timeout=0.1):
            pass
        holder.communicate()
    assert path.read_bytes() == new_file()


def test_an_unfinished_edit_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "a.pst"
    path.write_bytes(new_file())
    journal = path.with_name(path.name + JOURNAL_SUFFIX)
    assert recover(path) is Recovery.NOTHING
    journal.write_bytes(b"no journal")
    with pytest.raises(Unfinished, match="broken off"), edit_nodes(path):
        pass
    with pytest.raises(Refused, match="cannot be read"):
        recover(path)
    journal.chmod(0o666)
    with pytest.raises(Refused, match="S27"):
        recover(path)
    journal.unlink()
    journal.symlink_to(path)
    with pytest.raises(ExciseError, match=r"symbolic|Too many levels"):
        recover(path)
    assert path.read_bytes() == new_file()
