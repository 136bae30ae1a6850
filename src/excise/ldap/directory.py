"""Mailboxes out of a directory: listed by base, filter, database and server, named one by one, or members of groups.

ExMerge's pages for the database and the mailboxes asked the directory the same. What has no mailbox here (a contact, a
mailbox in another organisation, a system mailbox) is passed over and said; what cannot be seen is unread; a name that
is not known, or means several entries, is an error.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from excise.core.errors import SourceUnavailable, UsageError
from excise.core.text import shown
from excise.ldap import filters
from excise.ldap.client import BASE, Client
from excise.ldap.entries import ATTRIBUTES, Entry
from excise.ldap.failures import NoSuchEntry
from excise.model.recipient import Recipients, RecipientType

#: Names asked for in one request.
AT_ONCE = 50
_NAMED = 10
_GROUPS = (RecipientType.GROUP, RecipientType.DYNAMIC_GROUP)
_RANGE = re.compile(r"member;range=\d+-(\d+|\*)")
_DATABASE = "(|(objectClass=msExchPrivateMDB)(objectClass=msExchMDB))"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which mailboxes of the directory are listed: all that fit each of what is given. ``databases`` and ``servers``
    by name or distinguished name, each list an alternative. Empty means all of the directory."""

    base: str = ""
    filter: str = ""
    databases: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()

    @property
    def limits(self) -> bool:
        """False where it means every mailbox of the directory."""
        return bool(self.base or self.filter or self.databases or self.servers)


class Directory:
    """An open directory; an ``AddressBook``."""

    def __init__(self, client: Client) -> None:
        self.client = client
        root = client.root()
        contexts = root.texts("namingContexts")
        only = contexts[0] if len(contexts) == 1 else ""
        self.context = client.place.base or root.text("defaultNamingContext") or only
        self.configuration = root.text("configurationNamingContext") or self.context
        if not self.context:
            raise UsageError(
                f"{client.place.url}: the server does not say where its entries begin",
                hint=f"Say it, as in {client.place.url}/{shown(next(iter(contexts), 'DC=example,DC=com'))}.",
            )

    def mailboxes(self, wanted: Wanted) -> Recipients:
        """The mailboxes that ``wanted`` means, by address. ``NoSuchEntry`` where its base is not there."""
        made = filters.all_of(
            filters.HAS_MAILBOX,
            filters.bracketed(wanted.filter) if wanted.filter else "",
            filters.any_of(self._databases(wanted.databases)) if wanted.databases else "",
            filters.any_of(map(filters.on_server, wanted.servers)) if wanted.servers else "",
        )
        found = Recipients()
        for entry in self.client.search(wanted.base or self.context, made, ATTRIBUTES):
            self._add(entry, found, f"{self.client.place.url}, {entry.dn}")
        found.mailboxes.sort(key=lambda one: one.address.casefold())
        found.passed_over += [f"{shown(url)}: another server, which was not asked" for url in self.client.referrals]
        return found

    def resolve(self, names: Sequence[str], places: Mapping[str, str] | None = None) -> Recipients:
        """The mailboxes that ``names`` mean; groups among them are expanded. ``SourceUnavailable`` lists the names that
        are not known, are ambiguous or have no mailbox here. ``places``: name -> where it is written."""
        found, problems = Recipients(), []
        written = {name: f"{shown(name)} ({shown(place)})" for name, place in (places or {}).items() if place}
        for part in _parts(dict.fromkeys(names)):
            entries = list(self.client.search(self.context, filters.any_of(map(filters.named, part)), ATTRIBUTES))
            for name in part:
                source = written.get(name, shown(name))
                problem = self._take(name, [entry for entry in entries if entry.is_called(name)], found, source)
                if problem:
                    problems.append(f"{source}: {problem}")
        if problems:
            more = f"\n  and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
            raise SourceUnavailable(
                f"{self.client.place.url}: {len(problems)} of {len(names)} names mean no mailbox:\n  "
                + "\n  ".join(problems[:_NAMED])
                + more,
                hint="Correct them, or take them out of the list.",
            )
        return found

    def _take(self, name: str, entries: list[Entry], found: Recipients, source: str) -> str:
        """Add what ``name`` means to ``found``; what is wrong, where something is."""
        if not entries and "=" in name and not name.startswith("/"):
            # A distinguished name that is written in another way than the directory's own.
            entries = [entry for entry in (self._entry(name, ATTRIBUTES),) if entry is not None]
        if not entries:
            return "not in the directory"
        if len(entries) > 1:
            return f"means {len(entries)} entries: {'; '.join(shown(entry.dn) for entry in entries[:3])}"
        entry = entries[0]
        source = f"{self.client.place.url}, {source}"
        if entry.type in _GROUPS:
            self._expand(entry, found, source)
            return ""
        if not entry.type.has_mailbox:
            return f"a mailbox of type {entry.type}, not one of these servers"
        return "" if self._add(entry, found, source) else "has no SMTP address"

    def _add(self, entry: Entry, found: Recipients, source: str) -> bool:
        if not entry.type.has_mailbox:
            found.passed_over.append(f"{shown(entry.dn)}: {entry.type}, no mailbox of these servers")
        elif not re.fullmatch(r"[^@\s]+@[^@\s]+", entry.address):
            found.passed_over.append(f"{shown(entry.dn)}: it has no SMTP address")
        else:
            found.add(entry.recipient(source))
            return True
        return False

    def _expand(self, group: Entry, found: Recipients, source: str) -> None:
        """Add the members of ``group`` and of the groups in it, each once, whatever cycles they form."""
        seen, waiting = {group.dn.casefold()}, deque([group])
        while waiting:
            for member in self._members(waiting.popleft(), found):
                if member.dn.casefold() in seen:
                    continue
                seen.add(member.dn.casefold())
                if member.type in _GROUPS:
                    waiting.append(member)
                else:
                    self._add(member, found, source)

    def _members(self, group: Entry, found: Recipients) -> Iterator[Entry]:
        if group.type is RecipientType.DYNAMIC_GROUP:
            query = group.text("msExchDynamicDLFilter")
            if not query:
                found.unread.append((f"group {shown(group.dn)}", "a dynamic group whose filter cannot be read"))
                return
            yield from self.client.search(group.text("msExchDynamicDLBaseDN") or self.context, query, ATTRIBUTES)
            return
        for part in _parts(self._member_names(group.dn)):
            missing = {dn.casefold(): dn for dn in part}
            for entry in self.client.search(self.context, filters.with_dn(part), ATTRIBUTES):
                # OpenLDAP takes distinguishedName for any attribute of its kind, and gives the groups as well.
                if missing.pop(entry.dn.casefold(), None) is not None:
                    yield entry
            for dn in missing.values():
                alone = self._entry(dn, ATTRIBUTES)
                if alone is None:
                    found.unread.append((shown(dn), f"a member of {shown(group.dn)} that this directory does not show"))
                else:
                    yield alone

    def _member_names(self, dn: str) -> list[str]:
        """The distinguished names of a group's members. Active Directory gives 1,500 at once, and says which."""
        names: list[str] = []
        wanted = "member"
        while (entry := self._entry(dn, (wanted,))) is not None:
            ranged = next((match for name in entry.attributes if (match := _RANGE.fullmatch(name))), None)
            names += entry.texts("member" if ranged is None else ranged[0])
            if ranged is None or ranged[1] == "*":
                return names
            wanted = f"member;range={int(ranged[1]) + 1}-*"
        raise SourceUnavailable(
            f"{self.client.place.url}: the group {shown(dn)} went away while it was read", hint="Run the command again."
        )

    def _entry(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        try:
            return next(iter(self.client.search(dn, "(objectClass=*)", attributes, scope=BASE)), None)
        except NoSuchEntry:
            return None

    def _databases(self, names: Iterable[str]) -> Iterator[str]:
        """A filter for the mailboxes of each database."""
        for name in names:
            if "=" in name and not name.startswith("/"):
                yield filters.equals("homeMDB", name)
                continue
            attribute = "legacyExchangeDN" if name.startswith("/") else "cn"
            wanted = filters.all_of(_DATABASE, filters.equals(attribute, name))
            found = [entry.dn for entry in self.client.search(self.configuration, wanted, ("cn",))]
            if len(found) != 1:
                raise SourceUnavailable(
                    f"{self.client.place.url}: {len(found) or 'no'} databases are called {shown(name)!r}",
                    hint=self._known(found),
                )
            yield filters.equals("homeMDB", found[0])

    def _known(self, found: list[str]) -> str:
        if found:
            return f"Give the distinguished name of the one that you mean: {'; '.join(map(shown, found[:_NAMED]))}."
        known = sorted(entry.text("cn") for entry in self.client.search(self.configuration, _DATABASE, ("cn",)))
        return f"There are: {', '.join(map(shown, known[:_NAMED])) or 'none that this login may see'}."


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    whole = list(names)
    return (whole[start : start + AT_ONCE] for start in range(0, len(whole), AT_ONCE))
