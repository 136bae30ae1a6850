"""Rules that the whole repository keeps."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest

from excise.cli import _COMMANDS, cli
from project.checkout import ROOT, excise, tracked_files

#: Names of the place where the project happens to be written, in pieces so that this file does not hold them.
FOREIGN = [
    re.compile(rb"(?<![\w.-])/" + b"work" + rb"\b"),
    re.compile(rb"\." + b"library"),
    re.compile(rb"/opt/" + b"venv"),
]
#: Modules that take long to import and are loaded only when a command needs them.
HEAVY = {
    "pydantic",
    "re2",
    "olefile",
    "pypff",
    "bagit",
    "tqdm",
    "email.message",
    "multiprocessing",
    "concurrent.futures",
    "ldap3",
    "keyring",
    "pyrage",
    "cryptography",
}


def test_nothing_names_the_place_where_it_was_written() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {found[0]!r}"
        for path in tracked_files()
        for pattern in FOREIGN
        if (found := pattern.search(path.read_bytes()))
    ]
    assert not named


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_every_command_says_its_exit_status(name: str, tmp_path: Path) -> None:
    shown = excise(name, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout
    assert re.search(r"^ *EXIT STATUS\n +0 ", shown.stdout, re.MULTILINE), shown.stdout


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    with click.Context(cli) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command is not None
            options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
            missing = [option for option in sorted(options) if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)]
            assert f"excise {name}" in text
            assert not missing, f"excise {name}: docs/reference/commands.md does not name {missing}"


@pytest.mark.parametrize(
    "text", ["import excise", "from excise.cli import cli; cli(['--help'], standalone_mode=False)"]
)
def test_heavy_modules_are_loaded_only_when_needed(text: str) -> None:
    program = f"import sys\n{text}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "src", capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stderr.split())
    assert "excise" in loaded
    assert not loaded & HEAVY


def test_layers_are_kept() -> None:
    program = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, env={"PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize(("ci", "status"), [("1", 1), ("", 0)])
@pytest.mark.parametrize(
    "skip", ["skip('strace is not installed')", "importorskip('no_such_package')", "skip('needs root')"]
)
def test_a_missing_program_fails_in_ci_and_is_skipped_elsewhere(
    tmp_path: Path, ci: str, status: int, skip: str
) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "test_one.py").write_text(f"import pytest\ndef test_one():\n    pytest.{skip}\n", encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)], cwd=tmp_path,
        env={"EXCISE_CI": ci, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == (0 if "root" in skip else status), done.stdout
