"""The parts of a MIME entity, found without copying them (RFC 2046 5.1).

Own code, where the standard library's email package could do it, for three reasons: what lies behind a bound or a
missing boundary must be reported and not swallowed (S11), a hostile message must not cost recursion or quadratic time
(S27), and an attachment search reads millions of messages. Tests compare it with the email package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from excise.mime.headers import HeaderBlock
from excise.mime.parameters import Field, distinct_names, parse_field
from excise.mime.transfer import Content

_REST_OF_LINE = re.compile(rb"(--)?[ \t]*+\r?(?:\n|\Z)")
_TYPE = re.compile(r"[^/\s]+/[^/\s]+")


@dataclass(frozen=True)
class Part:
    """An entity: ``data[start:end]`` holds its header block and its body. ``default``: its type where it names none."""

    data: bytes
    start: int
    end: int
    default: str = "text/plain"

    @cached_property
    def headers(self) -> HeaderBlock:
        """Its header block."""
        return HeaderBlock.parse(self.data, self.start, self.end)

    @cached_property
    def content_type(self) -> Field:
        """Its Content-Type; what is no type counts as text/plain (RFC 2045 5.2)."""
        field = parse_field(self.headers.first(b"content-type"))
        if not field.value:
            return Field(self.default, field.parameters)
        return field if _TYPE.fullmatch(field.value) else Field("text/plain", field.parameters)

    @cached_property
    def disposition(self) -> Field:
        """Its Content-Disposition; an empty value where it has none."""
        return parse_field(self.headers.first(b"content-disposition"))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every reading of its file name, the best first (S10)."""
        found: list[str] = []
        for raw in self.headers.raw(b"content-disposition"):
            found += parse_field(raw).names("filename", "name")
        for raw in self.headers.raw(b"content-type"):
            found += parse_field(raw).names("name", "filename")
        return distinct_names(found)

    @cached_property
    def content(self) -> Content:
        """Its body."""
        encoding = self.headers.first(b"content-transfer-encoding") or b""
        label = encoding.decode("latin-1").partition(";")[0].partition("(")[0]
        return Content(self.data, self.headers.body_start, self.end, label)

    def split(self, limit: int) -> tuple[list[Part], str]:
        """The parts of a multipart, at most ``limit`` of them, and what is wrong with it (empty where nothing is)."""
        cut = self.cut(limit)
        return cut.parts, cut.flaw

    def cut(self, limit: int) -> Cut:
        """The same, with what stands before the first part and behind the last."""
        boundary = (self.content_type.get("boundary") or "").rstrip()
        if not boundary:
            return Cut([], "the multipart names no boundary")
        found = _spans(self.data, self.headers.body_start, self.end, boundary.encode("latin-1", "replace"), limit)
        default = "message/rfc822" if self.content_type.value == "multipart/digest" else "text/plain"
        parts = [Part(self.data, start, end, default) for start, end in found.parts]
        if not parts:
            return Cut([], "the multipart's boundary does not occur")
        flaw = "" if found.closed else "the multipart's last boundary is missing, so that it may be cut"
        if found.more:
            flaw = f"the multipart has more than {limit:,} parts"
        preamble = self.data[self.headers.body_start : found.begin]
        return Cut(parts, flaw, preamble, self.data[found.end : self.end], found.more)


class Cut(NamedTuple):
    """A multipart taken apart: its parts, what is wrong with it (empty where nothing is), and what is in no part.

    ``more``: it has parts above the limit; they are in ``epilogue``.
    """

    parts: list[Part]
    flaw: str
    preamble: bytes = b""
    epilogue: bytes = b""
    more: bool = False


class _Spans(NamedTuple):
    """Where the parts lie; ``begin`` of the first boundary, ``end`` of the last."""

    parts: list[tuple[int, int]]
    begin: int
    end: int
    closed: bool = False
    more: bool = False


def _spans(data: bytes, start: int, end: int, boundary: bytes, limit: int) -> _Spans:
    delimiter = b"--" + boundary
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    position, first = start, end
    while (found := data.find(delimiter, position, end)) >= 0:
        position = found + len(delimiter)
        rest = _REST_OF_LINE.match(data, position, end)
        if rest is None or (found > start and data[found - 1] != 0x0A):
            continue
        first = min(first, found)
        if begun is not None:
            spans.append((begun, _before_line_break(data, begun, found)))
            if len(spans) > limit:
                return _Spans(spans[:limit], first, spans[limit - 1][1], more=True)
        if rest[1]:
            return _Spans(spans, first, rest.end(), closed=True)
        begun = position = rest.end()
    if begun is not None:
        spans.append((begun, end))
    return _Spans(spans, first, end)


def _before_line_break(data: bytes, start: int, found: int) -> int:
    if found > start and data[found - 1] == 0x0A:
        found -= 1
        if found > start and data[found - 1] == 0x0D:
            found -= 1
    return found
