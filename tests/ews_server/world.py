"""The world that a server shows: mailboxes with folders and items, kept in memory under one lock.

    world = World()
    world.user("admin@example.test", "secret", impersonates=["*"])
    anna = world.mailbox("anna@example.test", archive=True)
    world.deliver(anna, "inbox", mime, received=datetime(2026, 1, 5, 9, tzinfo=UTC))
    with Server(world) as server: ...

Everything that changes goes through methods, which note it for a state file (`state.py`).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from .model import DistributionList, Extended, Folder, Item, Mailbox, Sent, User
from .tree import NAMES, PARTS, Born

PUBLIC = "public-folders"


class World:
    """Users, mailboxes, their folders and items. All methods take the lock themselves; `lock` is for longer work."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.lock = threading.RLock()
        self.clock = clock or (lambda: datetime.now(UTC))
        self.users: dict[str, User] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self.guids: set[str] = set()
        self.lists: dict[str, DistributionList] = {}
        self.folders: dict[int, Folder] = {}
        self.items: dict[int, Item] = {}
        self.sent: list[Sent] = []
        # Tokens with the login that they stand for and when they end. They are not saved.
        self.tokens: dict[str, tuple[str, str]] = {}
        self.counters = {"folder": 0, "item": 0, "version": 0}
        self.changed: set[tuple[str, str | int]] = set()

    # Building

    def user(self, address: str, password: str, *, login: str = "", impersonates: list[str] | None = None) -> User:
        """An account; it logs in with its address, or with `login` (DOMAIN\\name)."""
        made = User(login or address, password, address.lower(), list(impersonates or []))
        with self.lock:
            self.users[made.login.lower()] = made
            self.users.setdefault(made.address, made)
            self.note("user", made.login.lower())
        return made

    def token(self, token: str, user: User, lifetime: timedelta) -> str:
        """A Bearer token that logs a user in for so long."""
        self.tokens[token] = (user.login.lower(), (self.clock() + lifetime).isoformat())
        return token

    def mailbox(
        self,
        address: str,
        password: str = "",
        *,
        name: str = "",
        archive: bool = False,
        aliases: list[str] | None = None,
        legacy_dn: str = "",
        language: str = "en",
        hidden: bool = False,
        guid: str = "",
    ) -> Mailbox:
        """A mailbox with the folders that Exchange makes; with a password its owner may log in too."""
        local = address.split("@", maxsplit=1)[0]
        made = Mailbox(
            address=address.lower(),
            guid=guid or str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailbox:{address.lower()}")),
            name=name or local.replace(".", " ").title(),
            aliases=[alias.lower() for alias in aliases or []],
            legacy_dn=legacy_dn or f"/o=Example/ou=Exchange Administrative Group/cn=Recipients/cn={local}",
            hidden=hidden,
        )
        with self.lock:
            self.mailboxes[made.address] = made
            self.guids.add(made.guid)
            self._give_birth(made, "primary", language)
            if archive:
                made.archive_guid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"archive:{made.guid}"))
                self._give_birth(made, "archive", language)
            self.note("mailbox", made.address)
        if password:
            self.user(address, password)
        return made

    def remove_mailbox(self, mailbox: Mailbox) -> None:
        """Remove a mailbox with all that it holds; its address may then have a new owner (another GUID)."""
        with self.lock:
            for number in [number for number, each in self.folders.items() if each.mailbox == mailbox.address]:
                if number in self.folders and not self.folders[number].parent:
                    self.drop_folder(self.folders[number])
            del self.mailboxes[mailbox.address]
            self.guids.discard(mailbox.guid)
            self.note("mailbox", mailbox.address)

    def public_folders(self) -> Mailbox:
        """The public folders' tree, made at the first call; everyone may read it unless permissions say otherwise."""
        with self.lock:
            if PUBLIC not in self.mailboxes:
                made = Mailbox(PUBLIC, str(uuid.uuid5(uuid.NAMESPACE_URL, PUBLIC)), "Public Folders", kind="public")
                self.mailboxes[PUBLIC] = made
                self.guids.add(made.guid)
                self._give_birth(made, "public", "en")
                self.note("mailbox", PUBLIC)
            return self.mailboxes[PUBLIC]

    def distribution_list(self, address: str, members: list[str], *, name: str = "", hidden: bool = False) -> None:
        """A list; `members` are addresses, of other lists too (cycles are allowed, as in a real directory)."""
        made = DistributionList(address.lower(), name or address.split("@")[0].title(), members, hidden)
        with self.lock:
            self.lists[made.address] = made
            self.note("list", made.address)

    def folder(
        self, mailbox: Mailbox, parent: str | Folder, name: str, *, folder_class: str = "IPF.Note", finds: str = ""
    ) -> Folder:
        """A folder below `parent` (a distinguished id, or a folder); with `finds` a search folder, see `Folder`."""
        with self.lock:
            above = self.find_folder(mailbox, parent)
            return self.add_folder(mailbox, above.part, above.number, name, folder_class, finds=finds)

    def deliver(
        self,
        mailbox: Mailbox,
        folder: str | Folder,
        mime: bytes,
        *,
        received: datetime | None = None,
        item_class: str = "IPM.Note",
        read: bool = False,
        draft: bool = False,
        associated: bool = False,
        flag_status: str = "NotFlagged",
        categories: list[str] | None = None,
        values: dict[str, object] | None = None,
        extended: dict[str, Extended] | None = None,
    ) -> Item:
        """Put a message (or with another class another kind of item) into a folder.

        Without `received` it came when its Date says. `values` are answers by FieldURI ("calendar:Start",
        "item:Subject") in place of what the MIME says; `extended` are extended properties (see `properties.key`).
        """
        when = received or _date_of(mime) or self.clock()
        with self.lock:
            return self.add_item(
                self.find_folder(mailbox, folder),
                item_class=item_class,
                mime=mime,
                received=when,
                created=when,
                read=read,
                draft=draft,
                associated=associated,
                flag_status=flag_status,
                categories=list(categories or []),
                values=dict(values or {}),
                extended=dict(extended or {}),
            )

    # Looking

    def find_folder(self, mailbox: Mailbox, folder: str | Folder) -> Folder:
        """The folder itself, or the mailbox's with this distinguished id."""
        return folder if isinstance(folder, Folder) else self.folders[mailbox.distinguished[folder]]

    def find_mailbox(self, address: str) -> Mailbox | None:
        """The mailbox of an SMTP address (primary or alias), a legacy DN or a GUID."""
        wanted = address.lower()
        with self.lock:
            if wanted in self.mailboxes:
                return self.mailboxes[wanted]
            for mailbox in self.mailboxes.values():
                if wanted in (mailbox.legacy_dn.lower(), mailbox.guid, mailbox.archive_guid or None):
                    return mailbox
                if wanted in mailbox.aliases:
                    return mailbox
        return None

    def items_in(self, mailbox: Mailbox, folder: str | Folder) -> list[Item]:
        """The items of a folder in the order in which they came: what a test asserts on."""
        with self.lock:
            return [self.items[number] for number in self.find_folder(mailbox, folder).items]

    def shown_in(self, folder: Folder) -> list[Item]:
        """The items that a folder shows: its own, or of a search folder those of the whole mailbox that it finds."""
        if not folder.search:
            return [self.items[number] for number in folder.items]
        mailbox = self.mailboxes[folder.mailbox]
        root = self.folders[mailbox.distinguished["msgfolderroot"]]
        every = [self.items[number] for below in self.below(root) for number in below.items]
        wanted = {
            "all": lambda item: True,
            "flagged": lambda item: item.flag_status == "Flagged",
            "contacts": lambda item: item.item_class.startswith("IPM.Contact"),
        }[folder.finds]
        return [item for item in every if wanted(item)]

    def below(self, folder: Folder) -> Iterator[Folder]:
        """Every folder below this one, parents first."""
        for number in folder.children:
            child = self.folders[number]
            yield child
            yield from self.below(child)

    # Changing; the operations call these with the lock held

    def note(self, kind: str, key: str | int) -> None:
        """Remember that an object changed, for the state file."""
        self.changed.add((kind, key))

    def next(self, counter: str) -> int:
        """The next number of a counter."""
        self.counters[counter] += 1
        return self.counters[counter]

    def add_folder(
        self, mailbox: Mailbox, part: str, parent: int, name: str, folder_class: str, *, finds: str = ""
    ) -> Folder:
        """A new folder below folder number `parent` (0: none)."""
        made = Folder(
            number=self.next("folder"),
            mailbox=mailbox.address,
            part=part,
            parent=parent,
            name=name,
            folder_class=folder_class,
            version=self.next("version"),
            finds=finds,
        )
        self.folders[made.number] = made
        self.note("folder", made.number)
        if parent:
            self.folders[parent].children.append(made.number)
            self.touch_folder(self.folders[parent])
        return made

    def add_item(self, folder: Folder, **properties: object) -> Item:
        """A new item in a folder, with a new number and version."""
        now = self.clock()
        given = {"modified": now, "created": now, **properties}
        made = Item(
            number=self.next("item"),
            mailbox=folder.mailbox,
            folder=folder.number,
            version=self.next("version"),
            **given,  # type: ignore[arg-type]
        )
        self.items[made.number] = made
        folder.items.append(made.number)
        self.note("item", made.number)
        self.touch_folder(folder)
        return made

    def copy_item(self, item: Item, target: Folder) -> Item:
        """A copy of an item in another folder: another id, the same content."""
        kept = {
            name: deepcopy(value)
            for name, value in vars(item).items()
            if name not in ("number", "mailbox", "folder", "version")
        }
        return self.add_item(target, **kept)

    def move_item(self, item: Item, target: Folder) -> Item:
        """Move an item; it has another id afterwards, as on Exchange."""
        moved = self.copy_item(item, target)
        moved.origin = item.folder
        self.drop_item(item)
        return moved

    def drop_item(self, item: Item) -> None:
        """Remove an item for good."""
        del self.items[item.number]
        folder = self.folders[item.folder]
        folder.items.remove(item.number)
        self.note("item", item.number)
        self.touch_folder(folder)

    def drop_folder(self, folder: Folder) -> None:
        """Remove a folder with what lies in it and below."""
        for child in [self.folders[number] for number in folder.children]:
            self.drop_folder(child)
        for number in list(folder.items):
            self.drop_item(self.items[number])
        del self.folders[folder.number]
        self.note("folder", folder.number)
        if folder.parent in self.folders:
            above = self.folders[folder.parent]
            above.children.remove(folder.number)
            self.touch_folder(above)

    def snapshot(self, item: Item) -> Item:
        """The item as it is now, untouched by what comes."""
        return Item(**{name: deepcopy(value) for name, value in vars(item).items()})

    def send(self, operation: str, mailbox: str, subject: str, what: str) -> None:
        """Remember something that would have been sent."""
        self.sent.append(Sent(operation, mailbox, subject, what))
        self.note("sent", len(self.sent) - 1)

    def touch(self, item: Item) -> None:
        """Give a changed item another version, and with it another ChangeKey."""
        item.version = self.next("version")
        item.modified = self.clock()
        self.note("item", item.number)

    def touch_folder(self, folder: Folder) -> None:
        """Give a changed folder another version."""
        folder.version = self.next("version")
        self.note("folder", folder.number)

    def _give_birth(self, mailbox: Mailbox, part: str, language: str) -> None:
        born: dict[str, Folder] = {}
        for folder in PARTS[part]:
            parent = born[folder.parent].number if folder.parent else 0
            name = _name(folder, language)
            made = self.add_folder(mailbox, part, parent, name, folder.folder_class, finds=folder.finds)
            made.distinguished = folder.distinguished
            born[folder.key] = made
            mailbox.distinguished[folder.key] = made.number


def _name(folder: Born, language: str) -> str:
    return NAMES.get(language, {}).get(folder.key, folder.name)


def _date_of(mime: bytes) -> datetime | None:
    for line in mime[:65536].replace(b"\r\n", b"\n").split(b"\n"):
        if line.lower().startswith(b"date:"):
            try:
                date = parsedate_to_datetime(line[5:].decode("ascii", "replace").strip())
            except ValueError:
                return None
            return date if date.tzinfo else date.replace(tzinfo=UTC)
        if not line.strip():
            break
    return None
