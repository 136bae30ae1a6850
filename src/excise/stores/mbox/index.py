"""Finding messages of an mbox again by their names.

A message's *version* is its fingerprint with a short hash of its From_ line before it, so that it is found again
without hashing every message. Its *id* is the version with its number among equal messages. Equal messages can be told
apart by nothing but their order: where one of several goes, the others move up.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Sequence

from excise.mbox import Buffer, Entry, fingerprint, from_line, from_line_key, scan, scan_headers
from excise.model.item import Outcome, Removal, Target, Whereabouts

_VERSION = re.compile(r"[0-9a-f]{72}\Z")
_FOLDER_DATA = re.compile(rb"(?im)^X-IMAPbase:[^\n]*\n(?:[ \t][^\n]*\n)*")
_ID = re.compile(r"([0-9a-f]{72})\.(\d{1,9})\Z")


def version_of(buffer: Buffer, entry: Entry) -> str:
    """The version of ``entry``."""
    return make_version(from_line(buffer, entry), fingerprint(buffer, entry))


def make_version(line: bytes, print_: str) -> str:
    """The version of a message with that From_ line and fingerprint."""
    return f"{from_line_key(line):08x}{print_}"


def make_id(version: str, number: int) -> str:
    """The id of the message ``number`` among those of ``version``."""
    return f"{version}.{number}"


def split_id(item_id: str) -> tuple[str, int] | None:
    """Version and number of an id; None where it is none of ours."""
    match = _ID.match(item_id)
    return (match[1], int(match[2])) if match else None


class Index:
    """The messages of a buffer, by version. Takes about 55 bytes of memory a message.

    Messages with one From_ line (whole mailboxes have a single one, of the program that wrote them) are told apart by
    their fingerprints, which are taken once; messages of one version are found once. Without that, each message that is
    asked for would have all of those read again.
    """

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._starts = array("Q")
        self._bounds = array("Q")
        self._fits = bytearray()
        self._rest: dict[int, Entry] = {}
        keys = []
        for number, entry in enumerate(entry for entry in scan(buffer) if not entry.internal):
            self._starts.append(entry.start)
            self._bounds.extend(entry[1:4])
            self._fits.append(entry.length_fits)
            if entry.doubt:
                self._rest[number] = entry
            keys.append(from_line_key(from_line(buffer, entry)) << 32 | number)
        self._keys = array("Q", sorted(keys))
        self._marks: dict[int, array[int]] = {}
        self._equal: dict[str, array[int]] = {}

    def __len__(self) -> int:
        """How many messages there are."""
        return len(self._starts)

    def named(self, version: str) -> list[Entry]:
        """The messages of ``version``, in the order of the file."""
        return [self._entry(number) for number in self._numbers(version)]

    def at(self, version: str, place: int) -> Entry | None:
        """The message at ``place`` among those of ``version``, just read; None where there is none (or no longer)."""
        is_known = version in self._equal
        numbers = self._numbers(version)
        if place >= len(numbers):
            return None
        entry = self._entry(numbers[place])
        return None if is_known and version_of(self._buffer, entry) != version else entry

    def counts(self, versions: Collection[str]) -> dict[str, int]:
        """How many messages there are of each of ``versions``; none of those that there are none of."""
        found = {version: len(self._numbers(version)) for version in versions}
        return {version: count for version, count in found.items() if count}

    def _numbers(self, version: str) -> Sequence[int]:
        known = self._equal.get(version)
        if known is not None or not _VERSION.match(version):
            return known or ()
        key, mark = int(version[:8], 16), int(version[8:16], 16)
        under = _under(self._keys, key)
        if len(under) > 1:
            if key not in self._marks:
                self._marks[key] = array("Q", sorted(self._mark(n) << 32 | n for n in _numbers(self._keys, under)))
            found = _numbers(self._marks[key], _under(self._marks[key], mark))
        else:
            found = _numbers(self._keys, under)
        found = [number for number in found if version_of(self._buffer, self._entry(number)) == version]
        if len(found) > 1:
            self._equal[version] = array("L", found)
        return found

    def _mark(self, number: int) -> int:
        return int(fingerprint(self._buffer, self._entry(number))[:8], 16)

    def _entry(self, number: int) -> Entry:
        content_start, content_end, end = self._bounds[3 * number : 3 * number + 3]
        return self._rest.get(number) or Entry(
            self._starts[number], content_start, content_end, end, length_fits=bool(self._fits[number])
        )


def _under(pairs: array[int], key: int) -> range:
    """Where the numbers under ``key`` (32 bits) stand in sorted ``key << 32 | number``."""
    return range(bisect_left(pairs, key << 32), bisect_left(pairs, (key + 1) << 32))


def _numbers(pairs: array[int], places: range) -> list[int]:
    return [pair & 0xFFFFFFFF for pair in pairs[places.start : places.stop]]


def assign(numbers: Collection[int], entries: list[Entry]) -> dict[int, Entry | None]:
    """Which of the equal ``entries`` each of ``numbers`` means; None where there are too few.

    A number means the entry of that place; one beyond the end means one that no other number means.
    """
    chosen: dict[int, Entry | None] = {n: entries[n] for n in numbers if n < len(entries)}
    left = iter([entry for place, entry in enumerate(entries) if place not in chosen])
    chosen.update({n: next(left, None) for n in sorted(numbers) if n not in chosen})
    return chosen


def by_version(targets: Sequence[Target]) -> dict[str, list[int]]:
    """The numbers that ``targets`` ask for, by version; ids of another kind are left out."""
    groups: dict[str, list[int]] = {}
    for target in targets:
        named = split_id(target.id)
        if named is not None:
            groups.setdefault(named[0], []).append(named[1])
    return groups


def seen(target: Target, place: Whereabouts) -> Whereabouts:
    """``place`` of the message with the id of ``target``; CHANGED where another version of it was meant."""
    named = split_id(target.id)
    if place is Whereabouts.HERE and named is not None and target.version != named[0]:
        return Whereabouts.CHANGED
    return place


def choose(index: Index, targets: Sequence[Target]) -> tuple[dict[str, Removal], list[Entry], dict[str, int]]:
    """What becomes of each target, the entries that go, and how many equal ones stay, by version."""
    answers = {t.id: Removal(t.id, Outcome.ALREADY_ABSENT, "there is no such message") for t in targets}
    versions = {t.id: t.version for t in targets}
    going: list[Entry] = []
    left: dict[str, int] = {}
    for version, numbers in by_version(targets).items():
        entries = index.named(version)
        left[version] = len(entries)
        for number, entry in assign(numbers, entries).items():
            item_id = make_id(version, number)
            if entry is None:
                continue
            if versions[item_id] != version:
                answers[item_id] = Removal(item_id, Outcome.CHANGED, "its content is not the one that was planned")
            elif entry.doubt:
                answers[item_id] = Removal(item_id, Outcome.REFUSED, entry.doubt)
            else:
                answers[item_id] = Removal(item_id, Outcome.REMOVED)
                going.append(entry)
                left[version] -= 1
    return answers, going, left


def folder_data(buffer: Buffer, going: Sequence[Entry]) -> tuple[int, bytes] | None:
    """The line of X-IMAPbase that would go, and where it has to stand: in the message that will be the first.

    The line is the folder's, not the message's: its UID validity, the last UID given, its keywords. IMAP servers keep
    it in whatever message is the first; without it Dovecot shows the first message that stays as the one that went.
    None where it does not go, or no message stays.
    """
    gone = {entry.start for entry in going}
    lost: bytes | None = None
    for number, (entry, header) in enumerate(scan_headers(buffer)):
        if entry.start not in gone:
            return (entry.content_start, lost) if lost and not _FOLDER_DATA.search(header) else None
        found = _FOLDER_DATA.search(header) if number == 0 else None
        lost = found[0] if found else lost
    return None


def complement(going: Sequence[Entry], size: int) -> list[tuple[int, int]]:
    """What stays of a file of ``size`` bytes where ``going`` go."""
    keep, at = [], 0
    for entry in sorted(going):
        if entry.start > at:
            keep.append((at, entry.start))
        at = entry.end
    if size > at:
        keep.append((at, size))
    return keep
