"""The pages of a review, and what their forms do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from jinja2 import Template

from excise.case.chain import ChainedLog
from excise.case.layout import Case
from excise.case.plan import Plan
from excise.core.files import write_durably
from excise.page.templates import template
from excise.review.gate import Gate
from excise.review.groups import KINDS, Entry, Group, Review
from excise.review.preview import preview

_FIRST = 15
_A_PAGE = 100


class Pages:
    """One review, shown and changed by a browser. ``made``: the new plan; ``ended``: nothing more is to be done."""

    def __init__(
        self, case: Case, review: Review, audit: ChainedLog, write: Callable[[Review], Plan], gate: Gate
    ) -> None:
        """Nothing is excluded yet but what ``review`` has."""
        self.case, self.review, self.audit, self.gate = case, review, audit, gate
        self._write = write
        self.made: Plan | None = None
        self.ended = False

    @cached_property
    def _template(self) -> Template:
        return template("excise.review", "review.html")

    def _page(self, kind: str, **values: Any) -> str:
        review = self.review
        common = {"review": review, "plan": review.plan, "base": self.gate.base, "form": self.gate.form}
        return self._template.render(kind=kind, excluded=review.excluded, kinds=KINDS, **common, **values)

    def entrance(self) -> str:
        """What the browser gets with its cookie: the way on."""
        return self._page("entrance")

    def problem(self, text: str) -> str:
        """A page that says what is wrong, to anybody: it holds no secret."""
        return self._template.render(kind="problem", text=text, base="")

    def show(self, name: str, page: str) -> str | None:
        """The page ``name``; None where there is none."""
        what, _, rest = name.partition("/")
        number = max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 9 else 1
        if not name:
            tables = {kind: self.review.of_kind(kind) for kind in KINDS}
            return self._page("overview", tables=tables, first=_FIRST, out=self._out)
        if what == "kind" and rest in KINDS:
            groups, pages = _cut(self.review.of_kind(rest), number)
            return self._page("kind", groups=groups, name=rest, pages=pages, page=number, out=self._out)
        if what == "group":
            group = self.review.group(rest)
            entries, pages = _cut(group.entries, number)
            return self._page("group", group=group, entries=entries, pages=pages, page=number)
        if what == "item":
            return self._item(self.review.entry(rest))
        return None

    def _item(self, entry: Entry) -> str:
        try:
            seen = preview(self.case, self.review.plan, self.audit, self.review.plan.unit(entry.unit), entry.item)
        finally:
            write_durably(self.case.head_path, f"{self.audit.head}\n".encode())
        return self._page("item", entry=entry, seen=seen, lines=seen.text.split("\n"))

    def _out(self, group: Group) -> int:
        """How many of a group were taken out."""
        excluded = self.review.excluded
        return sum(entry.key in excluded for entry in group.entries) if excluded else 0

    def change(self, name: str, form: dict[str, list[str]]) -> str | None:
        """Do what a form says; the page that follows, None for the overview."""
        if name == "exclude":
            self.review.exclude(form.get("group", []), form.get("item", []), form.get("reason", [""])[0])
        elif name == "undo":
            number = form.get("number", [""])[0]
            if number.isdecimal() and int(number) < len(self.review.exclusions):
                del self.review.exclusions[int(number)]
        elif name == "write":
            self.made = self._write(self.review)
            self.ended = True
            return self._page("written", made=self.made, root=self.case.root)
        elif name == "close":
            self.ended = True
            return self._page("closed")
        return None


def _cut(entries: list[Any], page: int) -> tuple[list[Any], int]:
    """What stands on a page, and how many pages there are."""
    return entries[(page - 1) * _A_PAGE : page * _A_PAGE], max(1, -(-len(entries) // _A_PAGE))
