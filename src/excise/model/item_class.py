"""The message class that Exchange gives to a MIME message ([MS-OXCMAIL] 2.2.3, 2.1.3.2)."""

from __future__ import annotations

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
_DELIVERY = {
    "failed": "NDR",
    "delivered": "DR",
    "expanded": "Expanded.DR",
    "relayed": "Relayed.DR",
    "delayed": "Delayed.DR",
}
_CUSTOM = "urn:content-class:custom."


def mime_item_class(block: HeaderBlock, contents: Contents) -> str:
    """The class: reports, S/MIME, meetings, InfoPath and custom classes; ``IPM.Note`` for everything else."""
    for item in contents.mapi_items:
        return item.message_class
    root = parse_field(block.first(b"content-type"))
    if root.value == "multipart/report":
        return _report_class((root.get("report-type") or "").lower(), contents.parts)
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


def _report_class(report_type: str, parts: list[Part]) -> str:
    for part in parts:
        if part.content_type.value == "message/disposition-notification" or report_type == "disposition-notification":
            text = part.content.decode()[0].decode("utf-8", "replace").lower()
            if "disposition:" in text:
                return "REPORT.IPM.Note.IPNRN" if "displayed" in text else "REPORT.IPM.Note.IPNNRN"
        if part.content_type.value in ("message/delivery-status", "message/global-delivery-status"):
            for line in part.content.decode()[0].decode("utf-8", "replace").lower().splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "action" and value.strip() in _DELIVERY:
                    return f"REPORT.IPM.Note.{_DELIVERY[value.strip()]}"
    return "IPM.Note" if report_type not in ("delivery-status", "disposition-notification") else "REPORT.IPM.Note.NDR"
