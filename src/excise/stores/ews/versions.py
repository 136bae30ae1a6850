"""Finding items again by their fingerprint: a row has the first half of it, the whole item the second."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from excise.core.errors import ExciseError
from excise.model.item import Deposit
from excise.model.message import MimeView
from excise.stores.ews import codes
from excise.stores.ews.account import Account
from excise.stores.ews.item import VERSION_FIELDS, EwsItem, contents_of, core_of
from excise.stores.ews.listing import batches, item_of, list_folders, read_items
from excise.stores.ews.narrowing import message_id_restriction
from excise.stores.ews.server import refusal
from excise.stores.ews.tree import MAIN_FOLDER, FolderNode

_VERSION = re.compile(r"[0-9a-f]{64}-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Copy:
    """An item that has one of the versions looked for, or is stamped with it."""

    id: str
    version: str
    folder_id: str


class Versions:
    """What is known of versions in one mailbox: the Message-IDs that they were seen with narrow a listing."""

    def __init__(self, account: Account) -> None:
        """Nothing is known yet."""
        self._account = account
        self._message_ids: dict[str, str | None] = {}
        #: Versions of deposits for the main folder, which they call by the name that it has in no other language.
        self.for_main: set[str] = set()

    def saw(self, item: EwsItem) -> None:
        """Remember a whole item."""
        self._message_ids[item.version] = item.message_id

    def expect(self, deposit: Deposit) -> str:
        """The version that ``deposit`` would have here; see ``version_of``."""
        version = version_of(deposit)
        # What the server keeps as Message-ID may be in another form than the header field: not to be narrowed by.
        self._message_ids.setdefault(version, None)
        if deposit.folder == MAIN_FOLDER:
            self.for_main.add(version)
        return version

    def find(self, nodes: Iterable[FolderNode], versions: Collection[str]) -> Iterator[Copy]:
        """Every item of ``versions`` in ``nodes``; an ExciseError where one of the folders cannot be listed."""
        wanted = {version: version.partition("-")[0] for version in versions if _VERSION.fullmatch(version)}
        if not wanted:
            return
        cores = set(wanted.values())
        narrowed = message_id_restriction(self._message_ids.get(version) for version in wanted)
        ids = {node.id: node for node in nodes}
        for node, rows in list_folders(self._account, ids.values(), narrowed):
            if isinstance(rows, ExciseError):
                raise rows
            yield from (Copy(row.id, row.stamp, node.id) for row in rows if row.stamp in wanted)
            likely = [row for row in rows if row.core in cores]
            yield from self._exact(likely, wanted, node)

    def _exact(self, rows: list[EwsItem], wanted: Mapping[str, str], node: FolderNode) -> Iterator[Copy]:
        for batch in batches(rows):
            answers = read_items(self._account, [row.id for row in batch], VERSION_FIELDS)
            for row in batch:
                answer = answers[row.id]
                item = item_of(answer, node.path)
                if item is None and answer.code not in codes.GONE:
                    # It may be the one that is looked for: "not there" would be a guess.
                    raise refusal(self._account.place.name, answer.code, answer.text)
                if item is not None and item.version in wanted and item.version != row.stamp:
                    yield Copy(row.id, item.version, node.id)


def version_of(deposit: Deposit) -> str:
    """The version that ``deposit`` would have: the one that it had on a server, else the one that its MIME tells."""
    told = deposit.attributes.get("version")
    if isinstance(told, str) and _VERSION.fullmatch(told):
        return told
    view = MimeView(deposit.content)
    names = [one.name or "" for one in view.attachments() if not one.path]
    core = core_of(view.item_class or "IPM.Note", view.message_id, view.sent, view.subject or "")
    return f"{core}-{contents_of(''.join(view.texts()), names)}"
