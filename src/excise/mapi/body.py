"""The bodies of an item: text, HTML, RTF, each as stored ([MS-OXBBODY])."""

from __future__ import annotations

from dataclasses import dataclass

from excise.mapi import codepages
from excise.mapi.item import MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.rtf import RtfError, decompress, read_rtf
from excise.mapi.tags import PidTagBody, PidTagHtml, PidTagInternetCodepage, PidTagReportText, PidTagRtfCompressed


@dataclass(frozen=True)
class Bodies:
    """What an item says: ``text``; ``html`` as bytes in ``charset``; ``rtf`` where the body is real RTF.

    None stands for a body that is not there. ``notes`` say what could not be read.
    """

    text: str | None = None
    html: bytes | None = None
    charset: str | None = None
    rtf: bytes | None = None
    notes: tuple[str, ...] = ()

    def html_text(self) -> str | None:
        """The HTML decoded; odd bytes come as U+FFFD."""
        return None if self.html is None else self.html.decode(self.charset or "utf-8", "replace")


def read_bodies(item: MapiItem) -> Bodies:
    """The bodies of ``item``; HTML and text that are wrapped in RTF are taken out of it ([MS-OXRTFEX])."""
    bag = item.properties
    text = bag.text(PidTagBody)
    if text is None:
        text = bag.text(PidTagReportText)
    html, charset, notes = _html(bag)
    compressed = bag.binary(PidTagRtfCompressed)
    if not compressed:
        return Bodies(text, html, charset, None, tuple(notes))
    try:
        rtf = decompress(compressed)
        body = read_rtf(rtf)
    except RtfError as error:
        return Bodies(text, html, charset, None, (*notes, f"the RTF body cannot be read: {error}"))
    if body.kind == "html" and html is None:
        return Bodies(text, body.text.encode("utf-8"), "utf-8", None, tuple(notes))
    if text is None:
        text = body.text if body.kind != "html" else None
    return Bodies(text, html, charset, rtf if body.kind == "rtf" and html is None else None, tuple(notes))


def _html(bag: PropertyBag) -> tuple[bytes | None, str | None, list[str]]:
    value = bag.get(PidTagHtml)
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), "utf-8", []
    if not isinstance(value, bytes):
        return None, None, []
    # A binary value is often stored with the terminator of a C string.
    page = bag.integer(PidTagInternetCodepage) or 0
    wide = page in (1200, 1201, 12000, 12001)
    html = value if wide else value.rstrip(b"\0")
    for candidate in (page, 65001, bag.code_page):
        charset = codepages.charset(candidate)
        if charset is not None and _fits(html, candidate):
            return html, charset, [] if candidate == page else [f"the HTML body does not fit its code page {page}"]
    return html, None, [f"the HTML body does not fit its code page {page}"]


def _fits(html: bytes, page: int) -> bool:
    try:
        codepages.decode(html, page)
    except ValueError:
        return False
    return True
