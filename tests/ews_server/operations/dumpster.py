"""Recoverable Items: where removed items go, and what holds and quotas do about it.

A soft delete moves to Deletions. A hard delete removes for good, unless single item recovery or a hold keeps what is
removed: it then moves to Purges, under an in-place hold to DiscoveryHolds, and can be removed from there by nobody.
Changing what a held item says keeps its former state in Versions.
"""

from __future__ import annotations

from ..model import Folder, Item, Mailbox
from ..soap import EwsError
from ..world import World


def keeps(mailbox: Mailbox) -> bool:
    """Whether nothing leaves this mailbox for good."""
    return bool(mailbox.hold) or mailbox.single_item_recovery


def dumpster(world: World, folder: Folder, which: str) -> Folder:
    """The Recoverable Items folder of this kind (deletions, versions …) for what lies in a folder."""
    mailbox = world.mailboxes[folder.mailbox]
    prefix = "archive" if folder.part == "archive" else ""
    return world.folders[mailbox.distinguished[f"{prefix}recoverableitems{which}"]]


def in_dumpster(world: World, folder: Folder) -> bool:
    """Whether a folder lies in Recoverable Items."""
    above = world.folders.get(folder.parent)
    return above is not None and above.distinguished.endswith("recoverableitemsroot")


def remove(world: World, item: Item, how: str) -> None:
    """Remove an item as a DeleteType says; EwsError where it cannot be."""
    folder = world.folders[item.folder]
    mailbox = world.mailboxes[item.mailbox]
    if mailbox.kind == "public":
        if how == "MoveToDeletedItems":
            raise EwsError("ErrorCannotDeleteObject", "Public folders have no Deleted Items.")
        world.drop_item(item)
        return
    if how == "MoveToDeletedItems":
        name = "archivedeleteditems" if folder.part == "archive" else "deleteditems"
        world.move_item(item, world.folders[mailbox.distinguished[name]])
        return
    if how == "SoftDelete" and not in_dumpster(world, folder):
        _fits(world, folder, mailbox)
        world.move_item(item, dumpster(world, folder, "deletions"))
    elif not keeps(mailbox):
        world.drop_item(item)
    else:
        _keep(world, item, folder, mailbox)


def _keep(world: World, item: Item, folder: Folder, mailbox: Mailbox) -> None:
    target = dumpster(world, folder, "discoveryholds" if mailbox.hold == "inplace" else "purges")
    immutable = ("purges", "discoveryholds", "versions")
    if in_dumpster(world, folder) and folder.distinguished.endswith(immutable):
        raise EwsError("ErrorCannotDeleteObject", "The item is on hold and cannot be deleted.")
    if not in_dumpster(world, folder):
        _fits(world, folder, mailbox)
    world.move_item(item, target)


def _fits(world: World, folder: Folder, mailbox: Mailbox) -> None:
    if not mailbox.quota_on_delete:
        return
    root = world.folders[dumpster(world, folder, "deletions").parent]
    held = sum(len(below.items) for below in world.below(root))
    if held >= mailbox.quota_on_delete:
        values = {
            "InnerErrorMessageText": "The quota of Recoverable Items is exceeded.",
            "InnerErrorResponseCode": "ErrorQuotaExceededOnDelete",
            "InnerErrorDescriptiveLinkKey": "0",
        }
        text = "An internal server error occurred. The operation failed."
        raise EwsError("ErrorInternalServerError", text, values)


def keep_version(world: World, before: Item) -> None:
    """Keep an item's former state in Versions, where the mailbox keeps all."""
    folder = world.folders[before.folder]
    if keeps(world.mailboxes[before.mailbox]) and not in_dumpster(world, folder):
        world.copy_item(before, dumpster(world, folder, "versions"))
