"""The text and the links of HTML from mail; nothing is rendered or fetched (S27).

Invariant: each construct that is never closed is looked for once, so that the time grows with the length alone
(Python's html.parser of some releases takes quadratic time for such input).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

# Elements that stand inside a word without parting it.
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
        "mark",
        "nobr",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "tt",
        "u",
        "var",
        "wbr",
        "o:p",
        "st1:place",
    ]
)
_LINKING = frozenset(
    [
        "href",
        "src",
        "action",
        "formaction",
        "background",
        "cite",
        "data",
        "poster",
        "longdesc",
        "srcset",
        "codebase",
        "dynsrc",
        "lowsrc",
        "usemap",
    ]
)
_TAG_NAME = re.compile(r"</?([a-zA-Z][^\s/>]{0,40})|<[!?/]")
_REST_OF_TAG = re.compile(r"(?:[^\"'>]|\"[^\"]*+\"|'[^']*+')*+>")
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]++)(?:\s*+=\s*+(\"[^\"]*\"|'[^']*'|[^\s\"'>]++))?")
_RAW_END = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style")}
_URL = re.compile(r"(?:\b(?:https?|ftps?|file|sftp)://|\bwww\.)[^\s<>\"'\x00]++", re.IGNORECASE)


class Hypertext:
    """One HTML document taken apart: ``text`` without tags, ``links`` as targets of its attributes, both unescaped."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._pieces: list[str] = []
        self._links: dict[str, None] = {}
        self._quotes = True
        self._read()
        self.text = "".join(self._pieces)
        self.links = tuple(self._links)

    def _read(self) -> None:
        html, position = self._html, 0
        while True:
            start = html.find("<", position)
            if start < 0:
                break
            self._pieces.append(unescape(html[position:start]))
            match = _TAG_NAME.match(html, start)
            if match is None:
                self._pieces.append("<")
                position = start + 1
                continue
            position = self._pass(start, match)
            if position < 0:
                return
        self._pieces.append(unescape(html[position:]))

    def _pass(self, start: int, match: re.Match[str]) -> int:
        """Pass over the construct at ``start``; where it ends, or -1 where the document ends inside it."""
        if self._html.startswith("<!--", start):
            end = self._html.find("-->", start + 2)
            return end + 3 if end >= 0 else -1
        if match[1] is None:
            end = self._html.find(">", match.end())
            return end + 1 if end >= 0 else -1
        end = self._end_of_tag(match.end())
        if end < 0:
            self._attributes(self._html[match.end() :])
            return -1
        name = match[1].lower()
        self._attributes(self._html[match.end() : end - 1])
        if name not in _INLINE:
            self._pieces.append("\n")
        if name in _RAW_END and self._html[start + 1] != "/":
            raw_end = _RAW_END[name].search(self._html, end)
            return raw_end.start() if raw_end else -1
        return end

    def _end_of_tag(self, position: int) -> int:
        if self._quotes:
            match = _REST_OF_TAG.match(self._html, position)
            if match:
                return match.end()
            # A quotation mark is never closed: from here on the next > ends a tag.
            self._quotes = False
        return self._html.find(">", position) + 1 or -1

    def _attributes(self, text: str) -> None:
        for match in _ATTRIBUTE.finditer(text):
            if match[2] is None:
                continue
            value = unescape(match[2].strip("\"'"))
            if (
                match[1].lower() in _LINKING
                or "://" in value
                or (match[1].lower() == "content" and "url=" in value.lower())
            ):
                self._links.update(dict.fromkeys(link_forms(value)))


def link_forms(link: str) -> Iterator[str]:
    """A link as written, without white space (browsers drop it), and with its percent escapes undone."""
    bare = "".join(link.split())
    if bare:
        yield bare
        plain = unquote(bare)
        if plain != bare:
            yield plain


def plain_links(text: str) -> Iterator[str]:
    """The URLs in plain text."""
    for match in _URL.finditer(text):
        yield from link_forms(match[0].rstrip(".,;:!?)]}>"))
