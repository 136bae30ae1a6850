"""The name-to-id map that is built has the records that Outlook wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from excise.pst.disk.ids import NID_NAME_TO_ID_MAP
from excise.pst.file.read import open_pst
from excise.pst.ltp.properties import PropertyContext
from excise.pst.messaging.create_names import NameMapBuilder
from excise.pst.messaging.names import PS_MAPI, PropertyName

EMPTY = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples" / "Empty.pst"


@pytest.mark.skipif(not EMPTY.exists(), reason="EXCISE_SAMPLES is not set: no real PST files here")
def test_the_map_of_an_outlook_file_is_built_again() -> None:
    with open_pst(EMPTY) as pst:
        node = pst.ndb.node(NID_NAME_TO_ID_MAP)
        assert node is not None
        context = PropertyContext(node)
        builder = NameMapBuilder()
        names = pst.store.names.by_id
        for prop_id in sorted(names):
            assert builder.id_of(names[prop_id]) == prop_id
        written = {prop_id: context.raw(prop_id) for prop_id in context.ids() if prop_id != 1}
    built = builder.values()
    assert built.pop(1) == (251).to_bytes(4, "little")
    # Outlook pads strings to four bytes with whatever was in memory, so only the length of that stream is compared;
    # the strings themselves are in the hashes of the buckets.
    assert len(built.pop(4)) == len(written.pop(4))
    assert built == written


def test_a_name_keeps_its_id() -> None:
    builder = NameMapBuilder()
    number, text = PropertyName(PS_MAPI, 0x8503), PropertyName(PS_MAPI, "Keywords")
    assert [builder.id_of(name) for name in (number, text, number)] == [0x8000, 0x8001, 0x8000]
    assert len(builder) == 2
