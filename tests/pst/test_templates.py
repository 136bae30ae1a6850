"""The templates are the tables of a file that Outlook made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import excise.pst
from excise.pst.ltp.table import TableContext
from excise.pst.messaging.templates import TEMPLATES

EMPTY = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples" / "Empty.pst"
real = pytest.mark.skipif(not EMPTY.exists(), reason="EXCISE_SAMPLES is not set: no real PST files here")


@real
@pytest.mark.parametrize("nid", TEMPLATES, ids=hex)
def test_a_template_is_that_of_outlook(nid: int) -> None:
    with excise.pst.open(EMPTY) as pst:
        node = pst.ndb.node(nid)
        assert node is not None
        info = TableContext(node).info
    schema = TEMPLATES[nid]
    assert info.rgib == schema.rgib
    described = [(each.tag, each.ibData, each.cbData, each.iBit) for each in info.rgTCOLDESC]
    assert described == [(each.tag, each.ib_data, each.cb_data, each.i_bit) for each in schema.columns]


@pytest.mark.parametrize("nid", TEMPLATES, ids=hex)
def test_the_cells_of_a_template_fill_its_row_without_a_gap(nid: int) -> None:
    schema = TEMPLATES[nid]
    cells = sorted((each.ib_data, each.ib_data + each.cb_data) for each in schema.columns)
    assert [start for start, _ in cells] == [0, *(end for _, end in cells[:-1])]
    assert sorted(each.i_bit for each in schema.columns) == list(range(len(schema.columns)))
    assert cells[-1][1] == schema.rgib[2]
