"""GetItem."""

from __future__ import annotations

from collections.abc import Iterable

from ..call import Call
from ..shapes import m_items, parse_shape
from ..soap import Element


def get_item(call: Call) -> Element:
    """Show items by id."""
    shape = parse_shape(call.find("m:ItemShape"))

    def answer(element: Element) -> Iterable[Element]:
        item = call.item(element)
        yield m_items(call.rendering(call.world.folders[item.folder]).item(item, shape))

    return call.response(call.each(call.all("m:ItemIds/*"), answer, lambda: [m_items()]))


OPERATIONS = {"GetItem": get_item}
