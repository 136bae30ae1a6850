"""The server's own address book: names and distribution lists (ResolveNames, ExpandDL), the address list (FindPeople).

A name means what it names exactly: ResolveNames takes beginnings of words too, so what it offers is compared. A list is
expanded by the server one level at a time, and here to its end, cycles or not. A list that cannot be expanded, or not
whole, is among what is ``unread``: nobody knows whose mail is left out with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from excise.core.errors import SourceUnavailable
from excise.core.text import shown
from excise.model.recipient import Recipient, Recipients, RecipientType
from excise.stores.ews import bodies, codes
from excise.stores.ews.account import Account
from excise.stores.ews.place import is_address
from excise.stores.ews.server import refusal
from excise.stores.ews.soap import Answer, Element, children, find, find_all, text_at

_NAMED = 10
_PAGE = 100
#: People in an address list, and members of lists together: a server that gives more has no end.
_MOST = 1_000_000
_READINGS = 3
#: MailboxType ([MS-OXWSCDATA] 2.2.5.20) -> what it is; lists of the directory are expanded.
_TYPES = {
    "Mailbox": RecipientType.MAILBOX,
    "GroupMailbox": RecipientType.TEAM,
    "PublicDL": RecipientType.GROUP,
    "Contact": RecipientType.CONTACT,
    "OneOff": RecipientType.OTHER,
    "PublicFolder": RecipientType.PUBLIC_FOLDER,
}
_FOUND = frozenset({codes.OK, "ErrorNameResolutionMultipleResults"})
_NO_SUCH = "ErrorNameResolutionNoResults"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the address book; ``type`` is None where the server does not say what it is."""

    name: str
    address: str
    type: RecipientType | None

    @classmethod
    def of(cls, element: Element) -> _Entry:
        """From a t:Mailbox."""
        kind = (text_at(element, "MailboxType") or "").strip()
        name, address = (text_at(element, "Name") or "").strip(), (text_at(element, "EmailAddress") or "").strip()
        return cls(name, address, _TYPES.get(kind))

    @property
    def shown(self) -> str:
        """As people are shown it."""
        return shown(self.address or self.name or "an entry without a name", 200)


class EwsAddressBook:
    """The address book of a server; an ``AddressBook``."""

    def __init__(self, account: Account) -> None:
        """Nothing is sent yet."""
        self._account = account
        self._host = f"ews://{account.place.host}"

    def resolve(self, names: Sequence[str], places: Mapping[str, str] | None = None) -> Recipients:
        """The mailboxes that ``names`` mean; lists among them are expanded. One request a name, and one a list."""
        found, problems = Recipients(), []
        written = {name: f"{shown(name)} ({shown(place)})" for name, place in (places or {}).items() if place}
        for name in dict.fromkeys(names):
            source = written.get(name, shown(name))
            problem = self._take(name, found, source)
            if problem:
                problems.append(f"{source}: {problem}")
        if problems:
            more = f"\n  and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
            raise SourceUnavailable(
                f"{self._host}: {len(problems)} of {len(names)} names mean no mailbox:\n  "
                + "\n  ".join(problems[:_NAMED])
                + more,
                hint="Correct them, or take them out of the list.",
            )
        return found

    def mailboxes(self) -> Recipients:
        """Every mailbox of the address list, by address. What is hidden from it is not there."""
        for _ in range(_READINGS):
            people = self._people()
            if people is not None:
                break
        else:
            raise SourceUnavailable(
                f"{self._host}: the address list changed while it was read, {_READINGS} times", hint="Try again later."
            )
        found = Recipients()
        for entry in people:
            self._sort_in(entry, found, f"{self._host}, address list", lists=None, listed=True)
        found.mailboxes.sort(key=lambda one: one.address.casefold())
        return found

    # Names

    def _take(self, name: str, found: Recipients, source: str) -> str:
        """Add what ``name`` means to ``found``; what is wrong, where something is."""
        entry = self._entry(name)
        if isinstance(entry, str):
            return entry
        source = f"{self._host}, {source}"
        if entry.type is RecipientType.GROUP:
            return self._expand(entry, found, source)
        if entry.type is None or not entry.type.has_mailbox:
            return f"{entry.type or 'something of an unknown type'}, and no mailbox of this server"
        if not is_address(entry.address):
            return "has no SMTP address"
        found.add(_recipient(entry, source))
        return ""

    def _entry(self, name: str) -> _Entry | str:
        """The one entry that ``name`` names exactly, or why there is none."""
        answer = self._ask("ResolveNames", bodies.resolve_names(f"smtp:{name}" if is_address(name) else name))
        if answer.code == _NO_SUCH:
            return "not in the address book"
        if answer.code not in _FOUND:
            raise refusal(self._host, answer.code, answer.text)
        offered = find(answer.element, "m:ResolutionSet")
        mailboxes = [] if offered is None else [find(one, "Mailbox") for one in find_all(offered, "Resolution")]
        entries = [_Entry.of(one) for one in mailboxes if one is not None]
        key = name.casefold()
        exact = [one for one in entries if key in (one.address.casefold(), one.name.casefold())]
        if not exact and name.startswith("/") and len(entries) == 1:
            exact = entries  # a legacy distinguished name, which is taken as a whole
        if len(exact) == 1:
            return exact[0]
        some = "; ".join(one.shown for one in (exact or entries)[:3])
        return f"means {len(exact)} entries: {some}" if exact else f"no entry is called so; there is {some or 'none'}"

    # Lists

    def _expand(self, group: _Entry, found: Recipients, source: str) -> str:
        """Add the members of ``group`` and of the lists in it, each once. Why it cannot be expanded, where it is so;
        a list in it that cannot be is unread."""
        seen, waiting = {group.address.casefold()}, deque([(group, source)])
        while waiting:
            one, path = waiting.popleft()
            members = self._members(one)
            if isinstance(members, str):
                if one is group:
                    return f"a list, and {members}"
                found.unread.append((f"list {one.shown}", f"{path}: {members}: its members are not known"))
                continue
            for member in members:
                if member.type is RecipientType.GROUP and member.address.casefold() in seen:
                    continue
                below = f"{path}, in {member.shown}" if member.type is RecipientType.GROUP else path
                if member.type is RecipientType.GROUP:
                    seen.add(member.address.casefold())
                self._sort_in(member, found, below, lists=waiting)
                if len(found.mailboxes) + len(seen) > _MOST:
                    raise SourceUnavailable(f"{self._host}: {group.shown} has no end", hint="Name its mailboxes.")
        return ""

    def _members(self, group: _Entry) -> list[_Entry] | str:
        """The members of a list, one level of them, or why they are not known."""
        answer = self._ask("ExpandDL", bodies.expand_list(group.address))
        if answer.code == _NO_SUCH:
            return "the server does not expand it (hidden, or gone)"
        if not answer.ok:
            return f"the server does not expand it: {answer}"
        expansion = find(answer.element, "m:DLExpansion")
        if expansion is None:
            return "the server gave no members, and not that there are none"
        members = [_Entry.of(one) for one in find_all(expansion, "Mailbox")]
        told = expansion.get("TotalItemsInView", "")
        if expansion.get("IncludesLastItemInRange") == "false" or (told.isdigit() and int(told) != len(members)):
            return f"the server gave {len(members):,} of {shown(told, 20) or 'more'} members"
        return members

    def _sort_in(
        self,
        entry: _Entry,
        found: Recipients,
        source: str,
        *,
        lists: deque[tuple[_Entry, str]] | None,
        listed: bool = False,
    ) -> None:
        """Put ``entry`` where it belongs: mailboxes, lists that wait, what has no mailbox, what nobody knows."""
        if entry.type is RecipientType.GROUP and lists is None:
            found.passed_over.append(f"{entry.shown}: a list, which was not expanded")
        elif entry.type is RecipientType.GROUP and lists is not None:
            lists.append((entry, source))
        elif entry.type is None:
            found.unread.append((entry.shown, f"{source}: the server does not say what it is"))
        elif not entry.type.has_mailbox:
            found.passed_over.append(f"{entry.shown}: {entry.type}, no mailbox of this server ({source})")
        elif not is_address(entry.address):
            found.unread.append((entry.shown, f"{source}: a mailbox without an SMTP address"))
        else:
            found.add(_recipient(entry, source, hidden=False if listed else None))

    # The address list

    def _people(self) -> list[_Entry] | None:
        """The address list, page by page; None where it changed meanwhile. An error where it is not whole."""
        found: list[_Entry] = []
        total = None
        while total is None or len(found) < total:
            answer = self._ask("FindPeople", bodies.find_people(len(found), _PAGE))
            if not answer.ok:
                error = refusal(self._host, answer.code, answer.text)
                error.hint = error.hint or "This server does not list its people: ask the directory, over LDAP."
                raise error
            page = [_persona(one) for one in children(find(answer.element, "m:People"))]
            told = text_at(answer.element, "m:TotalNumberOfPeopleInView") or ""
            now = int(told) if told.isascii() and told.isdigit() and len(told) < 10 else -1
            if total not in (None, now):
                return None
            total = now
            found += page
            if not 0 <= total <= _MOST or len(found) > total or (not page and len(found) < total):
                whole = shown(told, 20) or "an unknown number of"
                raise SourceUnavailable(
                    f"{self._host}: the server gave {len(found):,} of {whole} people",
                    hint="An address list that is not whole is none: ask the directory, over LDAP, or name mailboxes.",
                )
        return found

    def _ask(self, operation: str, body: str) -> Answer:
        return self._account.each(operation, [""], lambda _: body)[""]


def _persona(element: Element) -> _Entry:
    mailbox = find(element, "EmailAddress")
    if mailbox is None:
        return _Entry((text_at(element, "DisplayName") or "").strip(), "", RecipientType.OTHER)
    return _Entry.of(mailbox)


def _recipient(entry: _Entry, source: str, hidden: bool | None = None) -> Recipient:
    assert entry.type is not None  # noqa: S101 - for the type checker
    return Recipient(entry.address, entry.name, entry.type, hidden, None, source)
