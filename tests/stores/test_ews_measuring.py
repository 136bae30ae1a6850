"""How much the parts of a mailbox on a server hold, and what is said where that is not known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ews.worlds import PASSWORD, mail, small_world
from ews_server import Fault, Quirks, Server, World, gromox
from ews_server.properties import folder_size, key
from excise.store_api.protocols import MailboxInfo, Measure, Measuring
from excise.stores.ews.place import Part
from excise.stores.ews.store import STORE
from stores.ews_place import ANNA, log_in, place_of, serving
from stores.test_ews_cli import Place

SIZE = key(tag="0x0E08", kind="Long")


def filled() -> World:
    """Anna's mail lies in folders three deep, in the archive and in Recoverable Items."""
    world, anna = small_world()
    deep = world.folder(anna, world.folder(anna, world.folder(anna, "inbox", "A"), "B"), "C")
    for number in range(7):
        world.deliver(anna, deep, mail(100 + number))
    world.folder(anna, "msgfolderroot", "All that is flagged", finds="all")
    world.deliver(anna, "archiveinbox", mail(200))
    world.deliver(anna, "recoverableitemspurges", mail(300))
    world.deliver(anna, "recoverableitemsdeletions", mail(301))
    return world


def bytes_of(world: World, part: Part) -> int:
    """What the folders of a part hold, by the server's own model."""
    root = {
        Part.PRIMARY: "msgfolderroot",
        Part.ARCHIVE: "archivemsgfolderroot",
        Part.RECOVERABLE: "recoverableitemsroot",
    }
    anna = world.mailboxes[ANNA]
    top = world.folders[anna.distinguished[root[part]]]
    return sum(folder_size(world, one) for one in [top, *world.below(top)] if not one.search)


def measured(server: Server, part: Part = Part.PRIMARY) -> Measure:
    """What the store says of Anna's mailbox."""
    [info] = STORE.mailboxes(place_of(server, part=part).locator)
    assert isinstance(STORE, Measuring)
    return STORE.measure(info)


@pytest.mark.parametrize("quirks", [Quirks(), gromox()], ids=["exchange", "gromox"])
def test_items_and_bytes_of_each_part(monkeypatch: pytest.MonkeyPatch, quirks: Quirks) -> None:
    """Of all folders below the root, search folders left out, in two requests a part."""
    log_in(monkeypatch)
    world = filled()
    with serving(world, quirks) as server:
        for part, items in ((Part.PRIMARY, 12), (Part.ARCHIVE, 1), (Part.RECOVERABLE, 2)):
            before = server.log.count.total()
            found = measured(server, part)
            assert found == Measure(items, bytes_of(world, part))
            assert server.log.count.total() - before <= 3  # the mailbox is opened with one of them


def test_what_is_not_told_is_unknown_and_never_a_sum_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has no size, a listing that fails, and a delegate whose root is closed."""
    log_in(monkeypatch)
    world = filled()
    inbox = world.find_folder(world.mailboxes[ANNA], "inbox")
    with serving(world) as server:
        inbox.extended[SIZE] = ("Long", "many")
        found = measured(server)
        assert (found.items, found.size) == (12, None)
        assert "does not tell" in found.why
        del inbox.extended[SIZE]
        server.faults.add(Fault("part", operation="FindFolder", code="ErrorAccessDenied", times=0))
        found = measured(server)
        assert (found.items, found.size) == (None, None)
        assert "ErrorAccessDenied" in found.why
    assert measured_public(monkeypatch).why


def test_a_delegates_sum_is_said_to_be_of_what_he_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where the root is closed to him, nothing is summed."""
    log_in(monkeypatch, user="bob@example.test", ACCESS="delegate")
    world = filled()
    anna = world.mailboxes[ANNA]
    world.find_folder(anna, "inbox").permissions["bob@example.test"] = "Reviewer"
    with serving(world) as server:
        locator = place_of(server).locator
        info = MailboxInfo("ews", locator, ANNA, "")
        assert isinstance(STORE, Measuring)
        closed = STORE.measure(info)
        assert (closed.items, closed.size) == (None, None)
        assert "ErrorAccessDenied" in closed.why
        world.find_folder(anna, "msgfolderroot").permissions["bob@example.test"] = "FolderVisible"
        seen = STORE.measure(info)
        assert seen.items == 5
        assert seen.why == "of the folders that this delegate may see"


def measured_public(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Public folders are not counted, and that is said."""
    log_in(monkeypatch)
    world, _ = small_world()
    world.public_folders()
    with serving(world) as server:
        return measured(server, Part.PUBLIC)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    world = filled()
    world.mailbox("carl@example.test", PASSWORD)
    with serving(world) as server:
        yield Place(world, server, tmp_path)


def test_excise_mailboxes_shows_them(place: Place) -> None:
    """As JSON and as a table; what is unknown is null, or called so."""
    scope = ("--mailbox", ANNA, "--mailbox", "carl@example.test", "--parts", "primary,recoverable")
    done = place.excise("mailboxes", place.source, *scope, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["mailbox"], line["items"], line["size"]) for line in lines] == [
        (ANNA, 12, bytes_of(place.world, Part.PRIMARY)),
        (f"{ANNA} (recoverable)", 2, bytes_of(place.world, Part.RECOVERABLE)),
        ("carl@example.test", 0, 0),
        ("carl@example.test (recoverable)", 0, 0),
    ]
    carl = place.world.find_folder(place.world.mailboxes["carl@example.test"], "inbox")
    carl.extended[SIZE] = ("Long", "-1")
    done = place.excise("mailboxes", place.source, "--mailbox", "carl@example.test", "--mailbox", ANNA)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["mailbox"] == ["kind", "items", "bytes"]
    assert rows["carl@example.test"] == ["ews", "0", "unknown"]
    assert rows[ANNA] == ["ews", "12", f"{bytes_of(place.world, Part.PRIMARY):,}"]
    assert "carl@example.test: size unknown" in done.stderr
