"""The message class that Exchange gives to a MIME message ([MS-OXCMAIL] 2.2.3, 2.1.3.2)."""

from __future__ import annotations

from excise.mapi.report_class import report_class
from excise.mime.headers import HeaderBlock, decode_header
from excise.mime.multipart import Part
from excise.mime.parameters import parse_field
from excise.model.contents import Contents

_SIGNED = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})
_PKCS7 = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_MEETING = {
    "request": "IPM.Schedule.Meeting.Request",
    "cancel": "IPM.Schedule.Meeting.Canceled",
    "publish": "IPM.Appointment",
}
_ANSWER = {"accepted": "Pos", "declined": "Neg", "tentative": "Tent"}
_CUSTOM = "urn:content-class:custom."


def mime_item_class(block: HeaderBlock, contents: Contents) -> str:
    """The class: reports, S/MIME, meetings, InfoPath and custom classes; ``IPM.Note`` for everything else."""
    for item in contents.mapi_items:
        return item.message_class
    root = parse_field(block.first(b"content-type"))
    if root.value == "multipart/report":
        parts = ((part.content_type.value, part.content.decode()[0]) for part in contents.parts)
        return report_class((root.get("report-type") or "").lower(), parts)
    if root.value == "multipart/signed" and (root.get("protocol") or "").lower() in _SIGNED:
        return "IPM.Note.SMIME.MultipartSigned"
    if root.value in _PKCS7:
        return "IPM.Note.SMIME"
    content_class = decode_header(block.first(b"content-class") or b"")
    if content_class.lower().startswith(_CUSTOM):
        return f"IPM.Note.Custom.{content_class[len(_CUSTOM) :]}"
    if content_class.lower().startswith("infopathform."):
        return f"IPM.{content_class}"
    return next((found for part in contents.parts if (found := _calendar_class(part))), "IPM.Note")


def _calendar_class(part: Part) -> str | None:
    if part.content_type.value != "text/calendar" or part.disposition.value == "attachment":
        return None
    method = (part.content_type.get("method") or "").lower()
    if method == "reply":
        text = part.content.decode()[0].decode("utf-8", "replace").lower()
        answer = next((code for word, code in _ANSWER.items() if f"partstat={word}" in text), None)
        return f"IPM.Schedule.Meeting.Resp.{answer}" if answer else "IPM.Note"
    return _MEETING.get(method, "IPM.Note" if method else "IPM.Appointment")
