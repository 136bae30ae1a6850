"""Putting items into a mailbox (S21): from their export stream where there is one, else from MIME.

Nothing is sent and nobody is invited. Before an item is sent to the server it is known which equal items lie in its
folder; where the answer is lost, what is there now decides whether it is sent again: nothing is stored twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from excise.core.clock import iso
from excise.core.errors import ExciseError
from excise.core.text import shown
from excise.model.item import Deposit, Outcome, Placed
from excise.model.message import MimeView
from excise.stores.ews import bodies, codes
from excise.stores.ews.account import Account
from excise.stores.ews.fetching import export_of
from excise.stores.ews.item import VERSION_FIELDS
from excise.stores.ews.listing import item_of, read_items
from excise.stores.ews.server import OutcomeUnknown, Refusal
from excise.stores.ews.soap import Answer, Body, children, find, find_all
from excise.stores.ews.tree import FolderNode, FolderTree, make_folder
from excise.stores.ews.versions import Versions

_ROUNDS = 4
_FLAGS = frozenset({"seen", "answered", "flagged", "draft", "deleted", "forwarded"})
_READ, _UNMODIFIED, _UNSENT = 0x1, 0x2, 0x8
_REPLIED, _FORWARDED, _FLAGGED = "102", "104", "2"


@dataclass(frozen=True, slots=True)
class _Job:
    """A deposit on its way into ``folder``; ``version`` is the one that it is to have."""

    deposit: Deposit
    folder: FolderNode
    version: str


class Putting:
    """Deposits into one opened mailbox."""

    def __init__(self, account: Account, versions: Versions) -> None:
        """Nothing is put yet."""
        self._account, self._versions = account, versions

    def put(self, tree: FolderTree, deposits: Sequence[Deposit]) -> Iterator[Placed]:
        """Put ``deposits`` one by one, in their order; one answer each."""
        for deposit in deposits:
            try:
                folder = make_folder(self._account, tree, deposit.folder)
                yield self._put(_Job(deposit, folder, self._versions.expect(deposit)))
            except (ValueError, OutcomeUnknown) as error:
                yield Placed(Outcome.FAILED, None, str(error))
            except ExciseError as error:
                yield Placed(Outcome.FAILED, None, error.text())

    def _put(self, job: _Job) -> Placed:
        stream = export_of(job.deposit)
        if stream and not self._account.server.lacks_export:
            placed = self._until_known(job, "UploadItems", bodies.upload_item(job.folder.id, stream))
            if placed is not None:
                return placed
        kind = self._element(job.deposit)
        if not kind:
            return Placed(Outcome.FAILED, None, "an item of its class can be put back from its export stream alone")
        body = bodies.create_item(job.folder.id, _new_item(kind, job))
        return self._until_known(job, "CreateItem", body) or Placed(Outcome.FAILED, None, "the server takes no items")

    def _until_known(self, job: _Job, operation: str, body: Body) -> Placed | None:
        """Send until it is known to be there, or refused; None where the server lacks the operation."""
        before = self._there(job)
        for tried in range(_ROUNDS):
            try:
                answer = self._account.each(operation, [""], lambda _: body, acts=True)[""]
            except OutcomeUnknown:
                # Looked for while the server is still at it, it would be sent, and stored, a second time.
                self._account.server.rest_by_turns(tried)
                new = sorted(self._there(job) - before)
                if new:
                    return Placed(
                        Outcome.RESTORED, new[0], "the server's answer was lost; it was looked for and is there"
                    )
                continue
            except Refusal as refused:
                if operation == "UploadItems" and refused.code in codes.NO_EXPORT:
                    return None
                return Placed(Outcome.FAILED, None, refused.text())
            if not answer.ok:
                new = sorted(self._there(job) - before)
                if new:
                    return Placed(Outcome.RESTORED, new[0], f"the server said {_why(answer)}, and yet it is there")
                return None if operation == "UploadItems" else Placed(Outcome.FAILED, None, _why(answer))
            return self._check(job, _new_id(answer))
        raise OutcomeUnknown(f"it was sent {_ROUNDS} times, and the server never answered")

    def _there(self, job: _Job) -> set[str]:
        """The items in its folder that have the deposit's version, or are stamped with it."""
        return {copy.id for copy in self._versions.find([job.folder], [job.version])}

    def _check(self, job: _Job, item_id: str) -> Placed:
        """Read what was stored: it must be the deposit, or be stamped as made of it."""
        answer = read_items(self._account, [item_id], VERSION_FIELDS)[item_id] if item_id else None
        item = None if answer is None else item_of(answer, job.folder.path)
        if item is None:
            return Placed(Outcome.FAILED, item_id or None, f"it was stored, but cannot be read again: {answer}")
        if job.version in (item.version, item.stamp):
            return Placed(Outcome.RESTORED, item_id)
        if item.core != job.version.partition("-")[0]:
            return Placed(Outcome.FAILED, item_id, "what the server stored is another message than was given")
        body = bodies.update_stamp(item.id, item.change_key, job.version)
        stamped = self._account.call("UpdateItem", body, expected=1).answers[0]
        if not stamped.ok:
            return Placed(Outcome.FAILED, item_id, f"it was stored, but could not be marked: {stamped}")
        return Placed(Outcome.RESTORED, item_id, "the server words it in another way than before")

    def _element(self, deposit: Deposit) -> str:
        """The element that the server makes such an item of from MIME; empty where it makes none."""
        name = _item_class(deposit).lower()
        if name.startswith("ipm.appointment"):
            return "CalendarItem"
        mail = ("ipm.note", "report", "ipm.schedule", "ipm.post", "ipm.outlook", "ipm.document", "ipm.sharing")
        return "Message" if name.startswith(mail) or name == "ipm" else ""


def _item_class(deposit: Deposit) -> str:
    told = deposit.attributes.get("item_class")
    if isinstance(told, str) and 0 < len(told) <= 200 and told.isprintable():
        return told
    return MimeView(deposit.content).item_class or "IPM.Note"


def _new_item(kind: str, job: _Job) -> Body:
    deposit = job.deposit
    flags = _READ if "seen" in deposit.flags else 0
    flags |= _UNSENT if "draft" in deposit.flags else _UNMODIFIED
    properties = [(bodies.extended(bodies.MESSAGE_FLAGS), str(flags))]
    if deposit.delivered is not None:
        delivered = iso(deposit.delivered.replace(microsecond=0)) or ""
        properties.append((bodies.extended(bodies.DELIVERY_TIME), delivered))
    sent = MimeView(deposit.content).sent
    if sent is not None:
        properties.append((bodies.extended(bodies.SUBMIT_TIME), iso(sent.replace(microsecond=0)) or ""))
    if "flagged" in deposit.flags:
        properties.append((bodies.extended(bodies.FLAG_STATUS), _FLAGGED))
    verb = _REPLIED if "answered" in deposit.flags else _FORWARDED if "forwarded" in deposit.flags else ""
    if verb:
        properties.append((bodies.extended(bodies.LAST_VERB), verb))
    properties.append((bodies.STAMP_FIELD, job.version))
    categories = sorted(flag for flag in deposit.flags - _FLAGS if flag.isprintable())
    item_class = _item_class(deposit)
    named = "" if item_class.lower() in ("ipm.note", "ipm.appointment") else item_class
    return bodies.new_item(kind, named, deposit.content, categories, properties)


def _new_id(answer: Answer) -> str:
    """The id of what was made (UploadItems names it beside, CreateItem within the item)."""
    found = find(answer.element, "m:ItemId")
    if found is None:
        item = next(children(find(answer.element, "m:Items")), None)
        found = None if item is None else next(iter(find_all(item, "ItemId")), None)
    return "" if found is None else str(found.get("Id", ""))


def _why(answer: Answer) -> str:
    hint = codes.hint_for(answer.code)
    return shown(str(answer), 400) + (f" ({hint})" if hint else "")
