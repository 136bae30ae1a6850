"""The fingerprint of a PST item (S06), as it has been since the first release, which read with libpff.

A plan keeps fingerprints, so what libpff gave is put back here, and here alone, where the own reader gives more or less
of it (libpff 20231205 and 20260926, ``libpff_table_read_values_array``, ``libpff_internal_item_determine_type``):

- It does not look at a row's Cell Existence Bitmap: an absent cell of a recipient is the value that stands in its
  place, zeros or an empty string.
- It takes an item for a message by its class alone. Other items have no recipients, and where they say that they have
  attachments, one that nothing is known of.
- It lists the attachments that have a row in the attachment table.

What is in the messages inside of an item was not counted then; a digest of them follows behind a tag.

An item that bears the mail that Excise made it of has a fingerprint of its own: of what is the same in every file that
it is put into.
"""

from __future__ import annotations

from collections.abc import Sequence

from excise.core.digests import json_sha256
from excise.mapi.content_digest import content_digest
from excise.mapi.from_mime import PidNameOriginalSha256
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import PidTagAttachDataBinary, PidTagMessageClass
from excise.stores.pst_record import fingerprint

_CLASSES = frozenset(
    {
        b"ipm",
        b"ipm.activity",
        b"ipm.appointment",
        b"ipm.conflict.message",
        b"ipm.contact",
        b"ipm.distlist",
        b"ipm.fax",
        b"ipm.note",
        b"ipm.ole.class.{00061055-0000-0000-c000-000000000046}",
        b"ipm.post",
        b"ipm.post.rss",
        b"ipm.stickynote",
        b"ipm.task",
    }
)
_CLASSES_THAT_BEGIN = (
    b"ipm.configuration",
    b"ipm.document",
    b"ipm.note.",
    b"ipm.schedule.meeting",
    b"ipm.sharing",
    b"ipm.taskrequest",
    b"report.ipm.note",
    b"report.ipm.schedule.meeting",
)
#: Of an attachment what the file decides: its size, where it is shown, and its content, which counts by itself.
OF_THE_FILE = frozenset({0x0E20, 0x370B, PidTagAttachDataBinary.id})
_UNKNOWN = MapiAttachment(PropertyBag(), reason="not known to libpff")
#: What leads, in a fingerprint, to the digest of the messages in the item; fingerprints of before end here.
_EMBEDDED = "+embedded:"


def is_message(bag: PropertyBag) -> bool:
    """True where libpff takes the item with these properties for a message."""
    name = (bag.text(PidTagMessageClass) or "").encode("utf-8", "surrogatepass").lower()
    return name in _CLASSES or name.startswith(_CLASSES_THAT_BEGIN)


def version_of_pst_item(
    item: MapiItem, absent_cells: Sequence[PropertyBag], listed: Sequence[MapiAttachment], declared: bool
) -> str:
    """The fingerprint of ``item``.

    ``absent_cells``: what stands in the absent cells of each recipient; ``listed``: the attachments that have a row;
    ``declared``: whether the item says that it has attachments.
    """
    if not is_message(item.properties):
        return fingerprint(item.properties, (), [_UNKNOWN] if declared else [])
    rows = [(*row, *absent) for row, absent in zip(item.recipients, absent_cells, strict=True)]
    return fingerprint(item.properties, rows, listed)


def bears_original(item: MapiItem) -> bool:
    """True where ``item`` says that it bears the mail that it was made of."""
    return bool(item.properties.text(PidNameOriginalSha256))


def version_of_kept_item(item: MapiItem) -> str:
    """The fingerprint of an item that bears the mail that it was made of."""
    return fingerprint(item.properties, item.recipients, [_anywhere(each) for each in item.attachments])


def with_embedded(version: str, attachments: Sequence[MapiAttachment]) -> str:
    """``version``, which leaves out the messages in an item, with a digest of those among its ``attachments``."""
    mark = _embedded_mark(attachments)
    return f"{version}{_EMBEDDED}{mark}" if mark else version


def is_version(planned: str, found: str) -> bool:
    """True where the item with the fingerprint ``found`` is as it was planned.

    Plans of before have fingerprints that leave out the messages in an item: these are held to what they tell.
    """
    return planned == found or (_EMBEDDED not in planned and found.startswith(planned + _EMBEDDED))


def forms_of(version: str) -> frozenset[str]:
    """``version``, and what a plan of before has for the same item."""
    return frozenset({version, version.partition(_EMBEDDED)[0]})


def _embedded_mark(attachments: Sequence[MapiAttachment]) -> str:
    """A digest of the messages in ``attachments``, at any depth; empty where there are none."""
    inner = [one.embedded for one in attachments]
    marks = [
        None
        if item is None
        else [fingerprint(item.properties, item.recipients, item.attachments), _embedded_mark(item.attachments)]
        for item in inner
    ]
    return json_sha256(marks) if any(marks) else ""


def _anywhere(attachment: MapiAttachment) -> MapiAttachment:
    """What of ``attachment`` is the same in every file; an embedded message counts by what a user sees of it."""
    bag = PropertyBag(entry for entry in attachment.properties if entry.tag.id not in OF_THE_FILE)
    if attachment.embedded is not None:
        return MapiAttachment(bag, data=content_digest(attachment.embedded).encode("ascii"))
    return MapiAttachment(bag, data=attachment.data, reason=attachment.reason)
