"""The folders that a mailbox of Exchange is born with, and how they are called in other languages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Born:
    """A folder of a new mailbox: its distinguished id ("" for none), name, class and parent's key.

    `finds` makes it a search folder, which shows what lies elsewhere: all, flagged or contacts.
    """

    key: str
    name: str
    folder_class: str
    parent: str
    distinguished: str = ""
    finds: str = ""


def _b(key: str, name: str, folder_class: str, parent: str, *, known: bool = True, finds: str = "") -> Born:
    return Born(key, name, folder_class, parent, key if known else "", finds)


PRIMARY = (
    _b("root", "Root Container", "", ""),
    _b("commonviews", "Common Views", "", "root", known=False),
    _b("deferredaction", "Deferred Action", "", "root", known=False),
    _b("searchfolders", "Finder", "", "root"),
    _b("allitems", "AllItems", "IPF.Note", "root", known=False, finds="all"),
    _b("todosearch", "To-Do Search", "Outlook.Reminder", "root", finds="flagged"),
    _b("mycontacts", "MyContacts", "IPF.Note", "root", finds="contacts"),
    _b("directory", "Directory", "IPF.Contact", "root"),
    _b("recoverableitemsroot", "Recoverable Items", "IPF.Note", "root"),
    _b("audits", "Audits", "IPF.Note", "recoverableitemsroot", known=False),
    _b("calendarlogging", "Calendar Logging", "IPF.Note", "recoverableitemsroot", known=False),
    _b("recoverableitemsdeletions", "Deletions", "IPF.Note", "recoverableitemsroot"),
    _b("recoverableitemsversions", "Versions", "IPF.Note", "recoverableitemsroot"),
    _b("recoverableitemspurges", "Purges", "IPF.Note", "recoverableitemsroot"),
    _b("recoverableitemsdiscoveryholds", "DiscoveryHolds", "IPF.Note", "recoverableitemsroot"),
    _b("msgfolderroot", "Top of Information Store", "IPF.Note", "root"),
    _b("inbox", "Inbox", "IPF.Note", "msgfolderroot"),
    _b("outbox", "Outbox", "IPF.Note", "msgfolderroot"),
    _b("deleteditems", "Deleted Items", "IPF.Note", "msgfolderroot"),
    _b("sentitems", "Sent Items", "IPF.Note", "msgfolderroot"),
    _b("drafts", "Drafts", "IPF.Note", "msgfolderroot"),
    _b("junkemail", "Junk Email", "IPF.Note", "msgfolderroot"),
    _b("conversationhistory", "Conversation History", "IPF.Note", "msgfolderroot"),
    _b("calendar", "Calendar", "IPF.Appointment", "msgfolderroot"),
    _b("contacts", "Contacts", "IPF.Contact", "msgfolderroot"),
    _b("recipientcache", "Recipient Cache", "IPF.Contact.RecipientCache", "contacts"),
    _b("quickcontacts", "{06967759-274D-40B2-A3EB-D7F9E73727D7}", "IPF.Contact.MOC.QuickContacts", "contacts"),
    _b("tasks", "Tasks", "IPF.Task", "msgfolderroot"),
    _b("notes", "Notes", "IPF.StickyNote", "msgfolderroot"),
    _b("journal", "Journal", "IPF.Journal", "msgfolderroot"),
    _b("syncissues", "Sync Issues", "IPF.Note", "msgfolderroot"),
    _b("conflicts", "Conflicts", "IPF.Note", "syncissues"),
    _b("localfailures", "Local Failures", "IPF.Note", "syncissues"),
    _b("serverfailures", "Server Failures", "IPF.Note", "syncissues"),
)

ARCHIVE = (
    _b("archiveroot", "Root Container", "", ""),
    _b("archiverecoverableitemsroot", "Recoverable Items", "IPF.Note", "archiveroot"),
    _b("archiverecoverableitemsdeletions", "Deletions", "IPF.Note", "archiverecoverableitemsroot"),
    _b("archiverecoverableitemsversions", "Versions", "IPF.Note", "archiverecoverableitemsroot"),
    _b("archiverecoverableitemspurges", "Purges", "IPF.Note", "archiverecoverableitemsroot"),
    _b("archiverecoverableitemsdiscoveryholds", "DiscoveryHolds", "IPF.Note", "archiverecoverableitemsroot"),
    _b("archivemsgfolderroot", "Top of Information Store", "IPF.Note", "archiveroot"),
    _b("archiveinbox", "Inbox", "IPF.Note", "archivemsgfolderroot"),
    _b("archivedeleteditems", "Deleted Items", "IPF.Note", "archivemsgfolderroot"),
)

PUBLIC = (_b("publicfoldersroot", "IPM_SUBTREE", "", ""),)

# Clients that look for names find nothing in a mailbox of another language.
NAMES = {
    "de": {
        "msgfolderroot": "Oberste Ebene des Informationsspeichers",
        "inbox": "Posteingang",
        "outbox": "Postausgang",
        "deleteditems": "Gelöschte Elemente",
        "sentitems": "Gesendete Elemente",
        "drafts": "Entwürfe",
        "junkemail": "Junk-E-Mail",
        "calendar": "Kalender",
        "contacts": "Kontakte",
        "tasks": "Aufgaben",
        "notes": "Notizen",
        "syncissues": "Synchronisierungsprobleme",
        "conversationhistory": "Aufgezeichnete Unterhaltungen",
    },
}

# The part of a mailbox that a distinguished id lies in.
PARTS = {"primary": PRIMARY, "archive": ARCHIVE, "public": PUBLIC}
