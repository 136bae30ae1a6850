"""The EWS server's answers beside a real server's: the recorded requests are sent again, and what the real server's
answer had of elements must be in ours.

Ids of the recording are replaced by ids of the world. What our answers have beyond is left alone: Exchange says more
than the recorded server does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from ews.worlds import PASSWORD, SAMPLES, Client, mail, serving
from ews_server import Mailbox, World, gromox, ids
from ews_server.soap import SOAP

# The recordings that the world here can answer alike, by number.
_NUMBERS = """
001 006 009 010 011 013 021 022 029 030 031 032 033 034 035 036 037 038 039 040 041 042 043 044 047 048 049 050 051
054 057 060 062 064 065 066 069 070 071 073 080 081 082 085 091 094 095 096 099 100 101 102 103 107 109 110 111 113
114 116 117 119 126 130 133 135 137 138 139 161 162 163 164 165 168 172 173 174 175 176 177 180 182 184 185 187 188
189 190 191 192 193 194 196 198 200 201 208 214 219 220 221 222 226 229 231 233 236 237 238 254 256 267 268 272 274
282 283 304
"""
needs_samples = pytest.mark.skipif(
    SAMPLES is None or not SAMPLES.is_dir(), reason="EXCISE_SAMPLES names no directory with ews-samples/"
)
pytestmark = needs_samples


def alices_world() -> tuple[World, Mailbox]:
    """The recording's people, with a dozen messages in Alice's inbox."""
    world = World()
    for name in ("admin", "alice", "bob", "carol", "dave"):
        world.mailbox(f"{name}@example.test", PASSWORD, name=f"{name.title()} Example")
    world.users["admin@example.test"].impersonates.append("*")
    world.distribution_list("team@example.test", ["alice@example.test", "bob@example.test"])
    alice = world.mailboxes["alice@example.test"]
    for number in range(12):
        world.deliver(alice, "inbox", mail(number, f"PHISH invoice {number}", attachment="invoice.exe"))
    return world, alice


def replayed(request: str, world: World, alice: Mailbox) -> str:
    """A recorded request with ids of our world."""
    items = iter(world.items_in(alice, "inbox") * 20)
    inbox = ids.encode("folder", alice.guid, alice.distinguished["inbox"])
    first = ids.encode("attachment", alice.guid, world.items_in(alice, "inbox")[0].number)

    def item(_: re.Match[str]) -> str:
        return f'<t:ItemId Id="{ids.encode("item", alice.guid, next(items).number)}"'

    request = re.sub(r'<t:ItemId Id="AAAAA[^"]{60,}"( ChangeKey="[^"]*")?', item, request)
    request = re.sub(r'(<t:(?:Parent)?FolderId Id=)"AAAAA[^"]{40,}"( ChangeKey="[^"]*")?', rf'\1"{inbox}"', request)
    return re.sub(r'<t:AttachmentId Id="AAAAA[^"]{40,}"', f'<t:AttachmentId Id="{first}"', request)


def paths(element: etree._Element, above: str = "") -> set[str]:
    """The paths of all elements in an answer."""
    found = set()
    for child in element:
        if isinstance(child.tag, str):
            path = f"{above}/{child.tag.split('}')[-1]}"
            found |= {path} | paths(child, path)
    return found


def body(data: bytes) -> etree._Element:
    """What stands in the SOAP body."""
    return etree.fromstring(data).find(f"{{{SOAP}}}Body")[0]


@pytest.fixture
def client() -> Iterator[tuple[Client, World, Mailbox]]:
    """Alice's client of a server that behaves as the recorded one."""
    world, alice = alices_world()
    with serving(world, quirks=gromox(), validated=False) as server:
        yield Client(server, "alice@example.test"), world, alice


def _file(number: str, kind: str) -> Path:
    assert SAMPLES is not None
    (found,) = SAMPLES.glob(f"{number}-*-{kind}.xml")
    return found


@pytest.mark.parametrize("number", _NUMBERS.split())
def test_an_answer_has_all_that_the_real_one_had(number: str, client: tuple[Client, World, Mailbox]) -> None:
    ours, world, alice = client
    file = _file(number, "request")
    if "impersonat" in file.name:
        ours.user = "admin@example.test"
    real = body(_file(number, "response").read_bytes())
    answer = body(ours.raw(replayed(file.read_text(), world, alice).encode())[1])
    assert answer.tag == real.tag
    assert sorted(paths(real) - paths(answer)) == []
