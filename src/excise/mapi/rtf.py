"""RTF bodies: decompression ([MS-OXRTFCP]) and what is wrapped in them ([MS-OXRTFEX]).

Invariant: hostile RTF costs time and memory in proportion to its size: groups are a bounded stack, not recursion, and
nothing is read twice.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Literal

from excise.core.errors import DamagedInput
from excise.mapi import codepages

#: A body larger than this is not decompressed; Outlook's own limit for a message is far below it.
MAX_RTF = 64 << 20
MAX_GROUPS = 2000
_TOKEN = re.compile(
    rb"\\'([0-9A-Fa-f]{2})"
    rb"|\\([A-Za-z]{1,32})(-?[0-9]{1,10})?\x20?"
    rb"|\\([^A-Za-z])"
    rb"|([{}])"
    rb"|[\r\n\0]+"
    rb"|([^\\{}\r\n\0]+)"
    rb"|\\"
)
_FONT_CHARSETS = {0: 1252, 77: 10000, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254}
_FONT_CHARSETS |= {163: 1258, 177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250, 254: 437, 255: 850}
_SKIPPED = frozenset(
    [
        "colortbl",
        "stylesheet",
        "info",
        "pict",
        "object",
        "header",
        "headerl",
        "headerr",
        "headerf",
        "footer",
        "footerl",
        "footerr",
        "footerf",
        "listtable",
        "listoverridetable",
        "revtbl",
        "rsidtbl",
        "generator",
        "themedata",
        "colorschememapping",
        "latentstyles",
        "datastore",
        "filetbl",
        "fldinst",
        "bkmkstart",
        "bkmkend",
        "xe",
        "tc",
        "private",
        "nonshppict",
        "footnote",
        "annotation",
        "template",
        "mhtmltag",
    ]
)
#: Control word -> (plain text, HTML).
_CHARACTERS = {
    "par": ("\r\n", "\r\n"),
    "line": ("\r\n", "\r\n"),
    "sect": ("\r\n", "\r\n"),
    "page": ("\r\n", "\r\n"),
    "row": ("\r\n", "\r\n"),
    "cell": ("\t", "\t"),
    "tab": ("\t", "\t"),
    "lquote": ("\u2018", "&lsquo;"),
    "rquote": ("\u2019", "&rsquo;"),
    "ldblquote": ("\u201c", "&ldquo;"),
    "rdblquote": ("\u201d", "&rdquo;"),
    "bullet": ("\u2022", "&bull;"),
    "endash": ("\u2013", "&ndash;"),
    "emdash": ("\u2014", "&mdash;"),
    "enspace": ("\u2002", "&ensp;"),
    "emspace": ("\u2003", "&emsp;"),
    "zwj": ("\u200d", "&zwj;"),
    "zwnj": ("\u200c", "&zwnj;"),
    "ltrmark": ("\u200e", "&lrm;"),
    "rtlmark": ("\u200f", "&rlm;"),
}
_SYMBOLS = {"~": ("\xa0", "&nbsp;"), "_": ("\u2011", "&shy;"), "-": ("\xad", "&shy;")}


class RtfError(DamagedInput):
    """RTF that cannot be read."""

    error_id = "rtf"


@dataclass(frozen=True)
class RtfBody:
    """What an RTF body says. ``kind`` is ``html`` or ``text`` where that was wrapped in it, ``rtf`` where it is RTF;
    ``text`` is then that HTML, that text, or the text of the RTF without its formats."""

    kind: Literal["html", "text", "rtf"]
    text: str


def decompress(data: bytes) -> bytes:
    """The RTF in PidTagRtfCompressed; what is damaged or larger than ``MAX_RTF`` is an RtfError."""
    if len(data) < 16:
        raise RtfError(f"compressed RTF of {len(data)} bytes is shorter than its header of 16")
    compressed_size, raw_size, kind = struct.unpack_from("<II4s", data)
    if kind not in (b"LZFu", b"MELA"):
        raise RtfError(f"compressed RTF begins with {kind!r}, not with LZFu or MELA")
    if compressed_size < 12 or compressed_size + 4 > len(data):
        raise RtfError(f"compressed RTF says {compressed_size + 4} bytes, {len(data)} are there")
    if max(raw_size, len(data)) > MAX_RTF:
        raise RtfError(f"compressed RTF of {max(raw_size, len(data))} bytes is above the limit of {MAX_RTF}")
    if kind == b"MELA":
        return data[16 : compressed_size + 4][:raw_size]
    # A reference of 2 bytes gives at most 17: what says more than that is a lie, and found before any work.
    if raw_size > 9 * compressed_size:
        raise RtfError(f"compressed RTF says that {compressed_size} bytes become {raw_size}")
    import compressed_rtf

    try:
        rtf: bytes = compressed_rtf.decompress(data)
    except Exception as error:
        raise RtfError(f"compressed RTF is damaged: {error}") from error
    if len(rtf) < raw_size:
        raise RtfError(f"compressed RTF says {raw_size} bytes, {len(rtf)} come out")
    return rtf[:raw_size]


def read_rtf(rtf: bytes) -> RtfBody:
    """What ``rtf`` says; bytes that are no RTF and groups nested deeper than ``MAX_GROUPS`` are an RtfError."""
    if not rtf.lstrip(b"\r\n \t\0").startswith(b"{\\rtf"):
        raise RtfError("the body does not begin with {\\rtf")
    kind: Literal["html", "text", "rtf"] = "rtf"
    wrapped = re.search(rb"\\from(html|text)", rtf[:4096])
    if wrapped is not None:
        kind = "html" if wrapped[1] == b"html" else "text"
    reader = _Reader(html=kind == "html")
    reader.read(rtf)
    text = "".join(reader.out)
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return RtfBody(kind, text)


@dataclass(frozen=True)
class _Group:
    """The state that a group inherits and that its end restores."""

    skipped: bool = False
    fonts: bool = False
    htmltag: bool = False
    htmlrtf: bool = False
    page: int = 1252
    uc: int = 1


@dataclass
class _Reader:
    html: bool
    group: _Group = field(default_factory=_Group)
    stack: list[_Group] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    pending: bytearray = field(default_factory=bytearray)
    fonts: dict[int, int] = field(default_factory=dict)
    font: int = 0
    default_page: int = 1252
    starred: bool = False
    to_skip: int = 0

    def read(self, rtf: bytes) -> None:
        at = 0
        while (token := _TOKEN.match(rtf, at)) is not None:
            at = token.end()
            hexadecimal, word, number, symbol, brace, run = token.groups()
            if run is not None:
                self._bytes(run)
            elif hexadecimal is not None:
                self._bytes(bytes.fromhex(hexadecimal.decode("ascii")))
            elif word is not None:
                value = None if number is None else int(number)
                if word == b"bin":
                    at += max(0, value or 0)
                else:
                    self._word(word.decode("ascii"), value)
            elif brace is not None:
                self._brace(brace == b"{")
            elif symbol is not None:
                self._symbol(symbol.decode("latin-1"))
        self._flush()

    @property
    def _silent(self) -> bool:
        group = self.group
        return group.skipped or group.fonts or (self.html and group.htmlrtf and not group.htmltag)

    def _bytes(self, run: bytes) -> None:
        if self.to_skip:
            skipped = min(self.to_skip, len(run))
            self.to_skip -= skipped
            run = run[skipped:]
        if not self._silent:
            self.pending += run

    def _emit(self, text: str) -> None:
        self._flush()
        if not self._silent:
            self.out.append(text)

    def _flush(self) -> None:
        if self.pending:
            name = codepages.codec(self.group.page) or "cp1252"
            self.out.append(self.pending.decode(name, "replace"))
            self.pending.clear()

    def _brace(self, opens: bool) -> None:
        self._flush()
        self.starred, self.to_skip = False, 0
        if opens:
            if len(self.stack) >= MAX_GROUPS:
                raise RtfError(f"groups are nested deeper than {MAX_GROUPS}")
            self.stack.append(self.group)
        elif self.stack:
            self.group = self.stack.pop()

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":
            self.starred = True
        elif symbol in "{}\\":
            self._bytes(symbol.encode("ascii"))
        elif symbol in _SYMBOLS:
            self._emit(_SYMBOLS[symbol][self.html])
        elif symbol in "\r\n":
            self._emit("\r\n")

    def _word(self, word: str, number: int | None) -> None:
        starred, self.starred = self.starred, False
        if word == "htmltag" and self.html:
            self._enter(replace(self.group, htmltag=True))
        elif word == "fonttbl":
            self._enter(replace(self.group, fonts=True))
        elif word in _SKIPPED or (starred and word != "htmltag"):
            self._enter(replace(self.group, skipped=True))
        elif word == "htmlrtf":
            self._enter(replace(self.group, htmlrtf=number != 0))
        elif word == "u" and number is not None:
            self._emit(chr(number & 0xFFFF))
            self.to_skip = self.group.uc
        elif word in _CHARACTERS:
            self._emit(_CHARACTERS[word][self.html and not self.group.htmltag])
        elif number is not None:
            self._setting(word, number)

    def _enter(self, group: _Group) -> None:
        self._flush()
        self.group = group

    def _setting(self, word: str, number: int) -> None:
        if word == "uc":
            self.group = replace(self.group, uc=min(max(number, 0), 16))
        elif word == "ansicpg" and codepages.codec(number) is not None:
            self.default_page = number
            self._enter(replace(self.group, page=number))
        elif word == "f":
            self.font = number
            if not self.group.fonts:
                self._enter(replace(self.group, page=self.fonts.get(number, self.default_page)))
        elif word == "deff":
            self.font = number
        elif self.group.fonts and word == "fcharset":
            self.fonts[self.font] = _FONT_CHARSETS.get(number, self.default_page)
        elif self.group.fonts and word == "cpg" and number and codepages.codec(number) is not None:
            self.fonts[self.font] = number
        elif word == "plain":
            self._enter(replace(self.group, page=self.default_page))
