"""Every real file as three other programs read it: readpst and two packages of npm.

What they tell of folders, messages, subjects, recipients, attachments and embedded messages is what Excise tells, but
for the faults of theirs in the table here. A fault that no longer shows in one of its files, or shows in another,
fails too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pst import reader_faults as faults
from pst.other_readers import facts, needs_other_readers, told_by_us

SAMPLES = Path(os.environ.get("EXCISE_SAMPLES", "/nonexistent")) / "pst-samples"
FILES = sorted(SAMPLES.glob("*.pst"))
real = pytest.mark.skipif(not FILES, reason="EXCISE_SAMPLES is not set: no real PST files here")

CODECS = {"contacts97-2002": "cp932"}

ALL = {path.stem for path in FILES}
ANSI = {"contacts97-2002", "sample2", "test_ansi"}
EMBEDDED = {"alpha-beta-gamma-delta", "dist-list", "msgInMsg", "submessage", "testPST"}
MAIL = {
    "200_recipients", "attachAndInline", "enron", "msgInMsg", "outlook2019", "sample1", "sample2", "submessage",
    "testPST", "testPST_variousBodyTypes",
}  # fmt: skip

#: The files in which each fault shows.
SHOWN = {
    faults.embedded_is_null: EMBEDDED,
    faults.search_folder_throws: ALL - ANSI,
    faults.ansi_not_opened: ANSI,
    faults.search_folders_left_out: ALL,
    faults.recipients_of_the_outermost: {"msgInMsg"},
    faults.mailbox_alone: ALL,
    faults.classes_skipped: {"dist-list", "passworded", "test_ansi", "test_unicode"},
    faults.contact_has_no_subject: {"contacts", "contacts97-2002", "dist-list", "passworded"},
    faults.appointment_has_no_attachments: {"dist-list"},
    faults.embedded_is_nameless: EMBEDDED - {"dist-list"},
    faults.recipients_of_the_headers: MAIL,
}


@real
@needs_other_readers
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("reader", faults.FAULTS, ids=lambda reader: reader.__name__.removeprefix("told_by_"))
def test_another_reader_tells_the_same_but_for_its_faults(path: Path, reader: faults.Reader) -> None:
    codec = CODECS.get(path.stem, "cp1252")
    ours = told_by_us(path, codec)
    assert not ours.errors
    expected, theirs = facts(faults.with_faults(ours, reader)), facts(reader(path, codec))
    assert (expected - theirs, theirs - expected) == ({}, {})
    for fault in faults.FAULTS[reader]:
        shows = facts(faults.with_faults(ours, reader, but=fault)) != theirs
        assert shows == (path.stem in SHOWN[fault]), f"{fault.__name__} shows: {shows}"
