"""The text and the links of a message's own bodies, whatever form they are in."""

from __future__ import annotations

from collections.abc import Iterator

from excise.model.contents import Contents
from excise.model.hypertext import Hypertext, plain_links

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_RTF = frozenset({"text/rtf", "text/richtext", "application/rtf"})


def readable_texts(contents: Contents) -> Iterator[str]:
    """Each body as text: HTML without its tags, RTF without its control words."""
    for media_type, text in contents.texts():
        yield Hypertext(text).text if media_type in _HTML else _plain(media_type, text)


def all_links(contents: Contents) -> Iterator[str]:
    """The targets in HTML bodies, and the URLs in the text of all bodies."""
    for media_type, text in contents.texts():
        if media_type in _HTML:
            document = Hypertext(text)
            yield from document.links
            yield from plain_links(document.text)
        else:
            yield from plain_links(_plain(media_type, text))


def _plain(media_type: str, text: str) -> str:
    if media_type not in _RTF:
        return text
    from excise.mapi.rtf import RtfError, read_rtf

    try:
        return read_rtf(text.encode("latin-1", "replace")).text
    except RtfError:
        # Not RTF, whatever its type says (text/richtext of RFC 1341 for one): it is read as it stands.
        return text
