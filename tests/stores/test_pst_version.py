"""S06: what is in the messages inside of an item counts for its version, and plans of before still hold."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from cli.command import excise_cli
from excise.model.item import Disposal, Outcome, Target, Whereabouts
from excise.pst.ltp.properties import PropertyContext
from excise.stores.pst import STORE
from pst.editing import Edited
from stores.pst_samples import DIRECTORY, needs_samples

pytestmark = needs_samples
NID = "0x200024"


def sample(tmp_path: Path) -> Path:
    """A copy of a file whose one message holds another."""
    path = tmp_path / "mail" / "submessage.pst"
    path.parent.mkdir()
    shutil.copyfile(DIRECTORY / "submessage.pst", path)
    return path


def change_inside(path: Path) -> None:
    """Change a letter of the subject of the message inside."""
    edited = Edited(path.read_bytes())
    outer = edited.node(int(NID, 16))
    attachment = next(nid for nid in outer.subnodes if nid & 0x1F == 5)
    holder = edited.node(int(NID, 16), attachment)
    inner = next(nid for nid in holder.subnodes if nid & 0x1F == 4)
    node = edited.node(int(NID, 16), attachment, inner)
    subject = bytearray(PropertyContext(node).raw(0x0037))
    subject[-2] ^= 1
    edited.value(node, 0x0037, bytes(subject))
    path.write_bytes(edited.data)


def versions(path: Path) -> tuple[str, str]:
    """The version of the message, and what a release of before gave it."""
    with closing(STORE.open(f"pst:{path}")) as box:
        version = box.fetch(NID).version
    before, tag, digest = version.partition("+embedded:")
    assert (tag, len(digest)) == ("+embedded:", 64)
    return version, before


def test_what_changed_inside_is_another_version(tmp_path: Path) -> None:
    path = sample(tmp_path)
    version, before = versions(path)
    change_inside(path)
    changed, still = versions(path)
    assert changed != version and still == before
    with closing(STORE.open(f"pst:{path}", writable=True)) as box:
        assert box.look([Target(NID, version)])[NID] is Whereabouts.CHANGED
        assert box.look([Target(NID, changed)])[NID] is Whereabouts.HERE
        assert box.look([Target(NID, before)])[NID] is Whereabouts.HERE
        assert set(box.count([version, changed, before]).values()) == {1}
        assert {key[1] for key in box.count([version, changed, before])} == {changed, before}
        (removal,) = box.remove([Target(NID, version)], Disposal.HARD)
        assert removal.outcome is Outcome.CHANGED
        (removal,) = box.remove([Target(NID, before)], Disposal.HARD)
        assert removal.outcome is Outcome.REMOVED


@pytest.mark.parametrize("older", [True, False], ids=["a plan of before", "a plan of now"])
def test_a_plan_is_run_as_what_it_is(tmp_path: Path, older: bool) -> None:
    path, case = sample(tmp_path), tmp_path / "case"
    version, before = versions(path)
    planned = excise_cli("plan", "purge", path, "--subject-contains", "embedded message", "--case", case)
    assert planned.code == 0, planned.text
    if older:
        write_plan_of_before(case, version, before)
    done = excise_cli("run", case, "--confirm", sha256((case / "plan/0001/header.json").read_bytes()).hexdigest())
    assert done.code == 0, done.text
    line = json.loads(next(case.rglob("items.jsonl")).read_bytes())
    assert line["version"] == (before if older else version)
    assert excise_cli("verify", case).code == 0
    assert excise_cli("restore", case, "--yes", "--expect-matches", "1").code == 0


def write_plan_of_before(case: Path, version: str, before: str) -> None:
    """Make the plan one of an earlier release: with its version of the item, and all hashes right."""
    matches, header, audit = (
        case / name for name in ("plan/0001/matches/00001.jsonl", "plan/0001/header.json", "audit.jsonl")
    )
    old = {path: sha256(path.read_bytes()).hexdigest() for path in (matches, header)}
    matches.write_text(matches.read_text().replace(version, before))
    header.write_text(header.read_text().replace(old[matches], sha256(matches.read_bytes()).hexdigest()))
    lines = audit.read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["type"] == "plan-made"
    lines[-1] = lines[-1].replace(old[header], sha256(header.read_bytes()).hexdigest())
    audit.write_text("".join(lines))
    (case / "audit.head").write_text(sha256(lines[-1].rstrip("\n").encode()).hexdigest() + "\n")
