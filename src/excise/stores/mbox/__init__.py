"""The mbox store: mailboxes in the formats mboxo, mboxrd, mboxcl and mboxcl2, one file a mailbox."""

from excise.stores.mbox.mailbox import MboxMailbox
from excise.stores.mbox.store import STORE, MboxStore

__all__ = ["STORE", "MboxMailbox", "MboxStore"]
