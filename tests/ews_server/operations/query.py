"""Query strings (AQS), as an index answers them: whole words by their beginnings, and never all that is there.

A word of the body is only found in what the index has seen: items whose class or size it passes over are missing, as
they are on a real server. Nothing that matters may rest on this.
"""

from __future__ import annotations

import re

from ..mime import view
from ..model import Item
from ..properties import field

_TERM = re.compile(r'(?:(\w+):)?(?:"([^"]*)"|(\S+))')
# What an index leaves out.
UNINDEXED_SIZE = 1_000_000


def understood(query: str, item: Item) -> bool:
    """Whether the index says that an item fulfils all terms of a query."""
    if len(item.mime) > UNINDEXED_SIZE:
        return False
    terms = [(name.lower(), quoted or word) for name, quoted, word in _TERM.findall(query) if word.upper() != "AND"]
    return all(_fulfils(item, name, wanted) for name, wanted in terms)


def _fulfils(item: Item, name: str, wanted: str) -> bool:
    seen = view(item.mime)
    people = {
        "from": seen.from_,
        "to": seen.to,
        "cc": seen.cc,
        "participants": (*seen.from_, *seen.to, *seen.cc),
    }
    subject = str(field(item, "item:Subject"))
    if name in people:
        return any(_begins(f"{person.name} {person.address}", wanted) for person in people[name])
    if name == "subject":
        return _begins(subject, wanted)
    if name == "body":
        return _begins(f"{seen.text} {seen.html}", wanted)
    if name == "attachment":
        return any(_begins(found.name, wanted) for found in seen.attachments)
    if name:
        return False
    names = " ".join(found.name for found in seen.attachments)
    return _begins(f"{subject} {seen.text} {names}", wanted)


def _begins(text: str, wanted: str) -> bool:
    """Whether words that stand together in the text begin as the wanted ones do."""
    words, sought = re.findall(r"\w+", text.lower()), re.findall(r"\w+", wanted.lower())
    spans = range(len(words) - len(sought) + 1)
    return bool(sought) and any(
        all(words[at + place].startswith(word) for place, word in enumerate(sought)) for at in spans
    )
