"""Search by contents tables finds what a slow scan of every item finds (S07), also where a table cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from excise.criteria import Branch, Clause, Criteria, Matcher
from excise.criteria.terms import TextTerm
from excise.pst.disk.formats import ANSI, UNICODE, UNICODE_4K
from excise.pst.disk.ids import NID_TYPE_CONTENTS_TABLE, sibling_nid
from excise.store_api.conformance.base import matcher
from excise.store_api.protocols import Tally, Unreadable
from excise.stores.pst import PstMailbox, PstView
from excise.stores.pst_file import PstFile
from excise.stores.pst_item import PstItem
from excise.stores.pst_summary import KINDS
from excise.stores.pst_tree import PstTree
from pst.builder import (
    CONTENTS,
    EPOCH_2020,
    INBOX,
    PT_LONG,
    PT_TIME,
    PT_UNICODE,
    FileBuilder,
    NodeSpec,
    attachment,
    context,
    mailbox,
    nid_of,
    row,
    table,
)
from stores.pst_samples import every_sample, needs_samples, opened, scan

NID, OTHER = nid_of(0), nid_of(1)
TABLE = sibling_nid(INBOX, NID_TYPE_CONTENTS_TABLE)
PT_STRING8 = 0x1E


def searched(mailbox: PstMailbox, wanted: Matcher) -> tuple[dict[str, bool], Tally, int]:
    """The ids of what matches (True) or cannot be told (False), the tally, and how many items were opened."""
    tally = Tally()
    outcome, offered = {}, 0
    for found in mailbox.find(wanted, tally):
        if isinstance(found, Unreadable):
            tally.unreadable += 1
            continue
        offered += 1
        verdict = wanted.test(found.view)
        if verdict.matched or verdict.untestable:
            outcome[found.id] = verdict.matched
    return outcome, tally, offered


@contextmanager
def slowly(path: Path) -> Iterator[Callable[[Matcher], dict[str, bool]]]:
    """The same by opening every item; they stay open."""
    file = PstFile(path)
    views = {f"{nid:#x}": PstView(PstItem(file, nid), f.path) for f in PstTree(file) for nid in f.nids}

    def scan_all(wanted: Matcher) -> dict[str, bool]:
        verdicts = ((item_id, wanted.test(view)) for item_id, view in views.items())
        return {item_id: verdict.matched for item_id, verdict in verdicts if verdict.matched or verdict.untestable}

    try:
        yield scan_all
    finally:
        file.close()


def scanned(path: Path, wanted: Matcher) -> dict[str, bool]:
    """What a slow scan finds."""
    with slowly(path) as scan_all:
        return scan_all(wanted)


def _facts(path: Path) -> Iterator[dict[str, Any]]:
    """Criteria from what the items of the file have, near misses, and combinations."""
    with opened(path) as mailbox:
        views = [one.view for one in scan(mailbox)[0][:12]]
        for view in views:
            subject = view.subject or "none"
            yield {"subject": [subject]}
            yield {"subject_contains": [subject[1:6].strip() or "e"], "item_class": ["IPM.Note*"]}
            yield {"subject_prefix": [subject[:4]], "attachment": ["*.doc*", "nothing.exe"]}
            yield {"item_class": [view.item_class or "IPM.Note"]}
            for name, moment in (("received", view.received), ("sent", view.sent)):
                if moment is not None:
                    yield {f"{name}_since": moment.isoformat(), "subject_contains": [subject[:3]]}
                    yield {f"{name}_before": moment.isoformat()}
                    yield {f"{name}_since": (moment + timedelta(microseconds=1)).isoformat()}
    yield {"subject_regex": ["^.{2}re:"], "folder": ["Inbox"]}
    yield {"attachment": ["*.jpg*"]}
    yield {"attachment_sha256": ["0" * 64]}
    yield {"subject_contains": ["re"], "larger": "1000"}
    yield {"subject_contains": ["no such text"], "body_contains": ["no such text"]}


@needs_samples
@every_sample
def test_s07_a_search_of_a_sample_finds_what_a_slow_scan_finds(path: Path) -> None:
    with opened(path) as mailbox, slowly(path) as scan_all:
        count = sum(folder.count or 0 for folder in mailbox.folders())
        for options in _facts(path):
            wanted = matcher(**options)
            outcome, tally, _ = searched(mailbox, wanted)
            assert outcome == scan_all(wanted), options
            assert (tally.seen, tally.unreadable) == (count, 0)


@needs_samples
@every_sample
def test_s07_a_search_with_alternatives_and_negations_finds_what_a_slow_scan_finds(path: Path) -> None:
    def term(kind: str, text: str, *, negated: bool = False) -> TextTerm:
        return TextTerm(kind=kind, text=text, negated=negated)  # type: ignore[arg-type]

    def branch(*clauses: tuple[TextTerm, ...]) -> Branch:
        return Branch(all_of=tuple(Clause(any_of=terms) for terms in clauses))

    e, t = term("subject-contains", "e"), term("subject-contains", "t")
    with opened(path) as mailbox, slowly(path) as scan_all:
        for criteria in (
            Criteria(any_of=(branch((e,), (term("subject-contains", "t", negated=True),)),)),
            Criteria(any_of=(branch((e, t)), branch((term("message-id", "<x@y>"),)))),
            Criteria(
                any_of=(branch((t,), (term("body-contains", "e", negated=True),)), branch((term("subject", "Hi"),)))
            ),
            Criteria(any_of=(branch((e,), (term("url", "x.org"), term("subject-prefix", "R"))),)),
        ):
            wanted = Matcher(criteria)
            assert searched(mailbox, wanted)[0] == scan_all(wanted)


def _message(subject: str | None = "Hello", **more: Any) -> NodeSpec:
    properties: dict[tuple[int, int], object] = {
        (0x001A, PT_UNICODE): more.get("item_class", "IPM.Note"),
        (0x0E06, PT_TIME): more.get("delivered", EPOCH_2020),
        (0x0E07, PT_LONG): more.get("flags", 1),
        (0x0E08, PT_LONG): more.get("size", 1000),
        **more.get("properties", {}),
    }
    if subject is not None:
        properties[0x0037, PT_UNICODE] = subject
    recipients = table(more.get("format", UNICODE), [(0x0C15, PT_LONG)], {1: {0x0C15: 1}})
    subnodes = {0x692: recipients, **more.get("attachments", {})}
    if more.get("attachments"):
        subnodes[0x671] = table(UNICODE, [(0x0E20, PT_LONG)], {nid: {0x0E20: 1} for nid in more["attachments"]})
    return context(more.get("format", UNICODE), properties, subnodes)


def _built(
    tmp_path: Path,
    spec: NodeSpec,
    cells: dict[int, object] | None,
    columns: list[tuple[int, int]] | None = None,
    change: Callable[[FileBuilder], None] | None = None,
) -> Path:
    """A file with two messages: one of ``spec`` whose row has ``cells``, and one that no search here matches."""
    fmt = UNICODE
    rows = {OTHER: row(OTHER, "Other")} | ({NID: cells} if cells is not None else {})
    builder = mailbox(messages={NID: spec, OTHER: _message("Other")}, rows=rows)
    contents = table(fmt, [*(columns or CONTENTS), (0x0E08, PT_LONG)], rows)
    builder.nodes.pop(TABLE)
    # A table is written after the messages that it lists.
    builder.nodes[TABLE] = contents
    if change is not None:
        change(builder)
    path = tmp_path / "built.pst"
    path.write_bytes(builder.build())
    return path


def _row(**cells: object) -> dict[int, object]:
    return row(NID, "Hello") | {0x0E08: 1000} | {int(name[1:], 16): value for name, value in cells.items()}


def _without(cell: int) -> dict[int, object]:
    return {name: value for name, value in _row().items() if name != cell}


LONG = "x" * 260 + " needle"
EMOJI = "\U0001f600" * 130 + " needle"
LATER = EPOCH_2020 + 864_000_000_000 * 366
HIDDEN = {0x8025: attachment(UNICODE, "hidden.gif", b"GIF89a")}
NEW_YEAR = datetime(2021, 1, 1, tzinfo=UTC).isoformat()

#: (what the table lies about, message, cells of its row, columns, criteria that match the message)
DOUBTFUL: dict[str, tuple[NodeSpec, dict[int, object] | None, list[tuple[int, int]] | None, dict[str, Any]]] = {
    "no row": (_message("needle"), None, None, {"subject": ["needle"]}),
    "no cell": (_message("needle"), _without(0x37), None, {"subject": ["needle"]}),
    "no column": (
        *(_message("needle"), _without(0x37), [one for one in CONTENTS if one[0] != 0x37], {"subject": ["needle"]}),
    ),
    "subject cut at 255": (_message(LONG), _row(x37=LONG[:255]), None, {"subject_contains": ["needle"]}),
    "subject with its prefix's length, cut": (
        *(_message("\x01\x01" + LONG), _row(x37="\x01\x01" + LONG[:253]), None, {"subject_contains": ["needle"]}),
    ),
    "subject cut at 255 units": (
        *(_message(EMOJI), _row(x37=EMOJI.encode("utf-16-le")[:510]), None, {"subject_contains": ["needle"]}),
    ),
    "size from before": (_message(size=5_000_000), _row(), None, {"subject": ["Hello"], "larger": "1000000"}),
    "a hidden attachment": (_message(attachments=HIDDEN), _row(), None, {"attachment": ["hidden.gif"]}),
    "an empty subject beside another": (
        *(_message(None, properties={(0x0E1D, PT_UNICODE): "needle"}), _row(x37=""), None, {"subject": ["needle"]}),
    ),
    "a time that is none": (
        *(
            _message(
                properties={(0x0039, PT_TIME): 0, (0x007D, PT_UNICODE): "Date: Fri, 1 Jan 2021 00:00:00 +0000\r\n"}
            ),
        ),
        *(_row(x39=0), [*CONTENTS, (0x39, PT_TIME)], {"sent_since": NEW_YEAR}),
    ),
    "another alphabet": (
        *(_message(properties={(0x37, PT_STRING8): b"\x8a\xbf\x8e\x9a", (0x3FFD, PT_LONG): 932}, subject=None),),
        *(_row(x37=b"\x8a\xbf\x8e\x9a"), [*CONTENTS[1:], (0x37, PT_STRING8)], {"subject": ["\u6f22\u5b57"]}),
    ),
    "an alphabet that is shifted to": (
        *(_message(properties={(0x37, PT_STRING8): b"\x1b$B4A;z\x1b(B", (0x3FFD, PT_LONG): 50220}, subject=None),),
        *(_row(x37=b"\x1b$B4A;z\x1b(B"), [*CONTENTS[1:], (0x37, PT_STRING8)], {"subject": ["\u6f22\u5b57"]}),
    ),
    "an address, of which the table has the name": (
        _message(properties={(0x0065, PT_UNICODE): "ada@example.org", (0x0064, PT_UNICODE): "SMTP"}),
        *(_row(), None, {"from": ["ada@example.org"]}),
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_s07_what_the_table_does_not_tell_for_sure_is_asked_of_the_message(tmp_path: Path, name: str) -> None:
    spec, cells, columns, options = DOUBTFUL[name]
    path = _built(tmp_path, spec, cells, columns)
    wanted = matcher(**options)
    with opened(path) as box:
        outcome, tally, _ = searched(box, wanted)
    assert outcome == scanned(path, wanted)
    assert outcome[f"{NID:#x}"]
    assert tally.seen == 2


#: Criteria that the message does not match and the table knows not to match.
TOLD: list[dict[str, Any]] = [
    {"subject": ["needle"]},
    {"subject_regex": ["nee.le"]},
    {"subject_contains": ["needle"], "body_contains": ["body"]},
    {"received_since": NEW_YEAR},
    {"received_before": "2019-01-01T00:00:00+00:00"},
    {"item_class": ["IPM.Appointment"]},
    {"attachment": ["hidden.gif"]},
    {"attachment_sha256": ["0" * 64]},
]


@pytest.mark.parametrize("options", TOLD, ids=str)
def test_an_item_that_the_table_rules_out_is_counted_and_not_opened(tmp_path: Path, options: dict[str, Any]) -> None:
    path = _built(tmp_path, _message(), _row())
    wanted = matcher(**options)
    with opened(path) as box:
        outcome, tally, opened_items = searched(box, wanted)
    assert (outcome, opened_items, tally.seen, tally.unreadable) == ({}, 0, 2, 0)
    assert tally.bytes == 1000
    assert scanned(path, wanted) == {}


STALE: dict[str, tuple[NodeSpec, dict[str, Any]]] = {
    "subject": (_message("needle"), {"subject": ["needle"]}),
    "time": (_message(delivered=LATER), {"received_since": NEW_YEAR}),
    "class": (_message(item_class="IPM.Appointment"), {"item_class": ["IPM.Appointment"]}),
    "attachments": (_message(flags=0x10, attachments=HIDDEN), {"attachment": ["hidden.gif"]}),
}


@pytest.mark.parametrize("name", STALE)
@pytest.mark.parametrize("rows", [0, 400], ids=["rows in the heap", "rows in a subnode"])
def test_s07_a_row_that_is_older_than_its_message_is_not_believed(tmp_path: Path, name: str, rows: int) -> None:
    """The message was written anew, with blocks of higher BIDs, and its row was not."""
    spec, options = STALE[name]

    def change(builder: FileBuilder) -> None:
        if rows:
            more = {nid_of(10 + number): _row() for number in range(rows)}
            builder.nodes[TABLE] = table(UNICODE, [*CONTENTS, (0x0E08, PT_LONG)], {NID: _row(), **more})
            for nid in more:
                builder.nodes[nid] = _message()
                builder.nodes[nid].parent = INBOX
            builder.nodes[TABLE] = builder.nodes.pop(TABLE)
        builder.nodes[NID] = builder.nodes.pop(NID)

    path = _built(tmp_path, spec, _row(), change=change)
    wanted = matcher(**options)
    with opened(path) as box:
        outcome, _, opened_items = searched(box, wanted)
    assert outcome == scanned(path, wanted) == {f"{NID:#x}": True}
    # Without a row the other one is opened too; the others are older than their rows.
    assert opened_items == (2 if rows else 1)


def test_s07_nothing_of_a_table_whose_checksum_does_not_hold_is_believed(tmp_path: Path) -> None:
    def change(builder: FileBuilder) -> None:
        plain = builder.block

        def block(data: bytes, internal: bool = False, bid: int | None = None) -> int:
            made = plain(data, internal, bid)
            if "Other".encode("utf-16-le") in data and "Grace".encode("utf-16-le") in data:
                builder.out[builder.entries[-1].ib + data.index("Hello".encode("utf-16-le"))] ^= 1
            return made

        builder.block = block  # type: ignore[method-assign]

    path = _built(tmp_path, _message(), _row(), change=change)
    with opened(path) as box:
        outcome, tally, opened_items = searched(box, matcher(subject=["Hello"]))
        assert outcome == {f"{NID:#x}": True}
        assert (opened_items, tally.unreadable, tally.seen) == (2, 1, 3)
        assert searched(box, matcher(subject=["Hello"]))[1] == tally, "the second time as the first"


@pytest.mark.parametrize("field", ["bidData", "bidSub"])
def test_s08_an_item_that_the_table_rules_out_and_that_has_lost_its_blocks_is_reported(
    tmp_path: Path, field: str
) -> None:
    def change(builder: FileBuilder) -> None:
        for name in ("tree", "subtree"):
            plain = getattr(builder, name)

            def losing(given: Any, plain: Any = plain, name: str = name) -> int:
                made = int(plain(given))
                spec = builder.nodes[NID]
                if given is (spec.data if name == "tree" else spec.subnodes) and (name == "tree") == (
                    field == "bidData"
                ):
                    builder.entries.pop()
                return made

            setattr(builder, name, losing)

    path = _built(tmp_path, _message(), _row(), change=change)
    wanted = matcher(subject=["needle"])
    with opened(path) as box:
        tally = Tally()
        found = list(box.find(wanted, tally))
    assert tally.seen == 2
    if field == "bidData":
        (one,) = found
        assert isinstance(one, Unreadable)
        assert one.id == f"{NID:#x}"
    else:
        # Without its subnodes the item is opened, and what it lacks is said.
        (one,) = found
        assert not isinstance(one, Unreadable)
        assert wanted.test(one.view).untestable


def test_s07_two_rows_for_one_message_are_not_believed(tmp_path: Path) -> None:
    def change(builder: FileBuilder) -> None:
        spec = builder.nodes[TABLE]
        index = NID.to_bytes(4, "little") + (0).to_bytes(4, "little")
        twice = OTHER.to_bytes(4, "little") + (1).to_bytes(4, "little")
        assert index + twice in spec.data[0]
        # The second index entry and the second row are made those of the first message.
        heap = spec.data[0].replace(twice, NID.to_bytes(4, "little") + (1).to_bytes(4, "little"))
        spec.data[0] = heap.replace(
            OTHER.to_bytes(4, "little") + (2).to_bytes(4, "little"),
            NID.to_bytes(4, "little") + (2).to_bytes(4, "little"),
        )

    path = _built(tmp_path, _message("needle"), _row(), change=change)
    wanted = matcher(subject=["needle"])
    with opened(path) as box:
        assert searched(box, wanted)[0] == scanned(path, wanted) == {f"{NID:#x}": True}


@pytest.mark.parametrize("fmt", [ANSI, UNICODE, UNICODE_4K], ids=lambda fmt: fmt.name)
def test_s07_every_format_is_searched_by_its_tables(tmp_path: Path, fmt: Any) -> None:
    messages = {nid_of(number): _message(f"Message {nid_of(number):x}", format=fmt) for number in range(300)}
    builder = mailbox(fmt, messages=messages)
    builder.nodes[TABLE] = builder.nodes.pop(TABLE)
    path = tmp_path / "built.pst"
    path.write_bytes(builder.build())
    wanted = matcher(subject=[f"Message {nid_of(7):x}"])
    with opened(path) as box:
        outcome, tally, opened_items = searched(box, wanted)
    assert outcome == scanned(path, wanted) == {f"{nid_of(7):#x}": True}
    assert (opened_items, tally.seen) == (1, 300)


def test_the_kinds_that_a_table_may_answer() -> None:
    """Names of people are no addresses, and a row's size may be that from before attachments were added."""
    assert not KINDS & {"from", "recipient", "larger", "smaller", "message-id", "header", "body-contains", "url"}
