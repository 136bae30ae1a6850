"""MAPI to MIME: an item rebuilt as an RFC 5322 message ([MS-OXCMAIL] 2.1).

Invariants: the header fields that the message arrived with stay in their order and are marked ``original``; every
other one is marked ``synthesised``, in the result and in the message itself. What cannot be reached is left out and
noted, never replaced. The same item gives the same bytes. No Message-ID is made up. An item that bears the MIME that it
was made of, and is unchanged since, is not rebuilt: it gives that MIME, byte for byte, and every field is ``original``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from excise.core.text import normalise, shown
from excise.mapi.body import Bodies, read_bodies
from excise.mapi.from_mime import original_of
from excise.mapi.icalendar import calendar_part
from excise.mapi.item import MAX_EMBEDDING, AttachMethod, MapiAttachment, MapiItem
from excise.mapi.mime_entity import Entity, crlf, file_entity, media_type, message_entity, multipart, text_entity
from excise.mapi.mime_fields import Field, decoded, fold, is_internet, original, parse_block, unstructured
from excise.mapi.mime_headers_to_mapi import MAX_SUBJECT
from excise.mapi.smime import opaque_entity
from excise.mapi.synthesis import synthesised_fields
from excise.mapi.tags import PidTagAttachContentLocation, PidTagAttachLongPathname, PidTagAttachPathname
from excise.mapi.vcard import contact_part

Origin = Literal["original", "synthesised"]
#: Fields of Excise's own in a rebuilt message; they are never taken over from a source.
MARK_ORIGINAL = "X-Excise-Original-Headers"
MARK_SYNTHESISED = "X-Excise-Synthesised-Headers"
MARK_NOTE = "X-Excise-Note"
_NOTES_IN_MESSAGE = 50
_WORD = re.compile(r"\bcid:([^\"'\s>)]{1,500})", re.IGNORECASE)


@dataclass(frozen=True)
class RebuiltMime:
    """A message of an item: its bytes, each header field's name and origin in their order, and what was left out.

    ``is_original``: the bytes are those that the item was made of; nothing in them is rebuilt.
    """

    data: bytes
    headers: list[tuple[str, Origin]]
    notes: list[str]
    is_original: bool = False


def to_mime(item: MapiItem) -> RebuiltMime:
    """``item`` as an RFC 5322 message: the one that it was made of, or one rebuilt with CRLF line ends."""
    return _message(item, 0)


def _message(item: MapiItem, depth: int) -> RebuiltMime:
    kept = original_of(item)
    if kept is None:
        return _rebuild(item, depth)
    fields, _ = parse_block(kept.item.transport_headers)
    # What does not fit into properties is in the original all the same.
    notes = [note for note in item.notes if note not in kept.item.notes]
    return RebuiltMime(kept.data, [(one.name, "original") for one in fields], notes, is_original=True)


def _rebuild(item: MapiItem, depth: int) -> RebuiltMime:
    notes = [*item.notes, *_problems(item)]
    originals = _original_fields(item, notes)
    made = synthesised_fields(item, {f.name.lower() for f in originals})
    for address in made.addresses:
        if not is_internet(address):
            notes.append(f"{shown(address.name or address.stored, 80)!r} has no Internet address in the item")
    entity = _Content(item, depth, notes).entity()
    notes[:] = list(dict.fromkeys(notes))
    structure = [Field("MIME-Version", "1.0"), *entity.fields]
    synthesised = [*made.fields, *_note_fields(notes), *structure]
    marks = _marks(originals, synthesised)
    fields = [*originals, *made.fields, *_note_fields(notes), *marks, *structure]
    data = b"".join(f.line() for f in fields) + b"\r\n" + entity.body
    headers: list[tuple[str, Origin]] = [(f.name, "original") for f in originals]
    headers += [(f.name, "synthesised") for f in fields[len(originals) :]]
    return RebuiltMime(data, headers, notes)


def _problems(item: MapiItem) -> list[str]:
    found = item.properties.problems()
    for number, row in enumerate(item.recipients, 1):
        found += [f"recipient {number}: {problem}" for problem in row.problems()]
    for number, attachment in enumerate(item.attachments, 1):
        found += [f"attachment {number}: {problem}" for problem in attachment.properties.problems()]
    return found


def _original_fields(item: MapiItem, notes: list[str]) -> list[Field]:
    fields, found = parse_block(item.transport_headers)
    notes += found
    kept: list[Field] = []
    for one in fields:
        lower = one.name.lower()
        if lower.startswith("content-") or lower == "mime-version":
            continue
        if lower.startswith("x-excise-"):
            notes.append(f"the header field {one.name} of the source is left out: its name is reserved")
            continue
        fit, recoded = original(one)
        if recoded:
            notes.append(f"the header field {one.name} held characters that cannot stand in a header; it is recoded")
        kept.append(fit)
    _compare_subject(item, kept, notes)
    return kept


def _compare_subject(item: MapiItem, fields: list[Field], notes: list[str]) -> None:
    for one in fields:
        if one.name.lower() == "subject":
            stated, own = normalise(decoded(one.value)), normalise(item.subject)
            cut = len(item.subject.encode("utf-16-le", "replace")) >= 2 * MAX_SUBJECT - 2 and stated.startswith(own)
            if own and stated != own and not cut:
                notes.append(f"the item's subject {shown(item.subject, 100)!r} is not that of its transport headers")
            return


def _note_fields(notes: list[str]) -> list[Field]:
    fields = [unstructured(MARK_NOTE, shown(note, 500)) for note in notes[:_NOTES_IN_MESSAGE]]
    if len(notes) > _NOTES_IN_MESSAGE:
        fields.append(unstructured(MARK_NOTE, f"and {len(notes) - _NOTES_IN_MESSAGE} more"))
    return fields


def _marks(originals: list[Field], synthesised: list[Field]) -> list[Field]:
    made = [*(f.name for f in synthesised), MARK_ORIGINAL, MARK_SYNTHESISED]
    return [_name_list(MARK_ORIGINAL, (f.name for f in originals)), _name_list(MARK_SYNTHESISED, made)]


def _name_list(name: str, names: Iterable[str]) -> Field:
    unique = list({n.lower(): n for n in names}.values())
    words = [f"{n}," for n in unique[:-1]] + unique[-1:]
    return Field(name, fold(words, len(name) + 2) or "none")


@dataclass
class _Content:
    """The content of one message; ``notes`` collects what is left out."""

    item: MapiItem
    depth: int
    notes: list[str]
    used: set[int] = field(default_factory=set)

    def entity(self) -> Entity:
        opaque = opaque_entity(self.item)
        if opaque is not None:
            return opaque
        if ".SMIME" in self.item.message_class.upper():
            self.notes.append(
                "the class says S/MIME, but the signed or encrypted entity is not there as one attachment"
            )
        bodies = read_bodies(self.item)
        self.notes += bodies.notes
        children = [self._body(bodies)]
        contact = contact_part(self.item)
        if contact is not None:
            children.append(contact)
        for index in range(len(self.item.attachments)):
            if index not in self.used:
                children += self._attachment(index)
        return multipart("mixed", children)

    def _body(self, bodies: Bodies) -> Entity:
        views: list[Entity] = []
        if bodies.text is not None:
            views.append(text_entity("plain", crlf(bodies.text), "utf-8"))
        if bodies.html is not None:
            views.append(self._html(bodies.html, bodies))
        if bodies.rtf is not None:
            views.append(text_entity("rtf", bodies.rtf, None))
        calendar, notes = calendar_part(self.item, bodies.text or "")
        self.notes += notes
        if calendar is not None:
            views.append(calendar)
        return multipart("alternative", views) if views else text_entity("plain", b"", "utf-8")

    def _html(self, html: bytes, bodies: Bodies) -> Entity:
        page = text_entity("html", html, bodies.charset)
        named = {match.strip("<>").lower() for match in _WORD.findall(bodies.html_text() or "")}
        children = [page]
        for index, attachment in enumerate(self.item.attachments):
            referenced = attachment.content_id.lower() in named if attachment.content_id else False
            if attachment.data is not None and (attachment.inline or referenced) and attachment.method == 1:
                self.used.add(index)
                children.append(self._file(attachment, attachment.data, inline=True))
        return multipart("related", children, ';\r\n type="text/html"')

    def _attachment(self, index: int) -> list[Entity]:
        attachment = self.item.attachments[index]
        name = attachment.name
        label = f"attachment {index + 1} ({shown(name, 100) or 'without a name'})"
        if attachment.embedded is not None:
            if self.depth >= MAX_EMBEDDING:
                self.notes.append(f"{label} is left out: messages are nested deeper than {MAX_EMBEDDING}")
                return []
            inner = _message(attachment.embedded, self.depth + 1)
            self.notes += [f"in {label}: {note}" for note in inner.notes]
            return [message_entity(inner.data, name, as_found=inner.is_original)]
        if attachment.data is None:
            self.notes.append(f"{label} is left out: {attachment.reason}{_path(attachment)}")
            return []
        if attachment.method == AttachMethod.Storage:
            self.notes.append(f"{label} is an OLE object; its bytes are kept as they are stored")
        return [self._file(attachment, attachment.data, inline=False)]

    def _file(self, attachment: MapiAttachment, data: bytes, inline: bool) -> Entity:
        extra = [unstructured("Content-ID", f"<{attachment.content_id}>")] if attachment.content_id else []
        location = attachment.properties.text(PidTagAttachContentLocation)
        if location:
            extra.append(unstructured("Content-Location", location))
        kind = media_type(attachment.mime_type) or "application/octet-stream"
        if attachment.mime_type.startswith("message/rfc822"):
            # The bytes of an attached file need not be a message; as a file they come back unchanged.
            kind = "application/octet-stream"
        return file_entity(data, kind, attachment.name, extra, inline)


def _path(attachment: MapiAttachment) -> str:
    bag = attachment.properties
    path = bag.text(PidTagAttachLongPathname) or bag.text(PidTagAttachPathname)
    return f" ({shown(path, 200)})" if path else ""
