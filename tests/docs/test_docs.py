"""The papers against the code: commands, options, error ids, formats, links, and every command line in the guides."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import excise
from excise.api import profile
from excise.api.exmerge.keys import NO_COUNTERPART
from excise.case import records
from excise.cli import cli
from excise.core.errors import STATUS_ORDER, ExciseError
from excise.criteria import Criteria
from excise.criteria.options import OPTIONS
from excise.engine.planner import Order
from excise.engine.states import TRANSITIONS, Event, State
from excise.model.item import Disposal, Outcome
from excise.store_api import registry

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "excise"
PAPERS = sorted(DOCS.rglob("*.md"))
GUIDES = sorted((DOCS / "guide").glob("*.md"))


def load_rerun() -> ModuleType:
    """docs/rerun.py as a module."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("rerun")
    finally:
        sys.path.remove(str(DOCS))


rerun = load_rerun()


def reference(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands under ``heading``, up to the next heading of its level or above."""
    level = heading.index(" ")
    lines = text.splitlines()
    start = lines.index(heading) + 1
    ends = (n for n in range(start, len(lines)) if re.match(rf"#{{1,{level}}} ", lines[n]))
    return "\n".join(lines[start : next(ends, len(lines))])


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in ``text``, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [n for n, row in enumerate(cells) if all(set(cell) <= set("-:") for cell in row)]
    return [row for n, row in enumerate(cells) if n not in rules and n + 1 not in rules]


def words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def classes() -> set[type[ExciseError]]:
    """Every error class of the package."""
    for module in pkgutil.walk_packages(excise.__path__, "excise."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: set[type[ExciseError]] = set()
    new: set[type[ExciseError]] = {ExciseError}
    while new:
        found |= new
        new = {sub for cls in new for sub in cls.__subclasses__() if sub.__module__.startswith("excise.")} - found
    return found


# Commands


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    headings = re.findall(r"(?m)^### ([\w-]+)$", section(reference("commands.md"), "## Commands"))
    assert headings == list(commands())


@pytest.mark.parametrize("name", commands())
def test_the_options_of_a_command_are_those_in_its_section(name: str) -> None:
    text = reference("commands.md")
    own = section(text, f"### {name}")
    groups = re.findall(r"\[(\w+)\]\(#\1-options\)", own)
    documented = {row[0]: row[1] for row in rows(own)}
    for group in groups:
        documented |= {row[0]: row[1] for row in rows(section(text, f"## {group.capitalize()} options"))}
    options = [parameter for parameter in commands()[name].params if isinstance(parameter, click.Option)]
    real = {cells[0]: cells[1] for option in options for cells in rows(f"| a |\n|---|\n{rerun.row(option)}")}
    assert documented == real


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_option_that_is_named_exists(paper: Path) -> None:
    known = {opt for command in commands().values() for parameter in command.params for opt in parameter.opts}
    text = re.sub(r"(?ms)^```console\n.*?^```$", "", paper.read_text())
    named = {flag for code in words(text) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert named - known - {"--help", "--validate"} == set()


# Exit statuses and errors


def test_every_error_id_of_the_code_is_documented_with_its_status_and_vice_versa() -> None:
    table = rows(reference("exit-status.md"))
    documented = {words(row[0])[0]: int(row[1]) for row in table if row[0].startswith("`")}
    assert documented == {cls.error_id: cls.exit_code for cls in classes()}


def test_no_two_errors_share_an_id_with_another_status() -> None:
    assert len({(cls.error_id, cls.exit_code) for cls in classes()}) == len({cls.error_id for cls in classes()})


def test_the_statuses_and_their_order_are_those_of_the_code() -> None:
    text = reference("exit-status.md")
    assert {int(row[0]) for row in rows(text) if row[0].isdigit()} == set(STATUS_ORDER)
    order = re.search(r"the worst for the evidence wins: ([\d, then]+)\.", text)
    assert order is not None
    assert [*map(int, re.findall(r"\d+", order[1])), 0] == list(STATUS_ORDER)


# Criteria and profiles


def test_every_criterion_is_documented_and_vice_versa() -> None:
    documented = {name for row in rows(section(reference("criteria.md"), "## Terms")) for name in words(row[0])}
    assert {name.replace("-", "_") for name in documented} == OPTIONS


def toml_blocks(name: str) -> list[str]:
    return re.findall(r"(?ms)^```toml\n(.*?)^```$", reference(name))


@pytest.mark.parametrize("block", toml_blocks("criteria.md"))
def test_the_criteria_in_toml_are_criteria(block: str) -> None:
    criteria = Criteria.from_toml(block)
    assert Criteria.from_canonical(criteria.canonical()) == criteria


def test_the_profile_is_a_profile(tmp_path: Path) -> None:
    (block,) = toml_blocks("profile.md")
    path = tmp_path / "saved.toml"
    path.write_text(block)
    read = profile.read_profile(str(path))
    assert Criteria.from_toml(read.criteria or {}).words()
    assert read.limits == tomllib.loads(block)["limits"]


def test_every_key_of_a_profile_is_documented_and_vice_versa() -> None:
    table = rows(reference("profile.md").partition("## From ExMerge")[0])
    assert {key for row in table for key in words(row[0])} == set(profile._KEYS)
    directory = next(row for row in table if row[0] == "`directory`")
    assert set(words(directory[2])) == set(profile._DIRECTORY)
    limits = next(row for row in table if row[0] == "`limits`")
    assert set(words(limits[2])) == set(profile._LIMITS)


def test_every_setting_of_exmerge_is_documented_and_vice_versa() -> None:
    table = rows(section(reference("profile.md"), "## From ExMerge"))
    documented = {key.lower() for row in table for key in words(row[0])}
    tree = ast.parse((SOURCE / "api" / "exmerge" / "conversion.py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    handled = {text.lower() for text in texts if re.fullmatch(r"[A-Z][a-z]+[A-Z][A-Za-z-]+", text)}
    assert documented == handled | set(NO_COUNTERPART)


# The case format


def test_the_events_and_states_are_those_of_the_engine() -> None:
    table = rows(section(reference("case-format.md"), "## States and events"))
    events = [
        words(row[0])[0]
        for row in table
        if row[1].startswith(("hashes", "the part", "it was", "the source", "a re", "the out"))
    ]
    assert events == [event.value for event in Event]
    follow = {words(row[0])[0]: set(words(row[2])) for row in table[len(events) :]}
    assert follow == {s.value: {e.value for state, e in TRANSITIONS if state is s} for s in State}


def test_the_state_after_an_event_is_the_documented_one() -> None:
    table = rows(section(reference("case-format.md"), "## States and events"))[len(Event) :]
    after = {words(row[0])[0]: words(row[1]) for row in table}
    for (state, event), result in TRANSITIONS.items():
        stays = state is result and f"`{event.value}` (the state stays)" in str(table)
        assert stays or [event.value] == after[result.value]


def test_the_outcomes_are_those_of_the_model() -> None:
    text = section(reference("case-format.md"), "## States and events")
    line = next(line for line in text.splitlines() if line.startswith("Outcomes"))
    assert set(words(line)) == {outcome.value for outcome in Outcome}


def texts(node: ast.expr) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def record_types() -> Iterator[str]:
    """Every ``"type": "…"`` and every note that the code writes into a log."""
    for path in [p for layer in ("case", "engine", "review", "api", "cli") for p in (SOURCE / layer).glob("*.py")]:
        tree = ast.parse(path.read_text())
        chosen = {
            target.id: texts(node.value.body) + texts(node.value.orelse)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "type":
                        if isinstance(value, ast.IfExp):
                            yield from texts(value.body) + texts(value.orelse)
                        else:
                            yield from chosen.get(value.id, []) if isinstance(value, ast.Name) else texts(value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "note":
                yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def test_every_record_of_a_log_is_documented_and_vice_versa() -> None:
    text = reference("case-format.md")
    coordinator = [name for row in rows(section(text, "### The coordinator's log")) for name in words(row[0])]
    unit = re.findall(r"`([\w-]+)` \(", section(text, "### A unit's log").replace("\n", " "))
    notes = re.findall(r"`([\w-]+)` \(", section(text, "## States and events").partition("Notes among")[2])
    access = re.findall(r"`([\w-]+)` \(", section(text, "### The access log").replace("\n", " "))
    assert {*coordinator, *unit, *notes, *access, "torn-line-dropped"} == set(record_types())


@pytest.mark.parametrize(
    ("name", "columns"), [("scope.csv", records.SCOPE), ("outcome.csv", records.OUTCOME), ("items.csv", records.ITEMS)]
)
def test_the_columns_of_the_tables_are_those_of_the_code(name: str, columns: tuple[str, ...]) -> None:
    table = rows(section(reference("case-format.md"), "## Tables"))
    row = next(row for row in table if row[0].startswith(f"`{name}`"))
    assert tuple(words(row[1])) == columns


# Stores


def test_the_stores_are_those_of_the_registry_with_their_disposals() -> None:
    table = rows(reference("stores.md"))[: len(registry.BUILT_IN)]
    assert {words(row[0])[0] for row in table} == set(registry.BUILT_IN)
    for row in table:
        capabilities = registry.store(words(row[0])[0]).capabilities
        documented = [Disposal(word) for word in words(row[2])]
        assert set(documented) == capabilities.disposals
        assert (documented[0] if documented else None) == capabilities.default_disposal
        assert row[3].startswith("yes") == capabilities.can_put


# Guides


def command_lines(text: str) -> Iterator[str]:
    """Every call of excise in the console blocks of ``text``, and in its prose where it is whole."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```$", text):
        for command in rerun.commands_of(block):
            plain = re.sub(r"\$\([^)]*\)", "0123456789ab", rerun.typed(command).replace("\\\n", " "))
            for part in re.split(r"\n|&&|\||;", plain) if plain.lstrip().startswith("excise ") else ():
                if part.strip().startswith("excise "):
                    yield part
    prose = re.sub(r"(?ms)^```.*?^```$", "", text)
    yield from (code for code in words(prose) if re.match(r"excise [a-z]+ [^\n]", code) and "…" not in code)


@pytest.mark.parametrize("guide", [*GUIDES, ROOT / "README.md", *DOCS.glob("adr/*.md")], ids=lambda path: path.name)
def test_every_command_line_is_understood(guide: Path) -> None:
    for line in command_lines(guide.read_text()):
        name, *rest = shlex.split(line)[1:]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, line
        assert command.make_context(name, rest, parent=click.Context(cli)), line


def test_the_guides_show_commands() -> None:
    for guide in GUIDES:
        assert sum(1 for _ in command_lines(guide.read_text())) >= 2, guide


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_no_command_in_a_guide_failed_in_a_way_that_its_text_does_not_tell(guide: Path) -> None:
    text = guide.read_text()
    assert "unexpected error" not in text
    assert "Traceback" not in text
    failed = [int(code) for code in re.findall(r"(?m)^\(exit status (\d+)\)$", text)]
    expected = {
        "from-exmerge.md": [2],
        "purge-a-message.md": [4],
        "import-evidence.md": [4],
        "real-pst-to-mbox.md": [3],
        "two-people.md": [3, 4, 8],
        "worm-at-night.md": [3],
    }
    assert failed == expected.get(guide.name, [])


# Links and code


def slugs(text: str) -> set[str]:
    """The anchors of a paper's headings, as they are made on the usual hosts."""
    plain = re.sub(r"(?ms)^```.*?^```$", "", text)
    found = [re.sub(r"[`*]", "", heading) for heading in re.findall(r"(?m)^#+ (.*)$", plain)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("paper", [*PAPERS, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_resolve(paper: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", paper.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (paper.parent / path).resolve() if path else paper
        assert place.exists(), f"{paper}: {target}"
        assert not anchor or anchor in slugs(place.read_text()), f"{paper}: {target}"


def test_papers_that_the_code_names_are_there() -> None:
    for path in SOURCE.rglob("*.py"):
        for name in re.findall(r"docs/[\w/-]+(?:\.md)?", path.read_text()):
            assert list(ROOT.glob(f"{name}*")), f"{path} names {name}"


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_python_in_the_papers_compiles_and_imports_what_is_there(paper: Path) -> None:
    for block in re.findall(r"(?ms)^```python\n(.*?)^```$", paper.read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("excise"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_default_limits_in_the_papers_are_those_of_the_code() -> None:
    caps = Order.__dataclass_fields__["caps"].default_factory()  # type: ignore[misc]
    text = reference("commands.md")
    assert f"of {caps.share_from} messages" in text
    assert f"(default {caps.max_share:g})" in text
