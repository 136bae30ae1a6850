"""What criteria can be made, and what cannot (S01, S02); their canonical form and their words."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from excise.core.errors import DamagedInput, ExciseError, Refused, UsageError
from excise.criteria import Branch, Clause, Criteria
from excise.criteria.limits import LITERALS_NEEDED, NotJudgedError, regex_literals
from excise.criteria.terms import DateTerm, FolderTerm, RegexTerm, TextTerm, compile_regex

BLANK = ["", " ", "\t\r\n", "\u200b\u200e", "\u202e", "\u00ad", "\ufeff", "\u3000", "\u3164", "\0"]
TEXT_OPTIONS = [
    "subject",
    "subject_contains",
    "subject_prefix",
    "subject_regex",
    "attachment",
    "body_contains",
    "url",
    "from",
]
TEXT_OPTIONS += ["recipient", "message_id", "item_class", "folder", "exclude_folder"]


def refused(rule: str, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        Criteria.from_options(**options)
    assert caught.value.rule == rule
    assert caught.value.exit_code == 3
    return caught.value.message


def test_s01_no_criteria_are_refused() -> None:
    assert "no criteria must not mean all mail" in refused("S01")
    refused("S01", subject=[], attachment=(), any=True, timezone="UTC")
    refused("S01", message_ids=[])


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("option", TEXT_OPTIONS)
def test_s01_blank_terms_are_refused_even_beside_others(option: str, blank: str) -> None:
    refused("S01", **{option: [blank]})
    refused(
        "S01", **{option: [blank], "body_contains": ["a real text"]} if option != "body_contains" else {option: [blank]}
    )


@pytest.mark.parametrize("blank", BLANK)
def test_s01_blank_headers_and_ids_are_refused(blank: str) -> None:
    refused("S01", header=[f"Subject={blank}"])
    refused("S01", message_id=[f"<{blank}>"])
    refused("S01", folder=[f"/{blank}/"])
    refused("S01", **{"from": [f"@{blank}"]})


LIMITLESS = ["*", "?*", "**", "*.*", "???", "*a*", "a*", "*ab?", "＊ａ＊", "* . *", "*\u200babc"[:3]]


@pytest.mark.parametrize("pattern", LIMITLESS)
def test_s01_wildcards_need_three_literal_characters(pattern: str) -> None:
    assert "literal characters" in refused("S01", attachment=[pattern])
    refused("S01", attachment=[pattern, "named.exe"])
    refused("S01", item_class=["*"])


@pytest.mark.parametrize("pattern", ["*.exe", "a?b*c", "a", "中", "*.py"])
def test_wildcards_that_limit(pattern: str) -> None:
    Criteria.from_options(attachment=[pattern])


UNLIMITED = [
    r".*",
    r".",
    r".+",
    r"\S",
    r"\S+",
    r"\w\w\w",
    r"[a-z]+",
    r"[a-z]{10}",
    r"(a|b|)",
    r"(?:abc)?",
    r"(?:abc)*",
    r"(?:abc){0}",
    r"(?:abc){0,5}",
    r"x*",
    r"abc|.*",
    r"abc|",
    r"|abc",
    r"(abc|de)",
    r"a.b",
    r"[\s\S]*",
    r"(.|\n)*",
    r"^$",
    r"^",
    r"(?i)",
    r"(?i:)",
    r"[^a]",
    r"[[:alpha:]]{3}",
    r"[[:alpha:]][[:alpha:]][[:alpha:]]",
    r"\pL\pL\pL",
    r"\p{Greek}{5}",
    r"\d\d\d\d",
    r"\b\b\b\b",
    r"\x20\x20\x20",
    r"()()()",
    r"(())",
    r"ab\s+",
    r"[abc][abc][abc]",
    r"\t\t\t",
    r"\QA\E.*",
    r"(?:ab|cde)",
    r"((ab)c?)+",
    r"\x{200b}\x{200b}\x{200b}",
    r".{3}",
    r"a{2}",
    r"(?P<n>ab)",
]


@pytest.mark.parametrize("pattern", UNLIMITED)
def test_s01_patterns_that_need_not_hold_three_literals_are_refused(pattern: str) -> None:
    compile_regex(pattern)
    refused("S01", subject_regex=[pattern])
    refused("S01", subject_regex=[pattern, "limiting"])


LIMITED = [
    r"abc",
    r"(abc|abd)",
    r"ab+c",
    r"a{3}",
    r"(?:ab){2}",
    r"foo.*bar",
    r"^inv\d+",
    r"(?i)abc",
    r"(?i:abc)",
    r"(?P<n>abc)",
    r"[Ii]nvoice",
    r"a\.b",
    r"[.]exe",
    r"\Qa.b\E",
    r"(foo|bar|bazooka)",
    r"\x41bc",
    r"a.b.c",
    r"((abc))",
    r"abc{0}de",
    r"(?:|x)abc",
    r"[]]abc",
    r"a{,3}bcd",
]


@pytest.mark.parametrize("pattern", [p for p in LIMITED if "{,3}" not in p])
def test_patterns_that_limit(pattern: str) -> None:
    Criteria.from_options(subject_regex=[pattern])


@pytest.mark.parametrize("pattern", [r"a{,3}bcd", r"(?=abc)", r"\kabc", "(abc", "[abc", "(" * 200 + "abc" + ")" * 200])
def test_s01_what_cannot_be_judged_is_refused(pattern: str) -> None:
    with pytest.raises(NotJudgedError):
        regex_literals(pattern)


@pytest.mark.parametrize("pattern", ["(", "[a", r"(?=a)", r"\1", "a**", "(?x)a", "a{2000}"])
def test_patterns_that_re2_refuses_are_wrong_usage(pattern: str) -> None:
    with pytest.raises(UsageError, match="RE2"):
        Criteria.from_options(subject_regex=[pattern])


ATOMS = st.sampled_from(["a", "b", ".", r"\w", "[ab]", "[^a]", r"\s", " ", "[a]", r"\.", "^", r"\x61", r"\Qab\E", "é"])
REGEXES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "*?", "{2,}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        st.tuples(inner, st.just("|")).map("".join),
    ),
    max_leaves=12,
)
SHORT = ["".join(chars) for size in range(3) for chars in itertools.product("ab.é", repeat=size)]


@given(REGEXES)
def test_s01_a_pattern_that_matches_a_short_text_never_limits(pattern: str) -> None:
    compiled = compile_regex(pattern)
    if regex_literals(pattern) >= LITERALS_NEEDED:
        assert not any(compiled.fullmatch(text) for text in SHORT)


@given(st.text("ab.*+?{}[]()|\\^$QE:1,dpLxP<>i-", max_size=14))
def test_s01_the_judgement_never_fails_on_what_re2_accepts(pattern: str) -> None:
    try:
        compiled = compile_regex(pattern)
        count = regex_literals(pattern)
    except (UsageError, NotJudgedError):
        return
    if count >= LITERALS_NEEDED:
        assert not any(compiled.fullmatch(text) for text in SHORT)


def test_s01_every_branch_must_limit() -> None:
    limited = Clause(any_of=(TextTerm(kind="subject", text="abc"),))
    negated = Clause(any_of=(TextTerm(kind="subject", text="abc", negated=True),))
    Criteria(any_of=(Branch(all_of=(limited, negated)),))
    for branches in ((), (Branch(all_of=()),), (Branch(all_of=(negated,)),)):
        with pytest.raises(Refused):
            Criteria(any_of=branches)
        with pytest.raises(Refused):
            Criteria(any_of=(*branches, Branch(all_of=(limited,)))) if branches else Criteria(any_of=())
        with pytest.raises(Refused):
            Criteria.model_validate({"any_of": [branch.model_dump() for branch in branches]})
    with pytest.raises(Refused):
        Clause(any_of=())
    with pytest.raises(Refused):
        Criteria.from_options(exclude_folder=["Trash"])


def test_s01_criteria_made_past_validation_do_not_match() -> None:
    from excise.criteria import Matcher

    with pytest.raises(Refused):
        Matcher(Criteria.model_construct(any_of=()))


def test_criteria_are_frozen() -> None:
    criteria = Criteria.from_options(subject=["abc"])
    with pytest.raises(ValidationError):
        criteria.any_of = ()
    assert isinstance(criteria.any_of, tuple)


NARROW: list[dict[str, Any]] = [
    {"received_since": "2026-01-01"},
    {"sent_before": "2026-01-01"},
    {"folder": ["Inbox"]},
    {"larger": "10MB"},
    {"smaller": 10},
    {"item_class": ["IPM.Note"]},
    {"from": ["@example.com"]},
    {"recipient": ["a@example.com", "@example.com"]},
    {"from": ["@example.com"], "folder": ["Inbox"], "received_since": "2026-01-01"},
]


@pytest.mark.parametrize("options", NARROW)
def test_s02_what_only_narrows_does_not_move(options: dict[str, Any]) -> None:
    criteria = Criteria.from_options(**options)
    criteria.require_for("search")
    criteria.require_for("copy")
    for action in ("move", "purge"):
        with pytest.raises(Refused) as caught:
            criteria.require_for(action)
        assert caught.value.rule == "S02"
    Criteria.from_options(**options, subject=["abc"]).require_for("move")


def test_s02_a_policy_may_allow_by_name() -> None:
    domain = Criteria.from_options(**{"from": ["@example.com"]})
    domain.require_for("move", frozenset({"domain"}))
    with pytest.raises(Refused):
        domain.require_for("move", frozenset({"folder"}))


def test_s02_dates_are_half_open_and_zone_aware() -> None:
    def moment(**options: Any) -> datetime:
        (term,) = [
            term
            for branch in Criteria.from_options(subject=["abc"], **options).any_of
            for clause in branch.all_of
            for term in clause.any_of
            if isinstance(term, DateTerm)
        ]
        return term.at

    midnight = datetime(2026, 7, 1, 22, tzinfo=UTC)
    assert moment(sent_since="2026-07-02", timezone="Europe/Berlin") == midnight
    assert moment(sent_since=date(2026, 7, 2), timezone="+02:00") == midnight
    assert moment(sent_since="2026-07-02T00:00", timezone="Europe/Berlin") == midnight
    assert moment(sent_since="2026-07-01T22:00Z", timezone="Europe/Berlin") == midnight
    with pytest.raises(UsageError, match="not after"):
        moment(sent_since="2026-07-02", sent_before="2026-07-02", timezone="UTC")
    with pytest.raises(ValidationError):
        DateTerm(kind="sent-since", at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_s02_a_date_alone_is_midnight_in_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        criteria = Criteria.from_options(received_since="2026-07-02", received_before="2026-12-02")
        assert "received on or after 2026-07-02T04:00:00Z AND received before 2026-12-02T05:00:00Z" in criteria.words()
    finally:
        monkeypatch.undo()
        time.tzset()


WRONG: list[dict[str, Any]] = [
    {"subjekt": ["abc"]},
    {"subject": 5},
    {"subject": [5]},
    {"sent_since": "yesterday"},
    {"sent_since": "2026-01-02", "timezone": "Mars/Olympus"},
    {"timezone": "../../etc/passwd", "sent_since": "2026-01-02"},
    {"larger": "10 parsecs"},
    {"larger": -1},
    {"larger": True},
    {"attachment_sha256": ["abc"]},
    {"from": ["nobody"]},
    {"from": ["a@b@c"]},
    {"header": ["no equals sign"]},
    {"subject_regex": ["lone \udc80 surrogate"]},
    {"header": ["b\xe4d=x"]},
    {"subject": ["abc"], "with_replies": True},
    {"subject": ["abc"], "any": "yes"},
]


@pytest.mark.parametrize("options", WRONG)
def test_wrong_usage(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Criteria.from_options(**options)


def test_with_replies_is_no_criterion() -> None:
    with pytest.raises(UsageError, match="no criterion"):
        Criteria.from_options(subject=["abc"], with_replies=True)
    Criteria.from_options(subject=["abc"], with_replies=False)


SIZES = [("10GB", 10**10), ("1.5MB", 1_500_000), ("2GiB", 2 << 30), ("4096", 4096), (7, 7), ("1 kB", 1000)]


@pytest.mark.parametrize(("text", "expected"), SIZES)
def test_sizes(text: Any, expected: int) -> None:
    assert f"larger than {expected:,} bytes" in Criteria.from_options(larger=text).words()


EVERYTHING: dict[str, Any] = {
    "subject": ["One", "Two"],
    "subject_contains": ["three"],
    "subject_prefix": ["four"],
    "subject_regex": [r"fi\w+ve"],
    "attachment": ["*.exe", "a.txt"],
    "attachment_sha256": ["ab" * 32],
    "from": ["a@example.com", "@example.org"],
    "recipient": ["b@example.com"],
    "message_id": ["<1@x>"],
    "message_ids": ["<2@x>"],
    "conversation_id": ["0f" * 16],
    "body_contains": ["text"],
    "url": ["http://x"],
    "header": ["X-A=b"],
    "item_class": ["IPM.Note*"],
    "larger": "1kB",
    "smaller": "1MB",
    "received_since": "2026-01-02",
    "received_before": "2026-01-03",
    "sent_since": "2026-01-02",
    "sent_before": "2026-01-03",
    "folder": ["Inbox"],
    "exclude_folder": ["Inbox/Old", "Inbox/Older"],
    "timezone": "UTC",
}


def test_every_option_from_flags_toml_and_canonical_form() -> None:
    criteria = Criteria.from_options(**EVERYTHING)
    lines = [f"{name.replace('_', '-')} = {json.dumps(value)}" for name, value in EVERYTHING.items()]
    assert Criteria.from_toml("\n".join(lines)) == criteria
    again = Criteria.from_canonical(criteria.canonical())
    assert again == criteria
    assert again.sha256 == criteria.sha256
    assert Criteria.from_toml(EVERYTHING) == criteria
    assert Criteria.model_validate(criteria.model_dump()) == criteria


def test_the_order_does_not_matter_and_the_meaning_does() -> None:
    one = Criteria.from_options(subject=["a b c", "d"], attachment=["*.exe"])
    other = Criteria.from_options(attachment=["*.exe"], subject=["d", "a b c", "d"])
    assert (one, one.sha256, one.words()) == (other, other.sha256, other.words())
    either = Criteria.from_options(subject=["a b c", "d"], attachment=["*.exe"], any=True)
    assert either.sha256 != one.sha256
    assert "AND" in one.words()
    assert "AND" not in either.words()


def test_the_rule_in_words() -> None:
    criteria = Criteria.from_options(
        received_since="2026-01-02",
        timezone="UTC",
        subject=["Pay now"],
        subject_contains=["overdue"],
        exclude_folder=["Sent"],
    )
    rule, _, note = criteria.words().partition(" [")
    assert rule == (
        'received on or after 2026-01-02T00:00:00Z AND not in folder "Sent" or below AND '
        '(subject is "Pay now" OR subject contains "overdue")'
    )
    assert "Received header" in note
    toml = Criteria.from_toml(
        "[[branch]]\nsubject = 'abc'\n[[branch]]\nattachment = '*.exe'\nnot = {from = 'a@x.example'}"
    )
    assert toml.words() == (
        '(subject is "abc") OR (NOT (the sender is "a@x.example") AND '
        'an attachment is named "*.exe" (* and ? are wildcards))'
    )


def test_s27_no_term_can_pose_as_a_part_of_the_rule() -> None:
    words = Criteria.from_options(subject=['x" OR subject is "y\\', "a\x1b[2J\u202eb"], subject_regex=['abc"d']).words()
    assert r'"x\" OR subject is \"y\\"' in words
    assert "\x1b" not in words
    assert "\u202e" not in words
    assert r"abc\x22d" in words


def test_long_lists_are_counted_in_words() -> None:
    criteria = Criteria.from_options(message_ids=[f"<{n}@x>" for n in range(1000)])
    assert "980 more alternatives" in criteria.words()
    assert len(criteria.canonical()["any_of"][0]["all_of"][0]["any_of"]) == 1000


BAD_TOML = [
    ("subject = ", UsageError, "not TOML"),
    ("subjekt = 'abc'", UsageError, "subjekt"),
    ("subject = []", Refused, "empty list"),
    ("", Refused, "no criteria"),
    ("branch = []", Refused, "no branch"),
    ("branch = 5", UsageError, "branch"),
    ("subject = 'abc'\n[[branch]]\nsubject = 'abc'", UsageError, "ambiguous"),
    ("[[branch]]\nsubject = 'abc'\n[[branch]]\nnot = {subject = 'x'}", Refused, "branch 1 of 2|branch 2 of 2"),
    ("not = 5\nsubject = 'abc'", UsageError, "table"),
    ("subject = 'abc'\nnot = {any = true}", UsageError, "not.any"),
    ("subject-contains = 'a b c'\nsubject_contains = 'abc'", UsageError, "twice"),
    ("a = " + "[" * 5000, UsageError, "not TOML"),
]


@pytest.mark.parametrize(("text", "error", "message"), BAD_TOML)
def test_toml_that_is_refused(text: str, error: type[ExciseError], message: str) -> None:
    with pytest.raises(error, match=message):
        Criteria.from_toml(text)


BAD_CANONICAL: list[object] = [
    None,
    {},
    {"format": 2, "any_of": []},
    {"format": 1, "any_of": 5},
    {"format": 1, "any_of": [{"all_of": [{"any_of": [{"kind": "everything"}]}]}]},
    {"format": 1, "any_of": [{"all_of": [{"any_of": [{"kind": "subject", "text": "a", "extra": 1}]}]}]},
    {"format": 1, "any_of": [{"all_of": [{"any_of": [{"kind": "larger", "size": "1"}]}]}]},
    {"format": 1, "any_of": [{"all_of": [{"any_of": [{"kind": "attachment-sha256", "text": "1"}]}]}]},
]


@pytest.mark.parametrize("value", BAD_CANONICAL)
def test_damaged_canonical_forms(value: object) -> None:
    with pytest.raises(DamagedInput):
        Criteria.from_canonical(value)
    with pytest.raises(Refused):
        Criteria.from_canonical({"format": 1, "any_of": []})


FOLDERS = [
    ({"folder": ["Inbox"]}, "inbox/Sub", True),
    ({"folder": ["Inbox/"]}, "Inbox2", False),
    ({"folder": ["/Inbox/Sub"]}, "Inbox", False),
    ({"folder": ["Inbox"], "exclude_folder": ["Inbox/Old"]}, "Inbox/Old/2020", False),
    ({"folder": ["Inbox"], "exclude_folder": ["Inbox/Old"]}, "Inbox/New", True),
    ({"exclude_folder": ["A", "B"]}, "B", False),
    ({}, "anything", True),
]


@pytest.mark.parametrize(("options", "path", "admitted"), FOLDERS)
def test_folders_that_may_be_skipped(options: dict[str, Any], path: str, admitted: bool) -> None:
    assert Criteria.from_options(subject=["abc"], **options).admits_folder(path) is admitted


def test_terms_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(UsageError):
        RegexTerm(kind="subject-regex", text="(")
    with pytest.raises(Refused):
        FolderTerm(kind="folder", text="/")
    with pytest.raises(ValidationError):
        TextTerm(kind="subject", text=5)  # type: ignore[arg-type]
