"""Changing a Maildir: messages removed, moved to the trash, put back (SAFETY S13, S18, S19, S21).

Invariants: a file is removed only right after it was read again and its version was found to be the one planned, and
only while the name still leads to the file that was read; nothing is ever replaced; names are flushed to disk before
anything is answered. A kill leaves at worst a file of our own in ``tmp``, or a message under two names (in its folder
and in the trash), which the next removal finishes.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from excise.core.digests import sha256_hex
from excise.core.errors import ExciseError
from excise.model.item import Deposit, Disposal, Outcome, Placed, Removal, Target, Whereabouts
from excise.store_api.errors import ItemDamaged
from excise.stores.compressed import expand
from excise.stores.directory import (
    MAX_MESSAGE,
    is_component,
    link_new,
    make_directory_below,
    nanoseconds,
    reason_of,
    same_file,
    unlink_if_there,
    write_file,
)
from excise.stores.maildir_folder import (
    FileEntry,
    MaildirFolder,
    Mark,
    find_entry,
    folder_directories,
    for_all,
    marks_by_folder,
    parse_id,
)
from excise.stores.maildir_names import MessageName, flags_of, folder_parts, folder_path, info_for, is_base
from excise.stores.original import original_of
from excise.stores.unfinished import is_left_over, unfinished_name

TRASH = "Trash"
_CHUNK = 64
_HOST = sha256_hex(socket.gethostname().encode("utf-8", "replace"))[:8]
_serial = count(1)


_Look = Callable[[Sequence[Target]], Mapping[str, Whereabouts]]
#: What is done with a file that was found to be as planned; the problem, in words, where it could not be.
_Take = Callable[[Mark, FileEntry, os.stat_result, int], str]


class MaildirRemoval:
    """One removal: ``targets`` of a Maildir, folder by folder."""

    def __init__(self, root: int, place: Path, disposal: Disposal, look: _Look) -> None:
        """``root``, ``place``: descriptor and path of the Maildir. ``look`` finds what is not where it was."""
        self._root, self._place, self._disposal, self._look = root, place, disposal, look
        self._quota = [0, 0]

    def run(self, targets: Sequence[Target]) -> Iterator[Removal]:
        """Remove ``targets``; what becomes of each is on disk before it is answered."""
        for target in targets:
            if parse_id(target.id) is None:
                yield Removal(target.id, Outcome.ALREADY_ABSENT, "it is no id of a message here")
        try:
            for parts, marks in marks_by_folder(targets).items():
                yield from self._in_folder(parts, marks)
        finally:
            charge_quota(self._root, -self._quota[0], -self._quota[1])

    def _in_folder(self, parts: tuple[str, ...], marks: list[Mark]) -> Iterator[Removal]:
        try:
            with MaildirFolder(parts, self._root) as folder:
                if self._disposal is Disposal.TRASH:
                    answers = self._to_trash(folder, marks)
                else:
                    answers = self._batch(folder, marks, None)
        except FileNotFoundError:
            answers = self._absent([mark.target for mark in marks])
        except OSError as error:
            answers = [Removal(mark.target.id, Outcome.FAILED, f"the folder: {reason_of(error)}") for mark in marks]
        yield from answers

    def _to_trash(self, folder: MaildirFolder, marks: list[Mark]) -> list[Removal]:
        if folder.path == TRASH:
            return [Removal(mark.target.id, Outcome.REFUSED, "it lies in the trash already") for mark in marks]
        parts = folder_named(TRASH, self._root, self._place)
        with MaildirFolder(make_folder(parts, self._root), self._root) as trash:
            return self._batch(folder, marks, trash)

    def _batch(self, folder: MaildirFolder, marks: list[Mark], trash: MaildirFolder | None) -> list[Removal]:
        """Deal with ``marks``, flush, and give the answers. What is renamed meanwhile is found in a new listing."""
        answers: list[Removal] = []

        def deal(waiting: list[Mark]) -> list[Mark]:
            missing: list[Mark] = []
            for start in range(0, len(waiting), _CHUNK):
                chunk = waiting[start : start + _CHUNK]
                for mark, answer in zip(chunk, self._chunk(folder, chunk, trash), strict=True):
                    if answer is None:
                        missing.append(mark)
                    else:
                        answers.append(answer)
            return missing

        folder.entries()
        missing = for_all(folder, marks, deal)
        try:
            folder.sync()
        except OSError as error:
            answers = [_unsure(answer, error) for answer in answers]
        return [*answers, *self._absent([mark.target for mark in missing])]

    def _chunk(self, folder: MaildirFolder, marks: list[Mark], trash: MaildirFolder | None) -> list[Removal | None]:
        """Verify and remove a few messages: None for each whose file bears another name by now.

        What goes to the trash has its name there on disk before it loses the one that it had.
        """
        if trash is None:
            return [self._one(folder, mark, _unlink) for mark in marks]
        linked: dict[str, FileEntry] = {}

        def link(mark: Mark, entry: FileEntry, info: os.stat_result, directory: int) -> str:
            if not _link_into(trash, entry, info, directory):
                return "the trash has no name left for it"
            linked[mark.target.id] = entry
            return ""

        answers = [self._one(folder, mark, link) for mark in marks]
        trash.sync()
        for number, mark in enumerate(marks):
            if mark.target.id in linked:
                entry = linked[mark.target.id]
                try:
                    os.unlink(entry.name, dir_fd=folder.directory_of(entry))
                except FileNotFoundError:
                    answers[number] = None
                except OSError as error:
                    answers[number] = Removal(mark.target.id, Outcome.FAILED, reason_of(error))
        return answers

    def _one(self, folder: MaildirFolder, mark: Mark, take: _Take) -> Removal | None:
        """Read one message again and, where it is the one planned, ``take`` it; None where no file bears its name."""
        changed = ""
        for entry in find_entry(folder, mark.subdirectory, mark.name):
            directory = folder.directory_of(entry)
            try:
                data, info = folder.read(entry)
                if sha256_hex(expand(data, MAX_MESSAGE)) != mark.target.version:
                    changed = "its content is not the one that was planned"
                    continue
                if not same_file(info, os.stat(entry.name, dir_fd=directory, follow_symlinks=False)):
                    changed = "it was replaced while it was read"
                    continue
                problem = take(mark, entry, info, directory)
            except FileNotFoundError:
                return None
            except (OSError, ItemDamaged) as error:
                return Removal(mark.target.id, Outcome.FAILED, reason_of(error))
            if problem:
                return Removal(mark.target.id, Outcome.FAILED, problem)
            if self._disposal is Disposal.TRASH:
                return Removal(mark.target.id, Outcome.REMOVED)
            self._quota[0] += _quota_size(entry.name, info.st_size)
            self._quota[1] += 1
            return Removal(mark.target.id, Outcome.REMOVED, _other_names(info))
        return Removal(mark.target.id, Outcome.CHANGED, changed) if changed else None

    def _absent(self, targets: list[Target]) -> list[Removal]:
        places = self._look(targets) if targets else {}
        answers = []
        for target in targets:
            place = places[target.id]
            if place in (Whereabouts.ELSEWHERE, Whereabouts.IN_TRASH):
                answers.append(Removal(target.id, Outcome.MOVED_ELSEWHERE, f"it is {place.value} now"))
            elif place is Whereabouts.ABSENT:
                answers.append(Removal(target.id, Outcome.ALREADY_ABSENT))
            else:
                answers.append(Removal(target.id, Outcome.FAILED, "it was renamed again and again"))
        return answers


def _unlink(mark: Mark, entry: FileEntry, info: os.stat_result, directory: int) -> str:
    del mark, info
    os.unlink(entry.name, dir_fd=directory)
    return ""


def _unsure(answer: Removal, error: OSError) -> Removal:
    """``answer`` where the directory could not be flushed: what was removed may be there again after a power cut."""
    if answer.outcome is not Outcome.REMOVED:
        return answer
    return Removal(answer.id, Outcome.UNKNOWN, f"removed, but that could not be flushed to disk: {reason_of(error)}")


def _other_names(info: os.stat_result) -> str:
    """What must be said of a file that had other names (hard links), such as the copies of one message to many."""
    others = info.st_nlink - 1
    if others < 1:
        return ""
    return f"the file has {others} other name{'s' if others > 1 else ''} on this file system, which stay"


def _link_into(trash: MaildirFolder, entry: FileEntry, info: os.stat_result, directory: int) -> bool:
    """Give the file a name in the trash, with its flags; True where it has one (from an interrupted removal, too)."""
    name = MessageName.parse(entry.name)
    if any(there.inode == info.st_ino for there in trash.named(name.base)):
        return True
    for number in range(1000):
        new = entry.name if number == 0 else MessageName(f"{number}.{name.base}", name.info, name.separator).text
        if link_new(entry.name, directory, new, trash.subdirectories["cur"]):
            return True
    return False


def _quota_size(name: str, size: int) -> int:
    """What quota programs count for a message: the size in its name, or else of its file."""
    stated = MessageName.parse(name).stated_size
    return size if stated is None else stated


def charge_quota(root: int, size: int, number: int) -> None:
    """Write the difference to ``maildirsize`` (Maildir++), where that file is kept."""
    if (size, number) == (0, 0):
        return
    # A quota that is off by some messages is counted anew by its owner: no reason to fail.
    with suppress(OSError):
        fd = os.open("maildirsize", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            os.write(fd, f"{size} {number}\n".encode("ascii"))
        finally:
            os.close(fd)


def folder_named(path: str, root: int, place: Path) -> tuple[str, ...]:
    """The directory of the folder ``path``: of the one that is there, else where it would be made.

    A ValueError where no folder here can have that path. ``place``: the path of the Maildir.
    """
    found = [parts for parts, reason in folder_directories(root, place) if not reason]
    for parts in found:
        if folder_path(parts) == path or (not parts and path == ""):
            return parts
    nested = any(parts and not parts[0].startswith(".") for parts in found)
    new = folder_parts(path, nested=nested)
    if new is None:
        raise ValueError("no folder of a Maildir can have this path")
    return new


def make_folder(parts: tuple[str, ...], root: int) -> tuple[str, ...]:
    """Make the folder in directory ``parts`` below ``root`` where it is missing, like the Maildir itself; ``parts``."""
    owner = os.fstat(root)
    for depth in range(1, len(parts) + 1):
        with MaildirFolder(parts[: depth - 1], root) as parent:
            make_directory_below(parts[depth - 1], parent.fd, owner)
    with MaildirFolder(parts, root) as folder:
        for name in ("cur", "new", "tmp"):
            make_directory_below(name, folder.fd, owner)
        if len(parts) == 1 and parts[0].startswith("."):
            with suppress(FileExistsError):
                write_file("maildirfolder", folder.fd, b"", mode=owner.st_mode & 0o666, moment_ns=None, owner=owner)
            os.fsync(folder.fd)
    return parts


class MaildirPut:
    """One addition of ``deposits`` to a Maildir."""

    def __init__(self, root: int, place: Path) -> None:
        """``root`` and ``place``: descriptor and path of the Maildir."""
        self._root, self._place = root, place
        self._folders: dict[str, tuple[str, ...]] = {}

    def run(self, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Add ``deposits`` one by one; each is on disk, under its name, before it is answered."""
        for deposit in deposits:
            try:
                yield self._one(deposit)
            except ValueError as error:
                yield Placed(Outcome.FAILED, None, str(error))
            except (OSError, ExciseError) as error:
                yield Placed(Outcome.FAILED, None, reason_of(error))

    def _one(self, deposit: Deposit) -> Placed:
        parts = self._folders.get(deposit.folder)
        if parts is None:
            parts = make_folder(folder_named(deposit.folder, self._root, self._place), self._root)
            self._folders[deposit.folder] = parts
        with MaildirFolder(parts, self._root) as folder:
            data = _file_content(deposit)
            info, lost = _info_of(deposit, folder.keywords())
            name = self._write(folder, deposit, data, info)
            charge_quota(self._root, _quota_size(name.base, len(data)), 1)
            entry = FileEntry(0, "cur", name.text)
            detail = f"flags that have no letter in this folder: {', '.join(lost)}" if lost else ""
            return Placed(Outcome.RESTORED, folder.item_id(entry, only=True), detail)

    def _write(self, folder: MaildirFolder, deposit: Deposit, data: bytes, info: str) -> MessageName:
        """Write ``data`` to ``tmp`` and give it its name in ``cur``: that of the original where it is free."""
        tmp_name = unfinished_name()
        owner = os.fstat(folder.subdirectories["cur"])
        tmp = os.open("tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
        try:
            moment_ns = nanoseconds(deposit.delivered)
            write_file(tmp_name, tmp, data, mode=owner.st_mode & 0o666, moment_ns=moment_ns, owner=owner)
            for name in _names(deposit, info, len(deposit.content)):
                if folder.named(name.base):
                    continue
                if link_new(tmp_name, tmp, name.text, folder.subdirectories["cur"]):
                    break
            os.fsync(folder.subdirectories["cur"])
            return name
        finally:
            unlink_if_there(tmp_name, tmp)
            os.close(tmp)


def _file_content(deposit: Deposit) -> bytes:
    """The bytes of the file: the compressed original where the deposit carries one that expands to its content."""
    original = original_of(deposit.attributes)
    if original is not None:
        with suppress(ItemDamaged):
            if expand(original[1], MAX_MESSAGE) == deposit.content:
                return original[1]
    return deposit.content


def _info_of(deposit: Deposit, keywords: Mapping[str, str]) -> tuple[str, list[str]]:
    """What follows the base: as it was where that still says the same, else made for the deposit's flags."""
    name = deposit.attributes.get("name")
    if is_component(name):
        info = MessageName.parse(name).info
        if info.startswith("2,") and info.isprintable() and flags_of(info, keywords) == deposit.flags:
            return info, []
    return info_for(deposit.flags, keywords)


def _names(deposit: Deposit, info: str, size: int) -> Iterator[MessageName]:
    """Names to try: the original one, then new ones without end."""
    name = deposit.attributes.get("name")
    if is_component(name):
        old = MessageName.parse(name)
        if is_base(old.base) and (old.stated_size in (None, size)):
            yield MessageName(old.base, info, old.separator)
    while True:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        yield MessageName(f"{second}.M{rest // 1000}P{os.getpid()}Q{next(_serial)}.{_HOST},S={size}", info)


def undo_unfinished(root: int, place: Path) -> list[str]:
    """Take away files in ``tmp`` that an interrupted addition left; what was done, in words."""
    done = []
    for parts, reason in folder_directories(root, place):
        if reason:
            continue
        with MaildirFolder(parts, root) as folder, suppress(FileNotFoundError):
            tmp = os.open("tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.fd)
            try:
                for name in _names_in(tmp):
                    if is_left_over(name):
                        os.unlink(name, dir_fd=tmp)
                        done.append(f"{folder.path}: an unfinished addition ({name}) was taken away")
                if done:
                    os.fsync(tmp)
            finally:
                os.close(tmp)
    return done


def _names_in(directory: int) -> list[str]:
    with os.scandir(directory) as listing:
        return sorted(entry.name for entry in listing)
