"""S07-S11: the one matcher against a second opinion that was written separately, on made-up real-world mail."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from email import message_from_bytes
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from criteria.mail import DELIVERED, FOLDERS, PEOPLE, Mail, header_values, mails, parameters, texts
from criteria.naive import Naive, compared, decoded, names
from excise.core.errors import Refused, UsageError
from excise.criteria import Criteria, Matcher
from excise.model.message import MimeView

_SLOW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def _typed(draw: Any, text: str) -> str:
    """``text`` as a person would type it: other case, other spaces, composed or decomposed."""
    change = draw(st.sampled_from(["same", "upper", "spaces", "NFD", "NFC", "mark"]))
    if change == "upper":
        return text.upper()
    if change == "spaces":
        return f" {text}  ".replace(" ", " \t ")
    if change in ("NFD", "NFC"):
        return unicodedata.normalize(change, text)
    return text + "\u200b" if change == "mark" else text


@st.composite
def _options(draw: Any, mail: Mail) -> dict[str, Any]:
    """Criteria that fit the message, nearly fit it, or do not."""
    other = draw(texts)

    def some(values: list[str]) -> list[str]:
        return [draw(_typed(draw(st.sampled_from([*values, other] if values else [other]))))]

    words = mail.subject.split(" ")
    when = (DELIVERED + timedelta(hours=draw(st.integers(-2200, 200)), minutes=1)).isoformat()
    makers: dict[str, Any] = {
        "subject": lambda: some([mail.subject]),
        "subject_contains": lambda: some(words),
        "subject_prefix": lambda: some([words[0], " ".join(words[:2])]),
        "subject_regex": lambda: [draw(st.sampled_from(["invoi[cs]e", "virus$", "^ILOVE", "over.ue\\b", "счёт"]))],
        "attachment": lambda: [
            draw(st.sampled_from([*mail.names, "*.exe", "Invo?ce*", "*.pdf.zip", "*virus*", other]))
        ],
        "attachment_sha256": lambda: [draw(st.sampled_from([*mail.digests, "0" * 64]))],
        "from": lambda: [draw(st.sampled_from([*PEOPLE, "@example.com", "@EXAMPLE.net"]))],
        "recipient": lambda: [draw(st.sampled_from([*PEOPLE, "@example.com", "@mail.example.org"]))],
        "message_id": lambda: [draw(st.sampled_from([mail.message_id, f"<{mail.message_id}>", "9.x@example.com"]))],
        "header": lambda: [draw(st.sampled_from(["X-Tag=Spam score", "x-tag=low", "X-None=spam", "Subject=virus"]))],
        "body_contains": lambda: some(mail.tokens),
        "url": lambda: [draw(st.sampled_from([*mail.links, "evil.example", "nowhere.example"]))],
        "larger": lambda: draw(st.sampled_from(["10", "1000", "100000"])),
        "smaller": lambda: draw(st.sampled_from(["10", "1000", "100000"])),
        "received_since": lambda: when,
        "received_before": lambda: when,
        "sent_since": lambda: when,
        "sent_before": lambda: when,
        "folder": lambda: [draw(st.sampled_from(FOLDERS))],
        "exclude_folder": lambda: [draw(st.sampled_from(FOLDERS))],
    }
    kinds = draw(st.lists(st.sampled_from(sorted(makers)), min_size=1, max_size=3, unique=True))
    options = {kind: makers[kind]() for kind in kinds}
    if "subject" in "".join(kinds) and "attachment" in "".join(kinds) and draw(st.booleans()):
        options["any"] = True
    return options


@_SLOW
@given(st.data())
def test_s07_the_matcher_agrees_with_a_naive_one(data: st.DataObject) -> None:
    mail = data.draw(mails())
    options = data.draw(_options(mail))
    try:
        matcher = Matcher(Criteria.from_options(**options))
    except (Refused, UsageError):
        # Criteria that limit nothing or exclude everything have tests of their own.
        return
    view = MimeView(mail.data, delivered=DELIVERED, delivered_from="file time", folder=mail.folder)
    expected = Naive(mail.data, mail.folder, DELIVERED).matches(options)
    verdict = matcher.test(view)
    note(f"{options}\n{mail.data!r}")
    assert verdict.matched == expected
    header = mail.data.partition(b"\r\n\r\n" if b"\r\n\r\n" in mail.data else b"\n\n")[0]
    assert not (expected and matcher.rejects_header(header)), "a prefilter leaves out what matches"


@_SLOW
@given(mails())
def test_s09_s10_what_a_person_wrote_is_found(mail: Mail) -> None:
    """By construction, without any reader's opinion: the subject and each name and digest are known."""
    view = MimeView(mail.data, delivered=DELIVERED, folder=mail.folder)
    note(repr(mail.data))
    assert [compared(subject) for subject in view.subjects] == [compared(mail.subject)]
    found = {compared(name) for one in view.attachments() for name in one.names}
    assert {compared(name) for name in mail.names} <= found
    assert set(mail.digests) <= {one.sha256() for one in view.attachments()}
    assert list(view.untestable("subject")) == list(view.untestable("attachment-sha256")) == []


@_SLOW
@given(st.data())
def test_the_naive_decoder_reads_what_was_written(data: st.DataObject) -> None:
    """The oracle itself, against what is known by construction."""
    text = data.draw(texts)
    assert compared(decoded(data.draw(header_values(text)))) == compared(text)
    part = message_from_bytes(
        b"Content-Disposition: attachment" + data.draw(parameters(text, "filename")) + b"\r\n\r\n"
    )
    assert [compared(name) for name in names(part)] == [compared(text)]
