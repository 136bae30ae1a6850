"""Templates whose every value goes through ``core.text.shown`` and then through their own escaping (S27).

The only markup that passes is ``Markup``, which is made by Excise alone.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from excise.core.clock import iso
from excise.core.text import are, count_of, counted, shown

_LONGEST = 20_000


def template(package: str, name: str) -> Template:
    """The template ``name`` of ``package``; the common style is there as ``style``."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_safe, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": "{:,}".format, "when": _when, "iso": iso}
    environment.filters |= {"count_of": count_of, "counted": counted, "are": are}
    style = (files("excise.page") / "style.css").read_text("utf-8")
    environment.globals["style"] = Markup(style)  # noqa: S704 - our own file
    return environment.from_string((files(package) / name).read_text("utf-8"))


def _safe(value: Any) -> Any:
    """What is put into a page: markup of our own as it is, all else without what could deceive its reader."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else shown(str(value), _LONGEST)


def _when(time: str) -> str:
    """A time of the record, to the second."""
    return time[:19].replace("T", " ") + " UTC" if time.endswith("Z") else time
