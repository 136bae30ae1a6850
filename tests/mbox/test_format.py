"""The mbox format: entries, variants, quoting, fingerprints, damage."""

from __future__ import annotations

import itertools
import mailbox
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from excise import mbox
from excise.core.text import count_of
from excise.mbox import entries as scanning
from excise.mbox import view as viewing
from excise.mbox.checking import Survey

FROM = b"From ann@example.com Mon Jan  6 10:00:00 2020"

lines = st.one_of(
    st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")),
    st.sampled_from(
        [b"", b"From", b"From ", b">From x", b">>From y", FROM, b">" + FROM, b"Subject: x", b"From: a@b.c", b">" * 40]
    ),
)
bodies = st.lists(lines, max_size=12)


def message(number: int, body: list[bytes], newline: bytes, extra: bytes = b"") -> bytes:
    """A message with its own Subject, so that no two are equal."""
    head = [b"From: ann@example.com", b"Subject: number %d" % number, *([extra] if extra else []), b""]
    return newline.join([*head, *body, b""])


@st.composite
def mailboxes(draw: st.DrawFn) -> tuple[bytes, list[bytes], str]:
    """A mailbox of one variant, the messages in it as stored, and the variant's name."""
    variant = draw(st.sampled_from(["rd", "cl", "cl2"]))
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    stored = []
    for number, body in enumerate(draw(st.lists(bodies, min_size=1, max_size=6))):
        content = message(number, body, newline)
        if variant != "cl2":
            content = mbox.quote_mboxrd(content)
        if variant != "rd":
            head, blank, rest = content.partition(newline * 2)
            content = head + newline + b"Content-Length: %d" % len(rest) + blank + rest
        stored.append(content)
    data = b"".join(FROM + newline + content + newline for content in stored)
    return data, stored, variant


@given(mailboxes(), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_entries_are_the_messages_that_were_stored(made: tuple[bytes, list[bytes], str], window: int) -> None:
    """Each variant's messages come out byte for byte, entries tile the file, nothing is in doubt."""
    data, stored, _ = made
    old = scanning._WINDOW
    scanning._WINDOW = [old, 1301, 1500, 2048][window]
    try:
        entries = list(mbox.scan(data))
    finally:
        scanning._WINDOW = old
    assert [data[e.content_start : e.content_end] for e in entries] == stored
    assert [e.start for e in entries] == [0, *(e.end for e in entries[:-1])]
    assert entries[-1].end == len(data)
    assert not any(e.doubt for e in entries)
    assert list(mbox.scan_headers(data)) == [(e, mbox.header_block(data, e)) for e in entries]


@given(
    st.lists(
        st.lists(st.binary(max_size=20).filter(lambda x: b"\n" not in x and b"\r" not in x), max_size=5),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_standard_library_agrees_where_it_is_right(contents: list[list[bytes]]) -> None:
    """On quoted files with LF and blank lines ``mailbox.mbox`` finds the same messages."""
    stored = [mbox.quote_mboxrd(message(n, body, b"\n")) for n, body in enumerate(contents)]
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"excise-agree-{os.getpid()}.mbox"
    path.write_bytes(b"".join(FROM + b"\n" + content + b"\n" for content in stored))
    try:
        other = mailbox.mbox(str(path), create=False)
        assert [other.get_bytes(key) for key in other.iterkeys()] == stored
        other.close()
    finally:
        path.unlink()


@given(st.binary(max_size=400))
def test_quoting_is_undone_exactly(data: bytes) -> None:
    """unquote(quote(x)) == x, for any bytes."""
    assert mbox.unquote_mboxrd(mbox.quote_mboxrd(data)) == data


@given(bodies, st.sampled_from([b"\n", b"\r\n"]))
def test_quoting_leaves_no_from_line_and_is_surjective(body: list[bytes], newline: bytes) -> None:
    """No line of quoted text begins with "From "; and quoted text is what quoting its unquoted form gives."""
    quoted = mbox.quote_mboxrd(newline.join(body))
    assert not quoted.startswith(b"From ")
    assert b"\nFrom " not in quoted
    assert mbox.quote_mboxrd(mbox.unquote_mboxrd(quoted)) == quoted


@given(st.lists(st.one_of(lines, st.sampled_from([b"\n", b"Fr", b"om ", b">", b">" * 5000])), max_size=12))
@settings(deadline=None)
def test_quoting_in_chunks_equals_quoting_as_a_whole(chunks: list[bytes]) -> None:
    """However the bytes are cut, the result is the same."""
    whole = b"".join(chunks)
    assert b"".join(mbox.quote_mboxrd_chunks(chunks)) == mbox.quote_mboxrd(whole)
    assert b"".join(mbox.unquote_mboxrd_chunks(chunks)) == mbox.unquote_mboxrd(whole)


@given(mailboxes(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_file_view_is_the_bytes(made: tuple[bytes, list[bytes], str], data: st.DataObject) -> None:
    """Length, slices, items and ``find`` of a FileView are those of its bytes, with windows of any size."""
    content = made[0]
    old = viewing.WINDOW
    viewing.WINDOW = data.draw(st.sampled_from([32, 61, old]))
    fd = os.memfd_create("view")
    try:
        os.write(fd, content)
        view = mbox.FileView(fd, "view")
        assert len(view) == len(content)
        for _ in range(10):
            start = data.draw(st.integers(0, len(content)))
            stop = data.draw(st.integers(start, len(content)))
            assert view[start:stop] == content[start:stop]
            assert view.find(b"\nFrom ", start, stop) == content.find(b"\nFrom ", start, stop)
        assert view[0] == content[0]
        assert view[-1] == content[-1]
        assert list(mbox.scan(view)) == list(mbox.scan(content))
        assert b"".join(view.chunks(3, len(content))) == content[3:]
    finally:
        viewing.WINDOW = old
        os.close(fd)


def test_a_file_that_shrinks_is_an_error_and_not_a_crash() -> None:
    """Bytes that are gone are reported (a memory map would kill the process)."""
    fd = os.memfd_create("view")
    os.write(fd, b"x" * 100)
    view = mbox.FileView(fd, "view.mbox")
    os.ftruncate(fd, 10)
    with pytest.raises(mbox.FileShrank, match=r"view\.mbox: became shorter"):
        view[50:60]
    os.close(fd)


@pytest.mark.parametrize(
    "line",
    [
        b"From ann@example.com Mon Jan  6 10:00:00 2020",
        b"From ann Mon Jan 6 10:00 2020",
        b"From - Fri Jul 8 12:08:34 2011",
        b"From a@b Fri Jul 8 12:08:34 2011 -0400",
        b"From a@b Fri Jul 8 12:08:34 PST 2011",
        b"From MAILER-DAEMON Fri Jul  8 12:08:34 2011 remote from host",
    ],
)
def test_from_lines_with_any_time_zone_are_separators(line: bytes) -> None:
    """asctime with and without seconds and zones."""
    data = FROM + b"\nA: 1\n\nx\n\n" + line + b"\nB: 2\n\ny\n"
    assert [e.start for e in mbox.scan(data)] == [0, data.index(b"\n\n" + line) + 2]


def test_text_that_only_begins_like_a_from_line_is_not_one() -> None:
    """A header field, a line without a date, without a header after it, or git's own."""
    git = b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001"
    for line in (b"From : a@b 10:00:00 2020\nX: y", b"From here on\nX: y", FROM + b"\nno header", git + b"\nFrom: a"):
        data = FROM + b"\nA: 1\n\nx\n\n" + line + b"\n\n"
        assert len(list(mbox.scan(data))) == 1, line


def test_a_from_line_without_a_blank_line_before_it_is_in_doubt() -> None:
    """It is split there, so that a search sees both; both say that they must not be removed."""
    data = FROM + b"\nA: 1\n\nx\n" + FROM + b"\nB: 2\n\ny\n\n" + FROM + b"\nC: 3\n\nz\n"
    first, second, third = mbox.scan(data)
    assert "no blank line" in first.doubt
    assert "no blank line" in second.doubt
    assert not third.doubt


def test_a_length_that_hides_another_message_is_in_doubt() -> None:
    """A sender's own Content-Length cannot swallow the next message, nor make its removal take that one too."""
    other = FROM + b"\nSubject: other\n\ntext\n\n"
    swallow = b"x\n\n" + other
    data = FROM + b"\nSubject: bad\nContent-Length: %d\n\n" % len(swallow) + swallow + FROM + b"\nSubject: last\n\nz\n"
    entries = list(mbox.scan(data))
    assert len(entries) == 3
    assert "Content-Length" in entries[0].doubt
    assert "Content-Length" in entries[1].doubt
    assert not entries[2].doubt


def test_the_pseudo_message_is_no_item_and_cannot_be_forged_by_mail() -> None:
    """Folder data is recognised in first place only, and never with the marks of delivered mail."""
    subject = b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n"
    true = FROM + b"\n" + subject + b"X-IMAP: 1 2\n\nx\n\n"
    forged = FROM + b"\nReceived: from a by b\n" + subject + b"X-IMAP: 1 2\n\nx\n\n"
    assert [e.internal for e in mbox.scan(true + true)] == [True, False]
    assert [e.internal for e in mbox.scan(forged + true)] == [False, False]


def test_edges_of_a_file() -> None:
    """Empty, junk before the first message, no newline at the end, blank lines only."""
    assert list(mbox.scan(b"")) == []
    assert list(mbox.scan(b"\n\n")) == []
    data = b"junk\n\n" + FROM + b"\nA: 1\n\nlast line"
    (entry,) = mbox.scan(data)
    assert (entry.start, entry.content_end, entry.end, entry.doubt) == (6, len(data), len(data), "")
    assert [f.what for f in mbox.check(data) if f.severity != mbox.Severity.NOTE] == [
        "6 bytes before the first From_ line belong to no message",
        "the last line has no end: the last message may be cut",
    ]


def test_check_names_what_is_torn() -> None:
    """A run of zeros, a multipart without its end, a line that is no field, a length that does not fit: each with its
    place."""
    data = (
        FROM + b"\nSubject: a\nContent-Length: 99\n\nx" + bytes(40) + b"\n\n"
        + FROM + b"\nContent-Type: multipart/mixed;\n boundary=b\nno field\n\n--b\n\npart\n"
    )  # fmt: skip
    found = {(f.layer, f.severity.value): f for f in mbox.check(data)}
    assert found["header", "note"].what.startswith("Content-Length does not land")
    assert found["header", "warning"].offset == data.index(b"no field")
    whats = [f.what for f in mbox.check(data) if f.layer == "content"]
    assert whats[0].startswith("zero bytes")
    assert "no closing boundary" in whats[1]


PATCH = b"""From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001
From: Ann <ann@example.com>
Date: Mon, 6 Jan 2020 10:00:00 +0000
Subject: [PATCH] Fix it

text
"""


def test_s03_only_what_surely_is_an_mbox_is_taken_for_one() -> None:
    """git's patches and prose that begins with "From " are not mail stores."""
    assert mbox.looks_like_mbox(FROM + b"\nSubject: x\n\nbody\n")
    assert mbox.looks_like_mbox(FROM + b"\r\nReceived: x\r\n\tmore\r\n\r\nbody\r\n")
    assert not mbox.looks_like_mbox(PATCH)
    assert not mbox.looks_like_mbox(b"From the train of Mon Jan 6 at 10:00 in 2020\nwe saw nothing\n")
    assert not mbox.looks_like_mbox(b"From the train of Mon Jan 6 at 10:00 in 2020\nPS: nothing\n\n")
    assert not mbox.looks_like_mbox(FROM + b"\n")
    assert not mbox.looks_like_mbox(b"")


def test_s06_a_fingerprint_is_made_of_what_stays() -> None:
    """Flags, UIDs, folder data, lengths and a line end at the end do not change it; anything else does."""
    base = FROM + b"\nFrom: a@b\nSubject: x\n\nbody\n"
    marked = (
        FROM + b"\nStatus: RO\nFrom: a@b\nX-Status: A\nX-Keywords: a\n b\nSubject: x\nX-UID: 7\nContent-Length: 5\n"
        b"X-IMAPbase: 1 2\nX-Mozilla-Status: 0001\n\nbody\n\n"
    )
    assert prints(base) == prints(marked) == prints(base.rstrip())
    for other in (
        base.replace(b"body", b"bodz"),
        base.replace(b"x\n", b"y\n"),
        base.replace(b"ann@", b"bob@"),
        base + b"z",
    ):
        assert prints(other) != prints(base)


@given(
    st.lists(st.sampled_from([b"Status: R\n", b"A: 1\n", b"\n", b"\r\n", b"x", b"\n\n\n"]), max_size=20),
    st.integers(1, 7),
)
def test_a_fingerprint_does_not_depend_on_pieces(parts: list[bytes], size: int) -> None:
    """The same content in pieces of any size has one fingerprint."""
    content = b"".join(parts)
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    assert mbox.fingerprint_of(FROM, pieces) == mbox.fingerprint_of(FROM, [content])


def prints(data: bytes) -> list[str]:
    return [mbox.fingerprint(data, entry) for entry in mbox.scan(data)]


@pytest.mark.parametrize(
    ("line", "when"),
    [
        (FROM, datetime(2020, 1, 6, 10, 0, tzinfo=UTC)),
        (b"From a Fri Jul 8 12:08:34 2011 -0400", datetime(2011, 7, 8, 16, 8, 34, tzinfo=UTC)),
        (b"From a Fri Jul  8 12:08 2011", datetime(2011, 7, 8, 12, 8, tzinfo=UTC)),
        (b"From a Fri Feb 31 12:08 2011", None),
        (b"From a Fri Feb 1 12:08 2011 +9999", None),
    ],
)
def test_delivery_times(line: bytes, when: datetime | None) -> None:
    """A From_ line's date, in UTC."""
    assert mbox.delivery_time(line) == when


def test_flags_are_read_as_they_are_written() -> None:
    """Status, X-Status, X-Keywords and Mozilla's fields."""
    wanted = frozenset({"seen", "answered", "flagged", "draft", "deleted", "forwarded", "work"})
    assert mbox.flags(mbox.flag_fields(wanted)) == wanted
    assert mbox.flags(b"X-Mozilla-Status: 1005\nX-Mozilla-Keys: a b   \n\n") == {
        "seen",
        "flagged",
        "forwarded",
        "a",
        "b",
    }
    assert mbox.flags(b"Status: O\n\n") == frozenset()


@given(mailboxes())
@settings(max_examples=100, deadline=None)
def test_check_finds_nothing_wrong_with_whole_files(made: tuple[bytes, list[bytes], str]) -> None:
    """Notes only, and the variant where the file shows it."""
    data, stored, variant = made
    assume(bytes(16) not in data)
    findings = list(mbox.check(data))
    assert {f.severity for f in findings} <= {mbox.Severity.NOTE}
    assert findings[-1].what.startswith(f"{count_of(len(stored), 'message')}, written as ")
    unquoted = any(b"\nFrom " in content for content in stored)
    expected = {"rd": ("mboxrd", "mboxo or mboxrd"), "cl": ("mboxcl",), "cl2": ("mboxcl2" if unquoted else "mboxcl",)}[
        variant
    ]
    assert findings[-1].what.removeprefix(f"{count_of(len(stored), 'message')}, written as ") in expected


@given(mailboxes(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.booleans()), max_size=8))
@settings(max_examples=200, deadline=None)
def test_s27_mutated_files_are_read_in_order_without_overlap(
    made: tuple[bytes, list[bytes], str], changes: list[tuple[int, int, bool]]
) -> None:
    """Whatever the bytes: no exception, entries in order and apart, and check ends."""
    data = bytearray(made[0])
    for place, value, insert in changes:
        at = place % (len(data) + 1)
        data[at : at + (0 if insert else 1)] = bytes([value])
    entries = list(mbox.scan(bytes(data)))
    for entry, following in itertools.pairwise(entries):
        assert entry.end == following.start
    for entry in entries:
        assert entry.start < entry.content_start <= entry.content_end <= entry.end <= len(data)
    assert list(mbox.check(bytes(data)))
    assert Survey().variant == mbox.Variant.UNKNOWN


def test_s27_hostile_lines_take_linear_time() -> None:
    """A million candidates that nearly match, and one endless line."""
    near = b"\n\nFrom " + b"00:00" * 180
    assert list(mbox.scan(FROM + b"\nA: 1\n" + near * 2000)) != []
    assert len(list(mbox.scan(FROM + b"\nA: 1\n\n" + b"From 00:00 2020 " * 500_000))) == 1
