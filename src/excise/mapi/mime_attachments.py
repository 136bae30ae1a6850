"""Attachments for an item made of MIME, with the properties that Outlook wants (PST-FACTS 5.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from excise.mapi import tags as t
from excise.mapi.item import AttachMethod, MapiAttachment, MapiItem
from excise.mapi.mime_fields import clean
from excise.mapi.mime_headers_to_mapi import Values
from excise.mapi.properties import PropertyBag

_RENDERED_IN_BODY = 4
_CID = re.compile(r"\bcid:([^\"'\s>)]{1,500})", re.IGNORECASE)
_NOT_SHORT = re.compile(r"[^A-Z0-9!#$%&'()@^_`{}~-]")


@dataclass(frozen=True)
class Draft:
    """An attachment whose inline mark and short name are not yet known.

    ``name``: "" for none; ``hideable``: an inline mark is not ruled out by its Content-Disposition.
    """

    name: str
    values: Values
    data: bytes | None = None
    embedded: MapiItem | None = None
    content_id: str = ""
    hideable: bool = False


def draft_file(
    data: bytes, kind: str, name: str = "", content_id: str = "", location: str = "", hideable: bool = False
) -> Draft:
    """``data`` as an attachment by value."""
    name = clean(name)
    values: Values = {
        t.PidTagAttachMethod: AttachMethod.ByValue,
        t.PidTagAttachMimeTag: clean(kind),
        t.PidTagDisplayName: name or None,
        t.PidTagAttachContentId: clean(content_id) or None,
        t.PidTagAttachContentLocation: clean(location) or None,
    }
    return Draft(name, values, data, content_id=clean(content_id), hideable=hideable)


def draft_message(inner: MapiItem, name: str = "") -> Draft:
    """``inner`` as an embedded message; without a name it is shown by its subject, as Outlook does."""
    name = clean(name)
    values: Values = {
        t.PidTagAttachMethod: AttachMethod.EmbeddedMessage,
        t.PidTagDisplayName: name or inner.subject or None,
    }
    return Draft(name, values, embedded=inner)


def finished(drafts: Iterable[Draft], html: str) -> list[MapiAttachment]:
    """The attachments; those are hidden as parts of the body which ``html`` refers to by their content ids.

    One that is not referred to stays visible whatever its Content-ID: hidden, nobody would find it.
    """
    referred = {form for match in _CID.findall(html) for form in (match.lower(), unquote(match).lower())}
    taken: dict[str, int] = {}
    found: list[MapiAttachment] = []
    for draft in drafts:
        hidden = draft.hideable and draft.content_id.lower() in referred
        dot = draft.name.rfind(".")
        values = draft.values | {
            t.PidTagRenderingPosition: -1,
            t.PidTagAttachLongFilename: draft.name or None,
            t.PidTagAttachFilename: _short_name(draft.name, taken),
            t.PidTagAttachExtension: draft.name[dot:] if dot > 0 else None,
            t.PidTagAttachFlags: _RENDERED_IN_BODY if hidden else 0,
            t.PidTagAttachmentHidden: hidden,
        }
        found.append(MapiAttachment(PropertyBag.of(values), draft.data, draft.embedded))
    return found


def _short_name(name: str, taken: dict[str, int]) -> str | None:
    """A name of 8 and 3 characters as DOS has it, unlike those ``taken``; None where there is no name.

    ``taken`` holds each short name, and for each stem with its ending the last number that was given to it.
    """
    if not name:
        return None
    base = re.split(r"[/\\]", name.upper())[-1]
    stem, dot, end = base.rpartition(".")
    if not stem:
        stem, dot, end = base, "", ""
    stem, extension = _NOT_SHORT.sub("", stem) or "ATT", dot + _NOT_SHORT.sub("", end)[:3]
    short, group = base, f"{stem[:6]}~{extension}"
    number = taken.get(group, 0)
    while short != stem + extension or len(stem) > 8 or short in taken:
        number += 1
        tail = f"~{number}"
        short = stem[: 8 - len(tail)] + tail + extension
        if short not in taken:
            taken[group] = number
            break
    taken[short] = 0
    return short
