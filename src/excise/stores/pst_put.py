"""Mail put into a PST file: the item that is made of it, and the folder that it goes to.

A deposit that is known property for property becomes just that (``pst_whole``). Of any other the item is what Outlook
shows of the mail; it bears the bytes themselves, so that a copy gives them back as long as nobody changes the item.
What a file would draw by chance or take from the clock (search key, creation time) is taken from the mail, so that the
same mail is the same item each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from excise import pst
from excise.core.text import shown
from excise.mapi import tags as t
from excise.mapi.content_digest import content_digest
from excise.mapi.from_mime import PidNameOriginalContent, from_mime
from excise.mapi.item import MapiItem
from excise.mapi.properties import PropertyBag, Scalar, Value
from excise.mapi.tags import MULTIPLE, NamedProperty, PropertyTag, PropertyType
from excise.model.item import Deposit, Outcome, Placed
from excise.pst_mapi.content import ORIGINAL, content_properties
from excise.pst_mapi.new_message import new_message
from excise.stores.pst_record import FLAGGED, READ, UNSENT, PidTagFlagStatus, PidTagLastVerbExecuted
from excise.stores.pst_tree import PstTree
from excise.stores.pst_version import version_of_kept_item
from excise.stores.pst_whole import version_in_any_file, whole_item

PidTagFollowupIcon = PropertyTag(0x1095, 0x0003)
PidTagLastModificationTime = PropertyTag(0x3008, 0x0040)
_RED_FLAG = 6
_REPLIED, _FORWARDED = 102, 104
#: Flags that are no keywords. A PST has nothing for "deleted".
_FLAGS = frozenset({"seen", "answered", "flagged", "draft", "deleted", "forwarded"})
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
#: How deep folders may lie; readers follow some 250.
_MAX_DEPTH = 100


def item_of(deposit: Deposit) -> MapiItem:
    """The item that ``deposit`` becomes, with everything that its version is made of."""
    if deposit.item is not None:
        return whole_item(deposit.item)
    item = from_mime(deposit.content)
    bag = item.properties
    delivered = deposit.delivered or item.delivered
    made = delivered or item.submitted or _NO_TIME
    values: dict[PropertyTag, Value] = {
        t.PidTagCreationTime: made,
        PidTagLastModificationTime: made,
        t.PidTagSearchKey: sha256(deposit.content).digest()[:16],
        t.PidTagMessageFlags: _message_flags(bag.integer(t.PidTagMessageFlags) or 0, deposit.flags),
    }
    if delivered is not None:
        values[t.PidTagMessageDeliveryTime] = delivered
    if "flagged" in deposit.flags:
        values |= {PidTagFlagStatus: FLAGGED, PidTagFollowupIcon: _RED_FLAG}
    if deposit.flags & {"answered", "forwarded"}:
        values[PidTagLastVerbExecuted] = _REPLIED if "answered" in deposit.flags else _FORWARDED
    replaced = {tag.id for tag in values}
    kept = (entry for entry in bag if entry.tag.id not in replaced)
    dated = replace(item, properties=PropertyBag([*kept, *PropertyBag.of(values)]))
    named = PropertyBag.of({}, _named(dated, deposit))
    return replace(item, properties=PropertyBag([*dated.properties, *named]))


def version_of(deposit: Deposit) -> str:
    """The version of the item that ``deposit`` becomes."""
    if deposit.item is not None:
        return version_in_any_file(deposit.item)
    return version_of_kept_item(item_of(deposit))


def put(path: Path, tree: PstTree, deposits: Sequence[Deposit]) -> list[Placed]:
    """Put ``deposits`` into the file at ``path``, of which ``tree`` tells the folders: all that can be, or none.

    Errors as of ``excise.pst.append``; the file is then as it was. What cannot be stored is FAILED, and the others are
    put.
    """
    known = _known_folders(tree)
    with pst.append(path) as file:
        return [_placed(file, known, deposit) for deposit in deposits]


def _placed(file: pst.PstAppender, known: Mapping[str, int], deposit: Deposit) -> Placed:
    try:
        below, names = _place(known, deposit.folder)
        folder = file.folder(names, below=below)
        message = new_message(item_of(deposit))
        add = folder.add_associated if deposit.attributes.get("associated") is True else folder.add
        return Placed(Outcome.RESTORED, f"{add(message):#x}")
    except (ValueError, OverflowError) as error:
        return Placed(Outcome.FAILED, detail=shown(f"it cannot be put into {deposit.folder[:80]!r}: {error}", 300))


def _known_folders(tree: PstTree) -> dict[str, int]:
    """The folders of the file by their paths; of two with one path the first."""
    known: dict[str, int] = {}
    for found in tree:
        if found.folder is not None:
            known.setdefault(found.path, found.folder.nid)
    return known


def _place(known: Mapping[str, int], path: str) -> tuple[int | None, tuple[str, ...]]:
    """The folder of the file that ``path`` goes through last (None: the top of the mailbox), and the names below it."""
    parts = path.split("/") if path else []
    if len(parts) > _MAX_DEPTH:
        raise ValueError(f"a folder {len(parts)} deep; {_MAX_DEPTH} are possible")
    for end in range(len(parts), -1, -1):
        nid = known.get("/".join(parts[:end]))
        if nid is not None:
            return nid, tuple(name.replace("%2F", "/") for name in parts[end:])
    return None, tuple(name.replace("%2F", "/") for name in parts)


def _message_flags(stored: int, flags: frozenset[str]) -> int:
    stored &= ~(READ | UNSENT)
    return stored | (READ if "seen" in flags else 0) | (UNSENT if "draft" in flags else 0)


def _named(item: MapiItem, deposit: Deposit) -> dict[tuple[NamedProperty, int], Value]:
    """The mail itself, the digest of what is made of it now, and keywords as categories."""
    named = dict(_content(deposit.content))
    named[PidNameOriginalContent, PropertyType.String] = content_digest(item)
    words: list[Scalar] = [word for word in sorted(deposit.flags - _FLAGS) if _is_text(word)]
    if words:
        named[t.PidNameKeywords, PropertyType.String | MULTIPLE] = words
    return named


def _content(content: bytes) -> Iterator[tuple[tuple[NamedProperty, int], Value]]:
    for each in content_properties(content, ORIGINAL):
        if each.name is not None and isinstance(each.data, bytes):
            value = each.data if each.prop_type == PropertyType.Binary else each.data.decode("utf-16-le")
            yield (NamedProperty(each.name.guid, name=str(each.name.key)), each.prop_type), value


def _is_text(word: str) -> bool:
    with suppress(ValueError):
        return bool(word.encode("utf-16-le")) and "\0" not in word
    return False
