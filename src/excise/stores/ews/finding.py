"""Finding what may match: rows first, then the lists of attachments, then whole items (S07, S08)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from excise.core.errors import ExciseError
from excise.core.text import count_of
from excise.criteria.matcher import Matcher
from excise.criteria.terms import DATE_KINDS, SUBJECT_KINDS
from excise.model.message import MessageView
from excise.store_api.errors import MailboxChanged
from excise.store_api.protocols import Candidate, Filter, Tally, Unreadable
from excise.stores.ews import codes
from excise.stores.ews.account import Account
from excise.stores.ews.item import VERSION_FIELDS, WHOLE_FIELDS, EwsItem
from excise.stores.ews.listing import batches, item_of, list_folders, read_items
from excise.stores.ews.narrowing import restriction_for
from excise.stores.ews.soap import Answer
from excise.stores.ews.tree import FolderNode, FolderTree
from excise.stores.ews.versions import Versions
from excise.stores.ews.view import EwsView, ListedView, RowView


class EwsCandidate:
    """An item that ``find`` offers."""

    doubt = ""

    def __init__(self, item: EwsItem) -> None:
        self.id = item.id
        self.view: MessageView = EwsView.of(item)
        self._item = item

    @cached_property
    def version(self) -> str:
        """The fingerprint."""
        return self._item.version


class Search:
    """One search of one mailbox."""

    def __init__(self, account: Account, tree: FolderTree, versions: Versions, matcher: Filter, tally: Tally) -> None:
        """``tree`` is read anew by the caller."""
        self._account, self._tree, self._versions = account, tree, versions
        self._matcher, self._tally = matcher, tally
        self._vanished = 0

    def run(self) -> Iterator[Candidate | Unreadable]:
        """What may match; a MailboxChanged at the end where an item went away under our eyes."""
        for problem in self._tree.problems:
            yield self._unreadable(problem)
        admitted = []
        for node in self._tree:
            if self._matcher.admits_folder(node.path):
                admitted.append(node)
            else:
                self._tally.advance(node.count, 0)
        restriction = restriction_for(self._matcher.criteria) if isinstance(self._matcher, Matcher) else ""
        for node, rows in list_folders(self._account, admitted, restriction):
            if isinstance(rows, ExciseError):
                yield self._unreadable(Unreadable(f"the folder {node.path}", rows.text(), node.path))
            else:
                yield from self._folder(node, rows)
        self._tally.flush()
        if self._vanished:
            raise MailboxChanged(
                f"{self._account.place.name}: while it was searched, somebody moved or removed "
                f"{count_of(self._vanished, 'message')}",
                hint="Run the command again.",
            )

    def _folder(self, node: FolderNode, rows: list[EwsItem]) -> Iterator[Candidate | Unreadable]:
        for row in rows:
            self._tally.advance(1, row.size)
        # What the restriction left out is seen by the server's own count.
        self._tally.advance(max(0, node.count - len(rows)), 0)
        left = [row for row in rows if not self._matcher.rejects(RowView(row))]
        if left and "attachment" in self._matcher.kinds() and self._matcher.may_reject_by(_LISTED):
            left = list(self._with_attachments(left))
        for batch in batches(left):
            yield from self._whole(batch)

    def _with_attachments(self, rows: list[EwsItem]) -> Iterator[EwsItem]:
        """Those of ``rows`` that the list of attachments does not rule out."""
        for batch in batches(rows):
            answers = read_items(self._account, [row.id for row in batch], VERSION_FIELDS)
            for row in batch:
                item = item_of(answers[row.id], row.folder)
                if item is None or not self._matcher.rejects(ListedView(item)):
                    yield row

    def _whole(self, rows: list[EwsItem]) -> Iterator[Candidate | Unreadable]:
        for row, answer in read_whole(self._account, rows):
            item = item_of(answer, row.folder)
            if item is not None and not item.mime_is_damaged:
                self._versions.saw(item)
                yield EwsCandidate(item)
            elif answer.code in codes.GONE:
                self._vanished += 1
            else:
                reason = str(answer) if item is None else "its MIME is not in base64"
                yield Unreadable(f"item {row.id[-24:]}", reason, row.folder, row.id)

    def _unreadable(self, found: Unreadable) -> Unreadable:
        self._tally.advance(1, 0)
        return found


#: What a row and its list of attachments tell.
_LISTED = frozenset(
    {*SUBJECT_KINDS, *DATE_KINDS, "attachment", "message-id", "folder", "larger", "smaller", "item-class"}
)


def read_whole(account: Account, rows: Iterable[EwsItem]) -> Iterator[tuple[EwsItem, Answer]]:
    """Each row with the whole item, without MIME where the server can make none."""
    listed = list(rows)
    answers = read_items(account, [row.id for row in listed], WHOLE_FIELDS, mime=True)
    without = [row.id for row in listed if answers[row.id].code in codes.NO_MIME]
    if without:
        answers |= read_items(account, without, WHOLE_FIELDS)
    return ((row, answers[row.id]) for row in listed)
