"""Everything that Excise does with a PST file, done to one that somebody made to do harm, and what must hold of it.

``Trial`` reads, checks, searches, copies, compacts, purges and salvages it, puts a message into it, and reads it again
as if it were evidence. Nothing but the documented errors may come out, nothing may take long or much memory, and what
succeeds must be right.
"""

from __future__ import annotations

import io
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import excise.pst
from excise.case.reread_pst import compare_pst
from excise.core.errors import ExciseError
from excise.criteria import Matcher
from excise.pst.disk.crypt import CRYPT_PERMUTE, decode
from excise.pst.disk.damage import DamageLog
from excise.pst.file.salvage import as_written
from excise.pst.ltp.table import TableContext
from excise.pst.messaging.folder import FailedItem, Folder
from excise.pst.messaging.message import Message
from excise.pst.messaging.new_message import NewAttachment, NewMessage, NewProperty
from excise.store_api.conformance.base import matcher
from excise.store_api.protocols import Tally, Unreadable
from excise.stores.pst import STORE, PstView
from excise.stores.pst_file import PstFile, Unreachable
from excise.stores.pst_item import PstItem
from excise.stores.pst_same import difference
from excise.stores.pst_tree import PstTree
from pst.mutating import bytes_changed, fields_changed, structures_changed
from pst.purged import digest

#: Processor time for all of one file of 300 KB. A sound one takes half a second.
SECONDS = 20
PT_LONG, PT_UNICODE, PT_BINARY = 0x03, 0x1F, 0x102
#: What a process may grow by with one such file.
MEMORY = 300_000_000


def made() -> bytes:
    """A file of ours: two folders, long values, attachments, and messages in each other."""
    stream = io.BytesIO()
    with excise.pst.create(stream) as new:
        for name, count in (("Inbox", 6), ("Other", 2)):
            folder = new.folder((name,))
            for number in range(count):
                folder.add(_message(f"{name} {number}", depth=number % 3))
            folder.add_associated(_message(f"{name} hidden", depth=0))
    return stream.getvalue()


def _message(subject: str, depth: int) -> NewMessage:
    properties = [
        NewProperty.of(0x37, PT_UNICODE, subject),
        NewProperty.of(0x1000, PT_UNICODE, f"This is the body of {subject}. " * 300),
    ]
    row = [NewProperty.of(0x3001, PT_UNICODE, f"To {subject}"), NewProperty.of(0x0C15, PT_LONG, 1)]
    data = random.Random(subject).randbytes(12_000)
    attachments = [NewAttachment([NewProperty.of(0x3705, PT_LONG, 1), NewProperty.of(0x3701, PT_BINARY, data)])]
    if depth:
        inner = _message(f"In {subject}", depth - 1)
        attachments.append(NewAttachment([NewProperty.of(0x3705, PT_LONG, 5)], inner))
    return NewMessage(properties, [row], attachments)


class TooLong(BaseException):
    """The processor time is used up. No ``except Exception`` may keep it."""


@contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """TooLong after ``seconds`` of processor time; an AssertionError where the process grew by ``memory`` bytes."""

    def stop(*_: object) -> None:
        raise TooLong(f"more than {seconds} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < memory, f"grew by {grown} bytes"


def changed(data: bytes, pst: excise.pst.PstFile, rng: random.Random) -> bytes:
    """``data`` changed in one of all the ways."""
    kind = rng.random()
    if kind < 0.15:
        return bytes_changed(data, rng)
    if kind < 0.4:
        return structures_changed(data, pst.ndb, rng)
    return fields_changed(data, pst.ndb, rng)


class Trial:
    """One file. ``outcomes`` says how often each of its parts succeeded or was refused."""

    def __init__(self, data: bytes, place: Path, rng: random.Random) -> None:
        self.data = data
        self._place = place
        self._rng = rng
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        """All parts."""
        with bounded():
            nids = self._part("read", self._read)
            report = self._part("check", lambda: excise.pst.check(io.BytesIO(self.data)))
            assert (nids is None) == (report is None), "read, and not checked, or the other way round"
            if report is None:
                return
            self.outcomes["damaged"] += report.damaged
            self._part("salvage", self._salvage)
            self._part("compact", lambda: self._compact(frozenset(), report))
            messages = [nid for nid in nids if nid & 0x1F in (4, 8)]
            if messages:
                self._part("search", self._search)
                self._part("append", lambda: self._append(report))
                self._part("evidence", lambda: self._reread(messages))
                nid = self._rng.choice(messages)
                self._part("compact without", lambda: self._compact(frozenset({nid}), report))
                self._part("purge", lambda: self._purge(nid, report))

    def _part(self, name: str, do: Callable[[], Any]) -> Any:
        try:
            done = do()
        except ExciseError as error:
            assert error.message
            self.outcomes[f"{name} refused"] += 1
            return None
        self.outcomes[name] += 1
        return done

    def _read(self) -> list[int]:
        nids = []
        with excise.pst.open(io.BytesIO(self.data)) as pst, excise.pst.create(io.BytesIO()) as new:
            _ = pst.damage, pst.has_password, pst.record_key, pst.format_name
            for number, folder in enumerate(pst.folders()):
                _ = folder.path, folder.found_nids
                target = new.folder((f"{number}",))
                for summary in folder.summaries():
                    folder.row_is_current(summary.nid)
                for items, add in ((folder.messages, target.add), (folder.associated, target.add_associated)):
                    nids += self._items(pst, folder, items, add)
            orphans = list(pst.store.orphaned_items())
            assert pst.damage or not orphans
        return nids

    def _items(
        self,
        pst: excise.pst.PstFile,
        folder: Folder,
        items: Callable[[], Iterator[Message | FailedItem]],
        add: Callable[[excise.pst.NewMessage], int],
    ) -> Iterator[int]:
        given = []
        for item in items():
            given.append(item.nid)
            if isinstance(item, Message):
                self._copy(pst, item, add)
        counts = folder.counts
        assert counts.seen == counts.read + counts.failed == len(given)
        assert len(given) == len(set(given))
        if counts.failed:
            assert folder.log
        yield from given

    def _copy(self, pst: excise.pst.PstFile, item: Message, add: Callable[[excise.pst.NewMessage], int]) -> None:
        damage = item.read_all()
        for attachment in item.attachments:
            _ = attachment.filename, attachment.reference
        try:
            new = excise.pst.NewMessage.of(item, pst.names)
            add(new)
        except (excise.pst.Damaged, ValueError, OverflowError):
            self.outcomes["item refused"] += 1
        else:
            self.outcomes["item copied"] += 1
            assert not damage, f"an item with damage was copied as whole: {damage[0].text()}"

    def _salvage(self) -> None:
        """What is kept is as it was, and nothing is in both lists or in none."""
        target = io.BytesIO()
        done = excise.pst.salvage(io.BytesIO(self.data), target)
        assert done == excise.pst.salvage(io.BytesIO(self.data), None)
        self.outcomes["salvage with losses"] += bool(done.lost)
        with excise.pst.open(io.BytesIO(self.data)) as old, excise.pst.open(target) as new:
            nids = {nid for nid in old.ndb.nodes.nids if nid & 0x1F in (4, 8)}
            assert done.kept.keys() == {nid for nid in new.ndb.nodes.nids if nid & 0x1F in (4, 8)}
            assert nids == done.kept.keys() | (nids & {each.nid for each in done.lost})
            for nid in done.kept:
                assert not difference(as_written(old, nid), as_written(new, nid))

    def _compact(self, without: frozenset[int], before: excise.pst.Report) -> None:
        target = io.BytesIO()
        excise.pst.compact(io.BytesIO(self.data), target, without=without)
        assert not before.damaged, "a damaged file was copied as if it were sound"
        assert target.tell() < 3 * len(self.data) + 300_000
        self._compare(target.getvalue(), without)

    def _search(self) -> None:
        """What a search opens it judges as a slow scan does. A row that lies, and damage behind a row, go unseen."""
        self._place.write_bytes(self.data)
        wanted = matcher(subject_contains=["Inbox"], received_since="1999-01-01")
        tally, found = Tally(), dict[str, bool]()
        mailbox = STORE.open(f"pst:{self._place}")
        try:
            count = sum(folder.count or 0 for folder in mailbox.folders())
            for each in mailbox.find(wanted, tally):
                if isinstance(each, Unreadable):
                    tally.unreadable += 1
                elif (verdict := wanted.test(each.view)).matched or verdict.untestable:
                    found[each.id] = verdict.matched
                    self._part("fetch", partial(mailbox.fetch, each.id))
        finally:
            mailbox.close()
        assert count <= tally.seen <= count + tally.unreadable
        assert found.items() <= self._searched_slowly(wanted).items()

    def _searched_slowly(self, wanted: Matcher) -> dict[str, bool]:
        found = {}
        file = PstFile(self._place)
        for folder in PstTree(file):
            for nid in folder.nids:
                try:
                    verdict = wanted.test(PstView(PstItem(file, nid), folder.path))
                except Unreachable:
                    continue
                if verdict.matched or verdict.untestable:
                    found[f"{nid:#x}"] = verdict.matched
        file.close()
        return found

    def _append(self, before: excise.pst.Report) -> None:
        self._place.write_bytes(self.data)
        try:
            with excise.pst.append(self._place) as pst:
                new = pst.folder(("Inbox",)).add(_message("Appended", depth=1))
        except (ExciseError, ValueError):
            self._compare_undone(self._place.read_bytes())
            self.outcomes["append refused"] += 1
            return
        assert not before.damaged, "something was put into a damaged file"
        after = self._place.read_bytes()
        there = _messages(after)
        assert there.pop(new)[0] == "read"
        assert there == _messages(self.data)
        _assert_no_worse(self.data, after)

    def _reread(self, messages: Sequence[int]) -> None:
        """Told where each message is, and that its MIME is in it, which is not so: each gets a problem."""
        self._place.write_bytes(self.data)
        told = {"folder": ["Inbox"], "form": "mime", "content": "OriginalMime"}
        lines = [{"evidence": f"{nid:x}", "pst": {"nid": nid, **told}} for nid in sorted(set(messages))]
        problems = list(compare_pst(self._place, lines, _refuse))
        assert problems
        assert all(isinstance(each, str) for each in problems)

    def _purge(self, nid: int, before: excise.pst.Report) -> None:
        self._place.write_bytes(self.data)
        try:
            excise.pst.purge(self._place, [nid])
        except ExciseError:
            self._compare_undone(self._place.read_bytes())
            raise
        assert not before.damaged, "a message was purged from a damaged file"
        self._compare(self._place.read_bytes(), frozenset({nid}))

    def _compare_undone(self, after: bytes) -> None:
        """After a refusal the file is as it was, but for what was free: an edit that was undone may have been there."""
        assert len(after) == len(self.data)
        if after == self.data:
            return
        self.outcomes["undone"] += 1
        with excise.pst.open(io.BytesIO(self.data)) as pst:
            size = pst.ndb.format.block_size
            used = [(0, 0x4400), *((each.ib, each.ib + size(each.cb)) for each in pst.ndb.blocks.entries())]
        assert all(self.data[at:end] == after[at:end] for at, end in used), "refused, and changed"
        assert _messages(after) == _messages(self.data)
        known, found = (excise.pst.check(io.BytesIO(data)).findings for data in (self.data, after))
        assert found == known

    def _compare(self, after: bytes, without: frozenset[int]) -> None:
        """All messages but ``without`` are as they were, and nothing of those is left."""
        old, new = _messages(self.data), _messages(after)
        assert new.keys() == old.keys() - without
        for nid, content in new.items():
            assert content == old[nid], f"0x{nid:x} is another"
        _assert_no_worse(self.data, after)
        for nid in without:
            left = [mark for mark in _marks(self.data, nid) if mark in after or mark in decode(after, CRYPT_PERMUTE, 0)]
            assert not left, f"{left[0]!r} of 0x{nid:x} is left"


def _refuse(place: str, content: bytes, line: Any) -> None:
    raise AssertionError(f"{place}: {len(content)} bytes of MIME that nobody wrote into {line}")


def _messages(data: bytes) -> dict[int, Any]:
    """Every item by NID, as one that reads without damage or as the structures that are wrong with it."""
    found = {}
    with excise.pst.open(io.BytesIO(data)) as pst:
        for folder in pst.folders():
            for item in (*folder.messages(), *folder.associated()):
                if isinstance(item, FailedItem):
                    found[item.nid] = ("failed", item.damage.structure, item.damage.field)
                elif wrong := item.read_all():
                    found[item.nid] = ("damaged", *{(each.structure, each.field) for each in wrong})
                else:
                    found[item.nid] = ("read", digest(item))
    return found


def _assert_no_worse(before: bytes, after: bytes) -> None:
    def errors(data: bytes) -> Counter[Any]:
        report = excise.pst.check(io.BytesIO(data))
        damage = [each.damage for each in report.findings if each.grade == "error"]
        return Counter((each.layer, each.structure, each.field) for each in damage)

    worse = errors(after) - errors(before)
    assert not worse, f"new errors: {worse}"


def _marks(data: bytes, nid: int) -> list[bytes]:
    """Pieces of text that only the node ``nid`` has, and the tables with a row of it."""
    with excise.pst.open(io.BytesIO(data)) as pst:
        ndb = pst.ndb
        of_node = {entry.nid: _blocks(ndb.open(entry, DamageLog())) for entry in ndb.nodes.entries()}
        mine = of_node.pop(nid, set())
        others = set().union(*of_node.values())
        rest = set().union(*(bids for each, bids in of_node.items() if not _has_row(pst, each, nid)))

        def content(bid: int) -> bytes:
            return ndb.block(bid, DamageLog())

        text = b"\0".join(map(content, rest))
        own = [content(bid) for bid in mine - others if not bid & 2]
    pieces = [block[at : at + 32] for block in own for at in range(0, len(block) - 40, 32)]
    return [piece for piece in pieces if _is_text(piece) and piece not in text][:64]


def _has_row(pst: excise.pst.PstFile, table: int, nid: int) -> bool:
    if table & 0x1F not in (0x0E, 0x0F, 0x10, 0x0C):
        return False
    node = pst.ndb.node(table, DamageLog())
    try:
        return node is not None and nid in dict(TableContext(node).index)
    except excise.pst.Damaged:
        return False


def _is_text(piece: bytes) -> bool:
    """True where a person would read something in ``piece``; what heaps and tables have in common is none."""
    printable = sum(32 < each < 127 for each in piece)
    return len(set(piece)) > 8 and (printable > 24 or (printable > 12 and piece.count(0) > 12))


def _blocks(node: Any, depth: int = 0) -> set[int]:
    """The data blocks of ``node`` and all below it that can be read."""
    found = set()
    try:
        for bid in node.data.leaves:
            node.ndb.block(bid, node.log)
            found.add(bid)
    except excise.pst.Damaged:
        pass  # these are then no marks
    for nid in node.subnodes if depth < 20 else ():
        found |= _blocks(node.child(nid), depth + 1)
    return found
