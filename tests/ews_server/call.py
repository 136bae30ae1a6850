"""One request at work: who asks, what ids name, what an answer of many parts looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from . import ids
from .faults import FaultScript
from .model import Folder, Item, Mailbox, User
from .quirks import Quirks
from .rights import effective_rights, is_system, rights
from .shapes import Rendering
from .soap import Element, Envelope, EwsError, M, SoapFault, T, error_message, m, message
from .tree import PARTS
from .world import World

NOT_FOUND = "The specified object was not found in the store."
DENIED = "Access is denied. Check credentials and try again."
KNOWN = frozenset(born.distinguished for part in PARTS.values() for born in part)


@dataclass
class Call:
    """A request with what the operations need. Operations run with the world's lock held."""

    world: World
    request: Envelope
    user: User
    actor: str
    anchor: str
    quirks: Quirks
    faults: FaultScript

    @property
    def mailboxes(self) -> tuple[str, ...]:
        """The mailboxes that faults know this request by."""
        return self.actor, self.anchor

    @property
    def operation(self) -> str:
        """The operation's name."""
        return self.request.operation

    @property
    def body(self) -> Element:
        """The operation's element."""
        return self.request.body

    def find(self, path: str) -> Element | None:
        """The first element of a path like "m:ItemShape" in the operation's element."""
        return self.body.find(path, {"t": T, "m": M})

    def text(self, path: str) -> str:
        """An element's text, or ""."""
        return (self.body.findtext(path, "", {"t": T, "m": M}) or "").strip()

    def all(self, path: str) -> list[Element]:
        """All elements of a path, or all below it with "/*"."""
        return [found for found in self.body.iterfind(path, {"t": T, "m": M}) if isinstance(found.tag, str)]

    def rendering(self, folder: Folder | None = None) -> Rendering:
        """How this server shows things to this actor; with a folder, with the actor's rights there."""
        held = rights(self.world, self.actor, folder) if folder else frozenset[str]()
        return Rendering(
            self.world,
            fraction=self.quirks.fraction,
            mime_anew=self.quirks.mime_anew,
            received_always=self.quirks.received_always,
            distinguished_always=self.quirks.distinguished_always,
            find_gives_addresses=self.quirks.find_gives_addresses,
            mime_for_all=self.quirks.mime_for_all_classes,
            rights=effective_rights(held) if folder else None,
        )

    # What ids name

    def mailbox(self, address: str) -> Mailbox:
        """The mailbox of an address; EwsError where there is none."""
        found = self.world.find_mailbox(address)
        if found is None:
            raise EwsError(self.quirks.unknown_mailbox, "The SMTP address has no mailbox associated with it.")
        if not self.quirks.aliases_open and address.lower() in found.aliases:
            text = "The SMTP address is not the primary one."
            raise EwsError("ErrorNonPrimarySmtpAddress", text, {"Primary": found.address})
        return found

    def folder(self, element: Element, *needs: str) -> Folder:
        """The folder that a FolderId or DistinguishedFolderId names, on which the actor holds the rights."""
        distinguished = element.tag == f"{{{T}}}DistinguishedFolderId"
        found = self._distinguished(element) if distinguished else self._folder_by_id(element.get("Id", ""))
        return self.allowed(found, *(needs or ("visible",)))

    def target(self, path: str, *needs: str) -> Folder:
        """The folder in a TargetFolderIdType element."""
        element = self.find(path)
        if element is None or len(element) == 0:
            raise EwsError("ErrorInvalidRequest", f"{path} is missing.")
        return self.folder(element[0], *needs)

    def allowed(self, folder: Folder, *needs: str) -> Folder:
        """The folder, if the actor holds the rights on it."""
        if is_system(self.world, folder):
            raise EwsError("ErrorAccessDenied", "Non-system logon cannot access Audits folder.")
        if not set(needs) <= rights(self.world, self.actor, folder):
            raise EwsError("ErrorAccessDenied", DENIED)
        return folder

    def _distinguished(self, element: Element) -> Folder:
        name = element.get("Id", "")
        address = element.findtext(f"{{{T}}}Mailbox/{{{T}}}EmailAddress") or self.actor
        if name == "publicfoldersroot":
            mailbox = self.world.mailboxes.get("public-folders")
            if mailbox is None:
                raise EwsError("ErrorPublicFolderServerNotFound", "There are no public folders.")
        else:
            mailbox = self.mailbox(address)
        if name.startswith("archive") and not mailbox.archive_guid:
            raise EwsError("ErrorFolderNotFound", "The mailbox has no archive.")
        if name not in mailbox.distinguished or name not in KNOWN:
            raise EwsError("ErrorFolderNotFound", "The specified folder could not be found in the store.")
        return self.world.folders[mailbox.distinguished[name]]

    def _folder_by_id(self, text: str) -> Folder:
        found = self.world.folders.get(self._decoded(text, "folder").number)
        if found is None:
            raise EwsError("ErrorFolderNotFound", "The specified folder could not be found in the store.")
        return found

    def item(self, element: Element, *needs: str) -> Item:
        """The item that an ItemId names, in a folder on which the actor holds the rights."""
        found = self.world.items.get(self._decoded(element.get("Id", ""), "item").number)
        if found is None:
            raise EwsError("ErrorItemNotFound", NOT_FOUND)
        self.allowed(self.world.folders[found.folder], *(needs or ("read",)))
        return found

    def attachment(self, text: str) -> tuple[Item, int]:
        """The item and the place in it that an AttachmentId names."""
        wanted = self._decoded(text, "attachment")
        item = self.world.items.get(wanted.number)
        if item is None:
            raise EwsError("ErrorAttachmentNotFound", "The specified attachment could not be found.")
        self.allowed(self.world.folders[item.folder], "read")
        return item, wanted.part

    def check_change_key(self, element: Element, item: Item, code: str, *, checked: bool) -> None:
        """Refuse a ChangeKey that is not the item's, where this server checks them."""
        given = element.get("ChangeKey")
        if given and checked and given != ids.change_key("item", item.version):
            raise EwsError(code, "The operation failed because the change key is not current.")

    def _decoded(self, text: str, kind: str) -> ids.Id:
        try:
            found = ids.decode(text)
        except ids.MalformedId as error:
            raise EwsError(self.quirks.malformed_id, "Id is malformed.") from error
        if found.kind != kind:
            code = "ErrorCannotUseItemIdForFolderId" if kind == "folder" else "ErrorCannotUseFolderIdForItemId"
            raise EwsError(code, "The id names another kind of object.")
        if found.guid not in self.world.guids:
            raise EwsError(self.quirks.unknown_mailbox, "The id belongs to no mailbox of this server.")
        return found

    # Answers of many parts

    def each(
        self,
        things: Sequence[Element],
        answer: Callable[[Element], Iterable[Element]],
        on_error: Callable[[], Sequence[Element]] = tuple,
    ) -> list[Element]:
        """One response message for each thing, in order: errors stay with the thing that they befell."""
        found = []
        for place, thing in enumerate(things):
            try:
                self.faults.before_part(self.operation, place, self.mailboxes, thing.get("Id", ""))
                made = message(self.operation, *answer(thing))
                late = self.faults.after_part(self.operation, place, self.mailboxes)
                if late is not None:
                    raise late
            except SoapFault:
                raise
            except EwsError as error:
                made = error_message(self.operation, error, *on_error())
            found.append(made)
        return found

    def response(self, messages: Sequence[Element]) -> Element:
        """The operation's response element around its messages."""
        return m(f"{self.operation}Response", None, m("ResponseMessages", None, *messages))
