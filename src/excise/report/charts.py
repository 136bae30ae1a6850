"""Plots as inline SVG, by pygal (the extra ``report``): of its scripts, styles and identifiers none is left in them.

The page's own style gives them their colours, so that they can be read in the light, in the dark and on paper.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from excise.core.text import shown

_SVG = "{http://www.w3.org/2000/svg}"
_KEPT = frozenset({"g", "path", "rect", "text"})
_PLACE = frozenset({"x", "y", "width", "height", "d", "transform", "text-anchor", "class"})
_LABEL = 38


def available() -> bool:
    """True where the library for plots is installed."""
    try:
        _pygal()
    except ImportError:
        return False
    return True


def _pygal() -> Any:
    """The library, without the hook that it leaves behind in Python's imports (each later import would warn of it)."""
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("pygal")]
    return pygal


def columns(title: str, bars: Sequence[tuple[str, int]]) -> Markup:
    """Upright bars in the order given; not every label is written where there are many."""
    every = -(-len(bars) // 10)
    chart = _pygal().Bar(
        width=900,
        height=260,
        x_labels_major_every=every,
        show_minor_x_labels=False,
        truncate_label=-1,
        **_common(),
    )
    return _svg(chart, title, bars)


def rows(title: str, bars: Sequence[tuple[str, int]]) -> Markup:
    """Bars that lie, the first on top, each with its number beside its label."""
    chart = _pygal().HorizontalBar(width=900, height=52 + 26 * len(bars), truncate_label=-1, **_common())
    labels = [(f"{shown(label, _LABEL) or '(none)'} · {count:,}", count) for label, count in bars]
    return _svg(chart, title, labels[::-1])


def _common() -> dict[str, Any]:
    from pygal.style import Style

    style = Style(font_family="sans-serif", label_font_size=12, major_label_font_size=12)
    return {
        "show_legend": False,
        "css": [],
        "js": [],
        "style": style,
        "value_formatter": _number,
        "max_scale": 6,
        "margin": 8,
        "margin_right": 24,
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else ""


def _svg(chart: Any, title: str, bars: Sequence[tuple[str, int]]) -> Markup:
    chart.x_labels = [shown(label) for label, _ in bars]
    most = max((count for _, count in bars), default=0)
    if most <= 5:
        chart.y_labels = list(range(most + 1))
    chart.add("", [count for _, count in bars])
    drawn = ElementTree.fromstring(chart.render())  # noqa: S314 - made a moment ago, of labels that are escaped
    svg = ElementTree.Element("svg", {"viewBox": drawn.get("viewBox", ""), "role": "img", "class": "chart"})
    ElementTree.SubElement(svg, "title").text = title
    svg.extend(_clean(drawn))
    return Markup(ElementTree.tostring(svg, encoding="unicode"))  # noqa: S704 - serialised, so escaped


def _clean(drawn: ElementTree.Element) -> list[ElementTree.Element]:
    """Only shapes and text, with where they are and what class they have; each bar is titled by what it stands for."""
    kept = []
    for child in drawn:
        name = str(child.tag).removeprefix(_SVG)
        if name not in _KEPT or "overlay" in child.get("class", ""):
            continue
        made = ElementTree.Element(name, {key: text for key, text in child.attrib.items() if key in _PLACE})
        made.text = child.text
        if child.get("class") == "bar":
            said = {part.get("class"): part.text or "" for part in child}
            title = ElementTree.SubElement(made, "title")
            title.text = f"{said.get('x_label', '').partition(' · ')[0]}: {said.get('value', '')}"
        made.extend(_clean(child))
        kept.append(made)
    return kept
