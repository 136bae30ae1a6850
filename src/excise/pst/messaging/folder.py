"""Folders, their items, and searching them without opening a message ([MS-PST] 2.4.4).

An item belongs to a folder by its NBT entry (nidParent) or by a row of the folder's contents table. Both are asked, so
that neither a lost row nor a lost node drops an item in silence: a row without a node is a failed item, a node without
a row is an item whose summary has the doubt ``no row``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from excise.pst.disk.damage import Damage, Damaged, DamageLog
from excise.pst.disk.ids import (
    NID_TYPE_ASSOC_CONTENTS_TABLE,
    NID_TYPE_CONTENTS_TABLE,
    NID_TYPE_SEARCH_CONTENTS_TABLE,
    NID_TYPE_SEARCH_FOLDER,
    bid_key,
    nid_type,
    sibling_nid,
)
from excise.pst.ltp.properties import PropertyContext
from excise.pst.ltp.table import TableContext
from excise.pst.ltp.values import PT_STRING8, Cell
from excise.pst.ltp.wide_table import WideTable, is_wide
from excise.pst.messaging import tags
from excise.pst.messaging.message import Message, plain_subject

if TYPE_CHECKING:
    from excise.pst.messaging.store import MessageStore
    from excise.pst.ndb.read import Node

#: Outlook cuts the strings of a table at this many characters (UTF-16 units).
TABLE_STRING_LIMIT = 255
#: What has another meaning in some code pages (ISO 2022, HZ, UTF-7), though it is ASCII.
_SHIFTS = frozenset("\0\x0e\x0f\x1b~+")

NO_ROW = "no row"
NO_COLUMN = "no column"
NO_CELL = "no cell"
WIDE = "in a table of another kind"
CUT = "may be cut"
CODE_PAGE = "code page not known"
UNREADABLE = "unreadable"
STALE = "may be stale"


@dataclass(slots=True)
class Summary:
    """What a contents table says of one message. A field that was not asked for, or is absent, is None.

    ``doubts`` maps each field that cannot be trusted to the reason; the message itself must be asked for these.
    """

    nid: int
    subject: str | None
    sender: str | None
    display_to: str | None
    display_cc: str | None
    message_class: str | None
    submit_time: datetime | None
    delivery_time: datetime | None
    modified_time: datetime | None
    flags: int | None
    size: int | None
    importance: int | None
    doubts: dict[str, str]

    @property
    def has_attachments(self) -> bool | None:
        """The attachment flag; None where the flags are not known."""
        return None if self.flags is None else bool(self.flags & tags.FLAG_HAS_ATTACHMENTS)


_TAGS = (
    tags.SUBJECT, tags.SENT_REPRESENTING_NAME, tags.DISPLAY_TO, tags.DISPLAY_CC, tags.MESSAGE_CLASS,
    tags.CLIENT_SUBMIT_TIME, tags.MESSAGE_DELIVERY_TIME, tags.LAST_MODIFICATION_TIME, tags.MESSAGE_FLAGS,
    tags.MESSAGE_SIZE, tags.IMPORTANCE,
)  # fmt: skip
#: The fields of a summary, and their property ids, in order.
SUMMARY_FIELDS: dict[str, int] = dict(zip([each.name for each in fields(Summary)][1:-1], _TAGS, strict=True))
_TEXT = {"subject", "sender", "display_to", "display_cc", "message_class"}
_TYPES: dict[str, type] = dict.fromkeys(_TEXT, str) | {
    name: datetime if name.endswith("_time") else int for name in SUMMARY_FIELDS if name not in _TEXT
}


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that is there and cannot be opened."""

    nid: int
    damage: Damage


@dataclass(slots=True)
class Counts:
    """Items seen in one walk of a folder; always ``seen == read + failed``."""

    seen: int = 0
    read: int = 0
    failed: int = 0


class Folder:
    """One folder. Its name is ``display_name``; its place in the tree ``parent`` and ``path``.

    ``counts`` are of the last walk by ``messages`` or ``associated``.
    """

    def __init__(self, store: MessageStore, nid: int, parent: Folder | None) -> None:
        self.store = store
        self.nid = nid
        self.parent = parent
        self.children: list[Folder] = []
        self.log = DamageLog(store.ndb.log)
        self.counts = Counts()

    @property
    def is_search(self) -> bool:
        """True for a search folder: its rows refer to messages of other folders."""
        return nid_type(self.nid) == NID_TYPE_SEARCH_FOLDER

    @cached_property
    def properties(self) -> PropertyContext | None:
        """The folder's properties; None where they cannot be read, which is in ``log``."""
        node = self.store.ndb.node(self.nid, self.log)
        try:
            if node is None:
                raise Damaged(self._damage("NBT", "nid", "a node", "none"))  # noqa: TRY301 - one place records both
            return PropertyContext(node, self.store.codec)
        except Damaged as error:
            self.log.add(error.damage)
            return None

    @cached_property
    def display_name(self) -> str:
        """The folder's name; empty for a root without one, and ``[0x…]`` where it cannot be read."""
        if self.properties is None:
            return f"[0x{self.nid:x}]"
        return self.properties.text(tags.DISPLAY_NAME) or ""

    @cached_property
    def path(self) -> tuple[str, ...]:
        """The names from below the root down to this folder; empty for the root."""
        return (
            ()
            if self.parent is None and self.nid == self.store.root.nid
            else ((*self.parent.path, self.display_name) if self.parent is not None else (self.display_name,))
        )

    @cached_property
    def message_nids(self) -> list[int]:
        """The NIDs of all messages here, by NID: those of the NBT and of the contents table. None for a search."""
        own = self.store.messages_of.get(self.nid, []) if not self.is_search else []
        return self._with_rows(own, self.contents) if not self.is_search else []

    @cached_property
    def associated_nids(self) -> list[int]:
        """The NIDs of all folder-associated items here, by NID."""
        return self._with_rows(self.store.associated_of.get(self.nid, []), self.associated_contents)

    @cached_property
    def contents(self) -> TableContext | None:
        """The contents table, of a search folder its search contents table; None where it cannot be read, and for the
        wide kind that Outlook 2003 and 2007 wrote for searches."""
        kind = NID_TYPE_SEARCH_CONTENTS_TABLE if self.is_search else NID_TYPE_CONTENTS_TABLE
        return self._table(kind)

    @cached_property
    def associated_contents(self) -> TableContext | None:
        """The table of folder-associated items; None where it cannot be read, or for a search folder."""
        return None if self.is_search else self._table(NID_TYPE_ASSOC_CONTENTS_TABLE)

    @cached_property
    def row_nids(self) -> list[int]:
        """The NIDs that the contents table lists, by NID; empty where it cannot be read, which is in ``log``."""
        if self.contents is None and (node := self._wide_node) is not None:
            try:
                return WideTable(node).row_ids
            except Damaged as error:
                self.log.add(error.damage)
        return [row_id for row_id, _ in self._index(self.contents)]

    @cached_property
    def found_nids(self) -> list[int]:
        """The messages that a search folder refers to, by NID; empty for any other folder."""
        return self.row_nids if self.is_search else []

    def messages(self) -> Iterator[Message | FailedItem]:
        """Every message here, opened; those that cannot be are failed items. Sets ``counts``."""
        return self.open_all(self.message_nids)

    def associated(self) -> Iterator[Message | FailedItem]:
        """Every folder-associated item here, as ``messages``."""
        return self.open_all(self.associated_nids)

    def summaries(self, wanted: Collection[str] = tuple(SUMMARY_FIELDS)) -> Iterator[Summary]:
        """A summary of every message here, from the contents table in one pass, then those without a row.

        ``wanted`` names fields of ``Summary``; fewer are faster. Of a search folder it gives the rows that it has; all
        fields are in doubt where they are in a wide table. KeyError for a field that is none.
        """
        names = tuple(name for name in SUMMARY_FIELDS if name in wanted)
        for name in wanted:
            SUMMARY_FIELDS[name]
        rows = set() if self.is_search else set(self.message_nids)
        table = self.contents
        if table is not None:
            try:
                for nids, summaries in _scan(table, names):
                    rows.difference_update(nids)
                    yield from summaries
            except Damaged as error:
                self.log.add(error.damage)
        for nid in sorted(rows):
            yield _summary(nid, {}, dict.fromkeys(names, NO_ROW))
        if table is None:
            for nid in self.found_nids:
                yield _summary(nid, {}, dict.fromkeys(names, WIDE))

    def row_is_current(self, nid: int) -> bool:
        """True where the one row of the message ``nid`` is not older than it, and its own blocks are in the file.

        BIDs grow, so that of two blocks the one with the higher BID was written later: a row in a block from before the
        message's properties may be stale.
        """
        entry = self.store.ndb.nodes.find(nid)
        if entry is None or self.contents is None:
            return False
        try:
            bid = self.contents.bid_of_row(nid)
        except Damaged as error:
            self.log.add(error.damage)
            return False
        if bid is None or bid_key(bid) < bid_key(entry.bidData):
            return False
        try:
            for own in filter(None, (entry.bidData, entry.bidSub)):
                self.store.ndb.block_entry(own)
        except Damaged:
            # Whoever opens the message, as this answer asks for, is told.
            return False
        return True

    def forget(self) -> None:
        """Let go of what was read of the folder and its tables, and of what was found wrong with it.

        It is read again where it is asked for.
        """
        for name in ("properties", "display_name", "contents", "associated_contents", "row_nids", "found_nids",
                     "message_nids", "associated_nids"):  # fmt: skip
            self.__dict__.pop(name, None)
        self.log = DamageLog(self.store.ndb.log)

    def open(self, nid: int) -> Message:
        """The message ``nid``. Damaged where it is not there or cannot be read."""
        return self.store.open(nid)

    def open_all(self, nids: Sequence[int]) -> Iterator[Message | FailedItem]:
        """Each of ``nids``, as ``messages``."""
        self.counts = counts = Counts()
        for nid in nids:
            counts.seen += 1
            try:
                message = self.open(nid)
            except Damaged as error:
                counts.failed += 1
                self.log.add(error.damage)
                yield FailedItem(nid, error.damage)
            else:
                counts.read += 1
                yield message

    def _with_rows(self, own: list[int], table: TableContext | None) -> list[int]:
        rows = [row_id for row_id, _ in self._index(table)]
        return sorted({*own, *rows}) if rows != own else own

    def _index(self, table: TableContext | None) -> list[tuple[int, int]]:
        try:
            return table.index if table is not None else []
        except Damaged as error:
            self.log.add(error.damage)
            return []

    @property
    def _wide_node(self) -> Node | None:
        """The node of the contents table of a search folder where that is a wide table."""
        if not self.is_search:
            return None
        node = self.store.ndb.node(sibling_nid(self.nid, NID_TYPE_SEARCH_CONTENTS_TABLE), self.log)
        try:
            return node if node is not None and is_wide(node) else None
        except Damaged:
            return None  # which the reading as an ordinary table tells

    def _table(self, kind: int) -> TableContext | None:
        if kind == NID_TYPE_SEARCH_CONTENTS_TABLE and self._wide_node is not None:
            return None
        node = self.store.ndb.node(sibling_nid(self.nid, kind), self.log)
        try:
            if node is None:
                raise Damaged(self._damage("NBT", "nid", f"table 0x{sibling_nid(self.nid, kind):x}", "none"))  # noqa: TRY301
            return TableContext(node, self.store.codec)
        except Damaged as error:
            self.log.add(error.damage)
            return None

    def _damage(self, structure: str, field: str, expected: str, found: str) -> Damage:
        return Damage("messaging", structure, field, f"folder 0x{self.nid:x}", -1, expected, found)


def _summary(nid: int, values: dict[str, object], doubts: dict[str, str]) -> Summary:
    return Summary(nid, **{name: values.get(name) for name in SUMMARY_FIELDS}, doubts=doubts)  # type: ignore[arg-type]


def _scan(table: TableContext, names: Sequence[str]) -> Iterator[tuple[list[int], Iterator[Summary]]]:
    """The rows of ``table`` in batches. Each value is checked, so that what a row cannot say for sure is marked."""
    make: Callable[..., Summary] = Summary
    for nids, columns in table.scan([SUMMARY_FIELDS[name] for name in names]):
        doubts: list[dict[str, str]] = [{} for _ in nids]
        checked = {name: _checked(table, name, column, doubts) for name, column in zip(names, columns, strict=True)}
        nothing = [None] * len(nids)
        yield nids, map(make, nids, *(checked.get(name, nothing) for name in SUMMARY_FIELDS), doubts)


def _checked(table: TableContext, name: str, column: list[Cell], doubts: list[dict[str, str]]) -> Sequence[Cell]:
    """``column`` with None for every value that is of the wrong type, and a doubt for each that cannot be trusted."""
    kind, is_text = _TYPES[name], name in _TEXT
    if SUMMARY_FIELDS[name] not in table.columns:
        for each in doubts:
            each[name] = NO_COLUMN
        return column
    for at in [at for at, value in enumerate(column) if value.__class__ is not kind]:
        doubts[at][name] = NO_CELL if column[at] is None else UNREADABLE
        column[at] = None
    if name == "size":
        # Outlook's own rows keep the size from before attachments were added.
        for each in doubts:
            each.setdefault(name, STALE)
    if not is_text:
        return column
    texts: list[str | None] = [value if isinstance(value, str) else None for value in column]
    for at in [at for at, text in enumerate(texts) if text and 2 * len(text) >= TABLE_STRING_LIMIT and _is_cut(text)]:
        doubts[at][name] = CUT
    if _is_string8(table, SUMMARY_FIELDS[name]):
        for at in [at for at, text in enumerate(texts) if text and not (text.isascii() and _SHIFTS.isdisjoint(text))]:
            doubts[at].setdefault(name, CODE_PAGE)
    return [text and plain_subject(text) for text in texts] if name == "subject" else texts


def _is_cut(text: str) -> bool:
    # A character beyond U+FFFF is two units.
    return len(text) + sum(map("\uffff".__lt__, text)) >= TABLE_STRING_LIMIT


def _is_string8(table: TableContext, prop_id: int) -> bool:
    return table.columns[prop_id].tag & 0xFFFF == PT_STRING8
