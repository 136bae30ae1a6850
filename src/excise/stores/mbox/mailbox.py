"""One mbox as a mailbox of the store contract.

Invariants: reading maps no memory and leaves no trace; what it saw is checked by fingerprint before anything is
removed. Whatever writes does so under both locks, after ``recover``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from excise.core.errors import DamagedInput, ExciseError, Refused, Unfinished
from excise.core.locks import MailboxLock, MailboxLocked
from excise.mbox import HEAD_SIZE, Entry, FileView, fingerprint, follows_lengths, looks_like_mbox, scan_headers
from excise.mbox.entries import HEADER_MAX
from excise.model.item import Deposit, Disposal, Fetched, Outcome, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemNotFound, MailboxBusy, MailboxChanged, Unsupported
from excise.store_api.protocols import Candidate, Filter, Folder, MailboxInfo, Tally, Unreadable
from excise.stores.mbox import append as adding
from excise.stores.mbox import replace as replacing
from excise.stores.mbox.beside import Beside, inode
from excise.stores.mbox.deposits import DepositError, Rendered, render
from excise.stores.mbox.index import Index, by_version, choose, complement, folder_data, make_id, seen, split_id
from excise.stores.mbox.source import ABSENT, MESSAGE_MAX, MboxCandidate, Source, fetched, translated

KIND = "mbox"
COMPRESSED = "the mailbox is compressed: decompress it, and name the result"
_BATCH_BYTES = 1 << 26
_BATCH_ITEMS = 1000

#: Terms that may hold for one of two messages of the same version: they see what the fingerprint leaves out (Status …).
#: Where one is used every message takes its number; otherwise equal ones match alike, and only matches need one.
_TELL_TWINS_APART = frozenset({"header", "larger", "smaller"})


class MboxMailbox:
    """The mbox file ``path``.

    ``lock_timeout``: seconds to wait for others' locks. ``patience``: seconds to wait after a removal for programs that
    have the replaced file open for writing: longer than Postfix waits for a lock (20 seconds).
    """

    lock_timeout = 60.0
    patience = 30.0

    def __init__(self, path: Path, *, writable: bool) -> None:
        """Raises a SourceUnavailable where it cannot be opened, a DamagedInput where it is no mbox."""
        self._path = path
        self._writable = writable
        self._beside = Beside(path)
        self._source: Source | None = None
        self._left: dict[str, int] = {}
        self._removed: set[str] = set()
        with translated(path, "opening the mailbox"):
            source = self._now()
        self._compressed = source.compressed
        self._identity = source.identity
        if len(source.view) and not source.compressed and not looks_like_mbox(source.view[:HEAD_SIZE]):
            self._must_hold_messages(source.view)

    @property
    def info(self) -> MailboxInfo:
        """The mailbox as it is now."""
        with translated(self._path, "looking at the mailbox"):
            source = self._now()
        size = os.fstat(source.fd).st_size if source.fd >= 0 else 0
        locator = f"{KIND}:{self._path}"
        return MailboxInfo(KIND, locator, str(self._path), source.identity, size, size)

    def folders(self) -> Iterator[Folder]:
        """An mbox has one folder, without a name."""
        with self._index() as (_, index):
            yield Folder("", len(index))

    def find(self, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        """Every message whose header does not surely exclude it."""
        try:
            with translated(self._path, "searching the mailbox"), self._to_search() as source:
                yield from self._find(source, matcher, tally)
        finally:
            tally.flush()

    def fetch(self, item_id: str) -> Fetched:
        """One message: its bytes as they stand there, its From_ line and quoting among the attributes."""
        named = split_id(item_id)
        with self._index() as (view, index):
            entry = index.at(*named) if named else None
            if named is None or entry is None:
                raise ItemNotFound(f"{self._path}: there is no message {item_id[:100]!r}", hint="Search again.")
            return fetched(view, entry, item_id, named[0], self._path)

    def look(self, targets: Sequence[Target]) -> Mapping[str, Whereabouts]:
        """Where each target is: here, or nowhere."""
        with self._index() as (_, index):
            groups = by_version(targets)
            counts = index.counts(groups)
            places = {target.id: Whereabouts.ABSENT for target in targets}
            for version, numbers in groups.items():
                # What this object removed comes last: of equal messages, the others stand before it.
                order = sorted(numbers, key=lambda n: (make_id(version, n) in self._removed, n))
                gone = sum(make_id(version, n) in self._removed for n in order)
                here = min(counts.get(version, 0), len(order) - gone)
                if gone:
                    here += max(0, counts.get(version, 0) - max(here, self._left.get(version, 0)))
                for number in order[:here]:
                    places[make_id(version, number)] = Whereabouts.HERE
            return {t.id: seen(t, places[t.id]) for t in targets}

    def version_of(self, deposit: Deposit) -> str:
        """The version that ``deposit`` will have; that of no message where it cannot be put."""
        with translated(self._path, "reading the mailbox"):
            by_length = self._now().by_length
        try:
            return render(deposit, by_length=by_length).version
        except DepositError:
            return "0" * 72

    def count(self, versions: Collection[str]) -> Mapping[tuple[str, str], int]:
        """How many messages there are of each of ``versions``."""
        with self._index() as (_, index):
            return {("", version): count for version, count in index.counts(versions).items()}

    def remove(self, targets: Sequence[Target], disposal: Disposal) -> Iterator[Removal]:
        """Remove ``targets``, all in one step."""
        self._must_be_writable()
        if disposal is not Disposal.HARD:
            raise Unsupported(f"an mbox has no {disposal.value!r}: what is removed from it is gone")
        if not targets:
            return iter(())
        with translated(self._path, "removing messages"):
            return iter(self._remove(targets))

    def recover(self) -> Sequence[str]:
        """Finish or undo what an interrupted removal or addition left beside the mailbox."""
        self._must_be_writable()
        with translated(self._path, "finishing what was interrupted"):
            return self._recover()

    def put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits`` at the end, a batch at a time, each batch whole or not at all."""
        self._must_be_writable()
        return self._put(deposits)

    def close(self) -> None:
        """Let go of the file."""
        if self._source is not None:
            self._source.close()
            self._source = None

    # Reading

    def _now(self) -> Source:
        """The file as it is now, opened again where it is another or has changed."""
        if self._source is None or self._source.is_stale():
            self.close()
            try:
                self._source = Source(self._path)
            except FileNotFoundError:
                if not self._writable or not self._path.parent.is_dir():
                    raise
                self._source = Source(None)
        return self._source

    def _to_search(self) -> AbstractContextManager[Source]:
        """A source of the search's own, since others may change the file meanwhile; what is decompressed is shared."""
        if self._compressed or not self._path.exists():
            return contextlib.nullcontext(self._now())
        return Source(self._path)

    @contextlib.contextmanager
    def _index(self) -> Iterator[tuple[FileView, Index]]:
        with translated(self._path, "reading the mailbox"):
            source = self._now()
            if source.index is None:
                source.index = Index(source.view)
            yield source.view, source.index

    def _must_hold_messages(self, view: FileView) -> None:
        if next(scan_headers(view), None) is None:
            self.close()
            raise DamagedInput(
                f"{self._path}: expected an mbox, found no From_ line with a header after it",
                hint="If it is another kind of mail store, leave the word mbox: away.",
            )

    def _find(self, source: Source, matcher: Filter, tally: Tally) -> Iterator[Candidate | Unreadable]:
        view, reject, first = source.view, matcher.rejects_header, True
        numbers: Counter[str] = Counter()
        doubt = COMPRESSED if source.compressed else ""
        number_all = not matcher.kinds().isdisjoint(_TELL_TWINS_APART)
        for entry, header in scan_headers(view):
            if first:
                first = False
                yield from self._junk(view, entry.start, tally)
            if entry.internal:
                continue
            tally.advance(1, entry.end - entry.start)
            candidate = MboxCandidate(view, entry, header, numbers, entry.doubt or doubt)
            if number_all:
                candidate.take_number()
            if len(header) < HEADER_MAX and reject(header):
                continue
            if entry.content_end - entry.content_start > MESSAGE_MAX:
                yield Unreadable(f"offset {entry.start}", f"the message is larger than {MESSAGE_MAX} bytes")
            else:
                yield candidate
        if first and len(view):
            yield from self._junk(view, len(view), tally)
        if not source.is_intact():
            raise MailboxChanged(
                f"{self._path}: another program rewrote the mailbox while it was read",
                hint="Run the command again.",
            )

    def _junk(self, view: FileView, size: int, tally: Tally) -> Iterator[Unreadable]:
        if size and any(piece.strip(b"\r\n") for piece in view.chunks(0, size)):
            tally.advance(1, size)
            yield Unreadable("offset 0", f"{size} bytes before the first From_ line belong to no message")

    # Writing

    def _must_be_writable(self) -> None:
        if not self._writable:
            raise Unsupported(f"{self._path} was opened for reading only", hint="Open it with writable=True.")
        if self._compressed:
            raise Unsupported(f"{self._path}: {COMPRESSED}", hint="A compressed mailbox can be searched and copied.")

    @contextlib.contextmanager
    def _locked(self, *, create: bool = False) -> Iterator[MailboxLock]:
        """The mailbox locked, with nothing left unfinished beside it, surely the planned one and nobody else's too."""
        deadline = time.monotonic() + self.lock_timeout
        while True:
            left = self._recover_patiently(deadline)
            with MailboxLock(self._path, timeout=self.lock_timeout, create=create) as lock:
                if not self._beside.anything():
                    self._check(lock)
                    yield lock
                    return
            if time.monotonic() >= deadline:
                raise MailboxBusy(
                    f"{self._path}: an earlier removal is not finished{': ' + left[-1] if left else ''}",
                    hint="Run excise resume on its case, or wait until it has ended.",
                )
            time.sleep(0.2)

    def _recover_patiently(self, deadline: float) -> list[str]:
        """As ``_recover``, but waits for another Excise that is finishing a removal."""
        while True:
            try:
                return self._recover()
            except MailboxBusy:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.1)

    def _check(self, lock: MailboxLock) -> None:
        info = os.fstat(lock.fd)
        if info.st_nlink != 1:
            raise Refused(
                "S19",
                f"{self._path}: has {info.st_nlink} names (hard links); a change under one would part them",
                hint="Remove the other names first.",
            )
        identity = replacing.identity_of(lock.fd, info)
        if self._identity not in (identity, ABSENT):
            raise MailboxChanged(
                f"{self._path}: expected the mailbox that was opened ({self._identity}), found another ({identity})",
                hint="It was replaced meanwhile. Search again and make a new plan.",
            )
        if self._identity == ABSENT:
            _give_to_owner(lock, self._path)
        self._identity = identity

    def _remove(self, targets: Sequence[Target]) -> list[Removal]:
        give_way_until = time.monotonic() + self.patience / 2
        while True:
            try:
                return self._remove_now(targets, give_way=time.monotonic() < give_way_until)
            except replacing.OthersWait:
                time.sleep(0.05)

    def _remove_now(self, targets: Sequence[Target], *, give_way: bool) -> list[Removal]:
        with self._locked() as lock:
            view = FileView(lock.fd, self._path)
            answers, chosen, groups = choose(Index(view), targets)
            if not chosen:
                return list(answers.values())
            marks = [fingerprint(view, entry) for entry in chosen]
            keep = _parts(view, chosen)
            try:
                old = replacing.replace(lock, self._beside, keep, marks, give_way=give_way)
            except Unfinished as error:
                return [a if a.outcome is not Outcome.REMOVED else _unknown(a, error) for a in answers.values()]
            self._identity = replacing.identity_of(self._path, self._path.lstat())
        self._left.update(groups)
        self._removed.update(a.id for a in answers.values() if a.outcome is Outcome.REMOVED)
        left = old.finish(self.patience)
        return [Removal(a.id, a.outcome, left) if a.outcome is Outcome.REMOVED else a for a in answers.values()]

    def _recover(self) -> list[str]:
        beside, done = self._beside, list[str]()
        if not beside.anything():
            self._clear_dead_lock()
            return done
        with MailboxLock(self._path, timeout=self.lock_timeout, create=beside.in_force()) as lock:
            if beside.drop_partials():
                done.append(f"{self._path}: threw away an unfinished file beside the mailbox")
            finished = adding.finish(lock, beside)
            if finished:
                done.append(finished)
            old = self._take_up(lock, done)
        if old is not None:
            left = old.finish(self.patience)
            done.append(f"{self._path}: {left or 'finished a removal: the file that was replaced is gone'}")
        return done

    def _take_up(self, lock: MailboxLock, done: list[str]) -> replacing.OldFile | None:
        """Undo a replacement that had not come into force; of one that had, the old file."""
        beside, note = self._beside, self._beside.read_note()
        if note is not None and os.fstat(lock.fd).st_ino != note.old and beside.find_old(note) is not None:
            return replacing.OldFile(beside, note)
        if note is not None and inode(beside.new) not in (None, note.new):
            raise DamagedInput(
                f"{beside.new}: expected the new or the old file of an interrupted removal, found another one",
                hint=f"Compare it with {self._path.name} by hand, then remove it and {beside.note.name}.",
            )
        for path in (beside.new, beside.old, beside.note):
            if os.path.lexists(path):
                beside.drop(path)
                if path is not beside.note:
                    done.append(f"{self._path}: threw away {path.name} of a removal that had not begun")
        return None

    def _clear_dead_lock(self) -> None:
        """A killed process may have left its dotlock: taking the lock takes a dead one away."""
        if os.path.lexists(self._path.with_name(self._path.name + ".lock")) and self._path.exists():
            with contextlib.suppress(MailboxLocked), MailboxLock(self._path, timeout=1.0):
                pass

    def _put(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        for batch in _batches(deposits):
            with translated(self._path, "adding messages"):
                placed = self._put_batch(batch)
            yield from placed

    def _put_batch(self, batch: Sequence[Deposit]) -> list[Placed]:
        with self._locked(create=self._identity == ABSENT) as lock:
            view = FileView(lock.fd, self._path)
            by_length = len(view) > 0 and follows_lengths(view)
            answers: list[Placed | Rendered] = []
            for deposit in batch:
                try:
                    answers.append(render(deposit, by_length=by_length))
                except DepositError as error:
                    answers.append(Placed(Outcome.FAILED, None, str(error)))
            versions = [a.version if isinstance(a, Rendered) else "" for a in answers]
            counts = Counter(Index(view).counts({version for version in versions if version}))
            newline = adding.newline_of(lock.fd)
            pieces = [adding.glue(lock.fd, newline)]
            pieces += [piece for a in answers if isinstance(a, Rendered) for piece in a.pieces(newline)]
            if any(versions):
                adding.append(lock, self._beside, pieces)
        placed = []
        for answer, version in zip(answers, versions, strict=True):
            if isinstance(answer, Rendered):
                placed.append(Placed(Outcome.RESTORED, make_id(version, counts[version])))
                counts[version] += 1
            else:
                placed.append(answer)
        return placed


def _parts(view: FileView, going: Sequence[Entry]) -> list[replacing.Part]:
    """The new file without ``going``: ranges of the old one, and the folder's data where it must move."""
    keep = complement(going, len(view))
    moved = folder_data(view, going)
    if moved is None:
        return [*keep]
    place, line = moved
    begin = next(number for number, (start, end) in enumerate(keep) if start <= place < end)
    start, end = keep[begin]
    return [*keep[:begin], (start, place), line, (place, end), *keep[begin + 1 :]]


def _unknown(removal: Removal, error: ExciseError) -> Removal:
    return Removal(removal.id, Outcome.UNKNOWN, error.text())


def _batches(deposits: Sequence[Deposit]) -> Iterator[list[Deposit]]:
    batch: list[Deposit] = []
    size = 0
    for deposit in deposits:
        if batch and (size + len(deposit.content) > _BATCH_BYTES or len(batch) >= _BATCH_ITEMS):
            yield batch
            batch, size = [], 0
        batch.append(deposit)
        size += len(deposit.content)
    if batch:
        yield batch


def _give_to_owner(lock: MailboxLock, path: Path) -> None:
    """A mailbox that root has made anew goes to the directory's owner, in root's own directory to the user of its
    name."""
    if os.geteuid() != 0 or os.fstat(lock.fd).st_size:
        return
    owner = path.parent.stat()
    uid, gid = owner.st_uid, owner.st_gid
    if uid == 0:
        with contextlib.suppress(KeyError):
            uid, gid = pwd.getpwnam(path.name)[2:4]
    os.fchown(lock.fd, uid, gid)
