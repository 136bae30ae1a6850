"""Who may do what: owners, full access, permission levels of folders, impersonation."""

from __future__ import annotations

from .model import Folder, Mailbox, User
from .quirks import Quirks
from .soap import Element, Envelope, SoapFault, flag, t
from .world import World

ALL = frozenset({"visible", "read", "create", "modify", "delete", "hierarchy"})
LEVELS = {
    "None": frozenset[str](),
    "FolderVisible": frozenset({"visible"}),
    "Contributor": frozenset({"visible", "create"}),
    "Reviewer": frozenset({"visible", "read"}),
    "Author": frozenset({"visible", "read", "create"}),
    "Editor": frozenset({"visible", "read", "create", "modify", "delete"}),
    "PublishingEditor": frozenset({"visible", "read", "create", "modify", "delete", "hierarchy"}),
    "Owner": ALL,
}
# Administrative accounts see these names but never what lies in them.
SYSTEM_ONLY = "Audits"


def rights(world: World, actor: str, folder: Folder) -> frozenset[str]:
    """What the actor (an address) may do in a folder."""
    mailbox = world.mailboxes[folder.mailbox]
    if actor == mailbox.address or actor in mailbox.full_access:
        return ALL
    level = folder.permissions.get(actor) or folder.permissions.get("default")
    if level is None:
        level = "Reviewer" if mailbox.kind == "public" else "None"
    return LEVELS[level]


def is_system(world: World, folder: Folder) -> bool:
    """Whether only the system itself may look into this folder."""
    above = world.folders.get(folder.parent)
    return folder.name == SYSTEM_ONLY and above is not None and above.distinguished.endswith("recoverableitemsroot")


def effective_rights(held: frozenset[str]) -> Element:
    """The EffectiveRights element."""
    return t(
        "EffectiveRights",
        None,
        t("CreateAssociated", flag("create" in held)),
        t("CreateContents", flag("create" in held)),
        t("CreateHierarchy", flag("hierarchy" in held)),
        t("Delete", flag("delete" in held)),
        t("Modify", flag("modify" in held)),
        t("Read", flag("read" in held)),
    )


def permission_set(folder: Folder) -> Element:
    """The PermissionSet element: what everybody gets, and what the named users do."""
    calendar = folder.folder_class.startswith("IPF.Appointment")
    prefix = "Calendar" if calendar else ""
    users = {"Default": folder.permissions.get("default", "None"), "Anonymous": "None"}
    users |= {user: level for user, level in folder.permissions.items() if user != "default"}
    entries = [_permission(f"{prefix}Permission", user, level) for user, level in users.items()]
    return t("PermissionSet", None, t(f"{prefix}Permissions", None, *entries))


def _permission(name: str, user: str, level: str) -> Element:
    held = LEVELS[level]
    distinguished = user in ("Default", "Anonymous")
    who = t("DistinguishedUser", user) if distinguished else t("PrimarySmtpAddress", user)
    level_element = "CalendarPermissionLevel" if name.startswith("Calendar") else "PermissionLevel"
    return t(
        name,
        None,
        t("UserId", None, who),
        t("CanCreateItems", flag("create" in held)),
        t("CanCreateSubFolders", flag("hierarchy" in held)),
        t("IsFolderOwner", flag(level == "Owner")),
        t("IsFolderVisible", flag("visible" in held)),
        t("IsFolderContact", flag(False)),
        t("EditItems", "All" if "modify" in held else "None"),
        t("DeleteItems", "All" if "delete" in held else "None"),
        t("ReadItems", "FullDetails" if "read" in held else "None"),
        t(level_element, level if level != "FolderVisible" else "Custom"),
    )


def actor_of(world: World, user: User, request: Envelope, quirks: Quirks) -> str:
    """The address in whose name a request acts; SoapFault where the user may not act so."""
    if not request.impersonated:
        return user.address
    unknown = quirks.unknown_mailbox
    mailbox = world.find_mailbox(request.impersonated)
    if mailbox is None or mailbox.kind != "mailbox":
        raise SoapFault(unknown, "The SMTP address has no mailbox associated with it.")
    if "*" not in user.impersonates and mailbox.address not in user.impersonates:
        raise SoapFault("ErrorImpersonateUserDenied", "The account does not have permission to impersonate the user.")
    if request.impersonated_by == "PrimarySmtpAddress" and not quirks.aliases_open:
        refuse_alias(mailbox, request.impersonated)
    return mailbox.address


def refuse_alias(mailbox: Mailbox, address: str) -> None:
    """Exchange opens a mailbox by its primary address alone, and says which that is."""
    if address.lower() in mailbox.aliases:
        text = "The SMTP address is not the primary one."
        raise SoapFault("ErrorNonPrimarySmtpAddress", text, {"Primary": mailbox.address})
