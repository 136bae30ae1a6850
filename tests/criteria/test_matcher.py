"""The matcher: single terms, three-valued logic, equality with a naive matcher, the header prefilter (S07 to S12)."""

from __future__ import annotations

import base64
import hashlib
import re
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excise.core.errors import ExciseError
from excise.criteria import Branch, Clause, Criteria, Matcher
from excise.criteria.terms import AttachmentTerm, TextTerm
from excise.mapi.item import MapiAttachment, MapiItem
from excise.mapi.properties import PropertyBag
from excise.mapi.tags import PropertyTag
from excise.model.message import AttachmentView, MapiView, MimeView, Untestable

DATA = b"the payload"


def mail(
    subject: str = "Invoice overdue", *, attachment: str | None = "invoice.exe", text: str = "Click here"
) -> EmailMessage:
    found = EmailMessage()
    found["From"], found["To"], found["Cc"] = "Ann <Ann@Example.com>", "b@x.example", "c@sub.example.com"
    found["Subject"], found["Message-ID"], found["X-Mailer"] = subject, "<Id.1@x>", "Worm 1.0"
    found["Date"] = "Thu, 01 Jan 2026 12:00:00 +0000"
    found.set_content(text + " http://evil.example/a?b=1")
    if attachment is not None:
        found.add_attachment(DATA, maintype="application", subtype="octet-stream", filename=attachment)
    return found


def bag(values: dict[int, Any]) -> PropertyBag:
    return PropertyBag.of({PropertyTag.parse(tag): value for tag, value in values.items()})


def view_of(found: EmailMessage, **facts: Any) -> MimeView:
    return MimeView(found.as_bytes(policy=SMTP), **facts)


def matcher(**options: Any) -> Matcher:
    return Matcher(Criteria.from_options(timezone="UTC", **options))


TERMS: list[tuple[dict[str, Any], bool]] = [
    ({"subject": ["  invoice   OVERDUE "]}, True),
    ({"subject": ["Invoice"]}, False),
    ({"subject_contains": ["voice over"]}, True),
    ({"subject_prefix": ["inv"]}, True),
    ({"subject_prefix": ["overdue"]}, False),
    ({"subject_regex": [r"^inv\w+ over"]}, True),
    ({"subject_regex": [r"^overdue"]}, False),
    ({"attachment": ["INVOICE.EXE"]}, True),
    ({"attachment": ["*.exe"]}, True),
    ({"attachment": ["invoice.ex?", "other"]}, True),
    ({"attachment": ["*voice"]}, False),
    ({"attachment_sha256": [hashlib.sha256(DATA).hexdigest().upper()]}, True),
    ({"attachment_sha256": ["00" * 32]}, False),
    ({"from": ["ann@example.com"]}, True),
    ({"from": ["@example.com"]}, True),
    ({"from": ["@ample.com"]}, False),
    ({"recipient": ["b@x.example"]}, True),
    ({"recipient": ["@example.com"]}, False),
    ({"recipient": ["ann@example.com"]}, False),
    ({"message_id": ["Id.1@x"]}, True),
    ({"message_ids": ["<none@x>", "<id.1@X>"]}, True),
    ({"body_contains": ["CLICK  here"]}, True),
    ({"body_contains": ["absent"]}, False),
    ({"url": ["evil.example/a"]}, True),
    ({"url": ["click"]}, False),
    ({"header": ["x-mailer=worm"]}, True),
    ({"header": ["x-mailer=absent", "X-None=worm"]}, False),
    ({"conversation_id": ["00" * 16]}, False),
    ({"item_class": ["ipm.note"]}, True),
    ({"item_class": ["IPM.*"]}, True),
    ({"item_class": ["IPM.Task"]}, False),
    ({"larger": 100}, True),
    ({"smaller": 100}, False),
    ({"sent_since": "2026-01-01T12:00:00"}, True),
    ({"sent_before": "2026-01-01T12:00:00"}, False),
    ({"received_since": "2026-01-02"}, True),
    ({"received_before": "2026-01-02"}, False),
    ({"folder": ["inbox"]}, True),
    ({"folder": ["Sent"]}, False),
    ({"subject_prefix": ["inv"], "exclude_folder": ["Inbox/Sub"]}, False),
    ({"subject_prefix": ["inv"], "exclude_folder": ["Inbox/Other"]}, True),
    ({"subject": ["x"], "attachment": ["invoice.exe"]}, False),
    ({"subject": ["x"], "attachment": ["invoice.exe"], "any": True}, True),
    ({"subject": ["x", "invoice overdue"], "from": ["ann@example.com"]}, True),
]


@pytest.mark.parametrize(("options", "expected"), TERMS)
def test_each_term(options: dict[str, Any], expected: bool) -> None:
    view = view_of(mail(), folder="Inbox/Sub", delivered=datetime(2026, 1, 2, tzinfo=UTC), delivered_from="file time")
    verdict = matcher(**options).test(view)
    assert (verdict.matched, verdict.untestable) == (expected, ())
    assert bool(verdict.terms) is expected


def test_the_terms_that_matched_are_named() -> None:
    assert matcher(subject=["invoice overdue"], attachment=["*.exe"]).test(view_of(mail())).terms == (
        "subject",
        "attachment",
    )
    assert matcher(subject=["x"], attachment=["*.exe"], any=True).test(view_of(mail())).terms == ("attachment",)


def test_s09_subjects_are_compared_decoded() -> None:
    raw = b"Subject: =?utf-8?Q?Mahnung:_=C3?=\r\n =?UTF-8?B?nGJlcmbDpGxsaWc=?=\r\n\r\n"
    for form in ("Mahnung: Überfällig", "mahnung: U\u0308BERFA\u0308LLIG", "Mahnung:\u200b  Überfällig"):
        assert matcher(subject=[form]).test(MimeView(raw)).matched
    assert MimeView(raw).subject_raw == "=?utf-8?Q?Mahnung:_=C3?= =?UTF-8?B?nGJlcmbDpGxsaWc=?="


def test_s09_patterns_run_on_the_decoded_subject() -> None:
    raw = b"Subject: =?utf-8?B?" + base64.b64encode("ＦＵＬＬ\u200b  width".encode()) + b"?=\n\n"
    assert matcher(subject_regex=["^full width$"]).test(MimeView(raw)).matched


def test_s27_lone_surrogates_do_no_harm() -> None:
    raw = b"Subject: =?utf-7?Q?+2AA-invoice?=\nContent-Type: a/b; name*=utf-7''%2B2AA-x.exe\n\n"
    assert "\ud800" in (MimeView(raw).subject or "")
    assert matcher(subject_regex=["invoice"]).test(MimeView(raw)).matched
    assert matcher(attachment=["*x.exe"]).test(MimeView(raw)).matched
    found = MapiView(MapiItem(bag({0x0037001F: "a \ud800 invoice"})))
    assert matcher(subject_regex=["invoice"]).test(found).matched


def test_wildcards_by_the_thousand() -> None:
    names = [f"*invoice number {n}.exe" for n in range(3000)]
    assert matcher(attachment=names).test(view_of(mail(attachment="my invoice number 2999.exe"))).matched


def test_s10_names_and_digests_inside_attached_messages() -> None:
    outer = mail("forwarded", attachment=None)
    outer.add_attachment(mail())
    for options in ({"attachment": ["invoice.exe"]}, {"attachment_sha256": [hashlib.sha256(DATA).hexdigest()]}):
        assert matcher(**options).test(view_of(outer)).matched


ENCRYPTED = (
    b"Subject: secret plan\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n\nx"
)


def test_s11_an_encrypted_body_is_untestable_for_attachments_and_not_for_its_subject() -> None:
    view = MimeView(ENCRYPTED)
    assert matcher(subject=["secret plan"]).test(view).matched
    assert matcher(subject=["other"]).test(view) == (False, (), ())
    verdict = matcher(attachment=["invoice.exe"]).test(view)
    assert not verdict.matched
    assert [problem.term_kind for problem in verdict.untestable] == ["attachment"]
    assert matcher(attachment=["smime.p7m"]).test(view).matched


def test_s11_only_an_open_outcome_is_reported() -> None:
    view = MimeView(ENCRYPTED)
    # The subject decides alone, whichever way.
    assert matcher(subject=["other"], attachment=["invoice.exe"]).test(view) == (False, (), ())
    assert matcher(subject=["secret plan"], attachment=["invoice.exe"], any=True).test(view).matched
    # It does not where the attachment has the last word.
    assert matcher(subject=["secret plan"], attachment=["invoice.exe"]).test(view).untestable
    assert matcher(subject=["other"], attachment=["invoice.exe"], any=True).test(view).untestable


def test_s11_a_negated_term_that_cannot_be_told_is_reported() -> None:
    criteria = Criteria.from_toml("subject = 'secret plan'\nnot = {attachment = 'invoice.exe'}")
    verdict = Matcher(criteria).test(MimeView(ENCRYPTED))
    assert not verdict.matched
    assert verdict.untestable[0].term_kind == "attachment"
    assert (
        not Matcher(Criteria.from_toml("subject = 'secret plan'\nnot = {attachment = 'smime.p7m'}"))
        .test(MimeView(ENCRYPTED))
        .untestable
    )


@pytest.mark.parametrize("option", ["received_since", "received_before", "sent_since", "sent_before"])
def test_s11_a_time_that_is_not_known_is_untestable(option: str) -> None:
    verdict = matcher(**{option: "2026-01-01"}).test(MimeView(b"Subject: x\n\n"))
    assert [problem.term_kind for problem in verdict.untestable] == [option.replace("_", "-")]


def test_s12_a_reply_does_not_match_the_whole_subject() -> None:
    assert not matcher(subject=["invoice overdue"]).test(view_of(mail("Re: Invoice overdue"))).matched
    outer = mail("forwarded", attachment=None)
    outer.add_attachment(mail())
    assert not matcher(subject=["invoice overdue"]).test(view_of(outer)).matched


class _Watched(MimeView):
    """A view that fails where its body is asked for."""

    def attachments(self) -> Iterator[AttachmentView]:
        raise AssertionError("the body was parsed")

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        assert term_kind != "attachment"
        return super().untestable(term_kind)


def test_dear_terms_are_tested_only_where_the_outcome_depends_on_them() -> None:
    view = _Watched(mail().as_bytes())
    assert not matcher(subject=["other"], attachment=["*.exe"]).test(view).matched
    assert matcher(subject=["invoice overdue"], attachment=["*.exe"], any=True).test(view).matched
    assert not matcher(subject=["x"]).needs_body
    assert matcher(subject=["x"], attachment=["*.exe"]).needs_body


def test_ten_thousand_ids_are_one_look_up() -> None:
    found = matcher(message_ids=[f"<{n}@x>" for n in range(10_000)])
    start = time.process_time()
    for _ in range(2000):
        found.rejects_header(b"Message-ID: <none@x>\nSubject: x\n\n")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("pattern", ["(a+)+bcd", "(a|aa)*bcd$", "(.*)(.*)(.*)(.*)bcd"])
def test_s27_no_pattern_hangs(pattern: str) -> None:
    start = time.process_time()
    assert not matcher(subject_regex=[pattern]).test(MimeView(b"Subject: " + b"a" * 20_000 + b"\n\n")).matched
    assert not matcher(attachment=["*a*a*a*a*a*a*b"]).test(view_of(mail(attachment="a" * 500))).matched
    assert time.process_time() - start < 2


def test_mapi_items_are_matched_by_their_properties() -> None:
    inner = MapiItem(
        bag({0x0037001F: "inner"}),
        attachments=(MapiAttachment(bag({0x3707001F: "deep.exe"}), data=DATA),),
    )
    item = MapiItem(
        bag(
            {
                0x0037001F: "\x01\x05RE: Hello",
                0x1035001F: "<1@x>",
                0x5D01001F: "ann@example.com",
                0x0C1A001F: "Ann",
                0x0E060040: datetime(2026, 1, 2, tzinfo=UTC),
                0x1000001F: "the body www.evil.example",
                0x007D001F: "X-Mailer: worm\r\nCc: c@x.example\r\n",
            }
        ),
        recipients=(bag({0x39FE001F: "b@x.example", 0x0C150003: 1}),),
        attachments=(
            MapiAttachment(bag({0x3704001F: "LONGNA~1.EXE", 0x3707001F: "long name.exe"}), data=b"x"),
            MapiAttachment(bag({0x3001001F: "inner", 0x37050003: 5}), embedded=inner),
        ),
    )
    view = MapiView(item, folder="Inbox")
    for options in (
        {"subject": ["re: hello"]},
        {"attachment": ["longna~1.exe"]},
        {"attachment": ["long name.exe"]},
        {"attachment": ["deep.exe"]},
        {"attachment_sha256": [hashlib.sha256(DATA).hexdigest()]},
        {"from": ["ann@example.com"]},
        {"recipient": ["b@x.example"]},
        {"recipient": ["c@x.example"]},
        {"message_id": ["1@x"]},
        {"header": ["X-Mailer=worm"]},
        {"body_contains": ["the body"]},
        {"url": ["evil.example"]},
        {"received_since": "2026-01-02", "received_before": "2026-01-03"},
    ):
        verdict = matcher(**options).test(view)
        assert (verdict.matched, verdict.untestable) == (True, ()), options
    assert view.received_from == "PidTagMessageDeliveryTime"
    unreachable = MapiItem(item.properties, attachments=(MapiAttachment(bag({0x37050003: 5}), reason="out of reach"),))
    assert matcher(attachment=["deep.exe"]).test(MapiView(unreachable)).untestable
    assert matcher(recipient=["b@x.example"]).test(MapiView(MapiItem(PropertyBag(), notes=("table cut",)))).untestable


# --- against a naive matcher -----------------------------------------------------------------------------------------

WORDS = [
    "Invoice",
    "überfällig",
    "中文",
    "pay now",
    "  two  spaces ",
    "Straße",
    "é",
    "e\u0301",
    "ＡＢＣ",
    "x\u200by",
    "",
]
SUBJECT = st.lists(st.sampled_from(WORDS), min_size=0, max_size=3).map(" ".join)
NAME = st.sampled_from(["invoice.exe", "Übersicht.pdf", "a b.txt", "INVOICE.EXE", "readme"])
BODY = st.sampled_from(["click here", "nothing", "Überweisung http://x.example/pay"])
DAYS = st.integers(0, 9)
START = datetime(2026, 1, 1, tzinfo=UTC)


def encoded_subject(text: str, how: str) -> bytes:
    """The subject in one of the ways in which mailers write it."""
    data = text.encode()
    if how == "raw" or (how == "plain" and text.isascii()):
        return data
    if how == "q":
        return b"=?UTF-8?Q?" + b"".join(b"=%02X" % byte for byte in data) + b"?="
    if how == "split":
        half = len(data) // 2
        return b"\r\n ".join(b"=?utf-8?B?" + base64.b64encode(piece) + b"?=" for piece in (data[:half], data[half:]))
    return b"=?utf-8?b?" + base64.b64encode(data) + b"?="


FACTS = st.fixed_dictionaries(
    {
        "subject": SUBJECT,
        "encoding": st.sampled_from(["plain", "q", "b", "split", "raw"]),
        "names": st.lists(NAME, max_size=2),
        "from": st.sampled_from(["a@x.example", "B@X.example", "c@other.example"]),
        "body": BODY,
        "sent": DAYS.map(lambda day: START + timedelta(days=day)),
        "id": st.sampled_from(["<1@x>", "<2@x>"]),
    }
)


def message_of(facts: dict[str, Any]) -> bytes:
    """A message made of ``facts``."""
    found = EmailMessage()
    found["From"], found["Message-ID"], found["Date"] = facts["from"], facts["id"], format_datetime(facts["sent"])
    found.set_content(facts["body"])
    for name in facts["names"]:
        found.add_attachment(DATA, maintype="application", subtype="octet-stream", filename=name)
    subject = encoded_subject(facts["subject"], facts["encoding"])
    return b"Subject: " + subject + b"\r\n" + found.as_bytes(policy=SMTP)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.lists(SUBJECT, min_size=1, max_size=2),
        "subject_contains": st.lists(st.sampled_from(WORDS), min_size=1, max_size=2),
        "subject_prefix": st.lists(st.sampled_from(WORDS), min_size=1, max_size=1),
        "subject_regex": st.lists(
            st.sampled_from(["inv.*pay", "^invoice", "straße$", "x?yz?abc"]), min_size=1, max_size=1
        ),
        "attachment": st.lists(st.sampled_from(["*.exe", "übersicht.p?f", "readme", "*b.t*"]), min_size=1, max_size=2),
        "from": st.lists(st.sampled_from(["a@x.example", "@x.example", "b@x.example"]), min_size=1, max_size=2),
        "message_id": st.just(["<1@x>"]),
        "body_contains": st.lists(st.sampled_from(["click", "überweisung"]), min_size=1, max_size=1),
        "url": st.just(["x.example/pay"]),
        "sent_since": DAYS.map(lambda day: (START + timedelta(days=day)).isoformat()),
        "any": st.booleans(),
    },
)


def plain(text: str) -> str:
    """S09's form, written out from the rule and not from the code."""
    text = "".join(char for char in text if char not in "\u200b\u200e\u202e")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def naive(options: dict[str, Any], facts: dict[str, Any]) -> bool:
    """What the options mean, one `any` or `all` after the other."""
    subject = plain(facts["subject"])
    tests: dict[str, Any] = {
        "subject": lambda wanted: subject == plain(wanted),
        "subject_contains": lambda wanted: plain(wanted) in subject,
        "subject_prefix": lambda wanted: subject.startswith(plain(wanted)),
        "subject_regex": lambda wanted: re.search(
            wanted,
            " ".join(unicodedata.normalize("NFKC", facts["subject"].replace("\u200b", "")).split()),
            re.IGNORECASE,
        ),
        "attachment": lambda wanted: any(
            re.fullmatch(re.escape(wanted).replace(r"\*", ".*").replace(r"\?", "."), plain(name))
            for name in facts["names"]
        ),
        "from": lambda wanted: (
            facts["from"].lower() == wanted or (wanted[0] == "@" and facts["from"].lower().endswith(wanted))
        ),
        "message_id": lambda wanted: facts["id"] == wanted,
        "body_contains": lambda wanted: wanted in plain(facts["body"]),
        "url": lambda wanted: wanted in facts["body"],
    }
    groups: dict[str, list[bool]] = {}
    for name, wanted in options.items():
        if name in tests:
            group = "subject" if name.startswith("subject") else name
            if group == "attachment" and options.get("any"):
                group = "subject"
            groups.setdefault(group, []).extend(bool(tests[name](text)) for text in wanted)
    if "sent_since" in options:
        groups["sent"] = [facts["sent"] >= datetime.fromisoformat(options["sent_since"])]
    return all(any(answers) for answers in groups.values())


@settings(max_examples=400)
@given(FACTS, OPTIONS)
def test_s07_the_matcher_equals_a_naive_one(facts: dict[str, Any], options: dict[str, Any]) -> None:
    data = message_of(facts)
    try:
        found = Matcher(Criteria.from_options(**options))
    except ExciseError:
        return
    verdict = found.test(MimeView(data))
    assert (verdict.matched, verdict.untestable) == (naive(options, facts), ())
    header = data[: data.find(b"\r\n\r\n")]
    if not found.needs_body:
        assert found.rejects_header(header) is not verdict.matched
    elif found.rejects_header(header):
        assert not verdict.matched


SUBJECT_KINDS = frozenset({"subject", "subject-contains", "subject-prefix", "subject-regex"})
KINDS = ["from", "sent-since", "attachment", "body-contains", "message-id", "url"]


class Part(MimeView):
    """A message of which the terms of some kinds cannot be answered; what it says of them is wrong."""

    hidden: frozenset[str] = frozenset()

    def untestable(self, term_kind: str) -> tuple[Untestable, ...]:
        return (Untestable(term_kind, "hidden"),) if term_kind in self.hidden else super().untestable(term_kind)

    @property
    def subjects(self) -> tuple[str, ...]:
        return () if "subject" in self.hidden else super().subjects

    def attachments(self) -> Iterator[AttachmentView]:
        return iter(()) if "attachment" in self.hidden else super().attachments()


@settings(max_examples=400)
@given(FACTS, OPTIONS, st.frozensets(st.sampled_from(KINDS)), st.booleans())
def test_s07_a_part_of_a_message_rejects_only_what_the_whole_does_not_match(
    facts: dict[str, Any], options: dict[str, Any], hidden: frozenset[str], subject: bool
) -> None:
    try:
        found = Matcher(Criteria.from_options(**options))
    except ExciseError:
        return
    data = message_of(facts)
    part = Part(data)
    part.hidden = hidden | (SUBJECT_KINDS if subject else frozenset())
    verdict = found.test(MimeView(data))
    surely_not = not verdict.matched and not verdict.untestable
    assert found.rejects(MimeView(data)) is surely_not
    if found.rejects(part):
        assert surely_not
        assert found.may_reject_by(set(found.criteria.kinds()) - part.hidden)


def test_s07_a_part_without_a_subject_does_not_reject_a_negated_one() -> None:
    def clause(*terms: Any) -> Clause:
        return Clause(any_of=terms)

    attached = clause(AttachmentTerm(kind="attachment", text="a.exe"))
    negated = clause(TextTerm(kind="subject", text="x", negated=True))
    found = Matcher(Criteria(any_of=(Branch(all_of=(attached, negated)),)))
    part = Part(b"Subject: x\n\n")
    assert found.rejects(part)
    part.hidden = frozenset({"subject"})
    assert found.rejects(part), "it has no attachment"
    part.hidden = frozenset({"subject", "attachment"})
    assert not found.rejects(part)
    assert not found.may_reject_by({"body-contains"})
    assert found.may_reject_by({"subject"})


PIECES = st.sampled_from(
    [
        *(
            b"Subject:",
            b"subject :",
            b" =?utf-8?Q?in?=",
            b"=?utf-8?B?dm9pY2U=?=",
            b"voice",
            b"in",
            b"From: a@x.example",
        ),
        *(b"\r\n", b"\n", b"\n ", b"\n\n", b"\r", b" ", b":", b"\x00", b"\xff", b"\xef\xbb\xbf", b"junk", b"From x"),
        *(b"X-MS-Journal-Report:", b"Content-Type: message/rfc822", b"Date: 1 Jan 2026", b"Message-ID: <1@x>"),
        b"Received: x; 1 Jan 2026 00:00:00 +0000",
    ]
)
HEADER_OPTIONS: list[dict[str, Any]] = [
    {"subject": ["invoice"]},
    {"subject_contains": ["voice"]},
    {"subject_prefix": ["in"], "from": ["a@x.example"]},
    {"subject_regex": ["^invoice$"]},
    {"message_id": ["1@x"]},
    {"received_since": "2026-01-02"},
    {"sent_since": "2026-01-02"},
    {"from": ["a@x.example"], "attachment": ["*.exe"]},
    {"subject": ["invoice"], "attachment": ["*.exe"], "any": True},
    {"header": ["from=a@x"]},
]


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=14).map(b"".join), st.sampled_from(HEADER_OPTIONS))
def test_s07_the_header_prefilter_equals_the_slow_test(data: bytes, options: dict[str, Any]) -> None:
    found = matcher(**options)
    verdict = found.test(MimeView(data))
    surely_not = not verdict.matched and not verdict.untestable
    if found.rejects_header(data):
        assert surely_not
    elif surely_not and not found.needs_body:
        # It may keep only what it cannot tell from the header alone.
        assert MimeView(data).claims_journal


def test_s07_a_negated_subject_is_not_rejected_wrongly() -> None:
    criteria = Criteria(
        any_of=(
            Branch(
                all_of=(
                    Clause(any_of=(AttachmentTerm(kind="attachment", text="a.exe"),)),
                    Clause(any_of=(TextTerm(kind="subject", text="x", negated=True),)),
                )
            ),
        )
    )
    assert not Matcher(criteria).rejects_header(b"Subject: y\n\n")
    assert Matcher(criteria).rejects_header(b"Subject: x\n\n")


def test_s07_journal_reports_are_not_rejected_by_their_outer_subject() -> None:
    inner = b"Subject: evil\n\nx"
    data = (
        b"Subject: report\nX-MS-Journal-Report:\nContent-Type: multipart/mixed; boundary=j\n\n"
        b"--j\nContent-Type: text/plain\n\nx\n--j\nContent-Type: message/rfc822\n\n" + inner + b"\n--j--\n"
    )
    found = matcher(subject=["evil"])
    assert found.test(MimeView(data)).matched
    assert not found.rejects_header(data[: data.find(b"\n\n")])


def test_the_header_prefilter_is_fast() -> None:
    filler = b"".join(b"Received: from a.example by b.example; Thu, 1 Jan 2026 00:00:00 +0000\r\n" for _ in range(12))
    header = filler + b"From: a@x.example\r\nSubject: =?utf-8?Q?weekly_report?=\r\nTo: b@x.example\r\n"
    found = matcher(subject=["invoice overdue"])
    start = time.process_time()
    for _ in range(5_000):
        assert found.rejects_header(header)
    # The aim is 60,000 in a second; a busy machine gets room.
    assert time.process_time() - start < 0.5


def test_the_standard_library_agrees_on_the_fixtures() -> None:
    theirs = message_from_bytes(mail().as_bytes(policy=SMTP), policy=default)
    assert theirs["subject"] == view_of(mail()).subject
    assert [part.get_filename() for part in theirs.iter_attachments()] == [
        a.name for a in view_of(mail()).attachments()
    ]


@pytest.mark.parametrize(
    ("written", "asked", "same"),
    [
        ('"ann"@x.example', "ann@x.example", True),
        ("ann@x.example", '"ann"@x.example', True),
        ('"ann.lee"@x.example', "ann.lee@x.example", True),
        ('"an n"@x.example', "ann@x.example", False),
        ('"ann."@x.example', "ann.@x.example", False),
        ('"an\\n"@x.example', "ann@x.example", False),
    ],
)
def test_a_local_part_in_quotes_that_need_not_be_there(written: str, asked: str, same: bool) -> None:
    view = MimeView(f"From: <{written}>\r\nSubject: s\r\n\r\nt\r\n".encode())
    assert matcher(**{"from": [asked]}).test(view).matched is same
