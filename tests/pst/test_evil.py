"""PST files made by hand to do harm: no hang, no traceback, bounded memory, and no harm to what is kept (S27)."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

import excise.pst
from excise.case.reread_pst import compare_pst
from excise.pst import NewMessage, NewProperty
from excise.pst.messaging import tags
from excise.stores.pst_file import Unreachable, parse_names
from pst import evil
from pst.fuzzing import PT_UNICODE, Trial


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in evil.FILES.items()])
def test_s27_everything_ends_well_with(make: evil.Make, tmp_path: Path) -> None:
    trial = Trial(make(), tmp_path / "evil.pst", random.Random(1))
    trial.run()
    for part in ("read", "check"):
        assert trial.outcomes[part] + trial.outcomes[f"{part} refused"] == 1


@pytest.mark.parametrize("make", [evil.invalid_maps_that_call_all_free, evil.maps_that_call_all_taken])
def test_what_the_maps_call_free_is_not_overwritten(make: evil.Make, tmp_path: Path) -> None:
    """Trial compares every message; here it is shown that it got so far."""
    trial = Trial(make(), tmp_path / "evil.pst", random.Random(1))
    trial.run()
    assert [trial.outcomes[part] for part in ("append", "purge", "compact without")] == [1, 1, 1]
    assert not trial.outcomes["append refused"]


def test_names_that_share_their_characters_are_told_and_left_out() -> None:
    data = evil.names_of_one_string()
    with excise.pst.open(io.BytesIO(data)) as pst:
        assert sum(len(str(name.key)) for name in pst.names.by_id.values()) < len(data)
        assert [each.field for each in pst.damage] == ["dwPropertyID"] * len(pst.damage)
    report = excise.pst.check(io.BytesIO(data))
    assert any("no larger than their file" in finding.text() for finding in report.findings)


def test_names_of_a_store_may_share_a_few_characters() -> None:
    strings = (8).to_bytes(4, "little") + "name".encode("utf-16-le")
    entry = bytes(4) + b"\3\0"
    names = parse_names(b"", b"".join(entry + each.to_bytes(2, "little") for each in range(1000)), strings)
    assert {name.name for name in names.values()} == {"name"}
    long = (400_000).to_bytes(4, "little") + bytes(400_000)
    assert len(parse_names(b"", entry + b"\0\0" + entry + b"\1\0", long)) == 2
    with pytest.raises(Unreachable, match="more than twice"):
        parse_names(b"", b"".join(entry + each.to_bytes(2, "little") for each in range(10)), long)


def test_a_value_of_another_size_than_its_type_is_not_put_in() -> None:
    stream = io.BytesIO()
    with excise.pst.create(stream) as new:
        inbox = new.folder(("Inbox",))
        for prop_id, prop_type in ((tags.LAST_MODIFICATION_TIME, 0x40), (0x3FF8, 0x14), (0x0FF9, 0x48)):
            for size in (0, 7, 20, 5000):
                with pytest.raises(ValueError, match="needs a value of"):
                    inbox.add(NewMessage([NewProperty(prop_id, prop_type, bytes(size))]))
        inbox.add(NewMessage([NewProperty.of(tags.SUBJECT, PT_UNICODE, "kept")]))
    with excise.pst.open(stream) as pst:
        assert [row.subject for folder in pst.folders() for row in folder.summaries()] == ["kept"]


def test_evidence_that_names_no_top_of_the_mailbox_does_not_verify(tmp_path: Path) -> None:
    path = tmp_path / "messages.pst"
    path.write_bytes(evil.store_without_a_top())
    (problem,) = compare_pst(path, [], lambda *_: None)
    assert "names no top folder" in problem


def test_a_value_that_many_properties_have_is_read_once() -> None:
    data = evil.leaf_as_often_as_fits()
    stream = evil.CountedStream(data)
    with excise.pst.open(stream) as pst:
        nid = next(nid for folder in pst.folders() for nid in folder.message_nids)
        before = stream.count
        assert not pst.message(nid).read_all()
        assert stream.count - before < 3 * len(data)
