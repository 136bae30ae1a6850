"""Bodies and attachments of a message ([MS-OXCMAIL] 2.2.3.3 to 2.2.3.7, [MS-OXOSMIME] 2.1, PST-FACTS 6).

Invariants: every leaf is a body, an attachment by value with its exact decoded bytes, or an embedded message; what is
none of them (text between the parts, damage in a transfer encoding) is noted. Multiparts cost no recursion, attached
messages no more than MAX_EMBEDDING calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from excise.core.text import shown
from excise.mapi import tags as t
from excise.mapi.item import MAX_EMBEDDING, MapiAttachment, MapiItem
from excise.mapi.mime_attachments import Draft, draft_file, draft_message, finished
from excise.mapi.mime_headers_to_mapi import Values
from excise.mapi.report_class import report_class
from excise.mime.charsets import decode_text
from excise.mime.headers import decode_header
from excise.mime.multipart import Part

#: Parts of one message, and multiparts inside each other; what exceeds them is attached as it stands.
MAX_PARTS = 10_000
MAX_NESTING = 24
_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_SIGNATURES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})
_PKCS7 = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_BODIES = {"text/plain": t.PidTagBody, "text/html": t.PidTagHtml}
_CONTENT = re.compile(rb"(?im)^content-[^:\r\n]*:[^\n]*(?:\n[ \t][^\n]*)*\n?")
_META = re.compile(r"(?i)(<meta[^>]{0,200}charset\s*=\s*[\"']?)([\w.:-]+)")
_META_LIMIT = 4096
_CUSTOM = "urn:content-class:custom."
_INFOPATH = "infopathform."


@dataclass(frozen=True)
class Content:
    """What the body of a message becomes: properties of the item, attachments, and notes on what is neither."""

    values: Values
    attachments: list[MapiAttachment]
    notes: list[str]


def read_content(root: Part, depth: int, build: Callable[[bytes, int], MapiItem]) -> Content:
    """Take ``root``, a whole message, apart; it lies in ``depth`` messages.

    ``build`` makes the item of an attached message, given its bytes and depth.
    """
    reader = _Reader(depth, build)
    if not reader.opaque(root):
        reader.walk(root)
    html = reader.values.get(t.PidTagHtml)
    attachments = finished(reader.drafts, html.decode() if isinstance(html, bytes) else "")
    reader.values.setdefault(t.PidTagMessageClass, _message_class(root, reader.reports))
    visible = any(not a.properties.boolean(t.PidTagAttachmentHidden) for a in attachments)
    reader.values[t.PidTagMessageFlags] = 1 | (0x10 if visible else 0)
    return Content(reader.values, attachments, reader.notes)


@dataclass
class _Reader:
    """``group``: the number of the multipart/alternative that the first body came from, 0 for none.

    ``reports``: type and content of the leaves that say what a report is about.
    """

    depth: int
    build: Callable[[bytes, int], MapiItem]
    values: Values = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reports: list[tuple[str, bytes]] = field(default_factory=list)
    group: int = 0
    count: int = 0

    def opaque(self, root: Part) -> bool:
        """True where the message is signed or encrypted by S/MIME, and is now one attachment ([MS-OXOSMIME] 2.1)."""
        kind = root.content_type.value
        protocol = (root.content_type.get("protocol") or "").lower()
        if kind == "multipart/signed" and protocol in _SIGNATURES:
            self.values[t.PidTagMessageClass] = "IPM.Note.SMIME.MultipartSigned"
            for part in root.cut(MAX_PARTS).parts[:1]:
                # For programs that do not open the signed entity; its attachments are in it alone.
                self.walk(part, bodies_only=True)
            self.notes.clear()
            self.drafts = [draft_file(_entity(root), kind, "smime.p7m")]
            return True
        if _is_cms(root):
            self.values[t.PidTagMessageClass] = "IPM.Note.SMIME"
            name = root.names[0] if root.names and root.names[0].lower().endswith(".p7m") else "smime.p7m"
            self.drafts = [draft_file(self._decoded(root, name), "application/pkcs7-mime", name)]
            return True
        if kind == "multipart/signed":
            what = shown(protocol or "without a protocol", 80)
            self.notes.append(f"the parts are stored one by one: the signature ({what}) cannot be verified on them")
        return False

    def walk(self, root: Part, bodies_only: bool = False) -> None:
        """Every leaf in its order."""
        stack: list[tuple[Part, int, int]] = [(root, 0, 0)]
        while stack:
            part, group, nested = stack.pop()
            self.count += 1
            kind = part.content_type.value
            if kind.startswith("multipart/"):
                children = self._children(part, group, nested, MAX_PARTS - self.count - len(stack))
                inner = group or (self.count if kind == "multipart/alternative" else 0)
                stack += [(child, inner, nested + 1) for child in reversed(children)]
            elif not self._body(part, kind, group) and not bodies_only:
                self._leaf(part, kind)

    def _children(self, part: Part, group: int, nested: int, room: int) -> list[Part]:
        """The parts of a multipart; of one that has none, or too many, nothing, and it is kept itself."""
        cut = part.cut(max(1, room))
        if nested >= MAX_NESTING or cut.more:
            why = f"more than {MAX_PARTS:,} parts" if cut.more else f"parts nested deeper than {MAX_NESTING} levels"
            self.notes.append(f"the message has {why}; a multipart is attached as it stands")
            self.drafts.append(draft_file(part.data[part.start : part.end], "application/octet-stream"))
            return []
        if cut.flaw:
            self.notes.append(cut.flaw)
        for where, text in (("before the first", cut.preamble), ("behind the last", cut.epilogue)):
            if text.strip():
                self.notes.append(f"{len(text)} bytes {where} part of a multipart belong to no part and are left out")
        if not cut.parts and not self._body(part, "text/plain", group):
            self._leaf(part, "application/octet-stream")
        return cut.parts

    def _leaf(self, part: Part, kind: str) -> None:
        name = part.names[0] if part.names else ""
        data = self._decoded(part, name or kind)
        if kind in _MESSAGES:
            self._message(data, name)
            return
        if kind.startswith("message/"):
            self.reports.append((kind, data))
        content_id = decode_header(part.headers.first(b"content-id") or b"").strip("<> \t")
        location = decode_header(part.headers.first(b"content-location") or b"")
        hideable = bool(content_id) and part.disposition.value != "attachment"
        self.drafts.append(draft_file(data, kind, name, content_id, location, hideable))

    def _message(self, data: bytes, name: str) -> None:
        if self.depth < MAX_EMBEDDING:
            self.drafts.append(draft_message(self.build(data, self.depth + 1), name))
        else:
            self.notes.append(f"messages are nested deeper than {MAX_EMBEDDING}; the rest is attached as one file")
            self.drafts.append(draft_file(data, "message/rfc822", name))

    def _decoded(self, part: Part, label: str) -> bytes:
        data, flaw = part.content.decode()
        if flaw:
            self.notes.append(f"{shown(label, 100)}: {flaw}; what can be decoded is there")
        return data

    def _body(self, part: Part, kind: str, group: int) -> bool:
        """True where ``part`` is now a body: the first text, and its alternative in the other form."""
        tag = _BODIES.get(kind)
        if tag is None or tag in self.values or part.names or part.disposition.value == "attachment":
            return False
        if self.values.keys() & _BODIES.values() and not (group and group == self.group):
            return False
        self.group = group
        text = self._text(part, kind)
        self.values[tag] = text if tag is t.PidTagBody else _META.sub(r"\1utf-8", text).encode("utf-8", "replace")
        self.values[t.PidTagInternetCodepage] = 65001
        self.values[t.PidTagNativeBody] = 3 if t.PidTagHtml in self.values else 1
        return True

    def _text(self, part: Part, kind: str) -> str:
        data = self._decoded(part, f"the {kind} body")
        label = part.content_type.get("charset")
        if label is None and kind == "text/html":
            meta = _META.search(data[:_META_LIMIT].decode("latin-1"))
            label = meta[2] if meta else None
        text, sure = decode_text(data, label)
        if not sure:
            self.notes.append(f"the {kind} body is not in the charset that it names ({shown(label or '', 60)})")
        if "\0" in text:
            self.notes.append(f"{text.count(chr(0))} NUL characters of the {kind} body are left out")
        return text.replace("\0", "")


def _is_cms(root: Part) -> bool:
    kind = root.content_type.value
    if kind in _PKCS7:
        return (root.content_type.get("smime-type") or "").lower() != "certs-only"
    return kind == "application/octet-stream" and any(name.lower().endswith(".p7m") for name in root.names)


def _entity(root: Part) -> bytes:
    """The signed entity: the Content- fields of the header, and the exact body."""
    start = root.headers.body_start
    fields = _CONTENT.findall(root.data[root.start : start])
    return b"".join(one.rstrip(b"\r\n") + b"\r\n" for one in fields) + b"\r\n" + root.data[start : root.end]


def _message_class(root: Part, reports: list[tuple[str, bytes]]) -> str:
    """Reports and custom classes; a note otherwise. Meetings stay notes with a calendar file: they lack properties."""
    if root.content_type.value == "multipart/report":
        return report_class((root.content_type.get("report-type") or "").lower(), reports)
    content_class = decode_header(root.headers.first(b"content-class") or b"")
    if content_class.lower().startswith(_CUSTOM):
        return f"IPM.Note.Custom.{content_class[len(_CUSTOM) :]}"
    return f"IPM.{content_class}" if content_class.lower().startswith(_INFOPATH) else "IPM.Note"
