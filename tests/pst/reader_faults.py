"""What other readers of PST files do wrong or leave out, each fault a function that makes of all what is told then.

>>> from pst.other_readers import facts, told_by_readpst, told_by_us
>>> facts(with_faults(told_by_us(path), told_by_readpst)) == facts(told_by_readpst(path))  # doctest: +SKIP
"""

from __future__ import annotations

import email
from collections.abc import Callable

from pst.other_readers import (
    Attachment,
    Folder,
    Message,
    Told,
    named_recipients,
    told_by_hiraoka,
    told_by_pst_extractor,
    told_by_readpst,
)

Fault = Callable[[Told], Told]
Reader = Callable[..., Told]

#: The type of the NIDs of search folders, which have no table of the folders in them.
_SEARCH = 0x03


def _each_message(told: Told, change: Callable[[Message], Message | None]) -> Told:
    """``told`` with each message changed, the embedded ones first; None leaves one out."""

    def changed(message: Message) -> Message | None:
        inner = (one._replace(message=one.message and changed(one.message)) for one in message.attachments)
        return change(message._replace(attachments=tuple(inner)))

    folders = (
        folder._replace(messages=tuple(new for one in folder.messages if (new := changed(one)) is not None))
        for folder in told.folders
    )
    return told._replace(folders=tuple(folders))


def _each_attachment(told: Told, change: Callable[[Attachment], Attachment]) -> Told:
    return _each_message(told, lambda one: one._replace(attachments=tuple(map(change, one.attachments))))


# pst-extractor


def ansi_not_opened(told: Told) -> Told:
    """pst-extractor orders the keys of an ANSI file's index pages as strings, and so looks in the wrong page.

    It compares two objects of Long by ">". The first node that it wants, the map of named properties, is not found.
    """
    if told.format != "ANSI":
        return told
    return Told((), ("open: PSTFile::findBtreeItem Unable to find 97 is desc: true",))


def search_folder_throws(told: Told) -> Told:
    """pst-extractor throws where it is asked for the folders in a search folder, which has no hierarchy table."""
    errors = (
        f"{'/'.join(one.path)}: folders: PSTFile::findBtreeItem Unable to find {one.nid + 11} is desc: true"
        for one in told.folders
        if one.nid & 0x1F == _SEARCH
    )
    return told._replace(errors=(*told.errors, *errors))


def embedded_is_null(told: Told) -> Told:
    """pst-extractor wants a node of the file for an embedded message, which has none, and gives null."""
    return _each_attachment(told, lambda one: one._replace(message=None))


# @hiraokahypertools/pst-extractor


def search_folders_left_out(told: Told) -> Told:
    """@hiraokahypertools/pst-extractor lists no search folders."""
    return told._replace(folders=tuple(one for one in told.folders if one.nid & 0x1F != _SEARCH))


def recipients_of_the_outermost(told: Told) -> Told:
    """@hiraokahypertools/pst-extractor gives an embedded message the recipients of the message in the folder."""

    def given(message: Message, recipients: tuple[tuple[int, str, str], ...]) -> Message:
        inner = (one._replace(message=one.message and given(one.message, recipients)) for one in message.attachments)
        return message._replace(recipients=recipients, attachments=tuple(inner))

    folders = (
        one._replace(messages=tuple(given(message, message.recipients) for message in one.messages))
        for one in told.folders
    )
    return told._replace(folders=tuple(folders))


# readpst


def mailbox_alone(told: Told) -> Told:
    """readpst begins at the top of the mailbox; the folders beside it are never shown."""
    top = told.mailbox
    folders = (
        Folder(one.path[len(top) :], one.nid, one.messages) for one in told.folders if one.path[: len(top)] == top
    )
    return told._replace(folders=tuple(folders), mailbox=())


def recipients_of_the_headers(told: Told) -> Told:
    """readpst reads no recipient table: it writes the transport headers and, for a lack of them, the display names."""

    def change(message: Message) -> Message:
        mail = email.message_from_string(message.headers)
        for field, names in (("To", message.display_to), ("Cc", message.display_cc)):
            if field not in mail:
                mail[field] = names
        return message._replace(headers="", display_to="", display_cc="", recipients=named_recipients(mail))

    return _each_message(told, change)


def embedded_is_nameless(told: Told) -> Told:
    """readpst gives an embedded message no file name."""
    return _each_attachment(told, lambda one: one if one.message is None else one._replace(name=""))


def classes_skipped(told: Told) -> Told:
    """readpst skips what is no mail, contact, appointment or journal entry, and says so by a number alone."""
    skipped = ("IPM.Post", "IPM.DistList", "IPM.Microsoft.ScheduleData.FreeBusy")
    return _each_message(told, lambda one: None if one.message_class in skipped else one)


def contact_has_no_subject(told: Told) -> Told:
    """readpst writes contacts as vCards, which have no subject."""
    return _each_message(told, lambda one: one._replace(subject="") if one.message_class == "IPM.Contact" else one)


def appointment_has_no_attachments(told: Told) -> Told:
    """readpst writes appointments as iCalendar, without their attachments: exceptions of a series are lost."""
    return _each_message(
        told, lambda one: one._replace(attachments=()) if one.message_class == "IPM.Appointment" else one
    )


#: The faults of each reader, in the order in which they come about. One that a file gives no cause for changes nothing.
FAULTS: dict[Reader, tuple[Fault, ...]] = {
    told_by_pst_extractor: (embedded_is_null, search_folder_throws, ansi_not_opened),
    told_by_hiraoka: (search_folders_left_out, recipients_of_the_outermost),
    told_by_readpst: (
        mailbox_alone,
        classes_skipped,
        contact_has_no_subject,
        appointment_has_no_attachments,
        embedded_is_nameless,
        recipients_of_the_headers,
    ),
}


def with_faults(told: Told, reader: Reader, *, but: Fault | None = None) -> Told:
    """What ``reader`` is expected to tell of a file of which ``told`` is all; ``but`` is a fault to leave out."""
    for fault in FAULTS[reader]:
        told = told if fault is but else fault(told)
    return told
