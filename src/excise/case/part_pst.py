"""Writing the ``messages.pst`` of a part: items as Outlook shows them, in their folders, lossless by itself.

An item of MAPI properties is stored property for property; one of MIME is the item that the MIME stands for, with the
MIME itself in named properties (``pst_mapi.content``). What cannot be stored so is a bare message around its MIME, and
says why: the evidence never lacks a message because of how its source stored it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, BinaryIO

import excise.pst
from excise.core.errors import ExciseError
from excise.mapi.from_mime import from_mime
from excise.model.item import Fetched
from excise.pst import NewFolder, NewMessage
from excise.pst.disk.maps import REGION
from excise.pst_mapi.content import ORIGINAL, REBUILT, content_properties
from excise.pst_mapi.new_message import bare_message, new_message, with_prefix_length, with_read_mark

#: What a message adds when the file is closed: its row in the folder's table, its places in the trees.
_AT_THE_END = 2048
#: What a message takes beside its values, and a file beside its messages: tables and trees, most of them empty.
_ITEM, _EMPTY = 16 << 10, 32 << 10
_LONGEST_NAME = 255
_MOST_TWINS = 1000
#: Outlook shows what lies in no folder to nobody who does not look for it.
_NO_FOLDER = "Messages"
#: A table of a folder holds some hundred thousand messages; what a part holds stays well below.
_MOST_ITEMS = 100_000


class PartFull(Exception):
    """The file can hold no more; the item belongs into another part."""


class PstPart:
    """The PST file of a part while it is written to ``stream``, which must be readable."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Begin the file; ``name`` is what Outlook shows for it."""
        shown = name.replace("\0", "").encode("utf-16-le", "replace").decode("utf-16-le", "replace")
        self._pst = excise.pst.create(stream, display_name=shown or "Evidence")
        self._folders: dict[str, tuple[NewFolder, tuple[str, ...]]] = {}
        self._sources: dict[tuple[str, ...], str] = {}
        self._count = 0

    def size_with(self, item: Fetched) -> int:
        """Bytes that the file may have with ``item`` when it is closed, more rather than less.

        The item's text takes twice as much in UTF-16, beside its own bytes. A file grows by whole regions.
        """
        used = self._pst.size + 3 * len(item.content) + _ITEM + (self._count + 1) * _AT_THE_END + _EMPTY
        return used + -used % REGION + REGION

    def add(self, item: Fetched, *, alone: bool, under: str = "") -> dict[str, Any]:
        """Write one item; what its line says of it. ``alone``: no other file of the part holds its content.

        ``under``: a folder of that name holds all folders of its mailbox; empty where the file is of one mailbox.

        PartFull, and nothing of it is written, where the file has no room for it and is not empty; ExciseError where an
        empty file has none.
        """
        if self._count >= _MOST_ITEMS:
            raise PartFull
        folder, path = self._folder(item.folder, under)
        form, held, why = "mapi" if item.item is not None else "mime", True, None
        key = ORIGINAL if item.item is None and item.properties is None else REBUILT
        try:
            if item.item is None:
                # A source that tells nothing of it has nobody's reading to show.
                mail = with_read_mark(from_mime(item.content), read="seen" in item.flags)
                mail = with_prefix_length(mail)
                message = new_message(mail, content_properties(item.content, key))
            else:
                held = alone
                message = new_message(item.item, content_properties(item.content, key) if alone else ())
            nid = self._write(folder, message, item)
        except (ValueError, OverflowError) as error:
            if isinstance(error, OverflowError) and self._count:
                raise PartFull from error
            form, held, why = "bare", True, str(error)
            nid = self._write_bare(folder, item, key)
        self._count += 1
        place: dict[str, Any] = {"nid": nid, "folder": path, "form": form, "content": key if held else None}
        return place | ({"why": why} if why else {})

    def _write(self, folder: NewFolder, message: NewMessage, item: Fetched) -> int:
        return folder.add_associated(message) if item.attributes.get("associated") is True else folder.add(message)

    def _write_bare(self, folder: NewFolder, item: Fetched, key: str) -> int:
        subject = (item.item or from_mime(item.content)).subject
        try:
            content = content_properties(item.content, key)
            return self._write(folder, bare_message(subject, content, read="seen" in item.flags), item)
        except (ValueError, OverflowError) as error:
            if self._count:
                raise PartFull from error
            raise ExciseError(
                f"item {item.id}: a PST file cannot hold it: {error}", hint="Use --evidence mbox or --evidence eml."
            ) from error

    def _folder(self, path: str, under: str) -> tuple[NewFolder, tuple[str, ...]]:
        """The folder for ``path`` as the source names it, and where it stands in the file.

        Outlook refuses some names; they get the nearest that it takes. ``items.jsonl`` has the source's own.
        """
        if under:
            path = f"{under.replace('/', '%2F')}/{path or _NO_FOLDER}"
        if path not in self._folders:
            names: tuple[str, ...] = ()
            parts = path.split("/") if path else [_NO_FOLDER]
            for depth, name in enumerate(parts, 1):
                source = "/".join(parts[:depth]) if path else ""
                names = self._below(names, name.replace("%2F", "/"), source)
            self._folders[path] = (self._pst.folder(names), names)
        return self._folders[path]

    def _below(self, above: tuple[str, ...], name: str, source: str) -> tuple[str, ...]:
        # Readers take what looks like a byte order mark at the start for one, and leave it out.
        plain = name.replace("\0", "").lstrip("\ufeff\ufffe").encode("utf-16-le", "replace")[: 2 * (_LONGEST_NAME - 8)]
        base = plain.decode("utf-16-le", "ignore") or "(no name)"
        for number in range(1, _MOST_TWINS):
            names = (*above, base if number == 1 else f"{base} ({number})")
            # A name that differs from another in case alone is refused.
            with suppress(ValueError):
                if self._sources.setdefault(names, source) == source:
                    self._pst.folder(names)
                    return names
        raise ExciseError(
            f"{'/'.join(above)}: {_MOST_TWINS} folders in it have names that Outlook cannot tell apart",
            hint="Use --evidence mbox or --evidence eml.",
        )

    def close(self) -> None:
        """Complete the file. The stream stays open and is not flushed to disk."""
        self._pst.close()
