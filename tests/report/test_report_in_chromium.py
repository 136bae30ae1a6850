"""The report of a case with many mailboxes, opened in a real Chromium: light, dark and printed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from cli.command import excise_cli
from programs import needs_program
from report.browser import chromium, needs_chromium, watch
from report.stage import many, plan, plan_hash

pytestmark = needs_chromium
MAILBOXES = 120

#: The contrast of every text with what lies behind it (WCAG 2), the least first.
CONTRASTS = """() => {
  const part = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * part(r / 255) + .7152 * part(g / 255) + .0722 * part(b / 255);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some(c => c.nodeType === 3 && c.data.trim()) || node.closest('title')) continue;
    const style = getComputedStyle(node), drawn = node instanceof SVGElement;
    const pair = [light(parts(drawn ? style.fill : style.color)), light(behind(node))].sort((a, b) => b - a);
    found.push([(pair[0] + .05) / (pair[1] + .05), node.tagName + ' ' + node.textContent.slice(0, 30)]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a case that ran to its end."""
    place = tmp_path_factory.mktemp("report")
    mail, case = place / "mail", place / "case"
    many(mail, MAILBOXES)
    assert plan(mail, case, "--max-share", "100").code == 7
    done = excise_cli("run", case, "--confirm", plan_hash(case), "--jobs", "1", "--quiet")
    assert done.code == 7, done.text
    assert excise_cli("report", case, "--reveal").code == 0
    return case / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_asks_for_nothing_complains_of_nothing_and_can_be_read(report: Path, browser: Browser, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1100, "height": 900})
    watched = watch(page)
    page.goto(report.as_uri())
    assert watched.requests == [report.as_uri()]
    assert watched.complaints == []
    least = page.evaluate(CONTRASTS)
    assert least[0][0] >= 4.5, least
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", paper))) in (range(600, 766) if scheme == "light" else range(150))
    for picture in page.locator("svg.chart").all():
        box = picture.bounding_box()
        assert box and box["width"] > 500 and box["height"] > 80
        assert picture.locator("title").first.text_content()
    assert page.locator("svg.chart").count() == 4
    page.close()


def test_the_table_has_every_mailbox_first_those_that_need_attention(report: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    rows = page.locator("table.mailboxes tbody tr")
    assert rows.count() == MAILBOXES
    cells = [row.split("\t") for row in rows.all_inner_texts()]
    searched = [cell[1] == "yes" for cell in cells]
    assert searched == sorted(searched)
    assert searched.count(False) == 2
    matches = [int(cell[3]) for cell in cells if cell[1] == "yes"]
    assert matches == sorted(matches, reverse=True)
    totals = page.locator(".figures li").all_inner_texts()
    assert f"{sum(matches)}\nremoved" in totals
    page.close()


def test_no_script_could_run_in_it(report: Path, browser: Browser, tmp_path: Path) -> None:
    """The policy of the page holds even where something had got into it."""
    text = report.read_text()
    hurt = tmp_path / "hurt.html"
    hurt.write_text(
        text.replace("</main>", "<script>document.title='ran'</script><img src='http://127.0.0.1:9/x'></main>")
    )
    page = browser.new_page()
    watched = watch(page)
    page.goto(hurt.as_uri())
    assert page.title().startswith("Report of case")
    assert len([line for line in watched.complaints if "Content Security Policy" in line]) >= 2
    page.close()


@needs_program("pdftotext")
def test_it_can_be_printed(report: Path, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    page.close()
    done = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True
    )
    pages = done.stdout.split("\f")
    assert sum("Mailbox " in sheet and "Searched" in sheet for sheet in pages) >= 2  # the heading stands on each sheet
    assert len(pages) < 12
    names = {path.name for path in (report.parents[1] / "mail").iterdir()}
    assert [name for name in names if name not in done.stdout] == []
