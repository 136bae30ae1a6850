"""Odd worlds: rights that are taken away in a run, and names and subjects that nobody would think of."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from ews.worlds import START, mail, small_world
from ews_server import Fault
from stores.ews_place import ANNA, serving
from stores.test_ews_cli import SECRET, Place

BOB, CAROL = "bob@example.test", "carol@example.test"


@pytest.mark.parametrize("operation", ["FindItem", "GetItem", "ExportItems", "DeleteItem"])
def test_s16_impersonation_that_ends_in_a_run(tmp_path: Path, operation: str) -> None:
    """One mailbox of three is denied in its middle: the others are done, it is told what to grant, and once that is
    granted the rest is done by ``resume``, each message once."""
    world, _ = small_world()
    world.mailbox(CAROL)
    for address in (ANNA, BOB, CAROL):
        world.deliver(world.mailboxes[address], "inbox", mail(90, SECRET), received=START)
    scope = [part for address in (ANNA, BOB, CAROL) for part in ("--mailbox", address)]
    with serving(world) as server:
        place = Place(world, server, tmp_path)
        planned = place.excise("plan", "move", place.source, *scope, "--subject", SECRET, "--case", "case")
        assert planned.returncode == 0, planned.stderr
        server.log.clear()
        server.faults.add(Fault("error", code="ErrorImpersonateUserDenied", operation=operation, mailbox=BOB, times=0))
        [confirmed] = re.findall(r"Plan hash: ([0-9a-f]{64})", planned.stdout)
        done = place.excise("run", "case", "--confirm", confirmed, "--jobs", "1")
        said = done.stderr + done.stdout
        assert done.returncode in (6, 9), said
        assert BOB in said
        assert "ApplicationImpersonation" in said, said
        for address in (ANNA, CAROL):
            assert SECRET not in place.subjects(address)
            assert place.subjects(address, "recoverableitemsdeletions") == [SECRET]
        assert place.subjects(BOB).count(SECRET) == 1
        assert place.subjects(BOB, "recoverableitemsdeletions") == []
        server.faults.clear()
        done = place.excise("resume", "case")
        if operation != "DeleteItem":
            assert done.returncode == 0, done.stderr + done.stdout
            assert place.subjects(BOB, "recoverableitemsdeletions") == [SECRET]
        assert place.subjects(BOB).count(SECRET) + len(place.subjects(BOB, "recoverableitemsdeletions")) == 1
        assert place.excise("verify", "case").returncode == 0


NAMES = [
    "a/b", "\u202egpj.exe", "\u200b", "A\u0301", "\u00c1", "\u0130stanbul", "\ud7a3\u1100", "\U0001f4a9" * 120,
    "\u0085\u2028line", "\ufeff", "..", "%2F", "x" * 300, "=1+1", "'", '"<&>"', "\u007f\u009b2J", "CON", " lead",
    "tail ", "\ufeffmarked",
]  # fmt: skip


def test_s27_odd_names_and_subjects(tmp_path: Path) -> None:
    """Each message is found in its folder, removed, and put back into that very folder; nothing that is shown can
    move a cursor, turn text round or hide."""
    world, anna = small_world()
    folders = [world.folder(anna, "inbox", name) for name in NAMES]
    for number, (folder, name) in enumerate(zip(folders, NAMES, strict=True)):
        values: dict[str, object] = {"item:Subject": f"{SECRET} {name}"}
        world.deliver(anna, folder, mail(100 + number, SECRET), received=START, values=values)
    with serving(world) as server:
        place = Place(world, server, tmp_path)
        scope = (place.source, "--mailbox", ANNA, "--subject-prefix", SECRET)
        outputs = [place.excise("search", *scope), place.excise("search", *scope, "--json")]
        move = ("move", *scope, "--case", "case", "--yes", "--expect-matches", str(len(NAMES)), "--max-share", "100")
        outputs.append(place.excise(*move))
        assert outputs[-1].returncode == 0, outputs[-1].stderr + outputs[-1].stdout
        assert [len(world.items_in(anna, folder)) for folder in folders] == [0] * len(NAMES)
        outputs += [place.excise("status", "case"), place.excise("verify", "case"), place.excise("report", "case")]
        outputs.append(place.excise("restore", "case", "--yes"))
        for done in outputs:
            assert done.returncode == 0, done.stderr + done.stdout
            for char in done.stdout + done.stderr:
                assert char == "\n" or unicodedata.category(char)[0] != "C", (hex(ord(char)), done.args)
                assert char not in "\u2028\u2029", done.args
        assert [len(world.items_in(anna, folder)) for folder in folders] == [1] * len(NAMES)
        assert len([one for one in world.folders.values() if one.mailbox == ANNA and one.name in NAMES]) == len(NAMES)
