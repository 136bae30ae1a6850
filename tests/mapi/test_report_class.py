"""The class of reports, by [MS-OXCMAIL] 2.2.3.7."""

from __future__ import annotations

import pytest

from excise.mapi.report_class import report_class
from excise.model.message import MimeView

STATUS, DISPOSITION = "message/delivery-status", "message/disposition-notification"


@pytest.mark.parametrize(
    ("media_type", "content", "expected"),
    [
        (STATUS, b"Reporting-MTA: dns; x\r\n\r\nAction: failed\r\n", "NDR"),
        (STATUS, b"Action: delivered\n\nAction: relayed\n", "Relayed.DR"),
        (STATUS, b"Action: delivered\n\nAction: failed\n\nAction: delayed\n", "NDR"),
        (STATUS, b"action : EXPANDED\n", "Expanded.DR"),
        (STATUS, b"Action: delayed", "Delayed.DR"),
        (STATUS, b"Action: delivered", "DR"),
        (STATUS, b"Diagnostic-Code: smtp;\n Action: delivered\nAction: failed", "NDR"),
        (STATUS, b"nothing", "NDR"),
        (DISPOSITION, b"Disposition: manual-action/MDN-sent-manually; displayed\r\n", "IPNRN"),
        (DISPOSITION, b"Disposition: manual-action/MDN-sent-manually;\r\n  displayed\r\n", "IPNRN"),
        (DISPOSITION, b"Disposition: a/b; deleted\r\nX: displayed\r\n", "IPNNRN"),
    ],
)
def test_each_action_has_its_class(media_type: str, content: bytes, expected: str) -> None:
    report_type = media_type.partition("/")[2]
    assert report_class(report_type, [("text/plain", b"Action: x"), (media_type, content)]) == (
        f"REPORT.IPM.Note.{expected}"
    )
    mail = b"Content-Type: multipart/report; report-type=%b; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: %b\n\n"
    mail = mail % (report_type.encode(), media_type.encode()) + content + b"\n--b--\n"
    assert MimeView(mail).item_class == f"REPORT.IPM.Note.{expected}"


def test_a_report_of_another_kind_is_a_note() -> None:
    assert report_class("feedback-report", [("message/feedback-report", b"Feedback-Type: abuse")]) == "IPM.Note"
