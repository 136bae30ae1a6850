"""What a message holds, at any depth: its attachments, its texts, and what could not be read.

Containers that are opened: multiparts, attached messages (message/rfc822, .eml, .msg), winmail.dat (TNEF), and one
level of zip. Every bound that stops the walk is reported as ``Untestable`` (S11), and so is what is encrypted, cut or
undecodable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from excise.core.digests import sha256_hex
from excise.core.errors import DamagedInput
from excise.mapi.item import AttachMethod, MapiAttachment, MapiItem
from excise.mime.charsets import decode_text
from excise.mime.multipart import Part
from excise.mime.parameters import Field, distinct_names
from excise.mime.transfer import decode_uu, uuencoded_files
from excise.model.archives import Budget, ZipDamagedError, ZipMember, open_zip
from excise.model.view import ATTACHMENT_KINDS, BODY_KINDS, TEXT_KINDS, AttachmentView, Untestable

#: How deep multiparts, messages and containers are followed, and how many parts in one message.
MAX_DEPTH = 24
MAX_PARTS = 10_000
#: Bytes unpacked from the zip files of one message, at most.
MAX_UNPACKED = 512 << 20
_UU_FILES = 20
_MESSAGE_TYPES = frozenset({"message/rfc822", "message/global", "message/news"})
_MIME_HEAD = re.compile(rb"(?i)(?:content-|mime-version)")
_BER_SEQUENCE = b"\x30"
_TNEF_TYPES = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_ENCRYPTING = {
    "application/pkcs7-mime": "S/MIME",
    "application/x-pkcs7-mime": "S/MIME",
    "application/x-microsoft-rpmsg-message": "rights management",
}


class Text(NamedTuple):
    """A text of the message itself: ``media_type`` is text/plain, text/html …"""

    media_type: str
    text: str


@dataclass(frozen=True)
class _Place:
    """Where the walk is: names of the containers around, depth, inside a zip, inside a winmail.dat of the message
    itself.
    """

    path: tuple[str, ...] = ()
    depth: int = 0
    zipped: bool = False
    unpacked: bool = False

    @property
    def own(self) -> bool:
        """True where texts belong to the message itself."""
        return not self.path or self.unpacked

    def inside(self, name: str, *, zipped: bool = False, unpacked: bool = False) -> _Place:
        return _Place((*self.path, name), self.depth + 1, self.zipped or zipped, unpacked)


class Contents:
    """One walk over a message. ``parts``: the entities of the message itself; ``mapi_items``: those of its
    winmail.dat.
    """

    def __init__(self) -> None:
        self.attachments: list[AttachmentView] = []
        self.parts: list[Part] = []
        self.mapi_items: list[MapiItem] = []
        self._texts: list[Callable[[], Iterator[Text]]] = []
        self._flaws: dict[Untestable, None] = {}
        self._count = 0
        self._budget = Budget(MAX_UNPACKED)

    @classmethod
    def of_mime(cls, data: bytes) -> Contents:
        """Walk the RFC 5322 message ``data``."""
        contents = cls()
        contents.add_entity(Part(data, 0, len(data)), _Place())
        return contents

    @classmethod
    def of_mapi(cls, item: MapiItem, notes: tuple[str, ...]) -> Contents:
        """Walk a MAPI item; ``notes`` say what its reader could not read of it."""
        contents = cls()
        contents.add_item(item, _Place(), notes)
        return contents

    def texts(self) -> Iterator[Text]:
        """The texts of the message itself."""
        for read in self._texts:
            yield from read()

    def flaws(self, term_kind: str) -> tuple[Untestable, ...]:
        """Why terms of this kind cannot be tested on all of it."""
        if term_kind in TEXT_KINDS:
            for _ in self.texts():
                pass
        found = [flaw for flaw in self._flaws if flaw.term_kind == term_kind]
        if term_kind == "attachment-sha256":
            for attachment in self.attachments:
                if not attachment.is_item and attachment.sha256() is None:
                    what = attachment.name or "an attachment without a name"
                    found.append(Untestable(term_kind, f"the content of {what} cannot be read whole"))
        return tuple(dict.fromkeys(found))

    def flaw(self, place: _Place, reason: str, kinds: tuple[str, ...] = BODY_KINDS) -> None:
        """Note that terms of ``kinds`` cannot be tested here; inside another message only attachments count."""
        where = f" (in {' > '.join(place.path)})" if place.path else ""
        for kind in kinds:
            if place.own or kind in ATTACHMENT_KINDS:
                self._flaws[Untestable(kind, reason + where)] = None

    def add_entity(self, root: Part, place: _Place) -> None:
        """Walk an entity. The stack, not recursion, holds the multiparts that are open."""
        stack = [(root, 0)]
        while stack:
            part, nested = stack.pop()
            self._count += 1
            if self._count > MAX_PARTS:
                self.flaw(place, f"the message has more than {MAX_PARTS:,} parts")
                return
            if place.own and not place.unpacked:
                self.parts.append(part)
            media_type = part.content_type.value
            if not media_type.startswith("multipart/"):
                self._add_leaf(part, place)
                continue
            if media_type == "multipart/encrypted":
                self.flaw(place, "the message is encrypted (OpenPGP)")
            if place.depth + nested >= MAX_DEPTH:
                self.flaw(place, f"parts are nested deeper than {MAX_DEPTH} levels")
                continue
            children, wrong = part.split(MAX_PARTS - self._count + 1)
            if wrong:
                self.flaw(place, wrong)
            if not children:
                self._add_text(part, Field("text/plain", ()), place)
            stack.extend((child, nested + 1) for child in reversed(children))

    def _add_leaf(self, part: Part, place: _Place) -> None:
        media_type, named = part.content_type.value, bool(part.names)
        attached = named or part.disposition.value == "attachment"
        if media_type.startswith("text/") and part.disposition.value != "attachment":
            self._add_text(part, part.content_type, place)
        if media_type in _MESSAGE_TYPES:
            self._attach_part(part, place)
            self._open_message_part(part, place)
            return
        if media_type in _ENCRYPTING or any(name.lower() == "smime.p7m" for name in part.names):
            self._note_protection(part.content_type, place)
        if media_type == "message/partial":
            self.flaw(place, "the message is one fragment of several (message/partial)")
        if media_type == "message/external-body":
            self.flaw(place, "content is not in the message (message/external-body)", ("attachment-sha256",))
        if attached or not media_type.startswith(("text/", "message/")):
            self._attach_part(part, place)
            self.open_container(part.names, media_type, lambda: part.content.decode()[0], place)

    def _attach_part(self, part: Part, place: _Place) -> None:
        content = part.content
        self.attach(part.names, place, lambda: content.size, lambda: content.sha256)

    def attach(
        self, names: tuple[str, ...], place: _Place, size: Callable[[], int | None], sha256: Callable[[], str | None]
    ) -> None:
        """Record one attachment."""
        self.attachments.append(AttachmentView(names, place.path, place.unpacked, read_size=size, read_sha256=sha256))

    def _open_message_part(self, part: Part, place: _Place) -> None:
        encoding = (part.headers.first(b"content-transfer-encoding") or b"").strip().lower()
        inner = place.inside(part.names[0] if part.names else "attached message")
        if inner.depth >= MAX_DEPTH:
            self.flaw(place, f"messages are nested deeper than {MAX_DEPTH} levels")
        elif encoding in (b"base64", b"quoted-printable"):
            self._open_message(part.content.decode()[0], inner)
        else:
            self.add_entity(Part(part.data, part.headers.body_start, part.end), inner)

    def _open_message(self, data: bytes, inner: _Place) -> None:
        self.add_entity(Part(data, 0, len(data)), inner)

    def _note_protection(self, content_type: Field, place: _Place) -> None:
        kind = _ENCRYPTING.get(content_type.value, "S/MIME")
        smime_type = (content_type.get("smime-type") or "").lower()
        if smime_type == "certs-only":
            return
        what = "is signed in opaque form" if smime_type == "signed-data" else "is encrypted"
        self.flaw(place, f"the message {what} ({kind})")

    def _add_text(self, part: Part, content_type: Field, place: _Place) -> None:
        if content_type.value == "text/plain":
            self._add_uuencoded(part, place)
        if place.own:
            self._texts.append(partial(self._read_text, part, content_type, place))

    def _read_text(self, part: Part, content_type: Field, place: _Place) -> Iterator[Text]:
        data, wrong = part.content.decode()
        if wrong:
            self.flaw(place, f"a text part is damaged: {wrong}", TEXT_KINDS)
        text, sure = decode_text(data, content_type.get("charset"))
        if not sure:
            self.flaw(place, "a text part is not in the charset that it names", TEXT_KINDS)
        if "-----BEGIN PGP MESSAGE-----" in text:
            self.flaw(place, "the text is encrypted (OpenPGP)", TEXT_KINDS)
        yield Text(content_type.value, text)

    def _add_uuencoded(self, part: Part, place: _Place) -> None:
        if part.data.find(b"begin", part.headers.body_start, part.end) < 0:
            return
        data = part.content.decode()[0]
        found = uuencoded_files(data)
        if len(found) > _UU_FILES:
            self.flaw(place, f"the text holds more than {_UU_FILES} uuencoded files", ATTACHMENT_KINDS)
        for raw_name, start in found[:_UU_FILES]:
            names = distinct_names([decode_text(raw_name, None)[0]])
            self.attach_bytes(names, place, partial(decode_uu, data, start))

    def attach_bytes(self, names: tuple[str, ...], place: _Place, decode: Callable[[], tuple[bytes, str]]) -> None:
        """Record an attachment whose content ``decode`` gives, with its flaw."""

        def size() -> int | None:
            data, wrong = decode()
            return None if wrong else len(data)

        def sha256() -> str | None:
            data, wrong = decode()
            return None if wrong else sha256_hex(data)

        self.attach(names, place, size, sha256)

    def open_container(self, names: tuple[str, ...], media_type: str, read: Callable[[], bytes], place: _Place) -> None:
        """Look into an attachment that may hold others; ``read`` gives its bytes."""
        lowered = [name.lower() for name in names]

        def ends(suffix: str) -> bool:
            return any(name.endswith(suffix) for name in lowered)

        label = names[0] if names else media_type or "attachment"
        is_tnef = media_type in _TNEF_TYPES or "winmail.dat" in lowered
        is_zip = ends(".zip") or media_type in ("application/zip", "application/x-zip-compressed", "application/x-zip")
        is_msg = ends(".msg") or media_type == "application/vnd.ms-outlook"
        if not (is_tnef or is_zip or is_msg or ends(".eml")):
            return
        if place.depth + 1 >= MAX_DEPTH:
            self.flaw(place, f"containers are nested deeper than {MAX_DEPTH} levels", ATTACHMENT_KINDS)
        elif is_zip and place.zipped:
            self.flaw(place, f"{label} is a zip inside a zip, which is not opened", ATTACHMENT_KINDS)
        elif is_zip:
            self._open_zip(read(), place, place.inside(label, zipped=True))
        elif is_tnef:
            self._open_tnef(read(), place, place.inside(label, unpacked=place.own))
        elif is_msg:
            self._open_msg(read(), place, place.inside(label))
        else:
            self._open_message(read(), place.inside(label))

    def _open_zip(self, data: bytes, place: _Place, inner: _Place) -> None:
        try:
            members = open_zip(data, self._budget)
        except ZipDamagedError as error:
            self.flaw(place, f"{inner.path[-1]} cannot be opened as a zip file: {error}", ATTACHMENT_KINDS)
            return
        for member in members:
            self._count += 1
            if self._count > MAX_PARTS:
                self.flaw(inner, f"the message has more than {MAX_PARTS:,} parts")
                return
            self.attach(member.names, inner, partial(getattr, member, "size"), member.sha256)
            self.open_container(member.names, "", partial(self._read_member, member, inner), inner)

    def _read_member(self, member: ZipMember, inner: _Place) -> bytes:
        data = member.read()
        if data is None:
            why = "it is encrypted" if member.encrypted else "it is damaged or too large"
            self.flaw(inner, f"{member.names[0]} is not looked into: {why}", ATTACHMENT_KINDS)
        return data or b""

    def _open_tnef(self, data: bytes, place: _Place, inner: _Place) -> None:
        from excise.mapi.tnef import read_tnef

        try:
            item = read_tnef(data)
        except DamagedInput as error:
            self.flaw(place, f"{inner.path[-1]} cannot be opened: {error.message}")
            return
        if inner.own:
            self.mapi_items.append(item)
        self.add_item(item, inner, item.notes)

    def _open_msg(self, data: bytes, place: _Place, inner: _Place) -> None:
        from excise.mapi.msg import read_msg

        try:
            item = read_msg(data)
        except DamagedInput as error:
            self.flaw(place, f"{inner.path[-1]} cannot be opened: {error.message}", ATTACHMENT_KINDS)
            return
        self.add_item(item, inner, item.notes)

    def add_item(self, item: MapiItem, place: _Place, notes: tuple[str, ...]) -> None:
        """Walk a MAPI item."""
        for note in notes:
            self.flaw(place, note)
        if place.own:
            self._texts.append(partial(self._read_bodies, item, place))
        for attachment in item.attachments:
            self._count += 1
            if self._count > MAX_PARTS:
                self.flaw(place, f"the message has more than {MAX_PARTS:,} parts")
                return
            if attachment.embedded is not None:
                self._add_embedded(attachment, attachment.embedded, place)
            else:
                self._add_file(item, attachment, place)

    def _add_embedded(self, attachment: MapiAttachment, embedded: MapiItem, place: _Place) -> None:
        # A message in a MAPI store is no file: it has neither bytes nor a digest.
        names = distinct_names(attachment.names)
        self.attachments.append(AttachmentView(names, place.path, place.unpacked, is_item=True))
        inner = place.inside(names[0] if names else "attached message")
        if inner.depth >= MAX_DEPTH:
            self.flaw(place, f"messages are nested deeper than {MAX_DEPTH} levels")
        else:
            self.add_item(embedded, inner, embedded.notes)

    def _add_file(self, item: MapiItem, attachment: MapiAttachment, place: _Place) -> None:
        names, data = distinct_names(attachment.names), attachment.data
        if data is None:
            self.attachments.append(AttachmentView(names, place.path, place.unpacked))
            if attachment.method == AttachMethod.EmbeddedMessage or not names:
                label = names[0] if names else "an attachment"
                self.flaw(place, f"{label} is not looked into: {attachment.reason}", ATTACHMENT_KINDS)
            return
        self.attach(names, place, lambda: len(data), lambda: sha256_hex(data))
        if item.message_class.upper().endswith(".SMIME.MULTIPARTSIGNED") and _MIME_HEAD.match(data):
            self.add_entity(Part(data, 0, len(data)), place)
        elif ".SMIME" in item.message_class.upper() and data[:1] == _BER_SEQUENCE:
            self.flaw(place, "the message is encrypted, or signed in opaque form (S/MIME)")
        elif "message.rpmsg" in (name.lower() for name in names):
            self.flaw(place, "the message is encrypted (rights management)")
        else:
            self.open_container(names, attachment.mime_type, lambda: data, place)

    def _read_bodies(self, item: MapiItem, place: _Place) -> Iterator[Text]:
        from excise.mapi.body import read_bodies

        bodies = read_bodies(item)
        for note in bodies.notes:
            self.flaw(place, note, TEXT_KINDS)
        if bodies.text is not None:
            yield Text("text/plain", bodies.text)
        html = bodies.html_text()
        if html is not None:
            yield Text("text/html", html)
