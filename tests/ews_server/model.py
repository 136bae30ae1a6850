"""What a world holds: users, mailboxes, folders, items, distribution lists. Plain data, so that it can be saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

# A value of an extended property: its MAPI type as EWS names it, and the text or the texts.
Extended = tuple[str, str | list[str]]


@dataclass
class User:
    """An account that may log in.

    `impersonates` are the mailboxes' addresses, or "*" for every one (the role ApplicationImpersonation). An
    application may prove itself by the key of `certificate` (PEM) in place of its secret, the password.
    """

    login: str
    password: str
    address: str
    impersonates: list[str] = field(default_factory=list)
    certificate: str = ""


@dataclass
class Item:
    """Something in a folder.

    `mime` is what was delivered; what a FieldURI answers comes from it unless `values` holds another value, which
    UpdateItem and items that are no mail set. `version` makes the ChangeKey.
    """

    number: int
    mailbox: str
    folder: int
    item_class: str
    mime: bytes
    received: datetime
    created: datetime
    modified: datetime
    version: int
    read: bool = False
    draft: bool = False
    associated: bool = False
    flag_status: str = "NotFlagged"
    categories: list[str] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)
    extended: dict[str, Extended] = field(default_factory=dict)
    origin: int = 0


@dataclass
class Folder:
    """A folder; `part` is primary, archive or public, `permissions` maps a user's address to a permission level."""

    number: int
    mailbox: str
    part: str
    parent: int
    name: str
    folder_class: str
    version: int
    distinguished: str = ""
    permissions: dict[str, str] = field(default_factory=dict)
    items: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    extended: dict[str, Extended] = field(default_factory=dict)
    finds: str = ""

    @property
    def search(self) -> bool:
        """Whether it is a search folder: it holds nothing, and shows what lies elsewhere (all, flagged, contacts)."""
        return bool(self.finds)


@dataclass
class Mailbox:
    """A mailbox, or the public folders' (whose `kind` is public).

    `full_access` are users' addresses. `hold` is "", litigation or inplace; with a hold or with single item recovery
    nothing leaves Recoverable Items. `quota_on_delete` is how many items fit in there before removing more is refused
    (0: any number).
    """

    address: str
    guid: str
    name: str
    kind: str = "mailbox"
    aliases: list[str] = field(default_factory=list)
    legacy_dn: str = ""
    archive_guid: str = ""
    full_access: list[str] = field(default_factory=list)
    hold: str = ""
    single_item_recovery: bool = False
    quota_on_delete: int = 0
    hidden: bool = False
    distinguished: dict[str, int] = field(default_factory=dict)


@dataclass
class DistributionList:
    """A list of addresses of mailboxes, of other lists, or of people elsewhere."""

    address: str
    name: str
    members: list[str]
    hidden: bool = False


@dataclass(frozen=True)
class Sent:
    """Something that the server would have sent: a test asserts that there is none."""

    operation: str
    mailbox: str
    subject: str
    what: str
