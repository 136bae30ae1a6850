"""Reading an answer as it comes, its large contents straight to disk.

What stands in base64 in an answer (the MIME of an item, an export stream) may have hundreds of megabytes. It is decoded
piece by piece into a ``Spool``, and its element in the tree is empty and bears a mark instead. Everything else becomes
the tree that it would have been. No entity is expanded, and a document type is refused (S27).
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from itertools import chain
from typing import Any

from lxml import etree

from excise.core.bulk import SMALL, Spool

#: The attribute that marks an element whose content lies beside the tree; a server's own of that name is dropped.
BULK = "{urn:excise}bulk"
#: Elements with base64, in Exchange's namespaces.
_BULKY = frozenset({"MimeContent", "Data"})
_EXCHANGE = "{http://schemas.microsoft.com/exchange/services/2006/"
_WHITE = str.maketrans("", "", " \t\r\n")
_END = b"Envelope>"
_NONE = "is not in base64"
_TAIL = 200


class NotXml(Exception):
    """What was read is no whole XML document, or has a document type; the text says which."""


class Base64:
    """Base64 that comes in pieces. ``flaw``: why it is none; empty where it is."""

    def __init__(self, text: str = "") -> None:
        """Begin with ``text``."""
        self.flaw = ""
        self._spool = Spool()
        self._held: list[str] = []
        self._size = 0
        self._rest = ""
        self._ended = False
        self._content: bytes | None = None
        self.add(text)

    def add(self, text: str) -> None:
        """More of it."""
        self._held.append(text)
        self._size += len(text)
        if self._size > 1 << 18:
            self._decode()

    def content(self) -> bytes:
        """The bytes; as many as there were before the flaw."""
        if self._content is None:
            self._decode()
            if self._rest:
                self.flaw = _NONE
            self._content = self._spool.content()
        return self._content

    def _decode(self) -> None:
        text = (self._rest + "".join(self._held)).translate(_WHITE)
        self._held, self._size = [], 0
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        if not whole:
            return
        # Python's strict mode passes over a third "=".
        if self.flaw or self._ended or text[:whole].endswith("==="):
            self.flaw = _NONE
            return
        try:
            self._spool.write(binascii.a2b_base64(text[:whole], strict_mode=True))
        except (binascii.Error, ValueError):
            self.flaw = _NONE
        self._ended = text[:whole].endswith("=")


def read_document(data: Iterable[bytes]) -> tuple[Any, dict[str, Base64]]:
    """The root element of the document in the pieces ``data``, and its large contents by their marks.

    A NotXml where it is none, or does not end as an envelope does.
    """
    pieces = iter(data)
    first: list[bytes] = []
    size = 0
    for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size > SMALL:
            return _read_large(chain(first, pieces))
    return _read_small(b"".join(first)), {}


def _read_small(data: bytes) -> Any:
    """In one go, which is faster."""
    if not data.rstrip().endswith(_END):
        raise NotXml(f"is cut off after {len(data):,} bytes")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NotXml(f"is not XML: {error}") from error
    if root.getroottree().docinfo.doctype:
        raise NotXml("has a document type")
    return root


def _read_large(data: Iterable[bytes]) -> tuple[Any, dict[str, Base64]]:
    bulk: dict[str, Base64] = {}
    target = _Target(bulk)
    parser = etree.XMLParser(target=target, resolve_entities=False, no_network=True, huge_tree=True, load_dtd=False)
    last, size = b"", 0
    try:
        for piece in data:
            size += len(piece)
            last = (last + piece)[-_TAIL:]
            parser.feed(piece)
        if not last.rstrip().endswith(_END):
            raise NotXml(f"is cut off after {size:,} bytes")
        root = parser.close()
    except (etree.XMLSyntaxError, ValueError) as error:
        if target.has_type:
            raise NotXml("has a document type") from error
        raise NotXml(f"is not XML: {error}") from error
    if target.has_type:
        raise NotXml("has a document type")
    return root, bulk


class _Target:
    """Builds the tree; see the module."""

    def __init__(self, bulk: dict[str, Base64]) -> None:
        self._bulk = bulk
        self._builder = etree.TreeBuilder()
        self._open: Base64 | None = None
        self.has_type = False

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """A document type is refused."""
        del name, public, system
        self.has_type = True
        raise ValueError

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        given = {name: value for name, value in attributes.items() if name != BULK}
        self._open = None
        namespace, _, name = tag.rpartition("}")
        if name in _BULKY and namespace.startswith(_EXCHANGE):
            mark = str(len(self._bulk))
            given[BULK] = mark
            self._open = self._bulk[mark] = Base64()
        self._builder.start(tag, given)

    def data(self, text: str) -> None:
        """Text."""
        if self._open is not None:
            self._open.add(text)
        else:
            self._builder.data(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._open = None
        self._builder.end(tag)

    def close(self) -> Any:
        """The root element."""
        return self._builder.close()
