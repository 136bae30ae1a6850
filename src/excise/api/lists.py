"""Lists in files: which mailboxes, which Message-IDs.

A list is one value a line, or a CSV whose first line names its columns: a message trace, a directory export. ExMerge's
MAILBOXES.TXT is the first kind, with a legacy distinguished name a line. Lines that begin with ``#`` are comments.
Nothing here knows what kind of store the mailboxes lie in.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from excise.api.text_files import read_text
from excise.core.errors import UsageError
from excise.core.text import count_of, shown

_ID_HEADS = ("messageid", "internetmessageid")
_NAME_HEADS = (
    "recipient",
    "recipientaddress",
    "recipients",
    "mailbox",
    "emailaddress",
    "primarysmtpaddress",
    "legacyexchangedn",
    "objdistname",  # the directory export of Exchange 5.5
)
#: Headings only where the line has other cells too: alone they may as well be the name of a mailbox.
_AMONG_OTHERS = ("mail", "address")
_LEGACY_DN = re.compile(r"(?:EX:|X500:)?(/o=[^/\r\n]+(?:/(?:ou|cn)=[^/\r\n]+)+)", re.IGNORECASE)
_ADDRESS = re.compile(r"[^@\s;,<>]+@[^@\s;,<>]+")


@dataclass(frozen=True, slots=True)
class Listed:
    """A value of a list, and the number of the line that it begins on."""

    value: str
    line: int


@dataclass(frozen=True, slots=True)
class MailboxList:
    """The mailboxes that a file names, each once, in its order.

    ``repeated``: how many lines name one again. ``empty``: lines of a CSV that have no value in the column.
    ``encoding``: as it was read.
    """

    path: Path
    entries: tuple[Listed, ...]
    repeated: int = 0
    empty: tuple[int, ...] = ()
    encoding: str = "utf-8"

    @property
    def values(self) -> tuple[str, ...]:
        """Addresses, legacy distinguished names or names of mailboxes."""
        return tuple(entry.value for entry in self.entries)

    def __str__(self) -> str:
        """What the file came to, in words."""
        words = [f"{self.path}: {count_of(len(self.entries), 'mailbox')}"]
        if self.repeated:
            words.append(f"{self.repeated:,} named more than once")
        if self.empty:
            words.append(f"{count_of(len(self.empty), 'line')} without one (the first: line {self.empty[0]})")
        return ", ".join(words)


def read_mailboxes(path: Path, encoding: str | None = None) -> MailboxList:
    """The mailboxes that the file at ``path`` names; ``UsageError`` where it names none, or what it says is not
    clear."""
    file = _read(path, encoding)
    entries: dict[str, Listed] = {}
    repeated = 0
    for found in file.column(_NAME_HEADS, _AMONG_OTHERS):
        for value in _parts(found.value):
            key = value.casefold() if is_address(value) or is_legacy_dn(value) else value
            repeated += key in entries
            entries.setdefault(key, Listed(value, found.line))
    if not entries:
        raise UsageError(f"{path}: expected names of mailboxes, found none", hint="One a line, or a CSV.")
    return MailboxList(path, tuple(entries.values()), repeated, tuple(file.empty), file.encoding)


def read_message_ids(path: Path) -> list[str]:
    """The Message-IDs that the file at ``path`` lists; an empty list is for the criteria to refuse (S01)."""
    return [found.value for found in _read(path, None).column(_ID_HEADS)]


def has_message_ids(path: Path) -> bool:
    """True where the file at ``path`` is a CSV with a column of Message-IDs, as a message trace is."""
    return bool({*_ID_HEADS} & {*_read(path, None).heads})


def is_legacy_dn(text: str) -> bool:
    """True for a legacy Exchange distinguished name, as ``/o=Org/ou=Site/cn=Recipients/cn=anna``."""
    return _LEGACY_DN.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """True for what can only be an SMTP address."""
    return _ADDRESS.fullmatch(text) is not None


def _parts(value: str) -> list[str]:
    """``value``, or the addresses in it where it is several, as in the column Recipients of a tracking log."""
    legacy = _LEGACY_DN.fullmatch(value)
    if legacy:
        return [legacy[1]]
    parts = [part.strip() for part in value.split(";") if part.strip()]
    return parts if len(parts) > 1 and all(map(is_address, parts)) else [value]


@dataclass(slots=True)
class _File:
    """A list as it was read. ``heads``: the headings as they are compared, of a CSV that is known as one."""

    path: Path
    lines: list[str]
    encoding: str
    heads: list[str] = field(default_factory=list)
    delimiter: str = ","
    empty: list[int] = field(default_factory=list)

    def column(self, heads: tuple[str, ...], among_others: tuple[str, ...] = ()) -> Iterator[Listed]:
        """The values of the first column called as one of ``heads``; each line where it is no CSV."""
        wanted = [head for head in (*heads, *(among_others if len(self.heads) > 1 else ())) if head in self.heads]
        if wanted:
            return self._cells(self.heads.index(wanted[0]))
        if {*self.heads} & {*_ID_HEADS, *_NAME_HEADS}:
            raise UsageError(f"{self.path}: expected a column named {heads[0]}, found {', '.join(self.heads)}")
        return (Listed(line.strip(), number) for number, line in _kept(self.lines))

    def _cells(self, column: int) -> Iterator[Listed]:
        source = _RowLines(self.lines)
        rows = csv.reader(source, delimiter=self.delimiter, strict=True)
        heading = True
        while True:
            source.fresh = True
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise UsageError(
                    f"{self.path}, line {source.first}: not a row of a CSV: {shown(str(error))}",
                    hint="Is a quotation mark missing, or one too many?",
                ) from error
            if row is None:
                return
            value = row[column].strip() if len(row) > column else ""
            if not heading and value:
                yield Listed(value, source.first)
            elif not heading:
                self.empty.append(source.first)
            heading = False


class _RowLines:
    """Lines for ``csv.reader`` that know where a row began; comments and empty lines are left out between rows."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.number, self.first, self.fresh = lines, 0, 0, True

    def __iter__(self) -> _RowLines:
        return self

    def __next__(self) -> str:
        while self.number < len(self.lines):
            line = self.lines[self.number]
            self.number += 1
            if not self.fresh or _counts(line):
                self.first = self.number if self.fresh else self.first
                self.fresh = False
                return line
        raise StopIteration


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _kept(lines: list[str]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, 1) if _counts(line))


def _read(path: Path, encoding: str | None) -> _File:
    text = read_text(path, encoding)
    # Not splitlines(): a name may hold the control characters that it takes for ends of lines.
    file = _File(path, re.split("(?<=\n)", text.text.replace("\r\n", "\n").replace("\r", "\n")), text.encoding)
    first = next((line for _, line in _kept(file.lines)), "")
    for delimiter in ",;\t":
        heads = _headings(first, delimiter)
        others = len(heads) > 1 and {*heads} & {*_AMONG_OTHERS}
        if {*heads} & {*_ID_HEADS, *_NAME_HEADS} or others:
            file.heads, file.delimiter = heads, delimiter
            break
    return file


def _headings(line: str, delimiter: str) -> list[str]:
    """The cells of a heading as they are compared: lower case, without ``-``, ``_`` and blanks."""
    try:
        row = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
    return [re.sub(r"[-_ ]", "", cell.strip().lower()) for cell in row]
