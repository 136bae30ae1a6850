"""Damage that an independent oracle found: each was missed in silence once (S09, S10)."""

from __future__ import annotations

import pytest

from excise.criteria import Criteria, Matcher
from excise.model.message import MimeView


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        (b"Subject: gr\xc3\xbc\xe2\x80\n\nx", {"subject_contains": ["grü"]}),
        (b"Subject: x\xc3\xbcy =?cp932?B?gsCC?=\n\nx", {"subject_contains": ["ぢ"]}),
        (b"Subject: =?cp932?B?gsCC?=\n\nx", {"subject_contains": ["ぢ"]}),
        (b"Message-ID: <a@b> (added by postmaster@x)\n\nx", {"message_id": ["a@b"]}),
        (b"Message-ID: <A@b>\n\nx", {"message_id": ["<a@B>"]}),
        (
            b"Content-Type: application/x\nContent-Disposition: attachment; filename='a b.exe'\n\nx",
            {"attachment": ["*.exe"]},
        ),
    ],
)
def test_s09_what_was_missed_is_found(raw: bytes, options: dict[str, list[str]]) -> None:
    matcher = Matcher(Criteria.from_options(**options))
    assert matcher.test(MimeView(raw)).matched
    assert not matcher.rejects_header(raw.partition(b"\n\n")[0] + b"\n")


def test_s09_windows_text_is_not_taken_for_cut_utf8() -> None:
    assert MimeView("Subject: café".encode("cp1252") + b"\n\nx").subject == "café"
